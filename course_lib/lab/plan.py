"""Which notebooks run with which parameters and settings, and which of them are done."""

from __future__ import annotations

import argparse
import ast
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from course_lib import UsageError
from course_lib.lab import claims, provenance, record, schema
from course_lib.lab.schema import Code
from course_lib.learn import profiles
from course_lib.music import corpus, midi

# What nbformat raises for a file that is no notebook.
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError)
READS = "reads-"  # tags of the parameters cell: "reads-08" waits for the runs of 08, "reads-runs" for all
MOST_RUNS = 1000  # without --yes


@dataclass(frozen=True)
class Lesson:
    """How a notebook may be run, as it says itself."""

    path: Path
    parameters: set[str]
    settings: dict[str, tuple]  # the values of all profiles
    reads: frozenset[str]  # of which notebooks it reads what they left, by number; "runs": of all, so it runs last


@dataclass(frozen=True)
class Job:
    """One execution of a notebook: the folder to fill, what is given to it, and what it must have been made of."""

    notebook: Path
    folder: Path
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # those that are changed
    code: Code = field(default_factory=Code)
    source: str = ""  # the state of the data
    reads: frozenset[str] = frozenset()  # see `Lesson`
    alone: bool = False  # it compares seconds, and this profile can judge them: nothing may run beside it

    @property
    def reads_runs(self) -> bool:
        return "runs" in self.reads

    @property
    def executed(self) -> Path:
        return self.folder / self.notebook.name

    @property
    def partial(self) -> Path:
        """The executed notebook until the run has ended, so that nothing half-written looks finished."""
        return self.executed.with_suffix(".partial.ipynb")


def plan(args: argparse.Namespace, out: Path) -> list[Job]:
    """Every execution asked for: one for each notebook, seed and point of its grid. Writes nothing.

    Raises:
        UsageError: something unknown is asked for, or too much, or `out` holds the results of something else.
    """
    if args.profile not in profiles.PROFILES:
        raise UsageError(f"Profile '{args.profile}' is unknown: use {', '.join(profiles.PROFILES)}.")
    if wrong := [seed for seed in args.seed if not 0 <= seed < 2**32]:
        raise UsageError(f"Seed {wrong[0]} must be a whole number from 0 to {2**32 - 1}.")
    lessons = sorted(map(read_lesson, chosen(args.notebooks)), key=lambda lesson: "runs" in lesson.reads)
    parameters = {"profile": [args.profile], "seed": args.seed, "data": [_data(args.data)]}
    parameters |= _axes("Parameter", "-p", args.parameter, set().union(*(lesson.parameters for lesson in lessons)))
    settings = _axes("Setting", "-s", args.setting, set().union(*(lesson.settings for lesson in lessons)))

    package, source = provenance.package_hash(*provenance.FIGURES), corpus.state(parameters["data"][0])
    jobs = []
    for lesson in lessons:
        code = Code(provenance.notebook_hash(lesson.path), package)
        given = {name: values for name, values in parameters.items() if name in lesson.parameters}
        points = list(itertools.product(_points(given), _points(_changes(lesson, settings))))
        alone = claims.compares_seconds(lesson.path.stem, args.profile)
        for given, changed in points:
            shown = {name: value for name, value in (given | changed).items() if name not in ("profile", "data")}
            label = ",".join(f"{name}={quote(str(value), safe='')}" for name, value in shown.items())
            label = label if len(points) > 1 or changed else ""
            folder, name = out / lesson.path.stem / label, f"{lesson.path.stem} {label}".strip()
            jobs.append(Job(lesson.path, folder, name, given, changed, code, source, lesson.reads, alone))
    if len(jobs) > MOST_RUNS and not args.yes:
        raise UsageError(f"This asks for {len(jobs):,} runs: add --yes to start them all.")
    _refuse_other_results(jobs)
    return jobs


def _axes(what: str, option: str, given: Sequence[Sequence[str]], known: set[str]) -> dict[str, list[Any]]:
    """The values of each name after `-p` or `-s`; a name may be given several times."""
    axes: dict[str, list[Any]] = {}
    for name, *values in given:
        if option == "-p" and name in ("profile", "seed", "data"):
            raise UsageError(f"Parameter '{name}' has an option of its own: use --{name}.")
        if not values:
            raise UsageError(f"{what} '{name}' has no value: use {option} {name} VALUE.")
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise UsageError(f"{what} '{name}' is unknown: the chosen notebooks have {there}.")
        axes.setdefault(name, []).extend(map(literal, values))
    return axes


def _changes(lesson: Lesson, settings: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The values of those settings that a lesson has, each of the kind that the lesson's own values have."""
    try:
        return {
            name: [profiles.as_kind(name, value, lesson.settings[name]) for value in values]
            for name, values in settings.items()
            if name in lesson.settings
        }
    except ValueError as error:
        raise UsageError(f"Settings of {lesson.path.stem}: {error}") from error


def _points(axes: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of one value each, once."""
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return list({repr(point): point for point in points}.values())


def _data(data: str) -> str:
    """The `data` parameter, a folder as an absolute path: the notebooks run in a folder of their own."""
    if data == "embedded":
        return data
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"Data folder '{data}' does not exist: give 'embedded' or a folder of MIDI files.")
    prepared = (folder / "bands.json").is_file()  # by data_scripts.lpd5
    if not prepared and next(iter(midi.midi_files(folder)), None) is None:
        raise UsageError(f"Data folder '{data}' holds no .mid or .midi file at any depth.")
    return str(folder)


def literal(text: str) -> Any:
    """The value that a word of the command line stands for; `16,32` is a list of numbers."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    return list(value) if isinstance(value, tuple) else value


def chosen(names: Sequence[str]) -> list[Path]:
    """The notebooks of the given numbers or names, all of them without any, in the order of their names."""
    folder = provenance.notebooks_folder()
    every = sorted(folder.glob("*.ipynb"))
    if not every:
        raise UsageError(f"There are no notebooks in {folder}: set COURSE_NOTEBOOKS to their folder.")
    chosen = set()
    for name in names:
        stem = Path(name).stem
        found = [path for path in every if path.stem == stem or path.stem.split("_")[0] == stem.zfill(2)]
        if not found:
            stems = ", ".join(path.stem for path in every)
            raise UsageError(f"Notebook '{name}' is unknown: choose from {stems}.")
        chosen.update(found)
    return [path for path in every if path in chosen or not names]


def read_lesson(notebook: Path) -> Lesson:
    """Read the parameters cell of a notebook and its settings table, the call `….settings(name=(…, …), …)`.

    By `ast`, as `papermill.inspect_notebook` misses `a, b = 1, 2` and takes lines within a text for parameters.
    """
    try:
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
        tags = {tag: cell for cell in cells for tag in cell.metadata.get("tags", [])}
        parameters = ast.parse(tags["parameters"].source) if "parameters" in tags else ast.Module([], [])
        calls = [
            node
            for cell in cells
            if ".settings(" in cell.source
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "settings"
        ]
        table = {word.arg: ast.literal_eval(word.value) for call in calls for word in call.keywords if word.arg}
    except (*UNREADABLE, SyntaxError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"Notebook {notebook} cannot be read ({reason}): restore the file.") from error
    names = {node.id for node in ast.walk(parameters) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    reads = frozenset(tag.removeprefix(READS) for tag in tags if tag.startswith(READS))
    return Lesson(notebook, names, table, reads)


def read_notebook(path: Path) -> nbformat.NotebookNode | None:
    """A notebook; None where there is none or it is damaged."""
    try:
        return nbformat.read(path, as_version=4)
    except UNREADABLE:
        return None


def _refuse_other_results(jobs: Sequence[Job]) -> None:
    """UsageError where a folder to be filled holds the finished run of other parameters: it is the user's."""
    smoke = profiles.smoke()
    for job in jobs:
        earlier, result = read_notebook(job.executed), record.find(job.folder)
        if not result:
            continue
        if earlier:
            parameters = earlier.metadata.get("papermill", {}).get("parameters")
        else:  # killed between the two files
            parameters = {name: result.parameters.get(name) for name in job.parameters}
        if parameters != job.parameters or result.smoke != smoke:
            raise UsageError(f"{job.folder} holds a run with other parameters: choose another --out.")


def why_again(job: Job) -> str | None:
    """Why a job is not done: a clause, "" where it was never run to its end; None where it is done."""
    result = record.find(job.folder)
    if result is None or not job.executed.exists():
        return ""
    if job.reads_runs:
        return "reads the other runs"
    if result.code != job.code:
        return "made by other code"
    if result.changed != record.plain(job.settings, "settings") | schema.loaded(job.parameters):
        return "made with other settings"
    if "data" in job.parameters and result.data.source != job.source:
        return "made from other data"
    return None
