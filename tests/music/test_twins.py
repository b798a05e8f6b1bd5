"""Near twins: songs that are nearly the same music, known by their content."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import music
from course_lib.music.twins import COMMON, near_twins


def song(seed, chords=40, hold=2):
    """Random chords of three notes between pitches 40 and 80, each held for some steps, then a rest."""
    rng = np.random.default_rng(seed)
    roll = np.zeros((chords * (hold + 1), 128), bool)
    for number in range(chords):
        start = number * (hold + 1)
        roll[start : start + hold, rng.choice(np.arange(40, 80), 3, replace=False)] = True
    return roll


def transposed(roll, semitones):
    return np.roll(roll, semitones, axis=1)


def joined(*rolls):
    return np.concatenate(rolls)


def test_a_copy_in_another_key_is_a_twin_and_another_song_is_not():
    twins = near_twins([song(0), song(1), transposed(song(0), 5), song(2), transposed(song(2), -7)])
    assert twins[0] == twins[2] and twins[3] == twins[4]
    assert len({twins[0], twins[1], twins[3]}) == 3


def test_a_copy_at_another_tempo_with_other_rests_is_a_twin():
    slow, late = song(0, hold=5), joined(np.zeros((7, 128), bool), song(0))
    assert len(set(near_twins([song(0), slow, late]))) == 1


def test_music_of_other_chords_in_the_same_rhythm_is_none():
    assert len(set(near_twins([song(seed) for seed in range(10)]))) == 10


@pytest.mark.parametrize("shared, twins", [(0, False), (8, False), (12, False), (20, True), (40, True)])
def test_a_quarter_of_the_shorter_song_must_be_shared(shared, twins):
    """Of 40 chords, 39 intervals and 32 runs; n chords shared at the start are n - 8 runs: a quarter of 32 is 8."""
    other = song(1)
    other[: shared * 3] = song(0)[: shared * 3]
    first, second = near_twins([song(0), other])
    assert (first == second) == twins


def test_the_share_is_that_of_the_shorter_song():
    short, long = song(0, chords=12), joined(song(0, chords=12), song(1, chords=200))
    assert near_twins([short, long])[0] == near_twins([short, long])[1]
    long = joined(song(1, chords=100), song(0)[:27], song(2, chords=100))  # nine chords, one run of 32
    assert len(set(near_twins([song(0), long]))) == 2
    assert len(set(near_twins([song(0), long], share=0.01))) == 1


def test_what_is_linked_by_twins_is_one_group():
    bridge = joined(song(0), song(1))
    twins = near_twins([song(0), bridge, song(1), song(2)])
    assert len({*twins[:3]}) == 1 and twins[3] != twins[0]


def test_empty_and_short_rolls_have_no_twin():
    empty, short = np.zeros((16, 128), bool), song(0, chords=3)
    twins = near_twins([empty, short, short, empty, song(0), np.zeros((0, 128), bool)])
    assert len(set(twins)) == 6
    assert near_twins([]) == []
    assert near_twins([empty]) == [0]


def test_a_repeated_note_makes_no_twins():
    """However often one chord is struck, it is one chord; and what many songs share is an idiom."""
    held = np.zeros((64, 128), bool)
    held[::2, 60] = True
    assert len(set(near_twins([held, held]))) == 2
    many = [joined(song(99, chords=20), song(seed, chords=4)) for seed in range(COMMON + 1)]
    assert len(set(near_twins(many))) == COMMON + 1
    assert len(set(near_twins(many[:5]))) == 1


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(-20, 20))
def test_groups_are_those_of_the_songs_whatever_their_order_and_key(seeds, semitones):
    twins = near_twins([transposed(song(seed), semitones * (place % 2)) for place, seed in enumerate(seeds)])
    assert len(twins) == len(seeds)
    same = [[a == b for b in seeds] for a in seeds]
    assert [[a == b for b in twins] for a in twins] == same


def test_bands_know_their_twins_by_the_pitched_instruments():
    rolls = []
    for seed in (0, 1, 0):
        roll = np.zeros((120, 128, 5), bool)
        roll[..., len(rolls)] = song(seed)  # whichever instrument plays it
        roll[::2, 36 + len(rolls), 4] = True
        rolls.append(roll)
    data = music.band_data.pack(rolls, ["a", "b", "c"], 2, "f")
    first, second, third = data.near_twins()
    assert first == third != second
