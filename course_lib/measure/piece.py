"""Objective measures of one piece for one instrument, taken of generated and of real music alike.

A piano roll is bool `(time, 128)`: a row for each grid step, a column for each MIDI pitch, True while a note sounds.
An onset roll has the same shape and is True only where a note begins. A beat is a quarter note. Bars are counted from
the first step; an incomplete last bar is filled up with silence. Of a silent piece every measure is nan except
`empty_bar_rate` (1) and `notes_per_step` (0); of a roll with no steps, all are.

Source: MuseGAN (Dong et al. 2018), pypianoroll and muspy, by hand because both libraries err: pypianoroll 1.0.4's
`empty_beat_rate` is the share of beats that sound, its `qualified_note_rate` pairs starts and ends of different
pitches, its scale and pitch classes add up neighbouring pitches, not octaves; muspy 0.5 miscounts bars.
"""

from __future__ import annotations

import math
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from course_lib.music.band import BEATS_PER_BAR

Roll = NDArray[np.bool_]


def measures(roll: Roll, steps_per_beat: int = 4, onsets: Roll | None = None) -> dict[str, float]:
    """Every measure of a piece by name, for `sets.compare`; notebook 00 reads them.

    Args:
        roll: The piano roll; its bars are taken to have four beats.
        onsets: The onset roll, which tells repeated notes apart that touch. Without it a note begins where its
            pitch was silent a step before.

    Returns:
        The functions below by their names. Units: `empty_bar_rate`, `in_scale_rate`, `qualified_note_rate` (of an
        eighth of a beat, 2 steps at the least), `groove_consistency` and `commonest_pitch_share` are shares from
        0 to 1; `notes_per_step` and `pitch_classes_per_bar` are counts; `pitch_range` is in semitones,
        `pitch_class_entropy` and `ioi_entropy` in bits, `longest_run` in onsets, `longest_held_note` in beats.
    """
    check_roll(roll)
    starts = rising_edges(roll)
    if onsets is not None:
        check_roll(onsets)
        if onsets.shape != roll.shape or (onsets & ~roll).any():
            raise ValueError("onsets marks notes where roll is silent: give two rolls of one piece and grid")
        starts |= onsets
    steps_per_bar = BEATS_PER_BAR * steps_per_beat
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


def empty_bar_rate(roll: Roll, steps_per_bar: int) -> float:
    """Share of bars in which nothing sounds, 0 to 1 (MuseGAN's "empty bars")."""
    bars = split_into_bars(roll, steps_per_bar)
    return float(1 - bars.any((1, 2)).mean()) if len(bars) else nan


def notes_per_step(roll: Roll) -> float:
    """Mean number of pitches that sound at a step, silent steps included (muspy's `polyphony` omits them)."""
    return float(roll.sum() / len(roll)) if len(roll) else nan


def pitch_classes_per_bar(roll: Roll, steps_per_bar: int) -> float:
    """Mean number of pitch classes, 1 to 12, in the bars that sound (MuseGAN's "used pitch classes")."""
    used = (chroma(split_into_bars(roll, steps_per_bar).any(1)) > 0).sum(1)
    return float(used[used > 0].mean()) if used.any() else nan


def pitch_range(roll: Roll) -> float:
    """Semitones from the lowest to the highest pitch, 0 to 127 (as pypianoroll's)."""
    pitches = np.flatnonzero(roll.any(0))
    return float(pitches[-1] - pitches[0]) if len(pitches) else nan


def pitch_class_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitch classes, 0 to log2(12) = 3.58 (Wu and Yang 2020; as muspy's)."""
    return _entropy(chroma(onsets.sum(0)))


def pitch_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitches, octaves apart, 0 to log2(128) = 7 (muspy's `pitch_entropy`)."""
    return _entropy(onsets.sum(0))


def in_scale_rate(onsets: Roll) -> float:
    """Share of the notes, 0 to 1, in the best major or natural minor scale (muspy's `scale_consistency`).

    Each minor scale has the pitch classes of its relative major, so 12 scales stand for all 24 keys. Notes drawn
    evenly from all pitch classes score 7 / 12 = 0.58 or more: the fewer notes, the higher by chance.
    """
    notes = chroma(onsets.sum(0))
    major = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
    best = max(notes[np.roll(major, key)].sum() for key in range(12))
    return float(best / notes.sum()) if notes.any() else nan


def qualified_note_rate(roll: Roll, onsets: Roll, min_steps: int = 2) -> float:
    """Share of notes, 0 to 1, that last at least `min_steps` steps (MuseGAN: 3 at 24 a beat): low in fragments."""
    lengths = _note_lengths(roll, onsets)
    return float((lengths >= min_steps).mean()) if len(lengths) else nan


def ioi_entropy(onsets: Roll) -> float:
    """Entropy in bits of the inter-onset intervals, from each step where notes begin to the next such step.

    0 is one rhythm only; nan where notes begin at fewer than two steps. Notebook 03 is about it.
    """
    return _entropy(np.bincount(np.diff(np.flatnonzero(onsets.any(1)))))


def groove_consistency(onsets: Roll, steps_per_bar: int) -> float:
    """Mean likeness of the rhythm of neighbouring bars, 0 to 1 (Wu and Yang 2020; muspy).

    The likeness of two bars is the share of grid positions at which notes begin in both or in neither, so it nears 1
    on a fine grid and in sparse music. An incomplete last bar is left out. nan for fewer than two complete bars.
    """
    rhythm = onsets[: len(onsets) // steps_per_bar * steps_per_bar].any(1).reshape(-1, steps_per_bar)
    return float((rhythm[1:] == rhythm[:-1]).mean()) if len(rhythm) > 1 and onsets.any() else nan


def commonest_pitch_share(onsets: Roll) -> float:
    """Share of the notes, above 0 to 1, that have the commonest pitch of the piece."""
    return float(onsets.sum(0).max() / onsets.sum()) if onsets.any() else nan


def longest_run(onsets: Roll) -> float:
    """Longest run of one note (or chord), in onset steps in a row at which it begins and nothing else does.

    Repeated notes that touch need true onsets to count here; merged into one, `longest_held_note` shows them.
    """
    played = onsets[onsets.any(1)]
    changes = (played[1:] != played[:-1]).any(1)
    return float(np.diff(np.flatnonzero(np.r_[True, changes, True])).max()) if len(played) else nan


def longest_held_note(roll: Roll, steps_per_beat: int) -> float:
    """Beats for which the longest note sounds without a break, struck again or not."""
    lengths = _note_lengths(roll, rising_edges(roll))
    return float(lengths.max() / steps_per_beat) if len(lengths) else nan


def rising_edges(roll: Roll) -> Roll:
    """The onset roll of a roll `(time, …)`: True where a pitch sounds that was silent a step before."""
    edges = roll.copy()
    edges[1:] &= ~roll[:-1]
    return edges


def check_roll(roll: Roll) -> None:
    """Raise ValueError for what is not a piano roll."""
    if roll.dtype != bool or roll.ndim != 2 or roll.shape[1] != 128:
        raise ValueError(
            f"a piano roll must be bool (time, 128), but this one is {roll.dtype} {roll.shape}:"
            " threshold probabilities and velocities first"
        )


def split_into_bars(roll: Roll, steps_per_bar: int) -> Roll:
    """(time, …) -> (bars, steps_per_bar, …)."""
    silence = np.zeros((-len(roll) % steps_per_bar, *roll.shape[1:]), bool)
    return np.concatenate([roll, silence]).reshape(-1, steps_per_bar, *roll.shape[1:])


def chroma(pitches: Any) -> NDArray[np.int64]:
    """Sums over the octaves of each pitch class, C first: (…, 128) -> (…, 12)."""
    octaves = np.concatenate([pitches, np.zeros_like(pitches[..., :4])], axis=-1)  # 132 = 11 octaves
    return octaves.reshape(*pitches.shape[:-1], 11, 12).sum(-2)


def _note_lengths(roll: Roll, onsets: Roll) -> NDArray[np.int64]:
    """Steps from each onset to the end of its note, or to the next onset of its pitch: (notes,), by pitch."""
    last = roll.copy()  # True at the last step of each note
    last[:-1] &= ~roll[1:] | onsets[1:]
    return np.flatnonzero(last.T) - np.flatnonzero(onsets.T) + 1


def _entropy(counts: NDArray[np.int64]) -> float:
    return float(stats.entropy(counts, base=2)) if counts.any() else nan
