"""The report, from run folders made by hand: what it shows, that it escapes and links well, that it plays."""

import base64
import copy
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
import soundfile
import symusic

from course_lib import results, run

EVIL = "<script>alert('no')</script> \"quoted\" & co"
# One white pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
RESULT = {
    "notebook": "02_lstm_next_note",
    "status": "complete",
    "smoke": False,
    "parameters": {"profile": "quick", "seed": 0, "data": "embedded", "architecture": "lstm_1"},
    "backend": "tensorflow",
    "device": "CPU: a small one",
    "versions": {"python": "3.11.7"},
    "git_commit": None,
    "data_fingerprint": "0123",
    "started": "2026-01-01T00:00:00.000+00:00",
    "seconds": 84.2,
    "peak_memory_mib": 1234.5,
    "measures": {"accuracy": {"train": 0.9, "test": 0.6}},
    "comparison": [
        {"measure": "pitch_class_entropy", "generated": 2.5, "generated_low": 2.25, "generated_high": 2.75,
         "real": 2.875, "real_low": None, "real_high": None, "overlap": 0.625}
    ],
    "music": [{"name": "song", "midi": "song.mid", "ogg": "song.ogg", "caption": f"A song {EVIL}", "seconds": 2}],
    "claims": [{"id": "va-leak", "value": 0.25, "detail": None}],
}  # fmt: skip


def make_run(folder: Path, **changes) -> Path:
    """A run folder as a finished run leaves it: result, executed notebook with a figure, one piece of music."""
    folder.mkdir(parents=True)
    result = copy.deepcopy(RESULT) | changes
    (folder / "result.json").write_text(json.dumps(result))
    score = symusic.Score(480)
    score.tracks.append(symusic.Track(program=0))
    for beat, pitch in enumerate((60, 64, 67, 72)):
        score.tracks[0].notes.append(symusic.Note(beat * 480, 480, pitch, 80))
    score.dump_midi(folder / "song.mid")
    soundfile.write(folder / "song.ogg", np.sin(np.arange(44_100) / 20)[:, None] * [0.3, 0.3], 44_100)
    figure = nbformat.v4.new_output("display_data", {"image/png": PNG})
    cells = [
        nbformat.v4.new_markdown_cell(f"## 4. Training {EVIL}\n\nThe **loss** falls, see [the paper](paper.pdf)."),
        nbformat.v4.new_code_cell("draw()", outputs=[figure]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{result['notebook']}.ipynb")
    return folder


class Page(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text = f"{self.text} {' '.join(data.split())}".strip()

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def write(*roots: Path, target: Path | None = None) -> Page:
    return Page(run.write_report(roots, target or roots[0] / "index.html"))


def test_one_run_is_shown_with_all_it_left(tmp_path):
    make_run(tmp_path / "02_lstm_next_note" / "seed=0,architecture=a%2Fb c")
    page = write(tmp_path)
    assert "profile = quick , seed = 0 , data = embedded , architecture = lstm_1" in page.text
    assert "84 s. Peak memory 1234 MiB. CPU: a small one." in page.text
    assert "pitch class entropy 2.5 (2.25 to 2.75) 2.875 0.625" in page.text
    (audio,) = page.all("audio")
    assert audio["preload"] == "metadata" and "controls" in audio and audio["aria-label"] == f"A song {EVIL}"
    roll, figure = page.all("img")
    assert roll["alt"] == f"Piano roll: A song {EVIL}" and int(roll["width"] or 0) > 300
    assert figure["alt"] == f"4. Training {EVIL}. The loss falls, see the paper."
    assert all(image["loading"] == "lazy" for image in (roll, figure))
    assert [link["href"] for link in page.all("a") if "download" in link] == [
        "02_lstm_next_note/seed%3D0%2Carchitecture%3Da%252Fb%20c/song.mid",
        "02_lstm_next_note/seed%3D0%2Carchitecture%3Da%252Fb%20c/song.ogg",
    ]


def test_every_link_is_relative_and_leads_somewhere(tmp_path):
    make_run(tmp_path / "one" / "02_lstm_next_note" / "architecture=a#b?c:d")
    make_run(tmp_path / "two" / "02_lstm_next_note", claims=[])
    target = tmp_path / "pages" / "both.html"
    page = write(tmp_path / "one", tmp_path / "two", target=target)
    links = [str(a.get("href") or a.get("src")) for a in page.all("a", "img", "audio", "link") if a.get("href") != "data:,"]
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert len(links) > 10
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert not re.match(r"[a-z]+:|/", link) and (target.parent / unquote(link)).is_file(), link
    assert not page.all("script") and "@import" not in target.read_text() and "url(" not in target.read_text()


def test_everything_is_escaped(tmp_path):
    make_run(
        tmp_path / "a",
        notebook=EVIL,
        device=EVIL,
        parameters=RESULT["parameters"] | {EVIL: EVIL},
        comparison=[RESULT["comparison"][0] | {"measure": EVIL}],
        measures={EVIL: EVIL},
    ) if False else make_evil(tmp_path / "a")
    page = write(tmp_path)
    assert not page.all("script") and EVIL in page.text
    assert "<script" not in (tmp_path / "index.html").read_text()


def make_evil(folder: Path) -> None:
    parameters = RESULT["parameters"] | {EVIL: EVIL}
    comparison = [RESULT["comparison"][0] | {"measure": EVIL}]
    make_run(folder, device=EVIL, parameters=parameters, comparison=comparison, measures={EVIL: EVIL})
    (folder / "result.json").write_text((folder / "result.json").read_text().replace("02_lstm", "02_<script>"))
