"""A synthesizer that needs no download: symusic's, with the SoundFont that pretty_midi carries, put in tune.

`with_root_keys` may go once symusic reads the root key of a zone (SoundFont 2.04, generator 58) itself; 0.5 does not.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import symusic

SAMPLE_RATE = 44_100  # Hz
ZONES, GENERATORS, SAMPLES = b"ibag", b"igen", b"shdr"  # tables of a SoundFont 2 file, its last part
ROOT_KEY, SAMPLE = 58, 53  # generators of a zone
MOST_KEPT = 100  # the audio that the synthesizer keeps, in sounds as long as middle C; one of strings takes 1.5 MiB
HEADER, HEADER_ROOT_KEY = 46, 40  # bytes of a sample's header, and the place of its root key

_kept: set[tuple[int, bool, int]] = set()  # sounds that the synthesizer has made


def render(score: symusic.Score) -> np.ndarray:
    """What the synthesizer makes of a score with notes: float32 `(samples, 2)`."""
    global _kept
    _kept |= sounds(score)
    if length(pitch for *_, pitch in _kept) > MOST_KEPT:
        synthesizer.cache_clear()
        give_back()
        _kept = sounds(score)
    return np.asarray(synthesizer().render(score, stereo=True)).T


def give_back() -> None:
    """Give the memory that was freed back to the system."""
    with suppress(OSError, AttributeError, TypeError):  # glibc alone has it, and alone needs it
        ctypes.CDLL(None).malloc_trim(0)


def sounds(score: symusic.Score) -> set[tuple[int, bool, int]]:
    """Program, whether it is drums, and pitch of all notes."""
    return {(track.program, track.is_drum, note.pitch) for track in score.tracks for note in track.notes}


def length(pitches: Iterable[int]) -> float:
    """Of the audio of sounds, in that of middle C: an octave lower, a sample plays half as fast."""
    return sum(2 ** ((60 - pitch) / 12) for pitch in pitches)


def portions(pitches: Iterable[int]) -> list[list[int]]:
    """Pitches in lists whose audio the synthesizer may keep, lowest first."""
    lists: list[list[int]] = [[]]
    for pitch in sorted(pitches):
        if length([*lists[-1], pitch]) > MOST_KEPT:
            lists.append([])
        lists[-1].append(pitch)
    return lists


@cache
def synthesizer() -> symusic.Synthesizer:
    """The synthesizer, made once a process, and anew where it keeps too much."""
    soundfont = resources.files("pretty_midi").joinpath("TimGM6mb.sf2").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        tuned = Path(folder) / "tuned.sf2"
        tuned.write_bytes(with_root_keys(soundfont))
        return symusic.Synthesizer(str(tuned), SAMPLE_RATE)


def with_root_keys(soundfont: bytes) -> bytes:
    """The soundfont with every root key in the header of a sample, the only place where symusic reads it.

    A zone may override the root key of its sample, as most of the piano's do: each such zone gets a header of its own.
    """
    tables = soundfont.index(b"pdta")

    def place(name: bytes) -> slice:
        start = soundfont.index(name, tables) + 8
        return slice(start, start + int.from_bytes(soundfont[start - 4 : start], "little"))

    first = np.frombuffer(soundfont[place(ZONES)], "<u2")[::2]  # generator of each zone
    generators = np.frombuffer(soundfont[place(GENERATORS)], "<u2").reshape(-1, 2).copy()
    headers = soundfont[place(SAMPLES)][:-HEADER]
    last = soundfont[place(SAMPLES)][-HEADER:]
    for start, end in zip(first, first[1:], strict=False):
        zone = generators[start:end]
        if ROOT_KEY in zone[:, 0] and SAMPLE in zone[:, 0]:
            number = zone[zone[:, 0] == SAMPLE, 1][0]
            header = bytearray(headers[number * HEADER : (number + 1) * HEADER])
            header[HEADER_ROOT_KEY] = zone[zone[:, 0] == ROOT_KEY, 1][0]
            zone[zone[:, 0] == SAMPLE, 1] = len(headers) // HEADER
            headers += header
    result = bytearray(soundfont)
    result[place(GENERATORS)] = generators.tobytes()
    result[place(SAMPLES)] = headers + last
    for start in (8, tables, place(SAMPLES).start):  # the sizes of what holds the longer table
        size = int.from_bytes(result[start - 4 : start], "little") + len(result) - len(soundfont)
        result[start - 4 : start] = size.to_bytes(4, "little")
    return bytes(result)
