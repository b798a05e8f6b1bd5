"""The course as a web site: the notebooks as chapters with players, and the pages of `docs/` around them.

Sphinx builds it, with the settings of `docs/conf.py`, from a folder that is made for it: the pages, and each notebook
as it was executed. Nothing is executed here, and nothing is fetched.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_lib import UsageError, files
from course_lib.course import editions
from course_lib.lab import committed, plan, record

HEARD = re.compile(r"♪ \[([^]]+)\]\(([^)]+\.ogg)\)")  # what stands in place of a player in a committed notebook
SOUND = re.compile(r'<audio.*?base64,([^"]+)".*?</audio>', re.DOTALL)  # a player with its sound inside
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")  # a link from a page or a notebook to another folder


def make(args: argparse.Namespace) -> int:
    """`course site`: build the site into `args.out`."""
    run = Path(args.run) if args.run else None
    if run and not any(run.glob("*/**/*.ipynb")):
        raise UsageError(f"'{run}' holds no executed notebook: give a folder that `run` has written.")
    out = Path(args.out).resolve()
    if out.exists() and not (out / ".buildinfo").exists() and any(out.iterdir()):
        raise UsageError(f"'{args.out}' holds other things than a site, and would be replaced: choose another --out.")
    status = build(out, run)
    if status == 0:
        print(f"Site        {out / 'index.html'}")
    return status


def build(out: Path, run: Path | None = None) -> int:
    """Build the site into `out`; return the exit status of Sphinx.

    A chapter shows its lesson as executed in the folder `run`, where that has it, else as committed.
    """
    from sphinx.cmd.build import build_main  # slow to import

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        notebooks = plan.chosen([])
        write_pages(source, notebooks)
        for notebook in notebooks:
            write_chapter(source, notebook, run)
        write_downloads(source / "served" / "downloads", notebooks)
        shutil.rmtree(out, ignore_errors=True)  # what was removed from the course must not stay there
        return build_main(["-q", "-W", "--keep-going", "-d", f"{folder}/.doctrees", folder, str(out)])


def write_pages(source: Path, notebooks: Sequence[Path]) -> None:
    """Put the pages of `docs/` into the folder `source`, with the guide to some notebooks and the committed clips."""
    shutil.copytree(files.ROOT / "docs", source, dirs_exist_ok=True)
    shutil.copytree(files.ROOT / committed.SOUND, source / "served" / committed.SOUND)
    for page in source.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        bring_what_is_linked(text, source)
        page.write_text(with_players(OUTSIDE.sub(r"](\1", text)), encoding="utf-8")
    for notebook in notebooks:
        (source / "guide" / f"{notebook.stem[:2]}.md").write_text(editions.guide(notebook), encoding="utf-8")


def write_chapter(source: Path, notebook: Path, run: Path | None = None) -> None:
    """Put a lesson as executed into the folder `source`."""
    executed = next(iter(sorted((run / notebook.stem).rglob(notebook.name))), None) if run else None
    lesson = nbformat.read(executed or notebook, as_version=4)
    if executed:
        take_out_sounds(lesson, source / "served" / "sound" / notebook.stem)
        lesson = committed.clean(lesson)
    one_title(lesson)
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            bring_what_is_linked(cell.source, source)
            cell.source = with_players(cell.source)
        for output in cell.get("outputs", []):
            if markdown := output.get("data", {}).get("text/markdown"):
                bring_what_is_linked(markdown, source)
                output.data["text/markdown"] = with_players(markdown)
    lesson.cells.insert(1, new_markdown_cell(about(notebook, executed)))
    target = source / "notebooks" / notebook.name
    target.parent.mkdir(exist_ok=True)
    nbformat.write(lesson, target)


def write_downloads(folder: Path, notebooks: Sequence[Path]) -> None:
    """Put the notebooks as committed, and their student editions, into a folder."""
    (folder / "student").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for notebook, student in zip(notebooks, editions.release(notebooks, Path(scratch)), strict=True):
            shutil.copy(notebook, folder)
            shutil.copy(student, folder / "student")


def about(notebook: Path, executed: Path | None) -> str:
    """What stands under the head of a chapter: downloads, and which run its outputs are of."""
    found = record.find(executed.parent) if executed else None
    of = f"{found.profile}, seed {found.seed}, on {found.data.name}" if found else "quick, as committed"
    name = notebook.name
    return (
        f'<p class="downloads">Download: <a href="../downloads/{name}" download>this notebook</a> · '
        f'<a href="../downloads/student/{name}" download>its student edition</a> (without solutions and answers). '
        f"It shows a run of {of}.</p>"
    )


def bring_what_is_linked(text: str, source: Path) -> None:
    """Copy the files of other folders that a text links to, so that Sphinx finds and serves them."""
    for name in OUTSIDE.findall(text):
        file = files.ROOT / name
        if file.is_file() and file.suffix not in (".ipynb", ".ogg"):  # those are there already
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, source / name)


def with_players(text: str) -> str:
    """A text in which each link to a clip (♪) is a player and a link."""
    return HEARD.sub(
        r'<audio controls preload="metadata" aria-label="\1" src="\2"></audio> <a href="\2" download>\1</a>', text
    )


def take_out_sounds(lesson: NotebookNode, folder: Path) -> None:
    """Write the sounds inside the players of an executed notebook into a folder; links (♪) stand in their place."""
    folder.mkdir(parents=True)
    for cell in lesson.cells:
        for output in cell.get("outputs", []):
            if player := SOUND.search(output.get("data", {}).get("text/html", "")):
                ogg = folder / f"{len(list(folder.iterdir())) + 1:02}.ogg"
                ogg.write_bytes(base64.b64decode(player[1]))
                output.data = {"text/markdown": f"♪ [{ogg.name}](../sound/{folder.name}/{ogg.name})"}


def one_title(lesson: NotebookNode) -> None:
    """Move the parts of a lesson (a second `#`) one level down, with all under them, as a page has one title."""
    down = ""
    for cell in lesson.cells[1:]:
        if cell.cell_type == "markdown":
            down = "#" if cell.source.startswith("# ") else down
            cell.source = re.sub("^(?=#+ )", down, cell.source, flags=re.MULTILINE)
