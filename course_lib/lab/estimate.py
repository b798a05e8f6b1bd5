"""What a study will need: about how long, how much memory and disk, from the committed results and this machine."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from course_lib import files
from course_lib.lab import plan, provenance, record, report, scoreboard

USUAL_MIB = 2048  # of memory and of disk for a run, where no committed one tells
SPEED = "COURSE_SPEED"  # the variable by which a run is told the speed of its machine

# Updates a second of a small GRU, as the lessons train it, in a process of its own: TensorFlow keeps what it took.
MEASURE = """
import time, numpy, keras
keras.utils.set_random_seed(0)
notes = numpy.random.default_rng(0).integers(0, 500, (32, 64))
layers = [keras.layers.Embedding(500, 96), keras.layers.GRU(96, return_sequences=True), keras.layers.Dense(500)]
network = keras.Sequential(layers)
network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
network.train_on_batch(notes, notes)
updates, started = 0, time.monotonic()
while (seconds := time.monotonic() - started) < 5:
    network.train_on_batch(notes, notes)
    updates += 1
print(updates / seconds)
"""


def speed() -> float | None:
    """Updates a second of a small GRU on this machine; measured once (ten seconds) and kept in the cache."""
    path, machine = files.cache_folder() / "speed.json", f"{provenance.device()}, {os.cpu_count()} cores"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if machine not in known:
        print("Measuring the speed of this machine, once ...", flush=True)
        done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True)
        if done.returncode:
            return None
        known[machine] = round(float(done.stdout.split()[-1]), 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(path) as partial:
            partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known[machine]


class Needs:
    """What notebooks took in a profile, by the committed runs."""

    def __init__(self, profile: str) -> None:
        self.runs: dict[str, list[record.Record]] = {}  # by notebook
        for run in scoreboard.committed():
            if run.profile == profile and run.data.name == "embedded" and not run.changed:
                self.runs.setdefault(run.notebook, []).append(run)

    def seconds(self, speed: float | None) -> dict[str, float]:
        """Of each notebook, on a machine of this speed."""
        return {name: statistics.fmean(scaled(run, speed) for run in runs) for name, runs in self.runs.items()}

    def memory(self, jobs: Sequence[plan.Job]) -> float:
        """MiB of the largest of some jobs."""
        return max((run.peak_memory_mib or 0 for run in self._of(jobs)), default=0) or USUAL_MIB

    def disk(self, jobs: Sequence[plan.Job]) -> float:
        """MiB that some jobs leave, together."""
        found = [[run.disk_mib for run in self._of([job]) if run.disk_mib] for job in jobs]
        return sum(max(known, default=USUAL_MIB) for known in found)

    def _of(self, jobs: Sequence[plan.Job]) -> list[record.Record]:
        return [run for name in {job.notebook.stem for job in jobs} for run in self.runs.get(name, [])]


def scaled(run: record.Record, here: float | None) -> float:
    """The seconds of a run as this machine would take; as they were, where one of the two speeds is unknown.

    Of a run that went on after a stop, `seconds` holds its last part alone, and its trainings the whole of theirs.
    """
    seconds = max(run.seconds, sum(training.seconds for training in run.trainings.values()))
    return seconds * run.speed / here if run.speed and here else seconds


def sentence(jobs: Sequence[plan.Job], needs: Needs, speed: float | None, workers: int, out: Path) -> str:
    """How many runs, about how long, and the disk that they need beside what is free; 0 workers: nobody knows yet."""
    seconds = needs.seconds(speed)
    known = [seconds[job.notebook.stem] for job in jobs if job.notebook.stem in seconds]
    words = [f"{len(jobs)} run{'s' * (len(jobs) != 1)}" + f", {workers} at once" * (workers > 1)]
    if known:
        least, most = max(sum(known) / max(1, workers), *known), sum(known)
        words.append(f"about {report.duration(least)}" + f" to {report.duration(most)}" * (workers > 1))
    if unknown := len(jobs) - len(known):
        words.append(f"{unknown} of unknown length: no such run is committed")
    need = needs.disk(jobs) / 1024
    free = shutil.disk_usage(next(folder for folder in [out, *out.parents] if folder.exists())).free / 2**30
    words.append(f"disk: {need:.1f} GiB of {free:.0f} free" + ", which may not do" * (need > free))
    return "; ".join(words) + "."
