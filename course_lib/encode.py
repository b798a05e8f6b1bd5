"""Scores as numbers a network can learn, and back again: the `notes` and `frames` encodings.

`notes` is a sequence of class strings, one for each onset of the merged score (voorhis-allen, tham-kim and
mischler). One sounding pitch is named as music21 spells its MIDI number ("C#4", "E-3"). Two or more different
pitches are their pitch classes in normal order ("0.4.7"; an octave alone is "0"). With durations, "_" and
music21's duration type of the shortest note follow ("0.4.7_quarter"). Lost on purpose: rests, dots and
triplets, velocities, how a chord is laid out, and which track a note came from.

`frames` is a bool array (time, 128), one row a grid step, True while a pitch sounds (morris-leou). Lost on
purpose: anything finer than a step, velocities, tracks, and whether a pitch was struck again or held.

A beat is a quarter note, drums are left out, and notes without length (grace notes) are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import symusic

if TYPE_CHECKING:
    import music21

PITCH_NAMES = tuple(
    f"{letter}{octave}"
    for octave in range(-1, 10)
    for letter in ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")
)[:128]

GRID_DIVISORS = (8, 6)  # onsets and durations of `notes` are multiples of 1/8 or 1/6 of a quarter note
PARTS = 24  # a quarter note in the smallest parts that both divisors share
GRID = np.unique([part for divisor in GRID_DIVISORS for part in range(0, PARTS + 1, PARTS // divisor)])
SHORTEST, LONGEST = int(GRID[1]), 64 * PARTS  # music21 names no duration beyond 64 quarter notes

TYPE_QUARTERS = {  # the length each duration type decodes to; "complex" is any length of several tied notes
    "32nd": 0.125, "16th": 0.25, "eighth": 0.5, "quarter": 1.0, "half": 2.0, "whole": 4.0, "breve": 8.0,
    "longa": 16.0, "maxima": 32.0, "duplex-maxima": 64.0, "complex": 2.5,
}
TICKS_PER_QUARTER = 480
STEP_TICKS = 120  # of the scores that frames_to_score makes


# ---------------------------------------------------------------- notes


def notes(score: symusic.Score, durations: bool = True) -> list[str]:
    """Classes of a score in ticks, in order of onset: the fast path, straight from symusic's arrays.

    Onsets and durations go to the nearest multiple of 1/8 or 1/6 of a quarter note, halfway up; durations are
    at least 1/8 and at most 64 quarter notes. Notes whose onsets meet on this grid are one group.

    Gives the classes of :func:`notes_music21` on the same music. What MIDI does not carry changes no class:
    enharmonic spelling is already dropped by the class names. Where the reference reads a MIDI file, music21's
    own reader first ...
    """
    start, length, pitch = _note_columns(score)
    if not len(start):
        return []
    onset = _on_grid(start * PARTS / score.ticks_per_quarter)
    order = np.argsort(onset, kind="stable")
    onset, length, pitch = onset[order], length[order], pitch[order]
    first = np.flatnonzero(np.diff(onset, prepend=-1))  # where each group begins
    lowest, highest = np.minimum.reduceat(pitch, first), np.maximum.reduceat(pitch, first)
    pitch_classes = np.bitwise_or.reduceat(1 << pitch % 12, first)
    sounds = np.where(lowest == highest, lowest, 128 + pitch_classes)
    shortest = np.minimum.reduceat(length, first) * PARTS / score.ticks_per_quarter
    kinds = _duration(shortest) if durations else np.zeros_like(sounds)
    groups, where = np.unique(sounds * (LONGEST + 1) + kinds, return_inverse=True)
    names = [_class_name(*divmod(int(group), LONGEST + 1)) for group in groups]
    return [names[i] for i in where]


def _note_columns(score: symusic.Score) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks and pitch of every note with a length, from all tracks but drums, as int64."""
    columns = [track.notes.numpy() for track in score.tracks if not track.is_drum]
    if not columns:
        return (np.zeros(0, np.int64),) * 3
    start, length, pitch = (
        np.concatenate([column[name] for column in columns]).astype(np.int64)
        for name in ("time", "duration", "pitch")
    )
    sounding = length > 0
    return start[sounding], length[sounding], pitch[sounding]


def _on_grid(parts: np.ndarray) -> np.ndarray:
    """The nearest grid point of each time in 24ths of a quarter note; halfway goes up."""
    beat, rest = np.divmod(parts, PARTS)
    return (beat * PARTS).astype(np.int64) + GRID[np.searchsorted((GRID[1:] + GRID[:-1]) / 2, rest, side="right")]


def _duration(parts: np.ndarray) -> np.ndarray:
    return np.clip(_on_grid(parts), SHORTEST, LONGEST)


@cache
def _class_name(sound: int, duration: int) -> str:
    """Class of one MIDI pitch (below 128) or of 128 + a bit mask of pitch classes; duration in 24ths, or 0."""
    if sound < 128:
        name = PITCH_NAMES[sound]
    else:
        name = ".".join(map(str, normal_order(pc for pc in range(12) if sound - 128 >> pc & 1)))
    return f"{name}_{duration_type(duration)}" if duration else name

