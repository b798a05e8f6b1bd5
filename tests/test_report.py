"""The report, from run folders made by hand: what it shows, that it escapes and links well, that it plays."""

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

from course_lib import report, results, run

EVIL = "<script>alert('no')</script> \"quoted\" & co"
CAPTION = f"A song {EVIL}"
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
    "music": [{"name": "song", "midi": "song.mid", "ogg": "song.ogg", "caption": CAPTION, "seconds": 2}],
    "claims": [{"id": "va-leak", "value": 0.25, "detail": None}],
}  # fmt: skip


def make_run(folder: Path, **changes) -> Path:
    """A run folder as a finished run leaves it: result, executed notebook with a figure, a piece of music."""
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
    prose = f"## 4. Training {EVIL}\n\nThe **loss** falls, see [the paper](paper.pdf)."
    cells = [nbformat.v4.new_markdown_cell(prose), nbformat.v4.new_code_cell("draw()", outputs=[figure])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "02_lstm_next_note.ipynb")
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
    return Page(report.write(roots, target or roots[0] / "index.html"))


def test_one_run_is_shown_with_all_it_left(tmp_path):
    make_run(tmp_path / "02_lstm_next_note" / "seed=0,architecture=a%2Fb c")
    page = write(tmp_path)
    assert "profile = quick, seed = 0, data = embedded, architecture = lstm_1" in page.text
    assert "84 s. Peak memory 1234 MiB. CPU: a small one." in page.text
    assert "pitch class entropy 2.5 (2.25 to 2.75) 2.875 0.625" in page.text
    (audio,) = page.all("audio")
    assert audio["preload"] == "metadata" and "controls" in audio and audio["aria-label"] == CAPTION
    roll, figure = page.all("img")
    assert roll["alt"] == f"Piano roll: {CAPTION}" and int(roll["width"] or 0) > 300
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
    links = [str(element.get("href") or element.get("src")) for element in page.all("a", "img", "audio")]
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
        tmp_path / "run",
        notebook=EVIL,
        device=EVIL,
        parameters=RESULT["parameters"] | {EVIL: EVIL},
        comparison=[RESULT["comparison"][0] | {"measure": EVIL}],
        measures={EVIL: EVIL},
    )
    make_run(tmp_path / "failed").joinpath("error.txt").write_text(f"ValueError: {EVIL}\n")
    page = write(tmp_path)
    assert "<script" not in (tmp_path / "index.html").read_text()
    assert f"Failed: ValueError: {EVIL}" in page.text and page.text.count(EVIL) > 8


def test_a_failed_and_an_unfinished_run_are_shown_as_such(tmp_path):
    failed = make_run(tmp_path / "failed")
    (failed / "result.json").unlink()
    (failed / "error.txt").write_text("ValueError: No song is long enough.\n")
    stopped = make_run(tmp_path / "stopped")
    (stopped / "result.json").unlink()
    (stopped / "02_lstm_next_note.ipynb").rename(stopped / "02_lstm_next_note.partial.ipynb")
    page = write(tmp_path)
    assert "02_lstm_next_note 2 of 2 not complete" in page.text
    assert "Failed: ValueError: No song is long enough." in page.text and "Not finished" in page.text
    assert len(page.all("article")) == 2 and len(page.all("audio")) == 0 and len(page.all("img")) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"notebook": "02_lst'])
def test_a_damaged_result_is_named_and_the_others_shown(content, tmp_path):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "bad") / "result.json").write_text(content)
    with pytest.warns(UserWarning, match="bad/result.json is damaged"):
        page = write(tmp_path)
    assert "Failed: result.json is damaged: run the notebook again." in page.text
    assert len(page.all("article")) == 2 and len(page.all("audio")) == 1


def test_a_result_with_gaps_and_missing_files_is_shown(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "song.ogg").unlink()
    (folder / "song.mid").write_bytes(b"not MIDI")
    (folder / "result.json").write_text(json.dumps({"notebook": "02", "music": RESULT["music"] + [{}]}))
    with pytest.warns(UserWarning, match="No piano roll of|is damaged"):
        page = write(tmp_path)
    assert page.text.count("No sound file was written.") == 2 and "Peak memory – MiB" in page.text


def test_a_smoke_run_is_shown_and_does_not_count(tmp_path):
    make_run(tmp_path / "run", smoke=True)
    page = write(tmp_path)
    assert "Smoke run: training was cut" in page.text and f"{len(results.claims())} not run." in page.text


def test_the_scoreboard_words_its_verdicts(tmp_path):
    listeners = next(claim for claim in results.claims().values() if claim.listeners)
    spread = [{"id": "va-leak", "value": 0.5}, {"id": listeners.id, "value": 0.375}]
    for seed, claims in enumerate(([{"id": "va-leak", "value": -0.5}], spread)):
        make_run(tmp_path / f"seed={seed}", parameters=RESULT["parameters"] | {"seed": seed}, claims=claims)
    page = write(tmp_path)
    assert f"{len(results.claims()) - 2} not run." in page.text
    assert "1 inconclusive, 1 needs listeners" in page.text
    text = re.sub("How it is judged Measure: .*? Line: .{1,900}? (?=inconclusive|needs)", "", page.text)
    assert "proxy: 0.375 needs listeners 1 in the quick profile, CPU: a small one run 1" in text
    assert "0 (-6.353 to 6.353) inconclusive the interval over seeds spans the line" in text
    links = [link["href"] for link in page.all("a") if "va-leak" in (link.get("aria-label") or "")]
    assert links == ["#run-1", "#run-2"]
    classes = [element["class"] for element in page.all("span")]
    assert classes[:2] == ["verdict unsure"] * 2


def test_a_report_made_again_is_the_same_and_old_pictures_go(tmp_path):
    folder = make_run(tmp_path / "run")
    write(tmp_path)
    pictures = {path.name: path.stat().st_size for path in (tmp_path / "index_files").iterdir()}
    write(tmp_path)
    assert {path.name: path.stat().st_size for path in (tmp_path / "index_files").iterdir()} == pictures
    assert len(pictures) == 2 and not list(tmp_path.glob("*.tmp"))
    (folder / "02_lstm_next_note.ipynb").unlink()
    write(tmp_path)
    assert len(list((tmp_path / "index_files").iterdir())) == 1


def test_report_merges_folders_into_the_one_that_holds_them(tmp_path, capsys):
    make_run(tmp_path / "one" / "02_lstm_next_note")
    make_run(tmp_path / "two" / "02_lstm_next_note")
    assert run.main(["report", f"{tmp_path}/one", f"{tmp_path}/two"]) == 0
    assert capsys.readouterr().out == f"Report      {tmp_path / 'index.html'}\n"
    assert len(Page(tmp_path / "index.html").all("article")) == 2
    assert run.main(["report", f"{tmp_path}/one", "--out", f"{tmp_path}/new/page.html"]) == 0
    assert len(Page(tmp_path / "new" / "page.html").all("article")) == 1


def test_durations_and_numbers_in_words():
    seconds = (0.94, 59.6, 119, 125, 3600 * 3 + 61)
    words = ["0.9 s", "60 s", "119 s", "2 min 5 s", "3 h 1 min"]
    assert [report.duration(value) for value in seconds] == words
    numbers = (0.123456, 12345.6, 7, None, float("nan"))
    assert [report.number(value) for value in numbers] == ["0.1235", "12,346", "7", "–", "–"]


# Runs before anything of the page loads; leaves what it saw in the page that --dump-dom prints.
PROBE = """<script>
const problems = [];
addEventListener("error", event => problems.push(event.message || event.target.outerHTML), true);
addEventListener("load", async () => {
  const wait = (element, name) =>
    new Promise(done => [name, "error"].forEach(event => element.addEventListener(event, done)));
  const images = [...document.images], players = [...document.querySelectorAll("audio")];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map(image => image.complete || wait(image, "load")));
  await Promise.all(players.map(player => player.error || player.duration || wait(player, "loadedmetadata")));
  const probe = document.createElement("pre");
  probe.id = "probe";
  probe.textContent = JSON.stringify({problems, width: innerWidth, page: document.documentElement.scrollWidth,
    durations: players.map(player => player.duration), widths: images.map(image => image.naturalWidth)});
  document.body.append(probe);
});
</script>"""


@pytest.mark.parametrize("width", [500, 1200])  # the least that Chromium takes, and a screen
def test_the_page_plays_in_chromium_without_an_error(width, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser to open the report in: none of {', '.join(names)} is on the PATH")
    make_run(tmp_path / "02_lstm_next_note" / "seed=0,architecture=a%2Fb c")
    make_run(tmp_path / "02_lstm_next_note" / "seed=1")
    write(tmp_path)
    page = tmp_path / "index.html"
    page.write_text(page.read_text().replace("<head>", f"<head>{PROBE}"))
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom "
        f"--virtual-time-budget=20000 --window-size={width},2000 --user-data-dir={tmp_path / 'profile'}"
    )
    command = [browser, *flags.split(), page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    seen = json.loads(found[1])
    assert ":CONSOLE" not in done.stderr and seen["problems"] == []
    assert len(seen["durations"]) == 2 and all(duration > 0.9 for duration in seen["durations"])
    assert len(seen["widths"]) == 4 and all(seen["widths"])
    assert seen["page"] <= seen["width"] == width, "the page must not scroll sideways"
