"""Public data sets: the registry, `course_lib/datasets.toml`, and how those of Boulanger-Lewandowski are read."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib import files


class DataSet(NamedTuple):
    """A public data set, as the top of `course_lib/datasets.toml` explains."""

    title: str
    address: str
    licence: str
    used_by: str
    file: str = ""
    sha256: str = ""
    size: int | None = None


_TABLES = tomllib.loads(Path(files.__file__).with_name("datasets.toml").read_text(encoding="utf-8"))
REGISTRY = {name: DataSet(**fields) for name, fields in _TABLES.items()}
LOWEST_KEY = 21  # MIDI pitch of the first of a piano's 88 keys


def find(name: str) -> Path | None:
    """The file of a data set of `REGISTRY`, its SHA-256 checked, or None where there is none.

    Looked for in the downloads of the cache, then in the folder `$COURSE_DATA`, so that a class can share one copy.

    Raises:
        ValueError: for a name that stands for no single file.
    """
    single = [each for each, data_set in REGISTRY.items() if data_set.file]
    if name not in single:
        raise ValueError(f"There is no data set '{name}': choose {', '.join(single)}.")
    folders = [files.download_folder()]
    if class_folder := os.environ.get("COURSE_DATA"):
        folders.append(Path(class_folder).expanduser())
    for path in (folder / REGISTRY[name].file for folder in folders):
        if files.has_sha256(path, REGISTRY[name].sha256):
            return path
        if path.exists():
            print(f"Passed over {path}: its SHA-256 is not the published one.", file=sys.stderr)
    return None


def polyphonic(name: str) -> dict[str, list[np.ndarray]]:
    """The published splits "train", "valid" and "test" of a data set, their songs bool `(frames, 88)` each.

    A frame is a quarter note in "jsb" and an eighth in "nottingham", "muse" and "piano_midi"; column 0 is MIDI pitch
    21 (`LOWEST_KEY`). The chorales of "jsb" all stand in C major or C minor, about an octave above where Bach wrote
    them. Source: Boulanger-Lewandowski et al. (2012), in the files that Bai et al. (2018) give with their code.

    Raises:
        ValueError: where no verified file is found, and for a file that holds anything else.
    """
    from scipy.io import loadmat  # here, since most notebooks have no use for it

    path = find(name)
    if path is None:
        raise ValueError(
            f"The data set '{name}' is not here: run `python -m data_scripts.download {name}`, "
            f"or set COURSE_DATA to a folder that holds {REGISTRY[name].file}."
        )
    splits = ("train", "valid", "test")
    try:
        content = loadmat(path, variable_names=[f"{split}data" for split in splits])  # unpickles nothing
        return {split: [_frames(song) for song in content[f"{split}data"].ravel()] for split in splits}
    except Exception as error:  # loadmat raises many types on a damaged file
        raise ValueError(f"{path} holds no songs of 88 pitches in three splits ({error}).") from error


def _frames(song: np.ndarray) -> np.ndarray:
    if song.ndim != 2 or song.shape[1] != 88 or not len(song) or not np.isin(song, (0, 1)).all():
        raise ValueError(f"a song of {song.dtype} {song.shape} is not (frames, 88) of 0 and 1")
    return song.astype(bool)
