"""Two networks against each other (Goodfellow et al. 2014): the step of each, and a training that resumes.

This is the one module that knows the Keras backend, as the gradient of a loss cannot be written once for all.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from course_lib import files
from course_lib.learn import checkpoint, profiles


def discriminator_loss(real_logits: Any, fake_logits: Any, real_labels: Any = 1.0, fake_labels: Any = 0.0) -> Any:
    """Binary cross-entropy in nats, the mean over a real and a generated batch: ln 2 where it cannot tell.

    The labels, one for all or ``(batch, 1)``, are what each piece should be held for: 1 real, 0 generated.
    """
    return (_cross_entropy(real_logits, real_labels) + _cross_entropy(fake_logits, fake_labels)) / 2


def generator_loss(fake_logits: Any) -> Any:
    """Cross-entropy in nats of generated music taken for real (the non-saturating loss of the same paper)."""
    return _cross_entropy(fake_logits, 1.0)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    return ops.mean(labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits))


def distance_of_means(real: Any, fake: Any) -> Any:
    """Feature matching (Salimans et al. 2016): squared distance between the means of two batches, a scalar.

    Each batch is averaged over its pieces; the squared differences are summed over everything else.
    """
    return ops.sum(ops.square(ops.mean(real, axis=0) - ops.mean(fake, axis=0)))


class Adversarial:
    """A generator from noise ``(batch, latent)`` to music, a discriminator from music to one logit a piece.

    Each has its own optimizer and its own step. A step moves the weights and the normalisation statistics of
    its own network alone: the other's batch normalisation works on the batch, as in training, but what it
    would have remembered is dropped. Only the random states of dropout move on in both. The losses take
    logits, so the discriminator ends without a sigmoid. Runs on the TensorFlow and JAX backends, and raises
    NotImplementedError on another; ValueError where a network has nothing to train, or both one optimizer.

    Three remedies for an unstable contest, off by default. ``label_noise``: `fit` draws the labels of the
    discriminator's step evenly from 1 - ``label_noise`` to 1 for real pieces, and from 0 to ``label_noise`` for
    generated ones. ``mean_weight`` and ``feature_weight`` add to the generator's loss the `distance_of_means` of
    the real and generated pieces, and of their features, so many times; for the latter the discriminator returns
    ``[logit, features]`` (ValueError where it does not). A fourth, the two time-scale update rule (TTUR), is just
    a higher learning rate in the discriminator's optimizer.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
        generator_loss: Callable = generator_loss,
        discriminator_loss: Callable = discriminator_loss,
        label_noise: float = 0.0,
        mean_weight: float = 0.0,
        feature_weight: float = 0.0,
    ):
        if generator_optimizer is discriminator_optimizer:
            raise ValueError("Both networks were given one optimizer, which keeps a state: give each its own.")
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if not network.trainable_variables:
                problem = f"The {name} has no trainable weights"
                raise ValueError(f"{problem}: leave trainable at True, each step moves its own network only.")
        if not (0 <= label_noise < 0.5 and mean_weight >= 0 and feature_weight >= 0):
            raise ValueError(
                f"label_noise is {label_noise}, mean_weight {mean_weight} and feature_weight {feature_weight}: the "
                "noise must lie from 0 up to 0.5, the weights be 0 or above."
            )
        if feature_weight and len(discriminator.outputs) < 2:
            raise ValueError(
                "feature_weight needs a discriminator that returns [logit, features]: this has one output."
            )
        self.generator, self.discriminator = generator, discriminator
        self.label_noise, self.mean_weight, self.feature_weight = label_noise, mean_weight, feature_weight
        self.optimizers = [generator_optimizer, discriminator_optimizer]
        self._losses = generator_loss, discriminator_loss
        generator_optimizer.build(generator.trainable_variables)
        discriminator_optimizer.build(discriminator.trainable_variables)
        update = _update()
        self._generator_step = update(self._generator_value, generator, discriminator, generator_optimizer)
        self._discriminator_step = update(self._discriminator_value, discriminator, generator, discriminator_optimizer)

    def generator_step(self, noise: np.ndarray, real: np.ndarray | None = None) -> float:
        """Move the generator once, on noise ``(batch, latent)``; its loss before the move.

        Feature matching needs a real batch too: ValueError where it is missing.
        """
        if not (self.mean_weight or self.feature_weight):
            return float(self._generator_step(noise))
        if real is None:
            raise ValueError("Feature matching compares with real music: give generator_step a real batch too.")
        return float(self._generator_step(noise, real))

    def discriminator_step(self, real: np.ndarray, noise: np.ndarray, labels: Sequence[np.ndarray] = ()) -> float:
        """Move the discriminator once, on a real batch and one made from noise; its loss before the move.

        ``labels``, of the real and of the generated pieces, ``(batch, 1)`` each, are 1 and 0 where none are given.
        """
        return float(self._discriminator_step(real, noise, *labels))

    @property
    def variables(self) -> list:
        """All that training changes: weights, statistics, random states, and those of the optimizers."""
        holders = [self.generator, self.discriminator, *self.optimizers]
        return [variable for holder in holders for variable in holder.variables]

    # The two losses as pure functions of the weights that they move, so that each backend can differentiate
    # them: (loss, (state of the own network, state of the other)) after the step.

    def _generator_value(self, weights, state, other_weights, other_state, noise, real=None):
        fake, state = self.generator.stateless_call(weights, state, noise, training=True)
        logits, features, other_state = self._judge(other_weights, other_state, fake)
        loss = self._losses[0](logits)
        if self.mean_weight:
            loss += self.mean_weight * distance_of_means(real, fake)
        if self.feature_weight:
            _, real_features, other_state = self._judge(other_weights, other_state, real)
            loss += self.feature_weight * distance_of_means(real_features, features)
        return loss, (state, other_state)

    def _discriminator_value(self, weights, state, other_weights, other_state, real, noise, *labels):
        fake, other_state = self.generator.stateless_call(other_weights, other_state, noise, training=True)
        real_logits, _, state = self._judge(weights, state, real)
        fake_logits, _, state = self._judge(weights, state, fake)
        return self._losses[1](real_logits, fake_logits, *labels), (state, other_state)

    def _judge(self, weights, state, music):
        """The discriminator's logits, its features (None where it gives none), and its state after the batch."""
        answer, state = self.discriminator.stateless_call(weights, state, music, training=True)
        logits, features = answer if isinstance(answer, list | tuple) else (answer, None)
        return logits, features, state


class Trained(NamedTuple):
    """The losses of both networks and the seconds of each step, float64 ``(steps,)``, and music along the way.

    ``samples`` ``(checkpoints, pieces, …)`` holds what the generator made of the same noise after ``marks``
    steps, its normalisation working as it does after training.
    """

    discriminator_loss: np.ndarray
    generator_loss: np.ndarray
    seconds: np.ndarray
    marks: np.ndarray
    samples: np.ndarray


def fit(
    players: Adversarial,
    real: np.ndarray,
    *,
    steps: int,
    batch_size: int,
    folder: Path,
    seed: int,
    noise: np.ndarray,
    checkpoints: int = 20,
) -> Trained:
    """Train both networks for ``steps`` steps: the discriminator moves, then the generator.

    Each step draws a batch of ``real`` ``(pieces, …)``, numbers or bool, fresh noise, and noisy labels where
    the players ask for them, from ``(seed, step)``. After each of ``checkpoints`` equal parts of the training a
    line is printed, samples are made from ``noise`` ``(pieces, latent)``, and everything is saved in ``folder``.
    Called again with the same networks, data and settings, training continues after the last checkpoint to the
    same losses as if it had never stopped; with anything changed (but the code of the losses) it starts anew.
    Raises FloatingPointError when a loss stops being a number.
    """
    if profiles.smoke():
        steps = 4
        print(f"COURSE_SMOKE=1: training is cut to {steps} steps, and means nothing.")
    marks = np.unique(-(-steps * np.arange(1, checkpoints + 1) // checkpoints))
    layers = [*players.generator.layers, *players.discriminator.layers]
    remedies = players.label_noise, players.mean_weight, players.feature_weight
    key = checkpoint.fingerprint([*layers, *players.optimizers], real, noise, marks, batch_size, seed, *remedies)
    losses, samples = _restore(players, folder, key)
    if losses:
        print(f"continuing after step {len(losses)} of {steps}, saved in {folder.name}/")
    started = time.perf_counter()
    for step in range(len(losses), steps):
        began = time.perf_counter()
        rng = np.random.default_rng([seed, step])
        batch = real[rng.integers(len(real), size=batch_size)].astype("float32")
        fresh = rng.normal(size=(2, batch_size, *noise.shape[1:])).astype("float32")
        labels = _noisy_labels(rng, players.label_noise, batch_size) if players.label_noise else []
        of_discriminator = players.discriminator_step(batch, fresh[0], labels)
        both = of_discriminator, players.generator_step(fresh[1], batch)
        if not all(map(math.isfinite, both)):
            raise FloatingPointError(
                "The loss of discriminator and generator became {} and {} in step {}: try lower learning "
                "rates, or clip the gradients (clipnorm=1 in the optimizers).".format(*both, step + 1)
            )
        losses.append((*both, time.perf_counter() - began))
        if step + 1 in marks:
            samples.append(players.generator.predict_on_batch(noise))
            _save(players, folder, key, losses, samples)
            shown = "discriminator {:.3f}  generator {:.3f}".format(*both)
            print(f"step {step + 1}/{steps}  {shown}  {time.perf_counter() - started:.0f} s", flush=True)
    discriminator, generator, seconds = np.array(losses).T
    return Trained(discriminator, generator, seconds, marks, np.array(samples))


def _noisy_labels(rng: np.random.Generator, most: float, count: int) -> list[np.ndarray]:
    """Labels of ``count`` real pieces, then of as many generated ones: float32 ``(count, 1)`` each."""
    noise = rng.uniform(0, most, size=(2, count, 1)).astype("float32")
    return [1 - noise[0], noise[1]]


def _save(players: Adversarial, folder: Path, key: str, losses: list, samples: list) -> None:
    """One file, put in place when it is whole: a kill leaves the last checkpoint valid."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {str(i): ops.convert_to_numpy(variable) for i, variable in enumerate(players.variables)}
    with files.atomic_write(folder / "adversarial.npz") as partial, partial.open("wb") as file:
        np.savez(file, key=key, losses=losses, samples=samples, **arrays)


def _restore(players: Adversarial, folder: Path, key: str) -> tuple[list, list]:
    """Losses and samples of a checkpoint that fits, everything else put back; two empty lists without one."""
    try:
        with np.load(folder / "adversarial.npz") as saved:
            if saved["key"] != key:
                return [], []
            values = [saved[str(i)] for i in range(len(players.variables))]
            losses, samples = saved["losses"].tolist(), list(saved["samples"])
            if saved["losses"].shape[1:] != (3,):  # of a version that did not keep the seconds
                return [], []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return [], []
    _assign(players.variables, values)
    return losses, samples


def _update() -> Callable:
    """The running backend's way to turn a loss, a network, its opponent and an optimizer into a step."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise NotImplementedError(
            f"The adversarial step is not written for the {backend} backend: set KERAS_BACKEND to tensorflow "
            "or jax and restart."
        )
    return _tensorflow_update if backend == "tensorflow" else _jax_update


def _tensorflow_update(loss, network, opponent, optimizer):
    import tensorflow as tf

    @tf.function
    def step(*batch):
        weights, *rest = _values(network, opponent)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            value, states = loss(weights, *rest, *batch)
        optimizer.apply(tape.gradient(value, weights), network.trainable_variables)
        _move_on(network, opponent, *states)
        return value

    return step


def _jax_update(loss, network, opponent, optimizer):
    import jax

    @jax.jit
    def moved(optimizer_state, weights, *rest):
        (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(weights, *rest)
        return value, states, *optimizer.stateless_apply(optimizer_state, gradients, weights)

    def step(*batch):
        optimizer_state = [variable.value for variable in optimizer.variables]
        value, states, weights, optimizer_state = moved(optimizer_state, *_values(network, opponent), *batch)
        _assign(network.trainable_variables, weights)
        _assign(optimizer.variables, optimizer_state)
        _move_on(network, opponent, *states)
        return value

    return step


def _values(network, opponent) -> list[list]:
    """Weights and state of the network, then those of its opponent."""
    return [
        [variable.value for variable in variables]
        for player in (network, opponent)
        for variables in (player.trainable_variables, player.non_trainable_variables)
    ]


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _move_on(network, opponent, state, opponent_state) -> None:
    """Keep all of the network's new state; of the opponent's, the random states, which are no weights."""
    _assign(network.non_trainable_variables, state)
    weights = {id(variable) for variable in opponent.weights}
    for variable, value in zip(opponent.non_trainable_variables, opponent_state, strict=True):
        if id(variable) not in weights:
            variable.assign(value)
