"""Folders of the project, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parents[1]  # of the checkout, where there is one


def latest_run(runs: Path) -> Path:
    """The folder to which `latest` in the folder `runs` leads: a link, or where links are refused a text file."""
    latest = runs / "latest"
    return runs / latest.read_text(encoding="utf-8").strip() if latest.is_file() else latest.resolve()


def runs_folder() -> Path:
    """`runs/` of the checkout, else of the working folder."""
    return (ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()) / "runs"


def cache_folder() -> Path:
    """`$COURSE_CACHE`, else `cache/` of the checkout, else the user's cache folder."""
    if folder_name := os.environ.get("COURSE_CACHE"):
        return Path(folder_name)
    if (ROOT / "pyproject.toml").exists():
        return ROOT / "cache"
    return Path(platformdirs.user_cache_dir("course_lib"))


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A name to write a file under, which becomes `path` when the block ends without an error.

    Nobody sees it half-written, and processes that write it at once do not mix; what a kill leaves behind is hidden.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def download_folder() -> Path:
    """Where downloads are kept: `downloads/` of the cache folder."""
    return cache_folder() / "downloads"


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether `path` is a file with that SHA-256 (64 lower-case hexadecimal digits)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
