"""The committed copies of the notebooks: executed and cleaned."""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
from PIL import Image

from course_lib import files
from course_lib.lab import plan, run


def refresh(args: argparse.Namespace) -> int:
    """Execute the notebooks with their own parameters and replace them by clean copies, all or none."""
    notebooks = plan.chosen(args.notebooks)
    with tempfile.TemporaryDirectory() as out:
        jobs = [plan.Job(notebook, {}, Path(out) / notebook.stem, notebook.stem) for notebook in notebooks]
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
