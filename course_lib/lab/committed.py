"""The committed copies of the notebooks: executed and cleaned."""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image

from course_lib import files
from course_lib.lab import plan, run


def update(args: argparse.Namespace) -> int:
    """Execute the notebooks with their own parameters and replace them by clean copies, all or none."""
    notebooks = plan.chosen(args.notebooks)
    with tempfile.TemporaryDirectory() as out:
        jobs = [plan.Job(notebook, Path(out) / notebook.stem, notebook.stem) for notebook in notebooks]
        if failed := run.execute_all(jobs):
            print("No notebook was replaced:", *failed, sep="\n", file=sys.stderr)
            return 1
        cleaned = {job.notebook: nbformat.writes(clean(nbformat.read(job.executed, 4))) + "\n" for job in jobs}
    for notebook, text in cleaned.items():
        with files.atomic_write(notebook) as partial:
            partial.write_text(text, encoding="utf-8")
        print(f"{notebook.name}: {len(text) // 1024} KiB")
    return 0


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook as it is committed: no sound, widget state or stderr, and lines printed as one output."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "nbgrader") if cell.metadata.get(key)}
        if cell.cell_type == "code":
            cell.outputs = [_without_sound(output) for output in cell.outputs if output.get("name") != "stderr"]
            # nbclient's own coalesce_streams would move what is printed after a figure before it.
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
    return notebook


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
