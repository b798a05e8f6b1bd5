"""Notebooks executed headless: one after another here, or many at once on a Dask cluster."""

from __future__ import annotations

import argparse
import os
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import nbformat.sign
from filelock import FileLock, Timeout
from jupyter_core.paths import jupyter_data_dir

from course_lib import UsageError, files
from course_lib.lab import estimate, machine, plan, record, report
from course_lib.lab.execute import execute


def run(args: argparse.Namespace) -> int:
    """Execute the notebooks, write the report and return the exit status."""
    runs = files.runs_folder()
    out = Path(args.out).resolve() if args.out else runs / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    jobs = plan.plan(args, out)
    again = shlex.join(["python", "-m", "course_lib", *args.argv, *([] if args.out else ["--out", str(out)])])
    left = [job for job in jobs if plan.why_again(job) is not None]
    needs = estimate.Needs(args.profile)
    workers, threads = (0, 0) if args.scheduler else _workers(args.jobs, left, needs)
    speed = None
    if len(jobs) > 1 or args.dry_run:
        if any(job.notebook.stem in needs.runs for job in left):
            speed = estimate.speed()
        os.environ[estimate.SPEED] = str(speed or "")
        print(estimate.sentence(left, needs, speed, workers, out), flush=True)
    if args.dry_run:
        return 0
    out.mkdir(parents=True, exist_ok=True)

    try:
        with the_only_runner(out):
            if out.parent == runs and not all(job.reads_runs for job in jobs):
                _point_latest(out)
            if args.scheduler or workers > 1:
                from course_lib.lab import cluster  # Dask, which one run after another does not need

                opened = cluster.elsewhere(args.scheduler) if args.scheduler else cluster.here(workers)
                with opened as client:
                    failed = cluster.execute_all(jobs, client, out, needs.seconds(speed), threads)
            else:
                failed = execute_all(jobs)
    except KeyboardInterrupt:
        print(f"\nStopped; what is done is kept. To go on: {again}", file=sys.stderr)
        return 130

    _trust(jobs)
    print(f"\nReport      {report.write([out], out / 'index.html')}")
    results = [(job.folder, result) for job in jobs if (result := record.find(job.folder))]
    pieces = [
        (folder, piece)
        for folder, result in results
        for piece in sorted(result.music, key=lambda piece: not piece.first)
        if not piece.real
    ]
    print("First MIDI ", next((folder / piece.midi for folder, piece in pieces), "none"))
    print("First Ogg  ", next((folder / piece.ogg for folder, piece in pieces if piece.ogg), "none"))
    if failed:
        print(f"{len(failed)} of {len(jobs)} failed:", *failed, f"To try again: {again}", sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _workers(asked: str, left: Sequence[plan.Job], needs: estimate.Needs) -> tuple[int, int]:
    """How many workers on this machine, and the threads of each."""
    if asked == "auto":
        return machine.workers(len(left), needs.memory(left))
    number = max(1, min(int(asked), len(left)))
    return number, machine.threads(number)


@contextmanager
def the_only_runner(out: Path) -> Iterator[None]:
    """Hold the run folder while its notebooks are executed. Raises UsageError where another process does."""
    lock = FileLock(out / ".runner", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"Another run is at work in {out}: wait for it, or choose another --out.") from error
    try:
        yield
    finally:
        (out / ".runner").unlink(missing_ok=True)
        lock.release()


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


def _trust(jobs: Sequence[plan.Job]) -> None:
    """Sign the executed notebooks: JupyterLab takes the sound out of the players of one that nobody has vouched for."""
    with suppress(OSError, sqlite3.Error):  # a home that cannot be written: `jupyter trust` remains
        folder = jupyter_data_dir()
        Path(folder).mkdir(parents=True, exist_ok=True)  # where JupyterLab was never started
        # without the folder it would start an application of Jupyter, which sets up the logging of all libraries anew
        notary = nbformat.sign.NotebookNotary(data_dir=folder)
        for job in jobs:
            if job.executed.exists():
                notary.sign(nbformat.read(job.executed, as_version=4))


def _point_latest(out: Path) -> None:
    """Let `latest` lead to the run folder beside it: a link, or where links are refused a text file."""
    latest = out.with_name("latest")
    try:
        with files.atomic_write(latest) as partial:
            partial.symlink_to(out.name)
    except (OSError, NotImplementedError):
        latest.write_text(out.name, encoding="utf-8")
