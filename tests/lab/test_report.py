"""The report, from run folders made by hand: what it shows, that it escapes and links well, that it plays."""

import copy
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
import soundfile
import symusic

from course_lib import cli
from course_lib.lab import board, compare, pictures, report, scoreboard
from course_lib.lab import claims as rules

EVIL = "<script>alert('no')</script> \"quoted\" & co"
CAPTION = f"A song {EVIL}"
# One white pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
PIECE = {"name": "song", "midi": "song.mid", "ogg": "song.ogg", "caption": CAPTION, "seconds": 2}
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
    "music": [PIECE],
    "claims": [{"id": "va-overlap", "value": 0.25, "detail": None}],
    "baselines": [
        {"network": "LSTM", "figure": "NLL, nats a note", "value": 1.5, "best": "class frequencies",
         "baselines": {"class frequencies": 3.0}, "beaten": True}
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    """The committed results: none, until a test gives some."""
    found: list = []
    monkeypatch.setattr(scoreboard, "committed", lambda: found)
    return found


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


def claim_rows(page: Page) -> list[dict[str, str | None]]:
    return [row for row in page.all("tr") if "data-verdict" in row]


def cells(page: Path, id: str) -> dict[str, str]:
    """The cells of a claim's row by heading, without how it is judged."""
    [row] = re.findall(rf"<tr data-paper(?:(?!<tr).)*?<small>{id}, notebook.*?</tr>", page.read_text(), re.DOTALL)
    row = re.sub("<details>.*?</details>", "", row, flags=re.DOTALL)
    found = re.findall(r'<td data-title="(.*?)">(.*?)</td>', row, re.DOTALL)
    return {title: " ".join(re.sub("<.*?>", " ", text).split()) for title, text in found}


def write(*roots: Path, target: Path | None = None) -> Page:
    return Page(report.write(roots, target or roots[0] / "index.html"))


def test_one_run_is_shown_with_all_it_left(tmp_path):
    make_run(tmp_path / "02_lstm_next_note" / "seed=0,architecture=a%2Fb c")
    page = write(tmp_path)
    assert "profile = quick, seed = 0, data = embedded, architecture = lstm_1" in page.text
    assert "84 s. Peak memory 1,234 MiB. CPU: a small one." in page.text
    assert "pitch class entropy 2.5 (2.25 to 2.75) 2.88 0.625" in page.text
    assert "LSTM NLL, nats a note 1.5 3 (class frequencies) yes" in page.text
    first, audio = page.all("audio")
    assert first["aria-label"] == CAPTION and audio["preload"] == "none"
    assert "controls" in audio and audio["aria-label"] == CAPTION
    everything, roll, figure = page.all("img")
    assert everything["alt"] == board.ALT and everything["loading"] == "eager"
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
    assert page.all("script") == [{}] and "@import" not in target.read_text() and "url(" not in target.read_text()


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
    assert (tmp_path / "index.html").read_text().count("<script") == 1
    assert f"Failed: ValueError: {EVIL}" in page.text and page.text.count(EVIL) > 8


def test_a_failed_and_an_unfinished_run_are_shown_as_such(tmp_path):
    failed = make_run(tmp_path / "failed")
    (failed / "result.json").unlink()
    (failed / "error.txt").write_text("ValueError: No song is long enough.\n")
    stopped = make_run(tmp_path / "stopped")
    (stopped / "result.json").unlink()
    (stopped / "02_lstm_next_note.ipynb").rename(stopped / "02_lstm_next_note.partial.ipynb")
    page = write(tmp_path)
    assert "02_lstm_next_note: 2 of 2 not complete." in page.text
    assert "Failed: ValueError: No song is long enough." in page.text and "Not finished" in page.text
    assert len(page.all("article")) == 2 and len(page.all("audio")) == 0 and len(page.all("img")) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"notebook": "02_lst'])
def test_a_damaged_result_is_named_and_the_others_shown(content, tmp_path):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "bad") / "result.json").write_text(content)
    with pytest.warns(UserWarning, match="bad/result.json is damaged"):
        page = write(tmp_path)
    assert "Failed: result.json is damaged: run the notebook again." in page.text
    assert len(page.all("article")) == 2 and len(page.all("audio")) == 2  # at the head and in its article


def test_missing_files_are_told_and_there_is_no_roll_of_drums_or_damage(tmp_path, recwarn):
    folder = make_run(tmp_path / "run", music=[PIECE, PIECE | {"ogg": None}, PIECE | {"midi": "none.mid"}])
    (folder / "song.ogg").unlink()
    drums = symusic.Score(480)
    drums.tracks.append(symusic.Track(is_drum=True))
    drums.tracks[0].notes.append(symusic.Note(0, 480, 36, 80))
    for content in (drums.dumps_midi(), symusic.Score(480).dumps_midi(), b"not MIDI"):
        (folder / "song.mid").write_bytes(content)
        page = write(tmp_path)
        assert page.text.count("No sound file was written.") == 3
        assert [image for image in page.all("img") if "Piano roll" in str(image["alt"])] == []
        assert len([link for link in page.all("a") if "download" in link]) == 2
    assert len(recwarn) == 0


def test_changed_settings_are_shown(tmp_path):
    changed = {"form": 2, "data": {"name": "embedded"}, "commit": None, "changed": {"epochs": 3}}
    make_run(tmp_path / "run", **changed)
    assert "data = embedded, architecture = lstm_1, epochs = 3" in write(tmp_path).text


def test_a_smoke_run_is_shown_and_does_not_count(tmp_path):
    make_run(tmp_path / "run", smoke=True)
    page = write(tmp_path)
    assert "Smoke run: training was cut" in page.text and not [
        title for title in page.all("td") if title["data-title"] == "This run"
    ]


def test_the_page_opens_with_what_was_found_what_is_heard_and_the_picture(tmp_path, systems):
    folder = make_run(tmp_path / "run")
    systems["piano"] = [system("one", piece=folder / "song.mid", folder=str(folder))]
    page = write(tmp_path)
    text = page.text
    told = list(scoreboard.sentences(scoreboard.rows([])).values())
    places = [text.index(part) for part in (*told, "What the systems sound like", "Every claim in one picture")]
    assert places == sorted(places)
    folded = (tmp_path / "index.html").read_text().index("<details")
    assert (tmp_path / "index.html").read_text().index("<audio") < folded
    assert "A verdict takes runs of the night or the paper profile, so there is none yet." in text
    assert len([link for link in page.all("details") if "open" in link]) == 1, "the only notebook's pieces are in sight"
    [section] = re.findall("<main.*?</main>", (tmp_path / "index.html").read_text(), re.DOTALL)
    opening, _, rest = section.partition("<details")
    assert "<table" not in opening and "<article" not in opening and "<article" in rest


def test_the_board_is_of_the_committed_results_and_the_run_stands_beside_it(tmp_path, committed):
    listeners = next(claim for claim in rules.claims().values() if claim.listeners)
    spread = [{"id": "va-overlap", "value": 0.5}, {"id": listeners.id, "value": 0.375}]
    unlearned = [{"id": "va-overlap", "value": 0.0}, {"id": "tk-gru-rhythm", "value": 0.0625}]
    for seed, measured in enumerate(([{"id": "va-overlap", "value": -0.5}], spread, unlearned)):
        parameters = RESULT["parameters"] | {"seed": seed, "profile": "night"}
        make_run(tmp_path / "runs" / f"seed={seed}", parameters=parameters, claims=measured)
    write(tmp_path / "runs")
    page = tmp_path / "runs" / "index.html"
    assert cells(page, "va-overlap")["Measured"] == "–"
    assert cells(page, "va-overlap")["Verdict"] == "○ not run no run has measured it; our own question"
    beside = "0 (-1.24 to 1.24) accuracy, night profile: ◆ inconclusive (the interval over seeds spans the line)"
    assert cells(page, "va-overlap")["This run"] == f"{beside} run 1 run 2 run 3"
    alone = "0.0625 share of real entropy, night profile: no verdict (1 of 3 seeds) run 1"
    assert cells(page, "tk-gru-rhythm")["This run"] == alone
    assert cells(page, listeners.id)["This run"].startswith("proxy: 0.375 ")

    committed += [run for run in report.collect([tmp_path / "runs"])]
    [other] = [make_run(tmp_path / "other", parameters=RESULT["parameters"] | {"profile": "night"})]
    write(other)
    board = cells(other / "index.html", "va-overlap")
    assert (board["Measured"], board["Seeds"]) == ("0 (-1.24 to 1.24) accuracy", "0, 1, 2")
    assert board["This run"] == "0.25 accuracy, night profile: no verdict (1 of 3 seeds) run 1"
    assert "3 runs of night." in Page(other / "index.html").text


def test_every_claim_has_a_row_and_nothing_missing_is_hidden(tmp_path, committed):
    verdicts = {"va-train": "not run", "va-overlap": "reproduced", "tk-gru-rhythm": "not learned"}
    for seed in range(3):
        parameters = RESULT["parameters"] | {"seed": seed, "profile": "night"}
        make_run(tmp_path / f"{seed}", parameters=parameters, claims=[{"id": id, "value": 0.25} for id in verdicts])
    committed += report.collect([tmp_path])
    page = write(tmp_path)
    usual = {claim.id: "needs listeners" if claim.listeners else "not run" for claim in rules.claims().values()}
    expected = [(rules.claims()[id].paper, verdict) for id, verdict in (usual | verdicts).items()]
    assert sorted((row["data-paper"], row["data-verdict"]) for row in claim_rows(page)) == sorted(expected)
    assert len([element for element in page.all("table") if element.get("id") == "claims"]) == 1
    shown = cells(tmp_path / "index.html", "va-train")
    assert shown["Measured"] == "0.25 (0.25 to 0.25) accuracy" and shown["Line"] == "at most 0.05"
    assert shown["Verdict"] == "○ not run judged from paper on; the figure is of the night profile"
    assert cells(tmp_path / "index.html", "tk-gru-rhythm")["Verdict"].startswith("✖ not learned no baseline was")
    assert cells(tmp_path / "index.html", "mi-gan-place") == {
        "Published": "text only", "Measured": "–", "Line": "above 0", "Data": "–", "Profile": "–", "Seeds": "–",
        "Verdict": "○ not run no run has measured it",
    } | {"This run": "–"}  # fmt: skip
    assert ("form", {"id": "filter", "aria-label": "Which claims are shown", "hidden": None}) in page.elements
    assert [choice["name"] for choice in page.all("select")] == ["paper", "verdict"]
    options = re.findall("<option>(.*?)</option>", (tmp_path / "index.html").read_text())
    papers = list(dict.fromkeys(claim.paper for claim in rules.claims().values()))
    assert options == [*papers, "needs listeners", "not learned", "not run", "reproduced"]
    for kind in scoreboard.VERDICTS.values():
        assert kind.meaning in page.text


def test_the_table_of_the_scoreboard(tmp_path):
    for seed, value in enumerate((0.21, 0.22, 0.23)):
        parameters = RESULT["parameters"] | {"seed": seed, "profile": "night"}
        measured = [{"id": "va-overlap", "value": value}]
        make_run(tmp_path / "runs" / f"seed={seed}", parameters=parameters, claims=measured, device='one, "two"')
    report.write([tmp_path / "runs"], tmp_path / "pages" / "page.html")
    with (tmp_path / "pages" / "scoreboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    results = {row["id"]: row for row in rows if row["source"] == "results"}
    [row] = [row for row in rows if row["source"] == "here"]
    claim = rules.claims()["va-overlap"]
    assert list(results) == list(rules.claims())
    assert [row[name] for name in ("paper", "claim", "published", "unit")] == [
        *(claim.paper, claim.claim, claim.published, claim.unit),
    ]
    assert float(row["measured"]) == pytest.approx(0.22) and float(row["low"]) < 0.21 < 0.23 < float(row["high"])
    assert [row[name] for name in ("verdict", "profile", "seeds", "rule")] == ["reproduced", "night", "3", "above 0.05"]
    assert (row["device"], row["data"]) == ('one, "two"', "embedded corpus")
    assert row["links"] == "../runs/seed=0; ../runs/seed=1; ../runs/seed=2"
    assert [results["va-overlap"][name] for name in ("measured", "low", "links")] == [""] * 3
    assert results["va-overlap"]["reason"] == "no run has measured it"


def test_runs_of_different_data_are_not_mixed_unless_told_to(tmp_path, capsys):
    for name, seed, fingerprint in (("one/run", 0, "0123"), ("one/run_2", 2, "0123"), ("two/run", 1, "4567")):
        parameters = RESULT["parameters"] | {"seed": seed}
        make_run(tmp_path / name, parameters=parameters, data_fingerprint=fingerprint)
    make_run(tmp_path / "other_notebook", notebook="03_gru_next_note", data_fingerprint="89ab")
    make_run(tmp_path / "other_profile", parameters=RESULT["parameters"] | {"profile": "paper"}, data_fingerprint="x")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["report", f"{tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "Runs of 02_lstm_next_note in the quick profile saw different data, "
        f"{tmp_path}/one/run (fingerprint 0123) and {tmp_path}/two/run (fingerprint 4567): "
        "make one report of each, or add --mix-data to average over both.\n"
    )
    assert sorted(tmp_path.rglob("*")) == before

    assert cli.main(["report", f"{tmp_path}/one", f"{tmp_path}/two", "--mix-data"]) == 0
    page = Page(tmp_path / "index.html")
    top = page.text.index("Different data are mixed: runs of 02_lstm_next_note in the quick profile")
    assert top < page.text.index("What was found")
    assert "the runs averaged differ in data" in cells(tmp_path / "index.html", "va-overlap")["This run"]
    assert cli.main(["report", *(f"{tmp_path}/{name}" for name in ("one", "other_notebook", "other_profile"))]) == 0
    assert "Different data" not in Page(tmp_path / "index.html").text


# ---------------------------------------------------------------- all systems compared


def system(name: str, **given):
    figures = dict.fromkeys((*compare.FIGURES, *compare.PLACE, "low", "high", "piece"))
    figures |= {"overlaps": {}, "folder": "", "profile": "quick", "data": "embedded", "runs": 1}
    return {"system": name, "notebook": "02_lstm_next_note", **figures, **given}


@pytest.fixture
def systems(monkeypatch):
    """What ``compare.systems`` gives; empty lists until a test fills them."""
    found: dict[str, list] = {"piano": [], "band": [], "notes": []}
    monkeypatch.setattr(compare, "systems", lambda runs: found)
    return found


def test_without_systems_the_report_says_so(tmp_path):
    make_run(tmp_path / "run")
    page = write(tmp_path)
    assert "All systems compared No run here recorded systems." in page.text
    assert "What the systems sound like" not in page.text


def test_a_report_without_systems_begins_with_what_the_run_made(tmp_path):
    files = {"midi": "song.mid", "ogg": "song.ogg"}
    later, first = ({"name": name, "caption": f"The {name} piece.", **files} for name in ("later", "first"))
    real = {"name": "real", "caption": "By Mozart.", "real": True, **files}
    folder = make_run(tmp_path / "run", music=[later, real, first | {"first": True}])
    page = write(tmp_path)
    made = page.text[page.text.index("What this run made") : page.text.index("What was found")]
    assert made.strip() == "What this run made The first piece. The later piece."
    (folder / "song.ogg").unlink()
    assert "What this run made" not in write(tmp_path).text


def test_systems_are_set_side_by_side(systems, tmp_path):
    folder = make_run(tmp_path / "run")
    figures = {"parameters": 12_345, "training_seconds": 150.0, "seconds_per_minute": 0.25, "copied_share": 0.125}
    figures |= {"longest_copied_run": 7.5, "overlap": 0.5, "overlaps": {"pitch_range": 0.375, "polyphony": None}}
    figures |= {"place": 0.25, "low": 0.125, "high": 0.375, "floor": 0.1, "ceiling": 0.9}
    systems["piano"] = [
        system(compare.REAL, place=1.0, overlap=0.875, overlaps={"polyphony": 0.875}),
        system(EVIL, folder=str(folder), **figures),
    ]
    systems["notes"] = ["No overlaps for the band."]
    page = write(tmp_path)
    head = (
        "System Profile Data Runs Place Overlap Floor Ceiling Copied Longest copy Parameters Training To make a minute"
    )
    nearest = f"Nearest to real music: {EVIL} 0.25 [0.12, 0.38] (quick), where noise is at 0 and other real music at 1."
    assert f"No overlaps for the band. Piano {nearest} In the mean every system stands nearer than noise." in page.text
    assert f"{head} polyphony pitch range {compare.REAL} quick embedded 1 1 0.875" in page.text
    assert f"{compare.REAL} quick embedded 1 1 0.875 – – – – – – – 0.875 –" in page.text
    figures = "0.25 (0.125 to 0.375) 0.5 0.1 0.9 12.5 % 7.5 12,345 2 min 30 s 0.25 s – 0.375"
    assert f"{EVIL} quick embedded 1 {figures}" in page.text
    (region,) = [element for element in page.all("div") if element.get("class") == "scroll"]
    assert region["tabindex"] == "0" and region["role"] == "region"
    assert [row for row in page.all("tr") if row.get("class") == "reference"] == [{"class": "reference"}]
    assert "systems-band" not in (tmp_path / "index.html").read_text()
    assert "What the systems sound like" not in page.text  # none has a piece


def test_each_system_has_a_player_of_its_first_seconds(systems, tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", music=[])
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 60))
    score.tracks.append(symusic.Track(program=0))
    score.tracks[0].notes.extend(symusic.Note(second * 480, 480, 60, 80) for second in range(5, 40))
    score.dump_midi(folder / "long.mid")
    systems["band"] = [
        system(compare.REAL, piece=folder / "song.mid"),
        system("two", piece=folder / "long.mid", profile="paper", folder=str(folder), place=0.5),
        system("silent", folder=str(folder)),
    ]
    page = write(tmp_path)
    players = page.all("audio")
    assert [player["aria-label"] for player in players] == ["real music", "two, paper profile"]
    assert "Band real music two, paper profile (0.5)" in page.text and players[0]["preload"] == "metadata"
    short, long = (tmp_path / str(player["src"]) for player in players)
    assert short.parent == long.parent == tmp_path / "index_files"
    assert 11.9 < soundfile.info(long).duration < 12.5, "silence before the first note is not heard"
    assert 1.9 < soundfile.info(short).duration < 2.5
    sound, _ = soundfile.read(long)
    assert np.abs(sound[:22_050]).max() > 0.1

    monkeypatch.setattr(pictures.listen, "ogg", lambda score: pytest.fail("was rendered before"))
    write(tmp_path)
    assert short.exists() and long.exists() and not list(tmp_path.rglob("*.tmp"))
    systems["band"] = []
    write(tmp_path)
    assert not short.exists() and not long.exists(), "clips of an earlier report go"


@pytest.mark.parametrize("problem", [ImportError("No module named 'soundfile'"), OSError("sndfile library not found")])
def test_without_a_sound_library_a_sentence_stands_for_the_player(problem, systems, tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", music=[])
    systems["piano"] = [system("one", piece=folder / "song.mid", folder=str(folder))]
    monkeypatch.setattr(pictures.listen, "ogg", lambda score: (_ for _ in ()).throw(problem))
    with pytest.warns(UserWarning, match="No sound of .*song.mid"):
        page = write(tmp_path)
    assert "Piano one No sound could be made." in page.text and page.all("audio") == []


def test_a_damaged_piece_of_a_system_is_named(systems, tmp_path):
    folder = make_run(tmp_path / "run", music=[])
    (folder / "song.mid").write_bytes(b"not MIDI")
    systems["piano"] = [system("one", piece=folder / "song.mid", folder=str(folder))]
    with pytest.warns(UserWarning, match="No sound of .*song.mid"):
        assert "No sound could be made." in write(tmp_path).text


# ---------------------------------------------------------------- files


def test_a_report_made_again_is_the_same_and_old_pictures_go(tmp_path):
    folder = make_run(tmp_path / "run")
    write(tmp_path)
    pictures = {path.name: path.stat().st_size for path in (tmp_path / "index_files").iterdir()}
    write(tmp_path)
    assert {path.name: path.stat().st_size for path in (tmp_path / "index_files").iterdir()} == pictures
    assert len(pictures) == 3 and not list(tmp_path.glob("*.tmp"))
    (folder / "02_lstm_next_note.ipynb").unlink()
    write(tmp_path)
    assert len(list((tmp_path / "index_files").iterdir())) == 2


def test_only_files_of_an_earlier_report_go(tmp_path):
    make_run(tmp_path / "run")
    files = tmp_path / "index_files"
    files.mkdir()
    foreign = {"my_song.ogg", f"{'0' * 20}.mid", f"{'0' * 19}.ogg", f"{'0' * 20}.png.bak", f"x{'0' * 20}.png"}
    own = {f"{'0' * 20}.ogg", f"{'f' * 20}.png"}
    for name in foreign | own:
        (files / name).write_text("mine")
    write(tmp_path)
    left = {path.name for path in files.iterdir()}
    assert foreign <= left and not own & left and len(left - foreign) == 3


def test_report_merges_folders_into_the_one_that_holds_them(tmp_path, capsys):
    make_run(tmp_path / "one" / "02_lstm_next_note")
    make_run(tmp_path / "two" / "02_lstm_next_note")
    assert cli.main(["report", f"{tmp_path}/one", f"{tmp_path}/two"]) == 0
    assert (
        capsys.readouterr().out == f"Report      {tmp_path / 'index.html'}\nTable       {tmp_path / 'scoreboard.csv'}\n"
    )
    assert len(Page(tmp_path / "index.html").all("article")) == 2
    assert cli.main(["report", f"{tmp_path}/one", "--out", f"{tmp_path}/new/page.html"]) == 0
    assert len(Page(tmp_path / "new" / "page.html").all("article")) == 1


def test_durations_in_words():
    seconds = (0.94, 59.6, 119, 125, 3600 * 3 + 61)
    words = ["0.9 s", "60 s", "119 s", "2 min 5 s", "3 h 1 min"]
    assert [report.duration(value) for value in seconds] == words


# ---------------------------------------------------------------- in a browser

# Loads every picture and the beginning of every sound, and tries the menus.
PROBE = """async () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  const images = [...document.images], players = [...document.querySelectorAll("audio")];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map(image => image.decode()));
  await Promise.all(players.map(player => new Promise((done, failed) => {
    player.addEventListener("loadedmetadata", done);
    player.addEventListener("error", failed);
    player.preload = "metadata";
    player.load();
  })));
  const rows = [...document.querySelectorAll("#claims [data-verdict]")];
  const shown = () => [rows.filter(row => row.getClientRects().length).length, document.querySelector("output").value];
  const choose = (name, value) => {
    const select = document.querySelector(`select[name=${name}]`);
    select.value = value;
    select.dispatchEvent(new Event("input", {bubbles: true}));
    return shown();
  };
  const counts = [shown(), choose("verdict", "needs listeners"), choose("paper", "mischler"), choose("verdict", ""),
    choose("paper", "")];
  return {counts, width: innerWidth, page: document.documentElement.scrollWidth,
    durations: players.map(player => player.duration), widths: images.map(image => image.naturalWidth)};
}"""


@pytest.fixture
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1200, "light")])  # a telephone and a screen
def test_the_page_plays_in_chromium_without_an_error(width, scheme, systems, tmp_path, browser):
    make_run(tmp_path / "02_lstm_next_note" / "seed=0,architecture=a%2Fb c", baselines=[])
    folder = make_run(tmp_path / "02_lstm_next_note" / "seed=1", baselines=[])
    overlaps = {f"measure_{number}": 0.5 for number in range(30)}
    systems["band"] = [system("one", overlaps=overlaps, piece=folder / "song.mid", folder=str(folder))]
    write(tmp_path)
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    assert page.locator("audio").first.is_visible() and not page.locator("#claims").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the keyboard skips to what was found"
    seen = page.evaluate(PROBE)
    assert problems == []
    assert len(seen["durations"]) == 3 and all(duration > 0.9 for duration in seen["durations"])
    assert len(seen["widths"]) == 5 and all(seen["widths"])
    of_paper = [claim for claim in rules.claims().values() if claim.paper == "mischler"]
    heard = [claim for claim in rules.claims().values() if claim.listeners]
    counts = [len(rules.claims()), len(heard), len([c for c in heard if c in of_paper]), len(of_paper)]
    counts.append(every := len(rules.claims()))
    assert seen["counts"] == [[count, f"{count} of {every} shown"] for count in counts]
    assert seen["page"] <= seen["width"] == width, "the page must not scroll sideways"


def test_a_link_to_what_is_folded_unfolds_it(systems, tmp_path, browser):
    make_run(tmp_path / "run")
    make_run(tmp_path / "run of another", notebook="03_gru_next_note")
    write(tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert page.locator("details[open]").count() == 0 and not page.locator("#run-1").is_visible()
    page.evaluate("location.hash = '#run-1'")
    page.locator("#run-1").wait_for(timeout=10_000)
    again = browser.new_page()
    again.goto((tmp_path / "index.html").as_uri() + "#run-1")
    again.locator("#run-1").wait_for(timeout=10_000)
