"""Profiles, and training that prints a line an epoch and continues where it was killed."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from course_lib import PROFILES, dataset, sources


class Settings(SimpleNamespace):
    """The values of the chosen profile as attributes; shown in a notebook as a table of both profiles."""

    def __init__(self, profile: str, pairs: dict[str, tuple]):
        super().__init__(**{name: pair[PROFILES.index(profile)] for name, pair in pairs.items()})
        self._profile, self._pairs = profile, pairs

    def _repr_markdown_(self) -> str:
        titles = [f"**{name}** (this run)" if name == self._profile else name for name in PROFILES]
        rows = [f"| {name} | {quick} | {paper} |" for name, (quick, paper) in self._pairs.items()]
        return "\n".join([f"| setting | {titles[0]} | {titles[1]} |", "|---|---|---|", *rows])


def settings(profile: str, **pairs: tuple) -> Settings:
    """Choose between two values for each name: ``epochs=(8, 200)`` is 8 in ``quick`` and 200 in ``paper``.

    Raises ValueError for an unknown profile.
    """
    if profile not in PROFILES:
        raise ValueError(f'There is no profile "{profile}": choose "quick" or "paper".')
    return Settings(profile, pairs)


def smoke() -> bool:
    """True under ``COURSE_SMOKE=1``, where a notebook only shows that it runs."""
    return os.environ.get("COURSE_SMOKE") == "1"


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


class Batches(keras.utils.PyDataset):
    """Shuffled batches of windows of bands, cut from memory or from disk only as they are needed.

    ``split`` turns float32 windows ``(batch, length, 128, 5)`` into inputs and targets. Where there are more
    than ``limit`` windows, an epoch takes as many of them at random, others in each epoch.
    """

    def __init__(
        self,
        bands: dataset.Bands,
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


class Rows(keras.utils.PyDataset):
    """Songs of tokens in rows that go on from batch to batch, for :class:`course_lib.layers.WithMemory`.

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
        laid_out = dataset.continuing_rows(songs, self.batch_size, self.segment, rng)
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


LAID_OUT = (Batches, Rows)


@contextmanager
def memory_errors():
    """Turns a device's error of running out of memory into a MemoryError that says what to do."""
    try:
        yield
    except Exception as error:
        if "ResourceExhausted" not in type(error).__name__ and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(
            "The device ran out of memory: take a smaller batch, shorter inputs or memory, or a smaller model, and "
            "shut down other notebooks that hold it."
        ) from error


def fit(
    model: keras.Model,
    inputs: np.ndarray | Batches | Rows,
    targets: np.ndarray | None = None,
    *,
    epochs: int,
    folder: Path,
    seed: int,
    batch_size: int = 128,
    held_out: dict[str, tuple[np.ndarray, np.ndarray] | Batches | Rows] | None = None,
    keep_best: str = "",
) -> dict[str, list[float]]:
    """Train a compiled model and return its history: one list a figure, one entry an epoch.

    Training data are arrays, or Batches or Rows that bring their targets and batch size with them, and so are those of
    ``held_out``. Each epoch is shuffled by ``(seed, epoch)``, evaluated on all that ``held_out`` names, printed as a
    line, and saved in ``folder`` with the optimizer's state. Called again with the same model, loss, data, seed and
    batch size, training continues after the last saved epoch and ends at the same loss as if it had never stopped; with
    anything changed it starts anew. History names are ``loss``, the model's metrics, the same behind
    ``"<held-out name> "``, and ``seconds`` (of training alone). With ``keep_best``, one of those names, the model
    ends with the weights of the epoch where it was lowest, else with the last ones. Raises FloatingPointError when
    the loss stops being a number, and MemoryError when the device has too little memory.
    """
    data: Any = inputs if isinstance(inputs, LAID_OUT) else (inputs, targets)
    held_out = held_out or {}
    if smoke():
        size = data.batch_size if isinstance(data, LAID_OUT) else batch_size
        epochs, data = 1, _cut(data, 2 * size)
        held_out = {name: _cut(other, size) for name, other in held_out.items()}
        print(f"COURSE_SMOKE=1: training is cut to 2 batches of {size}, and means nothing.")
    loss = re.sub(" at 0x[0-9a-f]+", "", getattr(model.loss, "__name__", str(model.loss)))  # no place in memory
    layers = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    shapes = str([tuple(weight.shape) for weight in model.weights])  # a memory's length is in no configuration
    key = fingerprint([*layers, model.optimizer], *_content(data), batch_size, seed, loss, shapes, keep_best)
    history = _restore(model, folder, key)
    done = len(history.get("loss", []))
    if done:
        print(f"continuing after epoch {min(done, epochs)} of {epochs}, saved in {folder.name}/")
    for epoch in range(done, epochs):
        started = time.perf_counter()
        _reseed_dropout(model, seed, epoch)
        if isinstance(data, LAID_OUT):
            data.shuffle(seed, epoch)
            batches: Any = {"x": data}
        else:
            order = np.random.default_rng([seed, epoch]).permutation(len(data[0]))
            batches = {"x": data[0][order], "y": data[1][order], "batch_size": batch_size}
        with memory_errors():
            trained = model.fit(**batches, shuffle=False, verbose=0)
        figures = {name: values[0] for name, values in trained.history.items()}
        figures["seconds"] = time.perf_counter() - started
        if not math.isfinite(figures["loss"]):
            raise FloatingPointError(
                f"The loss became {figures['loss']} in epoch {epoch + 1}: try a lower learning rate, "
                "or clip the gradients (clipnorm=1 in the optimizer)."
            )
        for name, other in held_out.items():
            given = (other,) if isinstance(other, LAID_OUT) else (*other, 1024)
            with memory_errors():
                scores = model.evaluate(*given, verbose=0, return_dict=True)
            figures |= {f"{name} {figure}": value for figure, value in scores.items()}
        for name, value in figures.items():
            history.setdefault(name, []).append(float(value))
        if keep_best and history[keep_best][-1] == min(history[keep_best]):
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / "best.npz", model.weights)
        _save(model, folder, key, history)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name != "seconds")
        print(f"epoch {epoch + 1}/{epochs}  {shown}  {figures['seconds']:.1f} s", flush=True)
    if keep_best:
        _read(folder / "best.npz", model.weights)
    return history


def _cut(data, count: int):
    """At most ``count`` examples of arrays or of Batches."""
    if not isinstance(data, LAID_OUT):
        return data[0][:count], data[1][:count]
    fewer = copy.copy(data)
    fewer.limit = min(count, data.limit)
    fewer.shuffle(0, 0)
    return fewer


def _content(data) -> Sequence[Any]:
    """What a fingerprint is made of."""
    if not isinstance(data, LAID_OUT):
        return data
    fresh = copy.copy(data)
    fresh.shuffle(0, 0)  # whatever an earlier training left
    return fresh.content()


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Give dropout a random state that depends on the epoch alone: checkpoints do not keep that state."""
    weights = {id(variable) for variable in model.weights}
    states = [variable for variable in model.variables if id(variable) not in weights]
    for index, state in enumerate(states):
        state.assign(np.random.default_rng([seed, epoch, index]).integers(0, 2**31, state.shape))


def fingerprint(parts: Sequence[Any], *arrays: Any) -> str:
    """Sixty-four digits for all that decides how training goes on from a checkpoint, but its length.

    ``parts`` are layers and optimizers. Their names are left out, as Keras counts them up each time a model
    or an optimizer is built in one process.
    """
    described = repr([[type(part).__name__, part.get_config()] for part in parts])
    digest = hashlib.sha256(re.sub(r"'name': '[^']*'", "", described).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _save(model: keras.Model, folder: Path, key: str, history: dict) -> None:
    """Weights first, then the state file that names them: a kill in between leaves the last epoch valid."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"epoch_{len(history['loss']):04}.npz"
    _write(weights, [*model.weights, *model.optimizer.variables])
    with sources.whole(folder / "state.json") as partial:
        partial.write_text(json.dumps({"key": key, "weights": weights.name, "history": history}))
    for older in folder.glob("epoch_*.npz"):
        if older != weights:
            older.unlink(missing_ok=True)


def _restore(model: keras.Model, folder: Path, key: str) -> dict[str, list[float]]:
    """The history of a checkpoint that fits, its weights loaded; {} where there is none."""
    try:
        state = json.loads((folder / "state.json").read_text())
        if state["key"] != key:
            return {}
        model.optimizer.build(model.trainable_variables)  # so that its state has somewhere to go
        _read(folder / state["weights"], [*model.weights, *model.optimizer.variables])
        return state["history"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def _write(path: Path, variables: Sequence) -> None:
    """Several times faster than ``Model.save_weights``, which counts where an epoch takes a fifth of a second."""
    with sources.whole(path) as partial, partial.open("wb") as file:
        np.savez(file, *[keras.ops.convert_to_numpy(variable) for variable in variables])


def _read(path: Path, variables: Sequence) -> None:
    with np.load(path) as saved:
        values = [saved[name] for name in saved.files]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
