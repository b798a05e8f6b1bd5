"""Public data sets: one registry, and how those of Boulanger-Lewandowski are read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from course_lib import files

DOWNLOADS = {  # name: (file, its SHA-256); data_scripts/download.py fetches them
    "jsb": ("JSB_Chorales.mat", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),
    "nottingham": ("Nottingham.mat", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),
    "muse": ("MuseData.mat", "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff"),
    "piano_midi": ("Piano_midi.mat", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"),
}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # beside the checkout
LOWEST_KEY = 21  # MIDI pitch of the first of a piano's 88 keys


def find(name: str) -> Path | None:
    """The file of a data set of `DOWNLOADS`, its SHA-256 checked, or None where there is none.

    Looked for in the downloads of the cache, then in the folder ``$COURSE_DATA``, then in ``shared/data``
    beside the checkout, so that a class can share one copy. A file of that name with other content is named
    on stderr and passed over. Raises ValueError for an unknown name.
    """
    if name not in DOWNLOADS:
        raise ValueError(f"There is no data set '{name}': choose {', '.join(DOWNLOADS)}.")
    file, sha256 = DOWNLOADS[name]
    folders = [files.download_folder(), SHARED_DATA]
    if class_folder := os.environ.get("COURSE_DATA"):
        folders.insert(1, Path(class_folder).expanduser())
    for where in folders:
        if files.has_sha256(where / file, sha256):
            return where / file
        if (where / file).exists():
            print(f"Passed over {where / file}: its SHA-256 is not the published one.", file=sys.stderr)
    return None


def polyphonic(name: str) -> dict[str, list[np.ndarray]]:
    """The songs of a data set of Boulanger-Lewandowski et al. (2012), each bool ``(frames, 88)``.

    The keys "train", "valid" and "test" are the published splits. A frame is a quarter note in "jsb" and an
    eighth in "nottingham", "muse" and "piano_midi". Column 0 is MIDI pitch 21 (`LOWEST_KEY`), as in the
    authors' own lists of pitches. The chorales of "jsb" all stand in C major or C minor, about an octave
    above where Bach wrote them. The files are those that Bai et al. (2018) give with their code.
    Raises ValueError where no verified file is found, and for a file that holds anything else.
    """
    from scipy.io import loadmat  # here, since most notebooks have no use for it

    path = find(name)
    if path is None:
        raise ValueError(
            f"The data set '{name}' is not here: run `python -m data_scripts.download {name}`, "
            f"or set COURSE_DATA to a folder that holds {DOWNLOADS[name][0]}."
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
