"""One HTML page of what runs have left: the scoreboard, all systems compared, each notebook's figures and players.

The scoreboard is also written as a CSV file beside the page, and into the README.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import os
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import nbformat

from course_lib import UsageError
from course_lib.files import atomic_write
from course_lib.hear import draw, listen
from course_lib.lab import record, scoreboard
from course_lib.music import midi

# What nbformat raises for a file that is no notebook.
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError)
CLIP_SECONDS = 12  # heard of each system
TABLE = "scoreboard.csv"  # beside the page
COLUMNS = (
    *("id", "paper", "claim", "published", "measured", "low", "high"),
    *("verdict", "reason", "profile", "device", "runs", "links"),
)
MARKERS = ("<!-- scoreboard -->", "<!-- /scoreboard -->")  # of the part of the README that update_readme makes


def collect(roots: Sequence[Path], mix_data: bool = True) -> list[dict[str, Any]]:
    """The results below ``roots`` that count, each once.

    UsageError: ``mix_data`` is False, and runs of one notebook and profile saw different data.
    """
    found = {result["folder"]: result for root in roots for result in record.load(root)}
    counted = list(found.values())
    if not mix_data and (different := scoreboard.different_data(counted)):
        problem = different[0][0].upper() + different[0][1:]
        raise UsageError(f"{problem}: make one report of each, or add --mix-data to average over both.")
    return counted


def write(roots: Sequence[Path], target: Path, mix_data: bool = True) -> Path:
    """Write all runs below ``roots`` into the HTML page ``target`` and return it; beside it goes ``scoreboard.csv``.

    Pictures and the clips of the systems go into ``<name of the page>_files`` beside it; what a run left is
    linked where it lies. UsageError: there is no run, or see ``collect``.
    """
    patterns = ("result.json", "error.txt", "*.ipynb")
    found = {path.parent for root in roots for pattern in patterns for path in root.rglob(pattern)}
    folders = sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)
    if not folders:
        places = ", ".join(map(str, roots))
        raise UsageError(f"No run was found in {places}: give a folder that run has written.")
    counted = collect(roots, mix_data)
    rows = scoreboard.rows(counted)
    files = target.with_name(f"{target.stem}_files")
    target.parent.mkdir(parents=True, exist_ok=True)
    entries = sorted((_entry(folder, files) for folder in folders), key=lambda entry: entry["notebook"])
    groups = itertools.groupby(entries, lambda entry: entry["notebook"])
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters |= {
        "duration": duration,
        "number": number,
        "link": lambda path: _link(path, target.parent),
    }
    html = environment.get_template("report.html.j2").render(
        rows=rows,
        table=TABLE,
        different=scoreboard.different_data(counted),
        systems=_systems(counted, files),
        notebooks={name: list(group) for name, group in groups},
        anchors={str(entry["folder"]): f"run-{count}" for count, entry in enumerate(entries, 1)},
        made=datetime.now().astimezone(),
    )
    with atomic_write(target.with_name(TABLE)) as partial:
        partial.write_bytes(_csv(rows, target.parent).encode(errors="replace"))
    with atomic_write(target) as partial:
        partial.write_bytes(html.encode(errors="replace"))
    for file in files.glob("*"):  # of an earlier report
        if re.fullmatch(r"[0-9a-f]{20}\.(png|ogg)", file.name) and file.name not in html:
            file.unlink()
    return target


def update_readme(readme: Path, roots: Sequence[Path], mix_data: bool = True) -> Path:
    """Put the scoreboard of the runs below ``roots`` between the two markers of a Markdown file; return its path.

    UsageError: the file has no markers, or see ``collect``.
    """
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, start, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise UsageError(f"{readme} has no lines {' and '.join(MARKERS)}: add them where the scoreboard is to stand.")
    block = markdown(collect(roots, mix_data), readme.parent)
    with atomic_write(readme) as partial:
        partial.write_bytes(f"{before}{start}\n\n{block}\n{end}{after}".encode())
    return readme


def markdown(counted: Sequence[Mapping[str, Any]], base: Path) -> str:
    """The scoreboard of some results as a section of Markdown, its links relative to the folder ``base``."""
    rows = scoreboard.rows(counted)
    made = "`python -m course_lib report results --readme`"
    intro = f"No run has been committed to `results/` yet. {made} fills this table from there."
    if counted:
        verdicts = Counter(row["verdict"] for row in rows)
        summary = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        intro = f"{summary}. Measured: the mean over runs and its 95 % interval. Made by {made}."
    lines = ["## Scoreboard", "", intro]
    if scoreboard.different_data(counted):
        lines += ["", "Runs that saw different data are mixed; the rows concerned say so."]
    heads = ("paper", "claim", "published", "measured", "verdict", "profile", "runs")
    lines += ["", _markdown_row(heads), "|---" * len(heads) + "|"]
    for row in rows:
        reason = f" ({row['reason']})" if row["runs"] and row["reason"] else ""
        runs = ", ".join(f"[{count}]({_link(folder, base)})" for count, folder in enumerate(row["links"], 1))
        cells = [row["paper"], row["claim"], row["published"], _measured(row), row["verdict"] + reason]
        lines.append(_markdown_row([*cells, row["profile"] or "–", runs or "–"]))
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _measured(row: Mapping[str, Any]) -> str:
    """The measured figure of a claim, with its interval if it has one."""
    proxy = "proxy: " if row["proxy"] else ""
    interval = "" if row["low"] is None else f" ({number(row['low'])} to {number(row['high'])})"
    return proxy + number(row["measured"]) + interval


def _csv(rows: Sequence[Mapping[str, Any]], base: Path) -> str:
    """One line a claim: figures in full, and the folders of its runs relative to ``base``, split by a semicolon."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    table.writeheader()
    for row in rows:
        links = "; ".join(Path(os.path.relpath(folder, base)).as_posix() for folder in row["links"])
        table.writerow({**row, "links": links})
    return text.getvalue()


def _link(path: str | Path, base: Path) -> str:
    return quote(Path(os.path.relpath(path, base)).as_posix())


def _systems(counted: Sequence[Mapping[str, Any]], files: Path) -> dict[str, list]:
    """``compare.systems``, each row with its ``clip``."""
    from course_lib.lab import compare  # slow to import, and only a report needs it

    found = compare.systems(counted)
    for kind in record.KINDS:
        found[kind] = [row | {"clip": _clip(row["piece"], files)} for row in found[kind]]
    return found


def _clip(piece: Path | None, files: Path) -> Path | None:
    """The first seconds of a MIDI file as Ogg, under a name made from its content, so that it is made once.

    None, with a warning, where the piece cannot be read or sound cannot be made.
    """
    if piece is None:
        return None
    try:
        path = files / f"{_name(piece.read_bytes())}.ogg"
        if path.exists():
            return path
        score = midi.read(piece).to("second")
        start = min((note.start for track in score.tracks for note in track.notes), default=0)
        sound = listen.ogg(score.clip(start, start + CLIP_SECONDS, clip_end=True).shift_time(-start))
    except (ImportError, OSError, ValueError) as error:
        warnings.warn(f"No sound of {piece}: {error}.", stacklevel=2)
        return None
    files.mkdir(exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(sound)
    return path


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


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
        figure = draw.piano_roll(midi.read(piece["midi"]), title=piece.get("name", ""))
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
    path = pictures / f"{_name(png)}.png"
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
