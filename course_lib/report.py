"""One HTML page of what runs have left: the scoreboard, and each notebook's figures, players and measures."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import nbformat

from course_lib import UsageError, draw, results, sources

# What nbformat raises for a file that is no notebook.
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError)


def write(roots: Sequence[Path], target: Path) -> Path:
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
    result, error_file = read_result(folder), folder / "error.txt"
    path = next(iter(sorted(folder.glob("*.ipynb"))), None)  # the finished one sorts before the partial one
    executed = read_notebook(path) if path else None
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
        "music": [piece | {"roll": _piano_roll(piece, pictures)} for piece in music(folder)],
        "figures": list(_figures(executed, pictures)) if executed else [],
        "record": json.dumps({key: result[key] for key in result if key != "comparison"}, indent=1),
    }


def music(folder: Path) -> list[dict[str, Any]]:
    """The generated pieces of a run, ``midi`` and ``ogg`` as paths, or None for a file that is not there."""
    pieces = []
    for piece in read_result(folder).get("music", []):
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


def read_result(folder: Path) -> dict[str, Any]:
    """The folder's ``result.json``; empty where there is none or it is damaged."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) else {}


def read_notebook(path: Path) -> nbformat.NotebookNode | None:
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
