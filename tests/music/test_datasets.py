"""Boulanger-Lewandowski's data sets, and the likelihood that published figures on them are given in."""

import hashlib
import math

import numpy as np
import pytest
from scipy.io import savemat
from scipy.special import expit

from course_lib import files, measure, music

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(music.datasets, "SHARED_DATA", tmp_path / "shared" / "data")


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
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(music.datasets.DOWNLOADS, "jsb", (path.name, sha256))
    return path


# ---------------------------------------------------------------- where a file is found


def test_the_cache_comes_first_then_the_class_folder_then_the_shared_one(monkeypatch, tmp_path, capsys):
    song = cells(*songs_of(3))
    places = [files.download_folder(), tmp_path / "class", music.datasets.SHARED_DATA]
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "class"))
    assert music.datasets.find("jsb") is None
    publish(monkeypatch, places[2] / "small.mat", traindata=song, validdata=song, testdata=song)
    content = (places[2] / "small.mat").read_bytes()
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
    with pytest.raises(ValueError, match="no data set 'lakh': choose jsb, nottingham, muse, piano_midi"):
        music.datasets.polyphonic("lakh")


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
    monkeypatch.setitem(music.datasets.DOWNLOADS, "jsb", (path.name, hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(ValueError, match="in three splits"):
        music.datasets.polyphonic("jsb")


# ---------------------------------------------------------------- likelihood


def test_frame_nll_by_hand():
    # probabilities 1/2 and 3/4 of two pitches; frames 2 and 3 of one song and frame 2 of another count
    logits = np.log([1.0, 3.0])
    first = np.array([[1, 1], [0, 1], [1, 0]], bool)
    second = np.array([[0, 0], [1, 1]], bool)
    expected = (math.log(2) + math.log(4 / 3) + math.log(2) + math.log(4) + math.log(2) + math.log(4 / 3)) / 3
    assert measure.baselines.frame_nll([np.stack([logits, logits]), logits[None]], [first, second]) == pytest.approx(
        expected
    )


def test_frame_nll_is_the_sum_over_pitches_of_binary_crossentropy_over_all_frames_alike():
    songs = [song.astype(bool) for song in songs_of(2, 30, 11)]
    logits = [rng.normal(-2, 2, (len(song) - 1, 88)).astype("float32") for song in songs]
    p, y = expit(np.concatenate(logits).astype(float)), np.concatenate([song[1:] for song in songs])
    expected = -(y * np.log(p) + ~y * np.log(1 - p)).sum(1).mean()
    assert measure.baselines.frame_nll(logits, songs) == pytest.approx(expected, rel=1e-6)
    by_song = np.mean([measure.baselines.frame_nll([a], [b]) for a, b in zip(logits, songs, strict=True)])
    assert by_song != pytest.approx(expected, rel=1e-3), "long songs weigh more"


@pytest.mark.filterwarnings("error")
def test_sure_logits_neither_overflow_nor_vanish():
    song = np.array([[0, 0], [1, 0]], bool)
    right, wrong = np.array([[5000.0, -5000]]), np.array([[-5000.0, 5000]])
    assert measure.baselines.frame_nll([right], [song]) == 0
    assert measure.baselines.frame_nll([wrong], [song]) == 10000
    assert measure.baselines.frame_nll([right / 100], [song]) == pytest.approx(2 * math.exp(-50))
    with np.errstate(invalid="ignore"):
        assert math.isnan(measure.baselines.frame_nll([right * math.nan], [song]))
    assert math.isnan(measure.baselines.frame_nll([np.empty((0, 2))], [song[:1]])), "no second frame"


def test_logits_and_songs_that_do_not_match_are_refused():
    song, logits = np.zeros((5, 88), bool), np.zeros((4, 88))
    for other in (np.zeros((5, 88)), np.zeros((4, 87)), np.zeros(88)):
        with pytest.raises(ValueError, match="predict frames 2 to T"):
            measure.baselines.frame_nll([other], [song])
    for other in (song.astype("float32"), song[0], song[:0]):
        with pytest.raises(ValueError, match="predict frames 2 to T"):
            measure.baselines.frame_nll([logits], [other])
    with pytest.raises(ValueError, match="logits of 1 songs and frames of 2"):
        measure.baselines.frame_nll([logits], [song, song])


def test_marginal_nll_by_hand():
    train = [np.array([[1, 0], [1, 0]], bool), np.array([[0, 0]], bool)]
    test = [np.array([[0, 0], [1, 1]], bool), np.array([[1, 1]], bool)]
    assert measure.baselines.marginal_nll(train, test) == pytest.approx(-math.log(2.5 / 4) - math.log(0.5 / 4))
    with pytest.raises(ValueError, match="needs training songs"):
        measure.baselines.marginal_nll([], test)
    with pytest.raises(ValueError, match="predict frames 2 to T"):
        measure.baselines.marginal_nll([np.zeros((3, 88), bool)], test)


# ---------------------------------------------------------------- the published files


def published(name, monkeypatch, folder):
    monkeypatch.setenv("COURSE_DATA", str(folder))
    if music.datasets.find(name) is None:
        pytest.skip(f"{music.datasets.DOWNLOADS[name][0]} is not here: set COURSE_SHARED_DATA to a folder with it")
    return music.datasets.polyphonic(name)


def test_jsb_chorales_are_as_published(monkeypatch, shared_data):
    jsb = published("jsb", monkeypatch, shared_data)
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


def test_nottingham_is_as_published(monkeypatch, shared_data):
    nottingham = published("nottingham", monkeypatch, shared_data)
    assert measure.baselines.marginal_nll(nottingham["train"], nottingham["test"]) == pytest.approx(10.26, abs=0.005)
