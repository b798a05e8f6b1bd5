"""The papers' claims, each with one rule, and the verdict that follows from it."""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FEWEST_LISTENERS = 5  # for a verdict: fewer agree by chance too often (course_lib.listening.by_ear.heard)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, with exactly one rule: ``above``, ``below`` or ``listeners``."""

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
    """Every claim of ``claims.toml`` by id, in file order."""
    entries = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))["claim"]
    return {entry["id"]: Claim(**entry) for entry in entries}


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

        margin = stats.t.ppf(0.975, len(finite) - 1) * statistics.stdev(finite) / math.sqrt(len(finite))
        low, high = mean - float(margin), mean + float(margin)

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
    elif claim.profile == "paper" and profile != "paper":
        outcome, reason = "not run", "tested at the paper's scale only; the figure is of the quick profile"
    return Verdict(outcome, mean, low, high, reason)


def by_listeners(entry: Mapping[str, Any]) -> Verdict:
    """Judge a claim from what ``Run.heard`` recorded."""
    (low, high), listeners = entry["heard"], entry["detail"]["listeners"]
    outcome = "reproduced" if low > 0 else "not reproduced" if high <= 0 else "inconclusive"
    reason = f"{listeners} listeners" + ": the interval spans 0" * (outcome == "inconclusive")
    if listeners < FEWEST_LISTENERS:
        outcome, reason = "needs listeners", f"{listeners} have rated, and a verdict needs {FEWEST_LISTENERS}"
    return Verdict(outcome, entry["value"], low, high, reason)
