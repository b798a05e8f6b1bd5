"""The committed copies of the notebooks: executed and cleaned."""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image

from course_lib import files
from course_lib.hear import listen
from course_lib.lab import plan, record, run

SOUND = "results/sound"  # beside `notebooks`: a folder a notebook
CELL_CLASS = re.compile(r' class="(?:data|col_heading|row_heading|index_name|blank)[^"]*"')  # of a pandas Styler
SILENT = "(a player or a slider: run the notebook to have it)"


def update(args: argparse.Namespace) -> int:
    """Execute the notebooks with their own parameters and replace them by clean copies, all or none."""
    notebooks = plan.chosen(args.notebooks)
    with tempfile.TemporaryDirectory() as out:
        jobs = [plan.Job(notebook, Path(out) / notebook.stem, notebook.stem) for notebook in notebooks]
        if failed := run.execute_all(jobs):
            print("No notebook was replaced:", *failed, sep="\n", file=sys.stderr)
            return 1
        for job in jobs:
            keep(job.notebook, job.folder)
    return 0


def keep(notebook: Path, folder: Path) -> None:
    """Replace a notebook by the clean copy of its run in `folder`, and the clips that it links by what it plays there.

    Raises:
        ValueError: the run was made of other code.
    """
    executed, kept = (nbformat.read(path, 4) for path in (folder / notebook.name, notebook))
    links = sounds(notebook.stem, folder)
    ran, code = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (executed, kept))
    ran = [cell for cell in ran if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in ran] != [cell.source for cell in code]:
        raise ValueError(f"{notebook.name} has other code than the run in {folder}: run it again.")
    for cell, other in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
    text = nbformat.writes(clean(kept, {heard: link for heard, (link, _) in links.items()})) + "\n"
    clips = {(notebook.parent / link).resolve(): ogg for link, ogg in links.values() if link in text}
    for old in set((notebook.parent.parent / SOUND / notebook.stem).resolve().glob("*.ogg")) - set(clips):
        old.unlink()
    for clip, ogg in clips.items():
        listen.publish(clip, listen.clip(ogg))
    with files.atomic_write(notebook) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"{notebook.name}: {len(text) // 1024} KiB")


def sounds(lesson: str, folder: Path) -> dict[bytes, tuple[str, Path]]:
    """The link, seen from `notebooks`, and the file of each piece that a run or a night made, by its samples."""
    made = record.find(folder)
    pieces = [folder / piece.ogg for piece in (made.music if made else []) if piece.ogg and not piece.real]
    pieces += folder.glob("after_a_night.ogg")  # by `nights.piece`; no real music is published
    return {listen.samples(ogg.read_bytes()): (f"../{SOUND}/{lesson}/{ogg.name}", ogg) for ogg in pieces}


def clean(notebook: nbformat.NotebookNode, links: Mapping[bytes, str] | None = None) -> nbformat.NotebookNode:
    """An executed notebook as it is committed: no widget state or stderr, and lines printed as one output.

    In place of a player stands the link that `links` has for its samples, where it has one.
    """
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "nbgrader") if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = [_silent(output, links or {}) for output in cell.outputs if output.get("name") != "stderr"]
            # nbclient's own coalesce_streams would move what is printed after a figure before it.
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
    return notebook


def _silent(output: nbformat.NotebookNode, links: Mapping[bytes, str]) -> nbformat.NotebookNode:
    data = output.get("data", {})
    html = data.get("text/html", "")
    player = re.search(r'<audio.*?base64,([^"]+)"', html, re.DOTALL)
    if link := player and links.get(listen.samples(base64.b64decode(player[1]))):
        output.data = {"text/markdown": f"♪ [{Path(link).name}]({link})", "text/plain": f"({link})"}
    elif "<audio" in html or "application/vnd.jupyter.widget-view+json" in data:
        output.data = {"text/plain": SILENT}
    elif html:
        data["text/html"] = CELL_CLASS.sub("", html)  # a third of a table, and no style asks for them
    if "image/png" in data:
        data["image/png"] = _with_fewer_colours(data["image/png"])
    return output


def _with_fewer_colours(png: str) -> str:
    """A base64 PNG of a plot in 64 colours: a quarter of the size, and no two lines take on one colour."""
    small = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(64, Image.Quantize.FASTOCTREE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
