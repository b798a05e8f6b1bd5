"""Drawing from a model's output, and generation one step at a time that never recomputes the past."""

from __future__ import annotations

import keras
import numpy as np


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """Softmax of ``logits / temperature`` over the last axis, cut to the likeliest classes.

    ``temperature`` 0 puts everything on the likeliest class (argmax). ``top_k`` keeps the k likeliest classes
    (Fan et al. 2018). ``top_p`` keeps the smallest set of likeliest classes whose probability reaches p
    (nucleus sampling, Holtzman et al. 2020); the likeliest always stays. Shape in and out
    ``(…, classes)``, float64.
    Raises ValueError for a setting out of range.
    """
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}: it must be 0 (argmax) or above.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1, or None to keep every class.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must lie above 0 and up to 1, or be None.")
    logits = np.asarray(logits, "float64")
    ranks = np.argsort(np.argsort(-logits, axis=-1, kind="stable"), axis=-1, kind="stable")
    if temperature == 0:
        return (ranks == 0).astype("float64")
    scaled = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    result = np.exp(scaled)
    if top_k is not None:
        result[ranks >= top_k] = 0
    result /= result.sum(axis=-1, keepdims=True)
    if top_p is not None:
        order = np.argsort(-result, axis=-1, kind="stable")
        ordered = np.take_along_axis(result, order, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered  # probability of everything likelier
        np.put_along_axis(result, order, np.where(before < top_p, ordered, 0), axis=-1)
        result /= result.sum(axis=-1, keepdims=True)
    return result


def draw(probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class from each distribution: ``(…, classes)`` gives integers ``(…)``."""
    cumulative = np.cumsum(probability, axis=-1)
    threshold = rng.random(cumulative.shape[:-1] + (1,)) * cumulative[..., -1:]
    return (cumulative <= threshold).sum(axis=-1)


TIMELESS_LAYERS = (  # each step of their output depends on the same step of their input alone
    keras.layers.Embedding,
    keras.layers.Rescaling,
    keras.layers.Reshape,
    keras.layers.Dense,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.ZeroPadding1D,
)
RECURRENT_LAYERS = (keras.layers.LSTM, keras.layers.GRU)
CONVOLUTION_LAYERS = (keras.layers.Conv1D, keras.layers.SeparableConv1D)


class Stepper:
    """A trained next-note model turned into one compiled step that carries its past along.

    Takes a ``keras.Sequential`` from integers ``(batch, time)`` to logits ``(batch, classes)``, made of
    layers that look at one step at a time (embedding, dense, normalisation, dropout), LSTM and GRU, and
    causal convolutions (``Conv1D`` with causal padding, or a valid one after ``ZeroPadding1D``). A recurrent
    layer's past is its state; a convolution's is its last ``kernel_size - 1`` inputs. The logits equal those
    of the model over everything fed since :meth:`reset`. Raises ValueError for a layer that needs more.
    """

    def __init__(self, model: keras.Sequential, batch: int = 1):
        self._model = OneStep(model.layers)
        self._initial = [
            np.zeros((batch, *shape), "float32") for layer in model.layers for shape in _past(layer)
        ]
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._state = self._initial

    def step(self, notes: np.ndarray) -> np.ndarray:
        """Feed one note a row, integers ``(batch,)``; logits ``(batch, classes)`` for the note after it."""
        logits, *self._state = self._model.predict_on_batch(
            [np.asarray(notes, "int32")[:, None], *self._state]
        )
        return logits


def _past(layer) -> list[tuple[int, ...]]:
    """Shapes, without the batch, of what a layer has to remember between two steps."""
    if isinstance(layer, RECURRENT_LAYERS):
        sizes = layer.cell.state_size
        return [(size,) for size in (sizes if isinstance(sizes, list) else [sizes])]
    if isinstance(layer, CONVOLUTION_LAYERS) and layer.padding != "same" and layer.strides == (1,):
        return [((layer.kernel_size[0] - 1) * layer.dilation_rate[0], layer.input.shape[-1])]
    if isinstance(layer, TIMELESS_LAYERS):
        return []
    raise ValueError(
        f"The layer {layer.name} may look beyond one step and its past, so it cannot be stepped."
    )


class OneStep(keras.Model):
    """(notes ``(batch, 1)``, *past) → (logits, *past one step later)."""

    def __init__(self, layers):
        super().__init__()
        self.steps = layers

    def call(self, inputs):
        x, *past = inputs
        later = []
        for layer in self.steps:
            remembered, past = past[: len(_past(layer))], past[len(_past(layer)) :]
            if isinstance(layer, RECURRENT_LAYERS):
                x, now = layer.cell(x[:, 0], remembered)
                x = x[:, None] if layer.return_sequences else x
                later.extend(now)
            elif isinstance(layer, CONVOLUTION_LAYERS):
                x = keras.ops.concatenate([*remembered, x], axis=1)
                later.append(x[:, 1:])
                x = layer(x)[:, -1:]
            elif not isinstance(
                layer, keras.layers.ZeroPadding1D
            ):  # its zeros are the convolution's first past
                x = layer(x)
        return [x, *later]


def generate(
    stepper: Stepper, prompts: np.ndarray, length: int, rng: np.random.Generator, **rule
) -> np.ndarray:
    """``length`` new notes after each prompt: integers ``(batch, prompt)`` give ``(batch, length)``.

    ``rule`` is passed to :func:`probabilities` (temperature, top_k, top_p). ValueError: an empty prompt.
    """
    if prompts.ndim != 2 or prompts.shape[1] == 0:
        raise ValueError(
            f"prompts has shape {prompts.shape}: give (batch, notes) with at least one note each."
        )
    stepper.reset()
    for column in prompts.T:
        logits = stepper.step(column)
    result = np.empty((len(prompts), length), "int32")
    for position in range(length):
        result[:, position] = draw(probabilities(logits, **rule), rng)
        logits = stepper.step(result[:, position])
    return result
