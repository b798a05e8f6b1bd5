"""What the papers published of ratings, the claims that only listeners can judge, and how many listeners that takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from course_lib.listening import analysis

# The papers' figures by system and scale. Chen et al. give ratings of single clips (10 listeners, 1 to 10):
# the means are taken here; 3 clips of real music have one figure. Morris and Leou state neither the range of
# their scales, nor which end is good, nor how many listened. Voorhis and Allen speak of surveys, and give none.
PUBLISHED_CLIPS = {"RNN (Chen et al.)": (7.1, 5.9, 5.5, 4.7), "2D CNN": (6.9, 8.4, 7.9, 6.7, 7.1, 5.5)}
PUBLISHED = {
    "chen-horg-zhuo": {
        "RNN (Chen et al.)": {"rating": 5.80},
        "2D CNN": {"rating": 7.08},
        "Real music, band": {"rating": 9.3},
    },
    "morris-leou": {
        "dilated, mozart": dict(zip(analysis.SCALES_OF["scales"], (3.2, 2.0, 3.3, 1.0, 1.8), strict=True)),
        "dilated, haydn": dict(zip(analysis.SCALES_OF["scales"], (3.1, 2.1, 3.0, 1.1, 2.1), strict=True)),
        "dilated, beethoven": dict(zip(analysis.SCALES_OF["scales"], (3.0, 1.9, 3.2, 1.3, 2.3), strict=True)),
        "dilated, all": dict(zip(analysis.SCALES_OF["scales"], (2.6, 2.2, 2.9, 0.9, 1.7), strict=True)),
    },
}


def beside_published(measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each paper's table with the ratings of `means` beside its own, by paper, in the paper's order.

    Columns: system, scale, published, measured, low, high, listeners; nan where nobody rated it.
    """
    found = measured[["system", "scale", "mean", "low", "high", "listeners"]].rename(columns={"mean": "measured"})
    tables = {}
    for paper, systems in PUBLISHED.items():
        rows = [(system, scale, value) for system, scales in systems.items() for scale, value in scales.items()]
        tables[paper] = pd.DataFrame(rows, columns=["system", "scale", "published"]).merge(found, "left")
    return tables


class Heard(NamedTuple):
    """A contrast of ratings, its interval, and how many listeners rated all that it needs."""

    value: float
    low: float
    high: float
    listeners: int


def heard(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, Heard]:
    """The three claims that only listeners can judge, by id, as far as this test bears on them.

    Each is a contrast in points of the scale, better minus worse, of which the claim says that it is above 0:
    - chz-rating: 2D CNN minus RNN, or real music minus 2D CNN, whichever is smaller
    - ml-all-worse: Flow, Repetitive and Correct together, three composers minus all, higher taken as better
    - tk-txl-good: Transformer-XL minus the other generated systems of its kind
    The value is the mean over the listeners who rated all it needs. The interval reaches from the lower to the
    higher end of two: over listeners, for the same clips (bootstrap), and over clips, for the same listeners
    (Welch). A claim is left out with fewer than 2 listeners, or fewer than 2 clips of a side: one clip says nothing
    of a system. `results` gives no verdict for fewer than 5 listeners: of listeners without any preference 2 put
    the whole interval over listeners above 0 one time in 4, 3 one in 8, 5 one in 32.
    """
    frame = analysis.first_hearings(analysis.table(test, answers))
    if test["form"] == "pairs":
        return {}
    kinds = {clip["system"]: clip["kind"] for clip in test["clips"] if not clip["real"]}
    rivals = [name for name, kind in kinds.items() if kind == kinds.get("Transformer-XL")]
    *composers, everything = PUBLISHED["morris-leou"]
    rnn, cnn, real = PUBLISHED["chen-horg-zhuo"]
    claims = {
        "chz-rating": ("rating", [([cnn], [rnn]), ([real], [cnn])]),
        "tk-txl-good": ("rating", [(["Transformer-XL"], [name for name in rivals if name != "Transformer-XL"])]),
        "ml-all-worse": ("scales", [(composers, [everything])]),
    }
    found: dict[str, Heard] = {}
    for claim, (form, sides) in claims.items():
        if form == test["form"] and all(better and worse for better, worse in sides):
            contrast = _contrast(frame[frame["scale"].isin(["rating", "Flow", "Repetitive", "Correct"])], sides)
            found |= {claim: contrast} if contrast else {}
    return found


def _contrast(frame: pd.DataFrame, sides: Sequence[tuple[list[str], list[str]]]) -> Heard | None:
    """The smallest of some contrasts; None where listeners or clips are too few."""
    needed = sorted({name for pair in sides for side in pair for name in side})
    by_system = frame.pivot_table("value", "listener", "system").reindex(columns=needed).dropna()
    clips = frame[frame["listener"].isin(by_system.index)].groupby(["system", "clip"])["value"].mean()
    groups = [[clips[clips.index.isin(side, level=0)].to_numpy() for side in pair] for pair in sides]
    if len(by_system) < 2 or min(len(group) for pair in groups for group in pair) < 2:
        return None
    over_clips = [clip_luck(worse, better) for better, worse in groups]
    x = np.stack([by_system[better].mean(axis=1) - by_system[worse].mean(axis=1) for better, worse in sides], axis=1)
    low, high = analysis.bootstrap_interval((analysis.resample(len(x)) @ x).min(1) / len(x), len(x))
    # Where all clips of both sides fare alike, Welch's interval is nan: fmin and fmax leave that out.
    low = np.fmin(low, np.fmin.reduce([each["low"] for each in over_clips]))
    high = np.fmax(high, np.fmin.reduce([each["high"] for each in over_clips]))
    return Heard(float(x.mean(0).min()), float(low), float(high), len(x))


def power(
    difference: float,
    listeners: int,
    listener_sd: float,
    residual_sd: float,
    clips: tuple[int, int] = (4, 6),
    clip_sd: float = 0.0,
    low: int = 1,
    high: int = 10,
    runs: int = 2000,
    seed: int = 0,
) -> float:
    """Chance that a paired t test over listeners finds two systems to differ at 5 %, from simulated tests.

    The systems lie `difference` apart around the middle of the scale; each listener has a level, each clip a
    quality of its own, each answer a residual, and is rounded and cut to the scale. Where all listeners find
    the same difference, which leaves the test no spread, it counts from 6 listeners on (sign test). The t test
    takes clips for systems: with a `clip_sd`, what it finds at difference 0 is the luck of clips.
    Raises ValueError for fewer than 2 listeners, for a system without clips and for a negative deviation.
    """
    from scipy import stats

    if listeners < 2 or min(clips) < 1 or min(listener_sd, residual_sd, clip_sd) < 0:
        raise ValueError("power needs 2 listeners or more, a clip or more a system, and deviations of 0 or more")
    rng = np.random.default_rng(seed)
    level = rng.normal((low + high) / 2, listener_sd, (runs, listeners, 1))
    sides = []
    for merit, count in zip((-difference / 2, difference / 2), clips, strict=True):
        quality = rng.normal(merit, clip_sd, (runs, 1, count))
        rated = level + quality + rng.normal(0, residual_sd, (runs, listeners, count))
        sides.append(np.clip(np.rint(rated), low, high).mean(2))
    contrast = sides[1] - sides[0]  # (runs, listeners)
    spread = contrast.std(1, ddof=1)
    found = np.abs(contrast.mean(1)) * math.sqrt(listeners) > stats.t.ppf(0.975, listeners - 1) * spread
    return float((found & ((spread > 1e-9) | (listeners >= 6))).mean())


def listeners_needed(
    difference: float, listener_sd: float, residual_sd: float, chance: float = 0.8, **design: Any
) -> int | None:
    """Fewest listeners, 2 to 200, with whom `power` reaches `chance`; None where 200 do not. Found by halving."""
    few, enough = 1, 200
    if power(difference, enough, listener_sd, residual_sd, **design) < chance:
        return None
    while enough - few > 1:
        middle = (few + enough) // 2
        if power(difference, middle, listener_sd, residual_sd, **design) < chance:
            few = middle
        else:
            enough = middle
    return enough


def listeners_table(residual_sds: Sequence[float] = (1, 2, 3), listener_sd: float = 1) -> pd.DataFrame:
    """`listeners_needed` for the published differences: a column for each deviation of single answers.

    The papers print no deviations, so a range is shown. Morris and Leou's is the mean of the three composers
    minus all, one clip each, on 0 to 5.
    """
    *composers, everything = PUBLISHED["morris-leou"].values()
    chen = PUBLISHED["chen-horg-zhuo"]
    gain = chen["2D CNN"]["rating"] - chen["RNN (Chen et al.)"]["rating"]
    cases: list[tuple[str, str, float, dict[str, Any]]] = [("chen-horg-zhuo", "rating", gain, {})]
    for scale in ("Flow", "Repetitive", "Correct"):
        loss = float(np.mean([composer[scale] for composer in composers])) - everything[scale]
        cases.append(("morris-leou", scale, loss, {"clips": (1, 3), "low": 0, "high": 5}))
    rows = [
        {"paper": paper, "scale": scale, "difference": difference}
        | {f"residual sd {sd:g}": listeners_needed(difference, listener_sd, sd, **design) for sd in residual_sds}
        for paper, scale, difference, design in cases
    ]
    return pd.DataFrame(rows).astype({f"residual sd {sd:g}": "Int64" for sd in residual_sds})


def clip_luck(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Whether other clips of two systems would differ as these did, from the mean rating of each clip.

    "difference" (second minus first), its interval "low", "high" over clips and listeners' residuals together
    (Welch), and "p": the chance that systems of equal merit differ as much, in either direction, by the luck
    of clips alone; nan where the clips of neither system differ. Raises ValueError for fewer than 2 clips of
    either system.
    """
    from scipy import stats

    if min(len(first), len(second)) < 2:
        raise ValueError("clip_luck needs 2 clips or more of each system to see how far they spread")
    difference = float(np.mean(second) - np.mean(first))
    if max(np.ptp(first), np.ptp(second)) < 1e-9:
        return {"difference": difference, "low": analysis.nan, "high": analysis.nan, "p": analysis.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of alike clips of one system, which Welch's test allows
        welch = stats.ttest_ind(second, first, equal_var=False)
    low, high = welch.confidence_interval()
    return {"difference": difference, "low": float(low), "high": float(high), "p": float(welch.pvalue)}
