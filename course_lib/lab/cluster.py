"""Many runs at once: the jobs of a plan as tasks of a Dask cluster, on this machine or on others.

A task is one run of a notebook. Dask gives it to another worker where its own is lost, and training goes on from its
last epoch there, as all workers share the file system. What is running is known from the files that it writes.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import dask
import psutil
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    Nanny,
    Reschedule,
    Scheduler,
    SpecCluster,
    Status,
    Worker,
    get_worker,
)
from filelock import FileLock

from course_lib import UsageError
from course_lib.lab import execute, machine, plan, progress, provenance

PLACE = "notebook"  # the resource of which a worker has one, and a job takes one
STOP = ".stop"  # the file in the run folder that ends its runs
# A job takes minutes, and the cores are for it: Dask looks at itself less often than its usual short tasks need.
CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
PATIENCE = 600  # seconds to wait for a scheduler that went away


def _quiet() -> None:
    """Keep what Dask logs from the terminal: a lost worker is no news, its job goes on elsewhere."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def here(workers: int) -> Iterator[Client]:
    """A client of a new cluster of so many workers on this machine, each with a GPU of its own where there are any."""
    _quiet()
    memory, devices = int(psutil.virtual_memory().total / workers), machine.gpus()
    nannies = {}
    for number in range(workers):
        own = {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} if devices else {}
        options = {"nthreads": 1, "memory_limit": memory, "resources": {PLACE: 1}, "silence_logs": 50, "env": own}
        nannies[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with (
        dask.config.set(CALM),
        SpecCluster(workers=nannies, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def elsewhere(address: str) -> Iterator[Client]:
    """A client of a cluster that is there. Raises UsageError where nothing answers."""
    _quiet()
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"No Dask scheduler answers at {address} ({reason}): start one, or use --jobs.") from error
    with client:
        yield client


def execute_all(
    jobs: Sequence[plan.Job], client: Client, out: Path, seconds: Mapping[str, float], threads: int
) -> list[str]:
    """Execute what is not done yet on the workers that fit; returns a line for each that failed.

    Jobs that compare seconds run one at a time, after the others; those that read what all others left come last.

    Args:
        jobs: of a plan.
        client: of the cluster.
        out: the folder of the study, which all workers see.
        seconds: that a notebook is thought to take, by its name.
        threads: of a job; 0: as many as its worker has.

    Raises:
        UsageError: no worker fits, or the scheduler went away and did not come back.
    """
    (out / STOP).unlink(missing_ok=True)
    board = progress.Board(jobs, out, client.dashboard_link, seconds)
    waiting = [job for job in jobs if not board.was_done(job)]
    crew = Crew(client, out)
    phases = [[job for job in waiting if not job.alone and not job.reads_runs]]
    phases += [[job] for job in waiting if job.alone and not job.reads_runs]
    phases += [[job for job in waiting if job.reads_runs]]
    try:
        for phase in phases:
            _execute(phase, crew, board, machine.cores() if threads and any(job.alone for job in phase) else threads)
    except KeyboardInterrupt:
        (out / STOP).touch()
        board.until_quiet(seconds=15)
        raise
    finally:
        (out / STOP).unlink(missing_ok=True)
        board.close()
    return board.failed


def _execute(jobs: Sequence[plan.Job], crew: Crew, board: progress.Board, threads: int) -> None:
    """Submit some jobs, each after those it reads and the longest way to the end first; return when all have ended."""

    def weight(job: plan.Job) -> float:
        then = [board.expected(other) for other in jobs if job.notebook.name[:2] in other.reads]
        return board.expected(job) + max(then, default=0)

    # A future can wait only for one that is there; workers that are free take what comes first.
    left = sorted(jobs, key=lambda job: (bool(job.reads), -weight(job)))
    futures: dict[Future, plan.Job] = {}

    def submit(job: plan.Job) -> None:
        after = [future for future, other in futures.items() if other.notebook.name[:2] in job.reads]
        rule = {"pure": False, "resources": {PLACE: 1}, "priority": weight(job)}
        futures[crew.client.submit(attempt, job, threads, crew.needs, after, **rule)] = job

    while left:
        futures.clear()
        for job in left:
            submit(job)
        try:
            while futures and crew.client.status == "running":
                with suppress(OSError):  # it has just gone away
                    if crew.check(board):  # what a worker was given that is now left out would wait there for ever
                        begun = board.running()
                        for future in [future for future, job in futures.items() if job not in begun]:
                            future.cancel()
                            submit(futures.pop(future))
                time.sleep(0.5)
                board.show()
                for future in [future for future in futures if future.done()]:
                    job = futures.pop(future)
                    if future.cancelled():  # as its scheduler is gone
                        continue
                    left.remove(job)
                    board.ended(job, _outcome(future))
        except KeyboardInterrupt:
            crew.client.cancel(list(futures))
            raise
        if left:
            crew.await_scheduler(board)


def _outcome(future: Future) -> str | None:
    """The error in which a task ended, or None; every future is read, so that no failure vanishes."""
    try:
        return future.result()
    except (Exception, CancelledError) as error:
        lost = isinstance(error, KilledWorker)
        return "Its worker was lost, again and again." if lost else f"{type(error).__name__}: {error}"


def attempt(
    job: plan.Job, threads: int, needs: tuple[str, dict[str, str], Path], after: Sequence[str | None]
) -> str | None:
    """On a worker: execute a job, unless it has been done meanwhile; the last line of its error, or None.

    Dask calls it when those of `after` have ended, however they did. A worker whose scheduler went away may still be
    at work in the folder of the job: then this one waits.
    """
    if unfit(*needs):  # it came after the last look at the workers
        time.sleep(2)
        raise Reschedule
    job.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(job.folder / ".lock"):
        if plan.why_again(job) is None:
            return None
        worker, stop = get_worker(), needs[-1] / STOP
        threads = threads or worker.state.nthreads
        with (job.folder / progress.OUTPUT).open("w", buffering=1, encoding="utf-8", errors="replace") as output:
            try:
                return execute.execute(job, output, machine.variables(threads), partial(_watch, stop, worker))
            except execute.Stopped:
                if stop.exists():
                    raise
                raise Reschedule from None  # the worker closes before its time on a queue is up
            except OSError:
                worker.loop.add_callback(_take_place, worker)  # which the runner sees, and names it
                time.sleep(2)
                raise Reschedule from None


def _watch(stop: Path, worker: Worker, kernel: psutil.Process) -> None:
    """Raises `Stopped` where the runner or the worker ends, and MemoryError for a kernel that outgrows its worker."""
    if stop.exists() or worker.status != Status.running:
        raise execute.Stopped("The run was stopped.")
    held, limit = kernel.memory_info().rss, worker.memory_manager.memory_limit  # type: ignore[union-attr]
    if limit and held > limit:
        raise MemoryError(
            f"The notebook held {held / 2**30:.1f} GiB, its worker has {limit / 2**30:.1f}: give it smaller batches "
            "(-s batch_size), or take fewer --jobs."
        )


class Crew:
    """The workers of a cluster: those that do not fit lose their place."""

    def __init__(self, client: Client, out: Path) -> None:
        self.client, self.out = client, out
        self.needs = (provenance.package_hash(), provenance.versions(), out)
        self.fit: set[str] = set()
        self.refused: dict[str, str] = {}

    def check(self, board: progress.Board) -> bool:
        """Look at the workers that are new; name those that do not fit, and return whether there are any.

        Raises:
            UsageError: none fits.
        """
        before = len(self.refused)
        workers = self.client.scheduler_info()["workers"]
        self.fit &= set(workers)
        for address in [address for address in self.fit if not workers[address]["resources"].get(PLACE)]:
            self._refuse(address, "could not write its files (a full disk?)", board)
        for address in sorted(set(workers) - self.fit - set(self.refused)):
            [reason] = self.client.run(unfit, *self.needs, workers=[address], on_error="return").values() or [""]
            if isinstance(reason, OSError):  # it went away meanwhile
                continue
            if not isinstance(reason, str):
                reason = f"cannot run this package ({type(reason).__name__}: {reason})"
            if not reason and not workers[address]["resources"].get(PLACE):
                reason = f"has no place for a notebook: start it with --resources {PLACE}=1"
            if reason:
                self.client.run(_take_place, workers=[address], on_error="ignore")
                self._refuse(address, reason, board)
            else:
                self.fit.add(address)
        if self.refused and workers and not self.fit:
            reason = next(reason for address, reason in self.refused.items() if address in workers)
            raise UsageError(f"None of the {len(workers)} workers fits; the first one {reason}.")
        return len(self.refused) > before

    def _refuse(self, address: str, reason: str, board: progress.Board) -> None:
        self.fit.discard(address)
        self.refused[address] = reason
        board.say(f"Worker {address} is left out: it {reason}.")

    def await_scheduler(self, board: progress.Board) -> None:
        """Return when the scheduler answers again, as a new one that knows no job."""
        board.say("The scheduler went away: waiting for it (Ctrl-C to stop).")
        self.fit.clear()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.client.status == "running":
                with suppress(OSError, TimeoutError):
                    self.client.scheduler_info()
                    return
            elif self.client.status == "closed":
                with suppress(OSError, TimeoutError):
                    self.client = Client(self.client.scheduler.address, timeout=5)  # type: ignore[union-attr]
                    return
            time.sleep(1)
        raise UsageError(f"The scheduler did not come back in {PATIENCE // 60} minutes: start it and run this again.")


def unfit(package: str, expected: Mapping[str, str], out: Path) -> str:
    """On a worker: why it does not fit, a clause; "" where it does."""
    if provenance.package_hash() != package:
        return "has other code of course_lib"
    for name, version in provenance.versions().items():
        if version != expected[name]:
            return f"has {name} {version}, not {expected[name]}"
    if not out.is_dir():
        return f"does not see the folder {out}"
    if not os.access(out, os.W_OK):
        return f"cannot write to {out}"
    if shutil.disk_usage(out).free < 2**20:
        return f"has no room in {out}"
    return ""


async def _take_place(dask_worker: Any) -> None:
    await dask_worker.set_resources(**{PLACE: 0})
