"""The clips and the picture of the systems, and the page that shows them."""

import re

import pytest
import soundfile
import symusic

from course_lib import files
from course_lib.hear import draw
from course_lib.lab import claims, compare, heard, report, schema


def piece(path, pitch, beats=60):
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 120))
    score.tracks.append(symusic.Track(program=0))
    score.tracks[0].notes.extend(symusic.Note(beat * 480, 480, pitch, 80) for beat in range(beats))
    score.dump_midi(path)
    return path


@pytest.fixture
def rows(tmp_path):
    """A system in two profiles, its two pieces high and low, one without pieces, and the references."""

    def row(system, profile, **given):
        figures = {"notebook": "03_gru", "data": "embedded", "folder": str(tmp_path), "place": 0.5, "low": None}
        return {"system": system, "profile": profile, "piece": None, "nearest": None, **figures, **given}

    typical, nearest = piece(tmp_path / "a.mid", 60), piece(tmp_path / "b.mid", 72, beats=4)
    both = {"piece": typical, "nearest": nearest}
    piano = [row("A GRU", profile, **both) for profile in ("night", "quick")]
    piano += [row("gone", "quick"), row(compare.REAL, "quick", folder="", place=1.0, **both)]
    return {"piano": piano, "band": [], "notes": []}


def test_each_system_has_two_clips_in_its_largest_profile(rows, tmp_path, monkeypatch):
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "of_before.ogg").write_bytes(b"")
    [row] = heard.clips(rows, folder)["piano"]
    assert row["profile"] == "night"
    names = {name: path.name for name, path in row["clips"].items()}
    assert names == {f"{name}": f"a_gru_embedded_night_{name}.ogg" for name in ("typical", "chosen")}
    assert sorted(path.name for path in folder.iterdir()) == sorted(names.values())
    seconds = {name: soundfile.info(path).duration for name, path in row["clips"].items()}
    assert seconds["typical"] == pytest.approx(20, abs=0.1) and seconds["chosen"] == pytest.approx(2, abs=0.6)

    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    heard.clips(rows, folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}, "the same to the ear"

    monkeypatch.setattr(heard.pictures, "clip", lambda *given: None)  # as where there is no sound library
    [row] = heard.clips(rows, folder)["piano"]
    assert set(row["clips"].values()) == set(before) == set(folder.iterdir()), "what is committed stays"


def test_the_picture_is_of_the_nearest_system_above_unseen_real_music(rows, tmp_path, monkeypatch):
    far, near = (schema.System(name, "piano", False, [], 0) for name in ("far", "near"))
    run = schema.Record(
        notebook="03_gru", folder=str(tmp_path), started="", smoke=False, commit=None, versions={}, backend=None,
        device="CPU", seconds=1.0, peak_memory_mib=None, parameters={"profile": "night", "seed": 0},
        data=schema.Data("embedded", "f"), systems=[far, near], training_songs=["seen"],
    )  # fmt: skip
    monkeypatch.setattr(heard.record, "find", lambda folder: run)
    corpus = [heard.midi.new_piece(name, "x", symusic.Score(480)) for name in ("seen", "unseen")]
    monkeypatch.setattr(heard.corpus, "load", lambda data: corpus)
    seen = []
    drawn = draw.piano_rolls
    monkeypatch.setattr(heard.draw, "piano_rolls", lambda scores, beats: seen.append([*scores]) or drawn(scores, beats))
    found = [rows["piano"][0] | {"system": name, "place": at} for name, at in (("far", 0.1), ("near", 0.9))]
    heard.picture(found, tmp_path / "roll.png")
    assert seen == [["near, night profile: a typical piece", "Real: unseen, from which it did not learn"]]
    assert (tmp_path / "roll.png").stat().st_size > 1000
    heard.picture([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists(), "no system, no picture"


def test_the_page_names_and_links_each_clip(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "systems", lambda runs: rows)
    monkeypatch.setattr(report, "collect", lambda roots, mix_data: [])
    monkeypatch.setattr(heard, "picture", lambda rows, path: None)
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text("<!-- scoreboard --><!-- /scoreboard -->")
    report.update_readme(tmp_path / "README.md", [tmp_path / "results"])
    page = (tmp_path / "docs" / "music.md").read_text()
    assert (
        '<a id="03"></a>**A GRU** (03, Tham & Kim; night, embedded; place 0.5): 1.0 notes at a time' in page
        and "gone" not in page
        and "## Band" not in page
    )
    for name in ("typical", "chosen"):
        assert f"♪ [{name}](../results/sound/systems/a_gru_embedded_night_{name}.ogg)" in page


def test_a_piece_in_figures_tells_a_drone_from_a_tune():
    drone, tune = symusic.Score(480), symusic.Score(480)
    for score, notes in ((drone, [(0, 40, 60), (0, 40, 67)]), (tune, [(i, 1, 60 + i % 7) for i in range(40)])):
        score.tracks.append(symusic.Track(program=0))
        score.tracks[0].notes.extend(symusic.Note(480 * at, 480 * long, pitch, 80) for at, long, pitch in notes)
    told = "2.0 notes at a time, the longest for 32 beats, 2 pitch classes a bar, 100% of the notes in one scale"
    assert heard.in_figures([drone]) == told
    assert heard.in_figures([tune]).startswith("1.0 notes at a time, the longest for 1 beats, 4 pitch classes a bar, ")
    assert heard.in_figures([symusic.Score(480)]) == "no note"


def test_readme_leads_from_each_paper_to_its_music():
    lines = [line for line in (files.ROOT / "README.md").read_text().splitlines() if "](docs/music.md#" in line]
    linked = [re.findall(r"docs/music\.md#(\d\d)", line) for line in lines]
    assert len(linked) == len(claims.papers()) and all(linked)
    page = (files.ROOT / report.MUSIC).read_text()
    assert sorted(re.findall(r'<a id="(\d\d)">', page)) == sorted({number for each in linked for number in each})


def test_a_system_is_of_the_paper_that_names_it_and_else_of_its_notebook():
    assert claims.papers_of_system("RNN (Tham & Kim)", "06") == ["tham-kim"]
    assert claims.papers_of_system("of no paper's own", "06") == ["chen-horg-zhuo", "tham-kim"]
    assert claims.papers_of_system("of a notebook without claims", "00") == []


def test_the_committed_page_and_the_committed_clips_belong_together():
    page = (files.ROOT / report.MUSIC).read_text()
    linked = {name.rpartition("/")[2] for name in re.findall(r"\]\((\S+\.ogg)\)", page)}
    there = [path for path in (files.ROOT / "results" / report.CLIPS).iterdir()]
    assert linked == {path.name for path in there} and len(linked) >= 30
    assert max(path.stat().st_size for path in there) < 200_000
    assert sum(path.stat().st_size for path in (files.ROOT / "results" / "sound").rglob("*.ogg")) < 8_000_000
