"""Time all notebooks side by side against one after another, and runs on Dask against the same in a plain pool.

    python tests/bench/bench_batches.py [NOTEBOOK ...]

Runs all notebooks twice, if none is named: allow an hour on two cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from course_lib.lab import cluster, execute, machine, plan, schema

SMOKE_RUNS, WORKERS = 24, 2


def main(notebooks: list[str] | None = None) -> dict[str, float]:
    """Measure, print one line a benchmark, and return the ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        return {
            "overhead": _overhead(Path(temporary) / "smoke"),
            "together": _together(Path(temporary), notebooks or []),
        }


def _together(out: Path, notebooks: list[str]) -> float:
    """The time of `run --jobs auto` on notebooks in `quick`, by that of one after another."""
    took = {}
    for name, jobs in {"one after another": "1", "side by side": "auto"}.items():
        command = [sys.executable, "-m", "course_lib", "run", *notebooks, "--jobs", jobs, "--out", str(out / name)]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took[name] = time.perf_counter() - started
    one, other = (_figures(out / name) for name in took)
    if one.keys() != other.keys():
        raise RuntimeError(f"Measured in one of the two only: {', '.join(one.keys() ^ other.keys())}")
    names = [name for name in one if one[name] is not None and other[name] is not None]
    exactly = sum(one[name] == other[name] for name in names)
    apart = max((abs(one[name] - other[name]) / max(abs(one[name]), 1e-9), name) for name in names)
    ratio = took["side by side"] / took["one after another"]
    print(
        f"{len(list(out.glob('one*/*')))} notebooks: {took['one after another']:.0f} s one after another, "
        f"{took['side by side']:.0f} s with --jobs auto: {ratio:.2f} of the time (target 0.70); {exactly} of "
        f"{len(names)} figures are the same to the last digit, {apart[1]} is furthest off by {apart[0]:.1e} of itself"
    )
    return ratio


def _figures(out: Path) -> dict[str, float | None]:
    """What the runs of a study measured: networks' and baselines' figures, and claims that compare no seconds."""
    found: dict[str, float | None] = {}
    for run in schema.load(out):
        for row in run.baselines:
            found |= {f"{run.notebook} {row['network']} {name}": value for name, value in row["baselines"].items()}
            found[f"{run.notebook} {row['network']}"] = row["value"]
        found |= {claim.id: claim.value for claim in run.claims if "faster" not in claim.id}
    return found


def _overhead(out: Path) -> float:
    """How much longer many short runs take on a Dask cluster than in a plain pool of processes, its start included."""
    os.environ["COURSE_SMOKE"] = "1"
    took = {}
    for name in ("pool", "Dask"):
        asked = {"notebooks": ["00"], "profile": "quick", "seed": [*range(SMOKE_RUNS)], "data": "embedded"}
        jobs = plan.plan(argparse.Namespace(**asked, parameter=[], setting=[], yes=False), out / name)
        for job in jobs:
            job.folder.mkdir(parents=True)
        threads = machine.threads(WORKERS)
        started = time.perf_counter()
        if name == "pool":
            with get_context("spawn").Pool(WORKERS) as pool:
                errors = pool.map(partial(_execute, threads=threads), jobs, chunksize=1)
        else:
            with cluster.here(WORKERS) as client:
                errors = cluster.execute_all(jobs, client, out / name, {}, threads)
        took[name] = time.perf_counter() - started
        if any(errors):
            raise RuntimeError(f"Some runs failed: {[error for error in errors if error]}")
    del os.environ["COURSE_SMOKE"]
    more = took["Dask"] / took["pool"] - 1
    print(
        f"{SMOKE_RUNS} short runs on {WORKERS} workers: {took['pool']:.0f} s in a plain pool, {took['Dask']:.0f} s on "
        f"Dask: {more:+.1%} (target under 3 %)"
    )
    return more


def _execute(job: plan.Job, threads: int) -> str | None:
    with (job.folder / "output.log").open("w", encoding="utf-8") as output:
        return execute.execute(job, output, machine.variables(threads))


if __name__ == "__main__":
    main(sys.argv[1:])
