"""The test on disk: which clips of which runs, alike but for their music."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyloudnorm
import pytest
import soundfile
import symusic

from course_lib import UsageError
from course_lib.hear import listen
from course_lib.listening import build, sessions

CNN, RNN, REAL, XL = "2D CNN", "RNN (Chen et al.)", "Real music, band", "Transformer-XL"
NAMES = (CNN, RNN, REAL, XL)


def test_clips_are_alike_but_for_their_music(runs, tmp_path):
    """As long, as loud, and beginning with sound, however the pieces differ."""
    target = build.build(runs, tmp_path / "test", seconds=2.5)
    test = json.loads((target / "test.json").read_text())
    assert sorted(path.name for path in (target / "clips").iterdir()) == sorted(
        f"{c['id']}.flac" for c in test["clips"]
    )
    assert Counter(clip["system"] for clip in test["clips"]) == {CNN: 2, RNN: 2, REAL: 2, XL: 1}
    assert {(c["system"], c["kind"], c["real"]) for c in test["clips"]} == {
        (CNN, "band", False), (RNN, "band", False), (REAL, "band", True), (XL, "piano", False),
    }  # fmt: skip
    for clip in test["clips"]:
        sound, rate = soundfile.read(target / "clips" / f"{clip['id']}.flac")
        assert sound.shape == (round(2.5 * 44_100), 2) and rate == 44_100
        assert pyloudnorm.Meter(rate).integrated_loudness(sound) == pytest.approx(-23, abs=0.5)
        assert np.abs(sound[: rate // 10]).max() > 0.02, "it begins with silence"
        assert np.abs(sound[-200:]).max() < 0.003 < np.abs(sound[-rate // 2 : -rate // 4]).max(), "it is not faded out"
        assert any((Path(run.folder) / "/".join(clip["source"].split("/")[2:])).is_file() for run in runs)


def test_a_clip_is_the_beginning_of_its_piece(runs, tmp_path):
    target = build.build(runs, tmp_path / "test", systems=[CNN], seconds=2)
    clip = next(clip for clip in sessions.load(target)["clips"] if clip["system"] == CNN)
    sound, _ = soundfile.read(target / "clips" / f"{clip['id']}.flac")
    path = Path(runs[0].folder).parents[1] / clip["source"]
    whole = listen.render(symusic.Score(str(path)))[round(1.5 * 44_100) :][: len(sound)]
    middle = slice(0, round(1.7 * 44_100))
    assert np.corrcoef(sound[middle].ravel(), whole[middle].ravel())[0, 1] > 0.98


def test_a_clip_that_would_leave_full_scale_lowers_all():
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100, 2))
    click = 1e-4 * noise
    click[20_000] = 0.9
    sounds = build._equally_loud([noise, click])
    meter = pyloudnorm.Meter(44_100)
    levels = [meter.integrated_loudness(sound) for sound in sounds]
    assert max(np.abs(sound).max() for sound in sounds) == pytest.approx(0.9, abs=0.01)
    assert levels[0] == pytest.approx(levels[1], abs=0.1) and levels[0] < -23.5


def test_nothing_but_test_json_gives_a_system_away(runs, tmp_path):
    first, second = (build.build(runs, tmp_path / name, seconds=1) for name in "ab")
    clips = [sessions.load(target)["clips"] for target in (first, second)]
    assert [clip["source"] for clip in clips[0]] == [clip["source"] for clip in clips[1]], "same seed, same pieces"
    assert not {clip["id"] for clip in clips[0]} & {clip["id"] for clip in clips[1]}, "ids follow from the pieces"
    for path in (first / "clips").iterdir():
        assert re.fullmatch(r"[0-9a-f]{10}\.flac", path.name)
        assert not any(name.encode() in path.read_bytes() for name in NAMES)


def test_pieces_come_from_all_runs_and_from_the_seed(runs, tmp_path):
    every = sessions.load(build.build(runs, tmp_path / "all", clips_each=9, seconds=1))["clips"]
    assert Counter(clip["system"] for clip in every) == {CNN: 6, RNN: 6, REAL: 3, XL: 3, "Tiny": 2}  # REAL once
    assert {c["source"].split("/")[1] for c in every if c["system"] == CNN} == {"seed=0", "seed=1"}
    drawn = [sessions.load(build.build(runs, tmp_path / str(seed), seconds=1, seed=seed))["clips"] for seed in range(3)]
    assert len({str([clip["source"] for clip in clips]) for clips in drawn}) > 1


def test_real_music_of_the_same_kind_comes_along(runs, tmp_path, capsys):
    clips = sessions.load(build.build(runs, tmp_path / "band", systems=[CNN], seconds=1))["clips"]
    assert {clip["system"] for clip in clips} == {CNN, REAL}
    assert "No real music" not in capsys.readouterr().out
    clips = sessions.load(build.build(runs, tmp_path / "piano", systems=[XL], seconds=1))["clips"]
    assert {clip["system"] for clip in clips} == {XL}
    assert "No real music (piano)" in capsys.readouterr().out


def test_what_is_too_short_is_left_out_and_named(runs, tmp_path, capsys):
    build.build(runs, tmp_path / "test", seconds=4)
    lines = capsys.readouterr().out.splitlines()
    assert sum("shorter than 4 s" in line for line in lines) == 1
    assert next(line for line in lines if "shorter" in line).count(".mid") == 4  # two of XL, two of Tiny
    assert "piano/pieces/tiny_01.mid" in lines[0] and "Tiny" in lines[1] and XL not in lines[1]


def test_an_unreadable_piece_is_left_out_and_named(tmp_path, capsys, tune, record):
    run = record(tmp_path / "runs", {CNN: ("band", False, [tune(n) for n in range(4)])})
    (tmp_path / "runs" / "pieces" / "2d_cnn_01.mid").write_bytes(b"no MIDI")
    (tmp_path / "runs" / "pieces" / "2d_cnn_02.mid").unlink()
    build.build([run], tmp_path / "test", seconds=1)
    assert "2d_cnn_01.mid" in (out := capsys.readouterr().out) and "2d_cnn_02.mid" in out


def test_a_piece_that_makes_no_sound_is_not_drawn(runs, tmp_path, monkeypatch, capsys):
    render = listen.render
    monkeypatch.setattr(listen, "render", lambda score: render(score) * (score.tracks[0].program != 30))
    clips = sessions.load(build.build(runs, tmp_path / "test", seconds=1))["clips"]
    assert {clip["system"] for clip in clips} == {CNN, REAL, XL, "Tiny"}
    assert f"sounds: {RNN}" in capsys.readouterr().out


def noted(*notes, program=0, drum=False, beats_a_minute=120):
    """A score of one track of notes (start and length in quarters)."""
    score, track = symusic.Score(480), symusic.Track(program=program, is_drum=drum)
    score.tempos.append(symusic.Tempo(0, beats_a_minute))
    for start, length in notes:
        track.notes.append(symusic.Note(round(480 * start), round(480 * length), 60, 100))
    score.tracks.append(track)
    return score


@pytest.fixture
def clip_of(tmp_path, record):
    """The sound of each system's clip, of a test of a run that has recorded just these: name -> (kind, scores)."""

    def sounds(systems, name="test", **options):
        generated = {system: (kind, False, scores) for system, (kind, scores) in systems.items()}
        target = build.build([record(tmp_path / f"run of {name}", generated)], tmp_path / name, **options)
        clips = sessions.load(target)["clips"]
        return {clip["system"]: soundfile.read(target / "clips" / f"{clip['id']}.flac")[0] for clip in clips}

    return sounds


def test_a_piece_that_is_mostly_silent_is_left_out(capsys, tune, clip_of):
    sparse = noted((0, 1), (7.9, 0.1))  # of 4 s half a second is heard, and the very end
    gaps = {"Sparse": ("band", [sparse]), "Full": ("band", [tune(1), tune(2)])}
    assert set(clip_of(gaps, seconds=4)) == {"Full"}
    assert "long enough and sounds: Sparse" in capsys.readouterr().out
    silence = np.zeros((10 * 4_410, 2))
    silence[: 5 * 4_410, 1] = 0.02
    assert build._sounding(silence) == 0.5


def test_piano_clips_are_all_played_on_one_piano_and_without_drums(tune, clip_of):
    strings = tune(1, program=48)
    strings.tracks.append(noted(*((beat / 2, 0.5) for beat in range(16)), drum=True).tracks[0])
    systems = {"Piano": ("piano", [tune(1)]), "Strings": ("piano", [strings])}
    clips = clip_of(systems, seconds=3)
    np.testing.assert_array_equal(clips["Piano"], clips["Strings"])
    bands = {name: ("band", scores) for name, (_, scores) in systems.items()}
    clips = clip_of(bands, "band", seconds=3)
    assert np.abs(clips["Piano"] - clips["Strings"]).max() > 0.01


def test_every_clip_has_one_tempo_whatever_that_of_its_piece(clip_of):
    notes = [(beat, 1) for beat in range(8)]
    scores = {"Slow": noted(*notes, beats_a_minute=60), "Fast": noted(*notes, beats_a_minute=240)}
    scores["Changing"] = noted(*notes)
    scores["Changing"].tempos.append(symusic.Tempo(960, 30))
    scores["Usual"] = noted(*notes)
    clips = clip_of({name: ("piano", [score]) for name, score in scores.items()}, seconds=4)
    assert len(clips) == 4
    for name in scores:
        np.testing.assert_array_equal(clips[name], clips["Usual"], name)


def test_runs_of_two_profiles_are_refused(runs, tmp_path):
    paper = SimpleNamespace(**vars(runs[1]) | {"profile": "paper"})
    with pytest.raises(UsageError, match="of the profiles paper and quick: give folders of one profile"):
        build.build([runs[0], paper], tmp_path / "test", seconds=1)
    assert not any(tmp_path.iterdir())
    assert {clip["profile"] for clip in sessions.load(build.build([paper], tmp_path / "test", seconds=1))["clips"]} == {
        "paper"
    }


def test_a_system_whose_pieces_are_all_silent_is_named(capsys, tune, clip_of):
    systems = {"GAN": ("band", [symusic.Score(480)]), CNN: ("band", [tune(1), tune(2)])}
    assert set(clip_of(systems, seconds=1)) == {CNN}
    assert "Left out, as all their pieces are silent: GAN\n" in capsys.readouterr().out


def test_the_place_of_a_clip_does_not_tell_its_system(runs, tmp_path):
    tests = [
        sessions.load(build.build(runs, tmp_path / str(seed), clips_each=3, seconds=1, seed=seed)) for seed in (0, 1)
    ]
    orders = [[clip["system"] for clip in test["clips"]] for test in tests]
    for order in orders:
        changes = sum(one != other for one, other in pairwise(order))
        assert order != sorted(order) and changes > len(set(order)), "clips of a system stand together"
    assert orders[0] != orders[1]


def test_the_usual_systems_are_those_that_a_claim_by_ear_is_about(runs):
    assert build.usual_systems(runs, "rating") == ([RNN, CNN, XL], 4)
    assert build.usual_systems(runs, "pairs") == ([RNN, CNN], 2)
    assert build.usual_systems(runs, "scales") == (None, 2), "the runs have none of them"
    names = ("dilated, all", "dilated, mozart")
    dilated = [SimpleNamespace(systems=[SimpleNamespace(name=name) for name in names]), SimpleNamespace(systems=[])]
    assert build.usual_systems(dilated, "scales") == (["dilated, mozart", "dilated, all"], 2)
    with pytest.raises(UsageError, match="Form 'stars' is unknown"):
        build.usual_systems(runs, "stars")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"systems": ["GAN"]}, r"System 'GAN' is unknown: the runs have '2D CNN', 'RNN \(Chen et al.\)', 'Real"),
        ({"systems": ["Tiny"], "seconds": 2}, r"Too few clips \(0\)"),
        ({"systems": [XL], "clips_each": 1, "seconds": 1}, r"Too few clips \(1\)"),
        ({"systems": [XL], "form": "pairs", "seconds": 1}, r"Too few clips \(2\) for a test of form 'pairs'"),
        ({"clips_each": 0}, "0 clips of 10 s"),
        ({"seconds": 0.2}, "0.2 s each"),
        ({"seconds": float("nan")}, "nan s each"),
        ({"runs": []}, "None of 0 runs has recorded pieces"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(runs, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        build.build(**({"runs": runs, "target": tmp_path / "deep" / "test"} | options))
    assert not any(tmp_path.iterdir())


def test_runs_without_systems_are_said_to_be_so(tmp_path, tune, record):
    run = record(tmp_path / "runs", {REAL: ("band", True, [tune(1), tune(2)])})
    with pytest.raises(UsageError, match="None of 1 runs has recorded pieces"):
        build.build([run], tmp_path / "test")


def test_a_test_is_never_overwritten(rating, runs, tmp_path):
    before = {path: path.read_bytes() for path in rating.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="never replaced"):
        build.build(runs, rating, seconds=1)
    assert before == {path: path.read_bytes() for path in rating.rglob("*") if path.is_file()}
    (tmp_path / "empty").mkdir()
    assert sessions.load(build.build(runs, tmp_path / "empty", seconds=1))


def test_a_build_that_fails_leaves_no_test_and_can_be_done_again(runs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(soundfile, "write", full)
        build.build(runs, tmp_path / "test", seconds=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sessions.load(build.build(runs, tmp_path / "test", seconds=1))
