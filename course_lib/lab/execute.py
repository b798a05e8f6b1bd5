"""One notebook executed headless by papermill."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TextIO

import papermill
import psutil
import zmq
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError

from course_lib.lab import machine, plan

# What libraries say to their own programmers: the reader of a run can do nothing about it.
QUIET = "ignore::DeprecationWarning,ignore::PendingDeprecationWarning,ignore::FutureWarning"
# On Linux memory that a batch has freed is kept for the next: glibc would give it back and take it anew, at a page
# fault for every 4 kB, and the VAEs of 09 took 1.1 times as long to train on one machine, twice on another. (Dask asks
# for even that, for its own workers.)
# What is larger than 16 MiB, such as the songs of a lesson, still goes back at once.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**24),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "MALLOC_TOP_PAD_": str(2**26),  # or each thread's memory would go back as a whole
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads, or each keeps its own: 300 MiB more in 09
}
FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT)))  # what a notebook's error says where its disk was full
DIED = "The kernel died: the memory ran out, or a library crashed (kernel.log may tell)."


class Stopped(Exception):
    """Somebody asked the run to end; what it has done is kept."""


def execute(
    job: plan.Job,
    output: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[psutil.Process], None] = lambda kernel: None,
) -> str | None:
    """Execute one notebook in the python3 kernel; returns the last line of the error it ended in, or None.

    A failed run keeps its executed notebook, gets an `error.txt` and has no `result.json`. What C libraries print
    goes to `kernel.log`.

    Args:
        job: what to execute, and where.
        output: takes what the notebook prints (default: this process's own output, indented).
        environment: variables of the kernel, beside those of this process and `machine.variables`.
        watch: called about once a second; what it raises kills the kernel and ends the run: `Stopped`, or an error
            which is then the notebook's own.

    Raises:
        OSError: a file could not be written, by this process or by the notebook's, as on a full disk.
        Stopped: by `watch`.
    """
    result, error_file, log_file = (job.folder / name for name in ("result.json", "error.txt", "kernel.log"))
    job.folder.mkdir(parents=True, exist_ok=True)
    for earlier in (job.executed, result, error_file):
        earlier.unlink(missing_ok=True)
    for library in ("papermill", "asyncio", "traitlets"):  # an error is told below, once, and a stop by `run`
        logging.getLogger(library).setLevel(logging.CRITICAL)
    error, guard = "", _Guard(watch)
    try:
        with log_file.open("wb") as log, tempfile.TemporaryDirectory(prefix="kernel-") as sockets, guard:
            executed = papermill.execute_notebook(
                # papermill formats the paths
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, job.partial)),
                job.parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=output or _Indented(sys.stdout),
                stderr_file=output or _Indented(sys.stderr),
                cwd=job.notebook.parent,
                kernel_manager_class=_kernel(job, log, sockets, environment or {}, guard),
                extra_arguments=[
                    "--log-level=50",
                    "--IPKernelApp.capture_fd_output=False",
                    "--HistoryManager.hist_file=:memory:",  # its file breaks on network disks
                ],
            )
        if executed.metadata.papermill.exception:  # papermill takes sys.exit() for a good end
            error = "SystemExit: the notebook stopped before its last cell."
    except papermill.PapermillExecutionError as caught:
        error = f"{caught.ename}: {caught.evalue}".strip()
        if any(words in error for words in FULL):
            result.unlink(missing_ok=True)
            raise OSError(errno.ENOSPC, FULL[0], str(job.folder)) from caught
    except (KeyboardInterrupt, Exception) as caught:
        # Neither a stop nor a full disk is the notebook's failure. A time-out is an OSError without errno.
        if isinstance(caught, KeyboardInterrupt) or getattr(caught, "errno", None):
            result.unlink(missing_ok=True)
            raise
        error = DIED if isinstance(caught, DeadKernelError) else f"{type(caught).__name__}: {caught}"
    if guard.reason:
        if isinstance(guard.reason, Stopped):
            result.unlink(missing_ok=True)
            raise guard.reason
        error = str(guard.reason)
    if error:
        error = error.splitlines()[-1]
        if re.search("RESOURCE_EXHAUSTED|ResourceExhausted|out of memory|OOM", error):
            sizes = [name for name in plan.read_lesson(job.notebook).settings if "batch" in name]
            error = (
                f"The memory of the GPU ran out: lower {' or '.join(sizes) or 'the batches'} (-s NAME VALUE). {error}"
            )
        result.unlink(missing_ok=True)
        error_file.write_text(error + "\n", encoding="utf-8", errors="replace")
    if job.partial.exists():
        os.replace(job.partial, job.executed)
    return error or None


class _Guard:
    """Calls `watch` with the kernel's process each second while it is entered; kills the kernel where that raises."""

    def __init__(self, watch: Callable[[psutil.Process], None]) -> None:
        self.watch, self.kernel, self.reason = watch, None, None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    kernel: psutil.Process | None
    reason: Exception | None

    def _run(self) -> None:
        while not self._over.wait(1):
            if self.kernel is None:
                continue
            try:
                self.watch(self.kernel)
            except psutil.NoSuchProcess:
                return
            except Exception as reason:
                self.reason = reason
                self.kernel.kill()
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: Any) -> None:
        self._over.set()
        self._thread.join()


def _kernel(
    job: plan.Job, log: BinaryIO, sockets: str, given: Mapping[str, str], guard: _Guard
) -> type[AsyncKernelManager]:
    """Kernels that know their job, and keep the start-up notes of C libraries out of sight.

    They talk over files in `sockets` where the system can: of two started at once, TCP may give both the same port.
    """
    over_files = zmq.has("ipc") and sys.platform != "win32"
    environment = {"PYTHONWARNINGS": QUIET, **machine.variables(), **os.environ, **ALLOCATOR, **given} | {
        "COURSE_OUT": str(job.folder),
        "COURSE_SETTINGS": json.dumps(job.settings),
        "COURSE_NOTEBOOKS": str(job.notebook.parent),
    }

    class Kernel(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, **{"transport": "ipc", "ip": f"{sockets}/kernel"} if over_files else {})

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await super().start_kernel(env=environment, stderr=log, **options)
            guard.kernel = psutil.Process(self.provisioner.pid)  # type: ignore[union-attr]

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
