"""All results against the rules of the claims."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from course_lib.lab import claims, record
from course_lib.lab.schema import Measured
from course_lib.learn.profiles import PROFILES

LISTEN = "only listeners can judge it: notebook 12 or make listen collects their ratings"
JUDGED = ("reproduced", "not reproduced")
IN_WORDS = {
    "reproduced": "reproduced",
    "not reproduced": "not reproduced",
    "inconclusive": "inconclusive",
    "not learned": "not judged, as its networks had not learned",
    "needs listeners": "for listeners to judge",
    "not run": "not run at the scale that it needs",
}
VERDICT_COLOURS = {
    "reproduced": "#1b7837",
    "not reproduced": "#b35806",
    "inconclusive": "#666666",
    "not learned": "#7d4fc4",
}


def rows(records: Sequence[record.Record]) -> list[dict[str, Any]]:
    """A row for each claim and each data set that it was measured on, in file order, from `record.load`.

    What listeners said wins over a proxy, the listening test with most listeners over others. Runs of a larger profile
    win over those of a smaller one; of runs alike in all parameters and data the latest counts; runs with changed
    settings are left out. `measured` is the mean over `runs` values, `low` and `high` its 95 % interval (None where
    there is none), `links` the folders of the runs, `data` in words ("" where no run has measured the claim).
    """
    counted = record.latest(records)
    found = []
    for claim in claims.claims().values():
        measured = [(run, entry) for run in counted for entry in run.claims if entry.id == claim.id]
        for data in sorted({_data(run) for run, _ in measured}) or [""]:
            found.append(_row(claim, data, [pair for pair in measured if _data(pair[0]) == data]))
    return found


def _data(run: record.Record) -> str:
    """What a run saw, in words."""
    if run.data.name != "embedded":
        return Path(run.data.name).name
    return "chorale band (stand-in)" if "06" <= run.notebook[:2] <= "10" else "embedded corpus"


def _row(claim: claims.Claim, data: str, measured: list[tuple[record.Record, Measured]]) -> dict[str, Any]:
    changed = sum(bool(run.changed) for run, _ in measured)
    measured = [(run, entry) for run, entry in measured if not run.changed]
    profile = max((run.profile for run, _ in measured), key=PROFILES.index, default="")
    by_ear = [(entry.heard, run, entry) for run, entry in measured if entry.heard]
    if by_ear:
        heard, run, entry = sorted(by_ear, key=lambda test: test[0].listeners)[-1]
        runs, profile, judged = [run], heard.profile, claims.by_listeners(entry.value, heard)
    else:
        found = [(run, entry.value) for run, entry in measured if run.profile == profile]
        runs = [run for run, _ in found]
        name = runs[0].data.name if runs else ""
        judged = claims.verdict(claim, [value for _, value in found], profile, name)
        if judged.verdict not in ("needs listeners", "not run") and (reason := claims.not_learned(claim, runs)):
            judged = judged._replace(verdict="not learned", reason=reason)
    unheard = claim.listeners and judged.verdict in ("not run", "needs listeners")
    reasons = [judged.reason, LISTEN if unheard else "", _mixed(runs)]
    reasons.append(f"{changed} with changed settings left out" if changed else "")
    row = msgspec.structs.asdict(claim) | {"rule": claim.rule}
    if by_ear:
        row |= {"measure": claim.heard, "unit": "points", "rule": "above 0"}
    return (
        row
        | judged._asdict()
        | {
            "needs": claim.profile,
            "data": data,
            "proxy": claim.listeners and bool(runs) and not by_ear,
            "runs": len(runs),
            "reason": "; ".join(filter(None, reasons)),
            "profile": profile,
            "device": ", ".join(sorted({run.device for run in runs})),
            "links": sorted(run.folder for run in runs),
        }
    )


def sentences(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """One sentence on each paper that a reader can quote: how many of its claims hold, on which data, at which profile.

    `rows` are those of `rows`; where a claim was measured on several data sets, the one with a verdict counts, bands of
    people before the stand-in.
    """
    found = {}
    for paper, of_paper in groupby(rows, key=lambda row: row["paper"]):
        best: dict[str, dict[str, Any]] = {}
        for row in sorted(of_paper, key=lambda row: (row["verdict"] in JUDGED, "stand-in" not in row["data"])):
            best[row["id"]] = row
        counted = [row for row in best.values() if not row["apart"]]
        apart = len(best) - len(counted)
        judged = [row for row in counted if row["verdict"] in JUDGED]
        verdicts = Counter(row["verdict"] for row in counted)
        told = ", ".join(f"{verdicts[name]} {words}" for name, words in IN_WORDS.items() if verdicts[name])
        on = " and ".join(sorted({f"{row['data']}, {row['profile']} profile" for row in judged}))
        beside = f" ({apart} more, not findings about the paper, counted apart)" if apart else ""
        found[paper] = (
            f"{claims.papers()[paper]}: of {len(counted)} claims{beside}, {told}{f' ({on})' if judged else ''}."
        )
    return found


def _mixed(runs: Sequence[record.Record]) -> str:
    """What but the seed differs between runs whose values are averaged."""
    names = sorted({name for run in runs for name in run.parameters} - {"seed", "data"})
    seen = {name: {json.dumps(run.parameters.get(name)) for run in runs} for name in names}
    seen["data"] = {run.data.fingerprint or run.data.name for run in runs}
    seen["code"] = {run.code.notebook + (run.code.package or str(run.commit)) for run in runs}
    mixed = ", ".join(name for name, kinds in seen.items() if len(kinds) > 1)
    return mixed and f"the runs averaged differ in {mixed}"


def different_data(records: Sequence[record.Record]) -> list[str]:
    """A clause for each notebook and profile whose runs saw different data."""
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for run in records:
        if run.data.fingerprint:  # some notebooks read no data
            seen.setdefault((run.notebook, run.profile), {}).setdefault(run.data.fingerprint, run.folder)
    return [
        f"runs of {notebook} in the {profile} profile saw different data, "
        + " and ".join(f"{folder} (fingerprint {fingerprint})" for fingerprint, folder in kinds.items())
        for (notebook, profile), kinds in seen.items()
        if len(kinds) > 1
    ]


def of_run(run: record.Run):
    """The claims of a run's own notebook, as far as this run alone can judge them: a table for its last cell."""
    return table([row for row in rows(record.load(run.folder)) if row["notebook"] == run.record.notebook[:2]])


def table(rows: Sequence[dict[str, Any]]):
    """Rows of `rows` as a table for a notebook (a pandas Styler)."""
    import pandas as pd  # slow to import, and the command line has no need of it

    def measured(row: dict[str, Any]) -> str:
        if row["measured"] is None:
            return "–"
        interval = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
        return f"{row['measured']:.3g}{interval}"

    shown = [
        {name: row[name] for name in ("id", "claim", "published", "measure")}
        | {"reproduced if": row["rule"], "measured": measured(row), "runs": row["runs"]}
        | {"verdict": row["verdict"] + (f" ({row['reason']})" if row["reason"] else "")}
        for row in rows
    ]
    table = pd.DataFrame(shown).style.hide(axis="index").set_properties(**{"text-align": "left"})
    return table.map(
        lambda verdict: f"font-weight: bold; color: {VERDICT_COLOURS.get(verdict.split(' (')[0], 'inherit')}",
        subset=["verdict"],
    )
