"""What listeners said: the answers of a listening test as tables, means, models, agreement and claims.

`test` is a decoded `test.json` and `answers` the last answer of each listener to each item, as decoded from
`answers.jsonl`. Repeated items tell only how steady a listener is: every other figure leaves them out.

Intervals are at 95 %. Those of `means` and `heard` resample listeners, whose answers hang together: they
hold for other listeners and the same clips. The percentiles are widened as Hesterberg (2015) does, since few
listeners spread less than all would; below 5 listeners even the widest interval that resampling can give,
from the smallest mean to the largest, is too narrow.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from course_lib import listening_test

nan = math.nan

SCALES = {"rating": ("rating",), "scales": tuple(listening_test.SCALES)}

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
        "dilated, mozart": dict(zip(SCALES["scales"], (3.2, 2.0, 3.3, 1.0, 1.8), strict=True)),
        "dilated, haydn": dict(zip(SCALES["scales"], (3.1, 2.1, 3.0, 1.1, 2.1), strict=True)),
        "dilated, beethoven": dict(zip(SCALES["scales"], (3.0, 1.9, 3.2, 1.3, 2.3), strict=True)),
        "dilated, all": dict(zip(SCALES["scales"], (2.6, 2.2, 2.9, 0.9, 1.7), strict=True)),
    },
}


def table(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each answer and scale; for the form "pairs" one for each answer.

    Ratings have the columns listener, item, clip, system, kind, real, scale, value, repeat. Pairs have
    listener, item, pair (both clip ids in alphabetical order, whatever the side), preferred (a clip id),
    first, second, winner (systems, in the order heard), repeat. No answers give no rows and all columns.
    Raises ValueError for an answer to a clip that is not of the test.
    """
    clips = {clip["id"]: clip for clip in test["clips"]}
    rows: list[tuple[Any, ...]] = []
    for entry in answers:
        if unknown := set(entry["clips"]) - set(clips):
            raise ValueError(
                f"listener {entry['listener']} answered to clip {min(unknown)}, which is not of test {test['id']}:"
                " give the answers of this test alone"
            )
        who, heard_clips, repeat = (entry["listener"], entry["item"]), entry["clips"], entry["repeat"]
        if test["form"] == "pairs":
            preferred = entry["answer"]["preferred"]
            systems = [clips[clip]["system"] for clip in (*heard_clips, preferred)]
            rows.append((*who, " ".join(sorted(heard_clips)), preferred, *systems, repeat))
        else:
            clip = clips[heard_clips[0]]
            facts = (clip["id"], clip["system"], clip["kind"], clip["real"])
            rows += [(*who, *facts, scale, entry["answer"][scale], repeat) for scale in SCALES[test["form"]]]
    if test["form"] == "pairs":
        columns = ["listener", "item", "pair", "preferred", "first", "second", "winner", "repeat"]
        return pd.DataFrame(rows, columns=columns).astype({"item": int, "repeat": bool})
    columns = ["listener", "item", "clip", "system", "kind", "real", "scale", "value", "repeat"]
    return pd.DataFrame(rows, columns=columns).astype({"item": int, "real": bool, "value": float, "repeat": bool})


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean rating of each system on each scale, the best first, from the `table` of a rating or scales test.

    Columns: scale, system, kind, real, mean, low, high, answers, listeners, clips, note. `low` and `high` are
    nan where one listener rated the system, and `note` says so.
    """
    columns = ["scale", "system", "kind", "real", "mean", "low", "high", "answers", "listeners", "clips", "note"]
    rows = []
    for names, part in _first(frame).groupby(["scale", "system", "kind", "real"]):
        each = part.groupby("listener")["value"].agg(["sum", "count"])
        low, high = nan, nan
        if len(each) > 1:
            weights = _resample(len(each))
            low, high = _interval((weights @ each["sum"]) / (weights @ each["count"]), len(each))
        note = "" if len(each) > 1 else "one listener: no interval"
        counts = (len(part), len(each), part["clip"].nunique())
        rows.append((*names, part["value"].mean(), low, high, *counts, note))
    ordered = pd.DataFrame(rows, columns=columns).sort_values("mean", ascending=False, kind="stable")
    in_form = [*SCALES["rating"], *SCALES["scales"]].index
    return ordered.sort_values("scale", key=lambda x: x.map(in_form), kind="stable", ignore_index=True)


class Model(NamedTuple):
    """`systems` has the columns rank, system, estimate, low, high, the best first. The standard deviations are
    of listeners' levels, of clips of one system, and of what is left (nan: not estimated)."""

    systems: pd.DataFrame
    listener_sd: float
    clip_sd: float
    residual_sd: float
    note: str


def mixed_model(frame: pd.DataFrame, scale: str = "rating") -> Model:
    """Rating of each system, with listeners and clips as crossed random effects (REML).

    The intervals hold for other listeners and other clips of the same systems; they take both as normally
    distributed and many, and so are too narrow for a handful of either. They hold the spread of listeners'
    levels, which is common to all systems: overlapping intervals do not mean that two systems are alike.
    Where every system has one clip, its luck cannot be told from the system's merit, and `note` says so. For
    one listener, and where no model can be fitted, least squares take all answers as independent, with
    the reason in `note`.
    """
    import statsmodels.formula.api as smf

    frame = _first(frame)
    frame = frame[frame["scale"] == scale]
    if frame.empty:
        empty = pd.DataFrame(columns=["rank", "system", "estimate", "low", "high"])
        return Model(empty, nan, nan, nan, f"nobody rated {scale}")
    note, clip = "", {"clip": "0 + clip"}
    if frame.groupby("system")["clip"].nunique().max() == 1:
        note, clip = "one clip a system: the luck of a clip counts as the system's merit", {}
    fit, failure = None, "one listener"
    # statsmodels warns of a variance estimated at 0 as of a failure; what counts is checked below.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if frame["listener"].nunique() > 1:
            try:
                # One group of all answers: this is how statsmodels crosses random effects. Powell's search
                # finds a variance of 0, at which those along the gradient stop without convergence.
                random = {"listener": "0 + listener", **clip}
                model = smf.mixedlm("value ~ 0 + system", frame, groups=np.ones(len(frame)), vc_formula=random)
                fit, failure = model.fit(method=["powell"]), "the mixed model did not converge"
            except (np.linalg.LinAlgError, ValueError) as error:
                failure = f"the mixed model failed ({error})"
        sds: dict[str, float] = {}
        if fit is not None and fit.converged and fit.scale > 1e-6 and np.isfinite(fit.bse_fe).all():
            sds = dict(zip(fit.model.exog_vc.names, np.sqrt(fit.vcomp), strict=True))
            estimates, residual_sd = np.asarray(fit.fe_params), fit.scale**0.5
        else:
            note = f"{failure}: means by least squares, all answers taken as independent"
            fit = smf.ols("value ~ 0 + system", frame).fit()
            estimates, residual_sd = np.asarray(fit.params), fit.mse_resid**0.5
        low, high = np.asarray(fit.conf_int())[: len(estimates)].T
    names = sorted(frame["system"].unique())  # the order of the formula's columns
    systems = pd.DataFrame({"system": names, "estimate": estimates, "low": low, "high": high})
    systems = systems.sort_values("estimate", ascending=False, ignore_index=True)
    systems.insert(0, "rank", np.arange(1, len(systems) + 1))
    return Model(systems, float(sds.get("listener", nan)), float(sds.get("clip", nan)), float(residual_sd), note)


def bradley_terry(frame: pd.DataFrame) -> pd.DataFrame:
    """Strength of each system from the `table` of a pairs test: log odds of winning against an average one.

    A wins against B with probability sigmoid(strength A - strength B) (Bradley and Terry 1952). Columns:
    group, system, strength, low, high, wins, comparisons, note. Systems that no chain of pairs connects, as
    piano and band, are separate groups, each relative to its own mean. The largest likelihood is finite only
    if each system can be reached from each other by a chain of wins (Ford 1957). Where that fails, as for a
    system that always wins, half a win either way is added to each pair of systems that met, and `note` says
    so. Intervals (Wald's) take answers as independent: too narrow where listeners differ in taste.
    """
    import statsmodels.api as sm
    from scipy.sparse.csgraph import connected_components

    frame = _first(frame)
    names = sorted({*frame["first"], *frame["second"]})
    first, second, winner = (
        np.array([names.index(name) for name in frame[column]], int) for column in ("first", "second", "winner")
    )
    wins = np.zeros((len(names), len(names)))  # of row against column
    np.add.at(wins, (winner, first + second - winner), 1)
    rows = []
    groups, group_of = connected_components(wins, directed=False) if names else (0, np.zeros(0))
    for group in range(groups):
        inside = np.flatnonzero(group_of == group)
        counts, size, note = wins[np.ix_(inside, inside)], len(inside), ""
        if connected_components(counts, connection="strong")[0] > 1:
            counts = counts + 0.5 * (counts + counts.T > 0)
            note = "half a win added either way"
        i, j = np.nonzero(np.triu(counts + counts.T))
        design = (np.eye(size)[i] - np.eye(size)[j])[:, :-1]  # the last system stands at 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # takes the exact fit of two systems for separation
            fit = sm.GLM(np.c_[counts[i, j], counts[j, i]], design, family=sm.families.Binomial()).fit()
        centre = np.eye(size)[:, :-1] - 1 / size  # from there to a mean of 0
        strengths = centre @ fit.params
        margins = 1.959964 * np.sqrt(np.diag(centre @ fit.cov_params() @ centre.T))
        won = wins[inside].sum(1).astype(int)
        met = won + wins[:, inside].sum(0).astype(int)
        for k in np.argsort(-strengths):
            ends = (strengths[k] - margins[k], strengths[k] + margins[k])
            rows.append((group, names[inside[k]], strengths[k], *ends, won[k], met[k], note))
    return pd.DataFrame(rows, columns=["group", "system", "strength", "low", "high", "wins", "comparisons", "note"])


def agreement(frame: pd.DataFrame, scale: str = "rating") -> tuple[float, str]:
    """Krippendorff's alpha between listeners: 1 where all agree, 0 as by chance. And a reason where it is nan.

    Ordinal over clips for ratings; for a pairs test nominal over pairs of clips, whatever the side. There a
    label says whether the first clip by id won; as which is first means nothing, each pair counts a second
    time with labels swapped.
    """
    import krippendorff

    frame = _first(frame)
    pairs = "winner" in frame
    if pairs:
        won = (frame["pair"].str.split(" ").str[0] == frame["preferred"]).astype(float)
        labelled = frame.assign(clip=frame["pair"], value=won)
        frame = pd.concat([labelled, frame.assign(clip=frame["pair"] + " swapped", value=1 - won)])
    else:
        frame = frame[frame["scale"] == scale]
    values = frame.pivot_table("value", "listener", "clip").to_numpy(float)
    values = values[:, (~np.isnan(values)).sum(0) > 1]
    if not values.size:
        return nan, "no clip was judged by two listeners"
    if np.nanmin(values) == np.nanmax(values):
        return nan, "all listeners gave one and the same value throughout"
    alpha = krippendorff.alpha(reliability_data=values, level_of_measurement="nominal" if pairs else "ordinal")
    return float(alpha), ""


def self_agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """How far a repeated item lies from its first hearing, over the listeners that answered both.

    Columns: scale ("preferred" for pairs), listeners, difference (mean absolute, in points of the scale; nan
    for pairs), identical (the share that answered alike, or preferred the same clip of the two).
    """
    frame = frame.assign(clip=frame["pair"], scale="preferred") if "winner" in frame else frame
    answer = "preferred" if "winner" in frame else "value"
    both = _first(frame).merge(frame[frame["repeat"]], on=["listener", "clip", "scale"], suffixes=("", "_again"))
    rows = []
    for scale, part in both.groupby("scale", sort=False):
        first, again = part[answer], part[f"{answer}_again"]
        difference = nan if answer == "preferred" else (first - again).abs().mean()
        rows.append((scale, part["listener"].nunique(), difference, (first == again).mean()))
    return pd.DataFrame(rows, columns=["scale", "listeners", "difference", "identical"])


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
    frame = _first(table(test, answers))
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
    low, high = _interval((_resample(len(x)) @ x).min(1) / len(x), len(x))
    # Where all clips of both sides fare alike, Welch's interval is nan: fmin and fmax leave that out.
    low = np.fmin(low, np.fmin.reduce([each["low"] for each in over_clips]))
    high = np.fmax(high, np.fmin.reduce([each["high"] for each in over_clips]))
    return Heard(float(x.mean(0).min()), float(low), float(high), len(x))


# --- how many listeners ------------------------------------------------------------------------------------


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
        return {"difference": difference, "low": nan, "high": nan, "p": nan}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of alike clips of one system, which Welch's test allows
        welch = stats.ttest_ind(second, first, equal_var=False)
    low, high = welch.confidence_interval()
    return {"difference": difference, "low": float(low), "high": float(high), "p": float(welch.pvalue)}


def _first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame["repeat"]]


def _resample(listeners: int, draws: int = 4000) -> NDArray[np.int64]:
    """How often each listener is drawn: (draws, listeners)."""
    return np.random.default_rng(0).multinomial(listeners, np.full(listeners, 1 / listeners), draws)


def _interval(draws: NDArray[np.float64], listeners: int) -> tuple[float, float]:
    """95 % interval of bootstrap draws, its percentiles as wide as Student's t for so many listeners."""
    from scipy import stats

    tail = stats.norm.cdf(math.sqrt(listeners / (listeners - 1)) * stats.t.ppf(0.025, listeners - 1))
    low, high = np.quantile(draws, (tail, 1 - tail))
    return float(low), float(high)
