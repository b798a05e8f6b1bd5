"""The sections of claims.toml that name systems: each name and each claim is one that the project knows."""

import json
import re
from pathlib import Path

import pytest

from course_lib.lab import claims
from course_lib.listening import published, sessions

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
COMPOSERS = ("mozart", "haydn", "beethoven", "all")  # notebook 05 names its systems by them


@pytest.fixture(scope="module")
def recorded() -> set[str]:
    """The names that notebooks record systems under."""
    found = set()
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        names = re.findall(r'run\.system\(\s*(f?)"([^"]+)"', source)
        found |= {
            re.sub(r"{\w+}", each, name) for formatted, name in names for each in (COMPOSERS if formatted else " ")
        }
    return found


def test_every_system_is_one_that_a_notebook_records(recorded):
    assert len(recorded) > 10
    names = [system.name for system in published.load().system.values()]
    assert len(names) == len(set(names)) and set(names) <= recorded


def test_every_contrast_is_of_a_claim_that_listeners_judge():
    of_listeners = {id for id, claim in claims.claims().items() if claim.listeners}
    contrasts = {contrast.claim: contrast for contrast in published.load().contrast}
    assert contrasts.keys() == of_listeners and len(contrasts) == len(published.load().contrast)
    for contrast in contrasts.values():
        assert set(contrast.scales) <= sessions.POINTS[contrast.form].keys()
        for side in contrast.sides:
            assert {*side.better, *side.worse} <= published.load().system.keys()
        assert claims.claims()[contrast.claim].paper == published.load().system[contrast.sides[0].better[0]].paper


def test_forms_and_scales_are_those_of_the_test():
    known = published.load()
    assert known.clips_each.keys() == set(sessions.FORMS)
    for system in known.system.values():
        assert set(system.forms) <= set(sessions.FORMS)
        assert not system.ratings or system.ratings.keys() in [points.keys() for points in sessions.POINTS.values()]


def test_ratings_of_single_clips_have_the_mean_that_the_paper_gives():
    means = {system.name: system.ratings["rating"] for system in published.load().system.values() if system.clips}
    assert means == {"RNN (Chen et al.)": 5.80, "2D CNN": 7.08}
