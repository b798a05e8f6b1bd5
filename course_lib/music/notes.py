"""The `notes` encoding: a sequence of classes, one for each moment at which notes of the merged score begin.

One pitch is named as music21 spells its MIDI number: `C#4`, `E-3`. Two or more different pitches are their pitch
classes in normal order: `0.4.7`, and `0` for an octave. With durations, `_` and music21's duration type of the
shortest note follow: `0.4.7_quarter`. Lost: rests, dots, tuplets, how a chord is laid out, the longer notes of a
group, velocities and tracks. Notes without a length (grace notes) and drum tracks are left out. Source:
voorhis-allen, tham-kim and mischler. Taught in notebook 01, which checks the names against music21 (hundreds of times
slower); used in 02 to 04.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import symusic

from course_lib.music.midi import piano_score, sounding_notes

PARTS = 24  # in a quarter note, in which 1/8 and 1/6 of one are whole numbers
GRID = np.union1d(np.arange(0, PARTS + 1, PARTS // 8), np.arange(0, PARTS + 1, PARTS // 6))  # of onsets and durations
SHORTEST, LONGEST = int(GRID[1]), 64 * PARTS  # music21 has no name for longer than 64 quarter notes
PITCH_CLASS_NAMES = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")
PITCH_NAMES = tuple(f"{PITCH_CLASS_NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in range(128))
DURATION_TYPES = ("32nd", "16th", "eighth", "quarter", "half", "whole", "breve", "longa", "maxima", "duplex-maxima")
QUARTERS = {name: 2**power / 8 for power, name in enumerate(DURATION_TYPES)}  # the length a type decodes to
QUARTERS["complex"] = 1.25  # stands for any length that takes tied notes; the commonest in piano music
TICKS_PER_QUARTER = 480  # of the scores made from notes


def from_score(score: symusic.Score, durations: bool = True) -> list[str]:
    """Classes of a score in ticks, in order of onset; notes with the same onset on the grid form one class.

    Onsets and durations are quantized; durations are at least 1/8 and at most 64 quarter notes.
    """
    start, length, pitch = sounding_notes(score)
    if not len(start):
        return []
    onset = quantize(start * PARTS / score.ticks_per_quarter)
    duration = np.clip(quantize(length * PARTS / score.ticks_per_quarter), SHORTEST, LONGEST) * durations
    order = np.argsort(onset)
    onset, duration, pitch = onset[order], duration[order], pitch[order]
    first = np.flatnonzero(np.diff(onset, prepend=-1))  # of each group
    lowest, highest = np.minimum.reduceat(pitch, first), np.maximum.reduceat(pitch, first)
    pitch_classes = np.bitwise_or.reduceat(1 << pitch % 12, first)  # as a set of twelve bits
    sound = np.where(lowest == highest, lowest, 128 + pitch_classes)
    shortest = np.minimum.reduceat(duration, first)
    return [_class(*group) for group in zip(sound.tolist(), shortest.tolist(), strict=True)]


def to_score(classes: Iterable[str], tempo: float = 120, step: float = 0.5) -> symusic.Score:
    """A one-track piano score with the classes one after another; :func:`from_score` of it gives the classes again.

    A chord is laid upward in closed position from octave 4, an octave as two notes. A class lasts the undotted length
    of its type ("complex": 1.25 quarter notes), or `step` quarter notes if it has no type.

    Raises:
        ValueError: for a class that :func:`from_score` cannot give, and for a step below 1/8.
    """
    groups = [_decode(name, step) for name in classes]
    sizes = [len(pitches) for pitches, _ in groups]
    length = np.array([round(quarters * TICKS_PER_QUARTER) for _, quarters in groups], np.int64)
    pitch = np.array([midi for pitches, _ in groups for midi in pitches], np.int64)
    start = np.cumsum(length) - length
    return piano_score(TICKS_PER_QUARTER, tempo, np.repeat(start, sizes), np.repeat(length, sizes), pitch)


def quantize(parts: np.ndarray) -> np.ndarray:
    """The nearest multiple of 1/8 or 1/6 of a quarter note to each time, in 24ths of one (`PARTS`); halfway goes up."""
    beat, rest = np.divmod(parts, PARTS)
    nearest = GRID[np.searchsorted((GRID[1:] + GRID[:-1]) / 2, rest, side="right")]
    return beat.astype(np.int64) * PARTS + nearest


def normal_order(pitch_classes: Iterable[int]) -> list[int]:
    """The most compact ordering, counted upward, of a set of pitch classes from 0 to 11.

    The smallest span from first to last wins, then the smallest intervals above the first, nearest one first,
    then the lowest first pitch class. Source: Forte, The Structure of Atonal Music (1973); music21's normalOrder.
    """
    ordered = sorted(set(pitch_classes))
    rotations = [ordered[first:] + ordered[:first] for first in range(len(ordered))]

    def openness(rotation: list[int]) -> tuple[int, list[int]]:
        intervals = [(pitch_class - rotation[0]) % 12 for pitch_class in rotation]
        return intervals[-1], intervals

    return min(rotations, key=openness)


def duration_type(length: int) -> str:
    """music21's duration type of a length on the grid, in 24ths of a quarter note from 3 to 64 × 24."""
    eighths, sixth = divmod(length, PARTS // 8)
    if sixth:  # a multiple of 1/6 alone is one tuplet, named after the next longer note value
        return DURATION_TYPES[eighths.bit_length()]
    ones = f"{eighths:b}".rstrip("0")  # a note value with up to four dots is a run of binary ones
    return "complex" if "0" in ones or len(ones) > 5 else DURATION_TYPES[eighths.bit_length() - 1]


@cache
def _class(sound: int, duration: int) -> str:
    """The class of a MIDI pitch, or of 128 + a set of pitch classes as bits; duration in 24ths or 0."""
    if sound < 128:
        name = PITCH_NAMES[sound]
    else:
        name = ".".join(map(str, normal_order(bit for bit in range(12) if sound - 128 >> bit & 1)))
    return f"{name}_{duration_type(duration)}" if duration else name


@cache
def _pitches() -> dict[str, list[int]]:
    """The MIDI pitches that each class without duration decodes to."""
    pitches = {name: [pitch] for pitch, name in enumerate(PITCH_NAMES)}
    for bits in range(1, 2**12):
        name = _class(128 + bits, 0)
        first, *others = map(int, name.split("."))
        above = [(other - first) % 12 for other in others] or [12]
        pitches[name] = [60 + first + interval for interval in (0, *above)]
    return pitches


def _decode(name: str, step: float) -> tuple[list[int], float]:
    """MIDI pitches, and a length in quarter notes."""
    if step < SHORTEST / PARTS:
        raise ValueError(f"step is {step} quarter notes, too short to tell notes apart: give at least 0.125.")
    sound, typed, kind = name.partition("_")
    if sound not in _pitches():
        raise ValueError(
            f'Class "{name}" holds neither a pitch such as C#4 nor pitch classes in normal '
            "order such as 0.4.7: give classes that the notes encoding made."
        )
    if typed and kind not in QUARTERS:
        raise ValueError(f'Class "{name}" has an unknown duration type: use one of {", ".join(QUARTERS)}.')
    return _pitches()[sound], QUARTERS[kind] if typed else step
