"""What listeners said: their answers as a table, and the claims that only they can judge (notebook 12).

`test` is a decoded `test.json` and `answers` the last answer of each listener to each item, as `sessions` reads them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from course_lib.listening import published
from course_lib.listening.sessions import POINTS


def table(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each answer and scale; for the form "pairs" one for each answer.

    There `pair` holds both clip ids in alphabetical order, `preferred` a clip id, and `first`, `second` and `winner`
    systems, in the order heard.
    """
    clips = {clip["id"]: clip for clip in test["clips"]}
    rows: list[tuple[Any, ...]] = []
    for entry in answers:
        who, ids, repeat = (entry["listener"], entry["item"]), entry["clips"], entry["repeat"]
        if test["form"] == "pairs":
            preferred = entry["answer"]["preferred"]
            systems = [clips[clip]["system"] for clip in (*ids, preferred)]
            rows.append((*who, " ".join(sorted(ids)), preferred, *systems, repeat))
        else:
            clip = clips[ids[0]]
            facts = (clip["id"], clip["system"], clip["kind"], clip["real"])
            rows += [(*who, *facts, scale, entry["answer"][scale], repeat) for scale in POINTS[test["form"]]]
    if test["form"] == "pairs":
        columns = ["listener", "item", "pair", "preferred", "first", "second", "winner", "repeat"]
        return pd.DataFrame(rows, columns=columns).astype({"item": int, "repeat": bool})
    columns = ["listener", "item", "clip", "system", "kind", "real", "scale", "value", "repeat"]
    return pd.DataFrame(rows, columns=columns).astype({"item": int, "real": bool, "value": float, "repeat": bool})


def first_hearings(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame["repeat"]]


def bootstrap_interval(statistic: Callable[..., NDArray[Any]], *samples: NDArray[Any]) -> tuple[float, float]:
    """95 % interval of a `statistic(*samples, axis)` by resampling listeners, of whom each sample has one value.

    The percentiles lie as far out as Student's t for so few (Hesterberg 2015), by a higher level asked of scipy.
    Below 5 listeners even the widest interval that resampling can give is too narrow; one has none: nan.
    """
    listeners = len(samples[0])
    if listeners < 2:
        return math.nan, math.nan
    tail = stats.norm.cdf(math.sqrt(listeners / (listeners - 1)) * stats.t.ppf(0.025, listeners - 1))
    drawn = {"n_resamples": 4000, "random_state": 0, "paired": True, "vectorized": True, "method": "percentile"}
    found = stats.bootstrap(samples, statistic, confidence_level=1 - 2 * tail, **drawn).confidence_interval
    return float(found.low), float(found.high)


class Heard(NamedTuple):
    """A contrast of ratings, its 95 % interval, and how many listeners rated all that it needs."""

    value: float
    low: float
    high: float
    listeners: int


def heard(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Heard]:
    """The claims that only listeners can judge, by id, as far as this test bears on them (notebook 12).

    Each is a contrast in points of the scale, better minus worse (`claims.toml`): the mean over the listeners who rated
    all it needs. The interval spans two: over listeners, for the same clips (bootstrap), and over clips, for the same
    listeners (Welch). With fewer than 2 listeners, or 2 clips of a side, a claim is left out; with fewer than 5
    listeners it gets no verdict: without any preference 2 put the whole interval above 0 one time in 4, 5 one in 32.
    """
    known = published.load()
    kinds = {clip["system"]: clip["kind"] for clip in test["clips"] if not clip["real"]}
    frame = first_hearings(table(test, answers))
    found: dict[str, Heard] = {}
    for contrast in known.contrast:
        if contrast.form != test["form"]:
            continue
        sides = []
        for side in contrast.sides:
            better, worse = ([known.system[key].name for key in keys] for keys in (side.better, side.worse))
            kind = kinds.get(better[0])
            sides.append((better, worse or [name for name in kinds if kinds[name] == kind and name not in better]))
        of_scales = frame[frame["scale"].isin(contrast.scales)] if contrast.scales else frame
        if smallest := _smallest(of_scales, sides):
            found[contrast.claim] = smallest
    return found


def _smallest(frame: pd.DataFrame, sides: Sequence[tuple[list[str], list[str]]]) -> Heard | None:
    """The smallest of some contrasts, from (better, worse) systems; None where listeners or clips are too few."""
    needed = sorted({name for pair in sides for side in pair for name in side})
    by_system = frame.pivot_table("value", "listener", "system").reindex(columns=needed).dropna()
    clips = frame[frame["listener"].isin(by_system.index)].groupby(["system", "clip"])["value"].mean()
    groups = [[clips[clips.index.isin(side, level=0)].to_numpy() for side in pair] for pair in sides]
    if len(by_system) < 2 or min(len(group) for pair in groups for group in pair) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of clips that all fare alike, whose interval has no width
        over_clips = [stats.ttest_ind(*pair, equal_var=False).confidence_interval() for pair in groups]
    each = [(by_system[better].mean(axis=1) - by_system[worse].mean(axis=1)).to_numpy() for better, worse in sides]
    low, high = bootstrap_interval(lambda *x, axis: np.min([row.mean(axis) for row in x], axis=0), *each)
    low, high = min(low, *(ends.low for ends in over_clips)), max(high, min(ends.high for ends in over_clips))
    return Heard(float(min(x.mean() for x in each)), float(low), float(high), len(by_system))
