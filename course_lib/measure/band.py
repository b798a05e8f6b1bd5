"""Objective measures of bands: what `piece` has for one instrument, and how the instruments fit together.

A band roll is bool `(time, 128, 5)`: a row for each grid step, a column for each MIDI pitch, and the channels piano,
guitar, bass, strings and drums; True while a note sounds. The first four have pitch; a drum's number names an
instrument. A beat is a quarter note, a bar has four, and bars are counted from the first step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from course_lib.measure import piece
from course_lib.measure.sets import mean_distance
from course_lib.music.band import BEATS_PER_BAR, DRUMS, INSTRUMENTS

CHANNELS = tuple(name.lower() for name in INSTRUMENTS)
PITCHED = slice(0, DRUMS)
PAIRS = np.array(np.triu_indices(4, 1))  # of pitched instruments: (2, 6)
# Each pitch class on the circles of fifths, of minor thirds and of major thirds (Harte et al. 2006): (12, 6)
_angles = np.arange(12)[:, None] * np.pi * np.array([7 / 6, 3 / 2, 2 / 3])
TONAL_SPACE = np.hstack([np.sin(_angles), np.cos(_angles)]) * [1, 1, 0.5, 1, 1, 0.5]


def measures(roll: piece.Roll, steps_per_beat: int) -> dict[str, float]:
    """Every measure of one band piece by name, for `sets.compare`.

    Returns:
        Those of `piece.measures`, in its units, of the four pitched instruments played as one, where a note that
        one begins while another holds its pitch is a new note; `harmonic_distance`, 0 to 2; `drum_pattern_rate`, a
        share from 0 to 1; and for each instrument "empty_bar_rate piano" and so on, with "pitch_classes_per_bar
        piano" and so on for the pitched.
    """
    _check(roll)
    pitched = roll[..., PITCHED]
    steps_per_bar = BEATS_PER_BAR * steps_per_beat
    result = piece.measures(pitched.max(-1), steps_per_beat, piece.rising_edges(pitched).max(-1))
    result["harmonic_distance"] = harmonic_distance(roll, steps_per_beat)
    result["drum_pattern_rate"] = drum_pattern_rate(roll[..., DRUMS], steps_per_beat)
    for i, name in enumerate(CHANNELS):
        result[f"empty_bar_rate {name}"] = piece.empty_bar_rate(roll[..., i], steps_per_bar)
    for i, name in enumerate(CHANNELS[PITCHED]):
        result[f"pitch_classes_per_bar {name}"] = piece.pitch_classes_per_bar(roll[..., i], steps_per_bar)
    return result


def harmonic_distance(roll: piece.Roll, steps_per_beat: int, beats: int = 2) -> float:
    """Mean distance in harmony between the pitched instruments of a piece: 0 the same, about 1 unrelated, at most 2.

    The piece is cut into windows of `beats` beats. In each, the pitch classes that an instrument plays, weighted by
    how long they sound, are added up in tonal space (Harte et al. 2006), where related ones lie close. The distance
    of two instruments is 1 minus the cosine of the angle between their sums: C and G 0.67, C and F sharp 1.78; 1
    where a sum has no direction, as of all twelve pitch classes alike. The mean is over the pairs of instruments and
    the windows in which both sound; nan where no two sound together. Taught in notebook 06.

    MuseGAN takes the straight line between the sums, each divided by its notes, which shrinks as more pitch classes
    sound at once, as in noise; pypianoroll 1.0.4's `tonal_distance` is nan with one silent step and grows with length.
    Angle and window were chosen, of seven distances over 1, 2 and 4 beats, on 41 of 82 band songs; on the other 41,
    `shuffled` bands lay further apart than real ones in 99.9 % of all pairs (by MuseGAN's distance 99.4 %).
    """
    _check(roll)
    counts = piece.split_into_bars(roll[..., PITCHED], beats * steps_per_beat).sum(1)
    counts = piece.chroma(counts.swapaxes(1, 2))  # (windows, instruments, 12)
    sums = counts @ TONAL_SPACE
    lengths = np.linalg.norm(sums, axis=-1, keepdims=True)
    directions = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 1e-9)
    distances = 1 - (directions @ directions.swapaxes(1, 2))[:, *PAIRS]  # (windows, pairs)
    sounding = (counts.sum(-1) > 0)[:, PAIRS].all(1)
    return float(distances[sounding].clip(0).mean()) if sounding.any() else math.nan


def drum_pattern_rate(onsets: piece.Roll, steps_per_beat: int) -> float:
    """Share of drum notes, 0 to 1, of an onset roll `(time, 128)`, that begin on the beat or an even part of it.

    MuseGAN's "drum pattern", without its tolerance: notes on sixteenths, where the grid has 8 steps a beat or more; on
    a coarser grid, on eighths. So it is always 1 at 2 steps a beat. Triplets are misses. nan without drum notes.
    """
    piece.check_roll(onsets)
    parts = 4 if steps_per_beat >= 8 else 2
    in_pattern = np.arange(len(onsets)) * parts % steps_per_beat == 0
    return float(onsets[in_pattern].sum() / onsets.sum()) if onsets.any() else math.nan


def variety(rolls: Sequence[piece.Roll], steps_per_beat: int) -> float:
    """Mean distance between the pieces of a set, 0 (all alike, as after mode collapse) to 1.

    As `sets.variety`, with each piece as a histogram of its sounding cells over instrument, position in the bar and
    pitch class; of the drums, pitch, as each number is a drum of its own. nan for fewer than two pieces.
    """
    histograms = []
    for roll in rolls:
        _check(roll)
        cells = piece.split_into_bars(roll, BEATS_PER_BAR * steps_per_beat).sum(0)
        cells = cells.swapaxes(1, 2)  # (position, instrument, pitch)
        histograms.append(np.r_[piece.chroma(cells[:, PITCHED]).ravel(), cells[:, DRUMS].ravel()])
    return mean_distance(histograms)


def shuffled(rolls: Sequence[piece.Roll], steps_per_beat: int, rng: np.random.Generator) -> list[piece.Roll]:
    """As many pieces as there are, each with its five instruments from five of them, and from other bars.

    An instrument starts at a bar of its own (the five start a fifth of the piece or so apart) and goes on from the
    beginning of its piece after the last whole bar; the result is as long as the shortest of the five. Each
    instrument of each piece is used once.

    Raises:
        ValueError: For fewer than five pieces.
    """
    for roll in rolls:
        _check(roll)
    if len(rolls) < len(CHANNELS):
        raise ValueError(f"shuffled needs 5 pieces or more, one for each instrument, but got {len(rolls)}")
    steps_per_bar = BEATS_PER_BAR * steps_per_beat
    order = rng.permutation(len(rolls))
    turns = rng.permutation(len(rolls))[: len(CHANNELS)]  # no two instruments stay together
    bands = []
    for i in range(len(rolls)):
        starts = (rng.permutation(len(CHANNELS)) + rng.random()) / len(CHANNELS)  # as shares of the piece
        parts = []
        for channel, (turn, start) in enumerate(zip(turns, starts, strict=True)):
            part = rolls[order[(i + turn) % len(rolls)]][..., channel]
            bars = len(part) // steps_per_bar
            part = part[: bars * steps_per_bar or None]  # shorter than a bar: whole
            parts.append(np.roll(part, -int(start * bars) * steps_per_bar, axis=0))
        length = min(map(len, parts))
        bands.append(np.stack([part[:length] for part in parts], axis=-1))
    return bands


def shifted(rolls: Sequence[piece.Roll], steps_per_beat: int, rng: np.random.Generator) -> list[piece.Roll]:
    """The pieces with their instruments moved apart in time: each begins at another bar of the same piece.

    Key, density and the instruments' own music stay, and only what sounds together changes. A part goes on from its
    beginning after the last whole bar. Pieces of fewer than two bars are left out; in one of fewer than five bars some
    instruments stay together.
    """
    steps_per_bar, moved = BEATS_PER_BAR * steps_per_beat, []
    for roll in rolls:
        _check(roll)
        bars = len(roll) // steps_per_bar
        if bars < 2:
            continue
        starts = rng.permutation(np.arange(max(bars, len(CHANNELS))) % bars)[: len(CHANNELS)] * steps_per_bar
        whole = roll[: bars * steps_per_bar]
        moved.append(np.stack([np.roll(whole[..., i], -start, axis=0) for i, start in enumerate(starts)], axis=-1))
    return moved


def togetherness(
    generated: Sequence[piece.Roll], real: Sequence[piece.Roll], steps_per_beat: int, rng: np.random.Generator
) -> float:
    """How well the instruments fit at each moment: 0 where any bar would do as well, 1 as in real music.

    By how much `shifted` raises the mean `harmonic_distance` of the generated pieces (the mean of ten shifts), divided
    by the same rise in the real ones; nan where real music shows no rise. As the instruments are compared with
    themselves in the same piece, neither a common key nor a want of variety between pieces counts; but a piece on one
    chord gains nothing, however well its instruments fit. Taught in notebook 06.
    """

    def rise(rolls: Sequence[piece.Roll]) -> float:
        moved = (roll for _ in range(10) for roll in shifted(rolls, steps_per_beat, rng))
        return _mean_harmonic_distance(moved, steps_per_beat) - _mean_harmonic_distance(rolls, steps_per_beat)

    real_rise = rise(real)
    return rise(generated) / real_rise if real_rise > 0 else math.nan


def harmony_table(
    sets: Mapping[str, Sequence[piece.Roll]], steps_per_beat: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Togetherness and what it is made of, for each set of pieces by name, one of them "real".

    Returns:
        Of each set the mean harmonic distance of "partners", of the same instruments in "other bars" (`shifted`), and
        of "strangers" (`shuffled`; nan for a set of fewer than five pieces); "togetherness"; and "variety".
    """
    table = {}
    for name, rolls in sets.items():
        row = {"partners": _mean_harmonic_distance(rolls, steps_per_beat)}
        moved = shifted(rolls, steps_per_beat, np.random.default_rng(seed))
        row |= {"other bars": _mean_harmonic_distance(moved, steps_per_beat), "strangers": math.nan}
        if len(rolls) >= len(CHANNELS):
            mixed = shuffled(rolls, steps_per_beat, np.random.default_rng(seed))
            row["strangers"] = _mean_harmonic_distance(mixed, steps_per_beat)
        row["togetherness"] = togetherness(rolls, sets["real"], steps_per_beat, np.random.default_rng(seed))
        table[name] = row | {"variety": variety(rolls, steps_per_beat)}
    return table


def _mean_harmonic_distance(rolls: Iterable[piece.Roll], steps_per_beat: int) -> float:
    """Over the pieces in which two instruments sound together; nan where there are none."""
    distances = [harmonic_distance(roll, steps_per_beat) for roll in rolls]
    known = [distance for distance in distances if not math.isnan(distance)]
    return float(np.mean(known)) if known else math.nan


def _check(roll: piece.Roll) -> None:
    if roll.dtype != bool or roll.shape[1:] != (128, len(CHANNELS)):
        raise ValueError(
            f"a band roll must be bool (time, 128, 5), but this one is {roll.dtype} {roll.shape}:"
            " threshold probabilities and velocities first"
        )
