"""The papers' claims, each with one rule, and the verdict that follows from it."""

from __future__ import annotations

import math
import re
import statistics
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from course_lib import files
from course_lib.lab.schema import Heard, Record
from course_lib.learn.profiles import PROFILES

BESIDE = 0.25  # cores that other programs may keep busy while seconds are compared: an editor and a runner
FEWEST_LISTENERS = 5  # for a verdict: fewer agree by chance too often (see `listening.analysis`)


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One claim of a paper, with exactly one rule: `above`, `below` or `listeners`."""

    id: str
    paper: str
    notebook: str  # "02"
    claim: str
    published: str
    measure: str  # what the scalar is, or the proxy where only listeners can tell
    unit: str  # of the scalar
    why: str  # why the line stands where it does
    above: float = math.nan  # reproduced when the scalar is greater than this
    below: float = math.nan  # reproduced when the scalar is at most this
    listeners: bool = False
    heard: str = ""  # what listeners' answers are made into, judged against 0
    profile: Literal["quick", "night", "paper"] = "night"  # the smallest that can judge it
    data: Literal["any", "bands"] = "any"  # "bands": only songs that people wrote for a band can judge it
    apart: str = ""  # why it is no finding about the paper and counted apart, such as "true by construction"
    suspect: float = math.nan  # a figure beyond this is too good to stand before a leak is ruled out
    networks: list[str] = []  # which must have beaten their baselines, as `Run.baseline` names them; "*": every one
    seeds: int = 3  # for a verdict, at least
    timed: bool = False  # it compares seconds: nothing may run beside its notebook (see `disturbed`)

    @property
    def rule(self) -> str:
        """The rule in words."""
        words = f"at most {self.below:g}" if math.isnan(self.above) else f"above {self.above:g}"
        return "listeners decide" if self.listeners else words


class Verdict(NamedTuple):
    """A verdict, the mean measured over seeds, its 95 % interval (None for one seed), and a reason where needed."""

    verdict: str
    measured: float | None
    low: float | None
    high: float | None
    reason: str


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(Path(files.__file__).with_name("claims.toml").read_text(encoding="utf-8"))


@cache
def claims() -> dict[str, Claim]:
    """Every claim of `claims.toml` by id, in file order."""
    return {claim.id: claim for claim in msgspec.convert(_content()["claim"], list[Claim])}


def papers() -> dict[str, str]:
    """What each paper is about, by the key that claims name it by."""
    return _content()["papers"]


def authors(paper: str) -> str:
    """Who wrote it, without what it is about."""
    return re.sub("( & [^,]+), .*", r"\1", papers()[paper])


def papers_of_system(name: str, notebook: str) -> list[str]:
    """The paper that a system is of where one names it, else all that its notebook ("05") measures claims of."""
    named = [system["paper"] for system in _content()["system"].values() if system["name"] == name]
    return named or sorted({claim.paper for claim in claims().values() if claim.notebook == notebook})


def verdict(
    claim: Claim, values: Sequence[float | None], profile: str = "night", data: str = "", seeds: int | None = None
) -> Verdict:
    """Judge a claim from its scalars, one a run, all measured in one profile and on one `data` ("embedded" or a path).

    The 95 % Student t interval of their mean lies wholly on one side of the line, or the claim is inconclusive, as it
    is where a run diverged (None, NaN or infinity), with fewer `seeds` (by default, as many as values) than the claim
    asks for, and where the figure is too good.
    """
    seeds = len(values) if seeds is None else seeds
    finite = [value for value in values if value is not None and math.isfinite(value)]
    mean, low, high = interval(finite) if finite else (None, None, None)
    ends = [mean] if low is None else [low, high]
    right = {end > claim.above or end <= claim.below for end in ends if end is not None}  # NaN: no such line
    outcome, reason = ("reproduced" if right == {True} else "not reproduced"), ""
    if len(right) == 2:
        outcome, reason = "inconclusive", "the interval over seeds spans the line"
    if mean is not None and (mean > claim.suspect if math.isnan(claim.below) else mean < claim.suspect):
        outcome, reason = "inconclusive", f"beyond {claim.suspect:g}: too good to stand before a leak is ruled out"
    if seeds < claim.seeds:
        outcome, reason = "inconclusive", f"{seeds} of {claim.seeds} seeds"
    if len(finite) < len(values):
        lost = f"{len(values) - len(finite)} of {len(values)} runs"
        outcome, reason = "inconclusive", f"{lost} gave no finite value (diverged)"
    if claim.listeners:
        outcome, reason = "needs listeners", ""
    elif not values:
        outcome, reason = "not run", "no run has measured it"
    elif too_small(claim, profile):
        outcome, reason = "not run", f"judged from {claim.profile} on; the figure is of the {profile} profile"
    elif claim.data == "bands" and data == "embedded":
        outcome, reason = "not run", "only real bands can judge it: the chorale band doubles its voices by rule"
    return Verdict(outcome, mean, low, high, reason)


def too_small(claim: Claim, profile: str) -> bool:
    """Whether a profile is smaller than the smallest that can judge a claim."""
    return PROFILES.index(profile) < PROFILES.index(claim.profile)


def compares_seconds(notebook: str, profile: str) -> bool:
    """Whether a claim of this notebook compares seconds, and can be judged in this profile."""
    own = [claim for claim in claims().values() if claim.notebook == notebook[:2]]
    return any(claim.timed and not too_small(claim, profile) for claim in own)


def not_learned(claim: Claim, runs: Sequence[Record]) -> str:
    """Why the networks of a claim have not learned, from what `Run.baseline` recorded in each run; "" where they have.

    A network has learned where it beats the best answer without a network by more than the 95 % interval over seeds,
    and where the figure watched no longer improved when its training ended: by patience (which may ask for more than a
    `min_delta`, see `train.fit`), or at a limit of epochs of which the last tenth brought none better.
    """
    recorded = {row["network"] for run in runs for row in run.baselines}
    networks = sorted(recorded) or claim.networks if "*" in claim.networks else claim.networks
    for network in networks:
        rows = [(run, row) for run in runs for row in run.baselines if row["network"] == network]
        if len(rows) < len(runs):
            return f"no baseline was recorded for {'its networks' if network == '*' else network}"
        if any(None in (row["value"], row["baselines"][row["best"]]) for _, row in rows):
            return f"{network} or what needs no network gave no finite value (diverged)"
        gains = [abs(row["value"] - row["baselines"][row["best"]]) * (1 if row["beaten"] else -1) for _, row in rows]
        gain, low, _ = interval(gains)
        if (gain if low is None else low) <= 0:
            return f"{network} does not beat what needs no network ({rows[0][1]['best']})"
        trainings = [run.trainings.get(name) for run, row in rows if (name := row.get("training"))]
        if any(training is None or training.still_improving for training in trainings):
            return f"{network} was still improving when its training ended"
    return ""


def checked(judged: Verdict, claim: Claim, runs: Sequence[Record]) -> Verdict:
    """The verdict, or why there is none: networks that had not learned, or seconds that were compared in company."""
    if judged.verdict in ("needs listeners", "not run"):
        return judged
    if reason := disturbed(claim, runs):
        return judged._replace(verdict="not run", reason=reason)
    if reason := not_learned(claim, runs):
        return judged._replace(verdict="not learned", reason=reason)
    return judged


def disturbed(claim: Claim, runs: Sequence[Record]) -> str:
    """Why these runs cannot judge a claim that compares seconds: something else kept the machine busy; "" if they can.

    A record that does not say what ran beside it cannot either.
    """
    most = max((math.inf if run.beside is None else run.beside for run in runs), default=0)
    if not claim.timed or most <= BESIDE:
        return ""
    how = f"other programs kept {most:.1f} cores busy" if math.isfinite(most) else "it is not known what ran"
    return f"it compares seconds, and {how} beside its runs"


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean of some values and its 95 % Student t interval, which one value has not."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None
    from scipy import stats  # slow to import, and a run that only records has no need of it

    # Not `stats.t.interval` or `ttest_1samp`: of equal values they give NaN, or warn of lost precision.
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - margin, mean + margin


def by_listeners(claim: Claim, value: float | None, heard: Heard) -> Verdict:
    """Judge a claim from what `Run.heard` recorded."""
    low, high, listeners = heard.low, heard.high, heard.listeners
    outcome = "reproduced" if low > 0 else "not reproduced" if high <= 0 else "inconclusive"
    reason = f"{listeners} listeners" + ": the interval spans 0" * (outcome == "inconclusive")
    if listeners < FEWEST_LISTENERS:
        outcome, reason = "needs listeners", f"{listeners} have rated, and a verdict needs {FEWEST_LISTENERS}"
    elif too_small(claim, heard.profile):
        outcome, reason = "not run", f"judged from {claim.profile} on; the clips were of the {heard.profile} profile"
    return Verdict(outcome, value, low, high, reason)
