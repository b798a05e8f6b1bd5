"""Drawing from a model's output, and generation one step at a time that never recomputes the past."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
from scipy.special import expit

from course_lib import layers


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
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature}: it must be 0 (argmax) or a number above.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1, or None to keep every class.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must lie above 0 and up to 1, or be None.")
    logits = np.asarray(logits, "float64")
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranks = np.argsort(order, axis=-1, kind="stable")
    if temperature == 0:
        return (ranks == 0).astype("float64")
    scaled = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    result = np.exp(scaled)
    if top_k is not None:
        result[ranks >= top_k] = 0
    result /= result.sum(axis=-1, keepdims=True)
    if top_p is not None:
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


class Stepper:
    """A trained model of sequences turned into one compiled step that carries its past along.

    Takes a model of ``(batch, time, …)`` to logits ``(batch, classes)`` or ``(batch, time, classes)``, of
    layers that look at one step at a time (embedding, dense, normalisation, dropout, sums), LSTM and GRU, and
    causal convolutions (``Conv1D`` with causal padding, or a valid one after ``ZeroPadding1D``). A recurrent
    layer's past is its state; a convolution's is its last inputs. The logits equal those of the model over
    everything fed since :meth:`reset`.

    A Transformer-XL, which takes the memories of its :class:`course_lib.layers.RelativeAttention` after the
    sequence, looks back at the last ``memory`` steps, the keys and values of which are its past.
    Raises ValueError for a layer that needs more than that, and for attention without a memory.
    """

    def __init__(self, model: keras.Model, batch: int = 1, memory: int = 0):
        self._batch = batch
        self.memory = memory
        self._stateful: list[OneStep | OneAttention | Past] = []
        sequence, *memories = model.inputs
        step = keras.Input((1, *sequence.shape[2:]), batch_size=batch, dtype=sequence.dtype)
        clone = keras.models.clone_model(
            keras.Model(model.inputs, model.outputs[0]),  # functional, if it was sequential
            input_tensors=[step, *memories],
            clone_function=lambda layer: layer,  # the same weights
            call_function=self._one_step,
        )
        self._model = keras.Model(step, clone.outputs[0])  # without the memories, of which nothing is left
        self.reset()

    def _one_step(self, layer, x, memory=None, **options):
        if isinstance(layer, layers.RelativeAttention):
            if self.memory < 1:
                raise ValueError("The model attends to its past: say how many steps of it, as in memory=512.")
            attention = OneAttention(layer, self.memory)
            self._stateful.append(attention)
            return attention(x)
        shape = keras.tree.flatten(x)[0].shape
        steps = shape[1] if len(shape) > 2 else 1  # more than one only between a padding and its convolution
        if isinstance(layer, CONVOLUTION_LAYERS) and layer.strides == (1,):
            reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
            if layer.padding == "causal" and steps == 1 and layer.groups == 1:
                return LastColumn(layer)(self._with_past(x, reach))
            if layer.padding == "valid" and steps == 1 + reach:
                return layer(x)
        elif steps == 1:
            if isinstance(layer, RECURRENT_LAYERS) and not layer.go_backwards:
                recurrent = OneStep(layer.cell)
                self._stateful.append(recurrent)
                return recurrent(x) if layer.return_sequences else recurrent(x)[:, 0]
            if isinstance(layer, keras.layers.ZeroPadding1D) and layer.padding[1] == 0:
                return self._with_past(x, layer.padding[0])
            if isinstance(layer, TIMELESS_LAYERS):
                return layer(x, **options)
        raise ValueError(
            f"The layer {layer.name} needs more than the present step and its past, so it cannot be stepped."
        )

    def _with_past(self, x, reach: int):
        if reach:
            past = Past(reach)
            self._stateful.append(past)
            x = past(x)
        return x

    def reset(self) -> None:
        """Forget everything heard so far."""
        for layer in self._stateful:
            for variable in layer.remembered:
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
            if isinstance(layer, OneAttention):
                layer.look_up_distances()  # training may have moved them

    def step(self, notes: np.ndarray) -> np.ndarray:
        """Feed one step a row, ``(batch, …)``; logits ``(batch, classes)`` for what comes after it.

        Raises ValueError for another number of rows than the stepper was made for.
        """
        if len(notes) != self._batch:
            raise ValueError(
                f"There are {len(notes)} rows, and the stepper has a batch of {self._batch}: "
                f"make it with Stepper(model, batch={len(notes)})."
            )
        logits = self._model.predict_on_batch(np.asarray(notes)[:, None])
        return logits[:, 0] if logits.ndim == 3 else logits


class OneStep(keras.layers.Layer):
    """A recurrent cell that keeps its state between calls: ``(batch, 1, inputs)`` to ``(batch, 1, units)``.

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


class OneAttention(keras.layers.Layer):
    """Relative attention of one step that keeps keys and values: ``(batch, 1, width)`` to the same.

    The paper keeps what the layer was given, from which all of them would be computed again for every step.
    """

    def __init__(self, attention: layers.RelativeAttention, length: int):
        super().__init__(dtype=attention.dtype_policy)
        self.attention, self.length = attention, length

    def build(self, shape):
        heads, size = self.attention.heads, self.attention.size
        past = (shape[0], heads, self.length + 1, size)  # and the present
        self.remembered = [self.add_weight(shape=past, initializer="zeros", trainable=False) for _ in range(2)]
        self.remembered.append(self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False))
        self.distances = self.add_weight(shape=(1, heads, self.length + 1, size), trainable=False)

    def look_up_distances(self):
        self.distances.assign(self.attention.distances(self.length + 1))

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


class LastColumn(keras.layers.Layer):
    """The last output of a causal ``Conv1D`` alone: ``(batch, reach + 1, channels)`` to ``(batch, 1, filters)``."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution = convolution

    def call(self, x):
        taps = x[:, :: self.convolution.dilation_rate[0]]
        column = keras.ops.einsum("bkc,kcf->bf", taps, self.convolution.kernel)
        if self.convolution.use_bias:
            column = column + self.convolution.bias
        return self.convolution.activation(column)[:, None]


class Past(keras.layers.Layer):
    """Puts the last steps before a new one: ``(batch, 1, channels)`` to ``(batch, reach + 1, channels)``."""

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


def generate(
    stepper: Stepper,
    prompts: np.ndarray,
    length: int,
    rng: np.random.Generator,
    grammar: np.ndarray | None = None,
    **rule,
) -> np.ndarray:
    """``length`` new notes after each prompt: integers ``(batch, prompt)`` give ``(batch, length)``.

    ``grammar`` ``(states, classes)``, as from :func:`course_lib.events.grammar`, keeps every row well-formed: the
    state after each class, -1 where it may not come; prompts begin in state 0. ``rule`` is passed to
    :func:`probabilities` (temperature, top_k, top_p). Says so where a prompt is longer than the stepper's memory.
    ValueError: an empty prompt, one that breaks the grammar, or a grammar of another vocabulary.
    """
    if prompts.ndim != 2 or prompts.shape[1] == 0:
        raise ValueError(f"prompts has shape {prompts.shape}: give (batch, notes) with at least one note each.")
    if 0 < stepper.memory < prompts.shape[1] - 1:
        print(
            f"The prompt has {prompts.shape[1]} tokens and the memory holds {stepper.memory}: what comes next is made "
            f"from the last {stepper.memory + 1}, and from earlier ones only as far as these were heard with them."
        )
    states = None if grammar is None else _states_after(grammar, prompts)
    stepper.reset()
    for column in prompts.T:
        logits = stepper.step(column)
    if grammar is not None and grammar.shape[1] != logits.shape[1]:
        raise ValueError(
            f"The grammar is of {grammar.shape[1]} classes and the model has {logits.shape[1]} outputs: give the "
            "grammar of the vocabulary that the model was trained with."
        )
    result = np.empty((len(prompts), length), "int32")
    for position in range(length):
        if grammar is not None:
            logits = np.where(grammar[states] >= 0, logits, -np.inf)
        result[:, position] = draw(probabilities(logits, **rule), rng)
        if grammar is not None:
            states = grammar[states, result[:, position]]
        if position < length - 1:
            logits = stepper.step(result[:, position])
    return result


def _states_after(grammar: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The state of the grammar after each prompt, integers ``(batch,)``."""
    if prompts.min() < 0 or prompts.max() >= grammar.shape[1]:
        raise ValueError(
            f"A prompt has tokens from {prompts.min()} to {prompts.max()}, and the grammar knows 0 to "
            f"{grammar.shape[1] - 1}: give tokens of its vocabulary."
        )
    states = np.zeros(len(prompts), int)
    for place, column in enumerate(prompts.T):
        states = grammar[states, column]
        if (states < 0).any():
            row = int(np.argmax(states < 0))
            raise ValueError(
                f"Prompt {row} is ill-formed: the grammar does not allow token {column[row]} at place {place}. "
                "Give the beginning of a song, from its first token on."
            )
    return states


def threshold_rule(threshold: float):
    """The rule of morris-leou: a pitch sounds where its probability is above ``threshold`` (0 to 1)."""
    return lambda probability: probability > threshold


def chance_rule(rng: np.random.Generator):
    """Each pitch sounds with its own probability."""
    return lambda probability: rng.random(probability.shape) < probability


def surest_rule(share: float | np.ndarray):
    """The rule for blocks of which a known share of cells should sound: the likeliest ones.

    ``share`` (0 to 1), one for all or one for each instrument, is met in every block ``(batch, time, 128, n)``, however
    sure or unsure a network that hears its own music has become; fewer cells sound where probabilities tie.
    """

    def rule(probability: np.ndarray) -> np.ndarray:
        cells = probability.reshape(len(probability), -1, probability.shape[-1])
        shares = np.broadcast_to(share, cells.shape[-1])
        lowest = [np.quantile(cells[..., i], 1 - each, axis=1) for i, each in enumerate(shares)]
        return probability > np.stack(lowest, axis=-1)[:, None, None]

    return rule


def notes_rule(counts: int | Sequence[int], rng: np.random.Generator):
    """The rule of chen-horg-zhuo and tham-kim for bands: fixed numbers of notes, drawn from a softmax.

    ``counts`` is a number of notes for all instruments together, or one for each instrument: so many different
    pitches are drawn at every step ``(…, 128, 5)``, each time by the softmax of the logits of what is left.
    """

    def rule(probability: np.ndarray) -> np.ndarray:
        # The largest of logits + Gumbel noise is a draw from their softmax, and the n largest are n draws
        # without replacement.
        logits = np.log(probability + 1e-12) - np.log1p(1e-12 - probability)
        scores = logits + rng.gumbel(size=logits.shape)
        if isinstance(counts, int):
            cells = scores.reshape(*scores.shape[:-2], -1)
            return _largest(cells, counts).reshape(scores.shape)
        chosen = [_largest(scores[..., channel], count) for channel, count in enumerate(counts)]
        return np.stack(chosen, axis=-1)

    return rule


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """True at the ``count`` largest scores of the last axis."""
    ranks = np.argsort(np.argsort(-scores, axis=-1), axis=-1)
    return ranks < count


def generate_blocks(
    predict: Callable[[np.ndarray], np.ndarray],
    prompts: np.ndarray,
    length: int,
    rule: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """``length`` new steps after each prompt, a block at a time: bool ``(batch, length, …)``.

    ``predict`` takes as many last steps as the prompts have, float32 ``(batch, steps, …)``, and gives logits of
    the next block ``(batch, block, …)``; ``rule`` turns their probabilities into that block. Says so when all
    came out silent.
    """
    steps = prompts.shape[1]
    rolls = prompts.astype("float32")
    while rolls.shape[1] < steps + length:
        logits = np.asarray(predict(rolls[:, -steps:]), "float64")
        block = rule(expit(logits)).astype("float32")
        rolls = np.concatenate([rolls, block], axis=1)
    result = rolls[:, steps : steps + length].astype(bool)
    _say_if_silent(result)
    return result


def _say_if_silent(result: np.ndarray) -> None:
    if not result.any():
        print("Every generated step is silent: lower the threshold, or draw each pitch by chance.")


def generate_frames(
    stepper: Stepper, prompts: np.ndarray, length: int, rule: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """``length`` new frames after each prompt: bool ``(batch, prompt, pitches)`` gives ``(batch, length, pitches)``.

    ``rule`` turns the probabilities ``(batch, pitches)`` of the next frame into that frame. Says so when every
    frame came out silent. Raises ValueError for an empty prompt.
    """
    if prompts.ndim != 3 or prompts.shape[1] == 0:
        raise ValueError(f"prompts has shape {prompts.shape}: give (batch, frames, pitches) with a frame or more.")
    stepper.reset()
    for frame in prompts.swapaxes(0, 1):
        logits = stepper.step(frame.astype("float32"))
    result = np.zeros((len(prompts), length, prompts.shape[2]), bool)
    for position in range(length):
        result[:, position] = rule(expit(logits.astype("float64")))
        logits = stepper.step(result[:, position].astype("float32"))
    _say_if_silent(result)
    return result
