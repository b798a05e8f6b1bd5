"""A trained model turned into one compiled step that never recomputes the past."""

from __future__ import annotations

import keras
import numpy as np

from course_lib.learn import device

RECURRENT_LAYERS = (keras.layers.LSTM, keras.layers.GRU)
CONVOLUTION_LAYERS = (keras.layers.Conv1D, keras.layers.SeparableConv1D)
TIMELESS_LAYERS = (  # each step of their output depends on the same step of their input alone
    keras.layers.InputLayer,
    keras.layers.Embedding,
    keras.layers.Rescaling,
    keras.layers.Reshape,
    keras.layers.Dense,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.Add,
    keras.layers.Multiply,
)

# A layer of a lesson's own, and its form of one step: notebook 11 adds its attention.
STEPPED: dict[type, type[Stateful]] = {}


class Stepper:
    """A trained model of sequences turned into one compiled step that carries its past along.

    The logits equal those of the model over everything fed since `reset`.

    Takes a model of `(batch, time, …)` to logits `(batch, classes)` or `(batch, time, classes)`, of layers that look at
    one step at a time, LSTM and GRU, and causal convolutions (`Conv1D` with causal padding, or a valid one after
    `ZeroPadding1D`). Inputs after the sequence are memories of layers of `STEPPED`, which look back `memory` steps.

    Raises:
        ValueError: a layer that cannot be stepped.
    """

    def __init__(self, model: keras.Model, batch: int = 1, memory: int = 0):
        self._batch, self.memory, self.classes = batch, memory, model.outputs[0].shape[-1]
        self._stateful: list[Stateful] = []
        sequence, *memories = model.inputs
        step = keras.Input((1, *sequence.shape[2:]), batch_size=batch, dtype=sequence.dtype)
        clone = keras.models.clone_model(
            keras.Model(model.inputs, model.outputs[0]),  # functional, if it was sequential
            input_tensors=[step, *memories],
            clone_function=lambda layer: layer,  # the same weights
            call_function=self._one_step,
        )
        self._model = keras.Model(step, clone.outputs[0])  # without the memories, of which nothing is left
        device.use_xla(self._model)
        self.reset()

    def _one_step(self, layer, x, memory=None, **options):
        if type(layer) in STEPPED:
            return self._remembering(STEPPED[type(layer)](layer, self.memory))(x)
        shape = keras.tree.flatten(x)[0].shape
        steps = shape[1] if len(shape) > 2 else 1  # more than one only between a padding and its convolution
        if isinstance(layer, CONVOLUTION_LAYERS) and layer.strides == (1,):
            reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
            if layer.padding == "causal" and steps == 1 and layer.groups == 1:
                return LastColumn(layer)(self._with_past(x, reach))
            if layer.padding == "valid" and steps == 1 + reach:
                return Shared(layer)(x)
        elif steps == 1:
            if isinstance(layer, RECURRENT_LAYERS) and not layer.go_backwards:
                recurrent = self._remembering(OneStep(layer.cell))
                return recurrent(x) if layer.return_sequences else recurrent(x)[:, 0]
            if isinstance(layer, keras.layers.ZeroPadding1D) and layer.padding[1] == 0:
                return self._with_past(x, layer.padding[0])
            if isinstance(layer, TIMELESS_LAYERS):
                return Shared(layer)(x, **options)
        raise ValueError(
            f"The layer {layer.name} needs more than the present step and its past, so it cannot be stepped."
        )

    def _with_past(self, x, reach: int):
        return self._remembering(Past(reach))(x) if reach else x

    def _remembering(self, layer: Stateful) -> Stateful:
        self._stateful.append(layer)
        return layer

    def reset(self) -> None:
        """Forget everything heard so far."""
        for layer in self._stateful:
            layer.reset()

    def step(self, notes: np.ndarray) -> np.ndarray:
        """Feed one step a row, `(batch, …)`; logits `(batch, classes)` for what comes after it.

        Raises:
            ValueError: another number of rows than the stepper was made for.
        """
        if len(notes) != self._batch:
            raise ValueError(
                f"There are {len(notes)} rows, and the stepper has a batch of {self._batch}: "
                f"make it with Stepper(model, batch={len(notes)})."
            )
        logits = self._model.predict_on_batch(np.asarray(notes)[:, None])
        return logits[:, 0] if logits.ndim == 3 else logits


class Shared(keras.layers.Layer):
    """A layer of the model in the stepper's network: it remembers whoever calls it, and so would keep every stepper."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x, **options):
        return self.layer(x, **options)


class Stateful(keras.layers.Layer):
    """A layer of one step that keeps its past in the weights `remembered` between calls.

    A subclass in `STEPPED` is made as `Subclass(layer, memory)`, of the layer that it steps and the stepper's `memory`.
    """

    remembered: list[keras.Variable]

    def reset(self) -> None:
        """Forget the past."""
        for variable in self.remembered:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))


class OneStep(Stateful):
    """A recurrent cell that keeps its state between calls: `(batch, 1, inputs)` to `(batch, 1, units)`.

    Keras' own stateful layers forget their state on JAX when a model predicts.
    """

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def build(self, shape):
        sizes = self.cell.state_size if isinstance(self.cell.state_size, list) else [self.cell.state_size]
        self.remembered = [
            self.add_weight(shape=(shape[0], size), initializer="zeros", trainable=False) for size in sizes
        ]

    def call(self, x):
        x, now = self.cell(x[:, 0], [variable.value for variable in self.remembered])
        for variable, value in zip(self.remembered, now, strict=True):
            variable.assign(value)
        return x[:, None]


class LastColumn(keras.layers.Layer):
    """The last output of a causal `Conv1D` alone: `(batch, reach + 1, channels)` to `(batch, 1, filters)`."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution = convolution

    def call(self, x):
        taps = x[:, :: self.convolution.dilation_rate[0]]
        column = keras.ops.einsum("bkc,kcf->bf", taps, self.convolution.kernel)
        if self.convolution.use_bias:
            column = column + self.convolution.bias
        return self.convolution.activation(column)[:, None]


class Past(Stateful):
    """Puts the last steps before a new one: `(batch, 1, channels)` to `(batch, reach + 1, channels)`."""

    def __init__(self, reach: int):
        super().__init__()
        self.reach = reach

    def build(self, shape):
        past = (shape[0], self.reach, shape[2])
        self.remembered = [self.add_weight(shape=past, initializer="zeros", trainable=False)]

    def call(self, x):
        (past,) = self.remembered
        x = keras.ops.concatenate([past.value, x], axis=1)
        past.assign(x[:, 1:])
        return x
