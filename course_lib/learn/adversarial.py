"""Two networks against each other (Goodfellow et al. 2014): the step of each, and a training that resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from course_lib.learn import checkpoint, device, profiles


def discriminator_loss(judge: Callable, real: Any, fake: Any) -> Any:
    """Cross-entropy in nats of telling a real batch from a generated one: ln 2 where `judge` cannot tell.

    `judge` is the discriminator, from music to logits.
    """
    return (cross_entropy(judge(real), 1.0) + cross_entropy(judge(fake), 0.0)) / 2


def generator_loss(judge: Callable, fake: Any, real: Any = None) -> Any:
    """Cross-entropy in nats of generated music taken for real (non-saturating); other losses may use the real batch."""
    return cross_entropy(judge(fake), 1.0)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over a batch in nats; labels between 0 and 1, one for all or one each."""
    return ops.mean(labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits))


class Adversarial:
    """A generator from noise `(batch, latent)` to music, and a discriminator from music to one logit a piece.

    A step moves the weights and the normalisation statistics of its own network alone. Losses of one's own take what
    the default ones take, the discriminator's also the labels of a step; `judge` returns whatever the discriminator
    does.

    Raises:
        ValueError: a network has nothing to train, or both were given one optimizer.
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
                raise ValueError(
                    f"The {name} has no trainable weights: leave trainable at True, each step moves its own network."
                )
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [device.scaled(generator_optimizer), device.scaled(discriminator_optimizer)]
        self.losses = [generator_loss, discriminator_loss]
        for network in (generator, discriminator):
            device.use_precision(network)
        make, judge = (partial(network, training=True) for network in (generator, discriminator))

        def of_generator(noise, real):
            return generator_loss(judge, make(noise), real)

        def of_discriminator(real, noise, *labels):
            return discriminator_loss(judge, real, make(noise), *labels)

        self._generator_step = _Step(generator, discriminator, of_generator, self.optimizers[0])
        self._discriminator_step = _Step(discriminator, generator, of_discriminator, self.optimizers[1])

    def generator_step(self, noise: np.ndarray, real: np.ndarray | None = None) -> float:
        """Move the generator once, on noise `(batch, latent)`; its loss before the move."""
        return self._generator_step.move(noise, real)

    def discriminator_step(self, real: np.ndarray, noise: np.ndarray, labels: Sequence[np.ndarray] = ()) -> float:
        """Move the discriminator once, on a real batch and one made from noise; its loss before the move."""
        return self._discriminator_step.move(real, noise, *[np.asarray(each, "float32") for each in labels])


def alternate(
    players: Adversarial, real: np.ndarray, noise: np.ndarray, labels: Sequence[np.ndarray] = ()
) -> tuple[float, float]:
    """A step of the contest: the discriminator moves, then the generator; the loss of each before its move, in nats.

    `noise` `(2, batch, latent)` holds a batch for each of them.
    """
    return players.discriminator_step(real, noise[0], labels), players.generator_step(noise[1], real)


class _Step(keras.Model):
    """A batch to its loss, as a model of which Keras trains `network` alone, whatever the backend."""

    def __init__(self, network, opponent, loss_of, optimizer):
        super().__init__(name="step", dtype="float32")
        self.network, self.opponent, self.loss_of = network, opponent, loss_of
        self.built = True
        optimizer.build(network.trainable_variables)
        self.compile(optimizer, jit_compile=keras.backend.backend() == "jax")  # else compiling takes longest
        device.use_xla(self)

    @property
    def trainable_variables(self):
        return self.network.trainable_variables

    trainable_weights = trainable_variables

    @property
    def non_trainable_variables(self):
        return self.network.non_trainable_variables + self.opponent.variables

    def move(self, *batch) -> float:
        return float(self.train_on_batch(batch, return_dict=True)["loss"])

    def call(self, batch):
        statistics = self.opponent.non_trainable_weights  # the opponent forgets this batch
        before = [ops.copy(variable) for variable in statistics]
        loss = self.loss_of(*batch)
        checkpoint.assign(statistics, before)
        return loss

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {"loss": y_pred}


class Trained(NamedTuple):
    """The losses and the seconds of each step, float64 `(steps,)`, and music along the way.

    `samples` `(checkpoints, pieces, …)` holds what the generator made of the same noise after `marks` steps.
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
    step: Callable[..., tuple[float, float]] = alternate,
) -> Trained:
    """Train both networks on music `(pieces, …)` by so many steps; `step` takes and returns what `alternate` does.

    After each of `checkpoints` equal parts of the training a line is printed, samples are made from `noise`
    `(pieces, latent)`, and everything is saved in `folder`. Called again with the same networks, data and settings,
    training continues to the same losses as if it had never stopped; with anything changed it starts anew (of losses
    and `step`, their own code counts and not that of what they call). `labels(rng, batch_size)` draws labels for a
    discriminator's loss that takes some.

    Raises:
        FloatingPointError: a loss stopped being a number.
        ValueError: `step` returned something else than two losses.
    """
    if profiles.smoke():
        steps = 4
        print(f"COURSE_SMOKE=1: training is cut to {steps} steps, and means nothing.")
    marks = np.unique(-(-steps * np.arange(1, checkpoints + 1) // checkpoints))
    networks = [*players.generator.layers, *players.discriminator.layers]
    parts = [*networks, *players.optimizers, *players.losses, labels, step, device.precision()]
    key = checkpoint.fingerprint(parts, real, noise, marks, batch_size, seed)
    holders = [players.generator, players.discriminator, *players.optimizers]
    variables = [variable for holder in holders for variable in holder.variables]
    last = checkpoint.Checkpoint(folder / "checkpoint.npz", key, variables)
    saved = last.restore()
    losses, samples = list(saved.get("losses", ())), list(saved.get("samples", ()))
    if losses:
        print(f"continuing after step {len(losses)} of {steps}, saved in {folder.name}/")
    started = time.perf_counter()
    for done in range(len(losses), steps):
        began = time.perf_counter()
        rng = np.random.default_rng([seed, done])
        batch = real[rng.integers(len(real), size=batch_size)].astype("float32")
        fresh = rng.normal(size=(2, batch_size, *noise.shape[1:])).astype("float32")
        both = step(players, batch, fresh, *([labels(rng, batch_size)] if labels else []))
        if not isinstance(both, tuple) or [isinstance(loss, Real) for loss in both] != [True, True]:
            raise ValueError(f"The step returned {both!r}: let it return the discriminator's and the generator's loss.")
        if not all(map(math.isfinite, both)):
            raise FloatingPointError(
                "The loss of discriminator and generator became {} and {} in step {}: try lower learning "
                "rates, or clip the gradients (clipnorm=1 in the optimizers).".format(*both, done + 1)
            )
        losses.append((*both, time.perf_counter() - began))
        if done + 1 in marks:
            samples.append(players.generator.predict_on_batch(noise))
            last.save({"losses": losses, "samples": samples})
            shown = "discriminator {:.3f}  generator {:.3f}".format(*both)
            print(f"step {done + 1}/{steps}  {shown}  {time.perf_counter() - started:.0f} s", flush=True)
    discriminator, generator, seconds = np.array(losses).T
    checkpoint.summarise(folder, steps, steps, seconds.sum())
    return Trained(discriminator, generator, seconds, marks, np.array(samples))
