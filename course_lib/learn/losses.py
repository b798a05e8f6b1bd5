"""Losses of rolls, which notebooks 05 to 08 teach."""

from __future__ import annotations

from collections.abc import Callable

import keras


def frame_loss(targets, logits):
    """Nats a frame: binary cross-entropy summed over pitches, averaged over frames that are not padding (-1).

    ``(batch, time, pitches)`` of targets 0 or 1 and of logits; the loss that a frames model is compiled with.
    """
    real = keras.ops.cast(targets >= 0, logits.dtype)
    nats = keras.ops.softplus(logits) - logits * keras.ops.maximum(targets, 0.0)
    return keras.ops.sum(nats * real) / keras.ops.maximum(keras.ops.sum(real[..., 0]), 1.0)


def roll_loss(positive_weight: float = 1.0, focusing: float = 0.0) -> Callable:
    """A loss for rolls of many silent cells: binary cross-entropy in nats a step, summed over all its cells.

    Takes targets 0 or 1 and logits, both ``(batch, time, …)``. Cells that sound count ``positive_weight``
    times. ``focusing`` is the gamma of the focal loss (Lin et al. 2017): a cell counts less, the surer the
    model is of the truth. With neither, it is the negative log-likelihood.
    """

    def loss(targets, logits):
        targets = keras.ops.cast(targets, logits.dtype)
        nats = keras.ops.softplus(logits) - logits * targets
        if focusing:
            nats = nats * (1 - keras.ops.exp(-nats)) ** focusing
        if positive_weight != 1:
            nats = nats * (1 + (positive_weight - 1) * targets)
        axes = tuple(range(2, len(nats.shape)))
        return keras.ops.mean(keras.ops.sum(nats, axes))

    loss.__name__ = f"roll_loss({positive_weight:g}, {focusing:g})"  # what a checkpoint knows it by
    return loss
