"""Two networks against each other (Goodfellow et al. 2014): the step of each, and a training that resumes.

This is the one module that knows the Keras backend, as the gradient of a loss cannot be written once for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from course_lib.learn import checkpoint, profiles


def discriminator_loss(judge: Callable, real: Any, fake: Any) -> Any:
    """Cross-entropy in nats of telling a real batch from a generated one: ln 2 where `judge` cannot tell.

    `judge` is the discriminator, from music to logits.
    """
    return (cross_entropy(judge(real), 1.0) + cross_entropy(judge(fake), 0.0)) / 2


def generator_loss(judge: Callable, fake: Any, real: Any = None) -> Any:
    """Cross-entropy in nats of generated music taken for real (the non-saturating loss of the same paper).

    The real batch is there for losses that compare with it.
    """
    return cross_entropy(judge(fake), 1.0)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over a batch in nats; labels between 0 and 1, one for all or one each."""
    return ops.mean(labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits))


class Adversarial:
    """A generator from noise `(batch, latent)` to music, and a discriminator from music to one logit a piece.

    Each has its own optimizer and its own step. A step moves the weights and the normalisation statistics of its own
    network alone: the other's batch normalisation works on the batch, as in training, but what it would have
    remembered is dropped. Only the random states of dropout move on in both. Losses take logits, so the
    discriminator ends without a sigmoid. Runs on the TensorFlow and JAX backends.

    Losses of one's own take what the default ones take, the discriminator's also the labels that a step is given.
    They may ask `judge` for more than logits: it returns whatever the discriminator does.

    Raises:
        ValueError: a network has nothing to train, or both were given one optimizer.
        NotImplementedError: another backend.
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
                advice = "leave trainable at True, each step moves its own network only."
                raise ValueError(f"The {name} has no trainable weights: {advice}")
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [generator_optimizer, discriminator_optimizer]
        self.losses = [generator_loss, discriminator_loss]
        generator_optimizer.build(generator.trainable_variables)
        discriminator_optimizer.build(discriminator.trainable_variables)
        update = _update()
        self._generator_step = update(self._generator_value, generator, discriminator, generator_optimizer)
        self._discriminator_step = update(self._discriminator_value, discriminator, generator, discriminator_optimizer)

    def generator_step(self, noise: np.ndarray, real: np.ndarray | None = None) -> float:
        """Move the generator once, on noise `(batch, latent)`; its loss before the move."""
        return float(self._generator_step(noise, real))

    def discriminator_step(self, real: np.ndarray, noise: np.ndarray, labels: Sequence[np.ndarray] = ()) -> float:
        """Move the discriminator once, on a real batch and one made from noise; its loss before the move."""
        return float(self._discriminator_step(real, noise, *labels))

    @property
    def variables(self) -> list:
        """All that training changes: weights, statistics, random states, and those of the optimizers."""
        holders = [self.generator, self.discriminator, *self.optimizers]
        return [variable for holder in holders for variable in holder.variables]

    # The two losses as pure functions of the weights that they move, so that each backend can differentiate
    # them: (loss, (state of the own network, state of the other)) after the step.

    def _generator_value(self, weights, state, other_weights, other_state, noise, real):
        fake, state = self.generator.stateless_call(weights, state, noise, training=True)
        judge = _Judge(self.discriminator, other_weights, other_state)
        return self.losses[0](judge, fake, real), (state, judge.state)

    def _discriminator_value(self, weights, state, other_weights, other_state, real, noise, *labels):
        fake, other_state = self.generator.stateless_call(other_weights, other_state, noise, training=True)
        judge = _Judge(self.discriminator, weights, state)
        return self.losses[1](judge, real, fake, *labels), (judge.state, other_state)


class _Judge:
    """The discriminator as a function of music, which keeps the state that its last call left."""

    def __init__(self, network, weights, state):
        self.network, self.weights, self.state = network, weights, state

    def __call__(self, music):
        answer, self.state = self.network.stateless_call(self.weights, self.state, music, training=True)
        return answer


class Trained(NamedTuple):
    """The losses of both networks and the seconds of each step, float64 `(steps,)`, and music along the way.

    `samples` `(checkpoints, pieces, …)` holds what the generator made of the same noise after `marks` steps, its
    normalisation working as it does after training.
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
    labels: Callable[[np.random.Generator, int], Sequence[np.ndarray]] | None = None,
) -> Trained:
    """Train both networks on music `(pieces, …)`: in each step the discriminator moves, then the generator.

    Each step draws its batch and fresh noise from `(seed, step)`, and labels for a discriminator's loss that takes
    some with `labels(rng, batch_size)`. After each of `checkpoints` equal parts of the training a line is printed,
    samples are made from `noise` `(pieces, latent)`, and everything is saved in `folder`. Called again with the same
    networks, data and settings, training continues after the last checkpoint to the same losses as if it had never
    stopped; with anything changed (but the code of a loss) it starts anew.

    Raises:
        FloatingPointError: a loss stopped being a number.
    """
    if profiles.smoke():
        steps = 4
        print(f"COURSE_SMOKE=1: training is cut to {steps} steps, and means nothing.")
    marks = np.unique(-(-steps * np.arange(1, checkpoints + 1) // checkpoints))
    parts = [*players.generator.layers, *players.discriminator.layers, *players.optimizers, *players.losses, labels]
    key = checkpoint.fingerprint(parts, real, noise, marks, batch_size, seed)
    last = checkpoint.Checkpoint(folder / "checkpoint.npz", key, players.variables)
    saved = last.restore()
    losses, samples = list(saved.get("losses", ())), list(saved.get("samples", ()))
    if losses:
        print(f"continuing after step {len(losses)} of {steps}, saved in {folder.name}/")
    started = time.perf_counter()
    for step in range(len(losses), steps):
        began = time.perf_counter()
        rng = np.random.default_rng([seed, step])
        batch = real[rng.integers(len(real), size=batch_size)].astype("float32")
        fresh = rng.normal(size=(2, batch_size, *noise.shape[1:])).astype("float32")
        of_discriminator = players.discriminator_step(batch, fresh[0], labels(rng, batch_size) if labels else ())
        both = of_discriminator, players.generator_step(fresh[1], batch)
        if not all(map(math.isfinite, both)):
            raise FloatingPointError(
                "The loss of discriminator and generator became {} and {} in step {}: try lower learning "
                "rates, or clip the gradients (clipnorm=1 in the optimizers).".format(*both, step + 1)
            )
        losses.append((*both, time.perf_counter() - began))
        if step + 1 in marks:
            samples.append(players.generator.predict_on_batch(noise))
            last.save({"losses": losses, "samples": samples})
            shown = "discriminator {:.3f}  generator {:.3f}".format(*both)
            print(f"step {step + 1}/{steps}  {shown}  {time.perf_counter() - started:.0f} s", flush=True)
    discriminator, generator, seconds = np.array(losses).T
    checkpoint.summarise(folder, steps, steps, seconds.sum())
    return Trained(discriminator, generator, seconds, marks, np.array(samples))


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
        checkpoint.assign(network.trainable_variables, weights)
        checkpoint.assign(optimizer.variables, optimizer_state)
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


def _move_on(network, opponent, state, opponent_state) -> None:
    """Keep all of the network's new state; of the opponent's, the random states, which are no weights."""
    checkpoint.assign(network.non_trainable_variables, state)
    weights = {id(variable) for variable in opponent.weights}
    for variable, value in zip(opponent.non_trainable_variables, opponent_state, strict=True):
        if id(variable) not in weights:
            variable.assign(value)
