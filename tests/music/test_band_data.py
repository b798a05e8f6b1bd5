"""Bands: songs as packed rolls, in memory or mapped from disk; windows of them; and where they come from."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from course_lib import music


def songs_of(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((steps, 128, 5)) < 0.05 for steps in lengths]


def packed(songs, **options):
    names = [f"song {number}" for number in range(len(songs))]
    return music.band_data.pack(songs, **{"names": names, "steps_per_beat": 2, "fingerprint": "abc"} | options)


class Untouched:
    """A shard that must not be read."""

    def __getitem__(self, place):
        raise AssertionError("music was read that nobody had asked for")


# ---------------------------------------------------------------- songs


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 99))
def test_packed_songs_come_back(lengths, seed):
    songs = songs_of(*lengths, seed=seed)
    bands = packed(songs)
    assert len(bands) == len(songs) and len(list(bands)) == len(songs)
    for song, again in zip(songs, bands, strict=True):
        assert again.dtype == bool and np.array_equal(again, song)


def test_eight_cells_take_a_byte():
    bands = packed(songs_of(100, 50), names=["a", "b"], steps_per_beat=4, fingerprint="f")
    assert sum(shard.nbytes for shard in bands.shards) == 150 * 80 == 150 * 128 * 5 / 8
    assert (bands.names, bands.steps_per_beat, bands.fingerprint) == (["a", "b"], 4, "f")


def test_a_part_has_its_songs_in_its_order_and_shares_the_music():
    songs = songs_of(7, 9, 11, 5)
    bands = packed(songs)
    part = bands.part([3, 1])
    assert part.names == ["song 3", "song 1"] and len(part) == 2
    assert np.array_equal(part[0], songs[3]) and np.array_equal(part[1], songs[1])
    assert part.shards is bands.shards
    assert (part.steps_per_beat, part.fingerprint) == (2, "abc")
    assert bands.part(np.array([2])).part([0]).names == ["song 2"]


# ---------------------------------------------------------------- windows


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 12), st.integers(1, 15), st.integers(1, 3))
def test_windows_are_slices_of_one_song_each(lengths, length, hop, shards):
    songs = songs_of(*lengths)
    bands = spread(songs, shards)
    expected = [
        song[start : start + length] for song in songs for start in range(0, len(song) - length + 1, hop)
    ]  # none crosses into the next song
    if not expected:
        with pytest.raises(ValueError, match=rf"No song has {length} steps \(the longest has {max(lengths)}\): use a"):
            bands.windows(length, hop)
        return
    found = bands.cut(bands.windows(length, hop), length)
    assert found.dtype == bool and np.array_equal(found, expected)


def spread(songs, shards):
    """Bands of these songs over several shards, as data prepared on disk are."""
    places, parts = [], [packed(songs[number::shards] or songs_of(1)) for number in range(shards)]
    for number in range(len(songs)):
        places.append([number % shards, *parts[number % shards].places[number // shards][1:]])
    names = [str(number) for number in range(len(songs))]
    return music.band_data.Bands([part.shards[0] for part in parts], np.array(places), names, 2, "abc")


def test_windows_may_be_cut_in_any_order():
    songs = songs_of(10, 12)
    bands = packed(songs)
    windows = bands.windows(4, 3)
    order = [5, 0, 2, 2]
    assert np.array_equal(bands.cut(windows[order], 4), bands.cut(windows, 4)[order])
    assert np.array_equal(bands.cut(windows, 2), bands.cut(windows, 4)[:, :2]), "another length from the same place"


def test_openings_begin_with_the_second_bar_and_are_used_again_where_songs_are_few():
    songs = songs_of(13, 9, 10, 20)  # at one step a beat; the second is too short
    bands = packed(songs, steps_per_beat=1)
    found = bands.openings(6, 5)
    assert found.shape == (5, 6, 128, 5) and found.dtype == bool
    assert np.array_equal(found, [songs[number][4:10] for number in (0, 2, 3, 0, 2)])
    assert np.array_equal(packed(songs, steps_per_beat=2).openings(5, 1), [songs[0][8:13]])
    with pytest.raises(ValueError, match="No song has 21 steps"):
        bands.openings(17, 1)


def test_excerpts_leave_out_ends_that_do_not_fill_one():
    songs = songs_of(9, 3, 8)
    found = packed(songs).excerpts(4)
    assert np.array_equal(found, [songs[0][:4], songs[0][4:8], songs[2][:4], songs[2][4:]])


def test_nothing_is_read_before_it_is_asked_for():
    songs = songs_of(8, 8)
    read = packed(songs).shards[0]
    bands = music.band_data.Bands([read, Untouched()], np.array([[0, 0, 8], [1, 0, 8], [0, 8, 8]]), list("abc"), 2, "f")
    windows = bands.windows(4, 4)
    assert len(bands.part([1])) == 1 and len(windows) == 6
    assert np.array_equal(bands.cut(windows[[0, 5]], 4), [songs[0][:4], songs[1][4:]])
    assert np.array_equal(bands[2], songs[1])
    with pytest.raises(AssertionError, match="nobody had asked for"):
        bands[1]


# ---------------------------------------------------------------- the chorale band


def test_the_chorale_band_is_loaded_by_default(capsys):
    bands = music.band_data.load()
    pieces = music.chorale_band.load()
    assert bands.names == [piece.name for piece in pieces] and bands.steps_per_beat == 2
    assert bands.fingerprint == music.midi.fingerprint(pieces)
    for number in (0, len(pieces) // 2, -1):
        assert np.array_equal(bands[number], music.band.from_score(pieces[number].score, 2))
    count = len(pieces)
    assert capsys.readouterr().out == (
        f"{count} of {count} songs kept. Not in 4/4: 0 (left out). An instrument is silent: 0 (left out).\n"
    )


# ---------------------------------------------------------------- a folder of MIDI files


def write_song(path, *channels, metre=(4, 4), seed=0):
    """A MIDI file of a random band in which these instruments play."""
    roll = np.zeros((32, 128, 5), bool)
    rng = np.random.default_rng(seed)
    for channel in channels:
        roll[..., channel] = rng.random((32, 128)) < 0.03
        roll[-1, 60, channel] = True
    score = music.band.to_score(roll)
    score.time_signatures = symusic.core.TimeSignatureTickList([symusic.TimeSignature(0, *metre)])
    path.parent.mkdir(parents=True, exist_ok=True)
    score.dump_midi(path)
    return roll


EVERY = range(5)


@pytest.fixture
def folder(tmp_path):
    """Five songs: two whole, one waltz, one without guitar and strings, one zither."""
    rolls = {
        "a": write_song(tmp_path / "a.mid", *EVERY, seed=1),
        "deep/b": write_song(tmp_path / "deep" / "b.mid", *EVERY, seed=2),
        "waltz": write_song(tmp_path / "waltz.mid", *EVERY, metre=(3, 4), seed=3),
        "trio": write_song(tmp_path / "trio.mid", 0, 2, 4, seed=4),
        "zither": write_song(tmp_path / "zither.mid", 0, 1, 2, 3, metre=(3, 4), seed=5),
    }
    return tmp_path, rolls


COUNTED = "Not in 4/4: 2 ({}). An instrument is silent: 2 ({}; Guitar in 1, Strings in 1, Drums in 1).\n"


@pytest.mark.parametrize(
    ("options", "kept", "told"),
    [
        ({}, ["a", "deep/b"], ("left out", "left out")),
        ({"only_four_four": False}, ["a", "deep/b", "waltz"], ("kept", "left out")),
        ({"only_complete": False}, ["a", "deep/b", "trio"], ("left out", "kept")),
        (
            {"only_four_four": False, "only_complete": False},
            ["a", "deep/b", "trio", "waltz", "zither"],
            ("kept", "kept"),
        ),
    ],
)
def test_what_of_a_folder_is_kept_is_said(folder, options, kept, told, capsys):
    path, rolls = folder
    bands = music.band_data.load(path, **options)
    assert bands.names == kept
    for name, song in zip(kept, bands, strict=True):
        assert np.array_equal(song, rolls[name])
    assert capsys.readouterr().out == f"{len(kept)} of 5 songs kept. " + COUNTED.format(*told)


def test_a_folder_on_another_grid(folder, capsys):
    path, rolls = folder
    fine = music.band_data.load(str(path), steps_per_beat=4)
    assert fine.steps_per_beat == 4
    pitched = slice(0, 4)
    assert np.array_equal(fine[0][..., pitched], rolls["a"][..., pitched].repeat(2, axis=0))
    assert np.array_equal(fine[0][::2, :, 4], rolls["a"][..., 4]) and not fine[0][1::2, :, 4].any()


def test_the_fingerprint_is_of_the_songs_that_are_kept(folder, capsys):
    path, _ = folder
    before = music.band_data.load(path).fingerprint
    write_song(path / "trio.mid", 0, 2, seed=6)  # left out before and after
    assert music.band_data.load(path).fingerprint == before
    write_song(path / "a.mid", *EVERY, seed=7)
    assert music.band_data.load(path).fingerprint != before


def test_a_folder_in_which_nothing_holds_five_instruments_is_one_sentence_with_counts(tmp_path, capsys):
    for number in range(3):
        write_song(tmp_path / f"{number}.mid", 0, 1, 2, seed=number)
    write_song(tmp_path / "no drums.mid", 0, 1, 2, 3)
    counts = (
        "0 of 4 songs kept. Not in 4/4: 0 (left out). An instrument is silent: 4 (left out; Strings in 3, Drums in 4)"
    )
    expected = f"No song of {tmp_path} can be used: {counts}. Set only_four_four or only_complete to False."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        music.band_data.load(tmp_path)
    assert capsys.readouterr().out == ""
    assert len(music.band_data.load(tmp_path, only_complete=False)) == 4


def test_no_folder_at_all_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is no folder"):
        music.band_data.load(tmp_path / "nowhere")


# ---------------------------------------------------------------- prepared data


def prepare(folder, *shards, steps_per_beat=2, fingerprint="0123456789ab"):
    """Shards as data_scripts.lpd5 writes them, of lists of rolls."""
    folder.mkdir(exist_ok=True)
    for number, rolls in enumerate(shards):
        packed = [np.packbits(roll.reshape(len(roll), 640), axis=1) for roll in rolls]
        np.save(folder / f"shard-{number:04}.npy", np.concatenate(packed))
        songs, first = [], 0
        for place, roll in enumerate(rolls):
            heard = [music.band.INSTRUMENTS[channel] for channel in np.flatnonzero(roll.any((0, 1)))]
            about = {"name": f"{number}/{place}", "msd_id": "", "genres": [], "instruments": heard}
            songs.append(about | {"first": first, "steps": len(roll)})
            first += len(roll)
        (folder / f"shard-{number:04}.json").write_text(json.dumps({"songs": songs, "skipped": []}))
    index = {"steps_per_beat": steps_per_beat, "shards": [f"shard-{number:04}.npy" for number in range(len(shards))]}
    (folder / "bands.json").write_text(json.dumps(index | {"fingerprint": fingerprint}))
    return folder


@pytest.fixture
def shards():
    """Two shards of two songs, the third of which has no drums."""
    rolls = songs_of(12, 7, 20, 9)
    rolls[2][..., 4] = False
    return rolls[:2], rolls[2:]


def test_prepared_data_are_mapped_and_not_read(tmp_path, shards, capsys):
    bands = music.band_data.load(prepare(tmp_path, *shards))
    assert all(isinstance(shard, np.memmap) for shard in bands.shards)
    assert isinstance(bands.part([0]).shards[0], np.memmap)
    assert not any(shard.flags.writeable for shard in bands.shards)
    assert (bands.names, bands.steps_per_beat, bands.fingerprint) == (["0/0", "0/1", "1/1"], 2, "0123456789ab")
    for song, expected in zip(bands, (*shards[0], shards[1][1]), strict=True):
        assert np.array_equal(song, expected)
    windows = bands.windows(5, 2)
    expected = [song[at : at + 5] for song in bands for at in range(0, len(song) - 4, 2)]
    assert np.array_equal(bands.cut(windows, 5), expected)
    assert capsys.readouterr().out == "3 of 4 songs have all five instruments and are kept.\n"


def test_what_was_read_of_mapped_songs_counts_to_the_process_no_more(tmp_path):
    maps = Path("/proc/self/smaps")
    if not maps.exists():
        pytest.skip("only Linux says how much of a mapped file a process holds")
    bands = music.band_data.load(prepare(tmp_path, songs_of(*[3_000] * 5)))
    assert sum(song.sum() for song in bands), "all of it was read"
    held = maps.read_text().split("shard-0000.npy")[1].split("Rss:")[1].split()
    assert held[:2] == ["0", "kB"]


def test_prepared_songs_that_lack_an_instrument_can_be_kept(tmp_path, shards, capsys):
    bands = music.band_data.load(str(prepare(tmp_path, *shards)), only_complete=False)
    assert bands.names == ["0/0", "0/1", "1/0", "1/1"]
    assert np.array_equal(bands[2], shards[1][0])
    assert capsys.readouterr().out == "3 of 4 songs have all five instruments.\n"


def test_prepared_data_in_which_nothing_holds_five_instruments(tmp_path, shards, capsys):
    trio = [roll * np.array([1, 0, 1, 0, 1], bool) for roll in shards[0]]
    prepare(tmp_path, trio)
    with pytest.raises(ValueError, match="No song of .* has all five instruments: set only_complete to False"):
        music.band_data.load(tmp_path)
    assert len(music.band_data.load(tmp_path, only_complete=False)) == 2


def test_prepared_data_on_another_grid_are_refused(tmp_path, shards):
    prepare(tmp_path, *shards, steps_per_beat=4)
    with pytest.raises(ValueError, match="has 4 steps a beat, and 2 are needed: prepare the data with --steps 2"):
        music.band_data.load(tmp_path)
    assert music.band_data.load(tmp_path, 4).steps_per_beat == 4


DAMAGE = {
    "a missing shard": lambda folder: (folder / "shard-0001.npy").unlink(),
    "a missing list of songs": lambda folder: (folder / "shard-0001.json").unlink(),
    "a shard cut off": lambda folder: (folder / "shard-0000.npy").write_bytes(
        (folder / "shard-0000.npy").read_bytes()[:-80]
    ),
    "a shard that is no array": lambda folder: (folder / "shard-0000.npy").write_bytes(b"music"),
    "an index cut off": lambda folder: (folder / "bands.json").write_text('{"shards": ["shard-'),
    "an index of nothing": lambda folder: (folder / "bands.json").write_text("{}"),
    "pickled objects": lambda folder: np.save(folder / "shard-0000.npy", np.array([{}, []], object)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_prepared_data_that_are_not_whole_are_one_sentence(kind, tmp_path, shards):
    prepare(tmp_path, *shards)
    DAMAGE[kind](tmp_path)
    with pytest.raises(ValueError, match=r"holds no whole set of bands \(.*\): prepare it again") as caught:
        music.band_data.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, shards, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    prepare(tmp_path / "prepared", *shards)
    assert len(music.band_data.load("~/prepared")) == 3


def test_comparable_length_is_one_that_five_songs_reach():
    lengths = [300, 260, 200, 140, 100, 40]
    bands = music.band_data.pack([np.zeros((steps, 128, 5), bool) for steps in lengths], list("abcdef"), 2, "")
    assert bands.comparable_length(64, 32) == 64  # five songs are longer
    assert bands.comparable_length(256, 32) == 96  # the fifth has 100 steps, three blocks
    assert bands.comparable_length(256, 128) == 128  # a block, though the fifth is shorter
    assert bands.part([0, 1]).comparable_length(512, 32) == 256  # of fewer songs, the shortest
