"""README and the pages in docs/: short, linked, and true of what is there."""

import json
import re
from urllib.parse import unquote

import pytest

from course_lib import files
from course_lib.lab import scoreboard
from course_lib.music.datasets import REGISTRY

README = files.ROOT / "README.md"
PAGES = sorted((files.ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")


def test_readme_is_a_front_page():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    listening, training = text.index("course_lib run 00"), text.index("trains")
    assert listening < training, "listening first, training after"


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda path: path.name)
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [unquote((a or b).partition("#")[0]) for a, b in LINK.findall(text)]
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_each_page_has_one_title_and_is_found_from_readme(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert text.startswith("# ") and len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    assert page.name == "index.md" or f"docs/{page.name}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", sorted((files.ROOT / "docs" / "guide").glob("*.md")), ids=lambda path: path.stem)
def test_figures_of_the_guide_stand_in_its_notebook(chapter):
    """But for what wrong answers to an exercise give, where the right figure is said beside them."""
    [path] = (files.ROOT / "notebooks").glob(f"{chapter.stem}*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    texts = [cell["source"] for cell in cells] + [output.get("text", "") for output in outputs]
    texts += [each for output in outputs for kind, each in output.get("data", {}).items() if kind.startswith("text")]
    shown = {float(number) for text in texts for number in re.findall(r"\d+\.\d+", "".join(text))}
    items = re.split(r"\n(?=\d\. |## )", chapter.read_text(encoding="utf-8"))
    of_exercises = re.compile(r"\d\. .*((is|are) right|[Ee]xercises? [2-5]|In the exercises)", re.DOTALL)
    told = "\n".join(item for item in items if not of_exercises.match(item))

    def stands(figure: str) -> bool:
        near = 0.5001 * 10.0 ** -len(figure.partition(".")[2])
        return any(abs(each - float(figure)) <= near or abs(100 * each - float(figure)) <= near for each in shown)

    missing = [figure for figure in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.]*\d)", told) if not stands(figure)]
    assert not missing


def test_every_notebook_stands_in_readme():
    linked = re.findall(r"\]\((notebooks/[^)]+)\)", README.read_text(encoding="utf-8"))
    there = {f"notebooks/{path.name}" for path in (files.ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert there and there <= set(linked)


def test_every_public_data_set_is_described():
    text = (files.ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name, data_set in REGISTRY.items():
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert data_set.licence in row


def test_the_limits_are_still_true():
    text = (files.ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    committed = scoreboard.committed()
    on_cpus = all(run.device.startswith("CPU") for run in committed)
    heard = any(entry.heard for run in committed for entry in run.claims)
    assert ("committed results were computed on CPUs alone" in text) == on_cpus
    assert ("No listener has rated the music yet" in text) != heard
