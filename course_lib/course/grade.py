"""A folder of submissions graded, several at once, and a table of points.

Each submission is graded by `autograde` in a process of its own, in a scratch copy; what it does there costs no other.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

import nbformat
import psutil

from course_lib import UsageError, files
from course_lib.course import autograde, confine, editions
from course_lib.lab import machine, plan, provenance
from course_lib.music import corpus

POLL = 1  # seconds between two looks at what is running
LEAVE = 60  # seconds to write the grades down, after a submission was stopped
LEAST_MIB = 500
CELLS = 5  # so many endless loops a submission may have: each takes this part of its time
ENCODING = "utf-8-sig"  # with the mark by which spreadsheets know it
FACTS = ("points", "maximum", "ran to its end", "what went wrong", "made of")


@dataclass(frozen=True)
class Submission:
    """A notebook that was handed in, and the one it answers (None: none of the course)."""

    path: Path
    lesson: Path | None

    @property
    def student(self) -> str:
        return self.path.parent.name

    @property
    def made_of(self) -> str:
        """Twelve digits that change when the submission does, or the code of the notebook that it is graded by."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(provenance.notebook_hash(self.lesson).encode() if self.lesson else b"")
        return digest.hexdigest()[:12]


def check(args: argparse.Namespace) -> int:
    """`course check`: grade `args.folder/<student>/<notebook>.ipynb`, and write the points to `args.out`."""
    if args.seconds <= 0:
        raise UsageError(f"--seconds {args.seconds:g} lets nothing run: give a number above 0.")
    if args.memory < LEAST_MIB:
        raise UsageError(f"--memory {args.memory} is too little for any notebook: give {LEAST_MIB} or more.")
    folder = Path(args.folder)
    submissions, out = collect(folder), Path(args.out or folder / "grades.csv")
    exercises = {each.lesson: checks(each.lesson) for each in submissions if each.lesson}
    earlier = _read(out)
    rows, todo = {}, []
    for each in submissions:
        row = earlier.get((each.student, each.path.name), {})
        if row.get("made of") == each.made_of and row.get("ran to its end") == "yes":
            rows[each] = row
        else:
            todo.append(each)
    if todo:
        corpus.embedded()  # built where it is missing: a submission may not write to the cache
    started, most = time.perf_counter(), max(map(len, exercises.values()), default=0)
    workers = max(1, min(len(todo), machine.cores(), int(psutil.virtual_memory().total / 2**20 / args.memory)))
    print(
        f"{len(submissions)} submissions: {len(rows)} graded before, {len(todo)} to grade, {workers} at once.",
        flush=True,
    )
    for each, result, seconds in _grade(todo, args.seconds, args.memory, workers):
        rows[each] = row = _row(each, result, exercises[each.lesson] if each.lesson else {})
        _write(out, [rows[one] for one in submissions if one in rows], most)
        told = f"{row['points']} of {row['maximum']} points" if each.lesson else row["what went wrong"]
        print(f"{each.student} {each.path.name}: {told} ({seconds:.0f} s)", flush=True)
    _write(out, [rows[one] for one in submissions], most)
    print(f"Grades  {out} ({time.perf_counter() - started:.0f} s)")
    return 0


def collect(folder: Path) -> list[Submission]:
    """The submissions `folder/<student>/<notebook>.ipynb`, in the order of their names.

    A file answers the notebook of the course with whose number its name begins.

    Raises:
        UsageError: there is no such folder, or no submission in it.
    """
    if not folder.is_dir():
        raise UsageError(f"Folder '{folder}' does not exist: give one that holds a folder for each student.")
    lessons = {path.stem[:2]: path for path in plan.chosen([])}
    paths = [path for path in sorted(folder.glob("*/*.ipynb")) if not path.parent.name.startswith(".")]
    readable = [path for path in paths if path.is_file() and os.access(path, os.R_OK)]
    inside = [path for path in folder.rglob("*.ipynb") if "/." not in f"/{path.relative_to(folder).as_posix()}"]
    for path in sorted({*inside, *paths} - {*readable}):
        why = "cannot be read" if path in paths else "does not lie in a student's folder itself"
        print(f"{path} {why} and is left out.", file=sys.stderr)
    students = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    if nothing := sorted(students - {path.parent.name for path in readable}):
        print(f"Without a notebook, and so without a row: {', '.join(nothing)}.", file=sys.stderr)
    if not readable:
        raise UsageError(f"{folder} holds no submissions: each is {folder / '<student>' / '<notebook>.ipynb'}.")
    return [Submission(path, lessons.get(path.stem[:2])) for path in readable]


def checks(lesson: Path) -> dict[int, dict[str, float]]:
    """The checks of each exercise of a notebook, by its number, and what each is worth."""
    found: dict[int, dict[str, float]] = {}
    for cell in nbformat.read(lesson, as_version=4).cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            found[len(found) + 1] = {}
        elif about.get("grade"):
            found[len(found)][about["grade_id"]] = about["points"]
    return found


def _grade(
    todo: Sequence[Submission], seconds: float, mib: int, workers: int
) -> Iterator[tuple[Submission, dict, float]]:
    """Each submission with what `autograde` found, and the seconds that took, as they end."""
    waiting = [each for each in todo if each.lesson]
    running: list[_Grading] = []
    for each in todo:
        if not each.lesson:
            yield each, {"problem": "is named after no notebook of the course: call it as it was handed out"}, 0
    if not waiting:
        return
    with tempfile.TemporaryDirectory(prefix="check-", ignore_cleanup_errors=True) as scratch:
        editions.release(sorted({each.lesson for each in waiting if each.lesson}), Path(scratch), gradebook=True)
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    folder = Path(scratch) / str(len(waiting))  # paths of sockets must be short
                    running.append(_Grading(waiting.pop(0), folder, seconds, mib, machine.threads(workers)))
                connection.wait([each.process.sentinel for each in running], POLL)
                for grading in [each for each in running if each.over()]:
                    running.remove(grading)
                    yield grading.submission, grading.end(), time.perf_counter() - grading.started
        finally:
            for grading in running:
                grading.end()


class _Grading:
    """A submission that is being graded."""

    def __init__(self, submission: Submission, folder: Path, seconds: float, mib: int, threads: int) -> None:
        lesson = submission.lesson.stem if submission.lesson else ""
        self.submission, self.folder, self.work = submission, folder, folder / lesson
        self.seconds, self.mib, self.problem = seconds, mib, ""
        copy = autograde.submitted(folder, lesson)
        copy.parent.mkdir(parents=True)
        self.work.mkdir()
        shutil.copyfile(submission.path, copy)
        shutil.copyfile(folder.parent / "gradebook.db", folder / "gradebook.db")
        # On Linux a fork, which has nbgrader imported (that takes seconds); there are no threads that could suffer.
        self.process = multiprocessing.Process(target=_child, args=(folder, lesson, seconds / CELLS, mib, threads))
        self.process.start()
        self.started = time.perf_counter()

    def over(self) -> bool:
        """Whether it has ended; stops what takes too much."""
        late = time.perf_counter() - self.started - self.seconds
        if not self.problem:
            memory = [process.info["memory_info"] for process in self.alive()]
            if sum(each.rss for each in memory if each) > self.mib * 2**20:
                self.problem = f"needed more than {self.mib} MiB of memory"
            if late > 0:
                self.problem = f"took longer than {self.seconds:g} s"
            if self.problem:
                self.kill()
        if late > LEAVE:
            self.process.kill()
        return not self.process.is_alive()

    def alive(self) -> list[psutil.Process]:
        """The kernel and all that it started, however they hid, unless they changed their environment."""
        return [
            process
            for process in psutil.process_iter(
                ["environ", "memory_info"]
            )  # None where it has just ended, or is another's
            if (process.info["environ"] or {}).get("COURSE_OUT") == str(self.work)
        ]

    def kill(self) -> None:
        for process in self.alive():
            with suppress(psutil.Error):
                process.kill()

    def end(self) -> dict:
        """What came out; nothing of it is left running, or on the disk."""
        self.process.kill()
        self.process.join()
        self.kill()
        try:
            result = json.loads((self.folder / "result.json").read_text())
        except (OSError, ValueError):
            result = {"problem": "cannot be graded: its process ended"}
        shutil.rmtree(self.folder, ignore_errors=True)
        return result | ({"problem": self.problem} if self.problem else {})


def _child(folder: Path, lesson: str, seconds: float, mib: int, threads: int) -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # a Ctrl-C is for the process that waits (kernels start without this)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    confine.limit(mib)
    with (folder / "log.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        autograde.grade(folder, lesson, seconds, mib, threads)


def _row(submission: Submission, result: Mapping, exercises: Mapping[int, Mapping[str, float]]) -> dict[str, object]:
    """A row of the table."""
    points, notes = result.get("points", {}), result.get("notes", {})
    by_exercise = {
        f"exercise {number}": sum(points.get(name, 0) for name in names) for number, names in exercises.items()
    }
    wrong = [f"The submission {result['problem']}."] if result["problem"] else []
    for number, names in exercises.items():
        wrong += [f"Exercise {number}: {notes[name].rstrip('.')}." for name in names if name in notes]
    return {
        "student": submission.student,
        "notebook": submission.path.name,
        **{name: f"{each:g}" for name, each in by_exercise.items()},
        "points": f"{sum(by_exercise.values()):g}",
        "maximum": f"{sum(sum(each.values()) for each in exercises.values()):g}",
        "ran to its end": "no" if result["problem"] else "yes",
        "what went wrong": " ".join(wrong),
        "made of": submission.made_of,
    }


def _read(table: Path) -> dict[tuple[str, str], dict]:
    """The rows of an earlier table, by student and file.

    Raises:
        UsageError: the file is something else.
    """
    if not table.exists():
        return {}
    with table.open(newline="", encoding=ENCODING) as file:
        reader = csv.DictReader(file)
        if not {"student", "notebook", *FACTS} <= set(reader.fieldnames or ()):
            raise UsageError(f"{table} is no table that `course check` wrote: choose another --out.")
        return {(row["student"], row["notebook"]): row for row in reader}


def _write(table: Path, rows: Sequence[Mapping], most: int) -> None:
    names = ["student", "notebook", *(f"exercise {number}" for number in range(1, most + 1)), *FACTS]
    with files.atomic_write(table) as partial, partial.open("w", newline="", encoding=ENCODING) as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
