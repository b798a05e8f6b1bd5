"""Notebooks executed headless by papermill."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from course_lib import files
from course_lib.lab import plan, record, report

# What libraries say to their own programmers: the reader of a run can do nothing about it.
QUIET = "ignore::DeprecationWarning,ignore::PendingDeprecationWarning,ignore::FutureWarning"


def run(args: argparse.Namespace) -> int:
    """Execute the notebooks one at a time, write the report and return the exit status."""
    runs = files.runs_folder()
    out = Path(args.out).resolve() if args.out else runs / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    jobs = plan.plan(args, out)
    again = shlex.join(["python", "-m", "course_lib", *args.argv, *([] if args.out else ["--out", str(out)])])
    out.mkdir(parents=True, exist_ok=True)
    if out.parent == runs and not all(job.reads_runs for job in jobs):
        _point_latest(out)

    try:
        failed = execute_all(jobs)
    except KeyboardInterrupt:
        print(f"\nStopped; what is done is kept. To go on: {again}", file=sys.stderr)
        return 130

    print(f"\nReport      {report.write([out], out / 'index.html')}")
    results = [(job.folder, result) for job in jobs if (result := record.find(job.folder))]
    pieces = [(folder, piece) for folder, result in results for piece in result.music if not piece.real]
    print("First MIDI ", next((folder / piece.midi for folder, piece in pieces), "none"))
    print("First Ogg  ", next((folder / piece.ogg for folder, piece in pieces if piece.ogg), "none"))
    if failed:
        print(f"{len(failed)} of {len(jobs)} failed:", *failed, f"To try again: {again}", sep="\n", file=sys.stderr)
    return 1 if failed else 0


def execute_all(jobs: Sequence[plan.Job]) -> list[str]:
    """Execute one after another what is not done yet; returns a line for each that failed."""
    failed = []
    for count, job in enumerate(jobs, 1):
        line = f"[{count}/{len(jobs)}] {job.name} ..."
        reason = plan.why_again(job)
        if reason is None:
            print(line, "was done before", flush=True)
            continue
        print(line, *[f"{reason}: run again"] * bool(reason), flush=True)
        started = time.monotonic()
        error = execute(job)
        took = report.duration(time.monotonic() - started)
        print(line, f"FAILED after {took}: {error}" if error else f"done in {took}", flush=True)
        if error:
            failed.append(f"  {job.name}: {error}")
    return failed


def execute(job: plan.Job) -> str | None:
    """Execute one notebook in the python3 kernel; returns the last line of the error it ended in, or None.

    A failed run keeps its executed notebook, gets an `error.txt` and has no `result.json`. What C libraries print
    goes to `kernel.log`.

    Raises:
        OSError: a file could not be written, as on a full disk.
    """
    result, error_file, log_file = (job.folder / name for name in ("result.json", "error.txt", "kernel.log"))
    job.folder.mkdir(parents=True, exist_ok=True)
    for earlier in (job.executed, result, error_file):
        earlier.unlink(missing_ok=True)
    for library in ("papermill", "asyncio"):  # an error is told below, once, and a stop by `run`
        logging.getLogger(library).setLevel(logging.CRITICAL)
    error = ""
    try:
        with log_file.open("wb") as log:
            executed = papermill.execute_notebook(
                # papermill formats the paths
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, job.partial)),
                job.parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=_Indented(sys.stdout),
                stderr_file=_Indented(sys.stderr),
                cwd=job.notebook.parent,
                kernel_manager_class=_kernel(job, log),
                extra_arguments=["--log-level=50", "--IPKernelApp.capture_fd_output=False"],
            )
        if executed.metadata.papermill.exception:  # papermill takes sys.exit() for a good end
            error = "SystemExit: the notebook stopped before its last cell."
    except papermill.PapermillExecutionError as caught:
        error = f"{caught.ename}: {caught.evalue}".strip()
    except DeadKernelError:
        error = "The kernel died: the memory ran out, or a library crashed (kernel.log may tell)."
    except (KeyboardInterrupt, Exception) as caught:
        # Neither a stop nor a full disk is the notebook's failure. A time-out is an OSError without errno.
        if isinstance(caught, KeyboardInterrupt) or getattr(caught, "errno", None):
            result.unlink(missing_ok=True)
            raise
        error = f"{type(caught).__name__}: {caught}"
    if error:
        error = error.splitlines()[-1]
        result.unlink(missing_ok=True)
        error_file.write_text(error + "\n", encoding="utf-8", errors="replace")
    if job.partial.exists():
        os.replace(job.partial, job.executed)
    return error or None


def _kernel(job: plan.Job, log: BinaryIO) -> type[AsyncKernelManager]:
    """Kernels that know their job, and keep the start-up notes of C libraries out of sight."""
    given = {
        "COURSE_OUT": str(job.folder),
        "COURSE_SETTINGS": json.dumps(job.settings),
        "COURSE_NOTEBOOKS": str(job.notebook.parent),
    }
    environment = {"PYTHONWARNINGS": QUIET, **os.environ, **given}

    class Kernel(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await super().start_kernel(env=environment, stderr=log, **options)

    return Kernel


class _Indented:
    """Passes on what a notebook prints, indented; progress bars only to a terminal, as they flood a log."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if "\r" not in text or self.stream.isatty():
            self.stream.write(re.sub(r"(?m)^(?=.)", "    ", text))

    def flush(self) -> None:
        self.stream.flush()


def _point_latest(out: Path) -> None:
    """Let `latest` lead to the run folder beside it: a link, or where links are refused a text file."""
    latest = out.with_name("latest")
    try:
        with files.atomic_write(latest) as partial:
            partial.symlink_to(out.name)
    except (OSError, NotImplementedError):
        latest.write_text(out.name, encoding="utf-8")
