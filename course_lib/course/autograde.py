"""One submission graded by nbgrader's autograder, in the process that calls it; its kernel is confined."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbgrader import preprocessors, utils
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from course_lib.course import editions
from course_lib.lab import execute, machine, plan

STUDENT = "student"  # for nbgrader, which would take odd characters of a name for a pattern
NOT_REACHED = "not reached"
KEPT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "KERAS_BACKEND", "COURSE_CACHE", "COURSE_DATA")


def grade(folder: Path, lesson: str, seconds: float, mib: int, threads: int) -> None:
    """Grade `folder/submitted/…` by `folder/gradebook.db`, and write `folder/result.json`.

    Args:
        folder: laid out by `grade.py`.
        lesson: the notebook's name, without suffix. The submission runs, and may write, in the folder of that name.
        seconds: that one cell may take; it is then interrupted, and the next one runs.
        mib: of memory.
        threads: that its kernel may use.
    """
    try:
        problem = _autograde(folder, lesson, seconds, mib, threads)
        points, notes = _points(folder, lesson)
    except plan.UNREADABLE as error:
        points, notes, problem = {}, {}, f"is no notebook that can be read ({_line(error)})"
    except Exception as error:  # of nbgrader, which raises many types
        points, notes, problem = {}, {}, f"cannot be graded ({_line(error)})"
    (folder / "result.json").write_text(json.dumps({"points": points, "notes": notes, "problem": problem}))


def _autograde(folder: Path, lesson: str, seconds: float, mib: int, threads: int) -> str:
    """Run nbgrader over the submission; returns what ended it before its last cell, or ""."""
    nbformat.read(submitted(folder, lesson), as_version=4)  # nbgrader hides the reason
    config = editions.course_config(folder)
    config.CourseDirectory.student_id = STUDENT
    config.CourseDirectory.notebook_id = lesson
    work, ended = folder / lesson, []

    class Execute(preprocessors.Execute):
        def preprocess(self, nb: NotebookNode, resources: dict, retries: Any = None) -> tuple[NotebookNode, dict]:
            resources["metadata"]["path"] = str(work)
            try:
                return super().preprocess(nb, resources)
            except DeadKernelError:  # what ran before counts
                ended.append("ended its kernel")
                return nb, resources

    config.Execute.update(
        timeout=max(1, round(seconds)),
        iopub_timeout=60,
        kernel_name="python3",
        kernel_manager_class=_kernel(work, mib, environment(work, threads)),
        extra_arguments=["--HistoryManager.hist_file=:memory:", "--IPKernelApp.capture_fd_output=False"],
    )
    steps = Autograde.autograde_preprocessors.default()
    config.Autograde.autograde_preprocessors = [Execute, Judge, *steps[1:]]
    Autograde(coursedir=CourseDirectory(config=config), config=config).start()
    return "".join(ended)


def submitted(folder: Path, lesson: str) -> Path:
    """Where nbgrader looks for a submission."""
    return folder / "submitted" / STUDENT / editions.ASSIGNMENT / f"{lesson}.ipynb"


class Judge(preprocessors.base.NbGraderPreprocessor):
    """Mends two things that nbgrader reads from a check: a warning is no error, and no output is no success."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, cell_index: int) -> tuple[NotebookNode, dict]:
        """Drops what a check printed to stderr; adds an error where it did not run."""
        if utils.is_grade(cell):
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            if not cell.execution_count and not cell.outputs:
                cell.outputs = [nbformat.v4.new_output("error", ename="", evalue=NOT_REACHED, traceback=[])]
        return cell, resources


def _kernel(work: Path, mib: int, variables: Mapping[str, str]) -> type[AsyncKernelManager]:
    class Kernel(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            over_files = {"transport": "ipc", "ip": str(work / "k")} if sys.platform != "win32" else {}
            super().__init__(**options, **over_files)

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            confined = [sys.executable, "-m", "course_lib.course.confine", str(work), str(mib)]
            return confined + super().format_kernel_cmd(extra_arguments)

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            with (work / "kernel.log").open("wb") as log:
                await super().start_kernel(**options | {"env": dict(variables)}, stderr=log)

    return Kernel


def environment(work: Path, threads: int) -> dict[str, str]:
    """What the kernel of a submission is told: few variables of this process, as a submission can read them."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    folders = {name: str(work) for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "COURSE_OUT")}
    quiet = {"PYTHONWARNINGS": execute.QUIET, "CUDA_VISIBLE_DEVICES": "-1"}
    return machine.variables(threads) | kept | folders | quiet | {"COURSE_SMOKE": "1"}


def _points(folder: Path, lesson: str) -> tuple[dict[str, float], dict[str, str]]:
    """Points of each check, and why it has fewer than it may have."""
    graded = folder / "autograded" / STUDENT / editions.ASSIGNMENT / f"{lesson}.ipynb"
    cells = {
        cell.metadata.nbgrader["grade_id"]: cell
        for cell in nbformat.read(graded, as_version=4).cells
        if cell.metadata.get("nbgrader", {}).get("grade_id")
    }
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        notebook = gradebook.find_submission_notebook(lesson, editions.ASSIGNMENT, STUDENT)
        grades = {grade.name: (grade.auto_score or 0, grade.max_score) for grade in notebook.grades}
    points = {name: score for name, (score, _) in grades.items()}
    return points, {name: _why(name, cells) for name, (score, most) in grades.items() if score < most}


def _why(name: str, cells: Mapping[str, NotebookNode]) -> str:
    if name not in cells:
        return "its check is missing"
    for cell in (cells.get(name.removesuffix("-check")), cells[name]):  # the answer's own error says more
        for output in cell.outputs if cell else []:
            if output.output_type == "error":
                return {
                    "NotImplementedError": "not answered",
                    "AssertionError": _line(output.evalue),
                    "KeyboardInterrupt": "took too long",
                    "CellTimeoutError": "took too long",
                    "": output.evalue,
                }.get(output.ename, f"{output.ename} {_line(output.evalue)}".strip())
    return "fewer points than it may have"


def _line(text: object) -> str:
    """The first line of a text, of a length that a table can show."""
    return (str(text).strip().splitlines() or [""])[0][:200]
