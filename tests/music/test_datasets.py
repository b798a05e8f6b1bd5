"""Boulanger-Lewandowski's data sets, and the likelihood that published figures on them are given in."""

import hashlib
import re

import numpy as np
import pytest
from scipy.io import savemat

from course_lib import files, measure, music

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COURSE_DATA", raising=False)


def cells(*songs):
    """A row of MATLAB cells."""
    row = np.empty((1, len(songs)), object)
    row[0, :] = [np.asarray(song) for song in songs]
    return row


def songs_of(*lengths, dtype="uint8"):
    return [(rng.random((length, 88)) < 0.05).astype(dtype) for length in lengths]


def publish(monkeypatch, path, **content):
    """Write a .mat file, and take it for the published "jsb"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)
    register(monkeypatch, path)
    return path


def register(monkeypatch, path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = music.datasets.REGISTRY["jsb"]._replace(file=path.name, sha256=sha256)
    monkeypatch.setitem(music.datasets.REGISTRY, "jsb", entry)


# ---------------------------------------------------------------- where a file is found


def test_the_cache_comes_first_then_the_class_folder(monkeypatch, tmp_path, capsys):
    song = cells(*songs_of(3))
    places = [files.download_folder(), tmp_path / "class"]
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "class"))
    assert music.datasets.find("jsb") is None
    publish(monkeypatch, places[1] / "small.mat", traindata=song, validdata=song, testdata=song)
    content = (places[1] / "small.mat").read_bytes()
    for place in reversed(places):
        place.mkdir(parents=True, exist_ok=True)
        (place / "small.mat").write_bytes(content)
        assert music.datasets.find("jsb") == place / "small.mat"
    assert capsys.readouterr().err == ""

    (places[0] / "small.mat").write_bytes(content[:-1])
    assert music.datasets.find("jsb") == places[1] / "small.mat"
    assert capsys.readouterr().err.startswith(f"Passed over {places[0] / 'small.mat'}: its SHA-256")


def test_a_missing_data_set_names_the_command_that_fetches_it():
    with pytest.raises(ValueError, match=r"'muse' is not here: run `python -m data_scripts.download muse`"):
        music.datasets.polyphonic("muse")
    for name in ("lakh", "asap", "lpd5"):  # the last two are known, but no single file
        with pytest.raises(ValueError, match=f"no data set '{name}': choose jsb, nottingham, muse, piano_midi\\."):
            music.datasets.polyphonic(name)


def test_every_data_set_says_where_it_is_from_and_how_it_is_checked():
    registry = music.datasets.REGISTRY
    assert list(registry) == ["jsb", "nottingham", "muse", "piano_midi", "asap", "lpd5"]
    for name, entry in registry.items():
        assert entry.address.startswith("https://") and not entry.address.endswith("/")
        assert entry.title and entry.licence and entry.used_by
        assert bool(entry.file) == bool(re.fullmatch("[0-9a-f]{64}", entry.sha256)) == (name not in ("asap", "lpd5"))


# ---------------------------------------------------------------- what is in it


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_songs_come_back_as_they_were_written(monkeypatch, dtype):
    # one split has songs of equal length, which numpy likes to merge into one array
    splits = {name: songs_of(*n, dtype=dtype) for name, n in (("train", (9, 9)), ("valid", (1,)), ("test", (4, 7)))}
    content = {f"{name}data": cells(*songs) for name, songs in splits.items()}
    publish(monkeypatch, files.download_folder() / "small.mat", **content)
    read = music.datasets.polyphonic("jsb")
    assert list(read) == ["train", "valid", "test"]
    for name, songs in splits.items():
        assert [song.dtype for song in read[name]] == [bool] * len(songs)
        assert all(np.array_equal(a, b) for a, b in zip(read[name], songs, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 87), "uint8"),
        np.full((5, 88), 2, "uint8"),
        np.full((5, 88), np.nan),
        np.zeros((0, 88), "uint8"),
        "a text",
    ],
    ids=["87 pitches", "velocities", "nan", "no frames", "text"],
)
def test_anything_else_than_frames_of_88_pitches_is_refused(monkeypatch, wrong):
    song = cells(*songs_of(5))
    path = files.download_folder() / "small.mat"
    publish(monkeypatch, path, traindata=song, validdata=cells(*songs_of(5), wrong), testdata=song)
    with pytest.raises(ValueError, match=r"small.mat holds no songs of 88 pitches in three splits \(a song of"):
        music.datasets.polyphonic("jsb")


def test_a_missing_split_a_bare_matrix_and_a_file_of_another_kind_are_refused(monkeypatch):
    song, path = cells(*songs_of(5)), files.download_folder() / "small.mat"
    publish(monkeypatch, path, traindata=song, validdata=song)
    with pytest.raises(ValueError, match="in three splits .*testdata"):
        music.datasets.polyphonic("jsb")
    publish(monkeypatch, path, traindata=song, validdata=song, testdata=songs_of(5)[0])
    with pytest.raises(ValueError, match="in three splits"):
        music.datasets.polyphonic("jsb")
    path.write_bytes(b"no MATLAB" * 100)
    register(monkeypatch, path)
    with pytest.raises(ValueError, match="in three splits"):
        music.datasets.polyphonic("jsb")


# ---------------------------------------------------------------- the published files


def published(name, monkeypatch, folder):
    monkeypatch.setenv("COURSE_DATA", str(folder))
    if music.datasets.find(name) is None:
        pytest.skip(f"{music.datasets.REGISTRY[name].file} is not in $COURSE_TEST_DATA")
    return music.datasets.polyphonic(name)


def test_jsb_chorales_are_as_published(monkeypatch, downloaded):
    jsb = published("jsb", monkeypatch, downloaded)
    assert (downloaded / "JSB_Chorales.mat").stat().st_size == music.datasets.REGISTRY["jsb"].size
    assert [len(songs) for songs in jsb.values()] == [229, 76, 77]
    assert sum(len(song) for song in jsb["test"]) == 4725
    assert sum(len(song) - 1 for song in jsb["test"]) == 4648  # what frame_nll averages over

    # The authors' own lists of the first song begin with these MIDI pitches.
    first = [np.flatnonzero(frame) + music.datasets.LOWEST_KEY for frame in jsb["train"][0][:3]]
    assert [pitches.tolist() for pitches in first] == [[60, 72, 79, 88], [72, 79, 88], [67, 70, 76, 84]]
    songs = [song for split in jsb.values() for song in split]
    last_bass = [song[-1].argmax() + music.datasets.LOWEST_KEY for song in songs]
    assert np.mean(np.array(last_bass) % 12 == 0) > 0.9, "almost all end on C"
    assert measure.baselines.marginal_nll(jsb["train"], jsb["test"]) == pytest.approx(11.09, abs=0.005)


def test_nottingham_is_as_published(monkeypatch, downloaded):
    nottingham = published("nottingham", monkeypatch, downloaded)
    assert measure.baselines.marginal_nll(nottingham["train"], nottingham["test"]) == pytest.approx(10.26, abs=0.005)
