"""Where a result came from: the code, its versions, the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.learn import device as device_settings

# Where figures come from: a record names the code of these, so that a better report or grader makes no result old.
FIGURES = ("learn", "measure", "music")
ALIKE = ("keras", "numpy", "symusic", "papermill", "distributed")  # packages that workers must have the same of


def notebooks_folder() -> Path:
    """`$COURSE_NOTEBOOKS`, else `notebooks/` of the checkout, else of the working folder."""
    folder = Path(os.environ.get("COURSE_NOTEBOOKS") or files.ROOT / "notebooks")
    return (folder if folder.is_dir() else Path("notebooks")).resolve()


def notebook_hash(path: Path) -> str:
    """Twelve digits that change when the code cells of a notebook do; "" where it cannot be read."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:12]


def package_hash(*rooms: str) -> str:
    """Twelve digits that change when the code or the data of this package do, or of the rooms (folders) named."""
    package, digest = Path(files.__file__).parent, hashlib.sha256()
    within = [package / room for room in rooms] or [package]
    for path in sorted(path for room in within for kind in ("py", "toml") for path in room.rglob(f"*.{kind}")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def of_process() -> dict[str, Any]:
    """What a record says of the process that made it."""
    keras = sys.modules.get("keras")  # not imported here: a run that trained nothing need not wait for it
    backend = keras.config.backend() if keras else None
    versions = {"python": platform.python_version()}
    for package in ("keras", "numpy", "music21", "symusic", backend or ""):
        with suppress(metadata.PackageNotFoundError, ValueError):
            versions[package] = metadata.version(package)
    if backend in sys.modules:  # its distribution may have another name, such as tensorflow-cpu
        versions[backend] = sys.modules[backend].__version__
    return {
        "commit": git_commit(),
        "versions": versions,
        "backend": backend,
        "device": device(str(keras.ops.zeros(1).device) if keras else "cpu"),
        "precision": device_settings.precision() if keras else "float32",
        "peak_memory_mib": _peak_memory(),
    }


def versions() -> dict[str, str]:
    """Of what makes runs alike."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in ALIKE}


def git_commit() -> str | None:
    """The commit of the checkout, with `-dirty` where tracked files differ from it; None outside of one."""
    if not (files.ROOT / ".git").exists():  # else git would name the commit of a project around this one
        return None
    return _output("git", "-C", str(files.ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def device(placed: str = "cpu") -> str:
    """The maker's name of the device on which Keras placed a tensor."""
    if "cpu" not in placed.lower():
        names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or placed
        return "GPU: " + ", ".join(sorted(set(names.splitlines())))
    with suppress(OSError):  # Linux alone has this file
        if match := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return f"CPU: {match[1]}"
    return f"CPU: {platform.processor() or platform.machine()}"


def _peak_memory() -> float | None:
    """MiB that this process held at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing or fails."""
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None
