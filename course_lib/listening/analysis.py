"""What listeners said: the answers of a listening test as tables, means, models and agreement (notebook 12).

`test` is a decoded `test.json` and `answers` the last answer of each listener to each item, as decoded from
`answers.jsonl`. Repeated items tell only how steady a listener is: every other figure leaves them out.
Intervals are at 95 %.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from course_lib.listening.sessions import POINTS

nan = math.nan


def table(test: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each answer and scale; for the form "pairs" one for each answer.

    Returns:
        Ratings have the columns listener, item, clip, system, kind, real, scale, value, repeat. Pairs have
        listener, item, pair (both clip ids in alphabetical order, whatever the side), preferred (a clip id),
        first, second, winner (systems, in the order heard), repeat. No answers give no rows and all columns.

    Raises:
        ValueError: an answer to a clip that is not of the test.
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
            rows += [(*who, *facts, scale, entry["answer"][scale], repeat) for scale in POINTS[test["form"]]]
    if test["form"] == "pairs":
        columns = ["listener", "item", "pair", "preferred", "first", "second", "winner", "repeat"]
        return pd.DataFrame(rows, columns=columns).astype({"item": int, "repeat": bool})
    columns = ["listener", "item", "clip", "system", "kind", "real", "scale", "value", "repeat"]
    return pd.DataFrame(rows, columns=columns).astype({"item": int, "real": bool, "value": float, "repeat": bool})


def first_hearings(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame["repeat"]]


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean rating of each system on each scale, the best first, from the `table` of a rating or scales test.

    Returns:
        Columns scale, system, kind, real, mean, low, high, answers, listeners, clips, note. `low` and `high` hold
        for other listeners and the same clips; they are nan where one listener rated the system, and `note` says so.
    """
    columns = ["scale", "system", "kind", "real", "mean", "low", "high", "answers", "listeners", "clips", "note"]
    rows = []
    for names, part in first_hearings(frame).groupby(columns[:4]):
        each = part.groupby("listener")["value"].agg(["sum", "count"])
        interval = bootstrap_interval(lambda total, count, axis: total.sum(axis) / count.sum(axis), *each.to_numpy().T)
        note = "" if len(each) > 1 else "one listener: no interval"
        rows.append((*names, part["value"].mean(), *interval, len(part), len(each), part["clip"].nunique(), note))
    ordered = pd.DataFrame(rows, columns=columns).sort_values("mean", ascending=False, kind="stable")
    in_form = [scale for scales in POINTS.values() for scale in scales].index
    return ordered.sort_values("scale", key=lambda x: x.map(in_form), kind="stable", ignore_index=True)


def bootstrap_interval(statistic: Callable[..., NDArray[Any]], *samples: NDArray[Any]) -> tuple[float, float]:
    """95 % interval of a figure over other listeners, by resampling listeners, whose answers hang together.

    The percentiles lie as far out as Student's t for so few (Hesterberg 2015), by a higher level asked of scipy.
    Below 5 listeners even the widest interval that resampling can give is too narrow.

    Args:
        statistic: of the arrays `samples` along `axis`.
        samples: one value a listener in each. One listener has no interval: nan.
    """
    from scipy import stats

    listeners = len(samples[0])
    if listeners < 2:
        return nan, nan
    tail = stats.norm.cdf(math.sqrt(listeners / (listeners - 1)) * stats.t.ppf(0.025, listeners - 1))
    drawn = {"n_resamples": 4000, "random_state": 0, "paired": True, "vectorized": True, "method": "percentile"}
    found = stats.bootstrap(samples, statistic, confidence_level=1 - 2 * tail, **drawn).confidence_interval
    return float(found.low), float(found.high)


def mixed_model(frame: pd.DataFrame, scale: str = "rating") -> pd.DataFrame:
    """Rating of each system, with listeners and clips as crossed random effects (REML).

    The intervals hold for other listeners and other clips of the same systems; they take both as normally
    distributed and many, and so are too narrow for a handful of either. They hold the spread of listeners'
    levels, which is common to all systems: overlapping intervals do not mean that two systems are alike.

    Returns:
        Columns system, estimate, low, high, note, the best first. `note` says where every system has one clip, whose
        luck cannot be told from the system's merit; and why, for one listener or where no model can be fitted, least
        squares took all answers as independent.
    """
    import statsmodels.formula.api as smf

    frame = first_hearings(frame)
    frame = frame[frame["scale"] == scale]
    if frame.empty:
        return pd.DataFrame(columns=["system", "estimate", "low", "high", "note"])
    note, effects = "", {"listener": "0 + listener", "clip": "0 + clip"}
    if frame.groupby("system")["clip"].nunique().max() == 1:
        note, effects = (
            "one clip a system: the luck of a clip counts as the system's merit",
            {"listener": "0 + listener"},
        )
    fit, failure = None, "one listener"
    # statsmodels warns of a variance estimated at 0 as of a failure; what counts is checked below.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if frame["listener"].nunique() > 1:
            try:
                # One group of all answers: this is how statsmodels crosses random effects. Powell's search
                # finds a variance of 0, at which those along the gradient stop without convergence.
                model = smf.mixedlm("value ~ 0 + system", frame, groups=np.ones(len(frame)), vc_formula=effects)
                fit, failure = model.fit(method=["powell"]), "the mixed model did not converge"
            except (np.linalg.LinAlgError, ValueError) as error:
                failure = f"the mixed model failed ({error})"
        if fit is None or not fit.converged or fit.scale <= 1e-6 or not np.isfinite(fit.bse_fe).all():
            note = f"{failure}: means by least squares, all answers taken as independent"
            fit = smf.ols("value ~ 0 + system", frame).fit()
        names = sorted(frame["system"].unique())  # the order of the formula's columns
        low, high = np.asarray(fit.conf_int())[: len(names)].T
    estimates = np.asarray(fit.params)[: len(names)]
    systems = pd.DataFrame({"system": names, "estimate": estimates, "low": low, "high": high, "note": note})
    return systems.sort_values("estimate", ascending=False, ignore_index=True)


def bradley_terry(frame: pd.DataFrame) -> pd.DataFrame:
    """Strength of each system from the `table` of a pairs test: log odds of winning against an average one.

    A wins against B with probability sigmoid(strength A - strength B) (Bradley and Terry 1952). Intervals (Wald's)
    take answers as independent: too narrow where listeners differ in taste.

    Returns:
        Columns group, system, strength, low, high, wins, comparisons, note. Systems that no chain of pairs connects,
        as piano and band, are separate groups, each relative to its own mean. The largest likelihood is finite only
        if each system can be reached from each other by a chain of wins (Ford 1957). Where that fails, as for a
        system that always wins, half a win either way is added to each pair of systems that met, and `note` says so.
    """
    import statsmodels.api as sm
    from scipy.sparse.csgraph import connected_components

    frame = first_hearings(frame)
    names = sorted({*frame["first"], *frame["second"]})
    loser = frame["first"].where(frame["first"] != frame["winner"], frame["second"])
    wins = pd.crosstab(frame["winner"], loser).reindex(index=names, columns=names, fill_value=0).to_numpy(float)
    rows = []
    groups, group_of = connected_components(wins, directed=False) if names else (0, np.zeros(0))
    for group in range(groups):
        inside = np.flatnonzero(group_of == group)
        counts, size, note = wins[np.ix_(inside, inside)], len(inside), ""
        won, met = counts.sum(1).astype(int), (counts + counts.T).sum(1).astype(int)
        if connected_components(counts, connection="strong")[0] > 1:
            counts = counts + 0.5 * (counts + counts.T > 0)
            note = "half a win added either way"
        i, j = np.nonzero(np.triu(counts + counts.T))
        design = (np.eye(size)[i] - np.eye(size)[j])[:, :-1]  # the last system stands at 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # takes the exact fit of two systems for separation
            fit = sm.GLM(np.c_[counts[i, j], counts[j, i]], design, family=sm.families.Binomial()).fit()
        centre = fit.t_test(np.eye(size)[:, :-1] - 1 / size)  # from there to a mean of 0
        low, high = centre.conf_int().T
        for k in np.argsort(-centre.effect):
            rows.append((group, names[inside[k]], centre.effect[k], low[k], high[k], won[k], met[k], note))
    return pd.DataFrame(rows, columns=["group", "system", "strength", "low", "high", "wins", "comparisons", "note"])


def agreement(frame: pd.DataFrame, scale: str = "rating") -> tuple[float, str]:
    """Krippendorff's alpha between listeners: 1 where all agree, 0 as by chance. And a reason where it is nan.

    Ordinal over clips for ratings; for a pairs test nominal over pairs of clips, whatever the side. There a label
    says whether the first clip by id won; as which is first means nothing, each pair counts again with labels swapped.
    """
    import krippendorff

    frame = first_hearings(frame)
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
    both = first_hearings(frame).merge(
        frame[frame["repeat"]], on=["listener", "clip", "scale"], suffixes=("", "_again")
    )
    rows = []
    for scale, part in both.groupby("scale", sort=False):
        first, again = part[answer], part[f"{answer}_again"]
        difference = nan if answer == "preferred" else (first - again).abs().mean()
        rows.append((scale, part["listener"].nunique(), difference, (first == again).mean()))
    return pd.DataFrame(rows, columns=["scale", "listeners", "difference", "identical"])
