"""Batches of windows of bands, cut only as they are needed."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from course_lib.music import band_data


class Batches(keras.utils.PyDataset):
    """Shuffled batches of windows of bands, cut from memory or from disk only as they are needed.

    ``split`` turns float32 windows ``(batch, length, 128, 5)`` into inputs and targets. Where there are more
    than ``limit`` windows, an epoch takes as many of them at random, others in each epoch.
    """

    def __init__(
        self,
        bands: band_data.Bands,
        length: int,
        split: Callable[[np.ndarray], tuple],
        *,
        hop: int,
        batch_size: int,
        limit: int = 10**9,
    ):
        super().__init__()
        self.bands, self.length, self.split, self.batch_size = bands, length, split, batch_size
        self.windows = bands.windows(length, hop)
        self.limit = min(limit, len(self.windows))
        self.shuffle(0, 0)

    def shuffle(self, seed: int, epoch: int) -> None:
        """Choose and order the windows of an epoch."""
        self.order = np.random.default_rng([seed, epoch]).permutation(len(self.windows))[: self.limit]

    def content(self) -> list:
        """What decides how training on it goes: the places of the windows, and the first batch as it is split."""
        return [self.bands.fingerprint, self.windows, self.limit, *keras.tree.flatten(self[0])]

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple:
        """Inputs and targets of one batch."""
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return self.split(self.bands.cut(self.windows[chosen], self.length).astype("float32"))
