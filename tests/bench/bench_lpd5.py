"""Preparing LPD-5: songs a second, and the peak memory, which must not grow with the songs.

    python tests/bench/bench_lpd5.py [MIDI.zip]

Songs have the size of LPD-5's own: 400 beats at 24 steps a beat, looped from the MIDI files of an archive
(default: band_midi_children_songs.zip in $COURSE_TEST_DATA), or else made of random notes.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import symusic
from scipy.sparse import csc_matrix

from course_lib import music
from data_scripts import lpd5

BEATS, RESOLUTION = 400, 24
DISTINCT = 60  # songs; the tree repeats them under other names
SIZES = (500, 2_000)
MEMORY = 1.5 * 1024  # MiB


def main(archive: str | None = None) -> dict[str, float]:
    """Prepare both trees, print a line each, and return the figures of the larger."""
    path = Path(archive or os.path.join(os.environ.get("COURSE_TEST_DATA", ""), "band_midi_children_songs.zip"))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        songs = _real(path) if path.is_file() else _random()
        contents = [_npz(roll) for roll in songs]
        kind = "real music" if path.is_file() else "random notes"
        print(f"LPD-5: songs of {np.mean([len(content) for content in contents]) / 1024:.0f} KiB, {kind}")
        for size in SIZES:
            _tree(folder / f"lpd-{size}", contents, size)
            seconds, peak = _prepare(folder / f"lpd-{size}", folder / f"out-{size}")
            whole = lpd5.SONGS * seconds / size / 60
            print(
                f"LPD-5, {size:,} songs: {size / seconds:.0f} songs a second (target 300), peak {peak:.0f} MiB "
                f"(limit {MEMORY:.0f}); {lpd5.SONGS:,} songs would take {whole:.1f} minutes"
            )
            found = {"songs_a_second": size / seconds, "growth": peak / found.get("peak", peak), "peak": peak}
    print(f"LPD-5: peak of {SIZES[1]:,} songs over that of {SIZES[0]:,}: {found['growth']:.2f}")
    return found


def _real(path: Path) -> list[np.ndarray]:
    """bool (9600, 128, 5): the bands of an archive of MIDI files, each looped to the length."""
    songs = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist()[:DISTINCT]:
            roll = music.band.from_score(symusic.Score.from_midi(archive.read(name)), RESOLUTION)
            songs.append(np.resize(roll, (BEATS * RESOLUTION, 128, 5)))
    return songs


def _random() -> list[np.ndarray]:
    """The same of notes of up to a beat: four a beat and instrument, in three octaves."""
    rng, songs = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        roll = np.zeros((BEATS * RESOLUTION, 128, 5), bool)
        for start, length, pitch, channel in rng.integers((0, 1, 40, 0), (len(roll), 24, 76, 5), (20 * BEATS, 4)):
            roll[start : start + length, pitch, channel] = True
        songs.append(roll)
    return songs


def _npz(roll: np.ndarray) -> bytes:
    """A file as pypianoroll 0.3 wrote those of LPD-5."""
    arrays: dict[str, np.ndarray] = {"tempo": np.full(len(roll), 120.0), "downbeat": np.arange(len(roll)) % 96 == 0}
    info: dict[str, object] = {"beat_resolution": RESOLUTION, "name": "song"}
    for number, name in enumerate(("Drums", "Piano", "Guitar", "Bass", "Strings")):
        part = csc_matrix(roll[:, :, music.band.INSTRUMENTS.index(name)] * np.uint8(90))
        arrays |= {
            f"pianoroll_{number}_csc_{key}": getattr(part, key) for key in ("data", "indices", "indptr", "shape")
        }
        info[str(number)] = {"program": 0, "is_drum": name == "Drums", "name": name}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("info.json", json.dumps(info), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _tree(folder: Path, contents: list[bytes], size: int) -> None:
    for number in range(size):
        name = f"TR{number:016d}"
        where = folder / "lpd_5" / "lpd_5_cleansed" / name[-1] / name[-2] / name[-3] / name
        where.mkdir(parents=True)
        (where / f"{number:032x}.npz").write_bytes(contents[number % len(contents)])


def _prepare(tree: Path, out: Path) -> tuple[float, float]:
    """Seconds, and the peak in MiB of the resident memory of the command, by psutil twenty times a second."""
    command = [sys.executable, "-m", "data_scripts.lpd5", "--file", str(tree), "--out", str(out)]
    started, peak = time.perf_counter(), 0
    with psutil.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - started, peak / 2**20


if __name__ == "__main__":
    main(*sys.argv[1:2])
