"""What this machine has: each line OK, or what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from course_lib import files
from course_lib.hear import listen
from course_lib.lab import machine
from course_lib.learn import device
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
    yield True, True, f"Python {platform.python_version()}"  # an earlier one than 3.11 cannot import this

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
    try:
        compiled = {None: "where Keras can", True: "on", False: "off"}[device.xla()]
        chosen = f"{device.precision()}, XLA {compiled}"
        yield True, False, f"networks: {chosen} (COURSE_PRECISION, COURSE_XLA)"
    except ValueError as error:
        chosen = "?"
        yield False, True, str(error)
    for number, name in enumerate(machine.gpus()):
        yield True, False, f"GPU {name}: worker {number} of run --jobs auto, {chosen}, its memory taken as it is needed"

    try:
        listen.ogg(notes.to_score(["C4_quarter"]))
        yield True, False, "sound: a note was written as Ogg"
    except Exception as error:  # whatever a sound library may raise
        yield False, False, f"sound: no Ogg could be written ({error}); pip install -r requirements.txt"

    free = shutil.disk_usage(".").free / 2**30
    yield free > 2, False, f"disk: {free:.1f} GiB free here" + ("" if free > 2 else "; make room for 2 GiB")

    cache = files.cache_folder()
    state = "built" if any(cache.glob("embedded-*")) else "will be built on first use (a minute)"
    yield True, False, f"corpus: {state} in {os.path.relpath(cache)}"


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
