"""What the site is made of, before Sphinx reads it."""

import argparse
import base64

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib import UsageError, cli, files
from course_lib.course import site
from course_lib.lab import committed, record

NOTEBOOK = files.ROOT / "notebooks" / "00_start_here.ipynb"
OGG = next((files.ROOT / "results" / "sound").rglob("*.ogg")).read_bytes()


def player(ogg: bytes) -> str:
    return (
        f'<p>Before</p><audio controls><source src="data:audio/ogg;base64,{base64.b64encode(ogg).decode()}"/></audio>'
    )


def shown(**data) -> nbformat.NotebookNode:
    return new_output("display_data", {name.replace("_", "/"): value for name, value in data.items()})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of notebook 00 that has a player, a widget and a complaint among its outputs."""
    folder = tmp_path / "runs" / NOTEBOOK.stem
    monkeypatch.setenv("COURSE_OUT", str(folder))
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    record.start(NOTEBOOK.stem, "night", 7, "embedded").finish()
    widget = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Slider()"})
    outputs = [shown(text_html=player(OGG)), widget, new_output("stream", name="stderr", text="a complaint")]
    cells = [new_markdown_cell("# 00 · A title"), new_code_cell("1 + 1", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), folder / NOTEBOOK.name)
    return tmp_path / "runs"


def test_a_link_to_a_clip_becomes_a_player_and_other_links_stay():
    text = site.with_players("Hear ♪ [a.ogg](../results/sound/x/a.ogg) and see [this](b.md).")
    assert '<audio controls preload="metadata" aria-label="a.ogg" src="../results/sound/x/a.ogg"></audio>' in text
    assert text.startswith("Hear <audio") and text.endswith(" and see [this](b.md).")


def test_parts_of_a_lesson_move_down_and_code_does_not():
    sources = ["# Title", "## 1 First", "# Part", "## 2 Second\n\nNo # heading", "### Deeper"]
    lesson = new_notebook(cells=[*map(new_markdown_cell, sources), new_code_cell("# a comment")])
    site.one_title(lesson)
    down = ["# Title", "## 1 First", "## Part", "### 2 Second\n\nNo # heading", "#### Deeper", "# a comment"]
    assert [cell.source for cell in lesson.cells] == down


def test_a_chapter_of_a_run_has_its_sound_in_a_file_and_no_widget(run, tmp_path):
    site.write_chapter(tmp_path, NOTEBOOK, run)
    head, about, code = nbformat.read(tmp_path / "notebooks" / NOTEBOOK.name, as_version=4).cells
    sound, widget = code.outputs
    assert (tmp_path / "served" / "sound" / NOTEBOOK.stem / "01.ogg").read_bytes() == OGG
    assert 'src="../sound/00_start_here/01.ogg"' in sound.data["text/markdown"] and "text/html" not in sound.data
    assert widget.data == {"text/plain": committed.SILENT}
    assert "night, seed 7, on embedded" in about.source and f"../downloads/student/{NOTEBOOK.name}" in about.source


def test_without_a_run_of_it_a_chapter_is_the_committed_notebook(tmp_path):
    site.write_chapter(tmp_path, NOTEBOOK, tmp_path)
    chapter = nbformat.read(tmp_path / "notebooks" / NOTEBOOK.name, as_version=4)
    assert len(chapter.cells) == len(nbformat.read(NOTEBOOK, as_version=4).cells) + 1
    assert "quick, as committed" in chapter.cells[1].source


def test_every_page_links_to_what_the_site_has(tmp_path):
    site.write_pages(tmp_path, [NOTEBOOK])
    page = (tmp_path / "index.md").read_text()
    assert "../" not in page and "](notebooks/00_start_here.ipynb)" in page
    assert (tmp_path / "results" / "piano_roll.png").exists() and (tmp_path / "guide" / "00.md").exists()
    assert (tmp_path / "served" / "results" / "sound" / "10_gan" / "eight_samples.ogg").exists()


def test_no_page_of_docs_is_left_out_of_the_contents():
    contents = (files.ROOT / "docs" / "index.md").read_text().split()
    assert {page.stem for page in (files.ROOT / "docs").glob("*.md")} - set(contents) == {"index"}


@pytest.mark.parametrize("run", ["nowhere", "."])
def test_a_run_that_is_none_is_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["course", "site", "--run", run]) == 2
    assert "holds no executed notebook" in capsys.readouterr().err and not (tmp_path / "site").exists()


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match="holds other things than a site"):
        site.make(argparse.Namespace(run=None, out=str(tmp_path)))
    assert (tmp_path / "thesis.txt").exists()
