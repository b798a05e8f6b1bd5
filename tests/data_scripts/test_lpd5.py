"""data_scripts.lpd5 on trees in the layout and the two formats of LPD-5, and on files that only look like it."""

import gzip
import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from fractions import Fraction
from math import floor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pypianoroll
import pytest
import symusic
from scipy.sparse import csc_matrix
from test_download import serve  # noqa: F401  (a fixture: servers on this machine)

from course_lib import files, music
from data_scripts import download, lpd5

ROOT = Path(__file__).resolve().parents[2]
TRACKS = {"Drums": 0, "Piano": 0, "Guitar": 24, "Bass": 32, "Strings": 48}  # in the order of the files
BAR = 96  # rows


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A cache of its own, no proxy, no waiting, and shards of two songs."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(lpd5, "SHARD_SONGS", 2)


# ---------------------------------------------------------------- songs as LPD-5 has them


def empty():
    return {name: np.zeros((0, 128), np.uint8) for name in TRACKS}


def song(seed=0, bars=4):
    """{track: uint8 (rows, 128) of velocities}: random notes, a row between two of one pitch, no strings."""
    rng, rolls = np.random.default_rng(seed), empty()
    for name in list(TRACKS)[:4]:
        roll = np.zeros((bars * BAR, 128), np.uint8)
        for start, length, pitch in rng.integers((0, 1, 36), (len(roll), 48, 72), (bars * 8, 3)):
            if not roll[max(0, start - 1) : start + length + 1, pitch].any():
                roll[start : start + length, pitch] = rng.integers(1, 128)
        rolls[name] = roll
    return rolls


def parts_of(rolls):
    """The arrays of a file, and its info.json, as pypianoroll 0.3 writes them."""
    arrays = {"tempo": np.full(4 * BAR, 120.0), "downbeat": np.arange(4 * BAR) % BAR == 0}
    info = {"beat_resolution": 24, "name": "a song"}
    for number, (name, roll) in enumerate(rolls.items()):
        part = csc_matrix(roll)
        arrays |= {
            f"pianoroll_{number}_csc_{key}": getattr(part, key) for key in ("data", "indices", "indptr", "shape")
        }
        info[str(number)] = {"program": TRACKS.get(name, 0), "is_drum": name == "Drums", "name": name}
    return arrays, info


def write(path, arrays, info):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    if info is not None:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("info.json", json.dumps(info), zipfile.ZIP_DEFLATED)
    return path


def save(path, rolls):
    return write(path, *parts_of(rolls))


def save_1_0(path, rolls, kind=pypianoroll.StandardTrack):
    tracks = [kind(name, TRACKS[name], name == "Drums", roll) for name, roll in rolls.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    pypianoroll.Multitrack("a song", 24, tracks=tracks).save(str(path))
    return path


def msd_id(number):
    return f"TR{chr(65 + number % 26)}AA{number:05d}128F42"[:18].ljust(18, "X")


def place(number):
    """Where LPD-5 has a song."""
    name, md5 = msd_id(number), hashlib.md5(b"%d" % number).hexdigest()
    return Path("lpd_5", "lpd_5_cleansed", name[2], name[3], name[4], name, f"{md5}.npz")


@pytest.fixture
def tree(tmp_path):
    """Five songs in LPD-5's layout."""
    for number in range(5):
        save(tmp_path / "tree" / place(number), song(number, bars=number + 1))
    return tmp_path / "tree"


def expected(rolls, steps, resolution=24):
    """The band of some rolls, note by note and in fractions."""
    notes = []
    for channel, name in enumerate(("Piano", "Guitar", "Bass", "Strings", "Drums")):
        for pitch in range(128):
            rows = rolls[name][:, pitch] > 0
            edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(int)))
            for start, end in edges.reshape(-1, 2).tolist():
                first = floor(Fraction(start * steps, resolution) + Fraction(1, 2))
                last = floor(Fraction(end * steps, resolution) + Fraction(1, 2))
                one_step = name == "Drums"  # a stroke has no length
                notes.append((first, first + 1 if one_step else max(last, first + 1), pitch, channel))
    band = np.zeros((max(last for _, last, _, _ in notes), 128, 5), bool)
    for first, last, pitch, channel in notes:
        band[first:last, pitch, channel] = True
    return band


def content(out):
    """{path: bytes} of all that a run left."""
    return {path.name: path.read_bytes() for path in out.iterdir()}


def songs_in(out):
    """{name: (its band, its row in the json)}, read back from the shards."""
    found = {}
    for shard in json.loads((out / "bands.json").read_text())["shards"]:
        packed = np.load(out / shard, mmap_mode="r")
        assert packed.dtype == np.uint8 and packed.shape[1] == 80
        rows = json.loads((out / shard).with_suffix(".json").read_text())["songs"]
        assert [row["first"] for row in rows] == np.cumsum([0] + [row["steps"] for row in rows])[:-1].tolist()
        assert sum(row["steps"] for row in rows) == len(packed)
        for row in rows:
            bits = np.unpackbits(packed[row["first"] : row["first"] + row["steps"]], axis=1)
            found[row["name"]] = (bits.astype(bool).reshape(-1, 128, 5), row)
    return found


def run(*arguments):
    return lpd5.main(list(map(str, arguments)))


# ---------------------------------------------------------------- one song


@pytest.mark.parametrize(
    "steps, start, end, first, last",
    [
        (2, 0, 12, 0, 1),
        (2, 5, 7, 0, 1),
        (2, 6, 7, 1, 2),  # halfway goes up, and the shortest note has a step
        (2, 0, 17, 0, 1),
        (2, 0, 18, 0, 2),
        (2, 30, 31, 3, 4),
        (3, 4, 12, 1, 2),
        (3, 3, 11, 0, 1),
        (1, 11, 12, 0, 1),
        (1, 12, 36, 1, 2),
        (7, 5, 20, 1, 6),
        (24, 3, 11, 3, 11),
    ],
)
def test_a_note_goes_to_the_nearest_steps(tmp_path, steps, start, end, first, last):
    rolls = empty()
    rolls["Bass"] = np.zeros((BAR, 128), np.uint8)
    rolls["Bass"][start:end, 40] = 100
    band = lpd5.read_song(save(tmp_path / "a.npz", rolls), steps)
    assert band.shape == (last, 128, 5) and band.dtype == bool
    assert list(zip(*np.nonzero(band), strict=True)) == [(step, 40, 2) for step in range(first, last)]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 12, 24])
def test_all_notes_as_the_frames_encoding_has_them_and_as_counted_one_by_one(tmp_path, steps):
    rolls = song(7, bars=8)
    band = lpd5.read_song(save(tmp_path / "a.npz", rolls), steps)
    assert np.array_equal(band, expected(rolls, steps))
    for channel, name in enumerate(music.band.INSTRUMENTS[: music.band.DRUMS]):
        change = np.diff(np.pad(rolls[name] > 0, ((1, 1), (0, 0))).astype(int), axis=0).T
        (pitch, start), end = np.nonzero(change == 1), np.nonzero(change == -1)[1]
        score = symusic.Score(24)
        score.tracks.append(symusic.Track())
        numbers = (each.astype(np.int32) for each in (start, end - start, pitch, np.full(len(start), 80)))
        score.tracks[0].notes = symusic.Note.from_numpy(*numbers)
        frames = music.frames.from_score(score, steps)
        assert np.array_equal(band[: len(frames), :, channel], frames) and not band[len(frames) :, :, channel].any()


def test_both_formats_give_the_same(tmp_path):
    rolls = song()
    old = lpd5.read_song(save(tmp_path / "old.npz", rolls))
    assert np.array_equal(old, lpd5.read_song(save_1_0(tmp_path / "new.npz", rolls)))
    binary = {name: roll > 0 for name, roll in rolls.items()}
    assert np.array_equal(old, lpd5.read_song(save_1_0(tmp_path / "binary.npz", binary, pypianoroll.BinaryTrack)))
    assert pypianoroll.load(tmp_path / "old.npz").resolution == 24, "the tests' own files are what they claim"


def test_tracks_are_found_by_name_and_may_differ_in_length(tmp_path):
    rolls = song(3)
    rolls["Drums"] = rolls["Drums"][:50]
    moved = {name: rolls[name] for name in ("Strings", "Bass", "Piano", "Drums", "Guitar")}
    band = lpd5.read_song(save(tmp_path / "a.npz", moved))
    assert np.array_equal(band, expected(rolls, 2)) and not band[:, :, 3].any()


def test_a_run_does_not_go_on_from_one_pitch_to_the_next(tmp_path):
    rolls = empty()
    rolls["Piano"] = np.zeros((24, 128), np.uint8)
    rolls["Piano"][12:, 60] = rolls["Piano"][:12, 61] = 1
    band = lpd5.read_song(save(tmp_path / "a.npz", rolls))
    assert sorted(zip(*np.nonzero(band), strict=True)) == [(0, 61, 0), (1, 60, 0)]


@pytest.mark.parametrize("resolution", [1, 5, 480])
def test_other_resolutions(tmp_path, resolution):
    arrays, info = parts_of(song(1))
    path = write(tmp_path / "a.npz", arrays, info | {"beat_resolution": resolution})
    assert np.array_equal(lpd5.read_song(path, 2), expected(song(1), 2, resolution))


def test_cells_out_of_order_and_stored_zeros(tmp_path):
    arrays, info = parts_of(song(2))
    for number in range(4):
        data, row, edge = (arrays[f"pianoroll_{number}_csc_{key}"] for key in ("data", "indices", "indptr"))
        for start, end in zip(edge[:-1], edge[1:], strict=True):
            row[start:end], data[start:end] = row[start:end][::-1].copy(), data[start:end][::-1].copy()
    assert np.array_equal(lpd5.read_song(write(tmp_path / "a.npz", arrays, info)), expected(song(2), 2))
    arrays["pianoroll_1_csc_data"][:] = 0
    assert not lpd5.read_song(write(tmp_path / "b.npz", arrays, info))[:, :, 0].any()


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def changed(path, info=(), rolls=None, **arrays):
    """A song with some of its parts replaced."""
    parts, about = parts_of(rolls or song())
    return write(
        path, parts | {key.replace("piano_", "pianoroll_1_csc_"): a for key, a in arrays.items()}, about | dict(info)
    )


def npy_claiming(path, shape):
    """A song in which the header of one array claims ``shape``."""
    changed(path)
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["pianoroll_1_csc_indices.npy"] = stream.getvalue() + b"1234"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def compressed_with(path, method):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("info.json", "{}")


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 255
    path.write_bytes(data)


def without(rolls, name):
    return {key: roll for key, roll in rolls.items() if key != name}


BAD = {
    "text": (lambda path: path.write_text("not an archive"), "not readable, BadZipFile: File is not a zip file"),
    "nothing": (lambda path: path.touch(), "not readable, BadZipFile"),
    "cut_off": (lambda path: path.write_bytes(save(path, song()).read_bytes()[:-300]), "not readable, BadZipFile"),
    "damaged": (lambda path: flip(save(path, song()), 900), "not readable"),
    "pickled": (
        lambda path: changed(path, piano_indices=np.array([Trap(path.parent / "sprung")], object)),
        "Object arrays cannot be loaded when allow_pickle=False",
    ),
    "pickle_alone": (
        lambda path: path.write_bytes(pickle.dumps(Trap(path.parent / "sprung"))),
        "not readable, BadZipFile",
    ),
    "not_lpd": (lambda path: np.savez(path, roll=np.zeros((10, 128))), "holds no info.json"),
    "no_arrays": (lambda path: write(path, {"x": np.zeros(1)}, parts_of(song())[1]), "not readable, KeyError"),
    "strange_info": (lambda path: write(path, {"x": np.zeros(1)}, ["a"]), "not readable, AttributeError"),
    "four_tracks": (
        lambda path: save(path, without(song(), "Bass")),
        "has the tracks 'Drums, Piano, Guitar, Strings', not",
    ),
    "six_tracks": (
        lambda path: save(path, song() | {"Organ": song()["Piano"]}),
        "has the tracks 'Drums, Piano, Guitar",
    ),
    "twice_piano": (
        lambda path: changed(path, {"2": {"name": "Piano"}}),
        "has the tracks 'Drums, Piano, Bass, Strings'",
    ),
    "no_resolution": (lambda path: changed(path, {"beat_resolution": None}), "has a resolution of None"),
    "resolution_0": (lambda path: changed(path, {"beat_resolution": 0}), "has a resolution of 0"),
    "silent": (lambda path: save(path, empty()), "holds no notes"),
    "long": (lambda path: changed(path, piano_shape=[10**9, 128]), "claims a roll of shape [1000000000, 128]"),
    "longer_than_its_beats": (
        lambda path: changed(path, {"beat_resolution": 1}, piano_shape=[20_001, 128]),
        "claims a roll of shape [20001, 128]",
    ),
    "negative": (lambda path: changed(path, piano_shape=[-5, 128]), "claims a roll of shape [-5, 128]"),
    "88_keys": (lambda path: changed(path, piano_shape=[BAR, 88]), "claims a roll of shape [96, 88]"),
    "no_shape": (lambda path: changed(path, piano_shape=[BAR]), "claims a roll of shape [96]"),
    "long_header": (lambda path: npy_claiming(path, (10**9,)), "EOF: reading array data"),
    "huge_header": (lambda path: npy_claiming(path, (10**15,)), "not readable"),
    "huge_product": (lambda path: npy_claiming(path, (2**62, 4)), "cannot reshape array"),
    "square": (lambda path: changed(path, piano_data=np.ones((2, 2))), "is no row of numbers (float64 (2, 2))"),
    "row_beyond": (lambda path: changed(path, piano_shape=[3, 128]), "must be < 3"),
    "row_before": (
        lambda path: changed(path, piano_indices=parts_of(song())[0]["pianoroll_1_csc_indices"] - 50),
        "must be >= 0",
    ),
    "fractions": (
        lambda path: changed(path, piano_indices=parts_of(song())[0]["pianoroll_1_csc_indices"] + 0.5),
        "is no row of numbers",
    ),
    "backward": (lambda path: changed(path, piano_indptr=np.arange(129)[::-1]), "index pointer should start with 0"),
    "falling": (
        lambda path: changed(path, piano_data=[1], piano_indices=[1], piano_indptr=[0, 9] + [1] * 127),
        "non-decreasing sequence",
    ),
    "other_compression": (lambda path: compressed_with(path, zipfile.ZIP_LZMA), "is not compressed as numpy does it"),
}


def test_songs_that_cannot_be_used_are_named_and_skipped(tree, tmp_path, capsys):
    for name, (make, _) in BAD.items():
        make(tree / f"bad_{name}.npz")
    (tree / "bad_folder.npz").mkdir()
    assert run("--file", tree, "--out", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "OK  5 songs, " in out and f"{len(BAD)} skipped" in out
    assert f"Skipped {len(BAD)} songs, all named in the json" in err and err.count("\n  ") == lpd5.SHOWN
    shards = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("shard-*.json"))]
    reasons = {row["name"]: row["reason"] for shard in shards for row in shard["skipped"]}
    assert sorted(reasons) == sorted(f"bad_{name}" for name in BAD)
    for name, (_, reason) in BAD.items():
        assert reasons[f"bad_{name}"].startswith(reason) or reason in reasons[f"bad_{name}"], name
        assert "\n" not in reasons[f"bad_{name}"] and len(reasons[f"bad_{name}"]) < 250
    bands = json.loads((tmp_path / "out" / "bands.json").read_text())
    assert len(songs_in(tmp_path / "out")) == 5 and len(bands["shards"]) < len(shards), "no shard without songs"
    assert not list(tree.rglob("sprung"))


def test_sizes_are_looked_at_first(tmp_path, monkeypatch):
    path = save(tmp_path / "a.npz", song())
    found = lpd5.find_songs(tmp_path)[0]
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("read before it was looked at"))
    monkeypatch.setattr(lpd5, "MAX_BYTES", path.stat().st_size)
    with pytest.raises(ValueError, match="unpacks to more than"):
        lpd5.read_song(found.read())
    monkeypatch.setattr(lpd5, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(ValueError, match="larger than"):
        found.read()


def test_no_song_can_be_used_or_there_is_none(tmp_path, capsys):
    (tmp_path / "tree").mkdir()
    assert run("--file", tmp_path / "tree") == 1
    assert f"{tmp_path / 'tree'} holds no .npz file at any depth: give --file" in capsys.readouterr().err
    (tmp_path / "tree" / "a.npz").touch()
    assert run("--file", tmp_path / "tree") == 1
    assert "None of the 1 songs can be used" in capsys.readouterr().err
    assert not list(tmp_path.rglob("bands.json"))


# ---------------------------------------------------------------- shards


def test_the_shards_hold_every_song(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--file", tree, "--out", out, "--steps", 4) == 0
    assert sorted(content(out)) == ["bands.json"] + [
        f"shard-000{i}.{kind}" for i in range(3) for kind in ("json", "npy")
    ]
    bands = json.loads((out / "bands.json").read_text())
    assert len(bands.pop("fingerprint")) == 12
    shards = [f"shard-000{i}.npy" for i in range(3)]
    assert bands == {"steps_per_beat": 4, "shards": shards}
    found = songs_in(out)
    assert list(found) == sorted(found) and len(found) == 5
    for number in range(5):
        name = place(number).relative_to("lpd_5/lpd_5_cleansed").with_suffix("").as_posix()
        band, row = found[name]
        assert np.array_equal(band, expected(song(number, number + 1), 4))
        assert row["instruments"] == ["Piano", "Guitar", "Bass", "Drums"]
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "Found 5 songs (the published set has 21,425)."
    steps = sum(row["steps"] for _, row in found.values())
    assert f"OK  5 songs, {steps:,} steps, 0 skipped: " in said
    assert said.endswith(f"give this folder to --data of notebooks 06 to 11: {out}\n")


def test_names_and_fingerprint_are_the_same_wherever_the_tree_lies(tree, tmp_path):
    places = [tree, tree / "lpd_5", tree / "lpd_5" / "lpd_5_cleansed"]
    for number, place_ in enumerate(places):
        assert run("--file", place_, "--out", tmp_path / str(number)) == 0
    assert content(tmp_path / "0") == content(tmp_path / "1") == content(tmp_path / "2")
    assert run("--file", tree, "--out", tmp_path / "4", "--steps", 4) == 0
    first, other = (json.loads((tmp_path / name / "bands.json").read_text())["fingerprint"] for name in "04")
    assert first != other


def test_another_layout(tmp_path):
    save(tmp_path / "tree" / "mine.npz", song(1))
    save(tmp_path / "tree" / "some folder" / "ä.npz", song(2))
    assert run("--file", tmp_path / "tree", "--out", tmp_path / "out") == 0
    assert list(songs_in(tmp_path / "out")) == ["mine", "some folder/ä"]


def test_what_is_done_is_not_done_again_and_what_is_lost_is(tree, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    run("--file", tree, "--out", out)
    whole, made = content(out), []
    read = lpd5.read_song
    monkeypatch.setattr(lpd5, "read_song", lambda *given: made.append(given) or read(*given))
    assert run("--file", tree, "--out", out) == 0 and made == []
    (out / "shard-0000.npy").unlink()
    (out / "shard-0002.json").unlink()
    assert run("--file", tree, "--out", out) == 0 and len(made) == 3
    assert content(out) == whole


def test_other_songs_or_steps_are_not_mixed(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--file", tree, "--out", out) == 0
    whole = content(out)
    assert run("--file", tree, "--out", out, "--steps", 4) == 1
    save(tree / place(6), song(6))
    assert run("--file", tree, "--out", out) == 1
    said = capsys.readouterr().err
    assert said.count(f"{out} holds shard-000") == 2 and said.count("delete that folder, or give another --out") == 2
    assert content(out) == whole


SLOW = """
import sys, time
from data_scripts import lpd5
lpd5.SHARD_SONGS = 2
read = lpd5.read_song
def slowly(*given):
    time.sleep(0.15)
    return read(*given)
lpd5.read_song = slowly
if __name__ == "__main__":
    sys.exit(lpd5.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a whole console there")
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT] if sys.platform != "win32" else [])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, way):
    for number in range(60):
        save(tmp_path / "tree" / place(number), song(number, bars=1))
    (tmp_path / "slow.py").write_text(SLOW)
    out, arguments = tmp_path / "out", ["--file", str(tmp_path / "tree"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "slow.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("shard-*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(way)
    said = process.communicate(timeout=60)[1]
    if way == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in said
        assert said.endswith("\nStopped: run the same command to go on from here.\n")
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.json")}
    assert 1 <= len(done) < 30 and not (out / "bands.json").exists()

    assert run(*arguments) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in done} == done
    assert run(*arguments[:2], "--out", tmp_path / "at once") == 0
    assert content(out) == content(tmp_path / "at once")


def test_a_folder_that_cannot_be_written_or_is_full(tree, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    assert run("--file", tree, "--out", tmp_path / "file") == 1
    assert run("--file", tree, "--out", tmp_path / "file" / "out") == 1
    assert capsys.readouterr().err.count("or give --out (or set COURSE_CACHE to) a folder that can be written") == 2

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "packbits", full)
        assert run("--file", tree, "--out", tmp_path / "out") == 1
    assert "No space left on device: free some disk space" in capsys.readouterr().err
    assert content(tmp_path / "out") == {}
    assert run("--file", tree, "--out", tmp_path / "out") == 0


# ---------------------------------------------------------------- the archive


@pytest.fixture
def archive(tree, tmp_path):
    with tarfile.open(tmp_path / "lpd_5_cleansed.tar.gz", "w:gz") as tar:
        tar.add(tree / "lpd_5", "lpd_5")
    return tmp_path / "lpd_5_cleansed.tar.gz"


def left():
    """The names in the downloads."""
    return sorted(path.name for path in files.download_folder().glob("*"))


def test_an_archive_is_unpacked_once_and_gives_what_the_folder_gives(archive, tree, tmp_path, monkeypatch):
    assert run("--file", archive) == 0
    assert run("--file", tree, "--out", tmp_path / "out") == 0
    assert content(files.cache_folder() / "lpd5-2") == content(tmp_path / "out")
    monkeypatch.setattr(gzip, "open", lambda *_: pytest.fail("unpacked again"))
    assert run("--file", archive, "--steps", 4) == 0


def with_member(tmp_path, tree, about, data=b""):
    """An archive in which something else stands between the songs."""
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tree / place(0), str(place(0)))
        member = tarfile.TarInfo("lpd_5/evil.npz")
        member.size = len(data)
        for key, value in about.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(data))
        tar.add(tree / place(1), str(place(1)))
    return path


@pytest.mark.parametrize(
    "about",
    [
        {"name": "../evil.npz"},
        {"name": "lpd_5/../../../evil.npz"},
        {"name": "lpd_5/inside/../evil.npz"},
        {"name": "..\\evil.npz"},
        {"name": "/evil.npz"},
        {"name": "C:\\evil.npz"},
        {"name": "..", "type": tarfile.DIRTYPE},
        {"type": tarfile.SYMTYPE, "linkname": "/etc"},
        {"type": tarfile.LNKTYPE, "linkname": str(place(0))},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.CHRTYPE},
    ],
    ids=lambda about: " ".join(map(str, about.values())),
)
def test_nothing_of_an_archive_is_written_to_where_it_says(tmp_path, tree, about):
    before = set(tmp_path.rglob("*"))
    path = with_member(tmp_path, tree, about, b"" if "type" in about else (tree / place(2)).read_bytes())
    assert run("--file", path) == 0
    assert len(songs_in(files.cache_folder() / "lpd5-2")) == (2 if "type" in about else 3)
    assert all(files.cache_folder() in (new, *new.parents) for new in set(tmp_path.rglob("*")) - before - {path})
    assert len(left()) == 1 and not Path("/evil.npz").exists()


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.999])
def test_an_archive_that_was_cut_off(archive, part, capsys):
    data = archive.read_bytes()
    archive.write_bytes(data[: int(part * len(data))])
    assert run("--file", archive) == 1
    said = capsys.readouterr().err
    assert f"{archive} is cut off, damaged or no .tar.gz at all (" in said and said.rstrip().endswith("fetch it again.")
    assert left() == [] and archive.exists()


def test_an_archive_that_was_damaged_or_is_none(archive, capsys):
    data = bytearray(archive.read_bytes())
    checksum = gzip.decompress(data) and bytearray(data)
    checksum[-6] ^= 1  # within the CRC, which stands after all songs
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1].offset_data
    cut_tar = gzip.compress(gzip.decompress(data)[: last + 100])
    data[len(data) // 2] ^= 255
    for wrong in (checksum, cut_tar, data, b"", b"<html>Quota exceeded</html>", gzip.compress(b"text" * 999)):
        archive.write_bytes(wrong)
        assert run("--file", archive) == 1
        assert "is cut off, damaged or no .tar.gz at all (" in capsys.readouterr().err and left() == []
    assert run("--file", archive.with_name("nowhere.tar.gz")) == 1
    assert "There is no file or folder" in capsys.readouterr().err


def test_unpacking_that_was_interrupted_is_done_again(archive, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gzip.GzipFile, "read", interrupted)
        assert run("--file", archive) == 130
    assert "Stopped: run the same command" in capsys.readouterr().err and left() == []
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:12]
    killed = files.download_folder() / f"lpd_5-{digest}.tar.partial"
    killed.write_bytes(b"what a kill would leave" * 99_999)
    assert run("--file", archive) == 0
    assert len(songs_in(files.cache_folder() / "lpd5-2")) == 5 and left() == [f"lpd_5-{digest}.tar"]


# ---------------------------------------------------------------- the download


PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def server(serve, archive):  # noqa: F811
    return serve({"/lpd?id=5": archive.read_bytes()})


def test_the_archive_is_fetched_once(server, archive, tmp_path):
    for steps in (2, 4):
        assert run("--url", server.url + "/lpd?id=5", "--steps", steps) == 0
    assert len(server.asked) == 1
    assert run("--file", archive, "--out", tmp_path / "out") == 0
    assert content(files.cache_folder() / "lpd5-2") == content(tmp_path / "out")


def test_a_download_that_was_cut_off_goes_on(server):
    server.cut_at, server.cuts = 500, download.TRIES + 1
    assert run("--url", server.url + "/lpd?id=5") == 1
    assert [name.endswith(".tar.gz.partial") for name in left()] == [True]
    assert run("--url", server.url + "/lpd?id=5") == 0
    assert [asked for _, asked in server.asked[:2]] == [None, "bytes=500-"]
    assert len(songs_in(files.cache_folder() / "lpd5-2")) == 5


@pytest.mark.parametrize("named", [True, False], ids=["called a page", "called nothing"])
def test_a_web_page_instead_of_the_archive(serve, named, capsys):  # noqa: F811
    server = serve({"/lpd": b"<!DOCTYPE html><html>Google Drive - Quota exceeded</html>"})
    server.headers = PAGE if named else {}
    assert run("--url", server.url + "/lpd") == 1
    said = capsys.readouterr().err
    assert ("answered with a web page instead of the file" in said) == named
    assert "--url" in said and "--file" in said and said.splitlines()[-1].startswith("!!  ") and left() == []


def test_a_web_page_does_not_replace_the_part_that_came_before(server, archive, capsys):
    server.cut_at, server.cuts = 500, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "TRIES", 1)
        assert run("--url", server.url + "/lpd?id=5") == 1
    server.headers = PAGE
    assert run("--url", server.url + "/lpd?id=5") == 1
    assert "web page" in capsys.readouterr().err
    server.headers = {}
    assert run("--url", server.url + "/lpd?id=5") == 0 and server.asked[-1][1] == "bytes=500-"


def test_a_damaged_download_is_not_kept(serve, archive, capsys):  # noqa: F811
    data = archive.read_bytes()
    server = serve({"/lpd": data[:-20]})
    assert run("--url", server.url + "/lpd") == 1
    assert "fetch it again. It was not kept: try another --url, or --file." in capsys.readouterr().err
    assert left() == []
    server.files["/lpd"] = data
    assert run("--url", server.url + "/lpd") == 0


def test_the_published_address_and_wrong_ones(monkeypatch, capsys):
    asked = []
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(download, "fetch", lambda url, *_: asked.append(url) or sys.exit(0))
        run()
    assert len(asked) == 1 and "id=1yz0Ma-6cWTl6mhkrLnAVJ7RNzlQRypQ5" in asked[0]
    assert run("--url", "file:///etc/passwd") == 1
    assert "must start with https:// or http://" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--steps", "0"], "--steps takes 1 to 24"),
        (["--steps", "25"], "--steps takes 1 to 24"),
        (["--url", "http://x", "--file", "y"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_said(arguments, says, capsys):
    with pytest.raises(SystemExit) as stop:
        lpd5.main(arguments)
    assert stop.value.code == 2 and says in capsys.readouterr().err


# ---------------------------------------------------------------- real music


def test_real_music_read_by_pypianoroll(downloaded, tmp_path):
    """MIDI files that pypianoroll reads at 24 steps a beat and saves, its tracks merged into the five."""
    midi = downloaded / "band_midi_children_songs.zip"
    if not midi.exists():
        pytest.skip("band_midi_children_songs.zip is not here: set COURSE_TEST_DATA to the folder that holds it")
    rolls = {}
    with zipfile.ZipFile(midi) as file:
        for number, name in enumerate(file.namelist()[:60:20]):
            (tmp_path / "a.mid").write_bytes(file.read(name))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pretty_midi warns of tempo changes outside the first track
                music = pypianoroll.read(tmp_path / "a.mid", resolution=24)
            rolls[number] = {track: np.zeros((music.get_max_length(), 128), np.uint8) for track in TRACKS}
            for track in music.tracks:
                family = {0: "Piano", 3: "Guitar", 4: "Bass"}.get(track.program // 8, "Strings")
                part = rolls[number]["Drums" if track.is_drum else family]
                part[: len(track.pianoroll)] = np.maximum(part[: len(track.pianoroll)], track.pianoroll)
            write_song = (save, save_1_0, save)[number]
            write_song(tmp_path / "tree" / place(number), rolls[number])
    assert run("--file", tmp_path / "tree", "--out", tmp_path / "out") == 0
    found = {name.split("/")[-2]: band for name, (band, _) in songs_in(tmp_path / "out").items()}
    for number, parts in rolls.items():
        assert np.array_equal(found[msd_id(number)], expected(parts, 2))
        assert found[msd_id(number)].any(axis=(0, 1)).sum() >= 3


def test_a_cluster_writes_the_same_bytes(tmp_path, monkeypatch):
    for number in range(12):
        save(tmp_path / "tree" / place(number), song(number, bars=1))
    monkeypatch.setattr(lpd5, "SHARD_SONGS", 3)
    for out, jobs in (("one", "1"), ("two", "2")):
        assert run("--file", str(tmp_path / "tree"), "--out", str(tmp_path / out), "--jobs", jobs) == 0
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("one", "two"))
    assert one == two and len(one) == 9


def test_no_scheduler_answers(tmp_path, capsys):
    save(tmp_path / "tree" / place(0), song(0, bars=1))
    address = ["--scheduler", "tcp://127.0.0.1:9"]
    assert run("--file", str(tmp_path / "tree"), "--out", str(tmp_path / "out"), *address) == 1
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
