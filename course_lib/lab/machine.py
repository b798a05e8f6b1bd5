"""What this machine has for runs, cores, memory and GPUs, and what of its memory a run gives back."""

from __future__ import annotations

import gc
import os
import subprocess
from contextlib import suppress
from functools import cache

import IPython
import psutil

from course_lib.hear import soundfont
from course_lib.learn import device

LEFT = 32 * 2**20  # bytes that cells may leave behind before memory is given back


def workers(jobs: int, need_mib: float) -> tuple[int, int]:
    """How many workers pay for so many jobs, and the threads of each: one a GPU, else one a core that memory allows.

    `need_mib` is the memory of the largest job.
    """
    fitting = int(psutil.virtual_memory().total / 2**20 // need_mib)
    number = max(1, min(jobs, len(gpus()) or cores(), fitting))
    return number, threads(number)


def threads(workers: int) -> int:
    """The threads of each of so many workers."""
    return max(1, cores() // workers)


def variables(threads: int = 0) -> dict[str, str]:
    """What a kernel is told of the machine: to take a GPU's memory as it needs it, and to use so many threads.

    0 threads: as many as TensorFlow, OpenMP and BLAS choose.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return device.MEMORY_GROWTH | (
        dict.fromkeys(names, str(threads)) | {"TF_NUM_INTEROP_THREADS": "1"} if threads else {}
    )


@cache
def give_back_after_cells() -> None:
    """In a notebook, from now on: give back the memory of what no cell can reach any more, such as networks built anew.

    Python by itself looks for that seldom where so much is imported.
    """
    if (shell := IPython.get_ipython()) is None:
        return
    kept = 0
    gc.freeze()  # what is imported is looked through no more: a hundredth of a second in place of half a second

    def give_back(*_) -> None:
        nonlocal kept
        if _process().memory_info().rss > kept + LEFT:
            gc.collect()
            soundfont.give_back()
            kept = _process().memory_info().rss

    shell.events.register("post_run_cell", give_back)


def busy_beside() -> float:
    """Cores, of those that this process may use, that other programs kept busy since the last call, on average."""
    percents = psutil.cpu_percent(percpu=True)
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(percents))
    busy = sum(percents[core] for core in ours if core < len(percents))
    return round(max(0.0, busy - _process().cpu_percent()) / 100, 2)


@cache
def _process() -> psutil.Process:
    return psutil.Process()  # which remembers when it was last asked


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.CalledProcessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
        return [str(number) for number in range(listed.count("\nGPU ") + listed.startswith("GPU "))]
    return []
