"""The plan for a term: its minutes are those of the records and notebooks, and what it names is there."""

import json
import re
from pathlib import Path

import pytest

from course_lib.lab import estimate, record

ROOT = Path(__file__).resolve().parents[2]
PLAN = (ROOT / "docs" / "term.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WEEKS = {int(number): text for number, text in re.findall(r"^## Week (\d+): (.+?)(?=^## |\Z)", PLAN, re.M | re.S)}
WORDS_A_MINUTE, LINES_A_MINUTE = 150, 20


def cells(path: Path, kind: str) -> list[str]:
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in every if cell["cell_type"] == kind]


def reading(path: Path) -> int:
    """The minutes to read a notebook by the rule of the plan, to the nearest five."""
    text = "\n".join(cells(path, "markdown"))
    text = re.sub(r"<details>.*?</details>|```mermaid.*?```", "", text, flags=re.S)  # answers and diagrams
    code = [line.strip() for source in cells(path, "code") for line in source.splitlines()]
    lines = [line for line in code if line and not line.startswith("#")]
    return round((len(text.split()) / WORDS_A_MINUTE + len(lines) / LINES_A_MINUTE) / 5) * 5


def running(path: Path, profile: str) -> str:
    """Minutes of the committed runs, on average, and how many they are."""
    needs = estimate.Needs(profile)
    runs: list[record.Record] = needs.runs.get(path.stem, [])
    return f"{needs.seconds(None)[path.stem] / 60:.1f} ({len(runs)})" if runs else "–"


def rows() -> str:
    """The table of minutes as it must stand in the plan."""
    lines = []
    for path in NOTEBOOKS:
        link = f"[{path.stem[:2]}](../notebooks/{path.name})"
        runs = " | ".join(running(path, profile) for profile in ("quick", "night"))
        lines.append(f"| {link} | {reading(path)} | {runs} |")
    return "\n".join(lines)


def test_the_minutes_are_those_of_the_records_and_the_notebooks():
    assert rows() in PLAN, f"the table of minutes in docs/term.md is old; it must be:\n{rows()}"


def test_the_rule_of_reading_is_the_one_that_the_plan_states():
    assert f"{WORDS_A_MINUTE} words and {LINES_A_MINUTE} lines of code a minute" in " ".join(PLAN.split())


def taught() -> dict[str, int]:
    """The week of each notebook, by the line that names it in the text of a week."""
    lines = {week: re.search("^Notebooks? .+", text, re.M)[0] for week, text in WEEKS.items()}
    found = [(name, week) for week, line in lines.items() for name in re.findall(r"\(\.\./notebooks/(\d\d)_", line)]
    assert len(found) == len(dict(found)), "a notebook has two weeks"
    return dict(found)


def test_every_notebook_has_a_week_and_there_are_twelve():
    assert list(WEEKS) == list(range(1, 13))
    assert sorted(taught()) == [path.stem[:2] for path in NOTEBOOKS]
    assert taught()["12"] == 10, "the listening test is held in week ten"
    table = re.findall(r"^\| (\d+) \| (\d\d(?:, \d\d)*) \|", PLAN, re.M)
    assert {name: int(week) for week, names in table for name in names.split(", ")} == taught()


def before(path: Path) -> set[str]:
    """The numbers in a notebook's row Before, up to its first semicolon: what comes after it is optional."""
    row = re.search(r"\*\*Before\*\* \| (.+?) \|", cells(path, "markdown")[0])[1].split(";")[0]
    found = set(re.findall(r"\b\d\d\b", row))
    for first, last in re.findall(r"(\d\d) to (\d\d)", row):
        found |= {f"{number:02}" for number in range(int(first), int(last) + 1)}
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_comes_before_what_it_needs(path):
    weeks = taught()
    assert not [each for each in before(path) if weeks[each] > weeks[path.stem[:2]]]


def test_the_rows_that_say_what_comes_before_are_read():
    needed = {path.stem[:2]: before(path) for path in NOTEBOOKS}
    assert needed["10"] == {"04", "06", "09"} and needed["05"] == {"01", "02", "03"}


def test_the_exercises_of_the_homework_are_there():
    named = re.findall(r"`(\d\d): (\d, [a-z ]+)`", PLAN)
    texts = {path.stem[:2]: "\n".join(cells(path, "markdown")) for path in NOTEBOOKS}
    assert not [f"{name}: {title}" for name, title in named if f"**{title}.**" not in texts[name]]
    for week, text in WEEKS.items():
        assert week == 12 or re.search(r"`\d\d: \d, check`", text), f"week {week} has no homework that is checked"


def test_the_sections_named_are_there():
    named = re.findall(r"(\d\d), sections? (\d+)(?:(?: to | and |, )(\d+))?", " ".join(PLAN.split()))
    assert len(named) > 20
    for name, *sections in named:
        [path] = [path for path in NOTEBOOKS if path.stem.startswith(name)]
        headings = {int(each) for text in cells(path, "markdown") for each in re.findall(r"^## (\d+) ", text, re.M)}
        assert {int(each) for each in sections if each} <= headings, (name, sections)


@pytest.mark.parametrize("week", range(1, 13))
def test_a_class_has_ninety_minutes(week):
    minutes = [int(each) for each in re.findall(r"^\| (\d+) \| ", WEEKS[week], re.M)]
    assert sum(minutes) == 90, minutes


def test_what_week_one_tells_of_the_committed_run_is_in_it():
    """Each line of its blocks of text was printed by notebook 00."""
    every = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in every for output in cell.get("outputs", [])]
    parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    printed = " ".join("".join("".join(part) for part in parts).split())
    blocks = re.findall(r"^```text\n(.+?)^```", WEEKS[1], re.M | re.S)
    lines = [" ".join(line.split()) for block in blocks for line in block.splitlines()]
    assert lines
    assert not [line for line in lines if line not in printed]


def test_it_says_what_was_never_tried():
    assert "No class has been held" in PLAN
