"""The files beside a report: clips of sound, piano rolls, the scoreboard, and the figures that notebooks show.

Each has a name made from its content, so that the same report made again changes no file.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat

from course_lib.files import atomic_write
from course_lib.hear import draw, listen
from course_lib.lab import board
from course_lib.lab.schema import Music
from course_lib.music import midi

CLIP_SECONDS = 12  # heard of each system


def clip(piece: Path | None, folder: Path, seconds: float = CLIP_SECONDS) -> Path | None:
    """The first seconds of a MIDI file as Ogg; None, with a warning, where no sound can be made of it."""
    if piece is None:
        return None
    try:
        path = folder / f"{_name(piece.read_bytes())}.ogg"
        if path.exists():
            return path
        score = midi.read(piece).to("second")
        start = min((note.start for track in score.tracks for note in track.notes), default=0)
        sound = listen.ogg(score.clip(start, start + seconds, clip_end=True).shift_time(-start))
    except (ImportError, OSError, ValueError) as error:
        warnings.warn(f"No sound of {piece}: {error}.", stacklevel=2)
        return None
    folder.mkdir(exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(sound)
    return path


def piano_roll(path: Path, piece: Music, folder: Path) -> dict[str, Any] | None:
    """The piano roll of a MIDI file; None where there is none to draw: of drums, of silence, of no file."""
    with suppress(OSError, ValueError):
        score = midi.read(path)
        if any(track.notes and not track.is_drum for track in score.tracks):
            buffer = io.BytesIO()
            draw.piano_roll(score, title=piece.name).savefig(buffer, format="png", dpi=100, bbox_inches="tight")
            return _picture(buffer.getvalue(), f"Piano roll: {piece.caption}", folder)
    return None


def scoreboard(rows: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The picture of all claims."""
    buffer = io.BytesIO()
    board.picture(rows).savefig(buffer, format="png")
    return _picture(buffer.getvalue(), board.ALT, folder)


def figures(executed: nbformat.NotebookNode, folder: Path) -> Iterator[dict[str, Any]]:
    """Each PNG a notebook shows, captioned by its section's heading and described by the prose before it.

    Not by nbconvert's ExtractOutputPreprocessor, which knows neither heading nor prose.
    """
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
                yield _picture(png, alt, folder) | {"caption": heading}


def remove_unused(folder: Path, page: str) -> None:
    """Remove the files of an earlier report that the page does not name."""
    for file in folder.glob("*"):
        if re.fullmatch(r"[0-9a-f]{20}\.(png|ogg)", file.name) and file.name not in page:
            file.unlink()


def _picture(png: bytes, alt: str, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    path = folder / f"{_name(png)}.png"
    path.write_bytes(png)
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])  # the PNG header
    return {"path": path, "alt": alt, "width": width, "height": height}


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]
