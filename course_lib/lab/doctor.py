"""What this machine has: each line OK, or what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from packaging.requirements import Requirement

from course_lib import files
from course_lib.hear import listen
from course_lib.music import notes


def doctor() -> int:
    """Print what the machine has, each line OK or what to do; 1 when something required is missing."""
    missing = False
    for fine, required, text in _checks():
        print("OK " if fine else "!! ", text, flush=True)
        missing |= required and not fine
    return int(missing)


def _checks() -> Iterator[tuple[bool, bool, str]]:
    """Whether a thing is fine, whether it is required, and what there is or what to do."""
    fine = sys.version_info >= (3, 11)
    yield fine, True, f"Python {platform.python_version()}" + ("" if fine else ": install 3.11 or later")

    wrong = list(_wrong_packages())
    todo = ": " + ", ".join(wrong) + "; pip install -r requirements.txt" if wrong else " in their ranges"
    yield not wrong, True, f"packages{todo}"

    # In a process of its own: importing a backend may crash, is noisy, and holds the GPU.
    code = (
        "import keras\ntry: gpus = keras.distribution.list_devices('gpu')\nexcept Exception: gpus = []\n"
        "print(keras.__version__, keras.config.backend(), len(gpus))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        todo = "install its backend, or set KERAS_BACKEND to one that is there"
        yield False, True, f"Keras cannot be imported ({reason}): {todo}"
    else:
        version, backend, gpus = done.stdout.split()[-3:]
        yield True, True, f"Keras {version} on {backend}"
        if gpus == "0" and shutil.which("nvidia-smi"):
            yield False, False, f'GPU not seen by {backend}: pip install -e ".[gpu]"'
        else:
            yield True, False, f"GPU: {gpus if gpus != '0' else 'none; a CPU is fine for the quick profile'}"

    todo = ": no Ogg could be written; pip install -r requirements.txt"
    try:
        with tempfile.TemporaryDirectory() as folder:
            ogg = listen.save(notes.to_score(["C4_quarter"]), Path(folder) / "note")[1]
        yield ogg is not None, False, "sound" + (": a note was written as Ogg" if ogg else todo)
    except Exception as error:  # whatever a sound library may raise
        yield False, False, f"sound{todo} ({error})"

    free = shutil.disk_usage(".").free / 2**30
    yield free > 2, False, f"disk: {free:.1f} GiB free here" + ("" if free > 2 else "; make room for 2 GiB")

    cache = files.cache_folder()
    state = "built" if any(cache.glob("embedded-*")) else "will be built on first use (a minute)"
    yield True, False, f"corpus: {state} in {os.path.relpath(cache)}"

    fine = find_spec("jupyterlab") is not None and "python3" in KernelSpecManager().find_kernel_specs()
    todo = "" if fine else ": pip install jupyterlab ipykernel"
    yield fine, True, f"JupyterLab and its python3 kernel{todo}"


def _wrong_packages() -> Iterator[str]:
    """The packages that are missing or outside the ranges this package asks for."""
    try:
        requirements = [Requirement(line) for line in metadata.requires("course-lib") or []]
    except metadata.PackageNotFoundError:
        yield "course-lib is not installed (pip install -e .)"
        return
    for needed in requirements:
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue  # of an extra
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield f"{needed} is missing"
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield f"{needed} is needed, not {version}"
