"""Time VAEs trained with freed memory given back to the system, as glibc does it, and kept (`execute.ALLOCATOR`).

What is gained depends on what the process did before, so it is notebook 09 as far as its VAEs.
"""

import argparse
import re
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import nbformat

from course_lib.lab import execute, plan

LAST_CELL = "cell-27"  # trains the five VAEs


def main() -> float:
    """Print the seconds of an epoch both ways, and return how many times faster it is with memory kept."""
    kept, took = execute.ALLOCATOR, {}
    with tempfile.TemporaryDirectory() as temporary:
        try:
            for name, allocator in {"given back": {}, "kept": kept}.items():
                execute.ALLOCATOR = allocator
                took[name] = _epoch(Path(temporary) / name)
        finally:
            execute.ALLOCATOR = kept
    faster = took["given back"] / took["kept"]
    print(
        f"an epoch of a VAE of 09: {took['given back']:.1f} s with freed memory given back, {took['kept']:.1f} s with "
        f"it kept: {faster:.1f} times faster"
    )
    return faster


def _epoch(out: Path) -> float:
    """Median seconds of the piano's epochs after the first."""
    asked = {"notebooks": ["09"], "profile": "quick", "seed": [0], "data": "embedded", "parameter": [], "yes": False}
    shorter = [["epochs", "4"], ["other_epochs", "1"]]
    [job] = plan.plan(argparse.Namespace(**asked, setting=shorter), out)
    notebook = nbformat.read(job.notebook, as_version=4)
    last = [cell.id for cell in notebook.cells].index(LAST_CELL)
    notebook.cells = notebook.cells[: last + 1]
    out.mkdir()
    nbformat.write(notebook, out / job.notebook.name)
    with (out / "output.log").open("w", encoding="utf-8") as output:
        if error := execute.execute(replace(job, notebook=out / job.notebook.name), output):
            raise RuntimeError(error)
    seconds = re.findall(r"^epoch \d/4 .* ([\d.]+) s$", (out / "output.log").read_text(encoding="utf-8"), re.MULTILINE)
    return statistics.median(map(float, seconds[1:4]))


if __name__ == "__main__":
    main()
