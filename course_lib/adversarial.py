"""Two networks against each other (Goodfellow et al. 2014): the step of each, and a training that resumes.

This is the one module that knows the Keras backend, as the gradient of a loss cannot be written once for all.
"""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from course_lib import train


def discriminator_loss(real_logits: Any, fake_logits: Any) -> Any:
    """Binary cross-entropy in nats, the mean over a real and a generated batch: ln 2 where it cannot tell."""
    return (ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(fake_logits))) / 2


def generator_loss(fake_logits: Any) -> Any:
    """Cross-entropy in nats of generated music taken for real (the non-saturating loss of the same paper)."""
    return ops.mean(ops.softplus(-fake_logits))


class Adversarial:
    """A generator from noise ``(batch, latent)`` to music, a discriminator from music to one logit a piece.

    Each has its own optimizer and its own step. A step moves the weights and the normalisation statistics of
    its own network alone: the other's batch normalisation works on the batch, as in training, but what it
    would have remembered is dropped. Only the random states of dropout move on in both. The losses take
    logits, so the discriminator ends without a sigmoid. Runs on the TensorFlow and JAX backends, and raises
    NotImplementedError on another; ValueError where a network has nothing to train, or both one optimizer.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
        generator_loss: Callable = generator_loss,
        discriminator_loss: Callable = discriminator_loss,
    ):
        if generator_optimizer is discriminator_optimizer:
            raise ValueError("Both networks were given one optimizer, which keeps a state: give each its own.")
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if not network.trainable_variables:
                problem = f"The {name} has no trainable weights"
                raise ValueError(f"{problem}: leave trainable at True, each step moves its own network only.")
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [generator_optimizer, discriminator_optimizer]
        self._losses = generator_loss, discriminator_loss
        generator_optimizer.build(generator.trainable_variables)
        discriminator_optimizer.build(discriminator.trainable_variables)
        update = _update()
        self._generator_step = update(self._generator_value, generator, discriminator, generator_optimizer)
        self._discriminator_step = update(self._discriminator_value, discriminator, generator, discriminator_optimizer)

    def generator_step(self, noise: np.ndarray) -> float:
        """Move the generator once, on noise ``(batch, latent)``; its loss before the move."""
        return float(self._generator_step(noise))

    def discriminator_step(self, real: np.ndarray, noise: np.ndarray) -> float:
        """Move the discriminator once, on a real batch and one made from noise; its loss before the move."""
        return float(self._discriminator_step(real, noise))

    @property
    def variables(self) -> list:
        """All that training changes: weights, statistics, random states, and those of the optimizers."""
        holders = [self.generator, self.discriminator, *self.optimizers]
        return [variable for holder in holders for variable in holder.variables]

    # The two losses as pure functions of the weights that they move, so that each backend can differentiate
    # them: (loss, (state of the own network, state of the other)) after the step.

    def _generator_value(self, weights, state, other_weights, other_state, noise):
        fake, state = self.generator.stateless_call(weights, state, noise, training=True)
        logits, other_state = self.discriminator.stateless_call(other_weights, other_state, fake, training=True)
        return self._losses[0](logits), (state, other_state)

    def _discriminator_value(self, weights, state, other_weights, other_state, real, noise):
        fake, other_state = self.generator.stateless_call(other_weights, other_state, noise, training=True)
        real_logits, state = self.discriminator.stateless_call(weights, state, real, training=True)
        fake_logits, state = self.discriminator.stateless_call(weights, state, fake, training=True)
        return self._losses[1](real_logits, fake_logits), (state, other_state)


class Trained(NamedTuple):
    """The losses of both networks at each step, float64 ``(steps,)``, and music along the way.

    ``samples`` ``(checkpoints, pieces, …)`` holds what the generator made of the same noise after ``marks``
    steps, its normalisation working as it does after training.
    """

    discriminator_loss: np.ndarray
    generator_loss: np.ndarray
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

    Each step draws a batch of ``real`` ``(pieces, …)`` and fresh noise from ``(seed, step)``. After each of
    ``checkpoints`` equal parts of the training a line is printed, samples are made from ``noise``
    ``(pieces, latent)``, and everything is saved in ``folder``. Called again with the same networks, data and
    settings, training continues after the last checkpoint to the same losses as if it had never stopped;
    with anything changed (but the code of the losses) it starts anew. Raises FloatingPointError when a loss
    stops being a number.
    """
    if train.smoke():
        steps = 4
        print(f"COURSE_SMOKE=1: training is cut to {steps} steps, and means nothing.")
    marks = np.unique(-(-steps * np.arange(1, checkpoints + 1) // checkpoints))
    layers = [*players.generator.layers, *players.discriminator.layers]
    key = train.fingerprint([*layers, *players.optimizers], real, noise, marks, batch_size, seed)
    losses, samples = _restore(players, folder, key)
    if losses:
        print(f"continuing after step {len(losses)} of {steps}, saved in {folder.name}/")
    started = time.perf_counter()
    for step in range(len(losses), steps):
        rng = np.random.default_rng([seed, step])
        batch = real[rng.integers(len(real), size=batch_size)]
        fresh = rng.normal(size=(2, batch_size, *noise.shape[1:])).astype("float32")
        losses.append((players.discriminator_step(batch, fresh[0]), players.generator_step(fresh[1])))
        if not all(map(math.isfinite, losses[-1])):
            raise FloatingPointError(
                "The loss of discriminator and generator became {} and {} in step {}: try lower learning "
                "rates, or clip the gradients (clipnorm=1 in the optimizers).".format(*losses[-1], step + 1)
            )
        if step + 1 in marks:
            samples.append(players.generator.predict_on_batch(noise))
            _save(players, folder, key, losses, samples)
            shown = "discriminator {:.3f}  generator {:.3f}".format(*losses[-1])
            print(f"step {step + 1}/{steps}  {shown}  {time.perf_counter() - started:.0f} s", flush=True)
    discriminator, generator = np.array(losses).T
    return Trained(discriminator, generator, marks, np.array(samples))


def _save(players: Adversarial, folder: Path, key: str, losses: list, samples: list) -> None:
    """One file, put in place when it is whole: a kill leaves the last checkpoint valid."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {str(i): ops.convert_to_numpy(variable) for i, variable in enumerate(players.variables)}
    partial = folder / "adversarial.partial.npz"
    np.savez(partial, key=key, losses=losses, samples=samples, **arrays)
    os.replace(partial, folder / "adversarial.npz")


def _restore(players: Adversarial, folder: Path, key: str) -> tuple[list, list]:
    """Losses and samples of a checkpoint that fits, everything else put back; two empty lists without one."""
    try:
        with np.load(folder / "adversarial.npz") as saved:
            if saved["key"] != key:
                return [], []
            values = [saved[str(i)] for i in range(len(players.variables))]
            losses, samples = saved["losses"].tolist(), list(saved["samples"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return [], []
    _assign(players.variables, values)
    return losses, samples


# ---------------------------------------------------------------- one step, on each backend


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
