"""What a student changes in notebook 10 is what is trained: the remedies there, and the ring by hand."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from lessons import definitions

from course_lib.learn import adversarial

LESSON = ("smoothed_loss", "matching_loss", "noisy_labels", "apart", "cross_entropy")
REAL = np.random.default_rng(1).normal(loc=0.5, size=(32, 6)).astype("float32")
NOISE = np.random.default_rng(2).normal(size=(4, 3)).astype("float32")


def heard(folder, lesson, label_noise=0.1):
    """What a small generator makes after three steps with the lesson's remedies."""
    keras.utils.set_random_seed(0)
    music = keras.Input((6,))
    features = layers.Dense(4, activation="relu")(music)
    judge = keras.Model(music, [layers.Dense(1)(features), features])
    of_generator = partial(lesson["matching_loss"], mean_weight=0.5, feature_weight=0.5)
    optimizers = [keras.optimizers.SGD(0.1) for _ in range(2)]
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(6)])
    game = adversarial.Adversarial(generator, judge, *optimizers, of_generator, lesson["smoothed_loss"])
    labels = partial(lesson["noisy_labels"], label_noise=label_noise)
    return adversarial.fit(
        game, REAL, steps=3, batch_size=8, folder=folder, seed=0, noise=NOISE, checkpoints=1, labels=labels
    ).samples


def test_a_changed_remedy_changes_what_is_trained_and_heard(tmp_path):
    as_taught = heard(tmp_path / "taught", definitions("10", *LESSON))
    np.testing.assert_array_equal(heard(tmp_path / "again", definitions("10", *LESSON)), as_taught)

    absolute = definitions("10", *LESSON)  # the article's difference, which is not squared
    ops = keras.ops
    absolute["matching_loss"].__globals__["apart"] = lambda real, fake: ops.sum(
        ops.absolute(ops.mean(real, axis=0) - ops.mean(fake, axis=0))
    )
    one_sided = definitions("10", *LESSON)
    one_sided["noisy_labels"] = lambda rng, count, label_noise: (
        np.full((count, 1), 1 - label_noise),
        np.zeros((count, 1)),
    )
    for name, changed in {"absolute": absolute, "one-sided": one_sided}.items():
        assert np.abs(heard(tmp_path / name, changed) - as_taught).max() > 1e-5, name


def test_the_lessons_cross_entropy_is_the_packages():
    logits = np.array([[-3.0], [0.0], [2.0]], "float32")
    own = definitions("10", "cross_entropy")["cross_entropy"]
    for labels in (1.0, 0.0, np.array([[0.9], [0.05], [1.0]], "float32")):
        assert float(own(logits, labels)) == float(adversarial.cross_entropy(logits, labels))


def test_modes_of_the_ring_are_counted_by_hand():
    on_modes, covered, CENTRES = definitions("10", "on_modes", "covered", "CENTRES").values()
    points = np.concatenate([np.repeat(CENTRES[:1], 38, axis=0), CENTRES[1:2], [[0.0, 0.0]]])
    assert on_modes(points).tolist() == [38, 1, 0, 0, 0, 0, 0, 0]
    assert covered(points) == 2 and covered(np.repeat(points, 2, axis=0)[:-3]) == 1


def test_a_collapsed_generator_stays_so_under_a_slow_judge_and_parts_under_one_that_keeps_up():
    play, covered = definitions("10", "play", "covered").values()
    slow, fast = ([covered(points) for points in play(ratio=ratio)[7:]] for ratio in (0.1, 1))
    assert np.mean(slow) < 4 < np.mean(fast) and max(fast) >= 7


def test_the_slope_of_matching_is_that_of_its_loss():
    mlp, forward, matching_slope = definitions("10", "mlp", "forward", "matching_slope").values()
    rng = np.random.default_rng(0)
    D, real, made = mlp(rng, 2, 5, 1), rng.normal(size=(7, 2)), rng.normal(size=(7, 2))

    def loss(points):
        gaps = [
            values.mean(0) - others.mean(0) for values, others in zip(forward(D, points), forward(D, real), strict=True)
        ]
        return 0.3 * (gaps[0] ** 2).sum() + 0.2 * (gaps[1] ** 2).sum()

    slopes = matching_slope(D, made, forward(D, made), real, 0.3, 0.2)
    for i, j in np.ndindex(made.shape):
        step = np.zeros_like(made)
        step[i, j] = 1e-6
        assert slopes[i, j] == pytest.approx((loss(made + step) - loss(made - step)) / 2e-6, abs=1e-6)
