"""Run the notebooks headless, gather what they left in one report, and check the machine.

``python -m course_lib run | report | doctor``. papermill (https://papermill.readthedocs.io) executes them.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import io
import itertools
import json
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote

import jinja2
import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import DeadKernelError
from packaging.requirements import Requirement

from course_lib import PROFILES, draw, encode, listen, results, sources

# What nbformat raises for a file that is no notebook.
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError)


class UsageError(ValueError):
    """The command line asks for something that is not there."""


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
    return jobs


def _data(data: str) -> str:
    """The ``data`` parameter, a folder as an absolute path: the notebooks run in a folder of their own."""
    if data == "embedded":
        return data
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"Data folder '{data}' does not exist: give 'embedded' or a folder of MIDI files.")
    if next(iter(sources.midi_files(folder)), None) is None:
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
    except (*UNREADABLE, SyntaxError) as error:
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
    runs = (results.ROOT if (results.ROOT / "pyproject.toml").exists() else Path.cwd()) / "runs"
    out = Path(args.out).resolve() if args.out else runs / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    jobs = plan(args, out)
    again = shlex.join(["python", "-m", "course_lib", *args.argv, *([] if args.out else ["--out", str(out)])])
    out.mkdir(parents=True, exist_ok=True)
    if out.parent == runs:
        _point_latest(out)

    failed = []
    try:
        for count, job in enumerate(jobs, 1):
            line = f"[{count}/{len(jobs)}] {job.name} ..."
            if _is_done(job):
                print(line, "was done before", flush=True)
                continue
            print(line, flush=True)
            started = time.monotonic()
            error = execute(job)
            took = duration(time.monotonic() - started)
            print(line, f"FAILED after {took}: {error}" if error else f"done in {took}", flush=True)
            if error:
                failed.append(f"  {job.name}: {error}")
    except KeyboardInterrupt:
        print(f"\nStopped; what is done is kept. To go on: {again}", file=sys.stderr)
        return 130

    print(f"\nReport      {write_report([out], out / 'index.html')}")
    pieces = [piece for job in jobs for piece in _music(job.folder)]
    for title, kind in (("First MIDI", "midi"), ("First Ogg", "ogg")):
        print(f"{title:<11}", next((piece[kind] for piece in pieces if piece[kind]), "none"))
    if failed:
        failed = [f"{len(failed)} of {len(jobs)} failed:", *failed, f"To try again: {again}"]
        print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


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


def _is_done(job: Job) -> bool:
    """Whether the folder holds a complete result of the same parameters and code.

    What other parameters or a smoke run left is removed; files of the same ones stay, for training to go on.
    """
    earlier = _read_notebook(job.executed) or _read_notebook(job.partial)
    if earlier is None or "papermill" not in earlier.metadata:
        return False
    result, smoke = _read_result(job.folder), os.environ.get("COURSE_SMOKE") == "1"
    if earlier.metadata.papermill.get("parameters") != job.parameters or result.get("smoke", smoke) != smoke:
        for entry in job.folder.iterdir():
            if not entry.is_dir() or entry.is_symlink():
                entry.unlink()
            elif "=" not in entry.name:  # a point of a grid is a run of its own
                shutil.rmtree(entry)
        return False
    same_code = _code(earlier) == _code(nbformat.read(job.notebook, as_version=4))
    return same_code and job.executed.exists() and result.get("status") == "complete"


def _code(notebook: nbformat.NotebookNode) -> list[str]:
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _point_latest(out: Path) -> None:
    """Let ``latest`` lead to the run folder beside it: a link, or where links are refused a text file."""
    latest, temporary = out.with_name("latest"), out.with_name(".latest")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(out.name)
        os.replace(temporary, latest)
    except (OSError, NotImplementedError):
        latest.write_text(out.name, encoding="utf-8")


# ---------------------------------------------------------------- the report


def report(args: argparse.Namespace) -> int:
    """Merge run folders into one page."""
    roots = [Path(folder).resolve() for folder in args.runs]
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"Run folder '{root}' does not exist.")
    target = Path(args.out or os.path.commonpath(roots)).resolve()
    target = target / "index.html" if target.is_dir() else target
    _check_writable(target.parent, "The folder")
    print(f"Report      {write_report(roots, target)}")
    return 0


def write_report(roots: Sequence[Path], target: Path) -> Path:
    """Write all runs below ``roots`` into the HTML page ``target`` and return it.

    Pictures go into ``<name of the page>_files`` beside it; what a run left is linked where it lies.
    UsageError: there is no run.
    """
    patterns = ("result.json", "error.txt", "*.ipynb")
    found = {path.parent for root in roots for pattern in patterns for path in root.rglob(pattern)}
    folders = sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)
    if not folders:
        places = ", ".join(map(str, roots))
        raise UsageError(f"No run was found in {places}: give a folder that run has written.")
    pictures = target.with_name(f"{target.stem}_files")
    target.parent.mkdir(parents=True, exist_ok=True)
    entries = sorted((_entry(folder, pictures) for folder in folders), key=lambda entry: entry["notebook"])
    counted = {result["folder"]: result for root in roots for result in results.load_results(root)}
    groups = itertools.groupby(entries, lambda entry: entry["notebook"])
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters |= {
        "duration": duration,
        "number": number,
        "link": lambda path: quote(Path(os.path.relpath(path, target.parent)).as_posix()),
    }
    html = environment.get_template("report.html.j2").render(
        rows=results.scoreboard(list(counted.values())),
        notebooks={name: list(group) for name, group in groups},
        anchors={str(entry["folder"]): f"run-{count}" for count, entry in enumerate(entries, 1)},
        made=datetime.now().astimezone(),
    )
    temporary = target.with_suffix(".tmp")
    try:
        temporary.write_text(html, encoding="utf-8", errors="replace")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    for picture in pictures.glob("*.png"):  # of an earlier report
        if picture.name not in html:
            picture.unlink()
    return target


def _entry(folder: Path, pictures: Path) -> dict[str, Any]:
    """What the report shows of one run folder."""
    result, error_file = _read_result(folder), folder / "error.txt"
    path = next(iter(sorted(folder.glob("*.ipynb"))), None)  # the finished one sorts before the partial one
    executed = _read_notebook(path) if path else None
    error = error_file.read_text(encoding="utf-8").strip() if error_file.exists() else ""
    if not result and (folder / "result.json").exists():
        error = "result.json is damaged: run the notebook again."
    stopped = path is not None and path.name.endswith(".partial.ipynb")
    about = executed.metadata.get("papermill", {}) if executed else {}
    return {
        "notebook": result.get("notebook") or (path.name.split(".")[0] if path else folder.name),
        "folder": folder,
        "path": path,
        "status": "failed" if error else "not finished" if stopped else "complete",
        "error": error,
        "result": result,
        "parameters": result.get("parameters") or about.get("parameters", {}),
        "seconds": result.get("seconds") or about.get("duration"),
        "music": [piece | {"roll": _piano_roll(piece, pictures)} for piece in _music(folder)],
        "figures": list(_figures(executed, pictures)) if executed else [],
        "record": json.dumps({key: result[key] for key in result if key != "comparison"}, indent=1),
    }


def _music(folder: Path) -> list[dict[str, Any]]:
    """The generated pieces of a run, ``midi`` and ``ogg`` as paths, or None for a file that is not there."""
    pieces = []
    for piece in _read_result(folder).get("music", []):
        files = {kind: folder / str(piece.get(kind)) for kind in ("midi", "ogg")}
        pieces.append(piece | {kind: path if path.is_file() else None for kind, path in files.items()})
    return pieces


def _piano_roll(piece: dict[str, Any], pictures: Path) -> dict[str, Any] | None:
    """The piano roll of a piece; None where there is no MIDI, and with a warning where it cannot be read."""
    if piece["midi"] is None:
        return None
    try:
        figure = draw.piano_roll(sources.read_midi(piece["midi"]), title=piece.get("name", ""))
    except (OSError, ValueError) as error:
        warnings.warn(f"No piano roll of {piece['midi']}: {error}.", stacklevel=2)
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return _picture(buffer.getvalue(), f"Piano roll: {piece.get('caption', '')}", pictures)


def _figures(executed: nbformat.NotebookNode, pictures: Path) -> Iterator[dict[str, Any]]:
    """Each PNG a notebook shows, captioned by its section's heading and described by the prose before it."""
    heading, prose = "", ""
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            lines = [re.sub(r"\[([^]]*)\]\([^)]*\)|[*`]", r"\1", line) for line in cell.source.splitlines()]
            heading = next((line.strip("# ") for line in reversed(lines) if line.startswith("#")), heading)
            prose = " ".join(line for line in lines if not line.startswith("#"))
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                png = base64.b64decode(output.data["image/png"])
                alt = textwrap.shorten(f"{heading}. {prose}", 300, placeholder=" …")
                yield _picture(png, alt, pictures) | {"caption": heading}


def _picture(png: bytes, alt: str, pictures: Path) -> dict[str, Any]:
    """Keep a PNG under a name made from its content, so that the same report made again changes no file."""
    pictures.mkdir(exist_ok=True)
    path = pictures / f"{hashlib.sha256(png).hexdigest()[:20]}.png"
    path.write_bytes(png)
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])  # the PNG header
    return {"path": path, "alt": alt, "width": width, "height": height}


def _read_result(folder: Path) -> dict[str, Any]:
    """The folder's ``result.json``; empty where there is none or it is damaged."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def _read_notebook(path: Path) -> nbformat.NotebookNode | None:
    try:
        return nbformat.read(path, as_version=4)
    except UNREADABLE:
        return None


def duration(seconds: float) -> str:
    """Seconds in words: ``1.4 s``, ``84 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(value: Any) -> str:
    """A figure to four digits; a dash for what is no number."""
    if not isinstance(value, (int, float)) or value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


# ---------------------------------------------------------------- doctor


def doctor(args: argparse.Namespace) -> int:
    """Print what the machine has, each line OK or what to do; 1 when something required is missing."""
    missing = False
    for fine, required, text in _checks():
        print("OK " if fine else "!! ", text, flush=True)
        missing |= required and not fine
    return int(missing)


def _checks() -> Iterator[tuple[bool, bool, str]]:
    """Whether a thing is fine, whether it is required, and what there is or what to do."""
    fine = sys.version_info >= (3, 11)
    yield fine, True, f"Python {platform.python_version()}" + ("" if fine else ": install 3.11 or later")

    wrong = list(_wrong_packages())
    todo = ": " + ", ".join(wrong) + "; pip install -r requirements.txt" if wrong else " in their ranges"
    yield not wrong, True, f"packages{todo}"

    # In a process of its own: importing a backend may crash, is noisy, and holds the GPU.
    code = (
        "import keras\ntry: gpus = keras.distribution.list_devices('gpu')\nexcept Exception: gpus = []\n"
        "print(keras.__version__, keras.config.backend(), len(gpus))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        todo = "install its backend, or set KERAS_BACKEND to one that is there"
        yield False, True, f"Keras cannot be imported ({reason}): {todo}"
    else:
        version, backend, gpus = done.stdout.split()[-3:]
        yield True, True, f"Keras {version} on {backend}"
        if gpus == "0" and shutil.which("nvidia-smi"):
            yield False, False, f'GPU not seen by {backend}: pip install -e ".[gpu]"'
        else:
            yield True, False, f"GPU: {gpus if gpus != '0' else 'none; a CPU is fine for the quick profile'}"

    todo = ": no Ogg could be written; pip install -r requirements.txt"
    try:
        with tempfile.TemporaryDirectory() as folder:
            ogg = listen.save(encode.notes_to_score(["C4_quarter"]), Path(folder) / "note")[1]
        yield ogg is not None, False, "sound" + (": a note was written as Ogg" if ogg else todo)
    except Exception as error:  # whatever a sound library may raise
        yield False, False, f"sound{todo} ({error})"

    free = shutil.disk_usage(".").free / 2**30
    yield free > 2, False, f"disk: {free:.1f} GiB free here" + ("" if free > 2 else "; make room for 2 GiB")

    cache = sources.cache_folder()
    built = any(cache.glob("embedded-*"))
    yield True, False, f"corpus: {'built' if built else 'will be built on first use (minutes)'} in {cache}"

    fine = find_spec("jupyterlab") is not None and "python3" in KernelSpecManager().find_kernel_specs()
    todo = "" if fine else ": pip install jupyterlab ipykernel"
    yield fine, True, f"JupyterLab and its python3 kernel{todo}"


def _wrong_packages() -> Iterator[str]:
    """The packages that are missing or outside the ranges this package asks for."""
    try:
        requirements = [Requirement(line) for line in metadata.requires("course-lib") or []]
    except metadata.PackageNotFoundError:
        yield "course-lib is not installed (pip install -e .)"
        return
    for needed in requirements:
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue  # of an extra
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield f"{needed} is missing"
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield f"{needed} is needed, not {version}"


# ---------------------------------------------------------------- command line


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m course_lib``; returns 0, 1 (something failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="run|report|doctor")
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
    command.set_defaults(action=report)
    command.add_argument("runs", nargs="+", metavar="RUNS", help="folders that run has written")
    command.add_argument("--out", help="the page (default: index.html in the folder that holds all RUNS)")
    commands.add_parser("doctor", help="check this machine").set_defaults(action=doctor)
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
