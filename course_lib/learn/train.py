"""Training that prints a line an epoch and continues where it was killed."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from course_lib.learn import checkpoint, profiles


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
    inputs: np.ndarray | keras.utils.PyDataset,
    targets: np.ndarray | None = None,
    *,
    epochs: int,
    folder: Path,
    seed: int,
    batch_size: int = 128,
    held_out: dict[str, tuple[np.ndarray, np.ndarray] | keras.utils.PyDataset] | None = None,
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
    data: Any = inputs if isinstance(inputs, keras.utils.PyDataset) else (inputs, targets)
    held_out = held_out or {}
    if profiles.smoke():
        size = data.batch_size if isinstance(data, keras.utils.PyDataset) else batch_size
        epochs, data = 1, _cut(data, 2 * size)
        held_out = {name: _cut(other, size) for name, other in held_out.items()}
        print(f"COURSE_SMOKE=1: training is cut to 2 batches of {size}, and means nothing.")
    loss = re.sub(" at 0x[0-9a-f]+", "", getattr(model.loss, "__name__", str(model.loss)))  # no place in memory
    layers = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    shapes = str([tuple(weight.shape) for weight in model.weights])  # a memory's length is in no configuration
    key = checkpoint.fingerprint([*layers, model.optimizer], *_content(data), batch_size, seed, loss, shapes, keep_best)
    history = checkpoint.restore(model, folder, key)
    done = len(history.get("loss", []))
    if done:
        print(f"continuing after epoch {min(done, epochs)} of {epochs}, saved in {folder.name}/")
    for epoch in range(done, epochs):
        started = time.perf_counter()
        _reseed_dropout(model, seed, epoch)
        if isinstance(data, keras.utils.PyDataset):
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
            given = (other,) if isinstance(other, keras.utils.PyDataset) else (*other, 1024)
            with memory_errors():
                scores = model.evaluate(*given, verbose=0, return_dict=True)
            figures |= {f"{name} {figure}": value for figure, value in scores.items()}
        for name, value in figures.items():
            history.setdefault(name, []).append(float(value))
        if keep_best and history[keep_best][-1] == min(history[keep_best]):
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write_weights(folder / "best.npz", model.weights)
        checkpoint.save(model, folder, key, history)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name != "seconds")
        print(f"epoch {epoch + 1}/{epochs}  {shown}  {figures['seconds']:.1f} s", flush=True)
    if keep_best:
        checkpoint.read_weights(folder / "best.npz", model.weights)
    return history


def _cut(data, count: int):
    """At most ``count`` examples of arrays or of Batches."""
    if not isinstance(data, keras.utils.PyDataset):
        return data[0][:count], data[1][:count]
    fewer = copy.copy(data)
    fewer.limit = min(count, data.limit)
    fewer.shuffle(0, 0)
    return fewer


def _content(data) -> Sequence[Any]:
    """What a fingerprint is made of."""
    if not isinstance(data, keras.utils.PyDataset):
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
