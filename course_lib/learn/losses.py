"""The loss of rolls, which notebooks 06 to 08 teach."""

from __future__ import annotations

from collections.abc import Callable

import keras


def roll_loss(positive_weight: float = 1.0) -> Callable:
    """A loss for rolls of many silent cells: binary cross-entropy in nats a step, summed over all its cells.

    It takes targets 0 or 1 and logits, both `(batch, time, …)`. Cells that sound count `positive_weight` times; where
    that is 1, it is the negative log-likelihood.
    """

    def loss(targets, logits):
        targets = keras.ops.cast(targets, logits.dtype)
        nats = keras.ops.softplus(logits) - logits * targets
        if positive_weight != 1:
            nats = nats * (1 + (positive_weight - 1) * targets)
        return keras.ops.mean(keras.ops.sum(nats, tuple(range(2, len(nats.shape)))))

    loss.__name__ = f"roll_loss({positive_weight:g})"  # what a checkpoint knows it by
    return loss
