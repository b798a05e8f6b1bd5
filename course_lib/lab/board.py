"""The scoreboard as one picture that a telephone can show: README, notebook 13 and report have it above the rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.files import atomic_write
from course_lib.lab import claims, scoreboard

WIDTH, ROW = 390, 17  # units of the picture, hundredths of an inch: the width of a telephone, the height of a row
MIDDLE, HALF = 222, 78  # where the lines stand, and how far the plot reaches to either side
ALT = "All claims, each measured figure drawn against its line; the table of all claims says the same in words."
CAPTION = (
    "One row a claim: the measured figure with its 95 % interval over seeds (where there are several), and the line "
    "that it is judged by, drawn upright in the middle. To the right of it the claim holds, to the left it does not. "
    "Each row has a scale of its own, so lengths are not to be compared between rows. A proxy, which stands in for "
    "listeners, has no line, and so no mark. The numbers at the top leave out what is counted apart, at the bottom."
)


def picture(rows: Sequence[dict[str, Any]]) -> Figure:
    """The rows of `scoreboard.rows`, of each claim those of one data set; a claim without a figure is an empty row."""
    shown = sorted(scoreboard.best(rows), key=lambda row: bool(row["apart"]))  # those apart stand last
    titled = [
        (claims.authors(paper) if paper else "Counted apart", list(found))
        for paper, found in groupby(shown, lambda row: "" if row["apart"] else row["paper"])
    ]
    height = ROW * (len(shown) + 1.4 * len(titled) + 5.9)
    figure = plt.figure(figsize=(WIDTH / 100, height / 100), dpi=200)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axes.axis("off")
    number = Counter(row["verdict"] for row in shown if not row["apart"])
    _legend(axes, number, any(row["here"] for row in shown))
    y = ROW * 4.9
    for text, x, align in (("not as claimed ←", MIDDLE - 8, "right"), ("→ as claimed", MIDDLE + 8, "left")):
        axes.text(x, y, text, fontsize=6.5, ha=align, va="center", color="#444444")
    for title, found in titled:
        y += ROW * 1.4
        axes.text(4, y, title, fontsize=7.5, fontweight="bold", va="center")
        axes.plot([MIDDLE, MIDDLE], [y + ROW / 2, y + ROW * (len(found) + 0.5)], color="black", linewidth=0.8)
        for row in found:
            y += ROW
            _row(axes, y, row)
    plt.close(figure)
    return figure


def save(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the picture as PNG, what it shows in its metadata."""
    with atomic_write(path) as partial:
        picture(rows).savefig(
            partial, format="png", metadata={"Description": described(rows)}, pil_kwargs={"optimize": True}
        )


def described(rows: Sequence[dict[str, Any]]) -> str:
    """What the picture shows, as JSON: a picture with another description is old."""
    shown = ("id", "verdict", "measured", "low", "high")
    return json.dumps([[row[name] for name in shown] for row in scoreboard.best(rows)])


def _legend(axes: Axes, number: Counter[str], here: bool) -> None:
    """How many claims have each verdict, beside its mark, in two columns."""
    for place, verdict in enumerate(scoreboard.VERDICTS):
        x, y = 10 + place % 2 * WIDTH / 2, ROW * (1 + place // 2)
        _mark(axes, x, y, verdict)
        axes.text(x + 10, y, f"{number[verdict]} {verdict}", fontsize=7.5, va="center")
    if here:
        axes.plot([10], [ROW * 4], "|", color="black", markersize=7)
        axes.text(20, ROW * 4, "what this run measured", fontsize=7.5, va="center")


def _mark(axes: Axes, x: float, y: float, verdict: str) -> None:
    kind = scoreboard.VERDICTS[verdict]
    face = "white" if verdict == "not run" else kind.colour
    axes.plot([x], [y], kind.marker, markersize=5, markerfacecolor=face, markeredgecolor=kind.colour, zorder=3)


def _row(axes: Axes, y: float, row: dict[str, Any]) -> None:
    """Identifier, the plot around the line, and the figure with the line in words; a proxy has no line."""
    axes.text(4, y, row["id"], fontsize=7, va="center")
    axes.plot([MIDDLE - HALF, MIDDLE + HALF], [y, y], color="#dddddd", linewidth=0.6, zorder=0)
    side, line = (1, row["above"]) if math.isnan(row["below"]) else (-1, row["below"])
    line = 0.0 if math.isnan(line) else line  # of what listeners said
    figure = "–" if row["measured"] is None else f"{scoreboard.number(row['measured'])} "
    rule = f"({'>' if side > 0 else '≤'} {line:g})" if row["measured"] is not None else ""
    axes.text(MIDDLE + HALF + 6, y, figure + ("(proxy)" if row["proxy"] else rule), fontsize=6.5, va="center")
    shown = [] if row["proxy"] else [row["measured"], row["low"], row["high"]]
    here = row["here"]["measured"] if row["here"] and not row["here"]["proxy"] else None
    ends = [abs(end - line) for end in (*shown, here) if end is not None]

    def place(value: float) -> float:
        return MIDDLE + side * (value - line) / (max(ends) or 1) * (HALF - 6)

    if here is not None:
        axes.plot([place(here)], [y], "|", color="black", markersize=8, zorder=4)
    if row["measured"] is None or row["proxy"]:
        return
    if row["low"] is not None:
        colour = scoreboard.VERDICTS[row["verdict"]].colour
        axes.plot([place(row["low"]), place(row["high"])], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    _mark(axes, place(row["measured"]), y, row["verdict"])
