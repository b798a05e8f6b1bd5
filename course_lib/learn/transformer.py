"""The two ideas of Transformer-XL (Dai et al. 2019): attention by relative position, and memory across segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from course_lib.learn import stepper

UNSEEN = -1e4  # the score of what may not be seen: far below any other, and a number in float16 too


@keras.saving.register_keras_serializable(package="course_lib")
class RelativeAttention(keras.layers.Layer):
    """Causal attention of several heads in which a key's distance counts, and not its place (section 3.3).

    Takes a segment ``(batch, steps, width)`` and the memory of what this layer was given before it,
    ``(batch, remembered, width)`` of any length, also none; gives ``(batch, steps, width)``. No gradient flows
    into the memory. A place of the memory whose vector is all zeros is empty, and is not seen.
    Raises ValueError for a width that the heads do not divide.
    """

    def __init__(self, heads: int, **options: Any):
        super().__init__(**options)
        self.heads = heads

    def build(self, x_shape, memory_shape):
        width = x_shape[-1]
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {width}: choose a multiple of the heads.")
        self.size = width // self.heads
        self.query, self.key, self.value, self.distance, self.output_projection = (
            keras.layers.Dense(width, use_bias=False, name=name)
            for name in ("query", "key", "value", "distance", "output")
        )
        for projection in (self.query, self.key, self.value, self.distance, self.output_projection):
            projection.build((None, None, width))
        # The paper's u and v: how much a head cares for a content and for a distance, whatever asks.
        self.content_bias = self.add_weight(shape=(self.heads, 1, self.size), name="content_bias")
        self.distance_bias = self.add_weight(shape=(self.heads, 1, self.size), name="distance_bias")

    def call(self, x, memory):
        memory = ops.stop_gradient(memory)
        seen = ops.concatenate([memory, x], axis=1)
        empty = ops.concatenate([ops.all(memory == 0, axis=-1), ops.zeros(ops.shape(x)[:2], "bool")], axis=1)
        keys, values = self.keys_and_values(seen)
        return self.attend(x, keys, values, self.distances(ops.shape(seen)[1]), empty)

    def keys_and_values(self, x):
        """The key and the value of each step: ``(batch, steps, width)`` gives two ``(batch, heads, steps, size)``."""
        return self._split(self.key(x)), self._split(self.value(x))

    def distances(self, length):
        """What stands for the distances ``length - 1`` … 0 in each head: ``(1, heads, length, size)``."""
        width = self.heads * self.size
        frequencies = ops.exp(ops.arange(0, width, 2, dtype="float32") * (-math.log(10000) / width))
        angles = ops.arange(length - 1, -1, -1, dtype="float32")[:, None] * frequencies
        sinusoids = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
        return self._split(self.distance(sinusoids[None, :, :width]))

    def attend(self, x, keys, values, distances, empty):
        """The attention of the steps ``x`` over keys of which the last are their own.

        ``empty`` bool ``(batch, keys)`` says which of the keys are none.
        """
        steps, length = ops.shape(x)[1], ops.shape(keys)[2]
        query = self._split(self.query(x))  # (batch, heads, steps, size)
        scale = self.size**-0.5
        by_content = ops.matmul((query + self.content_bias) * scale, ops.swapaxes(keys, -1, -2))
        by_distance = ops.matmul((query + self.distance_bias) * scale, ops.swapaxes(distances, -1, -2))
        scores = by_content + relative_shift(by_distance)  # (batch, heads, steps, keys)
        causal = ops.arange(length) <= ops.arange(length - steps, length)[:, None]  # (steps, keys)
        seen = ops.logical_and(causal, ops.logical_not(empty)[:, None, None])
        mixed = ops.matmul(ops.softmax(ops.where(seen, scores, UNSEEN)), values)  # (batch, heads, steps, size)
        return self.output_projection(ops.reshape(ops.swapaxes(mixed, 1, 2), ops.shape(x)))

    def _split(self, x):
        """(batch, steps, width) to (batch, heads, steps, size)"""
        return ops.swapaxes(ops.reshape(x, (ops.shape(x)[0], -1, self.heads, self.size)), 1, 2)

    def compute_output_shape(self, x_shape, memory_shape):
        return x_shape

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


def relative_shift(scores):
    """From scores by distance to scores by key, without looking any up (appendix B of the paper).

    ``(batch, heads, steps, keys)``: column j is the distance ``keys - 1 - j`` and becomes the key at that distance
    from its row's step. What lies in a step's future comes out as something meaningless.
    """
    batch, heads, steps, keys = ops.shape(scores)
    padded = ops.pad(scores, ((0, 0), (0, 0), (0, 0), (1, 0)))
    return ops.reshape(ops.reshape(padded, (batch, heads, keys + 1, steps))[:, :, 1:], (batch, heads, steps, keys))


class WithMemory(keras.Model):
    """A Transformer-XL that carries its memory from one batch to the next, to be trained and evaluated.

    ``model`` takes tokens ``(batch, steps)`` and each layer's memory ``(batch, remembered, width)``, and gives
    logits and what each layer was given, to be remembered. Here each of ``rows`` rows goes on where the row of the
    batch before ended, and remembers ``length`` steps. The inputs are tokens ``(rows, steps)`` and bool
    ``(rows,)``, true where a song begins, so that what was before is forgotten; the outputs are the logits. The
    weights are those of ``model``, which alone is to be saved.
    """

    def __init__(self, model: keras.Model, rows: int, length: int):
        super().__init__()
        self.model, self.length = model, length
        self.memory = [
            self.add_weight(shape=(rows, length, memory.shape[-1]), initializer="zeros", trainable=False)
            for memory in model.inputs[1:]
        ]

    def call(self, inputs):
        tokens, begins = inputs
        kept = [ops.where(begins[:, None, None], 0.0, memory.value) for memory in self.memory]
        logits, *heard = self.model([tokens, *kept])
        for memory, old, new in zip(self.memory, kept, heard, strict=True):
            both = ops.concatenate([old, ops.cast(new, old.dtype)], axis=1)
            memory.assign(both[:, both.shape[1] - self.length :])
        return logits


class Rows(keras.utils.PyDataset):
    """Songs of tokens in rows that go on from batch to batch, for :class:`course_lib.learn.transformer.WithMemory`.

    A batch is tokens ``(rows, segment)`` with bool ``(rows,)``, true where a song begins; the next tokens; and
    weights, 0 where there is none and equal elsewhere, such that the mean loss of an epoch is nats a token.
    ``vary`` takes a song and a random generator and gives the song as one epoch is to hear it, such as transposed.
    """

    def __init__(
        self,
        songs: Sequence[np.ndarray],
        segment: int,
        *,
        rows: int,
        vary: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        limit: int = 10**9,
    ):
        super().__init__()
        self.songs, self.segment, self.batch_size, self.vary, self.limit = songs, segment, rows, vary, limit
        self.shuffle(0, 0)

    def shuffle(self, seed: int, epoch: int) -> None:
        """Vary the songs and lay them out anew, at most ``limit`` segments of them."""
        rng = np.random.default_rng([seed, epoch])
        songs = [self.vary(song, rng) for song in self.songs] if self.vary else self.songs
        laid_out = continuing_rows(songs, self.batch_size, self.segment, rng)
        self.tokens, self.targets, self.begins = (each[: self.limit // self.batch_size] for each in laid_out)
        self.weight = self.targets.size / (self.targets >= 0).sum()

    def content(self) -> list:
        """What decides how training on it goes: all songs, and how the first of them are laid out and varied."""
        return [*self.songs, self.tokens, self.targets, self.begins]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> tuple:
        """Inputs, targets and weights of one batch."""
        targets = self.targets[number]
        weights = np.where(targets >= 0, self.weight, 0).astype("float32")
        return (self.tokens[number], self.begins[number]), np.maximum(targets, 0), weights


def continuing_rows(
    songs: Sequence[np.ndarray], rows: int, segment: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Songs laid out in rows, cut into segments in which each row goes on where its last segment ended.

    Songs of tokens ``(tokens,)`` are dealt in random order, the longest to the emptiest row first. Each begins with
    a segment of its own. Gives inputs int32 ``(segments, rows, segment)``, the next token of each as targets (-1
    where there is none), and bool ``(segments, rows)``, true where a song begins or a row is out of songs.
    Raises ValueError where no song has two tokens.
    """
    lengths = [-(-(len(song) - 1) // segment) for song in songs]  # in segments
    if max(lengths, default=0) < 1:
        raise ValueError("No song has two tokens, so there is nothing to predict: use longer songs.")
    order = rng.permutation(len(songs))
    dealt: list[list[int]] = [[] for _ in range(rows)]
    filled = np.zeros(rows, int)
    for song in sorted(order, key=lambda song: -lengths[song]):
        dealt[filled.argmin()].append(song)
        filled[filled.argmin()] += lengths[song]
    inputs = np.zeros((filled.max(), rows, segment), "int32")
    targets = np.full_like(inputs, -1)
    begins = np.ones(inputs.shape[:2], bool)
    for row, its_songs in enumerate(dealt):
        first = 0
        for song in rng.permutation(its_songs):
            for place in range(0, len(songs[song]) - 1, segment):
                piece = songs[song][place : place + segment + 1]
                inputs[first, row, : len(piece) - 1] = piece[:-1]
                targets[first, row, : len(piece) - 1] = piece[1:]
                begins[first, row] = place == 0
                first += 1
    return inputs, targets, begins


class OneAttention(stepper.Stateful):
    """Relative attention of one step that keeps keys and values: ``(batch, 1, width)`` to the same.

    The paper keeps what the layer was given, from which all of them would be computed again for every step.
    """

    def __init__(self, attention: RelativeAttention, length: int):
        super().__init__(dtype=attention.dtype_policy)
        if length < 1:
            raise ValueError("The model attends to its past: say how many steps of it, as in memory=512.")
        self.attention, self.length = attention, length

    def build(self, shape):
        heads, size = self.attention.heads, self.attention.size
        past = (shape[0], heads, self.length + 1, size)  # and the present
        self.remembered = [self.add_weight(shape=past, initializer="zeros", trainable=False) for _ in range(2)]
        self.remembered.append(self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False))
        self.distances = self.add_weight(shape=(1, heads, self.length + 1, size), trainable=False)

    def reset(self):
        super().reset()
        self.distances.assign(self.attention.distances(self.length + 1))  # training may have moved them

    def call(self, x):
        keys, values, count = self.remembered
        key, value = self.attention.keys_and_values(x)
        all_keys = keras.ops.concatenate([keys.value[:, :, 1:], key], axis=2)
        all_values = keras.ops.concatenate([values.value[:, :, 1:], value], axis=2)
        empty = keras.ops.arange(self.length + 1)[None] < self.length - count.value
        keys.assign(all_keys)
        values.assign(all_values)
        count.assign(count.value + 1)
        return self.attention.attend(x, all_keys, all_values, keras.ops.convert_to_tensor(self.distances), empty)


stepper.STEPPED[RelativeAttention] = OneAttention
