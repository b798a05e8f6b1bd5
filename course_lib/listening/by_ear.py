"""Listeners' answers beside the papers' ratings, and the claims that only listeners can judge."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from course_lib.listening import analysis, published


def beside_published(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each paper's table with the ratings of `means` beside its own, by paper.

    Columns: system, scale, published, measured, low, high, listeners; nan where nobody rated it.
    """
    rows = [
        (system.paper, system.name, scale, value)
        for system in published.load().system.values()
        for scale, value in system.ratings.items()
    ]
    found = measured[["system", "scale", "mean", "low", "high", "listeners"]].rename(columns={"mean": "measured"})
    both = pd.DataFrame(rows, columns=["paper", "system", "scale", "published"]).merge(found, "left")
    tables = both.groupby("paper", sort=False)
    return {str(paper): table.drop(columns="paper").reset_index(drop=True) for paper, table in tables}


class Heard(NamedTuple):
    """A contrast of ratings, its 95 % interval, and how many listeners rated all that it needs."""

    value: float
    low: float
    high: float
    listeners: int


def heard(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Heard]:
    """The claims that only listeners can judge, by id, as far as this test bears on them (notebook 12).

    Each is a contrast in points of the scale, better minus worse (`claims.toml`), of which the claim says that it is
    above 0. The value is the mean over the listeners who rated all it needs. The interval reaches from the lower to
    the higher end of two: over listeners, for the same clips (bootstrap), and over clips, for the same listeners
    (Welch). A claim is left out with fewer than 2 listeners, or fewer than 2 clips of a side: one clip says nothing
    of a system. Fewer than 5 listeners get no verdict: of listeners without any preference 2 put the whole interval
    over listeners above 0 one time in 4, 3 one in 8, 5 one in 32.
    """
    known = published.load()
    kinds = {clip["system"]: clip["kind"] for clip in test["clips"] if not clip["real"]}
    frame = analysis.first_hearings(analysis.table(test, answers))
    found: dict[str, Heard] = {}
    for contrast in (contrast for contrast in known.contrast if contrast.form == test["form"]):
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
    from scipy import stats

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
    low, high = analysis.bootstrap_interval(lambda *x, axis: np.min([row.mean(axis) for row in x], axis=0), *each)
    low, high = min(low, *(ends.low for ends in over_clips)), max(high, min(ends.high for ends in over_clips))
    return Heard(float(min(x.mean() for x in each)), float(low), float(high), len(by_system))
