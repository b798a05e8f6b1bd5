"""Objective measures of music, always taken of generated and of real pieces alike.

A piano roll is bool `(time, 128)`: a row for each grid step, a column for each MIDI pitch, True while a note
sounds. An onset roll has the same shape and is True only where a note begins. A beat is a quarter note.
Bars are counted from the first step; an incomplete last bar is filled up with silence. Of a silent piece
every measure is nan except `empty_bar_rate` (1) and `notes_per_step` (0); of a roll with no steps, all are.

The definitions are those of MuseGAN (Dong et al. 2018), pypianoroll and muspy where these are sound. Not
followed, because faulty: pypianoroll 1.0.4's `empty_beat_rate` (the share of beats that are *not* empty),
`qualified_note_rate` (fails on bool, and pairs the start of one pitch with the end of another),
`in_scale_rate` and `n_pitch_classes_used` (like MuseGAN's code, they add up neighbouring pitches instead of
octaves); and muspy 0.5's bars (one too many after music that ends on a bar line; and a bar counts as sounding
if a note ends as it begins).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Roll = NDArray[np.bool_]
nan = math.nan


def measures(
    roll: Roll, steps_per_beat: int = 4, beats_per_bar: float = 4, onsets: Roll | None = None
) -> dict[str, float]:
    """Every measure below that a single piece for one instrument has, by name.

    `beats_per_bar` is in quarter notes: 1.5 for 3/8. `onsets` tells repeated notes apart that touch; without
    it a note begins where its pitch was silent a step before, and repeated notes that touch count as one.
    A note qualifies from an eighth of a beat on, as in MuseGAN, but from 2 steps on at the least.
    Raises ValueError for rolls of another shape or type, and for a bar that is not a whole number of steps.
    """
    steps_per_bar = bar_steps(steps_per_beat, beats_per_bar)
    check_roll(roll)
    starts = rising_edges(roll)
    if onsets is not None:
        check_roll(onsets)
        if onsets.shape != roll.shape or (onsets & ~roll).any():
            raise ValueError("onsets marks notes where roll is silent: give two rolls of one piece and grid")
        starts |= onsets
    return {
        "empty_bar_rate": empty_bar_rate(roll, steps_per_bar),
        "notes_per_step": notes_per_step(roll),
        "pitch_classes_per_bar": pitch_classes_per_bar(roll, steps_per_bar),
        "pitch_range": pitch_range(roll),
        "pitch_class_entropy": pitch_class_entropy(starts),
        "in_scale_rate": in_scale_rate(starts),
        "qualified_note_rate": qualified_note_rate(roll, starts, max(2, math.ceil(steps_per_beat / 8))),
        "ioi_entropy": ioi_entropy(starts),
        "groove_consistency": groove_consistency(starts, steps_per_bar),
        "commonest_pitch_share": commonest_pitch_share(starts),
        "longest_run": longest_run(starts),
        "longest_held_note": longest_held_note(roll, steps_per_beat),
    }


def rising_edges(roll: Roll) -> Roll:
    """The onset roll `(time, 128)` of a roll: True where a pitch sounds that was silent a step before."""
    edges = roll.copy()
    edges[1:] &= ~roll[:-1]
    return edges


def empty_bar_rate(roll: Roll, steps_per_bar: int) -> float:
    """Share of bars in which nothing sounds, 0 to 1 (MuseGAN's "empty bars")."""
    bars = in_bars(roll, steps_per_bar)
    return float(1 - bars.any((1, 2)).mean()) if len(bars) else nan


def notes_per_step(roll: Roll) -> float:
    """Mean number of pitches that sound at a step, silent steps included (muspy's `polyphony` omits them)."""
    return float(roll.sum() / len(roll)) if len(roll) else nan


def pitch_classes_per_bar(roll: Roll, steps_per_bar: int) -> float:
    """Mean number of pitch classes, 1 to 12, in the bars that sound (MuseGAN's "used pitch classes")."""
    used = (fold_octaves(in_bars(roll, steps_per_bar).any(1)) > 0).sum(1)
    return float(used[used > 0].mean()) if used.any() else nan


def pitch_range(roll: Roll) -> float:
    """Semitones from the lowest to the highest pitch (as pypianoroll's)."""
    pitches = np.flatnonzero(roll.any(0))
    return float(pitches[-1] - pitches[0]) if len(pitches) else nan


def pitch_class_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitch classes, 0 to log2(12) = 3.58 (Wu and Yang 2020; as muspy's)."""
    return _entropy(fold_octaves(onsets.sum(0)))


def pitch_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitches, octaves apart, 0 to log2(128) = 7 (muspy's `pitch_entropy`)."""
    return _entropy(onsets.sum(0))


def in_scale_rate(onsets: Roll) -> float:
    """Share of the notes in the best major or natural minor scale of the piece (muspy's `scale_consistency`).

    Each minor scale has the pitch classes of its relative major, so 12 scales stand for all 24 keys. Notes
    drawn evenly from all pitch classes score 7 / 12 = 0.58 or more: the fewer notes, the higher by chance.
    """
    notes = fold_octaves(onsets.sum(0))
    major = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
    best = max(notes[np.roll(major, key)].sum() for key in range(12))
    return float(best / notes.sum()) if notes.any() else nan


def qualified_note_rate(roll: Roll, onsets: Roll, min_steps: int = 2) -> float:
    """Share of notes that last at least `min_steps` steps: low in music broken into fragments.

    MuseGAN's paper asks for 3 steps at 24 a beat (its code, and pypianoroll, for 2).
    """
    lengths = _note_lengths(roll, onsets)
    return float((lengths >= min_steps).mean()) if len(lengths) else nan


def ioi_entropy(onsets: Roll) -> float:
    """Entropy in bits of the inter-onset intervals, from each step where notes begin to the next such step.

    0 is one rhythm only; nan where notes begin at fewer than two steps.
    """
    return _entropy(np.bincount(np.diff(np.flatnonzero(onsets.any(1)))))


def groove_consistency(onsets: Roll, steps_per_bar: int) -> float:
    """Mean likeness of the rhythm of neighbouring bars, 0 to 1 (Wu and Yang 2020; muspy).

    The likeness of two bars is the share of grid positions at which notes begin in both or in neither, so it
    nears 1 on a fine grid (in muspy, ticks) and in sparse music: compare on one grid only. An incomplete last
    bar is left out here; muspy counts it, and an empty one more after music that ends on a bar line, so it
    scores two identical bars below 1. nan for fewer than two complete bars.
    """
    rhythm = onsets[: len(onsets) // steps_per_bar * steps_per_bar].any(1).reshape(-1, steps_per_bar)
    return float((rhythm[1:] == rhythm[:-1]).mean()) if len(rhythm) > 1 and onsets.any() else nan


def commonest_pitch_share(onsets: Roll) -> float:
    """Share of the notes, above 0 to 1, that have the commonest pitch of the piece."""
    return float(onsets.sum(0).max() / onsets.sum()) if onsets.any() else nan


def longest_run(onsets: Roll) -> float:
    """Longest run of one note (or chord): onset steps in a row at which it begins, and nothing else does.

    Repeated notes that touch need true onsets to count here; merged into one, `longest_held_note` shows them.
    """
    played = onsets[onsets.any(1)]
    changes = (played[1:] != played[:-1]).any(1)
    return float(np.diff(np.flatnonzero(np.r_[True, changes, True])).max()) if len(played) else nan


def longest_held_note(roll: Roll, steps_per_beat: int) -> float:
    """Beats for which the longest note sounds without a break, struck again or not."""
    lengths = _note_lengths(roll, rising_edges(roll))
    return float(lengths.max() / steps_per_beat) if len(lengths) else nan


def check_roll(roll: Roll) -> None:
    if roll.dtype != bool or roll.ndim != 2 or roll.shape[1] != 128:
        raise ValueError(
            f"a piano roll must be bool (time, 128), but this one is {roll.dtype} {roll.shape}:"
            " threshold probabilities and velocities first"
        )


def bar_steps(steps_per_beat: int, beats_per_bar: float) -> int:
    steps = steps_per_beat * beats_per_bar
    if not steps >= 1 or steps % 1:
        raise ValueError(
            f"a bar of {beats_per_bar} beats at {steps_per_beat} steps a beat has {steps} steps:"
            " choose steps_per_beat so that it has a whole number, 1 or more"
        )
    return int(steps)


def in_bars(roll: Roll, steps_per_bar: int) -> Roll:
    """(time, ...) -> (bars, steps_per_bar, ...)"""
    filling = np.zeros((-len(roll) % steps_per_bar, *roll.shape[1:]), bool)
    return np.concatenate([roll, filling]).reshape(-1, steps_per_bar, *roll.shape[1:])


def fold_octaves(pitches: Any) -> NDArray[np.int64]:
    """Sums over octaves: (..., 128) -> (..., 12)"""
    octaves = np.concatenate([pitches, np.zeros_like(pitches[..., :4])], axis=-1)  # 132 = 11 octaves
    return octaves.reshape(*pitches.shape[:-1], 11, 12).sum(-2)


def _note_lengths(roll: Roll, onsets: Roll) -> NDArray[np.int64]:
    """Steps from each onset to the end of its note, or to the next onset of its pitch: (notes,), by pitch."""
    last = roll.copy()  # True at the last step of each note
    last[:-1] &= ~roll[1:] | onsets[1:]
    return np.flatnonzero(last.T) - np.flatnonzero(onsets.T) + 1


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log2(1 / shares)).sum()) if len(shares) else nan
