"""Which notebooks run with which parameters, and which of them are done."""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from course_lib import PROFILES, UsageError, files
from course_lib.lab import report
from course_lib.music import midi

READERS = ("12", "13")  # notebooks that read what the others left, so that they are never done for good


@dataclass(frozen=True)
class Job:
    """One execution of a notebook: file, parameters to inject, folder to fill, and the name to show."""

    notebook: Path
    parameters: dict[str, Any]
    folder: Path
    name: str

    @property
    def executed(self) -> Path:
        return self.folder / self.notebook.name

    @property
    def partial(self) -> Path:
        """The executed notebook until the run has ended, so that nothing half-written looks finished."""
        return self.executed.with_suffix(".partial.ipynb")


def plan(args: argparse.Namespace, out: Path) -> list[Job]:
    """Every execution asked for: one for each notebook, seed and point of its grid. Writes nothing.

    UsageError: a notebook, profile, seed, data folder or parameter is unknown, or ``out`` cannot be written.
    """
    if args.profile not in PROFILES:
        raise UsageError(f"Profile '{args.profile}' is unknown: use {' or '.join(PROFILES)}.")
    if wrong := [seed for seed in args.seed if not 0 <= seed < 2**32]:
        raise UsageError(f"Seed {wrong[0]} must be a whole number from 0 to {2**32 - 1}.")
    axes = {"profile": [args.profile], "seed": args.seed, "data": [_data(args.data)]}
    for name, *values in args.parameter:
        if name in ("profile", "seed", "data"):
            raise UsageError(f"Parameter '{name}' has an option of its own: use --{name}.")
        if not values:
            raise UsageError(f"Parameter '{name}' has no value: use -p {name} VALUE.")
        axes[name] = axes.get(name, []) + [_literal(value) for value in values]

    known = {notebook: _parameter_names(notebook) for notebook in chosen(args.notebooks)}
    every = set().union(*known.values())
    if unknown := [name for name, *_ in args.parameter if name not in every]:
        there = ", ".join(sorted(every)) or "none"
        raise UsageError(f"Parameter '{unknown[0]}' is unknown: the chosen notebooks have {there}.")
    check_writable(out, "--out")

    jobs = []
    for notebook, names in known.items():
        own = {name: {repr(value): value for value in axes[name]}.values() for name in axes if name in names}
        points = [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]
        for point in points:
            shown = {name: value for name, value in point.items() if name not in ("profile", "data")}
            label = ",".join(f"{name}={quote(str(value), safe='')}" for name, value in shown.items())
            label = label if len(points) > 1 else ""
            jobs.append(Job(notebook, point, out / notebook.stem / label, f"{notebook.stem} {label}".strip()))
    _refuse_other_results(jobs)
    return jobs


def _data(data: str) -> str:
    """The ``data`` parameter, a folder as an absolute path: the notebooks run in a folder of their own."""
    if data == "embedded":
        return data
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"Data folder '{data}' does not exist: give 'embedded' or a folder of MIDI files.")
    prepared = (folder / "bands.json").is_file()  # by data_scripts.lpd5
    if not prepared and next(iter(midi.midi_files(folder)), None) is None:
        raise UsageError(f"Data folder '{data}' holds no .mid or .midi file at any depth.")
    return str(folder)


def _literal(text: str) -> bool | int | float | str:
    """The value that a word of the command line stands for."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def chosen(names: Sequence[str]) -> list[Path]:
    """The notebooks of the given numbers or names, all of them without any, in the order of their names."""
    folder = Path(os.environ.get("COURSE_NOTEBOOKS") or files.ROOT / "notebooks").resolve()
    if not folder.is_dir():
        folder = Path("notebooks").resolve()
    every = sorted(folder.glob("*.ipynb"))
    if not every:
        raise UsageError(f"There are no notebooks in {folder}: set COURSE_NOTEBOOKS to their folder.")
    chosen = set()
    for name in names:
        stem = name.removesuffix(".ipynb").replace("\\", "/").split("/")[-1]
        found = [path for path in every if path.stem == stem or path.stem.split("_")[0] == stem.zfill(2)]
        if not found:
            stems = ", ".join(path.stem for path in every)
            raise UsageError(f"Notebook '{name}' is unknown: choose from {stems}.")
        chosen.update(found)
    return [path for path in every if path in chosen or not names]


def _parameter_names(notebook: Path) -> set[str]:
    """The names assigned in the parameters cell: papermill itself only warns of a name that is not there."""
    try:
        cells = nbformat.read(notebook, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
        nodes = list(ast.walk(ast.parse(code)))
    except (*report.UNREADABLE, SyntaxError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"Notebook {notebook} cannot be read ({reason}): restore the file.") from error
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def check_writable(folder: Path, what: str) -> None:
    """UsageError unless a file can be written in the folder, or where it would be made. Leaves nothing."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(1024))
    except OSError as error:
        reason = error.strerror
        raise UsageError(f"{what} {folder} cannot be written ({reason}): choose another folder.") from error


def _refuse_other_results(jobs: Sequence[Job]) -> None:
    """UsageError where a folder to be filled holds the finished run of other parameters: it is the user's."""
    smoke = os.environ.get("COURSE_SMOKE") == "1"
    for job in jobs:
        earlier, result = report.read_notebook(job.executed), report.read_result(job.folder)
        parameters = earlier.metadata.get("papermill", {}).get("parameters") if earlier else None
        if result and (parameters != job.parameters or result.get("smoke", smoke) != smoke):
            raise UsageError(f"{job.folder} holds a run with other parameters: choose another --out.")


def is_done(job: Job) -> bool:
    """Whether the folder holds a complete result of the same code."""
    earlier = report.read_notebook(job.executed)
    if earlier is None or job.notebook.stem.split("_")[0] in READERS:
        return False
    same_code = _code(earlier) == _code(nbformat.read(job.notebook, as_version=4))
    return same_code and report.read_result(job.folder).get("status") == "complete"


def _code(notebook: nbformat.NotebookNode) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
