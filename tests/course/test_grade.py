"""Grades: points for right answers, none for others, and a submission that misbehaves costs nobody else anything."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import cli
from course_lib.course import confine, editions, grade

ROOT = Path(__file__).parents[2]
DOUBLE, HALF = "def double(x):\n    return 2 * x", "def half(x):\n    return x / 2"
WARNING = "import sys, warnings\nwarnings.warn('careful')\nprint('hm', file=sys.stderr)\n"
LESSON, REAL = "00_toy.ipynb", "12_listening_test.ipynb"


def about(name, grades):
    kind = {"grade": grades, "solution": not grades, "locked": grades, "task": False, "grade_id": name}
    return {"nbgrader": kind | {"schema_version": 3} | ({"points": 1} if grades else {})}


def toy(double, half, checks=('check("two", double(2), 4)', 'check("one", half(2), 1)')):
    """A notebook with two exercises, and these answers."""
    cells = [
        new_code_cell("from course_lib.lab.exercise import check"),
        new_code_cell(double, metadata=about("double", False)),
        new_code_cell(checks[0], metadata=about("double-check", True)),
        new_code_cell(half, metadata=about("half", False)),
        new_code_cell(checks[1], metadata=about("half-check", True)),
    ]
    return new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    )


def source():
    return toy(*(f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION" for answer in (DOUBLE, HALF)))


def edited():
    """One check is emptied, the other taken out."""
    notebook = toy("", HALF, ("pass", ""))
    del notebook.cells[-1]
    return notebook


def skipped():
    """Its cells ask to be skipped, which is no success."""
    notebook = toy(DOUBLE, HALF)
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution"]
    return notebook


# What each student hands in, the points, and what the table says. (Sleep, as an endless loop that works costs time.)
TOYS = {
    "ada": (toy(DOUBLE, HALF), "1 1 2", ""),
    "broken": ('{"cells": [', "0 0 0", "is no notebook that can be read"),
    "careless": (toy(WARNING + DOUBLE, "half = lambda x: x // 3"), "1 0 1", "Exercise 2: one: off, by 1 (0 where 1 is"),
    "endless": (
        toy("import time\ndef double(x):\n    while True: time.sleep(1)", HALF),
        "0 1 1",
        "Exercise 1: took too",
    ),
    "exits": (toy(DOUBLE, "import os\nos._exit(0)"), "1 0 1", "ended its kernel. Exercise 2: not reached."),
    "greedy": (toy("double = lambda x: b'x' * (2 * 10**9)", HALF), "0 1 1", "Exercise 1: MemoryError."),
    "no [check] of 'hers'": (
        edited(),
        "0 0 0",
        "NameError name 'double' is not defined. Exercise 2: its check is missing.",
    ),
    "outside": (toy(DOUBLE, "open({outside!r}, 'w').write('x')\n" + HALF), "1 0 1", "Exercise 2: PermissionError"),
    "quitter": (toy("import os; os._exit(0)", HALF), "0 0 0", "The submission ended its kernel."),
    "skips": (skipped(), "0 0 0", "Exercise 1: not reached. Exercise 2: not reached."),
}


def hand_in(folder, student, notebook, name=LESSON, **names):
    path = folder / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
    path.write_text(content.replace("{outside!r}", repr(str(names.get("outside")))), encoding="utf-8")


def filled(student, solved):
    """A student's notebook with the answers of the solution."""
    answers = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in solved.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for cell in student.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.metadata.nbgrader.grade_id]
    return student


def check(*arguments, **options):
    command = [sys.executable, "-m", "course_lib", "course", "check", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def rows(table):
    with table.open(newline="", encoding=grade.ENCODING) as file:
        return {(row["student"], row["notebook"]): row for row in csv.DictReader(file)}


def kernels(folder):
    """Processes that run in scratch folders under a folder."""
    return [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("COURSE_OUT", "").startswith(str(folder))
    ]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class with all its submissions graded at once: its folder, its table, and what was printed."""
    root = tmp_path_factory.mktemp("course")
    notebooks, handed_in, scratch = root / "notebooks", root / "handed in", root / "tmp"
    for folder in (notebooks, scratch):
        folder.mkdir()
    nbformat.write(source(), notebooks / LESSON)
    (notebooks / REAL).write_bytes((ROOT / "notebooks" / REAL).read_bytes())
    for student, (notebook, *_) in TOYS.items():
        hand_in(handed_in, student, notebook, outside=root / "outside")
    hand_in(handed_in, "ada", toy(DOUBLE, HALF), "toy.ipynb")

    (path,) = editions.release([notebooks / REAL], root / "release")
    hand_in(handed_in, "ada", filled(*(nbformat.read(each, as_version=4) for each in (path, notebooks / REAL))), REAL)

    environment = os.environ | {"COURSE_NOTEBOOKS": str(notebooks), "TMPDIR": str(scratch)}
    process = check(handed_in, "--seconds", 150, "--memory", 1500, env=environment)
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return root, rows(handed_in / "grades.csv"), out


@pytest.mark.parametrize("student", TOYS)
def test_points_and_what_went_wrong(graded, student):
    _, points, told = TOYS[student]
    row = graded[1][student, LESSON]
    if student == "outside" and not landlock():
        pytest.skip("this system has no Landlock: a path that is written out can be written to")
    assert " ".join(row[name] for name in ("exercise 1", "exercise 2", "points")) == points
    assert row["maximum"] == "2"
    assert told in row["what went wrong"] and bool(told) == bool(row["what went wrong"])


def landlock():
    """Whether this system lets a process give up the right to write."""
    code = "import pathlib; from course_lib.course import confine; print(confine.write_only_in(pathlib.Path('/tmp')))"
    return "True" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def test_what_is_made_filled_and_checked_has_full_points(graded):
    """`course make`, answers, `course check`, on a notebook of the course."""
    row = graded[1]["ada", REAL]
    assert row["points"] == row["maximum"] == "5" and row["what went wrong"] == ""


@pytest.mark.skipif("COURSE_CHECK_ANSWERS" not in os.environ, reason="takes long: `make check-answers` does it")
@pytest.mark.timeout(7200)
def test_each_solution_has_full_points_and_each_untouched_edition_none(tmp_path):
    """All notebooks of the course, through `course make` and `course check`."""
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path, lesson in zip(editions.release(lessons, tmp_path / "release"), lessons, strict=True):
        student = nbformat.read(path, as_version=4)
        hand_in(tmp_path / "class", "untouched", student, lesson.name)
        hand_in(tmp_path / "class", "solved", filled(student, nbformat.read(lesson, as_version=4)), lesson.name)
    process = check(tmp_path / "class", "--seconds", 3000)
    assert process.wait() == 0, process.communicate()
    points = {key: (row["points"], row["what went wrong"]) for key, row in rows(tmp_path / "class/grades.csv").items()}
    assert {key: given for key, given in points.items() if key[0] == "solved" and given != ("5", "")} == {}
    assert {key: given for key, given in points.items() if key[0] == "untouched" and given[0] != "0"} == {}


def test_nothing_is_left_behind_and_nothing_was_written_outside(graded):
    root, _, _ = graded
    assert not kernels(root)
    assert not list((root / "tmp").glob("check-*"))
    assert not (root / "outside").exists() or not landlock()


def test_a_line_for_each_submission_and_a_name_that_says_nothing(graded):
    _, table, out = graded
    lines = out.splitlines()
    assert lines[0].startswith(f"{len(TOYS) + 2} submissions: 0 graded before, {len(TOYS) + 2} to grade,")
    assert len(lines) == len(TOYS) + 4 and lines[-1].startswith("Grades  ")
    assert "call it as it was handed out" in table["ada", "toy.ipynb"]["what went wrong"]


def test_what_was_graded_before_is_kept_and_what_changed_is_not(graded, monkeypatch, capsys):
    root, before, _ = graded
    monkeypatch.setenv("COURSE_NOTEBOOKS", str(root / "notebooks"))
    asked = []

    def answer(todo, *_):
        asked.extend((each.student, each.path.name) for each in todo)
        return iter([(each, {"problem": "", "points": {"double-check": 1}}, 0) for each in todo])

    monkeypatch.setattr(grade, "_grade", answer)
    hand_in(root / "handed in", "careless", toy(DOUBLE, ""))
    assert cli.main(["course", "check", str(root / "handed in")]) == 0
    cut_short = {key for key, row in before.items() if row["ran to its end"] == "no"}
    assert set(asked) == cut_short | {("careless", LESSON)} and ("broken", LESSON) in cut_short
    after = rows(root / "handed in" / "grades.csv")
    assert after["ada", LESSON] == before["ada", LESSON] and after["careless", LESSON] != before["careless", LESSON]


def test_a_notebook_whose_code_changed_is_graded_again(tmp_path):
    lesson = tmp_path / LESSON
    nbformat.write(source(), lesson)
    hand_in(tmp_path, "ada", toy(DOUBLE, HALF))
    submission = grade.Submission(tmp_path / "ada" / LESSON, lesson)
    before = submission.made_of
    assert submission.made_of == before
    nbformat.write(toy(DOUBLE, HALF), lesson)
    assert submission.made_of != before


def test_ctrl_c_ends_all_and_keeps_what_was_graded(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("c")  # a short name, as of a usual temporary folder
    notebooks, handed_in = tmp_path / "notebooks", tmp_path / "class"
    notebooks.mkdir()
    nbformat.write(source(), notebooks / LESSON)
    hand_in(handed_in, "a", "no notebook")
    hand_in(handed_in, "b", toy("def double(x):\n    open('looping', 'w')\n    while True: pass", HALF))
    process = check(handed_in, env=os.environ | {"COURSE_NOTEBOOKS": str(notebooks), "TMPDIR": str(tmp_path)})
    until = time.monotonic() + 120
    while not list(tmp_path.glob("check-*/*/00_toy/looping")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.2)
    assert kernels(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped." in errors
    assert not kernels(tmp_path) and not list(tmp_path.glob("check-*"))
    assert list(rows(handed_in / "grades.csv")) == [("a", LESSON)]


def test_what_cannot_be_graded_is_left_out_and_named(tmp_path, capsys):
    hand_in(tmp_path, "ada", toy(DOUBLE, HALF), "12-mine.ipynb")
    (tmp_path / "ada" / "folder.ipynb").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / LESSON).touch()
    (tmp_path / LESSON).touch()
    (tmp_path / "ben" / "student").mkdir(parents=True)
    (tmp_path / "ben" / "student" / LESSON).touch()
    (found,) = grade.collect(tmp_path)
    assert found.student == "ada" and found.lesson == ROOT / "notebooks" / REAL
    left_out = capsys.readouterr().err.splitlines()
    away = "does not lie in a student's folder itself and is left out."
    assert left_out == [
        f"{tmp_path / LESSON} {away}",
        f"{tmp_path / 'ada' / 'folder.ipynb'} cannot be read and is left out.",
        f"{tmp_path / 'ben' / 'student' / LESSON} {away}",
        "Without a notebook, and so without a row: ben.",
    ]


def test_exercises_of_the_course_are_numbered_as_in_their_text():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        points = {number: list(each.values()) for number, each in grade.checks(path).items()}
        assert points == {number: [1] for number in range(1, 6)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "Folder 'nowhere' does not exist: give one that holds a folder for each student."),
        (["{empty}"], "holds no submissions: each is"),
        (["{class}", "--seconds", "0"], "--seconds 0 lets nothing run: give a number above 0."),
        (["{class}", "--memory", "20"], "--memory 20 is too little for any notebook: give 500 or more."),
        (["{class}", "--out", "{table}"], "is no table that `course check` wrote: choose another --out."),
    ],
)
def test_bad_input_ends_in_one_sentence(tmp_path, capsys, arguments, sentence):
    hand_in(tmp_path / "class", "ada", toy(DOUBLE, HALF))
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    places = {name: str(tmp_path / name) for name in ("empty", "class")} | {"table": str(tmp_path / "table.csv")}
    assert cli.main(["course", "check", *(each.format(**places) for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("command", [["course", "--help"], ["course", "make", "--help"], ["course", "check", "--help"]])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit):
        cli.main(command)
    shown = capsys.readouterr().out
    assert "usage" in shown and ("example: " in shown or len(command) == 2)


def test_a_confined_program_writes_in_its_folder_alone_and_takes_no_more_memory(tmp_path):
    if not landlock():
        pytest.skip("this system has no Landlock")
    (tmp_path / "own").mkdir()
    code = """
import json, os, sys
tried = {}
def attempt(name, action):
    try: action(); tried[name] = True
    except (OSError, MemoryError): tried[name] = False
attempt("own", lambda: open("own/a", "w").write("x"))
attempt("beside", lambda: open("beside", "w").write("x"))
attempt("remove", lambda: os.remove("there"))
attempt("out of it", lambda: os.rename("own/a", "moved"))
attempt("null", lambda: open(os.devnull, "w").write("x"))
attempt("shared memory", lambda: open("/dev/shm/course", "w").write("x"))
attempt("read", lambda: open("there").read())
attempt("memory", lambda: bytearray(10**10))
print(json.dumps(tried))
"""
    (tmp_path / "there").touch()
    command = [sys.executable, "-m", "course_lib.course.confine", "own", "1000", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    refused = {"beside", "remove", "out of it", "shared memory", "memory"}
    assert json.loads(done.stdout) == {name: name not in refused for name in json.loads(done.stdout)}
    assert confine.LARGEST_FILE == 2**30


def test_a_submission_reads_no_variable_that_it_needs_not(monkeypatch, tmp_path):
    from course_lib.course import autograde

    monkeypatch.setenv("SECRET", "42")
    told = autograde.environment(tmp_path, 1)
    assert "SECRET" not in told and told["COURSE_SMOKE"] == "1" and told["PATH"] == os.environ["PATH"]
    assert told["HOME"] == told["TMPDIR"] == told["COURSE_OUT"] == str(tmp_path)
