"""Tests of what other tests read notebooks with."""

import inspect
import json

import lessons
import pytest

CELLS = [
    "import math\nimport numpy as np\nimport not_installed_anywhere",
    "%matplotlib inline\nLOW, HIGH = 1, 3\nlength = 1 / 0",
    "def area(radius):\n    length = radius**2  # its own length\n    return math.pi * length * LOW",
    "class Disk:\n    size: int = 2\n    def area(self):\n        return [area(each) for each in (self.size, HIGH)]",
    "area(3) / 0\nLOW = 100\nfor each in range(3):\n    HIGH = each",
]


@pytest.fixture(autouse=True)
def notebook(monkeypatch, tmp_path):
    cells = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in CELLS]
    cells.insert(1, {"cell_type": "markdown", "source": ["def no code"]})
    (tmp_path / "07_disks.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)


def test_definitions_come_with_what_they_need_and_nothing_else_is_run():
    found = lessons.definitions("07", "Disk", "LOW")
    assert found["LOW"] == 1 and set(found) == {"Disk", "LOW"}
    assert found["Disk"]().area() == pytest.approx([3.14159 * 4, 3.14159 * 9], rel=1e-4)
    assert "for each in (self.size, HIGH)" in inspect.getsource(found["Disk"].area)


def test_a_name_that_no_cell_defines_is_said():
    with pytest.raises(ValueError, match="07_disks.ipynb defines no disk at"):
        lessons.definitions("07", "disk")
