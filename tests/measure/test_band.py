"""band: every measure on bands whose value is known by hand, and on real band music."""

import math
import zipfile

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from pypianoroll import metrics as pypianoroll
from scipy.stats import mannwhitneyu

from course_lib import measure

pytestmark = pytest.mark.filterwarnings("error")  # an empty roll must not warn

PIANO, GUITAR, BASS, STRINGS, DRUMS = range(5)
PITCHED = slice(0, DRUMS)
C, C_SHARP, D, E, F_SHARP, G = 60, 61, 62, 64, 66, 67


def band(notes, length):
    """Band roll from (first step, pitch, steps, channel)."""
    roll = np.zeros((length, 128, 5), bool)
    for start, pitch, steps, channel in notes:
        roll[start : start + steps, pitch, channel] = True
    return roll


def chords(*channels, length=8):
    """Band roll in which each channel holds its pitches throughout."""
    return band([(0, pitch, length, i) for i, pitches in enumerate(channels) for pitch in pitches], length)


def random_band(seed, length=64, density=0.02):
    return np.random.default_rng(seed).random((length, 128, 5)) < density


# --- harmonic distance ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pitches", "distance"),
    [
        ([C], 0),
        ([C + 24], 0),  # octaves do not matter
        ([G], 1 - (math.cos(math.pi / 6) + 0 - 1 / 8) / 2.25),  # 1 step of fifths, 1 of minor thirds, 1 of major
        ([F_SHARP], 1 - (-1 - 1 + 1 / 4) / 2.25),  # opposite on two circles, at one place on the third
        ([C, D, E, F_SHARP, 68, 70], 1),  # a whole-tone scale has no direction
        (range(60, 72), 1),
    ],
)
def test_harmonic_distance_of_two_instruments(pitches, distance):
    assert measure.band.harmonic_distance(chords([C], pitches), 2) == pytest.approx(distance)
    assert measure.band.harmonic_distance(chords([], [], pitches, [C]), 2) == pytest.approx(distance)


def test_related_pitch_classes_lie_closer():
    fifth, tone, semitone, tritone = (
        measure.band.harmonic_distance(chords([C], [pitch]), 2) for pitch in (G, D, C_SHARP, F_SHARP)
    )
    assert 0 < fifth < tone < semitone < tritone


def test_harmonic_distance_is_the_mean_over_the_pairs_that_sound():
    fifth = measure.band.harmonic_distance(chords([C], [G]), 2)
    assert measure.band.harmonic_distance(chords([C], [C], [G]), 2) == pytest.approx(2 * fifth / 3)
    assert measure.band.harmonic_distance(chords([C], [C], [G], [G]), 2) == pytest.approx(4 * fifth / 6)


def test_harmonic_distance_is_the_mean_over_the_windows_in_which_both_sound():
    fifth = measure.band.harmonic_distance(chords([C], [G]), 2)
    # Windows of 4 steps: apart by a fifth; the same; one instrument alone; nothing; apart, and not whole.
    notes = [(0, C, 12, PIANO), (0, G, 4, BASS), (4, C, 4, BASS), (16, C, 1, PIANO), (17, G, 1, STRINGS)]
    roll = band(notes, 18)
    assert measure.band.harmonic_distance(roll, 2) == pytest.approx(2 * fifth / 3)
    assert measure.band.harmonic_distance(roll[:16], 2) == pytest.approx(fifth / 2)
    assert measure.band.harmonic_distance(roll, 2, beats=1) == pytest.approx(3 * fifth / 5)


def test_pitch_classes_weigh_as_long_as_they_sound():
    long, short = (band([(0, C, 4, PIANO), (0, G, n, BASS), (n, C, 4 - n, BASS)], 4) for n in (3, 1))
    assert measure.band.harmonic_distance(short, 2) < measure.band.harmonic_distance(long, 2)


def test_drums_have_no_harmony():
    roll = chords([C], [C], length=16)
    roll[:, 35:60, DRUMS] = True
    assert measure.band.harmonic_distance(roll, 2) == pytest.approx(0)
    assert math.isnan(measure.band.harmonic_distance(chords([], [], [C], [], [38]), 2))


def test_harmonic_distance_does_not_grow_with_length():
    # pypianoroll 1.0.4's tonal_distance does, by the root of the number of steps; it takes 12 steps a beat only.
    roll = random_band(0, length=48, density=0.1)
    again = np.tile(roll, (4, 1, 1))
    assert measure.band.harmonic_distance(again, 12) == pytest.approx(measure.band.harmonic_distance(roll, 12))
    one, four = (pypianoroll.tonal_distance(bars[..., PIANO], bars[..., BASS], 12) for bars in (roll, again))
    assert four == pytest.approx(2 * one)


@given(st.integers(0, 99), st.integers(1, 40), st.sampled_from([0.003, 0.02, 0.2]), st.integers(-11, 11))
def test_harmonic_distance_is_bounded_and_blind_to_transposition_and_to_the_order_of_instruments(
    seed, length, density, semitones
):
    roll = random_band(seed, length, density)
    roll[:, [*range(12), *range(116, 128)]] = False  # room to move
    value = measure.band.harmonic_distance(roll, 2)
    moved = np.roll(roll, semitones, axis=1)[..., [STRINGS, BASS, PIANO, GUITAR, DRUMS]]
    assert math.isnan(value) or 0 <= value <= 2
    assert measure.band.harmonic_distance(moved, 2) == pytest.approx(value, nan_ok=True)


# --- drum patterns ----------------------------------------------------------------------------------------


def hits(*steps, length=48):
    onsets = np.zeros((length, 128), bool)
    onsets[list(steps), 38] = True
    return onsets


def test_drum_pattern_rate():
    # 24 steps a beat, as LPD: sixteenths fall on every sixth step.
    assert measure.band.drum_pattern_rate(hits(0, 6, 12, 18, 24), 24) == 1
    assert measure.band.drum_pattern_rate(hits(0, 1, 5, 8, 24, 30, 40, 47), 24) == 3 / 8
    # 4 steps a beat: eighths; on 2, every step is one.
    assert measure.band.drum_pattern_rate(hits(0, 1, 2, 4, 7), 4) == 3 / 5
    assert measure.band.drum_pattern_rate(hits(*range(48)), 2) == 1
    assert math.isnan(measure.band.drum_pattern_rate(hits(), 24))


def test_drum_pattern_rate_counts_notes_and_not_steps():
    onsets = hits(0, 1)
    onsets[0, 42] = onsets[0, 36] = True
    assert measure.band.drum_pattern_rate(onsets, 24) == 3 / 4


@pytest.mark.parametrize("steps_per_beat", [4, 6, 8, 12, 16, 24])
def test_drum_pattern_is_pypianoroll_s_without_its_tolerance(steps_per_beat):
    onsets = np.random.default_rng(steps_per_beat).random((steps_per_beat, 128)) < 0.1
    ours = measure.band.drum_pattern_rate(onsets, steps_per_beat)
    assert ours == pytest.approx(pypianoroll.drum_in_pattern_rate(onsets, steps_per_beat, tolerance=0))


# --- shuffled partners ------------------------------------------------------------------------------------


def labelled(pieces, bars=8, steps_per_bar=8):
    """Bands whose instruments hold pitch 10 * piece + bar, a bar each."""
    return [
        np.concatenate([chords(*[[10 * i + bar]] * 5, length=steps_per_bar) for bar in range(bars)])
        for i in range(pieces)
    ]


def test_shuffled_takes_each_instrument_from_another_piece_and_other_bars():
    for pieces in (5, 9):
        bands = measure.band.shuffled(labelled(pieces), 2, np.random.default_rng(0))
        assert len(bands) == pieces
        sources = []
        for roll in bands:
            assert roll.shape == (64, 128, 5) and roll.dtype == bool and (roll.sum(1) == 1).all()
            pitches = roll.argmax(1)  # (time, channels)
            assert (pitches // 10 == pitches[0] // 10).all() and len(set(pitches[0] // 10)) == 5
            assert (pitches.reshape(8, 8, 5) == pitches[::8, None]).all()  # bars stay whole
            assert (np.diff(pitches[::8], axis=0) % 8 == 1).all()  # and in order, the first after the last
            assert all(len(set(row)) == 5 for row in pitches % 10)  # five different bars at any time
            sources.append(pitches[0] // 10)
        for channel in np.transpose(sources):
            assert sorted(channel) == list(range(pieces))  # each instrument of each piece once


def test_shuffled_crops_to_the_shortest_and_follows_its_generator():
    bands = [roll[: 8 * (i + 3) - 1] for i, roll in enumerate(labelled(5, bars=8))]  # none ends on a bar line
    before = [roll.copy() for roll in bands]
    first, again, other = (measure.band.shuffled(bands, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [len(roll) for roll in first] == [16] * 5  # whole bars of the shortest
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for was, roll in zip(before, bands, strict=True):
        np.testing.assert_array_equal(was, roll)


def test_shuffled_pieces_shorter_than_a_bar_stay_whole():
    bands = measure.band.shuffled([chords([60 + i], length=3) for i in range(5)], 2, np.random.default_rng(0))
    assert {int(roll[0, :, PIANO].argmax()) for roll in bands} == {60, 61, 62, 63, 64}
    assert all(len(roll) == 3 for roll in bands)


def test_shuffled_needs_a_piece_for_each_instrument():
    with pytest.raises(ValueError, match="5 pieces or more, one for each instrument, but got 4"):
        measure.band.shuffled(labelled(4), 2, np.random.default_rng(0))


# --- instruments in other bars ----------------------------------------------------------------------------


@pytest.mark.parametrize("bars", [5, 8])
def test_shifted_moves_each_instrument_to_bars_of_its_own(bars):
    piece = labelled(1, bars)[0][: 8 * bars]
    [moved] = measure.band.shifted([piece], 2, np.random.default_rng(0))
    assert moved.shape == piece.shape and moved.dtype == bool
    starts = []
    for channel in range(5):
        shifts = [
            bar for bar in range(bars) if (np.roll(piece[..., channel], -8 * bar, 0) == moved[..., channel]).all()
        ]
        assert len(shifts) == 1, "it is the same part, begun at another bar"
        starts += shifts
    assert len(set(starts)) == 5, "and no two instruments stay together"


def test_shifted_keeps_key_density_and_every_note():
    pieces = in_unison(0, pieces=3)
    for piece, moved in zip(pieces, measure.band.shifted(pieces, 2, np.random.default_rng(0)), strict=True):
        assert (moved.sum(0) == piece.sum(0)).all()


def test_shifted_leaves_out_pieces_of_one_bar_and_the_rest_of_a_bar():
    pieces = [chords([C], [G], length=length) for length in (8, 15, 16, 20)]
    assert [len(piece) for piece in measure.band.shifted(pieces, 2, np.random.default_rng(0))] == [16, 16]
    assert measure.band.shifted([], 2, np.random.default_rng(0)) == []


def test_in_fewer_than_five_bars_some_instruments_stay_together():
    piece = labelled(1, 2)[0][:16]
    [moved] = measure.band.shifted([piece], 2, np.random.default_rng(0))
    stayed = [(moved[..., i] == piece[..., i]).all() for i in range(5)]
    assert 2 <= sum(stayed) <= 3, "of two bars, each is the beginning of two or three instruments"


def test_shifted_follows_its_generator():
    pieces = in_unison(0, pieces=2)
    one, same, other = (measure.band.shifted(pieces, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))


# --- togetherness -----------------------------------------------------------------------------------------


def in_unison(seed, pieces=12, bars=8, instruments=4):
    """Bands with a triad of their own in each bar, which all instruments play."""
    rng = np.random.default_rng(seed)
    return [
        np.concatenate(
            [chords(*[rng.integers(48, 60) + np.array([0, 4, 7])] * instruments, length=8) for _ in range(bars)]
        )
        for _ in range(pieces)
    ]


def togetherness(generated, real, seed=0):
    return measure.band.togetherness(generated, real, 2, np.random.default_rng(seed))


def test_togetherness_is_1_for_music_like_the_real_and_0_where_any_bar_would_do():
    real = in_unison(0)
    assert togetherness(in_unison(1), real) == pytest.approx(1, abs=0.15)
    apart = measure.band.shifted(in_unison(1), 2, np.random.default_rng(5))
    assert togetherness(apart, real) == pytest.approx(0, abs=0.15)
    assert togetherness([random_band(i, 64) for i in range(12)], real) == pytest.approx(0, abs=0.15)


def test_strangers_in_one_key_are_not_together():
    """What made music in one key look coherent: here every chord is of the same two."""
    rng = np.random.default_rng(3)
    triads = [np.array([C, E, G]), np.array([G, G + 4, G + 7])]
    independent = [
        np.concatenate([chords(*[triads[rng.integers(2)] for _ in range(4)]) for _ in range(16)]) for _ in range(12)
    ]
    together = [np.concatenate([chords(*[triads[rng.integers(2)]] * 4) for _ in range(16)]) for _ in range(12)]
    assert togetherness(independent, together) == pytest.approx(0, abs=0.2)
    assert togetherness(in_unison(1), together) > 1, "more chords, more to miss"


def test_togetherness_lies_between_where_one_instrument_of_four_is_a_stranger():
    half = in_unison(1)
    for roll, other in zip(half, in_unison(2), strict=True):
        roll[..., BASS] = other[..., BASS]
    # 3 of 6 pairs fit, and 3 lie as far apart as other bars do.
    assert togetherness(half, in_unison(0)) == pytest.approx(0.5, abs=0.15)


def test_togetherness_where_nothing_can_be_told_apart():
    silent = [np.zeros((16, 128, 5), bool)] * 5
    one_chord = [chords(*[[C, E, G]] * 4, length=64)] * 6
    assert math.isnan(togetherness(in_unison(0), one_chord))
    assert math.isnan(togetherness(silent, in_unison(0)))
    assert math.isnan(togetherness(in_unison(0), silent))
    assert togetherness(one_chord, in_unison(0)) == pytest.approx(0), "nothing to miss in other bars"
    one_bar = [roll[:8] for roll in in_unison(0)]
    assert math.isnan(togetherness(one_bar, in_unison(0)))


def test_want_of_variety_between_pieces_does_not_count():
    assert togetherness(in_unison(3)[:1] * 6, in_unison(0)) == pytest.approx(1, abs=0.35)


def test_togetherness_follows_its_generator():
    sets = in_unison(1), in_unison(0)
    assert togetherness(*sets, seed=3) == togetherness(*sets, seed=3) != togetherness(*sets, seed=4)


# --- the table of harmony ---------------------------------------------------------------------------------


def mean_distance(rolls):
    return pytest.approx(np.mean([measure.band.harmonic_distance(roll, 2) for roll in rolls]))


def test_the_table_holds_what_togetherness_is_made_of_for_each_set():
    real, random = in_unison(0), [random_band(seed, 64) for seed in range(8)]
    table = measure.band.harmony_table({"real": real, "random": random}, 2, seed=3)
    assert list(table) == ["real", "random"]
    for name, bands in (("real", real), ("random", random)):
        row = table[name]
        assert list(row) == ["partners", "other bars", "strangers", "togetherness", "variety"]
        assert row["variety"] == measure.band.variety(bands, 2)
        assert row["partners"] == mean_distance(bands)
        assert row["other bars"] == mean_distance(measure.band.shifted(bands, 2, np.random.default_rng(3)))
        assert row["strangers"] == mean_distance(measure.band.shuffled(bands, 2, np.random.default_rng(3)))
        assert row["togetherness"] == togetherness(bands, real, seed=3)
    assert table["real"]["partners"] == pytest.approx(0) and table["real"]["other bars"] > 0.3
    assert table["real"]["togetherness"] == pytest.approx(1, abs=0.1)
    assert abs(table["random"]["togetherness"]) < 0.15
    assert measure.band.harmony_table({"real": real}, 2, seed=3)["real"] == table["real"]
    assert measure.band.harmony_table({"real": real}, 2, seed=4)["real"]["other bars"] != table["real"]["other bars"]


def test_the_table_of_few_or_silent_pieces_has_gaps():
    real, few = in_unison(0), in_unison(1, pieces=4)
    table = measure.band.harmony_table({"few": few, "silent": [np.zeros((16, 128, 5), bool)] * 6, "real": real}, 2)
    assert table["few"]["partners"] == pytest.approx(0)
    assert math.isnan(table["few"]["strangers"]), "of fewer than five pieces there are none"
    assert table["few"]["togetherness"] == pytest.approx(1, abs=0.3), "which needs no strangers"
    silent = table["silent"]
    assert silent.pop("variety") == 0 and all(map(math.isnan, silent.values()))
    assert not any(map(math.isnan, table["real"].values()))


# --- all measures of a piece ------------------------------------------------------------------------------


def test_band_measures_of_a_piece_by_hand():
    # Two bars of 8 steps. Piano: C in both; strings: G in the first; bass silent; guitar and drums in the second.
    notes = [(0, C, 16, PIANO), (0, G, 8, STRINGS), (8, C, 4, GUITAR), (12, D, 4, GUITAR)]
    roll = band([*notes, *((step, 38, 1, DRUMS) for step in (8, 10, 12))], 16)
    result = measure.band.measures(roll, 2)
    assert result["empty_bar_rate"] == 0 and result["notes_per_step"] == (16 + 8 + 4) / 16
    assert result["pitch_range"] == 7 and result["commonest_pitch_share"] == 0.5  # C, G, C of the guitar, D
    rates = [result[f"empty_bar_rate {name}"] for name in measure.band.CHANNELS]
    assert rates == [0, 0.5, 1, 0.5, 0.5]
    classes = [result[f"pitch_classes_per_bar {name}"] for name in ("piano", "guitar", "strings")]
    assert classes == [1, 2, 1] and math.isnan(result["pitch_classes_per_bar bass"])
    assert result["drum_pattern_rate"] == 1
    fifth, tone = (measure.band.harmonic_distance(chords([C], [pitch]), 2) for pitch in (G, D))
    assert result["harmonic_distance"] == pytest.approx((fifth + fifth + 0 + tone) / 4)


def test_band_measures_of_one_instrument_are_its_own():
    roll = random_band(0)
    for channel in (PIANO, STRINGS):
        alone = np.zeros_like(roll)
        alone[..., channel] = roll[..., channel]
        result = measure.band.measures(alone, 4)
        own = measure.piece.measures(roll[..., channel], 4)
        assert {name: result[name] for name in own} == own


def test_every_step_of_a_drum_is_a_stroke():
    roll = band([(0, C, 8, PIANO), (0, 38, 8, DRUMS)], 8)
    assert measure.band.measures(roll, 4)["drum_pattern_rate"] == 4 / 8


def test_a_note_begun_while_another_holds_its_pitch_is_a_new_one():
    roll = band([(0, C, 8, PIANO), (4, C, 4, BASS), (0, D, 8, STRINGS)], 8)
    assert measure.band.measures(roll, 4)["commonest_pitch_share"] == pytest.approx(2 / 3)


def test_silent_and_empty_bands():
    silent = measure.band.measures(np.zeros((16, 128, 5), bool), 2)
    assert {name for name, value in silent.items() if not math.isnan(value)} == {
        "notes_per_step",
        "empty_bar_rate",
        *(f"empty_bar_rate {name}" for name in measure.band.CHANNELS),
    }
    empty = measure.band.measures(np.zeros((0, 128, 5), bool), 2)
    assert list(empty) == list(silent) and all(map(math.isnan, empty.values()))


def test_band_measures_compare():
    sets = [[measure.band.measures(random_band(seed), 2) for seed in seeds] for seeds in ([0, 1], [2, 3, 4])]
    rows = measure.sets.compare(*sets)
    assert [row["measure"] for row in rows] == list(sets[0][0])
    assert all(type(value) is float for value in sets[0][0].values())


@pytest.mark.parametrize(
    "roll",
    [np.zeros((8, 128, 5)), np.zeros((8, 128), bool), np.zeros((8, 5, 128), bool), np.zeros((1, 8, 128, 5), bool)],
)
def test_rolls_of_another_shape_or_type_are_refused(roll):
    for function in (
        lambda: measure.band.measures(roll, 2),
        lambda: measure.band.harmonic_distance(roll, 2),
        lambda: measure.band.shuffled([roll] * 5, 2, np.random.default_rng(0)),
        lambda: measure.band.variety([roll, roll], 2),
        lambda: measure.band.shifted([roll] * 5, 2, np.random.default_rng(0)),
        lambda: togetherness([roll] * 5, [roll] * 5),
    ):
        with pytest.raises(ValueError, match=r"a band roll must be bool \(time, 128, 5\)"):
            function()
    with pytest.raises(ValueError, match="a piano roll must be bool"):
        measure.band.drum_pattern_rate(np.zeros((8, 128, 5), bool), 2)


# --- variety ----------------------------------------------------------------------------------------------


def test_band_variety():
    piano, guitar = chords([C]), chords([], [C])
    assert measure.band.variety([piano, piano, chords([C + 12])], 2) == 0
    assert measure.band.variety([piano, guitar], 2) == 1  # who plays matters
    assert measure.band.variety([piano, chords([C], [C])], 2) == 0.5
    assert measure.band.variety([piano, np.tile(piano, (5, 1, 1))], 2) == pytest.approx(0)
    assert math.isnan(measure.band.variety([piano], 2))


def test_drums_an_octave_apart_are_different_drums():
    kick, tom = chords([], [], [], [], [36]), chords([], [], [], [], [48])
    assert measure.band.variety([kick, tom], 2) == 1
    assert measure.band.variety([kick, kick], 2) == 0


@given(st.integers(0, 99), st.sampled_from([PIANO, GUITAR, BASS, STRINGS]))
def test_band_variety_of_one_pitched_instrument_is_its_variety(seed, channel):
    bands = [random_band(seed + i, length=20 + 7 * i, density=0.002) for i in range(3)]
    for roll in bands:
        roll[..., np.arange(5) != channel] = False
    own = measure.sets.variety([roll[..., channel] for roll in bands], 2)
    assert measure.band.variety(bands, 2) == pytest.approx(own)


# --- real bands -------------------------------------------------------------------------------------------


def read_band(midi, steps_per_beat):
    """Band roll of a MIDI file: programs merged as in LPD-5, drums apart, effects and percussion left out."""
    score = symusic.Score.from_midi(midi)
    step = score.ticks_per_quarter / steps_per_beat
    roll = np.zeros((round(score.end() / step) + 1, 128, 5), bool)
    for track in score.tracks:
        family = track.program // 8
        channel = DRUMS if track.is_drum else {0: PIANO, 3: GUITAR, 4: BASS}.get(family, STRINGS)
        if track.is_drum or family < 12 or family == 13:
            for note in track.notes:
                start, end = round(note.start / step), round(note.end / step)
                roll[start : max(start + 1, end), note.pitch, channel] = True
    return roll


@pytest.fixture(scope="module")
def real_bands(downloaded):
    """The songs with all five instruments, 2 steps a beat; of each, up to 16 bars from the middle."""
    with zipfile.ZipFile(downloaded / "band_midi_children_songs.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".mid"))
        songs = [read_band(archive.read(name), 2) for name in names]
    middles = [max(0, (len(song) - 128) // 2) // 8 * 8 for song in songs]
    whole = [song[start : start + 128] for song, start in zip(songs, middles, strict=True) if song.any((0, 1)).all()]
    assert len(whole) == 82
    return whole


def test_real_partners_and_shuffled_ones_are_told_apart(real_bands):
    # 0.95: of 20 draws of a real and a shuffled band, at most one may be the wrong way round; MuseGAN's
    # distance (1.57 to 1.02 for real pairs of instruments, 1.59 to 1.12 for shuffled ones) hardly differs.
    rng = np.random.default_rng(0)
    for half in (real_bands[::2], real_bands[1::2]):  # the variant was chosen on the first
        for bars in (4, 16):
            bands = [roll[: 8 * bars] for roll in half]
            mixed = measure.band.shuffled(bands, 2, rng)
            real, strange = ([measure.band.harmonic_distance(roll, 2) for roll in rolls] for rolls in (bands, mixed))
            effect = mannwhitneyu(strange, real, nan_policy="omit").statistic / (len(strange) * len(real))
            print(f"{bars} bars: real {np.nanmean(real):.2f}, shuffled {np.nanmean(strange):.2f}, effect {effect:.3f}")
            assert effect > 0.95
            assert np.nanmean(strange) > 2 * np.nanmean(real)


def test_togetherness_of_real_bands(real_bands):
    one, other = real_bands[::2], real_bands[1::2]
    assert togetherness(one, other) == pytest.approx(1, abs=0.3)
    assert togetherness(measure.band.shuffled(one, 2, np.random.default_rng(1)), other) == pytest.approx(0, abs=0.2)
    apart = measure.band.shifted(one, 2, np.random.default_rng(2))
    assert togetherness(apart, other) == pytest.approx(0, abs=0.2), "in the same key all the same"


def test_real_bands_vary_and_have_drums_in_pattern(real_bands):
    assert 0.4 < measure.band.variety(real_bands, 2) < 0.9
    for roll in real_bands[:5]:
        result = measure.band.measures(roll, 2)
        assert math.isnan(result["drum_pattern_rate"]) or result["drum_pattern_rate"] == 1
        assert result["in_scale_rate"] > 0.7
