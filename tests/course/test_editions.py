"""Editions: what students get has no solution in it, what instructors get has all, and the same comes out twice."""

import json
import re
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib import cli, files
from course_lib.course import editions
from course_lib.lab import plan

ROOT = Path(__file__).parents[2]
TITLE = (
    "# 00 · Toy\n\n| | |\n|---|---|\n| **Afterwards you can** | double |\n| **Before** | numbers |\n| **Time** | none |"
)
QUESTIONS = "## 2 Ten questions\n\n1. Why?\n<details><summary>Answer</summary>Because.</details>"


def about(name, grade, points=1):
    """The metadata by which nbgrader knows an exercise, or its check."""
    kind = {"grade": grade, "solution": not grade, "locked": grade, "task": False, "grade_id": name}
    return {"nbgrader": kind | {"schema_version": 3} | ({"points": points} if grade else {})}


def toy(*more, title=TITLE, solution="return 2 * x\n    ### END SOLUTION", check="assert double(2) == 4"):
    """A notebook with one exercise."""
    cells = [
        new_markdown_cell(title, id="title"),
        new_markdown_cell("## 1 Exercises\n\n**1, check.** Double.", id="text"),
        new_code_cell(
            f"def double(x):\n    ### BEGIN SOLUTION\n    {solution}", metadata=about("double", False), id="answer"
        ),
        new_code_cell(check, metadata=about("double-check", True), id="check", outputs=[]),
        new_markdown_cell(QUESTIONS, id="questions"),
        *more,
    ]
    return new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    )


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one toy notebook: a function that writes it, and returns where the editions go."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("COURSE_NOTEBOOKS", str(tmp_path / "notebooks"))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "docs" / "guide").mkdir(parents=True)
    (tmp_path / "docs" / "guide" / "00.md").write_text("## Common mistakes\n\nHalving.\n")

    def write(notebook):
        nbformat.write(notebook, tmp_path / "notebooks" / "00_toy.ipynb")
        return tmp_path / "editions"

    return write


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The editions of two notebooks of the course, twice."""
    outs = [tmp_path_factory.mktemp(name) for name in ("once", "again")]
    for out in outs:
        assert cli.main(["course", "make", "00", "12", "--out", str(out)]) == 0
    return outs


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """The student edition of every notebook, with its source."""
    sources = plan.chosen([])
    found = editions.release(sources, tmp_path_factory.mktemp("release"))
    return [(json.loads(a.read_text()), json.loads(b.read_text())) for a, b in zip(sources, found, strict=True)]


def text(notebook):
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"])


def test_no_student_edition_holds_a_solution_an_output_or_an_answer(students):
    assert len(students) == 14
    for source, student in students:
        given = text(student)
        assert "### BEGIN SOLUTION" in text(source) and "SOLUTION" not in given
        assert text(source).count("<details>") == 10 and "<details>" not in given
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in student["cells"])
        assert given.count(editions.STUB.splitlines()[0]) == text(source).count("### BEGIN SOLUTION") == 5


def test_all_else_is_as_in_the_source(students):
    """One cell more, at the head; the same text, questions, checks and code but for the solutions."""
    for source, student in students:
        assert len(student["cells"]) == len(source["cells"]) + 1
        assert "".join(student["cells"][0]["source"]) == editions.SET_UP.strip().replace(
            "VERSION", version("course-lib")
        )
        for before, after in zip(source["cells"], student["cells"][1:], strict=True):
            kind = before["metadata"].get("nbgrader", {})
            if not kind.get("solution") and "<details>" not in "".join(before["source"]):
                assert after["source"] == before["source"]
            assert after["metadata"].get("tags") == before["metadata"].get("tags")
            if kind.get("grade"):
                assert after["metadata"]["editable"] is after["metadata"]["deletable"] is False
        questions = text({"cells": student["cells"][-1:]})
        assert [f"\n{number}. " in questions for number in range(1, 11)] == [True] * 10


def test_the_solution_is_the_notebook_as_committed_with_the_sounds_that_it_links_to(made):
    name = "00_start_here.ipynb"
    assert (made[0] / "solution" / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes()
    sounds = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("results/sound/00_start_here/*.ogg")}
    assert sounds and sounds < set(zipfile.ZipFile(made[0] / "solution.zip").namelist())


def test_a_chapter_of_the_guide_has_all_that_an_instructor_needs(made):
    chapter = (made[0] / "guide" / "00.md").read_text(encoding="utf-8")
    assert chapter.startswith("# 00 · Start here: the instructor's guide\n")
    for part in (
        "Objectives:** afterwards students can hear, see",
        "Minutes:** under a minute",
        "Prerequisites:** some",
    ):
        assert f"- **{part}" in chapter
    assert (ROOT / "docs" / "guide" / "00.md").read_text(encoding="utf-8").strip() in chapter
    answers = chapter.split("## The ten questions, with answers")[1].split("\n## ")[0]
    assert "1. What is the whole model of this notebook" in answers and "10. What will have to be shown" in answers
    assert (
        "A list, for each class, of the classes that came next in the data." in answers and "<details>" not in chapter
    )
    assert "    return beats * 60 / tempo\n```" in chapter and "SOLUTION" not in chapter
    assert "**6, open.**" in chapter


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem[:2])
def test_every_chapter_has_mistakes_clips_a_rubric_and_ten_answers(notebook):
    chapter = editions.guide(notebook)
    mistakes, clips, rubric = (
        chapter.split(f"## {part}")[1].split("\n## ")[0]
        for part in ("Common mistakes", "What to hear for", "Rubric for the open exercises")
    )
    assert len(re.findall(r"^\d+\. ", mistakes, re.MULTILINE)) >= 5 and "**Play first" in clips
    assert rubric.count("*Full") >= 3
    answers = re.findall(r"^(\d+)\. ", chapter.split("## The ten questions, with answers")[1], re.MULTILINE)
    assert answers[:10] == [str(number) for number in range(1, 11)]


def test_archives_hold_what_lies_beside_them_and_the_same_bytes_twice(made):
    for edition, suffix in {"student": ".ipynb", "solution": ".ipynb", "guide": ".md"}.items():
        once, again = (folder / f"{edition}.zip" for folder in made)
        assert once.read_bytes() == again.read_bytes()
        with zipfile.ZipFile(once) as archive:
            assert len([name for name in archive.namelist() if name.endswith(suffix)]) == 2
            for name in archive.namelist():
                assert archive.read(name) == (made[0] / name).read_bytes()


def test_hidden_tests_and_all_marks_go(course):
    out = course(
        toy(check="assert double(2) == 4\n### BEGIN HIDDEN TESTS\nassert double(3) == 6\n### END HIDDEN TESTS")
    )
    assert cli.main(["course", "make", "--out", str(out)]) == 0
    student = nbformat.read(out / "student" / "00_toy.ipynb", as_version=4)
    assert student.cells[4].source == "assert double(2) == 4"
    assert student.cells[3].source == "def double(x):\n    " + editions.STUB.replace("\n", "\n    ")
    assert student.cells[5].source == "## 2 Ten questions\n\n1. Why?"


def test_nothing_is_executed(course, tmp_path):
    out = course(toy(new_code_cell(f"open({str(tmp_path / 'ran')!r}, 'w')", id="more")))
    assert cli.main(["course", "make", "--out", str(out)]) == 0
    assert not (tmp_path / "ran").exists()


def ready(capsys, namespace=None):
    exec(editions.SET_UP.replace("VERSION", version("course-lib")), namespace or {})
    return capsys.readouterr().out


def test_the_first_cell_says_that_all_is_well(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    (tmp_path / "embedded-4-music21-10.zip").touch()
    assert ready(capsys).startswith(f"Ready: Python {sys.version.split()[0]}, course-lib {version('course-lib')}")


def test_the_first_cell_says_what_to_do_in_one_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    assert ready(capsys) == (
        "The corpus is not built yet: run `make corpus` in the folder of the course, or wait a minute for it below.\n"
    )
    with monkeypatch.context() as other:
        other.setattr("importlib.metadata.version", lambda name: "0.0.9")
        assert f"needs course-lib {version('course-lib')}; this kernel has course-lib 0.0.9: run `make lab`" in ready(
            capsys
        )
    with monkeypatch.context() as other:
        other.setattr(sys, "version_info", (3, 10, 4))
        assert "not Python 3.11, 3.12 or 3.13: run `make lab`" in ready(capsys)
    with monkeypatch.context() as other:
        other.setitem(sys.modules, "course_lib", None)  # as where it is not installed
        assert "this kernel has no course-lib: run `make lab`" in ready(capsys)


@pytest.mark.parametrize(
    ("notebook", "sentence"),
    [
        (
            toy(solution="return 2 * x"),
            "00_toy.ipynb (RuntimeError: no end solution statement found): mend its exercises.",
        ),
        (toy(title=TITLE.replace("**Before**", "**Earlier**")), "has no row 'Before': add it"),
        (toy(title="# 00 · Toy"), "has no row 'Afterwards you can': add it"),
        (new_notebook(cells=[new_markdown_cell(TITLE, id="title")]), "has no section 'Exercises': add it"),
    ],
    ids=["no end of a solution", "no row", "no table", "no exercises"],
)
def test_a_notebook_that_lacks_something_is_named(course, capsys, notebook, sentence):
    out = course(notebook)
    assert cli.main(["course", "make", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not out.exists()


def test_a_page_that_is_missing_and_a_notebook_that_is_unknown_are_named(course, capsys, tmp_path):
    out = course(toy())
    assert cli.main(["course", "make", "07", "--out", str(out)]) == 2
    assert "Notebook '07' is unknown: choose from 00_toy." in capsys.readouterr().err
    (tmp_path / "docs" / "guide" / "00.md").unlink()
    assert cli.main(["course", "make", "--out", str(out)]) == 2
    assert "00.md is missing: write what an instructor should know of 00_toy." in capsys.readouterr().err
