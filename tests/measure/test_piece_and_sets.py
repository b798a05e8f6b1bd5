"""piece and sets: every measure on rolls whose value is known by hand, and against pypianoroll."""

import math

import music21
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pypianoroll import metrics as pypianoroll

from course_lib import measure

pytestmark = pytest.mark.filterwarnings("error")  # an empty roll must not warn

C_MAJOR = (60, 62, 64, 65, 67, 69, 71)


def rolls(notes, length):
    """Piano roll and onset roll from (first step, pitch, steps)."""
    roll, onsets = np.zeros((length, 128), bool), np.zeros((length, 128), bool)
    for start, pitch, steps in notes:
        roll[start : start + steps, pitch] = True
        onsets[start, pitch] = True
    return roll, onsets


def melody(pitches, steps=4):
    return rolls([(i * steps, pitch, steps) for i, pitch in enumerate(pitches)], len(pitches) * steps)


def chorale(name, steps_per_beat=4):
    """Piano roll and onset roll of a piece of the music21 corpus, read without music21's cache: two processes
    that share it can read what the other has half written."""
    notes = [
        (
            round(element.offset * steps_per_beat),
            pitch.midi,
            max(1, round(element.quarterLength * steps_per_beat)),
        )
        for element in music21.corpus.parse(name, forceSource=True).flatten().notes
        for pitch in element.pitches
    ]
    return rolls(notes, max(start + steps for start, _, steps in notes))


REAL = {name: chorale(name) for name in ("bach/bwv66.6", "bach/bwv269", "haydn/opus74no1/movement3")}


def random_roll(seed):
    """Notes of 1 to 6 steps in 8 bars of 16 steps, some of them touching."""
    rng = np.random.default_rng(seed)
    starts, steps = rng.integers(0, 122, 150), rng.integers(1, 7, 150)
    return rolls(zip(starts, rng.integers(24, 108, 150), steps, strict=True), 128)[0]


ALL_ROLLS = {name: roll for name, (roll, _) in REAL.items()} | {f"random {i}": random_roll(i) for i in range(5)}
any_roll = pytest.mark.parametrize("roll", ALL_ROLLS.values(), ids=ALL_ROLLS.keys())


# hypothesis: sparse rolls of 0 to 40 steps, built from notes
some_notes = st.lists(st.tuples(st.integers(0, 39), st.integers(20, 100), st.integers(1, 8)), max_size=20)


def hypothesis_rolls(notes, length):
    kept = [(start, pitch, min(steps, length - start)) for start, pitch, steps in notes if start < length]
    return rolls(kept, length)


# --- each measure by hand ---------------------------------------------------------------------------------


def test_empty_bar_rate():
    roll, _ = rolls([(0, 60, 16), (40, 60, 1)], 64)  # bars 1 and 3 of 4 sound
    assert measure.piece.empty_bar_rate(roll, 16) == 0.5
    assert measure.piece.empty_bar_rate(roll[:33], 16) == pytest.approx(2 / 3)  # a third bar of one silent step
    assert measure.piece.empty_bar_rate(roll, 6) == pytest.approx(7 / 11)  # 3/8: bars 0, 1, 2 and 6 of 11 sound


def test_a_note_that_ends_on_a_bar_line_leaves_the_next_bar_empty():
    # muspy's empty_measure_rate finds no empty bar here: it counts the bar that begins as the note ends.
    roll, _ = rolls([(0, 60, 16), (32, 60, 16)], 48)
    assert measure.piece.empty_bar_rate(roll, 16) == pytest.approx(1 / 3)


def test_notes_per_step():
    roll, _ = rolls([(0, 60, 4), (0, 64, 4), (2, 67, 2)], 8)
    assert measure.piece.notes_per_step(roll) == 10 / 8


def test_pitch_classes_per_bar():
    # Octaves are one pitch class; the empty bar is left out; a held note counts in each of its bars.
    roll, _ = rolls([(0, 60, 4), (0, 72, 4), (4, 64, 4), (16, 60, 32), (20, 65, 2), (24, 127, 2)], 64)
    assert measure.piece.pitch_classes_per_bar(roll, 16) == pytest.approx((2 + 3 + 1) / 3)


def test_pitch_range():
    assert measure.piece.pitch_range(melody([60, 55, 72])[0]) == 17
    assert measure.piece.pitch_range(melody([60])[0]) == 0
    assert measure.piece.pitch_range(melody([0, 127])[0]) == 127


def test_pitch_class_entropy():
    # As muspy's pitch_class_entropy: over notes, not over steps.
    roll, onsets = rolls([(0, 60, 15), (15, 67, 1)], 16)
    assert measure.piece.pitch_class_entropy(onsets) == 1
    assert measure.piece.pitch_class_entropy(melody([60, 72, 48])[1]) == 0
    assert measure.piece.pitch_class_entropy(melody(range(60, 72))[1]) == pytest.approx(math.log2(12))
    assert measure.piece.pitch_class_entropy(melody([60, 62, 64, 64])[1]) == 1.5


def test_pitch_entropy_tells_octaves_apart():
    assert measure.piece.pitch_entropy(melody([60, 72, 60, 72])[1]) == 1
    assert measure.piece.pitch_entropy(melody([60, 60, 60])[1]) == 0
    assert math.isnan(measure.piece.pitch_entropy(np.zeros((4, 128), bool)))


def test_in_scale_rate():
    assert measure.piece.in_scale_rate(melody(C_MAJOR)[1]) == 1
    assert measure.piece.in_scale_rate(melody([69, 71, 72, 74, 76, 77, 79])[1]) == 1  # A minor
    assert measure.piece.in_scale_rate(melody(range(60, 72))[1]) == pytest.approx(7 / 12)
    assert measure.piece.in_scale_rate(melody([*C_MAJOR, 61])[1]) == pytest.approx(7 / 8)


def test_qualified_note_rate():
    roll, onsets = rolls([(0, 60, 1), (0, 64, 2), (4, 60, 3), (8, 60, 4)], 12)
    assert [measure.piece.qualified_note_rate(roll, onsets, steps) for steps in (1, 2, 3, 4, 5)] == [
        1,
        0.75,
        0.5,
        0.25,
        0,
    ]


def test_a_note_ends_where_its_pitch_begins_again():
    roll, onsets = rolls([(0, 60, 1), (1, 60, 1), (2, 60, 4)], 6)
    assert measure.piece.qualified_note_rate(roll, onsets) == pytest.approx(1 / 3)
    assert measure.piece.qualified_note_rate(roll, measure.piece.rising_edges(roll)) == 1


@pytest.mark.parametrize(("steps_per_beat", "shortest"), [(1, 2), (4, 2), (16, 2), (24, 3), (48, 6)])
def test_measures_take_musegan_s_least_note_length_and_two_steps_at_least(steps_per_beat, shortest):
    roll, _ = rolls([(0, 60, shortest), (100, 60, shortest - 1)], 192)
    assert measure.piece.measures(roll, steps_per_beat)["qualified_note_rate"] == 0.5


def test_ioi_entropy():
    assert measure.piece.ioi_entropy(rolls([(t, 60, 1) for t in (0, 2, 4, 6)], 8)[1]) == 0
    assert measure.piece.ioi_entropy(rolls([(t, 60, 1) for t in (0, 1, 4)], 8)[1]) == 1
    assert measure.piece.ioi_entropy(rolls([(t, 60, 1) for t in (0, 1, 2, 4, 7)], 8)[1]) == 1.5
    chords = rolls([(t, pitch, 1) for t in (0, 2, 4) for pitch in (60, 64, 67)], 6)[1]
    assert measure.piece.ioi_entropy(chords) == 0  # the notes of a chord begin together
    assert math.isnan(measure.piece.ioi_entropy(melody([60])[1]))


def test_groove_consistency():
    twice = rolls([(t, 36, 1) for t in (0, 4, 8, 12, 16, 20, 24, 28)], 32)[1]
    assert measure.piece.groove_consistency(twice, 16) == 1  # muspy: 0.875, after counting a third, empty bar
    shifted = rolls([(t, 36, 1) for t in (0, 4, 8, 12, 18, 20, 24, 28)], 32)[1]
    assert measure.piece.groove_consistency(shifted, 16) == pytest.approx(14 / 16)
    every, half = np.arange(16), np.arange(16, 32)
    assert measure.piece.groove_consistency(rolls([(t, 36, 1) for t in every], 32)[1], 16) == 0
    three_bars = rolls([(t, 36, 1) for t in (*every, *half, 32)], 48)[1]
    assert measure.piece.groove_consistency(three_bars, 16) == pytest.approx((1 + 1 / 16) / 2)
    assert measure.piece.groove_consistency(three_bars[:40], 16) == 1  # the incomplete bar is left out
    assert math.isnan(measure.piece.groove_consistency(twice[:31], 16))


def test_commonest_pitch_share():
    assert measure.piece.commonest_pitch_share(melody([60, 60, 62, 60])[1]) == 0.75
    assert measure.piece.commonest_pitch_share(melody([60, 72])[1]) == 0.5


def test_longest_run():
    assert measure.piece.longest_run(melody([60, 62, 62, 62, 64, 62])[1]) == 3
    assert measure.piece.longest_run(melody([60])[1]) == 1
    # A second voice breaks the run, rests do not, and a chord struck again is a run.
    assert measure.piece.longest_run(rolls([(0, 60, 1), (4, 60, 1), (4, 64, 1), (9, 60, 1)], 10)[1]) == 1
    assert measure.piece.longest_run(rolls([(0, 60, 1), (4, 60, 1), (29, 60, 1)], 30)[1]) == 3
    assert measure.piece.longest_run(rolls([(t, p, 1) for t in (0, 2, 4, 6) for p in (60, 64)], 8)[1]) == 4


def test_longest_held_note():
    roll, _ = rolls([(0, 60, 6), (0, 64, 3), (4, 64, 4)], 16)
    assert measure.piece.longest_held_note(roll, steps_per_beat=4) == 1.5


@pytest.mark.parametrize("rest", [0, 1])
@pytest.mark.parametrize("with_onsets", [False, True])
def test_a_stuck_melody_is_caught_with_and_without_onsets_and_rests(rest, with_onsets):
    notes = [(4 * i, pitch, 4) for i, pitch in enumerate(C_MAJOR)] + [(28 + 4 * i, 60, 4 - rest) for i in range(50)]
    roll, onsets = rolls(notes, 228)
    result = measure.piece.measures(roll, onsets=onsets if with_onsets else None)
    stuck_onsets, stuck_beats = result["longest_run"] >= 50, result["longest_held_note"] >= 50
    assert stuck_onsets == (with_onsets or rest == 1)
    assert stuck_beats == (rest == 0)


# --- measures as a whole ----------------------------------------------------------------------------------


def test_touching_repeats_merge_without_onsets():
    roll, onsets = melody([60, 60, 62])
    assert measure.piece.measures(roll)["commonest_pitch_share"] == 0.5
    assert measure.piece.measures(roll, onsets=onsets)["commonest_pitch_share"] == pytest.approx(2 / 3)


def test_rising_edges_are_onsets_though_onsets_omits_them():
    roll, _ = melody([60, 62, 64])
    assert measure.piece.measures(roll, onsets=np.zeros_like(roll)) == measure.piece.measures(roll)


def test_silent_rolls():
    result = measure.piece.measures(np.zeros((64, 128), bool))
    assert result.pop("empty_bar_rate") == 1
    assert result.pop("notes_per_step") == 0
    assert all(math.isnan(value) for value in result.values())


def test_rolls_without_steps():
    assert all(math.isnan(value) for value in measure.piece.measures(np.zeros((0, 128), bool)).values())


def test_a_bar_has_four_beats():
    roll, _ = rolls([(0, 60, 1)], 48)
    assert measure.piece.measures(roll, 4)["empty_bar_rate"] == pytest.approx(2 / 3)
    assert measure.piece.measures(roll, 2)["empty_bar_rate"] == pytest.approx(5 / 6)


@pytest.mark.parametrize("roll", [np.zeros((8, 88), bool), np.zeros(128, bool), np.zeros((8, 128))])
def test_other_arrays_are_refused(roll):
    with pytest.raises(ValueError, match=r"bool \(time, 128\)"):
        measure.piece.measures(roll)
    with pytest.raises(ValueError, match=r"bool \(time, 128\)"):
        measure.sets.variety([roll])


def test_onsets_of_another_piece_are_refused():
    roll, onsets = melody([60, 62])
    for wrong in (melody([60, 64])[1], onsets[:-1]):
        with pytest.raises(ValueError, match="one piece"):
            measure.piece.measures(roll, onsets=wrong)


def test_the_arguments_are_left_as_they_were():
    roll, onsets = melody([60, 60, 62])
    before = roll.copy(), onsets.copy()
    measure.piece.measures(roll, onsets=onsets)
    np.testing.assert_array_equal(before, (roll, onsets))


@given(some_notes, st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_bounds(notes, length, steps_per_beat):
    roll, onsets = hypothesis_rolls(notes, length)
    result = measure.piece.measures(roll, steps_per_beat, onsets)
    assert all(type(value) is float for value in result.values())
    upper = {
        "notes_per_step": 128,
        "pitch_classes_per_bar": 12,
        "pitch_range": 127,
        "pitch_class_entropy": math.log2(12) + 1e-9,
        "ioi_entropy": math.log2(40),
        "longest_run": max(1, onsets.sum()),
        "longest_held_note": length / steps_per_beat,
    }
    for name, value in result.items():
        assert math.isnan(value) or 0 <= value <= upper.get(name, 1), name
    if roll.any():
        assert result["in_scale_rate"] >= 7 / 12 - 1e-9
        assert result["commonest_pitch_share"] >= 1 / 128
        assert result["pitch_classes_per_bar"] >= 1
        assert result["longest_run"] >= 1


@given(some_notes, st.integers(1, 40), st.integers(-20, 20))
def test_transposition_changes_no_measure(notes, length, semitones):
    roll, onsets = hypothesis_rolls(notes, length)
    moved = [np.roll(array, semitones, axis=1) for array in (roll, onsets)]
    expected = measure.piece.measures(roll, onsets=onsets)
    assert measure.piece.measures(moved[0], onsets=moved[1]) == pytest.approx(expected, nan_ok=True)


@given(some_notes, st.integers(1, 40))
def test_each_note_has_its_length(notes, length):
    roll, onsets = hypothesis_rolls(notes, length)
    expected = []
    for pitch in range(128):
        for start in np.flatnonzero(onsets[:, pitch]):
            end = start + 1
            while end < length and roll[end, pitch] and not onsets[end, pitch]:
                end += 1
            expected.append(end - start)
    np.testing.assert_array_equal(measure.piece._note_lengths(roll, onsets), expected)


# --- against pypianoroll, where it is sound ---------------------------------------------------------------


@any_roll
def test_pitch_range_is_pypianoroll_s(roll):
    assert measure.piece.pitch_range(roll) == pypianoroll.pitch_range(roll)


@any_roll
@pytest.mark.parametrize("steps_per_bar", [4, 12, 16])
def test_empty_bar_rate_is_what_pypianoroll_s_empty_beat_rate_leaves(roll, steps_per_bar):
    # pypianoroll 1.0.4 returns the share of beats that sound, against its own docstring.
    whole = roll[: len(roll) // steps_per_bar * steps_per_bar]
    ours = measure.piece.empty_bar_rate(whole, steps_per_bar)
    assert ours == pytest.approx(1 - pypianoroll.empty_beat_rate(whole, steps_per_bar))


@any_roll
@pytest.mark.parametrize("min_steps", [2, 3, 5])
def test_qualified_notes_are_pypianoroll_s_pitch_by_pitch(roll, min_steps):
    # pypianoroll 1.0.4 pairs the k-th start with the k-th end over all pitches, and fails on bool:
    # it is right for one pitch at a time, in integers.
    starts = measure.piece.rising_edges(roll)
    notes, whole = starts.sum(0), roll.astype(int)
    played = np.flatnonzero(notes)
    qualified = sum(notes[p] * pypianoroll.qualified_note_rate(whole[:, p : p + 1], min_steps) for p in played)
    assert measure.piece.qualified_note_rate(roll, starts, min_steps) == pytest.approx(qualified / notes.sum())


@any_roll
def test_in_scale_rate_is_pypianoroll_s_best_once_octaves_are_where_it_looks(roll):
    # pypianoroll 1.0.4 adds up ten neighbouring pitches as one class: lay the octaves of each class there.
    starts = measure.piece.rising_edges(roll)
    assert not starts[:, 120:].any()
    laid_out = np.zeros((len(starts), 128))
    laid_out[:, :120] = starts[:, :120].reshape(-1, 10, 12).transpose(0, 2, 1).reshape(-1, 120)
    best = max(pypianoroll.in_scale_rate(laid_out, root, mode) for root in range(12) for mode in ("major", "minor"))
    assert measure.piece.in_scale_rate(starts) == pytest.approx(best)
    used = np.unique(np.flatnonzero(starts.any(0)) % 12)
    assert pypianoroll.n_pitch_classes_used(laid_out) == len(used)
    assert measure.piece.pitch_classes_per_bar(roll, len(roll)) == len(used)


def test_real_music_is_in_a_key_and_has_no_endless_note():
    for roll, onsets in REAL.values():
        result = measure.piece.measures(roll, onsets=onsets)
        assert result["in_scale_rate"] > 0.8
        assert 2 < result["pitch_class_entropy"] < math.log2(12)
        assert result["longest_run"] <= 8


# --- variety ----------------------------------------------------------------------------------------------


def test_variety_of_copies_is_zero_and_of_pieces_without_a_common_cell_one():
    low, high = melody([60, 60, 60, 60])[0], melody([61, 61, 61, 61])[0]
    assert measure.sets.variety([low, low, low]) == 0
    assert measure.sets.variety([low, high]) == 1
    assert measure.sets.variety([low, low, high]) == pytest.approx(2 / 3)
    assert measure.sets.variety([low, melody([60, 60, 61, 61])[0]]) == 0.5


def test_variety_compares_pieces_of_unequal_length():
    bar, _ = melody([60, 64, 67, 72])
    assert measure.sets.variety([bar, np.tile(bar, (5, 1))]) == pytest.approx(0)
    # One bar and its first note again: 8 of 20 cells are that C, where it were 4 of 16.
    assert measure.sets.variety([bar, np.tile(bar, (2, 1))[:20]]) == pytest.approx(8 / 20 - 4 / 16)


def test_variety_of_silent_pieces_and_of_small_sets():
    silent, sounding = np.zeros((16, 128), bool), melody([60])[0]
    assert measure.sets.variety([silent, silent[:0]]) == 0
    assert measure.sets.variety([silent, sounding]) == 1
    assert math.isnan(measure.sets.variety([sounding])) and math.isnan(measure.sets.variety([]))


@given(st.lists(st.tuples(some_notes, st.integers(0, 40)), min_size=2, max_size=5))
def test_variety_is_between_0_and_1_and_blind_to_order(pieces):
    some = [hypothesis_rolls(*piece)[0] for piece in pieces]
    value = measure.sets.variety(some)
    assert 0 <= value <= 1 + 1e-9
    assert measure.sets.variety(some[::-1]) == pytest.approx(value)


# --- compare ----------------------------------------------------------------------------------------------


def pieces(*values):
    return [{"pitch_range": value} for value in values]


def test_compare_has_a_row_for_each_measure():
    real = [measure.piece.measures(roll, onsets=onsets) for roll, onsets in REAL.values()]
    generated = [measure.piece.measures(random_roll(i)) for i in range(6)]
    rows = measure.sets.compare(generated, real)
    assert [row["measure"] for row in rows] == list(real[0])
    for row in rows:
        assert row["real"] == pytest.approx(np.mean([piece[row["measure"]] for piece in real]))
        assert row["generated_low"] <= row["generated"] <= row["generated_high"]
        assert row["real_low"] <= row["real"] <= row["real_high"]
        assert 0 <= row["overlap"] <= 1
    assert rows == measure.sets.compare(generated, real)  # a fixed seed
    assert {row["measure"]: row["overlap"] for row in rows}["in_scale_rate"] == 0


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(10, 2, 400)
    row = measure.sets.compare(pieces(*values), pieces(5, 5, 5))[0]
    assert row["generated_low"] == pytest.approx(values.mean() - 1.96 * 2 / 20, abs=0.05)
    assert row["generated_high"] == pytest.approx(values.mean() + 1.96 * 2 / 20, abs=0.05)
    assert (row["real"], row["real_low"], row["real_high"]) == (5, 5, 5)


@pytest.mark.parametrize(
    ("generated", "real", "overlap"),
    [
        ([3], [3], 1),
        ([3], [4], 0),
        ([3, 3, 3], [3], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], 1),
        ([1, 2, 3, 4], [4.1, 5, 6, 7], 0),
        ([0.5, 0.5], [0.5, 0.5, 0.7], 2 / 3),
        ([1, 2, 3, 4, 1e9], [11, 12, 13, 14, 15], 0.4),  # an outlier does not hide the difference
        ([8] * 9, [1, 2, 3, 4, 8, 12, 13, 14, 15], 5 / 9),  # collapsed onto the middle of the real range
    ],
)
def test_overlap(generated, real, overlap):
    assert measure.sets.compare(pieces(*generated), pieces(*real))[0]["overlap"] == pytest.approx(overlap)


def test_overlap_of_two_halves_of_one_distribution_is_about_0_8():
    rng = np.random.default_rng(2)
    for size in (20, 100):
        draws = [measure.sets._overlap(rng.normal(size=size), rng.normal(size=size)) for _ in range(300)]
        assert np.mean(draws) == pytest.approx(0.8, abs=0.05)


@given(arrays(float, st.integers(1, 40), elements=st.floats(-1e6, 1e6)), st.integers(0, 2**32 - 1))
def test_overlap_of_a_set_with_itself_is_one(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    assert measure.sets._overlap(values, shuffled) == pytest.approx(1)
    assert measure.sets._overlap(values, values + np.ptp(values) + 1) == 0


@given(*[arrays(float, st.integers(1, 30), elements=st.floats(-100, 100))] * 2)
def test_overlap_is_symmetric_and_bounded(a, b):
    assert 0 <= measure.sets._overlap(a, b) <= 1 + 1e-9
    assert measure.sets._overlap(a, b) == measure.sets._overlap(b, a)


def test_pieces_without_a_value_are_left_out():
    row = measure.sets.compare(pieces(math.nan, 2, 4), pieces(3))[0]
    assert (row["generated"], row["real"]) == (3, 3)
    assert math.isnan(row["real_low"]) and math.isnan(row["real_high"])
    row = measure.sets.compare(pieces(math.nan), pieces(3, 4))[0]
    assert all(math.isnan(row[key]) for key in ("generated", "generated_low", "overlap"))
    assert row["real"] == 3.5


@pytest.mark.parametrize(
    ("generated", "real"), [([], pieces(1)), (pieces(1), []), (pieces(1), [{"in_scale_rate": 1.0}])]
)
def test_compare_refuses_empty_sets_and_other_measures(generated, real):
    with pytest.raises(ValueError, match="one or more pieces"):
        measure.sets.compare(generated, real)


# --- changes ----------------------------------------------------------------------------------------------


def test_changes_leave_out_the_steps_that_repeat_the_one_before():
    roll, _ = rolls([(0, 60, 4), (2, 64, 2), (6, 60, 3), (9, 62, 1)], 12)
    words = measure.sets.changes(roll)
    assert len(words) == 6  # C; C and E; silence; C; D; silence
    assert words[0] == words[3] and words[2] == words[5] and len(set(words)) == 4
    assert measure.sets.changes(np.repeat(roll, 3, axis=0)) == words, "slower music changes as often"
    assert measure.sets.changes(roll[:1]) == words[:1]


@given(arrays(bool, st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(1, 3))))
def test_changes_are_one_word_for_each_different_step(roll):
    """Of a band too, and of any number of cells, whether or not they fill a byte."""
    expected = [step for step, before in zip(roll, [None, *roll], strict=False) if not np.array_equal(step, before)]
    words = measure.sets.changes(roll)
    assert len(words) == len(expected)
    for one, first in zip(words, expected, strict=True):
        for other, second in zip(words, expected, strict=True):
            assert (one == other) == np.array_equal(first, second)


def test_changes_of_a_band_tell_instruments_apart_and_feed_novelty():
    piano, guitar = np.zeros((8, 128, 5), bool), np.zeros((8, 128, 5), bool)
    piano[::2, 60, 0] = guitar[::2, 60, 1] = True
    assert set(measure.sets.changes(piano)) & set(measure.sets.changes(guitar)) == {bytes(80)}
    copied, new = ([measure.sets.changes(roll)] for roll in (piano, guitar))
    assert measure.sets.novelty(copied, copied, 4)["copied_share"] == 1
    assert measure.sets.novelty(new, copied, 4)["copied_share"] == 0
    assert measure.sets.changes(np.zeros((0, 128, 5), bool)) == []


# --- novelty ----------------------------------------------------------------------------------------------


def test_novelty_by_hand():
    training = [list("abcdefgh"), list("xyzxyz")]
    result = measure.sets.novelty([list("ppbcdepp"), list("xyz"), list("qqqq")], training, n=3)
    # bcde: 4 notes, 2 of 6 trigrams; xyz: 3 notes, 1 of 1; nothing: 0 of 2
    assert result == pytest.approx(
        {"longest_copied_run": 7 / 3, "longest_copied_run_max": 4, "copied_share": (2 / 6 + 1 + 0) / 3}
    )


def test_a_run_does_not_cross_from_song_to_song():
    training = [["a", "b", "c"], ["d", "e", "f"]]
    assert measure.sets.novelty([["b", "c", "d", "e"]], training, n=2)["longest_copied_run"] == 2
    assert measure.sets.novelty([["a", "b"], ["c", "d"]], [["a", "b", "c", "d"]])["longest_copied_run"] == 2


def test_novelty_of_a_copy_and_of_integers():
    song = np.random.default_rng(3).integers(0, 30, 200)
    result = measure.sets.novelty([song.tolist()], [song, song[::-1]])
    assert result == {"longest_copied_run": 200, "longest_copied_run_max": 200, "copied_share": 1}
    assert measure.sets.novelty([[1, 2, 3]], [["1", "2", "3"]], n=1)["copied_share"] == 0


def test_novelty_without_notes_or_songs():
    assert measure.sets.novelty([["a"] * 9], []) == {
        "longest_copied_run": 0,
        "longest_copied_run_max": 0,
        "copied_share": 0,
    }
    short = measure.sets.novelty([[], ["a", "b"]], [["a", "b"]])
    assert (short["longest_copied_run"], short["longest_copied_run_max"]) == (1, 2)
    assert math.isnan(short["copied_share"])
    assert all(math.isnan(value) for value in measure.sets.novelty([], [["a"]]).values())


def test_novelty_refuses_a_single_sequence_and_n_of_zero():
    for generated, training in ((["C4", "D4"], [["C4"]]), ([["C4"]], ["C4", "D4"]), ([1, 2], [[1]])):
        with pytest.raises(ValueError, match="into a list"):
            measure.sets.novelty(generated, training)
    with pytest.raises(ValueError, match="n is 0"):
        measure.sets.novelty([["C4"]], [["C4"]], n=0)


songs = st.lists(st.text("abc", max_size=12).map(list), max_size=4)


@given(songs, songs, st.integers(1, 4))
def test_novelty_is_what_trying_every_run_finds(generated, training, n):
    texts = ["".join(song) for song in training]

    def stands(run):
        return any("".join(run) in text for text in texts)

    longest, shares = [], []
    for song in generated:
        runs = [song[i:j] for i in range(len(song)) for j in range(i + 1, len(song) + 1)]
        longest.append(max((len(run) for run in runs if stands(run)), default=0))
        if len(song) >= n:
            shares.append(np.mean([stands(song[i : i + n]) for i in range(len(song) - n + 1)]))
    expected = {
        "longest_copied_run": np.mean(longest) if longest else math.nan,
        "longest_copied_run_max": max(longest, default=math.nan),
        "copied_share": np.mean(shares) if shares else math.nan,
    }
    assert measure.sets.novelty(generated, training, n) == pytest.approx(expected, nan_ok=True)


def test_novelty_of_songs_copied_whole():
    rng = np.random.default_rng(4)
    training = [[f"class {note}" for note in rng.integers(0, 60, 1000)] for _ in range(50)]
    new = [[f"class {note}" for note in rng.integers(0, 60, 500)] for _ in range(20)]
    copied = measure.sets.novelty([song[:500] for song in training[:20]], training)
    assert copied["longest_copied_run"] == 500 and copied["copied_share"] == 1
    assert measure.sets.novelty(new, training)["longest_copied_run"] < 10


# --- mean overlap -----------------------------------------------------------------------------------------


def test_mean_overlap_counts_what_is_missing_as_nothing():
    row = {"measure": "x", "generated": 1.0, "real": 1.0, "overlap": 0.6}
    missing = row | {"generated": math.nan, "overlap": math.nan}
    unknown = row | {"real": math.nan, "overlap": math.nan}
    assert measure.sets.mean_overlap([row, missing]) == pytest.approx(0.3)
    assert measure.sets.mean_overlap([row, unknown]) == pytest.approx(0.6)
    assert math.isnan(measure.sets.mean_overlap([unknown]))


def test_mean_overlap_of_silence_is_low():
    real = [measure.piece.measures(np.eye(32, 128, 60 + i, dtype=bool), 4) for i in range(5)]
    silence = [measure.piece.measures(np.zeros((32, 128), bool), 4) for _ in range(5)]
    assert measure.sets.mean_overlap(measure.sets.compare(silence, real)) < 0.2
    assert measure.sets.mean_overlap(measure.sets.compare(real, real)) > 0.8


# --- place between floor and ceiling ----------------------------------------------------------------------


def with_x(*values, **others):
    """Pieces with one value of "x" each; `others` are values of further measures, the same for all."""
    return [{"x": float(value), **others} for value in values]


TEN, FAR, NEAR = with_x(*range(10)), with_x(*range(100, 110)), with_x(*(each + 0.5 for each in range(10)))


def test_the_floor_is_at_0_and_the_ceiling_at_1():
    assert measure.sets.place(FAR, TEN, FAR, NEAR)["place"] == 0
    assert measure.sets.place(NEAR, TEN, FAR, NEAR)["place"] == 1


def test_a_place_by_hand():
    # Bins hold a third of both sets together each. Of TEN 4, 3 and 3 pieces lie in them, of NEAR 3, 3 and 4: .9 shared.
    half = with_x(*range(5), *range(100, 105))  # 4, 1 and 5 beside 4, 4 and 2: .7
    found = measure.sets.place(half, TEN, FAR, NEAR)
    assert list(found) == ["overlap", "floor", "ceiling", "place"]
    assert (found["floor"], found["ceiling"]) == (0, pytest.approx(0.9))
    assert (found["overlap"], found["place"]) == pytest.approx((0.7, 0.7 / 0.9))


def test_a_place_may_lie_below_noise_and_above_other_real_music():
    near = with_x(*(each + 5.0 for each in range(10)))  # noise that shares half of its range with real music
    below = measure.sets.place(FAR, TEN, near, NEAR)
    assert below["place"] < 0 and below["place"] == pytest.approx(-below["floor"] / (below["ceiling"] - below["floor"]))
    assert measure.sets.place(TEN, TEN, FAR, NEAR)["place"] > 1


def test_measures_that_are_constant_in_real_music_do_not_count():
    """All sets agree in them, or differ in what real music does not tell of."""
    plain = measure.sets.place(NEAR, TEN, FAR, NEAR)
    for value in (1.0, math.nan):
        constant = [[piece | {"y": value} for piece in each] for each in (TEN, FAR, NEAR)]
        assert measure.sets.place(constant[2], *constant) == plain
        strange = [piece | {"y": 7.0} for piece in NEAR]
        assert measure.sets.place(strange, *constant) == plain
    varied = [[piece | {"y": piece["x"] % 2} for piece in each] for each in (TEN, FAR, NEAR)]
    assert measure.sets.place([piece | {"y": 7.0} for piece in NEAR], *varied)["overlap"] < plain["overlap"]


def test_what_the_generated_pieces_lack_counts_as_no_overlap():
    both = [[piece | {"y": piece["x"]} for piece in each] for each in (TEN, FAR, NEAR)]
    lacking = [piece | {"y": math.nan} for piece in NEAR]
    assert measure.sets.place(lacking, *both)["place"] == pytest.approx(0.5)


def test_where_noise_is_as_near_as_real_music_there_is_no_place():
    assert math.isnan(measure.sets.place(TEN, TEN, NEAR, NEAR)["place"])
    assert math.isnan(measure.sets.place(TEN, TEN, NEAR, FAR)["place"])
    constant = [with_x(1, 1, 1)] * 4
    assert math.isnan(measure.sets.place(*constant)["place"])


def test_noise_and_real_rolls_stand_where_they_should():
    rng = np.random.default_rng(0)
    steps = np.arange(64)

    def melody():
        roll = np.zeros((64, 128), bool)
        roll[steps, 60 + np.cumsum(rng.integers(-2, 3, 64)).clip(-20, 20)] = True
        return roll

    real, other, made = ([melody() for _ in range(16)] for _ in range(3))
    noise = measure.baselines.noise(np.array(real), rng)
    sets = [[measure.piece.measures(roll, 4) for roll in rolls] for rolls in (made, real, noise, other)]
    assert measure.sets.place(*sets)["place"] == pytest.approx(1, abs=0.25)
    assert measure.sets.place(sets[2], *sets[1:])["place"] == 0
