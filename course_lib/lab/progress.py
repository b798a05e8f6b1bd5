"""What a study of many runs says while it runs: a line a job on the terminal, and a page that renews itself."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from course_lib import files
from course_lib.lab import plan, report

OUTPUT = "output.log"  # in the folder of a job: what its notebook prints
PAGE = "status.html"
EPOCH = re.compile(r"epoch (\d+)/(\d+)\s*(.*)")
EVERY = 60  # seconds between two sights of a job in a log; on a terminal its line is renewed
SHORT = 0.1  # share of the memory that is free, below which to say so


class Board:
    """The jobs of a study: which wait, run (they have begun to write `output.log`), are done or have failed."""

    def __init__(self, jobs: Sequence[plan.Job], out: Path, dashboard: str, seconds: Mapping[str, float]) -> None:
        self.jobs, self.out, self.dashboard, self.seconds = list(jobs), out, dashboard, seconds
        self.failed: list[str] = []
        self.ends: dict[str, str] = {}  # of a job by name: how it ended
        self.begun: dict[str, float] = {}
        self.count = 0
        self._started = self._told = time.monotonic()
        self._lines = 0  # on the terminal, to be written over
        self._short = False
        if dashboard:
            print(f"Dashboard   {dashboard}")
        print(f"Status      {out / PAGE}", flush=True)

    def was_done(self, job: plan.Job) -> bool:
        """Whether a job needs no run; says so, or why it runs again."""
        reason = plan.why_again(job)
        (job.folder / OUTPUT).unlink(missing_ok=True)
        if reason is None:
            self.count += 1
            self.ends[job.name] = "was done before"
            self.say(f"[{self.count}/{len(self.jobs)}] {job.name} ... was done before")
        elif reason:
            self.say(f"{job.name}: {reason}, run again")
        return reason is None

    def expected(self, job: plan.Job) -> float:
        """Seconds that a job is thought to take; 0 where nobody knows."""
        return self.seconds.get(job.notebook.stem, 0.0)

    def ended(self, job: plan.Job, error: str | None) -> None:
        """Note that a job ended, with an error or without, and say so."""
        self.count += 1
        took = report.duration(time.monotonic() - self.begun.get(job.name, time.monotonic()))
        self.ends[job.name] = f"FAILED after {took}: {error}" if error else f"done in {took}"
        if error:
            self.failed.append(f"  {job.name}: {error}")
        self.say(f"[{self.count}/{len(self.jobs)}] {job.name} ... {self.ends[job.name]}")

    def running(self) -> list[plan.Job]:
        """The jobs at work."""
        found = [job for job in self.jobs if job.name not in self.ends and (job.folder / OUTPUT).exists()]
        for job in found:
            self.begun.setdefault(job.name, time.monotonic())
        return found

    def line(self, job: plan.Job) -> str:
        """Where a job is: name, time so far and left, epoch, figures."""
        elapsed = time.monotonic() - self.begun[job.name]
        words = [job.name, report.duration(elapsed)]
        if left := max(0.0, self.expected(job) - elapsed):
            words.append(f"about {report.duration(left)} left")
        if epoch := last_epoch(job.folder / OUTPUT):
            words.append(epoch)
        return " · ".join(words)

    def show(self) -> None:
        """Renew the lines of what runs, and the page."""
        lines = [self.line(job) for job in self.running()]
        self._write_page(lines)
        if sys.stdout.isatty():
            self._erase()
            for line in lines:
                print(f"  {line}"[:100])
            self._lines = len(lines)
            sys.stdout.flush()
        elif time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            print(*[f"  {line}" for line in lines], sep="\n", flush=True)
        memory = psutil.virtual_memory()
        if memory.available < SHORT * memory.total and not self._short:
            self._short = True
            left = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.0f} GiB are left"
            self.say(f"Memory runs short on this machine ({left}): stop with Ctrl-C and go on with fewer --jobs.")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._erase()
        print(line, flush=True)

    def until_quiet(self, seconds: float) -> None:
        """Wait until no process is at work in the folder of a job, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(_locked(job) for job in self.running()):
            time.sleep(0.2)

    def close(self) -> None:
        """Leave the page as it ended."""
        self._erase()
        self._write_page([])

    def _erase(self) -> None:
        if self._lines and sys.stdout.isatty():
            print(f"\x1b[{self._lines}A\x1b[J", end="")
        self._lines = 0

    def _write_page(self, lines: Sequence[str]) -> None:
        waiting = len(self.jobs) - len(self.ends) - len(lines)
        content: dict[str, Any] = {
            "lines": lines,
            "ends": [(job.name, self.ends[job.name]) for job in self.jobs if job.name in self.ends],
            "counts": f"{len(self.ends)} of {len(self.jobs)} ended, {len(lines)} running, {waiting} waiting",
            "elapsed": report.duration(time.monotonic() - self._started),
            "dashboard": self.dashboard,
            "over": len(self.ends) == len(self.jobs),
        }
        with files.atomic_write(self.out / PAGE) as partial:
            partial.write_text(report.template("status.html.j2", self.out).render(content), encoding="utf-8")


def last_epoch(output: Path) -> str:
    """The last line of training in a notebook's output; "" where there is none."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - 4096))
            tail = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    found = EPOCH.findall(tail)
    return "epoch {}/{} {}".format(*found[-1]).strip() if found else ""


def _locked(job: plan.Job) -> bool:
    """Whether some process is at work in the folder of a job."""
    try:
        with FileLock(job.folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True
