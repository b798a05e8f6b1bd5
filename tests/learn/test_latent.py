"""Notebook 09: what each network hears, what goes to which instrument, and that nothing else changes on the way."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lessons import definitions

from course_lib import music

lesson = SimpleNamespace(
    **definitions(
        "09",
        "check_noise_and_alpha",
        "encode",
        "decode",
        "active_dimensions",
        "given",
        "sides",
        "next_latents",
        "generate",
        "style_vectors",
        "interpolated",
        "style_distance",
    )
)
PIANO, GUITAR, BASS, STRINGS, DRUMS = range(5)
SIZE = 3  # K
STEPS = 8
NAN, INF = float("nan"), float("inf")


class Network:
    """Stands in for a Keras model: remembers what it was given, and answers with a function of it."""

    def __init__(self, answer):
        self.answer, self.given = answer, []

    def predict_on_batch(self, inputs):
        self.given.append(np.array(inputs))
        return self.answer(inputs)


def networks():
    """Each answers with its instrument's last vector, plus a number that tells the instrument."""
    return [Network(lambda inputs, i=i: inputs[:, -SIZE:] + 100 * (i + 1)) for i in range(5)]


def pianists():
    """Each answers with all that it hears, added up, so that the piano counts where it is given."""
    return [Network(lambda inputs: inputs.reshape(len(inputs), -1, SIZE).sum(axis=1) + 1) for _ in range(5)]


def number_decoders():
    """Each plays the sum of its vector in all cells."""
    return [Network(lambda vectors: np.tile(vectors.sum(axis=1)[:, None, None, None], (1, STEPS, 128, 1)))] * 5


def silent_networks():
    """Each answers with zeros, so that what the next block hears is what was added to them."""
    return [Network(lambda inputs: np.zeros((len(inputs), SIZE), "float32")) for _ in range(5)]


def heard(nets, width=slice(-SIZE, None)):
    """What each network was given of its own instrument (or in other columns): ``(pieces, blocks, 5, K)``."""
    return np.stack([np.stack([inputs[:, width] for inputs in net.given], axis=1) for net in nets], axis=2)


def starts(pieces=4):
    """Latents in which every number is different: ``(pieces, 5, K)``."""
    return np.arange(pieces * 5 * SIZE, dtype="float32").reshape(pieces, 5, SIZE)


def own_constants():
    """A style in which every instrument's set holds nothing but its own number: -10, -20 and so on."""
    return [np.full((2 + i, SIZE), -10.0 * (i + 1), "float32") for i in range(5)]


def generate(nets, start, blocks=3, seed=0, noise_sd=0.0, **style):
    return lesson.generate(nets, start, blocks, np.random.default_rng(seed), noise_sd, **style)


# --- encoding and decoding --------------------------------------------------------------------------------


def melodies(blocks, seed=0):
    """Blocks in which every instrument sounds one pitch at each step: bool ``(blocks, STEPS, 128, 5)``."""
    pitches = np.random.default_rng(seed).integers(0, 128, (blocks, STEPS, 5))
    return (pitches[:, :, None] == np.arange(128)[:, None]).copy()


def pitch_encoders():
    """K = STEPS: the pitch of each step, plus 1000 for each instrument before; the log-deviation is -7."""

    def answer(inputs, channel):
        assert inputs.dtype == np.float32 and inputs.shape[1:] == (STEPS, 128, 1)
        pitches = inputs[..., 0] @ np.arange(128, dtype="float32") + 1000 * channel
        return np.concatenate([pitches, np.full((len(inputs), 1), -7, "float32")], axis=1)

    return [Network(lambda inputs, i=i: answer(inputs, i)) for i in range(5)]


def pitch_decoders():
    def answer(vectors, channel):
        return (vectors[..., None, None] - 1000 * channel == np.arange(128)[:, None]).astype("float32")

    return [Network(lambda vectors, i=i: answer(vectors, i)) for i in range(5)]


def test_encode_gives_the_means_of_each_instrument_in_the_order_of_the_band():
    blocks = melodies(6)
    means = lesson.encode(pitch_encoders(), blocks)
    assert means.shape == (6, 5, STEPS) and means.dtype == np.float32
    np.testing.assert_array_equal(means, blocks.argmax(axis=2).swapaxes(1, 2) + 1000 * np.arange(5)[:, None])


def test_decode_is_the_counterpart_of_encode_for_any_leading_shape():
    blocks = melodies(6)
    latents = lesson.encode(pitch_encoders(), blocks)
    decoded = lesson.decode(pitch_decoders(), latents)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, blocks)
    in_pieces = lesson.decode(pitch_decoders(), latents.reshape(2, 3, 5, STEPS))
    np.testing.assert_array_equal(in_pieces, blocks.reshape(2, 3, STEPS, 128, 5))
    np.testing.assert_array_equal(lesson.decode(pitch_decoders(), latents[4]), blocks[4])


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_batches_change_nothing_but_their_number(batch_size):
    blocks, encoders, decoders = melodies(6), pitch_encoders(), pitch_decoders()
    latents = lesson.encode(encoders, blocks, batch_size)
    np.testing.assert_array_equal(latents, lesson.encode(pitch_encoders(), blocks))
    np.testing.assert_array_equal(lesson.decode(decoders, latents, batch_size), blocks)
    sizes = {1: [1] * 6, 4: [4, 2], 6: [6], 100: [6]}[batch_size]
    for network in encoders + decoders:
        assert [len(inputs) for inputs in network.given] == sizes


def test_another_number_of_instruments_than_decoders_is_refused():
    with pytest.raises(ValueError, match="argument"):
        lesson.decode(pitch_decoders(), np.zeros((2, 4, STEPS)))


def test_keras_models_go_all_the_way():
    """From blocks to latents, to the next ones, to blocks: every network is asked for what it was built for."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    encoders = [
        keras.Sequential([keras.Input((STEPS, 128, 1)), layers.Flatten(), layers.Dense(SIZE + 1)]) for _ in range(5)
    ]
    decoders = [
        keras.Sequential([keras.Input((SIZE,)), layers.Dense(STEPS * 128), layers.Reshape((STEPS, 128, 1))])
        for _ in range(5)
    ]
    nets = [keras.Sequential([keras.Input((SIZE * (1 + (i > 0)),)), layers.Dense(SIZE)]) for i in range(5)]
    latents = lesson.encode(encoders, melodies(3))
    for i in range(5):
        expected = encoders[i].predict_on_batch(melodies(3)[..., i : i + 1].astype("float32"))[:, :SIZE]
        np.testing.assert_allclose(latents[:, i], expected, rtol=1e-5)
    following = generate(nets, latents, blocks=2, noise_sd=1.0, style=list(latents.swapaxes(0, 1)))
    assert following.shape == (3, 2, 5, SIZE)
    rolls = lesson.decode(decoders, following, batch_size=4)
    assert rolls.shape == (3, 2, STEPS, 128, 5)
    np.testing.assert_allclose(rolls, lesson.decode(decoders, following), rtol=1e-4, atol=1e-6)
    for i in range(5):
        np.testing.assert_allclose(rolls[1, 0, ..., i : i + 1], decoders[i](following[1:2, 0, i])[0], atol=1e-5)


def test_active_dimensions():
    signs = np.array([1, -1] * 5)[:, None]
    means = signs * np.sqrt([0, 0.009, 0.011, 1]) + [5, 5, 5, 0]  # variances of 0, 0.009, 0.011 and 1
    assert lesson.active_dimensions(means) == 2
    assert lesson.active_dimensions(means[:, :2]) == 0
    assert type(lesson.active_dimensions(means)) is int


# --- the style of songs -----------------------------------------------------------------------------------


def song(*pitches, rest=0):
    """Every instrument holds a pitch a block, an octave of its own; then ``rest`` steps more."""
    roll = np.zeros((len(pitches) * STEPS + rest, 128, 5), bool)
    for block, pitch in enumerate(pitches):
        for i in range(5):
            roll[block * STEPS : (block + 1) * STEPS, 12 * i + pitch, i] = True
    roll[len(pitches) * STEPS :, 127] = True
    return roll


def pack(*songs):
    return music.band_data.pack(songs, [f"song {i}" for i in range(len(songs))], 2, "")


def block_pitches(vectors, channel):
    """The pitch of each vector's block, above the octave of its instrument; all steps must agree."""
    pitches = vectors - 1000 * channel - 12 * channel
    assert (pitches == pitches[:, :1]).all()
    return pitches[:, 0].tolist()


def test_style_holds_each_different_vector_of_a_song_once():
    bands = pack(song(1, 2), song(7, 3, 7, 7, 5))
    sets = lesson.style_vectors(pitch_encoders(), bands, [1], STEPS)
    assert [vectors.shape for vectors in sets] == [(3, STEPS)] * 5
    assert [block_pitches(vectors, i) for i, vectors in enumerate(sets)] == [[3, 5, 7]] * 5


def test_vectors_are_compared_whole_and_for_each_instrument_by_itself():
    roll = song(4, 4, 4)
    roll[2 * STEPS, :, BASS] = roll[-1, :, DRUMS] = False  # one bass step and one drum step differ
    roll[2 * STEPS :, :, GUITAR] = np.roll(roll[2 * STEPS :, :, GUITAR], 1, axis=1)
    sets = lesson.style_vectors(pitch_encoders(), pack(roll), [0], STEPS)
    assert [len(vectors) for vectors in sets] == [1, 2, 2, 1, 2]


def test_several_songs_are_joined():
    bands = pack(song(1, 2), song(9), song(2, 5))
    for chosen in ([0, 2], [2, 0], np.array([0, 2, 0])):
        sets = lesson.style_vectors(pitch_encoders(), bands, chosen, STEPS)
        assert [block_pitches(vectors, i) for i, vectors in enumerate(sets)] == [[1, 2, 5]] * 5


def test_blocks_do_not_cross_songs():
    bands = pack(song(1, rest=STEPS - 1), song(2, rest=3), song(3))  # a block over a border would hold two pitches
    sets = lesson.style_vectors(pitch_encoders(), bands, [0, 1, 2], STEPS)
    assert [block_pitches(vectors, i) for i, vectors in enumerate(sets)] == [[1, 2, 3]] * 5


def test_a_long_song_is_taken_whole():
    pitches = [*range(60), *[0] * 600, 60]  # each pitch above 0 in one block alone
    sets = lesson.style_vectors(pitch_encoders(), pack(song(*pitches)), [0], STEPS)
    assert [block_pitches(vectors, i) for i, vectors in enumerate(sets)] == [[*range(61)]] * 5


def test_songs_that_give_no_style_are_named():
    without_bass, bare = song(1, 2), song(3)
    without_bass[..., BASS] = False
    bare[..., [PIANO, DRUMS]] = False
    bands = pack(song(1), without_bass, bare, song(1)[:-1])

    def refused(chosen, sentence):
        with pytest.raises(ValueError, match=f"^{sentence}$"):
            lesson.style_vectors(pitch_encoders(), bands, chosen, STEPS)

    refused([], "A style needs a song: choose one, or two for a hybrid.")
    refused([3], "song 3 has 7 steps, and a style needs 8 or more: choose a longer song.")
    gives_none = "so it gives no style: choose a song with all five instruments."
    refused([0, 1], f"song 1 has no Bass, {gives_none}")
    refused([2], f"song 2 has no Piano and Drums, {gives_none}")


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [-0.1, 1.1, NAN, INF])
def test_alpha_out_of_range_is_refused(alpha):
    sentence = f"^alpha is {alpha}: it must lie between 0 .* and 1 .*\\.$"
    for refused in (
        lambda: lesson.check_noise_and_alpha(0, alpha),
        lambda: generate(networks(), starts(), alpha=alpha),  # with no style, too
    ):
        with pytest.raises(ValueError, match=sentence):
            refused()


@pytest.mark.parametrize("noise_sd", [-1, -0.01, NAN, INF])
def test_noise_out_of_range_is_refused(noise_sd):
    for refused in (
        lambda: lesson.check_noise_and_alpha(noise_sd, 0.5),
        lambda: generate(networks(), starts(), noise_sd=noise_sd),
    ):
        with pytest.raises(ValueError, match=f"^noise_sd is {noise_sd}: it must be 0 .* or a number above\\.$"):
            refused()


def test_settings_in_range_pass():
    for noise_sd, alpha in ((0, 0), (1, 1), (2.5, 0.5)):
        lesson.check_noise_and_alpha(noise_sd, alpha)


# --- generation -------------------------------------------------------------------------------------------


def test_each_network_hears_its_own_last_vector_and_the_others_the_piano_s_next():
    nets, start = networks(), starts()
    result = generate(nets, start)
    assert result.shape == (4, 3, 5, SIZE)
    last = np.concatenate([start[:, None], result[:, :-1]], axis=1)
    np.testing.assert_array_equal(heard(nets), last)
    assert [inputs.shape for inputs in nets[PIANO].given] == [(4, SIZE)] * 3
    for net in nets[1:]:
        assert [inputs.shape for inputs in net.given] == [(4, 2 * SIZE)] * 3
    np.testing.assert_array_equal(  # the next: the last has no 100 more
        heard(nets[1:], slice(SIZE)), np.repeat(result[:, :, :1], 4, axis=2)
    )
    assert all(inputs.dtype == np.float32 for net in nets for inputs in net.given)


def test_the_result_is_what_the_networks_answer():
    start, step = starts(), 100 * np.arange(1, 6)[:, None]
    expected = np.stack([start + step, start + 2 * step, start + 3 * step], axis=1)
    np.testing.assert_array_equal(generate(networks(), start), expected)
    np.testing.assert_array_equal(start, starts())  # and the start is left as it was


def test_a_network_is_trained_on_what_it_is_stepped_with():
    last, after = starts(), starts() + 1000
    nets = [Network(lambda inputs, i=i: after[:, i]) for i in range(5)]  # so the piano's next vector is the true one
    lesson.next_latents(nets, last)
    for channel, net in enumerate(nets):
        inputs, targets = lesson.sides(channel, last, after)
        np.testing.assert_array_equal(inputs, net.given[0])
        np.testing.assert_array_equal(targets, after[:, channel])


def test_a_student_who_changes_what_is_given_changes_what_is_trained_stepped_and_heard(monkeypatch):
    """As in exercise 4 of the notebook: no network hears the piano any more."""
    rule = lesson.given
    before = generate(pianists(), starts())
    monkeypatch.setitem(rule.__globals__, "given", lambda channel, last, piano_next: last[:, channel])
    last, after = starts(), starts() + 1000
    for channel in range(5):
        trained, _ = lesson.sides(channel, last, after)
        np.testing.assert_array_equal(trained, last[:, channel])
        with_piano, _ = lesson.sides(channel, last, after, rule)  # for one network alone
        assert with_piano.shape[1] == (SIZE if channel == PIANO else 2 * SIZE)
    nets = pianists()
    latents = generate(nets, starts())
    assert all(inputs.shape[1] == SIZE for net in nets for inputs in net.given)
    assert (latents[:, :, GUITAR:] != before[:, :, GUITAR:]).any(axis=(0, 1, 3)).all()
    rolls = [lesson.decode(number_decoders(), each) for each in (before, latents)]
    np.testing.assert_array_equal(rolls[0][..., PIANO], rolls[1][..., PIANO])
    assert (rolls[0] != rolls[1])[..., GUITAR:].any(axis=(0, 1, 2, 3)).all()


def test_a_student_who_changes_the_latent_step_or_the_style_rule_hears_it(monkeypatch):
    names = lesson.generate.__globals__
    start, style = starts(), {"style": own_constants(), "alpha": 0.5}
    before = generate(networks(), start, **style)
    monkeypatch.setitem(names, "interpolated", lambda latents, drawn, alpha: drawn)
    by_style = generate(networks(), start, **style)
    monkeypatch.setitem(names, "next_latents", lambda networks, latents: -latents)
    by_step = generate(networks(), start)
    np.testing.assert_array_equal(by_step[:, 0], -start)
    rolls = [lesson.decode(number_decoders(), each) for each in (before, by_style, by_step)]
    assert (rolls[0] != rolls[1]).any(axis=(1, 2, 3)).all() and (rolls[0] != rolls[2]).any(axis=(1, 2, 3)).all()


def test_the_next_latents_are_one_block():
    np.testing.assert_array_equal(lesson.next_latents(networks(), starts()), generate(networks(), starts(), 1)[:, 0])


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
def test_the_style_of_each_instrument_goes_to_that_instrument(alpha):
    """Copies of the authors' code wrote all of them into the piano's vector."""
    nets, start = networks(), starts()
    result = generate(nets, start, style=own_constants(), alpha=alpha)
    last = np.concatenate([start[:, None], result[:, :-1]], axis=1)
    own = -10.0 * np.arange(1, 6)[:, None]
    np.testing.assert_allclose(heard(nets), alpha * own + (1 - alpha) * last, rtol=1e-6)
    np.testing.assert_array_equal(heard(nets[1:], slice(SIZE)), np.repeat(result[:, :, :1], 4, axis=2))


def test_interpolation_goes_from_the_latents_to_what_was_drawn():
    latents, drawn = starts(), -starts(4)[::-1]
    for alpha in (0, 0.25, 1):
        expected = latents + alpha * (drawn - latents)
        np.testing.assert_allclose(lesson.interpolated(latents, drawn, alpha), expected, atol=1e-5)


def test_at_alpha_1_every_network_hears_nothing_but_its_style():
    nets = networks()
    generate(nets, starts(), style=own_constants(), alpha=1)
    for number, net in enumerate(nets, start=1):
        for inputs in net.given:
            assert set(inputs[:, -SIZE:].ravel()) == {-10 * number}


def test_alpha_is_one_half_where_none_is_given():
    given, default = (generate(networks(), starts(), style=own_constants(), **alpha) for alpha in ({"alpha": 0.5}, {}))
    np.testing.assert_array_equal(given, default)


def test_alpha_0_equals_no_style():
    styled = generate(networks(), starts(), style=own_constants(), alpha=0)
    np.testing.assert_array_equal(styled, generate(networks(), starts()))
    one, other = (  # and with noise the style is not heard, either
        generate(networks(), starts(), noise_sd=1, style=style, alpha=0)
        for style in (own_constants(), [vectors + 50 for vectors in own_constants()])
    )
    np.testing.assert_array_equal(one, other)


def test_every_piece_and_block_draws_from_the_whole_set_of_each_instrument():
    sizes, blocks, pieces = [3, 4, 5, 6, 4], 5, 600
    sets = [np.repeat(1000.0 * i + np.arange(size)[:, None], SIZE, axis=1) for i, size in enumerate(sizes)]
    nets = silent_networks()
    generate(nets, np.zeros((pieces, 5, SIZE)), blocks, style=sets, alpha=1)
    drawn = heard(nets)
    assert (drawn == drawn[..., :1]).all()  # a vector is drawn whole
    drawn = drawn[..., 0] - 1000 * np.arange(5)
    for i, size in enumerate(sizes):
        shares = [np.mean(drawn[:, :, i] == vector) for vector in range(size)]
        assert shares == pytest.approx([1 / size] * size, abs=0.04)
    same = np.mean(drawn[:, :, GUITAR] == drawn[:, :, DRUMS])  # instruments draw apart, and so do blocks
    again = np.mean(drawn[:, 1:, GUITAR] == drawn[:, :-1, GUITAR])
    assert [same, again] == pytest.approx([1 / 4] * 2, abs=0.04)


@pytest.mark.parametrize("noise_sd", [0.5, 2])
@pytest.mark.parametrize("style", [{}, {"style": [np.zeros((1, SIZE))] * 5, "alpha": 0.75}])
def test_noise_has_its_deviation_for_every_instrument_in_every_block(noise_sd, style):
    nets = silent_networks()
    generate(nets, np.zeros((20_000, 5, SIZE)), 2, noise_sd=noise_sd, **style)
    noise = heard(nets)  # (20000, 2, 5, 3)
    assert noise.std(axis=0) == pytest.approx(np.full((2, 5, SIZE), noise_sd), rel=0.03)
    assert noise.mean(axis=0) == pytest.approx(np.zeros((2, 5, SIZE)), abs=0.05 * noise_sd)
    related = np.corrcoef(noise.reshape(len(noise), -1).T)  # between all blocks, instruments and dimensions
    assert np.abs(related - np.eye(len(related))).max() < 0.05
    # Gaussian: 68.3 and 95.4 % within one and two deviations
    within = [np.mean(np.abs(noise) < n * noise_sd) for n in (1, 2)]
    assert within == pytest.approx([0.683, 0.954], abs=0.01)


def test_noise_is_added_to_what_the_style_has_made():
    nets = silent_networks()
    generate(nets, np.zeros((20_000, 5, SIZE)), 1, noise_sd=0.5, style=own_constants(), alpha=1)
    own = np.repeat(-10.0 * np.arange(1, 6)[:, None], SIZE, axis=1)
    assert heard(nets)[:, 0].mean(axis=0) == pytest.approx(own, abs=0.05)
    assert heard(nets)[:, 0].std(axis=0) == pytest.approx(np.full((5, SIZE), 0.5), rel=0.03)


def test_no_noise_is_added_to_the_piano_s_next_vector():
    nets = networks()
    result = generate(nets, starts(), noise_sd=1)
    np.testing.assert_array_equal(heard(nets[1:], slice(SIZE)), np.repeat(result[:, :, :1], 4, axis=2))


def test_the_seed_decides():
    style = {"style": [np.random.default_rng(i).normal(size=(5, SIZE)) for i in range(5)]}
    for settings in ({"noise_sd": 1}, {"noise_sd": 1, **style}, style):
        one, same, other = (generate(networks(), starts(), seed=seed, **settings) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any(axis=(0, 1, 3)).all()  # of every instrument
    silent = [generate(networks(), starts(), seed=seed) for seed in (0, 1)]
    np.testing.assert_array_equal(*silent)


def test_noise_sd_is_1_where_none_is_given():
    rng = [np.random.default_rng(0) for _ in range(2)]
    default = lesson.generate(networks(), starts(), 2, rng[0])
    np.testing.assert_array_equal(default, lesson.generate(networks(), starts(), 2, rng[1], 1.0))


def test_what_is_drawn_stands_in_the_song():
    rng = np.random.default_rng(0)
    roll = rng.random((5 * STEPS, 128, 5)) < 0.05
    sets = lesson.style_vectors(pitch_encoders(), pack(song(1), roll), [1], STEPS)
    nets = [Network(lambda vectors: vectors[:, -STEPS:]) for _ in music.band.INSTRUMENTS]
    start = np.zeros((7, 5, STEPS))
    lesson.generate(nets, start, 2, rng, 0, sets, 1)
    vectors = lesson.encode(pitch_encoders(), roll.reshape(5, STEPS, 128, 5))
    for i, net in enumerate(nets):
        for inputs in net.given:
            assert {tuple(row) for row in inputs[:, -STEPS:]} <= {tuple(row) for row in vectors[:, i]}


# --- distance to a style ----------------------------------------------------------------------------------

C, D, E, G = 60, 62, 64, 67
BAR = 8  # steps


def band(notes, length):
    """Band roll from (first step, pitch, steps, channel)."""
    roll = np.zeros((length, 128, 5), bool)
    for start, pitch, steps, channel in notes:
        roll[start : start + steps, pitch, channel] = True
    return roll


def chords(*channels):
    """Band roll of a bar in which each channel holds its pitches throughout."""
    return band([(0, pitch, BAR, i) for i, pitches in enumerate(channels) for pitch in pitches], BAR)


def random_band(seed, length, density):
    return np.random.default_rng(seed).random((length, 128, 5)) < density


def test_style_distance_by_pitch_classes_alone():
    # All notes begin on the first step, so only what sounds, and how long, differs.
    held = chords([C])
    assert lesson.style_distance(held, chords([C + 12]), BAR) == 0
    assert lesson.style_distance(held, band([(0, C, 6, PIANO), (0, G, 2, PIANO)], 8), BAR) == 1 / 4 / 2
    assert lesson.style_distance(held, chords([C, G]), BAR) == 1 / 2 / 2
    assert lesson.style_distance(held, chords([G]), BAR) == 1 / 2
    # Shares C 1/2, G 1/2 against C 1/2, E 1/4, G 1/4; who plays what is not asked, as long as all begin alike.
    mixed = chords([C], [C], [E], [G])
    assert lesson.style_distance(chords([C], [G], [C], [G]), mixed, BAR) == 1 / 4 / 2
    assert lesson.style_distance(chords([G], [C], [C], [E]), mixed, BAR) == 0


def test_style_distance_by_rhythm_alone():
    # Only C sounds. Shares of the beginnings: steps 0 and 4 half each, against 0, 2, 4 and 6 a quarter each.
    halves = band([(0, C, 4, PIANO), (4, C - 12, 4, PIANO)], 8)
    quarters = band([(step, C, 1, PIANO) for step in (0, 2, 4, 6)], 8)
    assert lesson.style_distance(halves, quarters, BAR) == 1 / 2 / 2
    one_by_guitar = band([(0, C, 4, PIANO), (4, C - 12, 4, GUITAR)], 8)
    assert lesson.style_distance(halves, one_by_guitar, BAR) == 1 / 2 / 2
    assert lesson.style_distance(halves, band([(0, C, 3, STRINGS), (4, C, 3, STRINGS)], 8), BAR) == 1 / 2
    shorter = band([(0, C, 1, PIANO), (4, C, 3, PIANO)], 8)  # lengths do not count here
    assert lesson.style_distance(halves, shorter, BAR) == 0


def test_style_distance_looks_at_the_place_in_the_bar():
    first, later = band([(0, C, 1, PIANO)], 8), band([(8, C, 1, PIANO)], 16)
    assert lesson.style_distance(first, later, BAR) == 0
    assert lesson.style_distance(first, later, 6) == 1 / 2
    assert lesson.style_distance(first, later, 16) == 1 / 2


def test_drums_count_in_the_rhythm_only():
    piano = chords([C])
    drums = [(0, 38, 4, DRUMS)]  # four strokes: shares of the beginnings are 1/5 for each, and for the piano
    both = band([(0, C, 8, PIANO), *drums], 8)
    assert lesson.style_distance(piano, both, BAR) == pytest.approx(4 / 5 / 2)
    assert lesson.style_distance(both, band([(0, C, 8, PIANO), (0, 43, 4, DRUMS)], 8), BAR) == 0
    assert lesson.style_distance(band(drums, 8), both, BAR) == pytest.approx((1 + 1 / 5) / 2)


def test_style_distance_of_nothing_in_common_and_of_silence():
    one, other = chords([C]), band([(2, D, 4, GUITAR), (1, 38, 1, DRUMS)], 8)
    assert lesson.style_distance(one, other, BAR) == 1
    for length in (0, 8):
        silent = np.zeros((length, 128, 5), bool)
        assert lesson.style_distance(silent, one, BAR) == lesson.style_distance(one, silent, BAR) == 1


@given(st.integers(0, 99), st.sampled_from([0.001, 0.02]))
def test_style_distance_is_symmetric_and_blind_to_length(seed, density):
    one, other = random_band(seed, 32, density), random_band(seed + 100, 24, density)
    one[-1, :, PIANO:DRUMS] = False  # so that no note goes on where the piece begins again
    value = lesson.style_distance(one, other, BAR)
    assert type(value) is float and 0 < value <= 1
    assert lesson.style_distance(other, one, BAR) == pytest.approx(value)
    twice = np.tile(one, (2, 1, 1))
    assert lesson.style_distance(twice, other, BAR) == pytest.approx(value)
    assert lesson.style_distance(one, one, BAR) == 0
    assert lesson.style_distance(one, twice, BAR) == pytest.approx(0)
