"""The `frames` encoding: bool `(time, 128)`, a row for each grid step, True while a pitch sounds.

Lost: what is finer than a step, whether a pitch was struck again or held, velocities, tracks, silence at the end.
Notes without a length (grace notes) and drum tracks are left out. A beat is a quarter note. Source: morris-leou.
Taught in notebook 01, used in 05. (symusic's `pianoroll` sounds grace notes and rounds lengths, not ends of notes.)
"""

from __future__ import annotations

import numpy as np
import symusic

from course_lib.music import midi

STEP_TICKS = 120  # of the scores made from frames


def from_score(score: symusic.Score, steps_per_beat: int = 4) -> np.ndarray:
    """Bool `(time, 128)` of a score in ticks: True while a pitch sounds; `(0, 128)` if none does.

    A note sounds from its start to its end, both at the nearest step (halfway up), and for one step at least.
    """
    first, last, pitch = _steps(score, steps_per_beat)
    roll = np.zeros((last.max(initial=0), 128), bool)
    step, note = every_step(first, last)
    roll[step, pitch[note]] = True
    return roll


def onsets(score: symusic.Score, steps_per_beat: int = 4) -> np.ndarray:
    """Bool `(time, 128)`, of the shape of :func:`from_score`: True where a note begins."""
    first, last, pitch = _steps(score, steps_per_beat)
    roll = np.zeros((last.max(initial=0), 128), bool)
    roll[first, pitch] = True
    return roll


def _steps(score: symusic.Score, steps_per_beat: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First step, the step after the last, and pitch of each note."""
    start, length, pitch = midi.sounding_notes(score)
    return *nearest_steps(start, start + length, score.ticks_per_quarter, steps_per_beat), pitch


def to_score(roll: np.ndarray, steps_per_beat: int = 4, tempo: float = 120) -> symusic.Score:
    """A one-track score from bool `(time, 128)`: each unbroken run of a pitch becomes one held note.

    :func:`from_score` of it gives the roll again, less silent rows at the end.

    Raises:
        ValueError: for another shape.
    """
    roll = np.asarray(roll, bool)
    if roll.ndim != 2 or roll.shape[1] != 128:
        raise ValueError(f"The roll has shape {roll.shape}: give a bool array of shape (time, 128).")
    return midi.piano_score(steps_per_beat * STEP_TICKS, tempo, *held_notes(roll))


def held_notes(roll: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks, and pitch, of each unbroken run of a pitch in a bool `(time, 128)`."""
    change = np.diff(np.pad(roll, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    pitch, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)  # in the same order: by pitch, then time
    order = np.lexsort((pitch, first))
    return first[order] * STEP_TICKS, (last - first)[order] * STEP_TICKS, pitch[order]


def nearest_steps(
    start: np.ndarray, end: np.ndarray, quarter: int, steps_per_beat: int
) -> tuple[np.ndarray, np.ndarray]:
    """First step and the step after the last, of notes in ticks: the one rule of `frames`, `band` and `events`."""
    first = (2 * start * steps_per_beat + quarter) // (2 * quarter)  # rounds in whole numbers, halfway up
    last = (2 * end * steps_per_beat + quarter) // (2 * quarter)
    return first, np.maximum(first + 1, last)


def every_step(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each step of each note from `first` to before `last`, and the number of its note."""
    lengths = last - first
    note = np.repeat(np.arange(len(first)), lengths)
    return np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths), note
