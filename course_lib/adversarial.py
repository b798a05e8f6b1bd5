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
    """A generator from noise ``(batch, latent)`` to music, and a discriminator from music to one logit a piece.

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
            raise ValueError("Both networks were given one optimizer: give each its own, as it keeps a state.")
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if not network.trainable_variables:
                raise ValueError(f"The {name} has no trainable weights: leave trainable at True, as each step "
                                 "moves its own network only.")  # fmt: skip
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [generator_optimizer, discriminator_optimizer]
        self._losses = generator_loss, discriminator_loss
        generator_optimizer.build(generator.trainable_variables)
        discriminator_optimizer.build(discriminator.trainable_variables)
        update = _update()
        self._generator_step = update(
            self._generator_value, generator, discriminator, generator_optimizer
        )
        self._discriminator_step = update(
            self._discriminator_value, discriminator, generator, discriminator_optimizer
        )

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
        logits, other_state = self.discriminator.stateless_call(
            other_weights, other_state, fake, training=True
        )
        return self._losses[0](logits), (state, other_state)

    def _discriminator_value(self, weights, state, other_weights, other_state, real, noise):
        fake, other_state = self.generator.stateless_call(other_weights, other_state, noise, training=True)
        real_logits, state = self.discriminator.stateless_call(weights, state, real, training=True)
        fake_logits, state = self.discriminator.stateless_call(weights, state, fake, training=True)
        return self._losses[1](real_logits, fake_logits), (state, other_state)


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
    kinds = [player for one in (network, opponent) for player in (one.trainable_variables, one.non_trainable_variables)]  # fmt: skip
    return [[variable.value for variable in kind] for kind in kinds]


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
