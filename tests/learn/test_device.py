"""Precision, XLA and memory: settings of one place, tried on a CPU."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from course_lib.lab import machine, record
from course_lib.learn import adversarial, device, train
from course_lib.learn.stepper import Stepper


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    keras.utils.set_random_seed(0)


def gru():
    notes = keras.Input((None,), dtype="int32")
    x = layers.GRU(8, return_sequences=True)(layers.Embedding(12, 8)(notes))
    model = keras.Model(notes, layers.Dense(12)(x))
    model.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("precision", device.PRECISIONS)
@pytest.mark.parametrize("xla", device.XLA)
def test_networks_learn_and_step_in_each_precision(precision, xla, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", precision)
    monkeypatch.setenv("COURSE_XLA", xla)
    model = gru()
    notes = np.arange(64 * 9).reshape(64, 9) % 12
    history = train.fit(model, notes[:, :-1], notes[:, 1:], epochs=4, folder=tmp_path, seed=0, batch_size=8)
    assert history["loss"][-1] < history["loss"][0] - 0.1
    assert [layer.compute_dtype for layer in model.layers[1:]] == [precision.removeprefix("mixed_")] * 2 + ["float32"]
    assert model.layers[2].cell.compute_dtype == precision.removeprefix("mixed_")
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    if xla != "auto":
        assert model.jit_compile is (xla == "on")
    stepper = Stepper(model)
    stepped = np.stack([stepper.step(notes[:1, place]) for place in range(8)], axis=1)
    at_once = np.asarray(model.predict(notes[:1, :-1], verbose=0), "float32")
    assert stepped.astype("float32") == pytest.approx(at_once, abs=1e-5 if precision == "float32" else 0.05)


def test_a_training_in_16_bits_goes_on_and_in_another_precision_starts_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PRECISION", "mixed_float16")
    model, notes = gru(), np.arange(16 * 9).reshape(16, 9) % 12
    for epochs in (2, 3):
        train.fit(model, notes[:, :-1], notes[:, 1:], epochs=epochs, folder=tmp_path, seed=0, batch_size=8)
    train.fit(gru(), notes[:, :-1], notes[:, 1:], epochs=4, folder=tmp_path, seed=0, batch_size=8)
    assert re.findall(r"continuing after epoch (\d)", capsys.readouterr().out) == ["2", "3"]
    monkeypatch.setenv("COURSE_PRECISION", "mixed_bfloat16")
    train.fit(gru(), notes[:, :-1], notes[:, 1:], epochs=5, folder=tmp_path, seed=0, batch_size=8)
    assert "continuing" not in capsys.readouterr().out


def test_answers_are_in_float32_from_the_last_weights_on(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "mixed_bfloat16")
    block = keras.Input((4,))
    features = layers.Dense(8)(block)
    answer = layers.Reshape((2, 3))(layers.Dense(6)(layers.Dense(5)(features)))
    model = keras.Model(block, [answer, features])
    device.use_precision(model)
    assert [layer.compute_dtype for layer in model.layers[1:]] == ["float32", "bfloat16", "float32", "float32"]


@pytest.mark.parametrize("precision", device.PRECISIONS)
def test_a_contest_moves_its_players_in_each_precision(precision, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", precision)
    generator = keras.Sequential([keras.Input((4,)), layers.Dense(16, "relu"), layers.Dense(3)])
    discriminator = keras.Sequential([keras.Input((3,)), layers.Dense(16, "relu"), layers.Dense(1)])
    optimizers = [keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01)]
    players = adversarial.Adversarial(generator, discriminator, *optimizers)
    before = [[np.asarray(weight) for weight in network.weights] for network in (generator, discriminator)]
    real = np.random.normal(3, 0.1, (64, 3)).astype("float32")
    losses = [
        adversarial.alternate(players, real, np.random.normal(size=(2, 64, 4)).astype("float32")) for _ in range(60)
    ]
    assert np.isfinite(losses).all()
    assert losses[0][0] == pytest.approx(np.log(2), abs=0.6)
    for network, old in zip((generator, discriminator), before, strict=True):
        assert all(abs(np.asarray(weight) - was).max() > 0.01 for weight, was in zip(network.weights, old, strict=True))
    made = np.asarray(generator(np.random.normal(size=(64, 4)).astype("float32")), "float32")
    assert made.mean() > 0.3  # from about 0 towards 3


def test_gradients_too_small_for_float16_move_a_player(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "mixed_float16")
    generator = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="ones")])
    discriminator = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="ones")])

    def faint(judge, fake, real=None):
        return 1e-8 * keras.ops.mean(judge(fake))  # whose gradient is 0 in float16

    descent = [keras.optimizers.SGD(1e6), keras.optimizers.SGD(1e6)]
    players = adversarial.Adversarial(generator, discriminator, *descent, generator_loss=faint)
    before = np.asarray(generator.weights[0])
    players.generator_step(np.ones((4, 1), "float32"), np.ones((4, 1), "float32"))
    assert np.asarray(generator.weights[0]) == pytest.approx(before - 0.01, rel=0.05)


@pytest.mark.parametrize(("name", "value"), [("COURSE_PRECISION", "float8"), ("COURSE_XLA", "yes")])
def test_a_wrong_setting_stops_a_run_in_one_sentence(name, value, tmp_path, monkeypatch):
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("COURSE_OUT", str(tmp_path))
    with pytest.raises(ValueError, match=f"{name} is '{value}': set it to .* or "):
        record.start("02_lstm_next_note", "quick", 0, "embedded")


def test_a_record_says_its_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_OUT", str(tmp_path))
    monkeypatch.setenv("COURSE_PRECISION", "mixed_bfloat16")
    assert record.start("02_lstm_next_note", "quick", 0, "embedded").record.precision == "mixed_bfloat16"


def test_kernels_take_a_gpus_memory_as_they_need_it():
    assert machine.variables().items() >= device.MEMORY_GROWTH.items()
    assert machine.variables(3)["OMP_NUM_THREADS"] == "3"
