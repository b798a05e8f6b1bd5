"""The papers' claims, each with one rule, and the verdict that follows from it."""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from course_lib import files
from course_lib.lab.schema import Measured
from course_lib.learn.profiles import PROFILES

FEWEST_LISTENERS = 5  # for a verdict: fewer agree by chance too often (see `listening.by_ear`)


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One claim of a paper, with exactly one rule: `above`, `below` or `listeners`."""

    id: str
    paper: str
    notebook: str  # "02"
    claim: str
    published: str
    measure: str  # what the scalar is, or the proxy where only listeners can tell
    why: str  # why the line stands where it does
    above: float = math.nan  # reproduced when the scalar is greater than this
    below: float = math.nan  # reproduced when the scalar is at most this
    listeners: bool = False
    heard: str = ""  # what listeners' answers are made into, judged against 0
    profile: str = ""  # "paper": tested at the paper's scale only

    @property
    def rule(self) -> str:
        """The rule in words."""
        words = f"at most {self.below:g}" if math.isnan(self.above) else f"above {self.above:g}"
        words = "listeners decide; the figure is a proxy" if self.listeners else words
        return words + ", paper profile only" * (self.profile == "paper")


class Verdict(NamedTuple):
    """A verdict, the mean over seeds, its 95 % interval (None for one seed), and a reason where needed."""

    verdict: str
    mean: float | None
    low: float | None
    high: float | None
    reason: str


@cache
def claims() -> dict[str, Claim]:
    """Every claim of `claims.toml` by id, in file order."""
    entries = tomllib.loads(Path(files.__file__).with_name("claims.toml").read_text(encoding="utf-8"))["claim"]
    return {claim.id: claim for claim in msgspec.convert(entries, list[Claim])}


def verdict(claim: Claim, values: Sequence[float | None], profile: str = "quick") -> Verdict:
    """Judge a claim from its scalars, one a seed, all measured in one profile.

    One scalar is judged by its side of the line, several by the 95 % Student t interval of their mean: wholly
    on one side, or inconclusive, as it is when a run diverged (None, NaN or infinity).
    """
    if not values:
        return Verdict("not run", None, None, None, "no run has measured it")
    finite = [value for value in values if value is not None and math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else None
    low = high = None
    if mean is not None and len(finite) > 1:
        from scipy import stats  # slow to import, and a run that only records has no need of it

        # Not `stats.t.interval` or `ttest_1samp`: of equal values they give NaN, or warn of lost precision.
        margin = float(stats.t.ppf(0.975, len(finite) - 1)) * statistics.stdev(finite) / math.sqrt(len(finite))
        low, high = mean - margin, mean + margin

    ends = [mean] if low is None else [low, high]
    right = {end > claim.above or end <= claim.below for end in ends if end is not None}  # NaN: no such line
    outcome, reason = ("reproduced" if right == {True} else "not reproduced"), ""
    if len(right) == 2:
        outcome, reason = "inconclusive", "the interval over seeds spans the line"
    if len(finite) < len(values):
        lost = f"{len(values) - len(finite)} of {len(values)} runs"
        outcome, reason = "inconclusive", f"{lost} gave no finite value (diverged)"
    if claim.listeners:
        outcome = "needs listeners"
    elif claim.profile and PROFILES.index(profile) < PROFILES.index(claim.profile):
        outcome, reason = "not run", f"tested at the paper's scale only; the figure is of the {profile} profile"
    return Verdict(outcome, mean, low, high, reason)


def by_listeners(measured: Measured) -> Verdict:
    """Judge a claim from what `Run.heard` recorded."""
    assert measured.heard
    low, high, listeners = measured.heard.low, measured.heard.high, measured.heard.listeners
    outcome = "reproduced" if low > 0 else "not reproduced" if high <= 0 else "inconclusive"
    reason = f"{listeners} listeners" + ": the interval spans 0" * (outcome == "inconclusive")
    if listeners < FEWEST_LISTENERS:
        outcome, reason = "needs listeners", f"{listeners} have rated, and a verdict needs {FEWEST_LISTENERS}"
    return Verdict(outcome, measured.value, low, high, reason)
