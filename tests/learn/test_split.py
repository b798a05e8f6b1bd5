import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.learn.split import Vocabulary, all_windows, split_songs

# ---------------------------------------------------------------- splits by song

proportions = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(proportions, st.integers(0, 60), st.integers(0, 2**32))
def test_a_split_deals_every_song_once_and_the_same_way_for_a_seed(parts, extra, seed):
    songs = [f"song {number}" for number in range(len(parts) + extra)]
    split = split_songs(songs, parts, seed)
    dealt = [song for part in split for song in part]
    assert sorted(dealt) == sorted(songs)  # none lost, none twice
    assert len(split) == len(parts) and all(split)
    assert split_songs(songs, parts, seed) == split


@given(proportions, st.integers(1, 6), st.integers(0, 99))
def test_counts_are_exact_where_the_songs_divide(parts, times, seed):
    split = split_songs(range(sum(parts) * times), parts, seed)
    assert [len(part) for part in split] == [times * share for share in parts]


@given(proportions, st.integers(0, 60))
def test_counts_are_within_one_of_the_ideal_or_the_one_song_each_part_needs(parts, extra):
    count = len(parts) + extra
    split = split_songs(range(count), parts)
    ideal = np.array(parts) / sum(parts) * count
    if ideal.min() >= 1:
        assert np.abs([len(part) for part in split] - ideal).max() < 1 + 1e-9


def test_the_split_of_the_paper():
    assert [len(part) for part in split_songs(range(16))] == [10, 3, 3]
    assert [len(part) for part in split_songs(range(3))] == [1, 1, 1]
    assert [len(part) for part in split_songs(range(5), (100, 1, 1))] == [3, 1, 1]


def test_seeds_split_differently():
    splits = {tuple(map(tuple, split_songs(range(16), seed=seed))) for seed in range(30)}
    assert len(splits) == 30
    held_out = [song for seed in range(200) for song in split_songs(range(16), seed=seed)[2]]
    assert min(np.bincount(held_out, minlength=16)) > 15  # 37.5 expected: every song gets its turn


@pytest.mark.parametrize("songs", [0, 1, 2])
def test_fewer_songs_than_parts_is_one_sentence(songs):
    with pytest.raises(ValueError, match=f"needs at least 3 songs, and there are {songs}: add songs") as caught:
        split_songs(range(songs))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- groups of songs


@st.composite
def grouped(draw):
    """Proportions, and the group of each song: at least as many groups as parts."""
    parts = draw(proportions)
    extra = draw(st.lists(st.integers(0, len(parts) + 8), max_size=40))
    return parts, draw(st.permutations([*range(len(parts)), *extra]))


@given(grouped(), st.integers(0, 99))
def test_a_group_is_never_split_no_song_is_lost_and_no_part_is_empty(parts_and_groups, seed):
    parts, groups = parts_and_groups
    split = split_songs(range(len(groups)), parts, seed, groups)
    assert sorted(song for part in split for song in part) == list(range(len(groups)))
    assert len(split) == len(parts) and all(split)
    where = [{groups[song] for song in part} for part in split]
    assert sum(map(len, where)) == len(set(groups)), "each group stands in one part"
    assert split_songs(range(len(groups)), parts, seed, groups) == split


@given(proportions, st.integers(0, 60), st.integers(0, 99))
def test_groups_of_one_song_are_no_groups(parts, extra, seed):
    songs = [f"song {number}" for number in range(len(parts) + extra)]
    assert split_songs(songs, parts, seed, groups=range(len(songs))) == split_songs(songs, parts, seed)


def test_groups_of_pairs_fit_the_proportions_as_nearly_as_they_can():
    sizes = [
        [len(part) for part in split_songs(range(32), (10, 3, 3), seed, [song // 2 for song in range(32)])]
        for seed in range(20)
    ]
    assert all(size == [20, 6, 6] for size in sizes)
    sizes = [
        [len(part) for part in split_songs(range(9), (1, 1, 1), seed, [0, 0, 0, 0, 1, 2, 3, 4, 5])]
        for seed in range(20)
    ]
    assert all(max(size) <= 7 and min(size) >= 1 for size in sizes)


def test_groups_need_a_group_for_each_part_and_an_entry_for_each_song():
    message = "needs at least 3 songs, and there are 2 groups of them: add songs"
    with pytest.raises(ValueError, match=message):
        split_songs(range(5), groups=["a", "a", "b", "b", "b"])
    with pytest.raises(ValueError):
        split_songs(range(5), groups=[0, 1])


# ---------------------------------------------------------------- vocabularies

songs_of_names = st.lists(st.lists(st.sampled_from(["C4", "C#4", "0.4.7_half", "rest", "B-3"]), max_size=9))


@given(songs_of_names)
def test_a_vocabulary_gives_every_class_back(songs):
    vocabulary = Vocabulary(songs)
    assert len(vocabulary) == len({name for song in songs for name in song})
    assert vocabulary.classes == sorted(vocabulary.classes)
    for song in songs:
        integers = vocabulary.encode(song)
        assert integers.dtype == "int32" and integers.shape == (len(song),)
        assert vocabulary.decode(integers) == song
        assert all(0 <= integer < len(vocabulary) for integer in integers)
    assert Vocabulary(songs[::-1]).classes == vocabulary.classes


def test_an_unknown_class_is_named():
    vocabulary = Vocabulary([["C4", "D4"], ["E4"]])
    with pytest.raises(ValueError, match="The vocabulary of 3 classes has no class 'F4'"):
        vocabulary.encode(["C4", "F4"])


# ---------------------------------------------------------------- windows


def test_windows_by_hand():
    inputs, targets = all_windows([np.array([5, 6, 7, 8, 9], "int32")], 3)
    assert inputs.tolist() == [[5, 6, 7], [6, 7, 8]]
    assert targets.tolist() == [8, 9]
    assert inputs.dtype == targets.dtype == "int32"
    one, after = all_windows([np.arange(4)], 3)
    assert one.tolist() == [[0, 1, 2]] and after.tolist() == [3]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 6))
def test_no_window_crosses_from_one_song_into_the_next(lengths, length):
    songs = [100 * number + np.arange(notes) for number, notes in enumerate(lengths)]
    expected = [
        (song[start : start + length].tolist(), song[start + length])
        for song in songs
        for start in range(len(song) - length)
    ]
    if not expected:
        with pytest.raises(
            ValueError,
            match=rf"No song is longer than a window of {length} notes \(the longest has {max(lengths)}\)",
        ):
            all_windows(songs, length)
        return
    inputs, targets = all_windows(songs, length)
    assert list(zip(inputs.tolist(), targets.tolist(), strict=True)) == expected


def test_no_songs_at_all_is_the_same_sentence():
    with pytest.raises(ValueError, match="No song is longer than a window of 8 notes .the longest has 0"):
        all_windows([], 8)
