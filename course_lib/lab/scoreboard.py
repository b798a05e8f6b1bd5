"""All results against the rules of the claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from course_lib.lab import claims, record

LISTEN = "only listeners can judge it: notebook 12 or make listen collects their ratings"


def rows(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each claim, in file order, from the results of ``load_results``.

    What listeners said wins over a proxy, the listening test with most listeners over others. Runs at the paper's scale
    win over quick ones; of runs alike in all parameters and data the latest counts.
    ``measured`` is the mean over ``runs`` values, ``low`` and ``high`` its 95 % interval (None where there is
    none), ``links`` the folders of the runs.
    """
    rows, counted = [], record.latest(results)
    for claim in claims.claims().values():
        entries = [(run, entry) for run in counted for entry in run["claims"] if entry["id"] == claim.id]
        heard = [(run, entry) for run, entry in entries if "heard" in entry]
        heard = sorted(heard, key=lambda pair: pair[1]["detail"]["listeners"])[-1:]
        found = [(run, entry["value"]) for run, entry in heard or entries]
        profiles = {run["parameters"]["profile"] for run, _ in found}
        profile = "paper" if "paper" in profiles else "quick"
        found = [(run, value) for run, value in found if run["parameters"]["profile"] == profile]
        runs = [run for run, _ in found]
        judged = (
            claims.by_listeners(heard[0][1]) if heard else claims.verdict(claim, [value for _, value in found], profile)
        )
        fields = ("id", "paper", "notebook", "claim", "published", "measure", "rule", "why")
        row = {field: getattr(claim, field) for field in fields}
        profile = heard[0][1]["detail"]["profile"] if heard else profile
        row["proxy"] = claim.listeners and bool(runs) and not heard
        if heard:
            row |= {"measure": claim.heard, "rule": "above 0"}
        row |= {"measured": judged.mean, "low": judged.low, "high": judged.high, "runs": len(runs)}
        unheard = claim.listeners and judged.verdict in ("not run", "needs listeners")
        reasons = [judged.reason, LISTEN if unheard else "", _mixed(runs)]
        row |= {"verdict": judged.verdict, "reason": "; ".join(filter(None, reasons))}
        row |= {"profile": profile if runs else "", "device": ", ".join(sorted({r["device"] for r in runs}))}
        rows.append(row | {"links": sorted(run["folder"] for run in runs)})
    return rows


def _mixed(runs: Sequence[Mapping[str, Any]]) -> str:
    """What but the seed differs between runs whose values are averaged."""
    names = {name for run in runs for name in run["parameters"]} - {"seed", "data"}
    seen = {name: {json.dumps(run["parameters"].get(name)) for run in runs} for name in sorted(names)}
    seen["data"] = {run["data_fingerprint"] or run["parameters"].get("data") for run in runs}
    mixed = ", ".join(name for name, kinds in seen.items() if len(kinds) > 1)
    return mixed and f"the runs averaged differ in {mixed}"


def different_data(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A clause for each notebook and profile whose runs saw different data: which, where, and the fingerprints."""
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for run in results:
        if run["data_fingerprint"]:  # some notebooks read no data
            kinds = seen.setdefault((run["notebook"], run["parameters"]["profile"]), {})
            kinds.setdefault(run["data_fingerprint"], run["folder"])
    return [
        f"runs of {notebook} in the {profile} profile saw different data, "
        + " and ".join(f"{folder} (fingerprint {fingerprint})" for fingerprint, folder in kinds.items())
        for (notebook, profile), kinds in seen.items()
        if len(kinds) > 1
    ]


VERDICT_COLOURS = {"reproduced": "#1b7837", "not reproduced": "#b35806", "inconclusive": "#666666"}


def table(rows: Sequence[dict]):
    """Rows of :func:`course_lib.lab.scoreboard.rows` as a table for the notebook (a pandas Styler)."""
    import pandas as pd

    def measured(row):
        if row["measured"] is None:
            return "–"
        interval = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
        return f"{row['measured']:.3g}{interval}"

    shown = [
        {
            "id": row["id"],
            "claim": row["claim"],
            "published": row["published"],
            "measure": row["measure"],
            "reproduced if": row["rule"],
            "measured": measured(row),
            "runs": row["runs"],
            "verdict": row["verdict"] + (f" ({row['reason']})" if row["reason"] else ""),
        }
        for row in rows
    ]
    table = pd.DataFrame(shown).style.hide(axis="index").set_properties(**{"text-align": "left"})
    return table.map(
        lambda verdict: f"font-weight: bold; color: {VERDICT_COLOURS.get(verdict.split(' (')[0], 'inherit')}",
        subset=["verdict"],
    )
