"""Likelihoods of held-out music: by hand, and against plainer ways to count them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import expit

from course_lib import measure

rng = np.random.default_rng(0)


def songs_of(*lengths):
    return [rng.random((length, 88)) < 0.05 for length in lengths]


# --- frame_nll --------------------------------------------------------------------------------------------


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
    songs = songs_of(2, 30, 11)
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


# --- ngram_nll --------------------------------------------------------------------------------------------


def tokens(*values):
    return np.array(values, "int32")


def test_ngram_nll_by_hand():
    training = [tokens(0, 1, 0, 1, 0, 2)]
    # Order 1: 1, 0, 1, 0, 2 were heard, 3 different ones: (c + 3 / 4) / (5 + 3).
    one = {0: 2.75 / 8, 1: 2.75 / 8, 2: 1.75 / 8, 3: 0.75 / 8}
    # Order 2: after 0 came 1, 1, 2; after 1 came 0, 0; after 2 nothing.
    two = {"1 after 0": (2 + 2 * one[1]) / (3 + 2), "3 after 1": (0 + 1 * one[3]) / (2 + 1), "2 after 2": one[2]}
    expected = [-np.log([one[1], one[3], one[2]]).mean(), -np.log(list(two.values())).mean()]
    result = measure.baselines.ngram_nll(training, [tokens(0, 1, 3), tokens(2, 2)], classes=4, order=2)
    assert result == pytest.approx(expected)
    assert all(type(value) is float for value in result)


def test_ngram_nats_are_of_each_token_but_the_first_of_each_song():
    training, songs = [tokens(0, 1, 0, 1, 0, 2)], [tokens(0, 1, 3), tokens(2, 2)]
    nats = measure.baselines.ngram_nats(training, songs, classes=4, order=2)
    alone = [measure.baselines.ngram_nats(training, [song], classes=4, order=2) for song in songs]
    assert nats.shape == (2, 3) and (nats == np.concatenate(alone, axis=1)).all()
    assert nats.mean(axis=1).tolist() == measure.baselines.ngram_nll(training, songs, classes=4, order=2)


def test_ngrams_do_not_cross_from_song_to_song_and_begin_with_the_history_there_is():
    # After 1 nothing came, and 2 stands first only: both orders know just that 1 and 3 were heard.
    result = measure.baselines.ngram_nll([tokens(0, 1), tokens(2, 3)], [tokens(1, 2)], classes=4, order=4)
    assert result == pytest.approx([-math.log(2 / 4 / (2 + 2))] * 4)
    # After 0 came 1: used by every order from 2 on, though no more than one token went before.
    result = measure.baselines.ngram_nll([tokens(0, 1)], [tokens(0, 1)], classes=4, order=4)
    one = (1 + 1 / 4) / 2
    assert result == pytest.approx([-math.log(one)] + [-math.log((1 + one) / 2)] * 3)
    # 0 after 2, 1 was heard, and training ends on 2: the held-out song does not go on from there.
    result = measure.baselines.ngram_nll([tokens(2, 1, 0, 2)], [tokens(1, 0)], classes=3, order=3)
    assert result[2] == result[1]


def test_ngram_nll_where_nothing_was_learned_is_that_of_even_chances():
    assert measure.baselines.ngram_nll([tokens(3)], [tokens(0, 1, 2)], classes=5, order=3) == pytest.approx(
        [math.log(5)] * 3
    )


def test_ngram_nll_of_unseen_tokens_is_finite_and_alike():
    training = [tokens(*[0, 1] * 500)]
    unseen = [measure.baselines.ngram_nll(training, [tokens(0, 1, 0, token)], classes=9, order=6) for token in (2, 8)]
    assert np.isfinite(unseen).all()
    assert unseen[0] == unseen[1]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngram_probabilities_sum_to_one(order):
    rng = np.random.default_rng(5)
    training = [rng.integers(0, 5, 40) for _ in range(3)]

    def nats(song):
        return measure.baselines.ngram_nll(training, [song], classes=6, order=order)[-1] * (len(song) - 1)

    for before in (tokens(0, 1, 2, 3), tokens(4, 4, 5, 1), *(song[:4] for song in training)):
        chances = [math.exp(nats(before) - nats(np.append(before, token))) for token in range(6)]
        assert sum(chances) == pytest.approx(1) and min(chances) > 0


def test_ngrams_long_enough_foresee_a_sequence_that_repeats():
    song = np.tile(tokens(0, 0, 0, 1), 500)  # two zeros leave open what comes; three do not
    result = measure.baselines.ngram_nll([song], [song], classes=2, order=4)
    assert result[0] == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=0.01)
    assert result[2] == pytest.approx(0.5 * math.log(2), abs=0.01)
    assert result[3] < 0.01


token_songs = st.lists(st.lists(st.integers(0, 2), max_size=9), min_size=1, max_size=4)


@given(token_songs, token_songs, st.integers(1, 4))
def test_ngram_nll_is_what_searching_for_each_history_finds(training, held_out, order):
    assume(any(training) and any(len(song) > 1 for song in held_out))

    def chance(token, history):
        p = 1 / 3
        for n in range(len(history) + 1):
            same = history[len(history) - n :]
            after = [song[i] for song in training for i in range(max(1, n), len(song)) if song[i - n : i] == same]
            if after:
                different = len(set(after))
                p = (after.count(token) + different * p) / (len(after) + different)
        return p

    expected = [
        -np.mean([math.log(chance(song[i], song[max(0, i - n) : i])) for song in held_out for i in range(1, len(song))])
        for n in range(order)
    ]
    arrays = [[np.array(song, "int32") for song in part] for part in (training, held_out)]
    assert measure.baselines.ngram_nll(*arrays, classes=3, order=order) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("training", "held_out", "order", "message"),
    [
        ([tokens(0, 1)], [tokens(0, 1)], 0, "order is 0"),
        ([], [tokens(0, 1)], 1, "needs training songs"),
        ([tokens()], [tokens(0, 1)], 1, "needs training songs"),
        ([tokens(0, 1)], [], 1, "held-out song of 2"),
        ([tokens(0, 1)], [tokens(0), tokens(1)], 1, "held-out song of 2"),
        ([tokens(0, 4)], [tokens(0, 1)], 1, "0 to 4, but must be 0 to 3"),
        ([tokens(0, 1)], [tokens(0, -1)], 1, "-1 to 1, but must be 0 to 3"),
    ],
)
def test_ngram_nll_refuses_what_it_cannot_count(training, held_out, order, message):
    with pytest.raises(ValueError, match=message):
        measure.baselines.ngram_nll(training, held_out, 4, order)


# ---------------------------------------------------------------- tables, copies and noise, by hand


def steps(*rows):
    """Rolls from rows of 0 and 1."""
    return np.array(rows, bool)


def test_markov_nll_by_hand():
    train = [steps([1], [1], [1], [0], [0])]  # after sound: sound twice, silence once; after silence: silence once
    after_sound, after_silence = 2.5 / 4, 0.5 / 2
    test = steps([1], [1], [0], [1])
    expected = -(np.log(after_sound) + np.log(1 - after_sound) + np.log(after_silence)) / 3
    assert measure.baselines.markov_nll(train, [test]) == pytest.approx(expected)


def test_markov_nll_beats_frequencies_where_notes_are_held():
    held = [np.repeat(np.random.default_rng(seed).random((40, 6)) < 0.3, 8, axis=0) for seed in range(4)]
    markov = measure.baselines.markov_nll(held[:3], held[3:])
    assert markov < 0.8 * measure.baselines.marginal_nll(held[:3], held[3:])


def test_the_last_step_is_held_and_a_block_is_played_again():
    blocks = steps([[1, 0], [0, 1]])  # one block of two steps and two pitches
    assert measure.baselines.hold_last(blocks, 3).tolist() == [[[False, True]] * 3]
    assert measure.baselines.repeat_block(blocks, 3)[0].tolist() == [[True, False], [False, True], [True, False]]


def test_block_table_by_hand():
    blocks = steps([[1]], [[1]], [[0]])  # three blocks of one step and one pitch
    following = steps([[1], [0]], [[1], [1]], [[0], [0]])
    found = measure.baselines.block_table(blocks, following, steps([[1]], [[0]]))
    sounded = [2.5 / 3, 1.5 / 3]  # of both blocks that sounded, at the first and the second step after
    expected = [[(2 + 4 * sounded[0]) / 6, (1 + 4 * sounded[1]) / 6], [4 * 0.25 / 5, 4 * 0.25 / 5]]
    assert found[..., 0] == pytest.approx(np.array(expected))


def test_block_table_tells_long_notes_from_short_ones():
    rng = np.random.default_rng(0)
    long = rng.random((400, 1, 3)) < 0.5
    blocks = np.repeat(long, 16, axis=1) | (np.arange(16) == 15)[:, None]  # every pitch sounds at the last step
    following = np.repeat(long, 4, axis=1)
    found = measure.baselines.block_table(blocks[:300], following[:300], blocks[300:])
    assert ((found > 0.5) == following[300:]).all()


def test_block_nll_by_hand_and_of_sure_errors():
    probability = np.array([[[0.5, 0.25], [0.5, 0.5]]])  # one block of two steps and two pitches
    truth = steps([[1, 0], [0, 0]])
    assert measure.baselines.block_nll(probability, truth) == pytest.approx(-(3 * np.log(0.5) + np.log(0.75)) / 2)
    assert np.isfinite(measure.baselines.block_nll(np.zeros((1, 1, 1)), np.ones((1, 1, 1), bool)))


def test_f1_by_hand():
    assert measure.baselines.f1(steps([1, 1, 0]), steps([1, 0, 1])) == 0.5
    assert measure.baselines.f1(steps([1, 0]), steps([1, 0])) == 1
    assert math.isnan(measure.baselines.f1(steps([0]), steps([0])))


def test_pca_rebuilds_what_lies_on_its_components():
    rng = np.random.default_rng(0)
    patterns = rng.random((2, 12)) < 0.5
    pieces = np.concatenate([patterns[[0]], patterns[[1]], patterns[[0]] & ~patterns[[0]]] * 4).reshape(12, 3, 4)
    assert measure.baselines.pca(pieces, pieces, 2) == pytest.approx(pieces.astype(float), abs=1e-9)
    worse = np.abs(measure.baselines.pca(pieces, pieces, 1) - pieces).mean()
    assert worse > 0.01


def test_nearest_by_hand():
    train = steps([[1, 1, 0]], [[0, 0, 1]])
    assert measure.baselines.nearest(train, steps([[1, 0, 0]], [[0, 1, 1]], [[0, 0, 1]]))[:, 0].tolist() == [
        [True, True, False],
        [False, False, True],
        [False, False, True],
    ]


def test_noise_is_as_dense_as_the_music():
    rolls = np.zeros((50, 20, 128, 2), bool)
    rolls[:, :, 60, 0] = True
    rolls[:, ::2, 40:44, 1] = True
    for by_pitch in (False, True):
        made = measure.baselines.noise(rolls, np.random.default_rng(0), by_pitch)
        assert made.mean((0, 1, 2)) == pytest.approx(rolls.mean((0, 1, 2)), rel=0.1)
    assert made[:, :, 60, 0].all() and not made[:, :, 61, 0].any()  # by pitch
