"""The scoreboard as a table in a notebook."""

import re

from course_lib.lab import scoreboard


def claim(identifier, verdict, reason="", measured=None, low=None, high=None, runs=0):
    return {
        "id": identifier, "paper": "voorhis-allen", "notebook": "02", "claim": f"claim {identifier}",
        "published": "94 %", "measure": "accuracy", "rule": "above 0.9", "measured": measured, "low": low,
        "high": high, "runs": runs, "profile": "quick", "device": "CPU", "verdict": verdict,
        "reason": reason, "links": [],
    }  # fmt: skip


def test_the_scoreboard_shows_every_verdict():
    rows = [
        claim("va-a", "reproduced", measured=0.93456, low=0.9, high=0.97, runs=3),
        claim("va-b", "not reproduced", measured=0.5, runs=1),
        claim("va-c", "inconclusive", measured=-1234.5, low=-2000.0, high=10.0, runs=2),
        claim("va-d", "not learned", reason="GRU does not beat what needs no network", measured=0.25, runs=3),
        claim("va-g", "needs listeners", measured=0.0),
        claim("va-e", "not run"),
        claim("va-f", "not run", reason="judged at the paper's scale", measured=0.7, runs=1),
    ]
    page = scoreboard.table(rows).to_html()
    for text in (
        "0.935 [0.9, 0.97]", "0.5", "[-2e+03, 10]", "reproduced", "not reproduced", "inconclusive",
        "not learned (GRU does not beat", "needs listeners", "not run (judged at the paper", "–",
        "claim va-e", "above 0.9", "94 %",
    ):  # fmt: skip
        assert text in page, text
    styled = scoreboard.table(rows)
    assert list(styled.data["verdict"])[:3] == [each["verdict"] for each in rows[:3]]
    assert list(styled.data["measured"]) == [
        "0.935 [0.9, 0.97]",
        "0.5",
        "-1.23e+03 [-2e+03, 10]",
        "0.25",
        "0",
        "–",
        "0.7",
    ]
    blocks = re.findall(r"([^{}]*row\d_col7[^{}]*)\{([^}]*)\}", page)
    colours = {
        int(place): re.search(r"(?<!-)color: ([^;]+);", style)[1]
        for selectors, style in blocks
        for place in re.findall(r"row(\d)_col7", selectors)
    }
    assert [colours[place] for place in range(4)] == [*scoreboard.VERDICT_COLOURS.values()]
    assert len(set(scoreboard.VERDICT_COLOURS.values())) == 4
    assert colours[4] == colours[5] == colours[6] == "inherit"
