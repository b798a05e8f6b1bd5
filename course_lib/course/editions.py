"""Editions of the notebooks for a class, made from the one source and without executing anything.

The student's edition is made by nbgrader (solutions and hidden tests cut, outputs cleared, checks locked), the solution
is the notebook as it was committed, and the instructor's guide is a chapter of Markdown a notebook.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from course_lib import UsageError, files
from course_lib.lab import plan

ASSIGNMENT = "course"  # nbgrader's word for a set of notebooks: here all of them are one
STUB = "### BEGIN ANSWER\nraise NotImplementedError\n### END ANSWER"
QUESTION = re.compile(r"^(\d+)\. (.+?)\n<details><summary>Answer</summary>(.+?)</details>", re.MULTILINE | re.DOTALL)

SET_UP = """\
# Is this computer ready? The answer takes about a second; the lesson begins below.
import sys

try:
    from importlib.metadata import version

    from course_lib import files

    found = "course-lib " + version("course-lib")
    corpus = any(files.cache_folder().glob("embedded-*.zip"))
except ImportError:
    found, corpus = "no course-lib", False

if not (3, 11) <= sys.version_info < (3, 14):
    print("This kernel is not Python 3.11, 3.12 or 3.13: run `make lab` in the folder of the course.")
elif found != "course-lib VERSION":
    print(f"This lesson needs course-lib VERSION; this kernel has {found}: run `make lab` in the folder of the course.")
elif not corpus:
    print("The corpus is not built yet: run `make corpus` in the folder of the course, or wait a minute for it below.")
else:
    print(f"Ready: Python {sys.version.split()[0]}, {found}, and the corpus.")
"""


class ClearAnswers(preprocessors.base.NbGraderPreprocessor):
    """Takes the folded answers out of the questions at the end."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, cell_index: int) -> tuple[NotebookNode, dict]:
        """Only the answers of numbered questions go: what else a lesson folds stays."""
        if cell.cell_type == "markdown":
            cell.source = QUESTION.sub(r"\1. \2", cell.source)
        return cell, resources


def make(args: argparse.Namespace) -> int:
    """`course make`: the three editions of some notebooks in `args.out`, and an archive of each."""
    notebooks, out = plan.chosen(args.notebooks), Path(args.out)
    chapters = {path: guide(path) for path in notebooks}  # first, as a missing page stops all
    with tempfile.TemporaryDirectory() as scratch:
        students = release(notebooks, Path(scratch))
        made: dict[str, list[Path]] = {"student": [], "solution": [], "guide": []}
        for path, student in zip(notebooks, students, strict=True):
            made["student"].append(_put(out / "student" / path.name, student.read_bytes()))
            made["solution"].append(_put(out / "solution" / path.name, path.read_bytes()))
            made["guide"].append(_put(out / "guide" / f"{path.stem[:2]}.md", chapters[path].encode()))
            for sound in sorted((files.ROOT / "results" / "sound" / path.stem).glob("*.ogg")):  # links lead there
                made["solution"].append(_put(out / sound.relative_to(files.ROOT), sound.read_bytes()))
    for edition, paths in made.items():
        with files.atomic_write(out / f"{edition}.zip") as partial, zipfile.ZipFile(partial, "w") as archive:
            for path in paths:  # a ZipInfo has a date of its own: the same editions are the same bytes
                archive.writestr(
                    zipfile.ZipInfo(path.relative_to(out).as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED
                )
        print(f"{edition.capitalize():9} {len(notebooks)} notebooks: {out / edition}, {out / edition}.zip")
    return 0


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as partial:
        partial.write_bytes(content)
    return path


def release(notebooks: Sequence[Path], folder: Path, gradebook: bool = False) -> list[Path]:
    """The student editions of notebooks, in a new folder under `folder`.

    Args:
        gradebook: also write `gradebook.db` there, by which nbgrader knows the checks that it grades with.

    Raises:
        UsageError: nbgrader refuses a notebook.
    """
    source = folder / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    for path in notebooks:
        shutil.copyfile(path, source / path.name)
    set_up = nbformat.v4.new_code_cell(SET_UP.strip().replace("VERSION", version("course-lib")), id="set-up")
    nbformat.write(nbformat.v4.new_notebook(cells=[set_up]), folder / "header.ipynb")
    config = course_config(folder)
    config.IncludeHeaderFooter.header = "header.ipynb"
    config.ClearSolutions.code_stub = {"python": STUB}
    config.GenerateAssignment.no_database = not gradebook
    steps = [
        step for step in GenerateAssignment.preprocessors.default() if gradebook or step != preprocessors.SaveCells
    ]
    config.GenerateAssignment.preprocessors = [*steps, ClearAnswers]
    if (
        gradebook
    ):  # where nbgrader finds this table, it need not ask a program, which must be on the PATH, for the version
        with closing(sqlite3.connect(folder / "gradebook.db")) as database:
            database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    log, complaint = logging.Logger("nbgrader"), _Complaint()  # its own: traitlets' changes with what else was started
    log.addHandler(complaint)
    try:
        for path in notebooks:
            config.CourseDirectory.notebook_id = path.stem
            GenerateAssignment(coursedir=CourseDirectory(config=config), config=config, log=log).start()
    except NbGraderException as error:
        raise UsageError(f"nbgrader refuses {path} ({complaint.text or error}): mend its exercises.") from error
    return [folder / "release" / ASSIGNMENT / path.name for path in notebooks]


class _Complaint(logging.Handler):
    """Keeps what went wrong in nbgrader, which logs it as a traceback, and raises an error that says there was one."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Traceback"):
            self.text = record.getMessage().strip().splitlines()[-1]


def course_config(folder: Path) -> Config:
    """The settings of nbgrader for a course in a folder."""
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.assignment_id = ASSIGNMENT
    config.CourseDirectory.db_url = f"sqlite:///{folder / 'gradebook.db'}"
    return config


def guide(notebook: Path) -> str:
    """The chapter of the instructor's guide on a notebook, from the notebook and from `docs/guide/<number>.md`.

    Raises:
        UsageError: the page is missing, or the notebook has no header table, exercises or questions where they belong.
    """
    by_hand = files.ROOT / "docs" / "guide" / f"{notebook.stem[:2]}.md"
    try:
        written = by_hand.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"{by_hand} is missing: write what an instructor should know of {notebook.stem}.") from error
    cells = nbformat.read(notebook, as_version=4).cells
    exercises, questions = (_section(cells, name, notebook) for name in ("Exercises", "Ten questions"))
    title, *header = cells[0].source.splitlines()
    facts = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", "\n".join(header), re.MULTILINE))
    try:
        glance = [
            f"- **Objectives:** afterwards students can {facts.pop('Afterwards you can')}.",
            f"- **Minutes:** {facts.pop('Time')}.",
            f"- **Prerequisites:** {facts.pop('Before')}.",
            *(f"- **{name}:** {text}." for name, text in facts.items()),
        ]
    except KeyError as error:
        raise UsageError(f"The table at the head of {notebook} has no row {error}: add it.") from error
    answers = [f"{number}. {asked}\n\n   {told}" for number, asked, told in QUESTION.findall(questions[0].source)]
    parts = [f"{title}: the instructor's guide", "## At a glance", "\n".join(glance), written]
    parts += ["## The ten questions, with answers", "\n\n".join(answers)]
    parts += ["## The exercises, with model solutions", *_exercises(exercises)]
    return "\n\n".join(parts) + "\n"


def _section(cells: Sequence[NotebookNode], name: str, notebook: Path) -> list[NotebookNode]:
    """The cells of a numbered section, without its heading."""
    starts = [place for place, cell in enumerate(cells) if re.match(r"## \d+ ", cell.source)]
    for start, end in pairwise([*starts, len(cells)]):
        heading, _, rest = cells[start].source.partition("\n")
        if heading.endswith(f" {name}"):
            return [NotebookNode(cells[start], source=rest.strip()), *cells[start + 1 : end]]
    raise UsageError(f"{notebook} has no section '{name}': add it, as every notebook has one.")


def _exercises(cells: Sequence[NotebookNode]) -> Iterator[str]:
    """The texts of exercises and their solutions; checks stand in the notebook."""
    for cell in cells:
        if cell.cell_type == "markdown":
            yield cell.source
        elif cell.metadata.get("nbgrader", {}).get("solution"):
            code = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", cell.source, flags=re.MULTILINE)
            yield f"```python\n{code.rstrip()}\n```"
