"""Time the fast encodings against the libraries they replace, on the same MIDI files in one run.

    python tests/bench/bench_encode.py [FOLDER]

FOLDER holds MIDI files at any depth; without it, eight pieces spread over the embedded corpus are used.
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import music21
import pypianoroll
import symusic
from lessons import definitions

from course_lib import music

FILES = 8


def main(folder: str | None = None) -> dict[str, dict[str, float]]:
    """Measure, print one line an encoding, and return its milliseconds a file, ratio and target."""
    warnings.simplefilter("ignore")  # pretty_midi warns of tempo changes outside the first track
    with tempfile.TemporaryDirectory() as temporary:
        files = sorted(music.midi.midi_files(Path(folder))) if folder else _embedded_files(Path(temporary))
        files = files[:: max(1, len(files) // FILES)][:FILES]
        notes = _compare("MIDI to notes", files, "music21", _music21_notes, _notes, target=50)
        frames = _compare("MIDI to frames", files, "pypianoroll", _pypianoroll_frames, _frames, target=30)
        return {"notes": notes, "frames": frames}


NOTES_FROM_MUSIC21 = definitions("01", "notes_from_music21")["notes_from_music21"]


def _embedded_files(folder: Path) -> list[Path]:
    pieces = music.corpus.embedded()
    files = [folder / f"{number}.mid" for number in range(FILES)]
    for file, piece in zip(files, pieces[:: len(pieces) // FILES], strict=False):
        piece.score.dump_midi(file)
    return files


def _music21_notes(file: Path) -> None:
    # forceSource: otherwise music21 reads its own pickle of the file from the second time on
    NOTES_FROM_MUSIC21(music21.converter.parse(file, quantizePost=False, forceSource=True))


def _notes(file: Path) -> None:
    music.notes.from_score(symusic.Score(file))


def _pypianoroll_frames(file: Path) -> None:
    pypianoroll.read(file).set_resolution(4)


def _frames(file: Path) -> None:
    music.frames.from_score(symusic.Score(file), steps_per_beat=4)


def _compare(
    task: str,
    files: list[Path],
    library: str,
    slow: Callable[[Path], None],
    fast: Callable[[Path], None],
    target: float,
) -> dict[str, float]:
    slow_ms = mean(milliseconds(slow, file, repeats=3) for file in files)
    fast_ms = mean(milliseconds(fast, file, repeats=21) for file in files)
    ratio = slow_ms / fast_ms
    print(
        f"{task}: {library} {slow_ms:.0f} ms, fast {fast_ms:.2f} ms a file, {ratio:.0f} times faster (target {target})"
    )
    return {"slow_ms": slow_ms, "fast_ms": fast_ms, "ratio": ratio, "target": target}


def milliseconds(work: Callable[[Path], None], file: Path, repeats: int) -> float:
    """Median time of ``work(file)``, after one call that is not counted."""
    work(file)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work(file)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


if __name__ == "__main__":
    main(*sys.argv[1:2])
