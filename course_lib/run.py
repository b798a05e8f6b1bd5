"""The command line: run the notebooks headless, make the report, check the machine.

``python -m course_lib run | report | listen | notebooks | doctor``. papermill executes the notebooks.
"""

from __future__ import annotations

import argparse
import ast
import base64
import io
import itertools
import logging
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from PIL import Image

from course_lib import PROFILES, UsageError, doctor, listening_page, listening_test, report, results, sources

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


# ---------------------------------------------------------------- what to run


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

    known = {notebook: _parameter_names(notebook) for notebook in _chosen(args.notebooks)}
    every = set().union(*known.values())
    if unknown := [name for name, *_ in args.parameter if name not in every]:
        there = ", ".join(sorted(every)) or "none"
        raise UsageError(f"Parameter '{unknown[0]}' is unknown: the chosen notebooks have {there}.")
    _check_writable(out, "--out")

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
    if not prepared and next(iter(sources.midi_files(folder)), None) is None:
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


def _chosen(names: Sequence[str]) -> list[Path]:
    """The notebooks of the given numbers or names, all of them without any, in the order of their names."""
    folder = Path(os.environ.get("COURSE_NOTEBOOKS") or results.ROOT / "notebooks").resolve()
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


def _check_writable(folder: Path, what: str) -> None:
    """UsageError unless a file can be written in the folder, or where it would be made. Leaves nothing."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(1024))
    except OSError as error:
        reason = error.strerror
        raise UsageError(f"{what} {folder} cannot be written ({reason}): choose another folder.") from error


# ---------------------------------------------------------------- running


def run(args: argparse.Namespace) -> int:
    """Execute the notebooks one at a time, write the report and return the exit status."""
    runs = _runs_folder()
    out = Path(args.out).resolve() if args.out else runs / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    jobs = plan(args, out)
    again = shlex.join(["python", "-m", "course_lib", *args.argv, *([] if args.out else ["--out", str(out)])])
    out.mkdir(parents=True, exist_ok=True)
    if out.parent == runs and any(job.notebook.stem.split("_")[0] not in READERS for job in jobs):
        _point_latest(out)

    try:
        failed = _execute_all(jobs)
    except KeyboardInterrupt:
        print(f"\nStopped; what is done is kept. To go on: {again}", file=sys.stderr)
        return 130

    print(f"\nReport      {report.write([out], out / 'index.html')}")
    pieces = [piece for job in jobs for piece in report.music(job.folder) if not piece.get("real")]
    for title, kind in (("First MIDI", "midi"), ("First Ogg", "ogg")):
        print(f"{title:<11}", next((piece[kind] for piece in pieces if piece[kind]), "none"))
    if failed:
        failed = [f"{len(failed)} of {len(jobs)} failed:", *failed, f"To try again: {again}"]
        print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _runs_folder() -> Path:
    return (results.ROOT if (results.ROOT / "pyproject.toml").exists() else Path.cwd()) / "runs"


def _execute_all(jobs: Sequence[Job]) -> list[str]:
    """Execute one after another what is not done yet; returns a line for each that failed."""
    failed = []
    for count, job in enumerate(jobs, 1):
        line = f"[{count}/{len(jobs)}] {job.name} ..."
        if _is_done(job):
            print(line, "was done before", flush=True)
            continue
        print(line, flush=True)
        started = time.monotonic()
        error = execute(job)
        took = report.duration(time.monotonic() - started)
        print(line, f"FAILED after {took}: {error}" if error else f"done in {took}", flush=True)
        if error:
            failed.append(f"  {job.name}: {error}")
    return failed


def execute(job: Job) -> str | None:
    """Execute one notebook in the python3 kernel; returns the last line of the error it ended in, or None.

    A failed run keeps its executed notebook, gets an ``error.txt`` and has no ``result.json``. What C
    libraries print goes to ``kernel.log``. OSError: a file could not be written, as on a full disk.
    """
    result, error_file, log_file = (job.folder / name for name in ("result.json", "error.txt", "kernel.log"))
    job.folder.mkdir(parents=True, exist_ok=True)
    for earlier in (job.executed, result, error_file):
        earlier.unlink(missing_ok=True)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # an error is told below, once
    error = ""
    try:
        with log_file.open("wb") as log:
            executed = papermill.execute_notebook(
                # papermill formats the paths
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, job.partial)),
                job.parameters,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=_Passed(sys.stdout),
                stderr_file=_Passed(sys.stderr),
                cwd=job.notebook.parent,
                kernel_manager_class=_kernel(job.folder, log),
                extra_arguments=["--log-level=50", "--IPKernelApp.capture_fd_output=False"],
            )
        if executed.metadata.papermill.exception:  # papermill takes sys.exit() for a good end
            error = "SystemExit: the notebook stopped before its last cell."
    except papermill.PapermillExecutionError as caught:
        error = f"{caught.ename}: {caught.evalue}".strip()
    except DeadKernelError:
        error = "The kernel died: the memory ran out, or a library crashed (kernel.log may tell)."
    except (KeyboardInterrupt, Exception) as caught:
        # Neither a stop nor a full disk is the notebook's failure. A time-out is an OSError without errno.
        if isinstance(caught, KeyboardInterrupt) or getattr(caught, "errno", None):
            result.unlink(missing_ok=True)
            raise
        error = f"{type(caught).__name__}: {caught}"
    if error:
        error = error.splitlines()[-1]
        result.unlink(missing_ok=True)
        error_file.write_text(error + "\n", encoding="utf-8", errors="replace")
    if job.partial.exists():
        os.replace(job.partial, job.executed)
    return error or None


def _kernel(folder: Path, log: BinaryIO) -> type[AsyncKernelManager]:
    """Kernels that know their run folder and keep the start-up notes of C libraries out of sight."""

    class Kernel(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await super().start_kernel(env=os.environ | {"COURSE_OUT": str(folder)}, stderr=log, **options)

    return Kernel


class _Passed:
    """Passes on what a notebook prints, indented; progress bars only to a terminal, as they flood a log."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if "\r" not in text or self.stream.isatty():
            self.stream.write(re.sub(r"(?m)^(?=.)", "    ", text))

    def flush(self) -> None:
        self.stream.flush()


def _refuse_other_results(jobs: Sequence[Job]) -> None:
    """UsageError where a folder to be filled holds the finished run of other parameters: it is the user's."""
    smoke = os.environ.get("COURSE_SMOKE") == "1"
    for job in jobs:
        earlier, result = report.read_notebook(job.executed), report.read_result(job.folder)
        parameters = earlier.metadata.get("papermill", {}).get("parameters") if earlier else None
        if result and (parameters != job.parameters or result.get("smoke", smoke) != smoke):
            raise UsageError(f"{job.folder} holds a run with other parameters: choose another --out.")


def _is_done(job: Job) -> bool:
    """Whether the folder holds a complete result of the same code."""
    earlier = report.read_notebook(job.executed)
    if earlier is None or job.notebook.stem.split("_")[0] in READERS:
        return False
    same_code = _code(earlier) == _code(nbformat.read(job.notebook, as_version=4))
    return same_code and report.read_result(job.folder).get("status") == "complete"


def _code(notebook: nbformat.NotebookNode) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _point_latest(out: Path) -> None:
    """Let ``latest`` lead to the run folder beside it: a link, or where links are refused a text file."""
    latest = out.with_name("latest")
    try:
        with sources.whole(latest) as partial:
            partial.symlink_to(out.name)
    except (OSError, NotImplementedError):
        latest.write_text(out.name, encoding="utf-8")


def merge(args: argparse.Namespace) -> int:
    """Merge run folders into one page and one table, or into the scoreboard of the README."""
    roots = [Path(folder).resolve() for folder in args.runs]
    _check_folders(roots)
    if args.readme:
        print(f"Scoreboard  {report.update_readme(Path(args.readme).resolve(), roots, args.mix_data)}")
        return 0
    target = Path(args.out or os.path.commonpath(roots)).resolve()
    target = target / "index.html" if target.is_dir() else target
    _check_writable(target.parent, "The folder")
    print(f"Report      {report.write(roots, target, args.mix_data)}")
    print(f"Table       {target.with_name(report.TABLE)}")
    return 0


def _check_folders(roots: Sequence[Path]) -> None:
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"Run folder '{root}' does not exist: give a folder that run has written.")


def offer(args: argparse.Namespace) -> int:
    """Build a listening test, or go on with one that is there, and offer it to a class as a web page."""
    target = Path(args.out or _runs_folder() / "listening" / (args.form or "rating")).resolve()
    if (target / "test.json").exists():
        test, given = listening_test.load(target), len(listening_test.answers(target))
        if args.form not in (None, test["form"]):
            raise UsageError(f"{target} holds a test of form {test['form']}: choose another --out for a new one.")
        about = f"form {test['form']}, {len(test['clips'])} clips of {test['seconds']:g} s, {given} answers so far"
        print(f"Going on with the test in {target} ({about}). For a new test choose another --out.")
    else:
        roots = [Path(folder).resolve() for folder in args.runs] or [results.newest(_runs_folder())]
        _check_folders(roots)
        found = results.latest([result for root in roots for result in results.load_results(root)])
        _check_writable(target, "--out")
        form = args.form or "rating"
        usual, clips = listening_test.usual(found, form)
        systems = None if args.systems == ["all"] else args.systems or usual
        listening_test.build(found, target, form, systems, args.clips or clips, args.seconds, args.seed)
    return listening_page.serve(target, args.port, args.ip)


# ---------------------------------------------------------------- the committed copies


def refresh(args: argparse.Namespace) -> int:
    """Execute the notebooks with their own parameters and replace them by clean copies, all or none."""
    notebooks = _chosen(args.notebooks)
    with tempfile.TemporaryDirectory() as out:
        jobs = [Job(notebook, {}, Path(out) / notebook.stem, notebook.stem) for notebook in notebooks]
        if failed := _execute_all(jobs):
            print("No notebook was replaced:", *failed, sep="\n", file=sys.stderr)
            return 1
        cleaned = {job.notebook: nbformat.writes(clean(nbformat.read(job.executed, 4))) + "\n" for job in jobs}
    for notebook, text in cleaned.items():
        with sources.whole(notebook) as partial:
            partial.write_text(text, encoding="utf-8")
        print(f"{notebook.name}: {len(text) // 1024} KiB")
    return 0


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook as it is committed: no sound, widget state or stderr."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "nbgrader") if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = _joined(_without_sound(output) for output in cell.outputs if output.get("name") != "stderr")
    return notebook


def _joined(outputs: Iterable[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Lines that were printed one after another as one output: a line an epoch takes a third of the space."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _without_sound(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    data = output.get("data", {})
    if "<audio" in data.get("text/html", "") or "application/vnd.jupyter.widget-view+json" in data:
        output.data = {"text/plain": "(a player or a slider: run the notebook to have it)"}
    if "image/png" in data:
        data["image/png"] = _with_fewer_colours(data["image/png"])
    return output


def _with_fewer_colours(png: str) -> str:
    """A base64 PNG of a plot in 16 colours: a third of the size, and nothing the eye would miss."""
    small = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(16).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


# ---------------------------------------------------------------- command line


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m course_lib``; returns 0, 1 (something failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="run|report|listen|notebooks|doctor")
    order = "%(prog)s [NOTEBOOK ...] [option ...]"  # else -p and --seed take the notebooks for values
    command = commands.add_parser("run", usage=order, help="execute notebooks and write the report")
    command.set_defaults(action=run, argv=argv)
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")
    command.add_argument("--profile", default="quick", help="quick (default) or paper")
    command.add_argument("--seed", nargs="+", type=int, default=[0], help="one run for each (default: 0)")
    command.add_argument("--data", default="embedded", help="embedded (default), or a folder of MIDI files")
    command.add_argument(
        "-p", "--parameter", nargs="+", action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks; several values make a grid",
    )  # fmt: skip
    command.add_argument("--out", help="output folder; the same again resumes (default: runs/<time>)")
    command = commands.add_parser("report", help="merge run folders into one page")
    command.set_defaults(action=merge)
    command.add_argument("runs", nargs="+", metavar="RUNS", help="folders that run has written")
    command.add_argument("--out", help="the page (default: index.html in the folder that holds all RUNS)")
    command.add_argument("--mix-data", action="store_true", help="average over runs that saw different data, too")
    command.add_argument(
        "--readme", nargs="?", const=str(results.ROOT / "README.md"), metavar="FILE",
        help="write no page, but the scoreboard into FILE (default: README.md of the checkout)",
    )  # fmt: skip
    command = commands.add_parser("listen", help="offer a blind listening test to a class, as a web page")
    command.set_defaults(action=offer)
    command.add_argument("runs", nargs="*", metavar="RUNS", help="folders to take clips from (default: runs/latest)")
    command.add_argument("--form", help=f"{', '.join(listening_test.FORMS)} (default: rating)")
    command.add_argument(
        "--systems", nargs="+", metavar="NAME",
        help="such as '2D CNN', or all (default: those of the paper with this form); real music of their kind is added",
    )  # fmt: skip
    command.add_argument("--clips", type=int, help="of each system (default: 4, of scales and pairs 2)")
    command.add_argument("--seconds", type=float, default=10, help="of each clip (default: 10)")
    command.add_argument("--seed", type=int, default=0, help="of the choice of pieces (default: 0)")
    command.add_argument("--out", help="folder of the test; one that is there goes on (default: runs/listening/<form>)")
    command.add_argument("--port", type=int, default=8866, help="of the web page (default: 8866)")
    command.add_argument("--ip", default="0.0.0.0", help="0.0.0.0 (default): the whole network; 127.0.0.1: here only")
    command = commands.add_parser("notebooks", help="execute and clean the committed notebooks")
    command.set_defaults(action=refresh)
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")
    commands.add_parser("doctor", help="check this machine").set_defaults(action=lambda args: doctor.doctor())
    args = parser.parse_args(argv)

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # notebooks print what not every console can show
    try:
        return args.action(args)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except OSError as error:
        place, reason = error.filename or getattr(args, "out", None) or "The output", error.strerror or error
        print(f"{place} cannot be written ({reason}): make room or choose another --out.", file=sys.stderr)
        return 1
