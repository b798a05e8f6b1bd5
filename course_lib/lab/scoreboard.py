"""All results against the rules of the claims. README, notebook 13 and report show the rows that `board` gives."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from course_lib import files
from course_lib.lab import claims, record
from course_lib.lab.schema import Measured
from course_lib.learn.profiles import PROFILES

LISTEN = "only listeners can judge it: notebook 12 or make listen collects their ratings"
JUDGED = ("reproduced", "not reproduced")
APART = "Counted apart, as no findings about the papers: true by construction, authors' future work, our own questions."
OWN_DATA = {"ml-jsb-published": "JSB Chorales", "ml-jsb-lstm": "JSB Chorales"}  # whatever `data` the run had


class Kind(NamedTuple):
    """How a verdict looks, what it means, and how a sentence counts it."""

    mark: str
    marker: str  # the same for matplotlib
    colour: str  # of Okabe and Ito, which people with any colour vision tell apart
    meaning: str
    told: str


VERDICTS = {
    "reproduced": Kind(
        *("●", "o", "#009E73"),
        "the measured figure, with its whole 95 % interval over three seeds or more, lies on the claim's side of a "
        "line that was fixed before this figure was seen",
        "reproduced",
    ),
    "not reproduced": Kind("■", "s", "#D55E00", "it lies on the other side, which is as good a finding", "not"),
    "inconclusive": Kind(
        *("◆", "D", "#E69F00"),
        "the interval spans the line, there are fewer than three seeds, a run diverged, or the figure is too good to "
        "stand before a leak is ruled out",
        "inconclusive",
    ),
    "not learned": Kind(
        *("✖", "X", "#CC79A7"),
        "a network that the claim is about does not beat what needs no network, or was still improving when its "
        "training ended: that says nothing of the paper",
        "not judged, as networks had not learned",
    ),
    "needs listeners": Kind(
        *("▲", "^", "#56B4E9"),
        "only ears can tell, and a figure shown is a proxy",
        "for listeners to judge",
    ),
    "not run": Kind(
        *("○", "o", "#777777"),
        "no run has measured it in the profile and on the data that the claim needs, and with nothing beside it where "
        "seconds are compared; a figure shown is of another",
        "not yet run at the scale or on the data that they need",
    ),
}


def committed() -> list[record.Record]:
    """The results that come with the course."""
    return record.load(files.ROOT / "results")


def board(current: Sequence[record.Record] = ()) -> list[dict[str, Any]]:
    """`rows` of the committed results, with what the current runs measured beside them."""
    results = files.ROOT / "results"
    return rows(committed(), [run for run in current if results not in Path(run.folder).parents])


def rows(records: Sequence[record.Record], current: Sequence[record.Record] = ()) -> list[dict[str, Any]]:
    """A row for each claim and each data set that it was measured on, in file order, from `record.load`.

    What listeners said wins over a proxy, the listening test with most listeners over others. Runs of a larger profile
    win over those of a smaller one; of runs alike in all parameters and data the latest counts; runs with changed
    settings are left out. `measured` is the mean over the runs, `low` and `high` its 95 % interval (None where there is
    none), `seeds` how many there were of those `asked` for and `seed_numbers` which, `links` the folders of the runs,
    `data` in words ("" where no run has measured the claim). `here` is the same row of the `current` runs, None where
    they did not measure it; its verdict is "" where they had fewer seeds than it takes.
    """
    counted, beside = record.latest(records), record.latest(current)
    found = []
    for claim in claims.claims().values():
        names = {_data(claim, run) for run in (*counted, *beside) for entry in run.claims if entry.id == claim.id}
        for data in sorted(names) or [""]:
            here = _row(claim, data, beside)
            if here["asked"] > here["seeds"] and not here["heard_by"]:
                here |= {"verdict": "", "reason": f"{here['seeds']} of {here['asked']} seeds"}
            found.append(_row(claim, data, counted) | {"here": here if here["seeds"] else None})
    return found


def _data(claim: claims.Claim, run: record.Record) -> str:
    """What a run of a claim's notebook saw, in words."""
    if claim.id in OWN_DATA:
        return OWN_DATA[claim.id]
    if run.data.name != "embedded":
        return Path(run.data.name).name
    return "chorale band (stand-in)" if "06" <= claim.notebook <= "10" else "embedded corpus"


def _row(claim: claims.Claim, data: str, records: Sequence[record.Record]) -> dict[str, Any]:
    pairs = [(run, each) for run in records if _data(claim, run) == data for each in run.claims if each.id == claim.id]
    left_out = {"with changed settings": sum(bool(run.changed) for run, _ in pairs)}
    pairs = [(run, entry) for run, entry in pairs if not run.changed]
    profile = max((run.profile for run, _ in pairs), key=PROFILES.index, default="")
    row = msgspec.structs.asdict(claim) | {"needs": claim.profile, "asked": claim.seeds, "rule": claim.rule}
    if by_ear := _by_ear(claim, pairs):
        run, entry = by_ear
        assert entry.heard
        runs, profile, judged = [run], entry.heard.profile, claims.by_listeners(claim, entry.value, entry.heard)
        row |= {"measure": claim.heard, "unit": "points", "rule": "above 0"}
    else:
        pairs = [(run, entry) for run, entry in pairs if run.profile == profile]
        fair = [pair for pair in pairs if not claims.disturbed(claim, pair[:1])] or pairs
        left_out["with other programs busy beside them"] = len(pairs) - len(fair)
        runs, values = [run for run, _ in fair], [entry.value for _, entry in fair]
        name = runs[0].data.name if runs else ""
        judged = claims.verdict(claim, values, profile, name, len({run.seed for run in runs}))
        judged = claims.checked(judged, claim, runs)
    reasons = [judged.reason, LISTEN if judged.verdict == "needs listeners" else "", _mixed(runs)]
    reasons += [f"{count} {why} left out" for why, count in left_out.items() if count]
    return row | {
        **judged._asdict(),
        "reason": "; ".join(filter(None, reasons)),
        "data": data,
        "profile": profile,
        "seeds": len({run.seed for run in runs}),
        "seed_numbers": sorted({run.seed for run in runs}),
        "heard_by": by_ear[1].heard.listeners if by_ear and by_ear[1].heard else 0,
        "proxy": claim.listeners and bool(runs) and not by_ear,
        "device": ", ".join(sorted({run.device for run in runs})),
        "links": sorted(run.folder for run in runs),
    }


def _by_ear(
    claim: claims.Claim, pairs: Sequence[tuple[record.Record, Measured]]
) -> tuple[record.Record, Measured] | None:
    """The listening test that counts: of clips that can judge the claim, then with most listeners, then the latest."""

    def weight(pair: tuple[record.Record, Measured]) -> tuple[bool, int]:
        heard = pair[1].heard
        return (not claims.too_small(claim, heard.profile), heard.listeners) if heard else (False, 0)

    return max(reversed([pair for pair in pairs if pair[1].heard]), key=weight, default=None)


def best(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a claim: of several data sets one with a verdict, then songs that people wrote before the stand-in."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["verdict"] in JUDGED, "stand-in" not in row["data"])):
        found[row["id"]] = row
    return sorted(found.values(), key=lambda row: list(claims.claims()).index(row["id"]))


def groups(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rows below the sentence on their paper, and last those that are counted apart."""
    told = sentences(rows)
    apart = [row for row in rows if row["apart"]]
    of_papers = groupby((row for row in rows if not row["apart"]), key=lambda row: row["paper"])
    return [*((told[paper], list(found)) for paper, found in of_papers), *([(APART, apart)] if apart else [])]


def sentences(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """One sentence on each paper that a reader can quote: how many of its claims hold, on which data, at which profile.

    `rows` are those of `rows`; where a claim was measured on several data sets, the one that `best` chooses counts.
    """
    of_papers = groupby((row for row in best(rows) if not row["apart"]), key=lambda row: row["paper"])
    return {paper: f"{claims.papers()[paper]}: {in_words(list(counted))}." for paper, counted in of_papers}


def findings(rows: Sequence[dict[str, Any]], path: Path = files.ROOT / "results" / "findings.toml") -> dict[str, dict]:
    """What we make of the results of each paper: "short", two sentences, "sure", how sure, and "long", a paragraph.

    The texts stand beside the committed results, which they are about; `{claim-id}` in them is the claim's figure,
    without its unit, and `{claim-id, data}` that on one of several data sets, a dash where there is none.
    """
    named = {f"{row['id']}, {row['data']}": row for row in rows} | {row["id"]: row for row in best(rows)}
    figures = {name: interval(row["measured"], row["low"], row["high"]) for name, row in named.items()}
    found = tomllib.loads(path.read_text(encoding="utf-8"))

    def filled(text: str) -> str:
        return re.sub(r"\{(.+?)\}", lambda place: figures.get(place[1], "–"), text)

    return {paper: {name: filled(text) for name, text in texts.items()} for paper, texts in found.items()}


def in_words(counted: Sequence[dict[str, Any]]) -> str:
    """How many of these rows, one a claim, have which verdict, and on what they were judged."""
    number = Counter(row["verdict"] for row in counted)
    on = {f"{row['data']} in {row['profile']}" for row in counted if row["verdict"] in JUDGED}
    yes, no = (number[verdict] for verdict in JUDGED)
    held = f"of {len(counted)} claims {yes + no} are judged, {yes} reproduced and {no} not"
    others = [f"{number[name]} {kind.told}" for name, kind in VERDICTS.items() if number[name] and name not in JUDGED]
    parts = held if on else f"none of {len(counted)} claims has a verdict yet", ", ".join(others)
    return "; ".join(filter(None, (*parts, f"judged on {', '.join(sorted(on))}" if on else "")))


def about(records: Sequence[record.Record]) -> str:
    """Which runs the board is made from, and until there are some of `night` or `paper`, that nothing is judged."""
    number = Counter(run.profile for run in record.latest(records))
    of = " and ".join(f"{number[profile]} runs of {profile}" for profile in PROFILES if number[profile])
    made = f"Made from the committed results, {of}." if of else "No results have been committed yet."
    judging = number["night"] or number["paper"]
    return made if judging else f"{made} A verdict takes runs of the night or the paper profile, so there is none yet."


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row in words, by the heading of its column."""
    here = row.get("here") or {}
    beside = {"this run": f"{_figure(here)}, {here['profile']} profile: {_judged(here)}"} if here else {}
    return {
        "id": row["id"],
        "claim": row["claim"],
        "published": row["published"],
        "measured": _figure(row),
        "line": row["rule"],
        "data": row["data"] or "–",
        "profile": row["profile"] or "–",
        "seeds": ", ".join(map(str, row["seed_numbers"])) or "–",
        "verdict": _judged(row | {"reason": "; ".join(filter(None, [row["reason"], row["apart"]]))}),
        **beside,
    }


def _figure(row: dict[str, Any]) -> str:
    figure = interval(row["measured"], row["low"], row["high"])
    return ("proxy: " if row["proxy"] else "") + (figure if figure == "–" else f"{figure} {row['unit']}")


def _judged(row: dict[str, Any]) -> str:
    verdict = f"{VERDICTS[row['verdict']].mark} {row['verdict']}" if row["verdict"] else "no verdict"
    return verdict + (f" ({row['reason']})" if row["reason"] else "")


def interval(mean: Any, low: float | None, high: float | None) -> str:
    """A figure, with its interval if it has one."""
    return number(mean) + ("" if low is None or high is None else f" ({number(low)} to {number(high)})")


def number(value: Any) -> str:
    """A figure to three digits; a dash for what is no number."""
    if not isinstance(value, (int, float)) or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _mixed(runs: Sequence[record.Record]) -> str:
    """What but the seed differs between runs whose values are averaged."""
    names = sorted({name for run in runs for name in run.parameters} - {"seed", "data"})
    seen = {name: {json.dumps(run.parameters.get(name)) for run in runs} for name in names}
    seen["data"] = {run.data.fingerprint or run.data.name for run in runs}
    seen["precision"] = {run.precision for run in runs}
    seen["code"] = {run.code.notebook + (run.code.package or str(run.commit)) for run in runs}
    mixed = ", ".join(name for name, kinds in seen.items() if len(kinds) > 1)
    return mixed and f"the runs averaged differ in {mixed}"


def different_data(records: Sequence[record.Record]) -> list[str]:
    """A clause for each notebook, profile and name of a data set under which runs saw different data."""
    seen: dict[tuple[str, str, str], dict[str, str]] = {}
    for run in records:
        if run.data.fingerprint:  # some notebooks read no data
            key = run.notebook, run.profile, Path(run.data.name).name
            seen.setdefault(key, {}).setdefault(run.data.fingerprint, run.folder)
    return [
        f"runs of {notebook} in the {profile} profile saw different data, "
        + " and ".join(f"{folder} (fingerprint {fingerprint})" for fingerprint, folder in kinds.items())
        for (notebook, profile, _), kinds in seen.items()
        if len(kinds) > 1
    ]


def of_run(run: record.Run):
    """The claims of a run's own notebook, as far as this run alone can judge them: a table for its last cell."""
    return table([row for row in rows(record.load(run.folder)) if row["notebook"] == run.record.notebook[:2]])


def table(rows: Sequence[dict[str, Any]]):
    """Rows of `rows` as a table for a notebook (a pandas Styler)."""
    from pandas import DataFrame  # slow to import, and the command line has no need of it
    from pandas.io.formats.style import Styler

    table = Styler(DataFrame([shown(row) for row in rows]).fillna("–"), cell_ids=False)
    return table.hide(axis="index").set_table_styles(
        [{"selector": "th, td", "props": "text-align: left; vertical-align: top"}]
    )
