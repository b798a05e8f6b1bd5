import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from itertools import pairwise
from pathlib import Path

import filelock
import ipywidgets
import ipywidgets.embed
import numpy as np
import pyloudnorm
import pytest
import soundfile
import symusic

from course_lib import UsageError
from course_lib.hear import listen
from course_lib.lab import record as records
from course_lib.listening import build, page, sessions

CNN, RNN, REAL, XL = "2D CNN", "RNN (Chen et al.)", "Real music, band", "Transformer-XL"
NAMES = (CNN, RNN, REAL, XL)


def tune(seed, seconds=4.0, silence=0.0, program=0, velocity=80):
    """A score of random quarter notes at 120 beats a minute."""
    chance, score, track = random.Random(seed), symusic.Score(480), symusic.Track(program=program)
    score.tempos.append(symusic.Tempo(0, 120))
    for number in range(round(seconds * 2)):
        track.notes.append(symusic.Note(round(960 * silence) + 480 * number, 480, chance.randrange(50, 80), velocity))
    score.tracks.append(track)
    return score


def record(folder, monkeypatch, systems, seed=0):
    """What a run leaves: name -> (kind, real, scores)."""
    monkeypatch.setenv("COURSE_OUT", str(folder))
    run = records.start("07_cnn_2d", "quick", seed, "embedded")
    for name, (kind, real, scores) in systems.items():
        run.system(name, scores, kind, real=real)
    run.finish()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two seeds of one band notebook, and a piano notebook without real music."""
    folder, real = tmp_path_factory.mktemp("runs"), [tune(90 + n, 6, 0, 48, 120) for n in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COURSE_SMOKE", raising=False)
        for seed in (0, 1):
            systems = {
                CNN: ("band", False, [tune(10 * seed + n, silence=1.5) for n in range(3)]),
                RNN: ("band", False, [tune(50 + 10 * seed + n, 4, 0, 30, 25) for n in range(3)]),
                REAL: ("band", True, real),
            }
            record(folder / f"seed={seed}", patch, systems, seed)
        short = [tune(1, 1), tune(2, 1.5)]
        record(folder / "piano", patch, {XL: ("piano", False, [tune(30)] + short), "Tiny": ("piano", False, short)})
    return records.load(folder)


@pytest.fixture(scope="session", params=sessions.FORMS)
def folder(request, runs, tmp_path_factory):
    """A test of each form, without answers."""
    return build.build(runs, tmp_path_factory.mktemp("tests") / request.param, request.param, seconds=1)


@pytest.fixture
def rating(runs, tmp_path):
    return build.build(runs, tmp_path / "rating", systems=[CNN, RNN, XL], seconds=1)


def an_answer(test, listener, number, when=0):
    item = sessions.items(test, listener)[number]
    given = {
        "rating": {"rating": 7},
        "scales": dict.fromkeys(sessions.SCALES, 3),
        "pairs": {"preferred": item["clips"][-1]},
    }[test["form"]]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(when))
    return {"test": test["id"], "listener": listener, "item": number, **item, "answer": given, "time": stamp}


ANN, BEN = "abcdefgh", "23456789"


# ---------------------------------------------------------------- build


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
        assert any((Path(run["folder"]) / "/".join(clip["source"].split("/")[2:])).is_file() for run in runs)


def test_a_clip_is_the_beginning_of_its_piece(runs, tmp_path):
    target = build.build(runs, tmp_path / "test", systems=[CNN], seconds=2)
    clip = next(clip for clip in sessions.load(target)["clips"] if clip["system"] == CNN)
    sound, _ = soundfile.read(target / "clips" / f"{clip['id']}.flac")
    path = Path(runs[0]["folder"]).parents[1] / clip["source"]
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


def test_an_unreadable_piece_is_left_out_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    record(tmp_path / "runs", monkeypatch, {CNN: ("band", False, [tune(n) for n in range(4)])})
    (tmp_path / "runs" / "pieces" / "2d_cnn_01.mid").write_bytes(b"no MIDI")
    (tmp_path / "runs" / "pieces" / "2d_cnn_02.mid").unlink()
    build.build(records.load(tmp_path / "runs"), tmp_path / "test", seconds=1)
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


def clip_of(systems, tmp_path, monkeypatch, **options):
    """The sound of each system's clip, of a test of runs that have recorded just these: name -> (kind, scores)."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    record(tmp_path / "runs", monkeypatch, {name: (kind, False, scores) for name, (kind, scores) in systems.items()})
    target = build.build(records.load(tmp_path / "runs"), tmp_path / "test", **options)
    clips = sessions.load(target)["clips"]
    return {clip["system"]: soundfile.read(target / "clips" / f"{clip['id']}.flac")[0] for clip in clips}


def test_a_piece_that_is_mostly_silent_is_left_out(tmp_path, monkeypatch, capsys):
    sparse = noted((0, 1), (7.9, 0.1))  # of 4 s half a second is heard, and the very end
    gaps = {"Sparse": ("band", [sparse]), "Full": ("band", [tune(1), tune(2)])}
    assert set(clip_of(gaps, tmp_path, monkeypatch, seconds=4)) == {"Full"}
    assert "long enough and sounds: Sparse" in capsys.readouterr().out
    silence = np.zeros((10 * 4_410, 2))
    silence[: 5 * 4_410, 1] = 0.02
    assert build._sounding(silence) == 0.5


def test_piano_clips_are_all_played_on_one_piano_and_without_drums(tmp_path, monkeypatch):
    strings = tune(1, program=48)
    strings.tracks.append(noted(*((beat / 2, 0.5) for beat in range(16)), drum=True).tracks[0])
    systems = {"Piano": ("piano", [tune(1)]), "Strings": ("piano", [strings])}
    clips = clip_of(systems, tmp_path, monkeypatch, seconds=3)
    np.testing.assert_array_equal(clips["Piano"], clips["Strings"])
    bands = {name: ("band", scores) for name, (_, scores) in systems.items()}
    clips = clip_of(bands, tmp_path / "band", monkeypatch, seconds=3)
    assert np.abs(clips["Piano"] - clips["Strings"]).max() > 0.01


def test_every_clip_has_one_tempo_whatever_that_of_its_piece(tmp_path, monkeypatch):
    notes = [(beat, 1) for beat in range(8)]
    scores = {"Slow": noted(*notes, beats_a_minute=60), "Fast": noted(*notes, beats_a_minute=240)}
    scores["Changing"] = noted(*notes)
    scores["Changing"].tempos.append(symusic.Tempo(960, 30))
    scores["Usual"] = noted(*notes)
    clips = clip_of({name: ("piano", [score]) for name, score in scores.items()}, tmp_path, monkeypatch, seconds=4)
    assert len(clips) == 4
    for name in scores:
        np.testing.assert_array_equal(clips[name], clips["Usual"], name)


def test_runs_of_two_profiles_are_refused(runs, tmp_path):
    paper = runs[1] | {"parameters": runs[1]["parameters"] | {"profile": "paper"}}
    with pytest.raises(UsageError, match="of the profiles paper and quick: give folders of one profile"):
        build.build([runs[0], paper], tmp_path / "test", seconds=1)
    assert not any(tmp_path.iterdir())
    assert {clip["profile"] for clip in sessions.load(build.build([paper], tmp_path / "test", seconds=1))["clips"]} == {
        "paper"
    }


def test_a_system_whose_pieces_are_all_silent_is_named(tmp_path, monkeypatch, capsys):
    systems = {"GAN": ("band", [symusic.Score(480)]), CNN: ("band", [tune(1), tune(2)])}
    assert set(clip_of(systems, tmp_path, monkeypatch, seconds=1)) == {CNN}
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


def test_the_usual_systems_are_those_that_a_paper_had_rated(runs):
    assert build.usual_systems(runs, "rating") == ([CNN, RNN], 4)
    assert build.usual_systems(runs, "pairs") == ([CNN, RNN], 2)
    assert build.usual_systems(runs, "scales") == (None, 2), "the runs have none of them"
    dilated = [{"systems": [{"name": "dilated, all"}, {"name": "dilated, mozart"}]}, {}]
    assert build.usual_systems(dilated, "scales") == (["dilated, mozart", "dilated, all"], 2)
    with pytest.raises(UsageError, match="Form 'stars' is unknown"):
        build.usual_systems(runs, "stars")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "stars"}, "Form 'stars' is unknown: use rating, scales, pairs"),
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


def test_runs_without_systems_are_said_to_be_so(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    record(tmp_path / "runs", monkeypatch, {REAL: ("band", True, [tune(1), tune(2)])})
    with pytest.raises(UsageError, match="None of 1 runs has recorded pieces"):
        build.build(records.load(tmp_path / "runs"), tmp_path / "test")


def test_a_test_is_never_overwritten(rating, runs, tmp_path):
    before = {path: path.read_bytes() for path in rating.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="never replaced"):
        build.build(runs, rating, seconds=1)
    assert before == {path: path.read_bytes() for path in rating.rglob("*") if path.is_file()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        build.build(runs, tmp_path / "mine", seconds=1)
    (tmp_path / "empty").mkdir()
    assert sessions.load(build.build(runs, tmp_path / "empty", seconds=1))


def test_a_build_that_fails_leaves_nothing(runs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OSError):
        build.build(runs, tmp_path / "test", seconds=1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace("rating", "stars"),
        lambda text: re.sub(r'"id": "\w{10}"', '"id": "../../etc/"', text, count=1),
        lambda text: re.sub(r'"id": "\w{8}"', '"id": "<script>"', text),
        lambda text: text.replace('"system"', '"sistem"'),
    ],
)
def test_a_damaged_test_is_refused(rating, damage):
    path = rating / "test.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UsageError, match="test.json is missing or damaged"):
        sessions.load(rating)
    path.unlink()
    with pytest.raises(UsageError, match="test.json is missing or damaged"):
        sessions.load(rating)


# ---------------------------------------------------------------- who hears what


def test_every_listener_has_an_order_that_can_be_had_again(folder):
    test = sessions.load(folder)
    listeners = [sessions.new_listener() for _ in range(20)]
    orders = [sessions.items(test, listener) for listener in listeners]
    assert orders == [sessions.items(sessions.load(folder), listener) for listener in listeners]
    assert len({str(order) for order in orders}) == 20
    assert sessions.items(test | {"id": "00000000"}, listeners[0]) != orders[0]


def test_an_order_is_the_same_on_every_machine():
    """Answers name items by number: a new order would make those of a running test foreign."""
    clips = [{"id": f"{n:010x}", "system": str(n % 3), "kind": "band", "real": False} for n in range(6)]
    test = {"id": "0123abcd", "form": "rating", "clips": clips}
    assert [int(item["clips"][0], 16) for item in sessions.items(test, ANN)] == [0, 1, 3, 2, 4, 5, 1]
    pairs = [[int(clip, 16) for clip in item["clips"]] for item in sessions.items(test | {"form": "pairs"}, ANN)]
    assert pairs[:4] == [[0, 5], [5, 3], [1, 2], [1, 0]]


def test_each_clip_is_heard_once_and_an_early_one_again_at_the_end(runs, tmp_path):
    test = sessions.load(build.build(runs, tmp_path / "test", clips_each=4, seconds=1))
    first, repeated = Counter(), Counter()
    for _ in range(200):
        heard = sessions.items(test, sessions.new_listener())
        *once, again = heard
        assert sorted(item["clips"] for item in once) == sorted([clip["id"]] for clip in test["clips"])
        assert [item["repeat"] for item in heard] == [False] * len(once) + [True]
        assert [item["clips"] for item in once].index(again["clips"]) <= len(once) / 3
        first.update(once[0]["clips"])
        repeated.update(again["clips"])
    assert len(first) == len(repeated) == len(test["clips"]), "some clip is never the first, or never repeated"


def test_pairs_are_of_one_kind_and_balanced(runs, tmp_path):
    target = build.build(runs, tmp_path / "test", "pairs", [CNN, RNN, XL, "Tiny"], clips_each=4, seconds=1)
    test = sessions.load(target)
    clips = {clip["id"]: clip for clip in test["clips"]}
    left, covered = Counter(), Counter()
    for _ in range(200):
        *once, again = sessions.items(test, sessions.new_listener())
        assert len(once) == 15 and not any(item["repeat"] for item in once)
        assert again["repeat"] and again["clips"][::-1] in [item["clips"] for item in once[: 15 // 2]]
        assert len({frozenset(item["clips"]) for item in once}) == 15
        of_systems, of_clips = Counter(), Counter()
        for item in once:
            a, b = (clips[clip] for clip in item["clips"])
            assert a["kind"] == b["kind"] and a["system"] != b["system"]
            left[a["system"]] += 1
            covered[frozenset(item["clips"])] += 1
            of_clips.update(item["clips"])
            of_systems[frozenset([a["system"], b["system"]])] += 1
        assert len(of_systems) == 4 and max(of_systems.values()) - min(of_systems.values()) <= 1, of_systems
        for system in (CNN, RNN):
            uses = [of_clips[name] for name, clip in clips.items() if clip["system"] == system]
            assert max(uses) - min(uses) <= 1
    assert len(covered) == 4 * 4 + 2 * 4 * 3 + 3 * 2, "some pair is never heard"
    both = Counter()
    for pair, times in covered.items():
        for clip in pair:
            both[clips[clip]["system"]] += times
    for system in (CNN, RNN, REAL, XL, "Tiny"):
        assert 0.42 < left[system] / both[system] < 0.58, "a system stands on one side"


def test_few_pairs_are_all_heard(runs, tmp_path):
    test = sessions.load(build.build(runs, tmp_path / "test", "pairs", [CNN], clips_each=2, seconds=1))
    heard = sessions.items(test, ANN)
    assert len(heard) == 5 and len({frozenset(item["clips"]) for item in heard}) == 4


def test_codes_are_random_and_anything_else_is_no_code():
    codes = {sessions.new_listener() for _ in range(500)}
    assert len(codes) == 500 and all(sessions.valid_listener(code) for code in codes)
    assert not set("".join(codes)) & set("01ilo") and len(set("".join(codes))) == 31
    for text in (
        "",
        "abcdefg",
        "abcdefghj",
        "abcdefg1",
        "ABCDEFGH",
        "abcdefgh\n",
        "<script>",
        "../../x",
        "ábcdefgh",
        None,
        8,
    ):
        assert not sessions.valid_listener(text), text


# ---------------------------------------------------------------- answers


def test_the_last_answer_to_an_item_counts(folder, tmp_path):
    test = sessions.load(folder)
    (tmp_path / "test.json").write_text((folder / "test.json").read_text())
    assert sessions.answers(tmp_path) == []
    for listener, number, when in ((ANN, 0, 1), (BEN, 0, 2), (ANN, 1, 3), (ANN, 0, 4)):
        sessions.append(tmp_path, an_answer(test, listener, number, when))
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4
    times = {(a["listener"], a["item"]): a["time"][-8:-6] for a in sessions.answers(tmp_path)}
    assert times == {(ANN, 0): "04", (BEN, 0): "02", (ANN, 1): "03"}
    assert sessions.answers(tmp_path)[0] == an_answer(test, ANN, 0, 4)


def test_torn_and_foreign_lines_are_skipped_and_counted(rating):
    test, path = sessions.load(rating), rating / "answers.jsonl"
    sessions.append(rating, an_answer(test, ANN, 0))
    whole = path.read_bytes()
    foreign = json.dumps(an_answer(test, ANN, 1) | {"test": "00000000"}).encode()
    path.write_bytes(whole + b"\n[]\n\xff\xfe\n" + foreign + b"\n" + whole[:40])
    sessions.append(rating, an_answer(test, ANN, 2))
    assert path.read_bytes().startswith(whole + b"\n[]\n\xff\xfe\n" + foreign + b"\n" + whole[:40] + b"\n{")
    with pytest.warns(UserWarning, match=r"4 torn or foreign lines of .*answers\.jsonl"):
        assert [answer["item"] for answer in sessions.answers(rating)] == [0, 2]


def changed(key, value):
    return lambda answer: answer | {key: value}


BAD = {
    "another test": changed("test", "00000000"),
    "no code": changed("listener", "<script>"),
    "a path": changed("listener", "../../x"),
    "a code that is a list": changed("listener", ["a"]),
    "another listener's items": changed("listener", BEN),
    "item below": changed("item", -1),
    "item above": changed("item", 99),
    "item as text": changed("item", "0"),
    "other clips": changed("clips", ["0123456789"]),
    "no clips": changed("clips", None),
    "repeat": changed("repeat", True),
    "time": changed("time", "yesterday"),
    "key too many": changed("name", "Ann"),
    "key too few": lambda answer: {key: answer[key] for key in answer if key != "time"},
    "no dict": lambda answer: [answer],
    "no answer": changed("answer", {}),
    "text": changed("answer", "7"),
}
BAD_ANSWERS = {
    "rating": [{"rating": value} for value in (0, 11, 7.0, True, "7", None)] + [{"rating": 7, "more": 1}, {"stars": 7}],
    "scales": [
        dict.fromkeys(sessions.SCALES, 3) | {"Flow": 6},
        dict.fromkeys(sessions.SCALES, 3) | {"Flow": -1},
        dict.fromkeys(list(sessions.SCALES)[1:], 3),
        dict.fromkeys(sessions.SCALES, 3) | {"Mood": 3},
    ],
    "pairs": [{"preferred": "0123456789"}, {"preferred": 0}, {"preferred": None}, {"preferred": ["x"]}],
}


def test_an_answer_to_what_was_not_asked_is_refused(folder, tmp_path):
    test = sessions.load(folder)
    (tmp_path / "test.json").write_text((folder / "test.json").read_text())
    both = zip(sessions.items(test, ANN), sessions.items(test, BEN), strict=True)
    different = next(number for number, (mine, other) in enumerate(both) if mine != other)
    good = an_answer(test, ANN, different)
    just_above = changed("item", len(sessions.items(test, ANN)))
    for name, change in (BAD | {"just above": just_above}).items():
        with pytest.raises(ValueError):
            sessions.append(tmp_path, change(good))
            pytest.fail(name)
    last = an_answer(test, ANN, -1)  # with the clips of the last item
    for whole in (an_answer(test, "<script>", 0), last, an_answer(test, ANN, 0) | {"item": False}):
        with pytest.raises(ValueError, match="one of its items"):
            sessions.append(tmp_path, whole)
    for given in BAD_ANSWERS[test["form"]]:
        with pytest.raises(ValueError, match="none of form"):
            sessions.append(tmp_path, good | {"answer": given})
    assert not (tmp_path / "answers.jsonl").exists()
    sessions.append(tmp_path, good)
    low, high = {"rating": (1, 10), "scales": (0, 5), "pairs": (None, None)}[test["form"]]
    for value in (low, high) if low is not None else ():
        sessions.append(tmp_path, good | {"answer": dict.fromkeys(good["answer"], value)})


WRITER = """
import json, sys, time
from course_lib.listening import sessions
print("ready", flush=True)
for line in open(sys.argv[2]):
    sessions.append(sys.argv[1], json.loads(line))
    print("saved", flush=True)
    time.sleep(0.005)  # else one process has the lock again before the other looks
"""


def writer(folder, given):
    """A process that appends the answers, printing a line after each."""
    path = folder.with_name(f"{given[0]['listener']}.txt")
    path.write_text("".join(json.dumps(answer) + "\n" for answer in given))
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_that_write_at_once_lose_nothing(rating):
    test, path = sessions.load(rating), rating / "answers.jsonl"
    given = {name: [an_answer(test, name, n % 3, n) for n in range(200)] for name in (ANN, BEN)}
    with filelock.FileLock(f"{path}.lock"):
        writers = [writer(rating, own) for own in given.values()]
        time.sleep(0.3)
        assert not path.exists(), "a writer does not wait for its turn"
    for process in writers:
        assert process.communicate(timeout=60)[0] == "saved\n" * 200
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name, own in given.items():
        assert [line for line in lines if line["listener"] == name] == own
    changes = sum(a["listener"] != b["listener"] for a, b in pairwise(lines))
    assert len(lines) == 400 and changes > 2, "the two did not write at the same time"


@pytest.mark.skipif(os.name != "posix", reason="kills a process by SIGKILL")
def test_a_killed_writer_loses_nothing_that_was_acknowledged(rating):
    test, path, acknowledged = sessions.load(rating), rating / "answers.jsonl", []
    for name in (ANN, BEN):
        given = [an_answer(test, name, number % 3, number) for number in range(5_000)]
        process = writer(rating, given)
        for _ in range(40):
            assert process.stdout.readline() == "saved\n"
        process.kill()
        acknowledged += given[: 40 + process.communicate()[0].count("saved")]
    assert 80 <= len(acknowledged) < 5_000
    sessions.append(rating, an_answer(test, ANN, 4))  # the dead hold no lock
    lines = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # torn
            lines.append(json.loads(line))
    assert all(answer in lines for answer in acknowledged)
    assert lines[-1] == an_answer(test, ANN, 4)


def test_an_answer_is_on_disk_before_it_is_acknowledged(rating, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((rating / "answers.jsonl").read_bytes()))
    sessions.append(rating, an_answer(sessions.load(rating), ANN, 0))
    assert synced == [(rating / "answers.jsonl").read_bytes()] and synced[0].endswith(b"}\n")


# ---------------------------------------------------------------- the page


class Reader:
    """Drives a page as a person does, by what it shows."""

    def __init__(self, box):
        self.box = box

    def all(self, kind):
        def below(widget):
            yield widget
            for child in getattr(widget, "children", ()):
                yield from below(child)

        return [widget for widget in below(self.box) if isinstance(widget, kind)]

    def button(self, name):
        return next(button for button in self.all(ipywidgets.Button) if button.description == name)

    @property
    def choices(self):
        return self.all(ipywidgets.ToggleButtons)

    @property
    def text(self):
        return " ".join(widget.value for widget in self.all((ipywidgets.Label, ipywidgets.HTML)))

    @property
    def sounds(self):
        return [player.value for player in self.all(ipywidgets.Audio)]

    def answer(self, index=-1):
        for choice in self.choices:
            choice.index = index % len(choice.options)
        self.button("Save and go on").click()


def copy(folder, tmp_path):
    (tmp_path / "clips").mkdir()
    for path in [folder / "test.json", *(folder / "clips").iterdir()]:
        (tmp_path / path.relative_to(folder)).write_bytes(path.read_bytes())
    return tmp_path


def test_a_whole_test_on_the_page(folder, tmp_path):
    target = copy(folder, tmp_path)
    test = sessions.load(target)
    asked = sessions.items(test, ANN)
    reader, shown = Reader(page.page(target, ANN)), ""
    for number, item in enumerate(asked):
        shown += json.dumps(ipywidgets.embed.dependency_state(reader.box))
        assert f"{number + 1} of {len(asked)}" in reader.text
        assert reader.all(ipywidgets.IntProgress)[0].value == number
        assert reader.sounds == [(target / "clips" / f"{clip}.flac").read_bytes() for clip in item["clips"]]
        assert all(not player.autoplay and not player.loop for player in reader.all(ipywidgets.Audio))
        assert reader.button("Back").disabled == (number == 0)
        assert [choice.value for choice in reader.choices] == [None] * len(reader.choices)
        for choice in reader.choices:
            assert reader.button("Save and go on").disabled
            choice.index = len(choice.options) - 1
        assert not reader.button("Save and go on").disabled
        assert len(sessions.answers(target)) == number
        reader.button("Save and go on").click()
        assert len(sessions.answers(target)) == number + 1, "it is saved at once"
    assert "Thank you" in reader.text and ANN in reader.text and not reader.choices
    best = {"rating": {"rating": 10}, "scales": dict.fromkeys(sessions.SCALES, 5), "pairs": None}[test["form"]]
    for item, answer in zip(asked, sessions.answers(target), strict=True):
        assert answer["answer"] == (best or {"preferred": item["clips"][1]})
    shown += json.dumps(ipywidgets.embed.dependency_state(reader.box))
    for secret in (*NAMES, *(clip[key] for clip in test["clips"] for key in ("id", "source"))):
        assert secret not in shown, "the page tells what is heard"


def test_the_questions_can_be_read(folder):
    reader, form = Reader(page.page(folder, ANN)), json.loads((folder / "test.json").read_text())["form"]
    options = [list(choice.options) for choice in reader.choices]
    ten, six = ([(str(number), number) for number in numbers] for numbers in (range(1, 11), range(6)))
    assert options == {"rating": [ten], "scales": [six] * 5, "pairs": [[("A", 0), ("B", 1)]]}[form]
    for words in ("eadphones", "names", "saved"):
        assert words in reader.text
    for word in {"rating": ["1 =", "10 ="], "scales": list(sessions.SCALES), "pairs": ["Clip A", "Clip B"]}[form]:
        assert word in reader.text
    assert all(tip.endswith(label) for choice in reader.choices
               for tip, (label, _) in zip(choice.tooltips, choice.options, strict=True))  # fmt: skip


def test_the_page_says_how_much_there_is_to_hear_and_does_so_once(folder, tmp_path):
    target = copy(folder, tmp_path)
    test = sessions.load(target)
    count = len(sessions.items(test, ANN))
    # seconds: 11 clips of 1 and 5 to answer, or 5 * 5; 16 pairs of 2 * 1 and 5
    about = {"rating": "11 clips, about 1", "scales": "11 clips, about 5", "pairs": "16 pairs, about 2"}[test["form"]]
    reader = Reader(page.page(target, ANN))
    assert f"There are {about} minutes." in reader.text
    reader.answer()
    assert "<h1>" not in reader.text and f"2 of {count}" in reader.text
    reader.button("Back").click()
    assert "<h1>Listening test</h1>" in reader.text


def test_closing_and_opening_goes_on_where_one_stopped(folder, tmp_path):
    target = copy(folder, tmp_path)
    count = len(sessions.items(sessions.load(target), ANN))
    for number in range(count):
        reader = Reader(page.page(target, ANN))
        assert f"{number + 1} of {count}" in reader.text
        reader.answer()
    assert "Thank you" in Reader(page.page(target, ANN)).text
    assert f"1 of {count}" in Reader(page.page(target, BEN)).text, "another listener begins at the beginning"


def test_a_torn_line_is_asked_again_and_nothing_is_said_of_it(rating, recwarn):
    for _ in range(3):
        Reader(page.page(rating, ANN)).answer()
    path = rating / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    reader = Reader(page.page(rating, ANN))
    assert "3 of 9" in reader.text and not [w for w in recwarn if "torn" in str(w.message)]  # Voilà would show it
    reader.answer()
    assert "4 of 9" in reader.text and "4 of 9" in Reader(page.page(rating, ANN)).text


def test_an_earlier_answer_can_be_changed(folder, tmp_path):
    target = copy(folder, tmp_path)
    reader = Reader(page.page(target, ANN))
    reader.answer(0)
    reader.answer(0)
    before = sessions.answers(target)
    reader.button("Back").click()
    reader.button("Back").click()
    assert "1 of" in reader.text and all(choice.index == 0 for choice in reader.choices), "the answer is shown"
    reader.answer(1)
    assert "2 of" in reader.text and all(choice.index == 0 for choice in reader.choices)
    now = sessions.answers(target)
    assert now[0]["answer"] != before[0]["answer"] and now[1] == before[1] and len(now) == 2
    reader = Reader(page.page(target, ANN))
    assert "3 of" in reader.text
    reader.button("Back").click()
    reader.button("Back").click()
    assert all(choice.index == 1 for choice in reader.choices), "the changed answer is shown after opening again"


def test_one_can_go_back_from_the_end(rating):
    reader = Reader(page.page(rating, ANN))
    for _ in range(9):
        reader.answer(3)
    assert "Thank you" in reader.text and "<h1>" not in reader.text
    assert '<a href="?new">' in reader.text and f"?listener={ANN}" in reader.text
    reader.button("Back").click()
    assert "9 of 9" in reader.text and reader.choices[0].value == 4
    reader.answer(4)
    assert "Thank you" in reader.text and sessions.answers(rating)[-1]["answer"] == {"rating": 5}


def test_a_double_click_saves_one_answer(rating):
    reader = Reader(page.page(rating, ANN))
    reader.answer()
    reader.button("Save and go on").click()
    assert "2 of 9" in reader.text and "Not saved" not in reader.text and len(sessions.answers(rating)) == 1
    for _ in range(8):
        reader.answer()
    assert "Thank you" in reader.text


def test_a_full_disk_is_said_and_nothing_is_lost(rating, monkeypatch):
    def full(_file):
        raise OSError(28, "No <space> left")

    reader = Reader(page.page(rating, ANN))
    reader.answer(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        reader.answer(6)
    assert "Not saved (No &lt;space&gt; left)" in reader.text
    assert "2 of 9" in reader.text and reader.choices[0].value == 7
    reader.button("Save and go on").click()
    assert "3 of 9" in reader.text and "Not saved" not in reader.text
    assert [answer["answer"]["rating"] for answer in sessions.answers(rating)] == [3, 7]


def test_a_page_of_a_broken_folder_says_so(rating):
    next((rating / "clips").iterdir()).unlink()
    with pytest.raises(UsageError, match="build the test again"):
        page.page(rating)


@pytest.mark.parametrize("listener", [None, "", "<script>", "../../x", "ABCDEFGH"])
def test_what_is_no_code_gets_a_fresh_one(rating, listener):
    for _ in range(9):
        Reader(page.page(rating, ANN)).answer()
    reader = Reader(page.page(rating, listener))
    reader.answer()
    codes = {answer["listener"] for answer in sessions.answers(rating)} - {ANN}
    assert len(codes) == 1 and sessions.valid_listener(codes.pop())


# ---------------------------------------------------------------- under Voilà


def visit(folder, monkeypatch, cookie=None, query=None):
    """The code in the cookie that a visit sets, and the page it shows."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things: shown.extend(things))
    monkeypatch.setenv("COURSE_LISTENING_TEST", str(folder))
    for name, value in (("HTTP_COOKIE", cookie), ("QUERY_STRING", query)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    page.voila_page()
    script, box = shown
    start, _, end = page.SCRIPT.partition("COOKIE")
    assert end and script.data.startswith(start) and script.data.endswith(end)
    value = script.data.removeprefix(start).removesuffix(end)
    pattern = rf"course_listener_{sessions.load(folder)['id']}=({sessions.CODE}); max-age=2592000; path=/; SameSite=Lax"
    return re.fullmatch(pattern, value)[1], Reader(box)


def test_a_cookie_or_an_address_tells_who_comes_back(rating, monkeypatch):
    name = f"course_listener_{sessions.load(rating)['id']}"
    code, reader = visit(rating, monkeypatch)
    reader.answer()
    for cookie in (f"{name}={code}", f'a="{{b}}"; {name}={code}', f"x=1;{name}={code}; y=2"):
        again, reader = visit(rating, monkeypatch, cookie)
        assert again == code and "2 of 9" in reader.text
    assert visit(rating, monkeypatch, "x=1", f"a=b&listener={code}")[0] == code
    for query in (f"listener={BEN}", f"new&listener={BEN}"):
        assert visit(rating, monkeypatch, f"{name}={code}", query)[0] == BEN, "the address wins over the cookie"
    for query in ("new", "new=", "new=1"):
        fresh, reader = visit(rating, monkeypatch, f"{name}={code}", query)
        assert fresh not in (code, BEN) and "1 of 9" in reader.text
    assert visit(rating, monkeypatch, f"not_{name}={code}")[0] != code
    assert visit(rating, monkeypatch, f"course_listener_00000000={code}")[0] != code
    assert visit(rating, monkeypatch)[0] != code


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "../../x", "%3Cscript%3E", 'abcdefgh"', "abcdefghx", "a" * 9999]
)
def test_an_evil_cookie_or_address_gets_a_fresh_code(rating, monkeypatch, evil):
    name = f"course_listener_{sessions.load(rating)['id']}"
    for cookie, query in ((f"{name}={evil}", None), (None, f"listener={evil}"), (f"{name}={evil}", f"listener={evil}")):
        code, reader = visit(rating, monkeypatch, cookie, query)
        assert sessions.valid_listener(code) and code not in evil
        assert evil not in json.dumps(ipywidgets.embed.dependency_state(reader.box))
    assert not (rating / "answers.jsonl").exists()


def test_a_page_starts_light():
    """A kernel for each listener must start at once: nothing of the lessons is imported."""
    code = "import sys, course_lib.listening.sessions; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {
        "keras",
        "tensorflow",
        "jax",
        "music21",
        "scipy",
        "pandas",
        "pyloudnorm",
        "nbformat",
        "matplotlib",
    }


def test_a_port_that_is_taken_is_said(rating):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            page.serve(rating, port, "127.0.0.1")
    with pytest.raises(UsageError, match="Port 99999"):
        page.serve(rating, 99_999, "127.0.0.1")
    with pytest.raises(UsageError, match="missing or damaged"):
        page.serve(rating / "clips")


def test_the_addresses_can_be_reached_by_others():
    assert page._hosts("127.0.0.1") == ["127.0.0.1"]
    assert socket.gethostname() in page._hosts("0.0.0.0") and "0.0.0.0" not in page._hosts("0.0.0.0")


@pytest.mark.skipif(os.name != "posix", reason="stops the server by Ctrl-C")
@pytest.mark.timeout(180)
def test_the_page_is_served_and_the_folder_is_not(rating):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            pytest.skip(f"no port can be had here: {error}")
        port = probe.getsockname()[1]
    sessions.append(rating, an_answer(sessions.load(rating), ANN, 0))
    code = f"from course_lib.listening import page; raise SystemExit(page.serve({str(rating)!r}, {port}, '127.0.0.1'))"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path="", cookie=""):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Cookie": cookie})
        with opener.open(request, timeout=60) as reply:
            return reply.status, reply.read().decode()

    try:
        assert f"http://127.0.0.1:{port}/" in server.stdout.readline()
        for _ in range(120):
            try:
                get("voila/static/none")
            except urllib.error.HTTPError as error:
                error.close()
                break  # it answers
            except OSError:
                assert server.poll() is None, (rating / "voila.log").read_text()
                time.sleep(0.5)
        name = f"course_listener_{sessions.load(rating)['id']}"
        status, html = get(cookie=f"{name}=<script>evil</script>")
        assert status == 200 and "Listening test" in html and "widget-view" in html
        mine = re.search(f"{name}=({sessions.CODE})", html)[1]
        again = get(cookie=f"other=1; {name}={mine}")[1]
        assert f"{name}={mine}" in again, "the cookie does not reach the page"
        for text in (html, again):
            assert not any(secret in text for secret in (*NAMES, ".mid", "evil", "Traceback", str(rating)))
        clip = next((rating / "clips").iterdir()).name
        for file in (
            "answers.jsonl",
            "test.json",
            "page.ipynb",
            "voila.log",
            "voila.json",
            f"clips/{clip}",
            "../test.json",
        ):
            for path in (f"voila/files/{file}", file):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    get(path)
                refused.value.close()
                assert refused.value.code in (403, 404), path
    finally:
        server.send_signal(signal.SIGINT)
        try:
            said = server.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert server.returncode == 0 and "answers are kept" in said
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # nothing is left that listens
