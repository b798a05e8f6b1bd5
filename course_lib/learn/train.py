"""Training that prints a line an epoch and continues where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from course_lib.learn import checkpoint, device, profiles
from course_lib.learn.batches import Arrays, Epochs


def fit(
    model: keras.Model,
    inputs: Any,
    targets: np.ndarray | None = None,
    *,
    epochs: int,
    folder: Path,
    seed: int,
    batch_size: int = 128,
    updates: int | None = None,
    held_out: Mapping[str, Any] | None = None,
    keep_best: str = "",
    patience: int | None = None,
    min_delta: float = 0.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train a compiled model on arrays, or on a data set such as `Batches` that brings its batch size with it.

    Each epoch is evaluated on all that is held out, printed as a line, and saved in `folder`. Called again with the
    same model, loss, data, seed and batch size, training continues after the last saved epoch and ends at the same
    loss as if it had never stopped; with anything changed it starts anew.

    Args:
        updates: batches an epoch; without, an epoch is a pass over the data.
        keep_best: a figure of the history: the model ends with the weights of the epoch where it was lowest.
        patience: stop where that figure has not improved for so many epochs.
        min_delta: of that figure: an improvement by no more does not count for patience.
        callbacks: of Keras, called once an epoch is saved; they begin anew where a training continues.

    Returns:
        A list a figure, one entry an epoch: `loss`, the model's metrics, `seconds` (of training alone), and those of
        what is held out behind its name, as in `validation loss`.

    Raises:
        FloatingPointError: the loss stopped being a number.
        MemoryError: the device has too little memory.
    """
    if patience and not keep_best:
        raise ValueError('patience needs a figure to watch: name one, as in keep_best="validation loss".')
    data = inputs if targets is None else Arrays(inputs, targets, batch_size)
    rows = 1024  # of held-out arrays at once
    if profiles.smoke():
        epochs, updates, rows = 1, 2, data.batch_size
        print(f"COURSE_SMOKE=1: training is cut to 2 batches of {data.batch_size}, and means nothing.")
    evaluated = {
        name: other if isinstance(other, keras.utils.PyDataset) else Arrays(other[0], other[1], rows)
        for name, other in (held_out or {}).items()
    }
    if not model.weights:
        raise ValueError("The model has no weights yet: begin it with keras.Input, so that they can be saved.")
    device.use_xla(model)
    device.use_precision(model)
    model.optimizer = device.scaled(model.optimizer)
    layers = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    shapes = [tuple(weight.shape) for weight in model.weights]  # a memory's length is in no configuration
    options = str([data.batch_size, updates, seed, shapes, [*evaluated], keep_best, device.precision()])
    data.shuffle(0, 0)  # whatever order an earlier training left
    key = checkpoint.fingerprint([*layers, model.optimizer, model.loss], *data.content(), options)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)  # so that its state has somewhere to go
    last = checkpoint.Checkpoint(folder / "checkpoint.npz", key, [*model.weights, *model.optimizer.variables])
    best = checkpoint.Checkpoint(folder / "best.npz", key, model.weights)
    history = {name: values.tolist() for name, values in last.restore().items()}
    done = len(history.get("loss", []))
    if done:
        print(f"continuing after epoch {min(done, epochs)} of {epochs}, saved in {folder.name}/")
    watch = _Watch(Epochs(data, seed, updates), evaluated, history, last, best, epochs, keep_best, patience, min_delta)
    if done < epochs and not watch.out_of_patience():
        try:
            schedule = {"initial_epoch": done, "epochs": epochs, "shuffle": False}
            model.fit(watch.training, verbose=0, callbacks=[watch, *callbacks], **schedule)
        except Exception as error:
            if "ResourceExhausted" not in type(error).__name__ and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise MemoryError(
                "The device ran out of memory: lower the setting of the batch (batch_size, as in run -s batch_size 16; "
                "rows in notebook 11), then that of the network, and shut down other notebooks that hold it."
            ) from error
        model.train_function = model.test_function = None  # Keras makes them anew; what they hold is not small
    if keep_best and not best.restore():
        raise ValueError(f"The best weights in {folder} are missing or damaged: delete that folder and train again.")
    watched = history.get(keep_best, ())
    checkpoint.summarise(folder, len(history["loss"]), epochs, sum(history["seconds"]), keep_best, watched)
    return history


class _Watch(keras.callbacks.Callback):
    """What `fit` does around each epoch: prepare, evaluate, save, print, and stop."""

    def __init__(self, training, held_out, history, last, best, limit, keep_best, patience, min_delta):
        super().__init__()
        self.training, self.held_out, self.history, self.last, self.best = training, held_out, history, last, best
        self.limit, self.keep_best, self.patience, self.min_delta = limit, keep_best, patience, min_delta

    def on_epoch_begin(self, epoch, logs=None):
        self.training.epoch = epoch
        _reseed_dropout(self.model, self.training.seed, epoch)
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs):
        figures = {**logs, "seconds": time.perf_counter() - self.started}
        if not math.isfinite(figures["loss"]):
            raise FloatingPointError(
                f"The loss became {figures['loss']} in epoch {epoch + 1}: try a lower learning rate, "
                "or clip the gradients (clipnorm=1 in the optimizer)."
            )
        for name, data in self.held_out.items():
            scores = self.model.evaluate(data, steps=1 if profiles.smoke() else None, verbose=0, return_dict=True)
            figures |= {f"{name} {figure}": value for figure, value in scores.items()}
        if self.keep_best and self.keep_best not in figures:
            raise ValueError(f'There is no figure "{self.keep_best}" to watch: choose from {", ".join(figures)}.')
        logs.update(figures)  # for the callbacks that come next
        for name, value in figures.items():
            self.history.setdefault(name, []).append(float(value))
        if self.keep_best and checkpoint.best_epoch(self.history[self.keep_best]) == epoch:
            self.best.save({self.keep_best: figures[self.keep_best]})
        self.last.save(self.history)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name != "seconds")
        print(f"epoch {epoch + 1}/{self.limit}  {shown}  {figures['seconds']:.1f} s", flush=True)
        if self.out_of_patience():
            self.model.stop_training = True

    def out_of_patience(self) -> bool:
        """Whether the last improvement that counts is too long ago."""
        best, since = math.inf, 0
        for figure in self.history.get(self.keep_best, ()):
            since += 1
            if figure < best - self.min_delta:
                best, since = figure, 0
        return bool(self.patience) and since >= self.patience


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Give dropout a random state that depends on the epoch alone: checkpoints do not keep that state."""
    weights = {id(variable) for variable in model.weights}
    states = [variable for variable in model.variables if id(variable) not in weights]
    for index, state in enumerate(states):
        state.assign(np.random.default_rng([seed, epoch, index]).integers(0, 2**31, state.shape))
