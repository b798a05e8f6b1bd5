"""All results against the rules of the claims."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from course_lib.lab import claims, record
from course_lib.lab.schema import Measured
from course_lib.learn.profiles import PROFILES

LISTEN = "only listeners can judge it: notebook 12 or make listen collects their ratings"
VERDICT_COLOURS = {
    "reproduced": "#1b7837",
    "not reproduced": "#b35806",
    "inconclusive": "#666666",
    "not learned": "#7d4fc4",
}


def rows(records: Sequence[record.Record]) -> list[dict[str, Any]]:
    """One row for each claim, in file order, from the records of `record.load`.

    What listeners said wins over a proxy, the listening test with most listeners over others. Runs of a larger profile
    win over those of a smaller one; of runs alike in all parameters and data the latest counts; runs with changed
    settings are left out. `measured` is the mean over `runs` values, `low` and `high` its 95 % interval (None where
    there is none), `links` the folders of the runs.
    """
    counted = record.latest(records)
    return [
        _row(claim, [(run, entry) for run in counted for entry in run.claims if entry.id == claim.id])
        for claim in claims.claims().values()
    ]


def _row(claim: claims.Claim, measured: list[tuple[record.Record, Measured]]) -> dict[str, Any]:
    changed = sum(bool(run.changed) for run, _ in measured)
    measured = [(run, entry) for run, entry in measured if not run.changed]
    profile = max((run.profile for run, _ in measured), key=PROFILES.index, default="")
    by_ear = [(entry.heard, run, entry) for run, entry in measured if entry.heard]
    if by_ear:
        heard, run, entry = sorted(by_ear, key=lambda test: test[0].listeners)[-1]
        runs, profile, judged = [run], heard.profile, claims.by_listeners(entry.value, heard)
    else:
        found = [(run, entry.value) for run, entry in measured if run.profile == profile]
        runs, judged = [run for run, _ in found], claims.verdict(claim, [value for _, value in found], profile)
        if judged.verdict not in ("needs listeners", "not run") and (
            reason := claims.not_learned(claim, [run.baselines for run in runs])
        ):
            judged = judged._replace(verdict="not learned", reason=reason)
    unheard = claim.listeners and judged.verdict in ("not run", "needs listeners")
    reasons = [judged.reason, LISTEN if unheard else "", _mixed(runs)]
    reasons.append(f"{changed} with changed settings left out" if changed else "")
    row = msgspec.structs.asdict(claim) | {"rule": claim.rule}
    if by_ear:
        row |= {"measure": claim.heard, "rule": "above 0"}
    return (
        row
        | judged._asdict()
        | {
            "proxy": claim.listeners and bool(runs) and not by_ear,
            "runs": len(runs),
            "reason": "; ".join(filter(None, reasons)),
            "profile": profile,
            "device": ", ".join(sorted({run.device for run in runs})),
            "links": sorted(run.folder for run in runs),
        }
    )


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
