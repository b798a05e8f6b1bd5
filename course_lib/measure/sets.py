"""Measures of sets of pieces: how varied they are, how like real music, and how much of them is copied."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import pdist

from course_lib.measure.piece import Roll, check_roll, chroma, split_into_bars
from course_lib.music.band import BEATS_PER_BAR


def variety(rolls: Sequence[Roll], steps_per_beat: int = 4) -> float:
    """Mean distance between the pieces of a set, 0 (all alike, as after mode collapse) to 1.

    Each piece becomes a histogram of its sounding cells over position in the bar of four beats and pitch class; two
    pieces are as far apart as the total variation of their histograms. Silent pieces are alike, and at 1 from all
    others. Transposing a piece changes it, reordering its bars does not. Short pieces lie further apart by chance:
    compare sets of like length. nan for fewer than two pieces.
    """
    for roll in rolls:
        check_roll(roll)
    return mean_distance([chroma(split_into_bars(roll, BEATS_PER_BAR * steps_per_beat).sum(0)) for roll in rolls])


def mean_distance(histograms: Sequence[NDArray[np.int64]]) -> float:
    """Mean total variation, 0 to 1, between histograms of one shape, each divided by its sum."""
    profiles = [np.r_[cells.ravel(), not cells.any()] / max(1, cells.sum()) for cells in histograms]  # last: silence
    return float(pdist(np.array(profiles), "cityblock").mean() / 2) if len(profiles) > 1 else nan


def compare(generated: Sequence[dict[str, float]], real: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """One row for each measure, from what `measures` returned for each piece of two sets.

    Returns:
        Rows of "measure", the means "generated" and "real", their 95 % intervals "generated_low", "generated_high",
        "real_low", "real_high" (bootstrap over pieces, seed 0; nan for one piece), all in the unit of the measure;
        and "overlap", the area that both distributions share: 1 for identical sets, 0 for ranges that do not meet,
        about 0.8 for two samples of one distribution. Pieces of which a measure is nan are left out of its row.

    Raises:
        ValueError: For a set without pieces, and for pieces with different measures.
    """
    if not generated or not real or len({frozenset(piece) for piece in [*generated, *real]}) > 1:
        raise ValueError("compare needs one or more pieces on each side, all with the same measures")
    rows = []
    for name in generated[0]:
        row: dict[str, Any] = {"measure": name}
        values = []
        for side, pieces in (("generated", generated), ("real", real)):
            column = np.array([piece[name] for piece in pieces], float)
            values.append(column := column[~np.isnan(column)])
            row[side] = float(column.mean()) if len(column) else nan
            row[f"{side}_low"], row[f"{side}_high"] = _interval(column)
        rows.append(row | {"overlap": _overlap(*values)})
    return rows


def mean_overlap(rows: Sequence[dict[str, Any]], measures: Collection[str] | None = None) -> float:
    """Mean "overlap", 0 to 1, of the rows of `compare`, over the measures that real music has (or those named).

    A measure that the generated pieces lack, as silent ones do, counts 0. nan where real music has none.
    """
    shared = [
        np.nan_to_num(row["overlap"])
        for row in rows
        if not math.isnan(row["real"]) and (measures is None or row["measure"] in measures)
    ]
    return float(np.mean(shared)) if shared else nan


def place(
    generated: Sequence[dict[str, float]],
    real: Sequence[dict[str, float]],
    noise: Sequence[dict[str, float]],
    other_real: Sequence[dict[str, float]],
) -> dict[str, float]:
    """Where a set of pieces stands between a floor and a ceiling: 0 is noise, 1 is other real music.

    Each argument is what `measures` returned for each piece of a set: the generated one, held-out real music, noise of
    its density (`baselines.noise`), and other real music, such as the validation songs. Measures that are constant in
    real music, by the encoding or for want of bars, are left out, as all sets agree in them. Take sets of equal size.

    Returns:
        The mean overlaps with `real`: "overlap" of the generated pieces, "floor" of noise and "ceiling" of other real
        music; and "place", (overlap - floor) / (ceiling - floor), below 0 where noise is more like real music and nan
        where the ceiling is no higher than the floor.
    """
    varied = {name for name in real[0] if len({piece[name] for piece in real if not math.isnan(piece[name])}) > 1}
    sets = {"overlap": generated, "floor": noise, "ceiling": other_real}
    found = {name: mean_overlap(compare(pieces, real), varied) for name, pieces in sets.items()}
    height = found["ceiling"] - found["floor"]
    return found | {"place": (found["overlap"] - found["floor"]) / height if height > 0 else nan}


def changes(roll: Roll) -> list[bytes]:
    """The steps of a roll `(time, …)`, each as one word for `novelty`, repeats of the step before left out."""
    packed = np.packbits(roll.reshape(len(roll), math.prod(roll.shape[1:])), axis=1)
    new = np.r_[True, (packed[1:] != packed[:-1]).any(1)][: len(packed)]
    return [step.tobytes() for step in packed[new]]


def novelty(
    generated: Sequence[Sequence[Hashable]], training: Sequence[Sequence[Hashable]], n: int = 8
) -> dict[str, float]:
    """How much of generated note sequences also stands, note for note, in one of the training songs.

    Held-out songs in place of the generated ones show how much real music shares with the training songs.

    Args:
        generated: Sequences of note classes (strings, integers or the words of `changes`).
        training: The same of the training songs.
        n: Notes of an n-gram.

    Returns:
        "longest_copied_run" in notes, the mean over sequences; "longest_copied_run_max", that of the worst; and
        "copied_share", 0 to 1, the mean share of a sequence's n-grams that stand in training (sequences shorter
        than n left out; nan where none is left).

    Raises:
        ValueError: For n below 1, and for a sequence given in place of a list of sequences.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but an n-gram has 1 note or more")
    if any(isinstance(song, (str, int, np.integer)) for song in [*generated, *training]):
        raise ValueError("novelty takes lists of sequences: put a single sequence into a list")
    copied = _copied_runs(generated, training)
    runs = [run.max(initial=0) for run in copied]
    shares = [(run[: len(run) - n + 1] >= n).mean() for run in copied if len(run) >= n]
    return {
        "longest_copied_run": float(np.mean(runs)) if runs else nan,
        "longest_copied_run_max": float(max(runs, default=nan)),
        "copied_share": float(np.mean(shares)) if shares else nan,
    }


def _copied_runs(
    generated: Sequence[Sequence[Hashable]], training: Sequence[Sequence[Hashable]]
) -> list[NDArray[np.int64]]:
    """For each note of each generated sequence: the longest run from it on that stands in a training song.

    Runs grow by a note at a time, and those that stand on one side only are dropped: ten times faster, on the songs
    of a lesson, than looking for each run in the training songs as text.
    """
    codes: dict[Hashable, int] = {}
    songs = [[codes.setdefault(note, len(codes)) for note in song] for song in [*generated, *training]]
    # A code of its own ends each song, so that no shared run crosses the end.
    text = np.array([code for end, song in enumerate(songs, len(codes)) for code in [*song, end]], np.int64)
    stops = np.cumsum([len(song) + 1 for song in songs[: len(generated)]])
    first_trained = stops[-1] if len(stops) else 0
    runs = np.zeros(len(text), np.int64)
    alive = np.arange(len(text))  # where a run begins that stands on both sides
    grams = text.copy()  # one number for the run that begins at each of these; equal runs, equal numbers
    for length in range(len(text)):
        trained = alive >= first_trained
        keep = np.isin(grams, grams[trained]) & np.isin(grams, grams[~trained])
        alive, grams = alive[keep], grams[keep]
        if not len(alive):
            break
        runs[alive] = length + 1
        longer = grams * (text.max() + 1) + text[alive + length + 1]
        grams = np.unique(longer, return_inverse=True)[1]
    return [run[:-1] for run in np.split(runs, stops)[: len(generated)]]


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean; nan for fewer than two values."""
    if len(values) < 2:
        return nan, nan
    rng = np.random.default_rng(0)
    result = stats.bootstrap((values,), np.mean, n_resamples=1000, method="percentile", random_state=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Area shared by the histograms of two samples, over bins that hold equal shares of both together.

    Such bins, as many as the square root of the smaller sample (2 or more), are proof against outliers.
    """
    if not len(a) or not len(b):
        return nan
    if a.max() < b.min() or b.max() < a.min():
        return 0.0
    bins = max(2, round(math.sqrt(min(len(a), len(b)))))
    edges = np.quantile(np.r_[a, b], np.arange(1, bins) / bins)
    shares = [np.bincount(np.searchsorted(edges, x), minlength=bins) / len(x) for x in (a, b)]
    return float(np.minimum(*shares).sum())
