"""Who hears what, and the answers on disk."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import filelock
import pytest

from course_lib import UsageError
from course_lib.listening import build, sessions

CNN, RNN, REAL, XL = "2D CNN", "RNN (Chen et al.)", "Real music, band", "Transformer-XL"
ANN, BEN = "abcdefgh", "23456789"


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


def test_the_last_answer_to_an_item_counts(folder, tmp_path, an_answer):
    test = sessions.load(folder)
    (tmp_path / "test.json").write_text((folder / "test.json").read_text())
    assert sessions.answers(tmp_path) == []
    for listener, number, when in ((ANN, 0, 1), (BEN, 0, 2), (ANN, 1, 3), (ANN, 0, 4)):
        sessions.append(tmp_path, an_answer(test, listener, number, when))
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4
    times = {(a["listener"], a["item"]): a["time"][-8:-6] for a in sessions.answers(tmp_path)}
    assert times == {(ANN, 0): "04", (BEN, 0): "02", (ANN, 1): "03"}
    assert sessions.answers(tmp_path)[0] == an_answer(test, ANN, 0, 4)


TEST_JSON = """{
 "id": "0123abcd",
 "form": "FORM",
 "seconds": 10,
 "clips": [
  {
   "id": "0000000000",
   "system": "2D CNN",
   "kind": "band",
   "real": false,
   "source": "base/07_cnn_2d/pieces/2d_cnn_01.mid",
   "profile": "quick"
  },
  {
   "id": "0000000001",
   "system": "Real music, band",
   "kind": "band",
   "real": true,
   "source": "base/07_cnn_2d/pieces/real_music_band_01.mid",
   "profile": "quick"
  }
 ],
 "seed": 0
}
"""


@pytest.mark.parametrize(
    "form, clips, given",
    [
        ("rating", '"0000000000"', '{"rating": 10}'),
        ("scales", '"0000000000"', '{"Flow": 5, "Rhythm": 0, "Classical": 3, "Repetitive": 1, "Correct": 2}'),
        ("pairs", '"0000000001", "0000000000"', '{"preferred": "0000000001"}'),
    ],
)
def test_files_that_a_class_has_can_be_read(tmp_path, form, clips, given):
    (tmp_path / "test.json").write_text(TEST_JSON.replace("FORM", form))
    line = (
        f'{{"test": "0123abcd", "listener": "{ANN}", "item": 0, "clips": [{clips}], "repeat": false, '
        f'"answer": {given}, "time": "2026-01-01T12:30:00+00:00"}}'
    )
    (tmp_path / "answers.jsonl").write_text(line + "\n")
    assert sessions.load(tmp_path) == json.loads(TEST_JSON.replace("FORM", form))
    assert sessions.answers(tmp_path) == [json.loads(line)]
    sessions.append(tmp_path, json.loads(line))
    assert (tmp_path / "answers.jsonl").read_text() == f"{line}\n{line}\n", "written otherwise than read"


def test_torn_and_foreign_lines_are_skipped_and_counted(rating, an_answer):
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


def test_an_answer_to_what_was_not_asked_is_refused(folder, tmp_path, an_answer):
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
    wrong = {"matching regex": {"listener": "<script>"}, ">= 0": {"item": -1}, "got `bool`": {"item": False}}
    for said, change in wrong.items():
        with pytest.raises(ValueError, match=said):
            sessions.append(tmp_path, last | change)
    with pytest.raises(ValueError, match=f"Listener {ANN} has no item 0 with these clips"):
        sessions.append(tmp_path, last | {"item": 0})
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


def test_two_processes_that_write_at_once_lose_nothing(rating, an_answer):
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
def test_a_killed_writer_loses_nothing_that_was_acknowledged(rating, an_answer):
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


def test_an_answer_is_on_disk_before_it_is_acknowledged(rating, monkeypatch, an_answer):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((rating / "answers.jsonl").read_bytes()))
    sessions.append(rating, an_answer(sessions.load(rating), ANN, 0))
    assert synced == [(rating / "answers.jsonl").read_bytes()] and synced[0].endswith(b"}\n")
