"""What notebook 07 defines: the loss of rolls, a convolution over pitch by hand, the way back, turns, transposition."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from lessons import definitions
from scipy.special import expit

from course_lib.learn import sample

NAMES = ("roll_loss", "convolve", "enlarge", "transposed", "for_instrument", "for_rnn", "receptive_field", "STRIDES")
lesson = SimpleNamespace(**definitions("07", *NAMES, "moved_up", "alone", "joint_of"))


@pytest.mark.parametrize("weight", [1, 4])
def test_the_loss_on_the_page_counts_cells_that_sound_so_many_times(weight):
    rng = np.random.default_rng(0)
    targets = (rng.random((3, 20, 128, 1)) < 0.05).astype("float32")
    logits = (3 * rng.normal(size=targets.shape)).astype("float32")
    p = expit(logits.astype("float64"))
    nats = -np.where(targets, weight * np.log(p), np.log1p(-p)).sum(axis=(2, 3)).mean()
    loss = lesson.roll_loss(weight)
    assert float(loss(targets, logits)) == pytest.approx(nats, rel=1e-5)
    assert float(loss(targets.astype(bool), logits)) == float(loss(targets, logits))
    assert loss.__name__ == f"roll_loss({weight})", "checkpoints know it by that name"


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
def test_the_convolution_by_hand_is_that_of_keras(strides):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(3, (4, 4), strides, bias_initializer="glorot_uniform")
    picture = np.random.default_rng(1).normal(size=(1, 12, 16, 5)).astype("float32")
    wanted = np.asarray(layer(picture))[0]
    kernel, bias = layer.get_weights()
    assert lesson.convolve(picture[0], kernel, bias, strides) == pytest.approx(wanted, abs=1e-4)


def test_the_way_back_by_hand_is_that_of_keras():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv1DTranspose(1, 4, strides=2, use_bias=False)
    numbers = np.random.default_rng(1).normal(size=(1, 5, 1)).astype("float32")
    wanted = np.asarray(layer(numbers)).ravel()
    assert lesson.enlarge(numbers.ravel(), layer.get_weights()[0].ravel(), 2) == pytest.approx(wanted, abs=1e-5)


def test_transposition_leaves_drums_where_they_are():
    rolls = np.random.default_rng(0).random((2, 6, 128, 5)) < 0.1
    up, dropped = lesson.transposed(rolls, 3), lesson.moved_up(rolls, 3)
    for moved in (up, dropped):
        assert np.array_equal(moved[..., 4], rolls[..., 4])
        assert np.array_equal(moved[:, :, 3:, :4], rolls[:, :, :-3, :4])
    assert np.array_equal(up[:, :, :3, :4], rolls[:, :, -3:, :4]) and not dropped[:, :, :3, :4].any()
    assert np.array_equal(lesson.moved_up(rolls, 0), rolls)


def test_each_instrument_is_told_of_those_before_it_and_of_no_other():
    rolls = np.random.default_rng(0).random((2, 8, 128, 5))
    for channel in range(5):
        inputs, target = lesson.for_instrument(channel, 4)(rolls)
        assert np.array_equal(inputs, np.concatenate([rolls[:, :4], rolls[:, 4:, :, :channel]], axis=-1))
        assert np.array_equal(target, rolls[:, 4:, :, [channel]])
    assert np.array_equal(lesson.alone(3, 4)(rolls)[0], rolls[:, :4])


def test_a_plain_loop_of_turns_gives_what_the_package_gives():
    rng = np.random.default_rng(0)
    mixes = [rng.normal(size=(5 + channel, 1)) for channel in range(5)]

    class Network:
        def __init__(self, mix):
            self.predict_on_batch = lambda inputs: (inputs @ mix - 0.3).astype("float32")

    names = ("Piano", "Guitar", "Bass", "Strings", "Drums")
    models = {name: Network(mix) for name, mix in zip(names, mixes, strict=True)}
    page = definitions("07", "take_turns", "next_block")
    page["take_turns"].__globals__.update(models=models, settings=SimpleNamespace(length=4))
    prompts = rng.random((3, 4, 128, 5)) < 0.2
    rules = [sample.threshold_rule(0.45)] * 5
    by_hand = page["take_turns"](prompts, 10, rules)

    def predict(last):
        new = []
        for name in names:
            logits = models[name].predict_on_batch(np.concatenate([last, *new], axis=-1))
            new.append((expit(logits) > 0.45).astype("float32"))
        return np.concatenate(new, axis=-1) * 20 - 10

    assert by_hand.shape == (3, 10, 128, 5) and 0 < by_hand.mean() < 1
    assert np.array_equal(by_hand, sample.generate_blocks(predict, prompts, 10, sample.threshold_rule(0.45)))
