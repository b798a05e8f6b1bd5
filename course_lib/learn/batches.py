"""Training data in batches, shuffled anew in each pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from course_lib.music import band_data


class Shuffled(keras.utils.PyDataset):
    """Examples in batches. Where there are more than `limit`, a pass takes as many at random, others each time."""

    def __init__(self, count: int, batch_size: int, limit: int = 10**9):
        super().__init__()
        self.count, self.batch_size, self.limit = count, batch_size, min(limit, count)
        self.order = np.arange(self.limit)

    def shuffle(self, seed: int, number: int) -> None:
        """Choose and order the examples of pass `number`."""
        self.order = np.random.default_rng([seed, number]).permutation(self.count)[: self.limit]

    def __len__(self) -> int:
        return -(-self.limit // self.batch_size)

    def __getitem__(self, batch: int) -> tuple:
        return self.take(self.order[batch * self.batch_size : (batch + 1) * self.batch_size])


class Arrays(Shuffled):
    """Batches of arrays; in their own order until they are shuffled."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, batch_size: int):
        super().__init__(len(inputs), batch_size)
        self.inputs, self.targets = inputs, targets

    def content(self) -> list:
        """What decides how training on it goes."""
        return [self.inputs, self.targets]

    def take(self, places: np.ndarray) -> tuple:
        return self.inputs[places], self.targets[places]


class Batches(Shuffled):
    """Batches of windows of bands, cut from memory or from disk only as they are needed.

    `split` turns float32 windows `(batch, length, 128, 5)` into inputs and targets.
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
        self.bands, self.length, self.split = bands, length, split
        self.windows = bands.windows(length, hop)
        super().__init__(len(self.windows), batch_size, limit)
        self.shuffle(0, 0)

    def content(self) -> list:
        """What decides how training on it goes; `split` is known by what it makes of the first batch."""
        return [self.bands.fingerprint, self.windows, self.limit, *keras.tree.flatten(self[0])]

    def take(self, places: np.ndarray) -> tuple:
        return self.split(self.bands.cut(self.windows[places], self.length).astype("float32"))


class Epochs(keras.utils.PyDataset):
    """Epochs of so many batches (`updates`; without, a pass), cut from shuffled passes that follow one another."""

    def __init__(self, data: Any, seed: int, updates: int | None = None):
        super().__init__()
        self.data, self.seed, self.updates = data, seed, updates or len(data)
        self.epoch, self.shuffled = 0, -1  # running epoch, and the pass that the data is shuffled for

    def __len__(self) -> int:
        return self.updates

    def __getitem__(self, batch: int) -> tuple:
        number, place = divmod(self.epoch * self.updates + batch, len(self.data))
        if number != self.shuffled:
            self.data.shuffle(self.seed, number)
            self.shuffled = number
        return self.data[place]
