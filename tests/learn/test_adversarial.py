"""On the backend that is running; the last test runs all of this file again on JAX."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from keras import layers
from lessons import definitions

from course_lib.learn import adversarial

smoothed_loss, matching_loss, noisy_labels = definitions(
    "10", "smoothed_loss", "matching_loss", "noisy_labels"
).values()

BACKEND = keras.backend.backend()
LATENT = 3
rng = np.random.default_rng(0)
NOISE = rng.normal(size=(8, LATENT)).astype("float32")
REAL = rng.normal(loc=0.5, size=(8, 5, 1)).astype("float32")
RATE = 0.1


def generator(*hidden):
    """Noise to (batch, 5, 1)."""
    stack = [keras.Input((LATENT,)), *hidden, layers.Dense(5), layers.Reshape((5, 1))]
    return keras.Sequential(stack)


def discriminator(*hidden):
    """(batch, 5, 1) to one logit."""
    return keras.Sequential([keras.Input((5, 1)), *hidden, layers.Dense(1)])


def dense():
    return discriminator(layers.Flatten(), layers.Dense(8), layers.LeakyReLU(0.2))


def with_features(*hidden):
    """(batch, 5, 1) to [one logit, four features], both linear in the hidden layers' output."""
    music = keras.Input((5, 1))
    x = music
    for layer in [*hidden, layers.Flatten()]:
        x = layer(x)
    features = layers.Dense(4)(x)
    return keras.Model(music, [layers.Dense(1)(features), features])


def players(generator, discriminator, optimizer=keras.optimizers.SGD, rate=RATE, **losses):
    return adversarial.Adversarial(generator, discriminator, optimizer(rate), optimizer(rate), **losses)


def values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def moved(before, after):
    return [not np.array_equal(old, new) for old, new in zip(before, after, strict=True)]


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_each_step_moves_every_weight_of_its_own_network_and_nothing_of_the_other(optimizer):
    recurrent = discriminator(layers.LSTM(4, return_sequences=True), layers.Bidirectional(layers.LSTM(3)))
    game = players(generator(layers.Dense(4), layers.BatchNormalization()), recurrent, optimizer)
    networks = {"generator": game.generator, "discriminator": game.discriminator}
    for step, own in [
        (lambda: game.discriminator_step(REAL, NOISE), "discriminator"),
        (lambda: game.generator_step(NOISE), "generator"),
    ]:
        weights = {name: values(network.weights) for name, network in networks.items()}
        trainable = values(networks[own].trainable_variables)
        states = [values(optimizer.variables) for optimizer in game.optimizers]
        step()
        assert all(moved(trainable, values(networks[own].trainable_variables)))
        for name, network in networks.items():
            assert any(moved(weights[name], values(network.weights))) == (name == own)
        for name, before, holder in zip(networks, states, game.optimizers, strict=True):
            assert any(moved(before, values(holder.variables))) == (name == own)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_both_steps_follow_the_gradient_written_by_hand():
    """A linear generator x = zW + c and a linear discriminator x·v + b, moved by gradient descent."""
    game = players(generator(), discriminator(layers.Flatten()))
    W, c, v, b = (a.astype("float64") for a in values(game.generator.weights + game.discriminator.weights))
    x = REAL.reshape(8, 5)
    for _ in range(3):
        fake = NOISE @ W + c
        real_logits, fake_logits = x @ v + b, fake @ v + b
        loss = (np.log1p(np.exp(-real_logits)).mean() + np.log1p(np.exp(fake_logits)).mean()) / 2
        assert game.discriminator_step(REAL, NOISE) == pytest.approx(loss, rel=1e-5)
        to_real, to_fake = -sigmoid(-real_logits) / 16, sigmoid(fake_logits) / 16
        v = v - RATE * (x.T @ to_real + fake.T @ to_fake)
        b = b - RATE * (to_real + to_fake).sum(0)
        logits = fake @ v + b
        assert game.generator_step(NOISE) == pytest.approx(np.log1p(np.exp(-logits)).mean(), rel=1e-5)
        to_music = -sigmoid(-logits) / 8 @ v.T
        W, c = W - RATE * NOISE.T @ to_music, c - RATE * to_music.sum(0)
        for found, expected in zip(
            values(game.generator.weights + game.discriminator.weights), (W, c, v, b), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_losses_of_ones_own_are_used():
    game = players(
        generator(),
        discriminator(layers.Flatten()),
        generator_loss=lambda judge, fake, real: -keras.ops.mean(judge(fake)),
        discriminator_loss=lambda judge, real, fake: keras.ops.mean(judge(fake)) - keras.ops.mean(judge(real)),
    )
    bias = values(game.generator.weights)[1]
    (v, _) = values(game.discriminator.weights)
    game.generator_step(NOISE)
    np.testing.assert_allclose(values(game.generator.weights)[1], bias + RATE * v[:, 0], rtol=1e-5)
    fake = values([game.generator(NOISE)])[0].reshape(8, 5)
    loss = (fake @ v).mean() - (REAL.reshape(8, 5) @ v).mean()
    assert game.discriminator_step(REAL, NOISE) == pytest.approx(loss, rel=1e-4)


def test_batch_statistics_are_remembered_by_their_own_network_alone():
    """The discriminator sees a real batch and then a made one; the other network remembers nothing."""
    noisy, musical = layers.BatchNormalization(momentum=0.5), layers.BatchNormalization(momentum=0.5)
    game = players(generator(noisy), discriminator(musical, layers.Flatten()))
    W, c = values(game.generator.layers[1].weights)
    standardised = (NOISE - NOISE.mean(0)) / np.sqrt(NOISE.var(0) + 1e-3)
    fake = standardised @ W + c  # of the batch's own statistics, as in training
    game.discriminator_step(REAL, NOISE)
    np.testing.assert_array_equal(values([noisy.moving_mean])[0], np.zeros(LATENT))
    np.testing.assert_array_equal(values([noisy.moving_variance])[0], np.ones(LATENT))
    (mean,) = values([musical.moving_mean])[0]
    assert mean == pytest.approx(REAL.mean() / 4 + fake.mean() / 2, rel=1e-4)
    (variance,) = values([musical.moving_variance])[0]
    assert variance == pytest.approx((1 / 2 + REAL.var() / 2) / 2 + fake.var() / 2, rel=1e-4)
    game.generator_step(NOISE)
    np.testing.assert_allclose(values([noisy.moving_mean])[0], NOISE.mean(0) / 2, rtol=1e-4, atol=1e-6)
    assert values([musical.moving_mean])[0] == mean and values([musical.moving_variance])[0] == variance


def test_dropout_draws_anew_in_every_step():
    networks = generator(layers.Dropout(0.5)), discriminator(layers.Flatten(), layers.Dropout(0.5))
    game = players(*networks, rate=0.0)  # nothing learns, so that losses differ by dropout alone
    losses = [game.discriminator_step(REAL, NOISE) for _ in range(3)]
    losses += [game.generator_step(NOISE) for _ in range(3)]
    assert len(set(losses)) == 6
    seeds = [
        [variable for variable in network.non_trainable_variables if "seed" in variable.path] for network in networks
    ]
    before = [values(states) for states in seeds]
    game.generator_step(NOISE)
    assert all(all(moved(old, values(new))) for old, new in zip(before, seeds, strict=True))


LABELS = [np.full((8, 1), 0.9, "float32"), np.linspace(0, 0.1, 8, dtype="float32")[:, None]]


def remedies(mean_weight=0.0, feature_weight=0.0):
    """The losses of notebook 10, for a discriminator with features."""
    matching = partial(matching_loss, mean_weight=mean_weight, feature_weight=feature_weight)
    return {"generator_loss": matching, "discriminator_loss": smoothed_loss}


def first_steps(labels=(), rate=RATE, **weights):
    """Loss and gradient of either step from the same weights: {network: (loss, [weight's gradient])}."""
    found = {}
    for name in ("discriminator", "generator"):
        keras.utils.set_random_seed(1)
        optimizers = keras.optimizers.SGD(RATE), keras.optimizers.SGD(rate)
        game = adversarial.Adversarial(generator(), with_features(), *optimizers, **remedies(**weights))
        before = values(getattr(game, name).weights)
        step = {
            "discriminator": lambda game=game: game.discriminator_step(REAL, NOISE, labels),
            "generator": lambda game=game: game.generator_step(NOISE, REAL),
        }
        loss = step[name]()
        after = values(getattr(game, name).weights)
        found[name] = loss, [(old - new) / RATE for old, new in zip(before, after, strict=True)]
    return found


def same(a, b):
    return a[0] == b[0] and not any(moved(a[1], b[1]))


def test_labels_change_the_step_of_the_discriminator_alone():
    plain, smooth = first_steps(), first_steps(LABELS)
    assert not same(smooth["discriminator"], plain["discriminator"])
    assert same(smooth["generator"], plain["generator"])
    hard = first_steps([np.ones((8, 1), "float32"), np.zeros((8, 1), "float32")])
    assert same(hard["discriminator"], plain["discriminator"])


def test_the_loss_with_labels_is_their_cross_entropy():
    logits = rng.normal(size=(2, 8, 1)).astype("float32")
    p, t = sigmoid(logits.astype("float64")), np.array(LABELS)
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    found = float(smoothed_loss(lambda logit: (logit, None), *logits, *LABELS))
    assert found == pytest.approx(expected, rel=1e-5)
    assert float(adversarial.discriminator_loss(lambda logit: logit, *logits)) == pytest.approx(
        -(np.log(p[0]).mean() + np.log(1 - p[1]).mean()) / 2, rel=1e-5
    )


@pytest.mark.parametrize("weights", [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_feature_matching_changes_the_step_of_the_generator_alone(weights):
    """Networks are linear, so that the gradient of the generator's bias can be written by hand."""
    of_mean, of_features = weights
    plain, matched = first_steps(), first_steps(mean_weight=of_mean, feature_weight=of_features)
    assert same(matched["discriminator"], plain["discriminator"])
    keras.utils.set_random_seed(1)
    W, c = values(generator().weights)
    A, a, v, b = values(with_features().weights)
    x, fake = REAL.reshape(8, 5), NOISE @ W + c
    apart = fake.mean(0) - x.mean(0)
    features_apart = (fake @ A + a).mean(0) - (x @ A + a).mean(0)
    logits = (fake @ A + a) @ v + b
    loss = np.log1p(np.exp(-logits)).mean() + of_mean * (apart**2).sum() + of_features * (features_apart**2).sum()
    to_bias = -sigmoid(-logits).mean() * (A @ v)[:, 0] + 2 * of_mean * apart + 2 * of_features * A @ features_apart
    assert matched["generator"][0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(matched["generator"][1][1], to_bias, rtol=1e-3, atol=1e-5)


def test_a_higher_rate_lengthens_the_move_of_the_discriminator_alone():
    plain, fast = first_steps(), first_steps(rate=3 * RATE)
    assert fast["discriminator"][0] == plain["discriminator"][0] and same(fast["generator"], plain["generator"])
    for slow_move, fast_move in zip(plain["discriminator"][1], fast["discriminator"][1], strict=True):
        np.testing.assert_allclose(fast_move, 3 * slow_move, rtol=1e-3, atol=1e-5)


def test_matching_features_leaves_the_statistics_of_the_discriminator_alone():
    game = players(generator(), with_features(layers.BatchNormalization()), **remedies(feature_weight=0.1))
    before = values(game.discriminator.weights)
    game.generator_step(NOISE, REAL)
    assert not any(moved(before, values(game.discriminator.weights)))


def test_what_cannot_be_trained_is_refused():
    frozen = discriminator(layers.Flatten())
    frozen.trainable = False
    with pytest.raises(ValueError, match="discriminator has no trainable weights"):
        players(generator(), frozen)
    shared = keras.optimizers.SGD()
    with pytest.raises(ValueError, match="give each its own"):
        adversarial.Adversarial(generator(), dense(), shared, shared)


def fit(folder, game=None, **changed):
    game = game or players(generator(layers.Dense(4), layers.BatchNormalization()), dense())
    asked = {"steps": 6, "batch_size": 4, "seed": 0, "noise": NOISE[:2], "checkpoints": 3} | changed
    return adversarial.fit(game, asked.pop("real", REAL), folder=folder, **asked)


def test_a_training_gives_losses_of_every_step_and_samples_along_the_way(tmp_path, capsys):
    game = players(generator(layers.BatchNormalization()), dense())
    trained = fit(tmp_path, game)
    assert trained.discriminator_loss.shape == trained.generator_loss.shape == (6,)
    assert trained.marks.tolist() == [2, 4, 6] and trained.samples.shape == (3, 2, 5, 1)
    np.testing.assert_allclose(trained.samples[-1], values([game.generator(NOISE[:2])])[0], rtol=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("step 6/6  discriminator ")


class Stopped(Exception):
    pass


def stopped_after(steps, folder):
    """A training that ends like a killed one in the step that follows."""
    game, taken = players(generator(layers.Dense(4), layers.BatchNormalization()), dense()), []
    step = game.discriminator_step

    def limited(*batch):
        taken.append(batch)
        if len(taken) > steps:
            raise Stopped
        return step(*batch)

    game.discriminator_step = limited
    with pytest.raises(Stopped):
        fit(folder, game)


def test_the_seconds_of_every_step_survive_a_stop(tmp_path, monkeypatch):
    clock = iter(np.cumsum(np.arange(1, 99)).tolist())  # every look at it takes a second longer
    monkeypatch.setattr(adversarial.time, "perf_counter", lambda: next(clock))
    stopped_after(5, tmp_path)
    with np.load(tmp_path / "checkpoint.npz") as saved:
        before = saved["history losses"][:, 2]
    trained = fit(tmp_path)
    assert before.shape == (4,) and trained.seconds.shape == (6,)
    assert (trained.seconds > 0).all() and len(set(trained.seconds)) == 6
    np.testing.assert_array_equal(trained.seconds[:4], before)


def test_a_training_continues_only_when_nothing_has_changed(tmp_path, capsys):
    first = fit(tmp_path)
    capsys.readouterr()
    again = fit(tmp_path)
    assert capsys.readouterr().out.startswith("continuing after step 6 of 6")
    np.testing.assert_array_equal(again.generator_loss, first.generator_loss)
    np.testing.assert_array_equal(again.samples, first.samples)
    other = players(generator(), dense())
    for changed in [{"seed": 1}, {"steps": 7}, {"real": REAL + 1}, {"game": other}]:
        fit(tmp_path, **changed)
        assert "continuing" not in capsys.readouterr().out
    (tmp_path / "checkpoint.npz").write_bytes(b"not an archive")
    assert len(fit(tmp_path).generator_loss) == 6


@pytest.mark.parametrize("remedy", ["label_noise", "mean_weight", "feature_weight"])
def test_a_training_with_another_remedy_starts_anew(remedy, tmp_path, capsys):
    continued = []
    for value in (0.1, 0.2, 0.2):
        weights = {} if remedy == "label_noise" else {remedy: value}
        labels = partial(noisy_labels, label_noise=value) if remedy == "label_noise" else None
        fit(tmp_path, players(generator(), with_features(), **remedies(**weights)), labels=labels)
        continued.append("continuing" in capsys.readouterr().out)
    assert continued == [False, False, True]


def test_another_loss_starts_anew_and_how_it_ended_is_written(tmp_path, capsys):
    def hinge(judge, fake, real):
        return -keras.ops.mean(judge(fake))

    trained = fit(tmp_path, players(generator(), dense()))
    assert json.loads((tmp_path / "training.json").read_text()) == {
        "best_epoch": 6, "epochs": 6, "stopped": "limit", "watched": "", "best": None,
        "seconds": pytest.approx(trained.seconds.sum()),
    }  # fmt: skip
    fit(tmp_path, players(generator(), dense(), generator_loss=hinge))
    assert "continuing" not in capsys.readouterr().out


def test_a_changed_loss_of_the_same_name_starts_anew(tmp_path, capsys):
    def loss(judge, fake, real=None):
        return keras.ops.mean(keras.ops.softplus(-judge(fake)))

    first = loss

    def loss(judge, fake, real=None):
        return -keras.ops.mean(keras.ops.softplus(judge(fake)))

    continued = []
    for of_generator in (first, loss, loss, first):
        keras.utils.set_random_seed(0)
        fit(tmp_path, players(generator(), dense(), generator_loss=of_generator))
        continued.append("continuing" in capsys.readouterr().out)
    assert continued == [False, False, True, False]


def test_a_step_of_ones_own_sets_who_moves_when(tmp_path, capsys):
    moves = []

    def twice(players, real, noise):
        """The discriminator moves twice before the generator does."""
        for _ in range(2):
            moves.append("discriminator")
            loss = players.discriminator_step(real, noise[0])
        moves.append("generator")
        return loss, players.generator_step(noise[1], real)

    def trained(losses=None, **own):
        keras.utils.set_random_seed(0)
        return fit(tmp_path, players(generator(), dense(), **(losses or {})), **own)

    lesson = definitions("04", "generator_loss", "discriminator_loss", "one_step")
    in_turn = lesson.pop("one_step")
    usual, own, other = trained(), trained(lesson, step=in_turn), trained(step=twice)
    assert "continuing" not in capsys.readouterr().out
    assert moves == ["discriminator", "discriminator", "generator"] * 6
    np.testing.assert_array_equal(own.generator_loss, usual.generator_loss)
    np.testing.assert_array_equal(own.samples, usual.samples)
    assert (other.discriminator_loss[1:] != usual.discriminator_loss[1:]).all()


@pytest.mark.parametrize("returned", [None, 0.5, (0.5,), (None, 0.5)])
def test_a_step_that_returns_no_two_losses_says_so(returned, tmp_path):
    with pytest.raises(ValueError, match="let it return the discriminator's and the generator's loss"):
        fit(tmp_path, step=lambda *batch: returned)


def test_labels_are_noisy_only_where_that_is_asked_for(tmp_path):
    seen = []
    losses = {}
    for noise in (0.0, 0.1):
        keras.utils.set_random_seed(0)
        game = players(generator(), with_features(), rate=0.0, **remedies())  # nothing learns: losses can be compared
        step = game.discriminator_step
        game.discriminator_step = lambda real, z, labels, step=step: seen.append(labels) or step(real, z, labels)
        labels = partial(noisy_labels, label_noise=noise) if noise else None
        losses[noise] = fit(tmp_path / str(noise), game, labels=labels)
    np.testing.assert_array_equal(losses[0.0].generator_loss, losses[0.1].generator_loss)
    assert (losses[0.0].discriminator_loss != losses[0.1].discriminator_loss).all()
    assert [len(labels) for labels in seen] == [0] * 6 + [2] * 6
    real, fake = np.array(seen[6:]).swapaxes(0, 1)  # (steps, batch, 1) each
    assert real.shape == fake.shape == (6, 4, 1) and len(np.unique([real, 1 - fake])) == 48
    assert real.min() >= 0.9 and real.max() <= 1 and fake.min() >= 0 and fake.max() <= 0.1


def test_bool_music_trains_as_numbers_do(tmp_path):
    sounding = REAL > 0.5
    trained, seen = [], []
    for kind in (sounding, sounding.astype("float32")):
        keras.utils.set_random_seed(0)
        game = players(generator(), dense())
        step = game.discriminator_step
        game.discriminator_step = lambda real, *rest, step=step: seen.append(real.dtype) or step(real, *rest)
        trained.append(fit(tmp_path / str(kind.dtype), game, real=kind))
    assert set(seen) == {np.dtype("float32")}
    np.testing.assert_array_equal(trained[0].discriminator_loss, trained[1].discriminator_loss)
    np.testing.assert_array_equal(trained[0].generator_loss, trained[1].generator_loss)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path):
    with pytest.raises(FloatingPointError, match=r"in step 1: try lower learning rates"):
        fit(tmp_path, real=REAL * np.nan)
    assert not list(tmp_path.iterdir())


def test_smoke_cuts_training_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    trained = fit(tmp_path, steps=5000, checkpoints=20)
    assert len(trained.generator_loss) == 4 and len(trained.samples) == 4
    assert "COURSE_SMOKE=1" in capsys.readouterr().out


def test_the_generator_comes_nearer_to_the_real_music(tmp_path):
    melody = np.linspace(-1, 1, 5)[:, None]
    spread = np.random.default_rng(1).normal(scale=0.3, size=(200, 5, 1))
    optimizers = [keras.optimizers.Adam(rate, beta_1=0.5) for rate in (0.003, 0.01)]
    game = adversarial.Adversarial(generator(), dense(), *optimizers)
    real = (melody + spread).astype("float32")
    trained = fit(tmp_path, game, real=real, steps=500, batch_size=32, noise=NOISE, checkpoints=20)
    distance = np.abs(trained.samples.mean(1) - melody).mean((1, 2))  # of the mean piece, at each checkpoint
    assert distance[-1] < 0.5 * distance[0]


LESSON = textwrap.dedent("""
    import sys, pathlib, keras, numpy as np
    from keras import layers
    from course_lib.learn import adversarial

    def smoothed_loss(judge, real, fake, *labels):
        return sum(adversarial.cross_entropy(judge(x)[0], label) for x, label in zip((real, fake), labels)) / 2

    def matching_loss(judge, fake, real):
        (logits, features), (_, real_features) = judge(fake), judge(real)
        apart = keras.ops.mean(features, axis=0) - keras.ops.mean(real_features, axis=0)
        return adversarial.cross_entropy(logits, 1.0) + 0.1 * keras.ops.sum(apart**2)

    for folder in sys.argv[1:]:
        keras.utils.set_random_seed(3)
        generator = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(),
                                      layers.Dense(5)])
        music = keras.Input((5,))
        features = layers.Dropout(0.3)(layers.Dense(4)(music))
        discriminator = keras.Model(music, [layers.Dense(1)(features), features])
        game = adversarial.Adversarial(generator, discriminator, keras.optimizers.Adam(), keras.optimizers.Adam(),
                                       matching_loss, smoothed_loss)
        rng = np.random.default_rng(0)
        real = rng.normal(size=(64, 5)).astype("float32")
        noise = rng.normal(size=(2, 3)).astype("float32")
        trained = adversarial.fit(game, real, steps=400, batch_size=8, folder=pathlib.Path(folder), seed=3,
                                  noise=noise, checkpoints=40,
                                  labels=lambda rng, count: (rng.uniform(0.9, 1, (count, 1)).astype("float32"), 0.0))
        print("FINAL", repr(trained.discriminator_loss.tolist()[-1]),
              repr(trained.generator_loss.tolist()[-1]), np.abs(trained.samples).sum(), len(trained.samples))
""")


def lesson(*folders):
    command = [sys.executable, "-c", LESSON, *map(str, folders)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_training_continues_to_the_same_losses_and_music(tmp_path):
    process = lesson(tmp_path / "killed")
    for _ in range(3):  # three checkpoints are reported, then the process dies wherever it is
        process.stdout.readline()
    process.kill()
    process.wait()
    with np.load(tmp_path / "killed" / "checkpoint.npz") as saved:
        assert 30 <= len(saved["history losses"]) < 400
    process = lesson(tmp_path / "killed", tmp_path / "whole")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0 and output.startswith("continuing")
    continued, whole = (
        [float(figure) for figure in line.split()[1:]] for line in output.splitlines() if line.startswith("FINAL")
    )
    assert continued == pytest.approx(whole, rel=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="runs on JAX already")
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed (pip install jax)")
def test_all_of_this_on_jax():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
