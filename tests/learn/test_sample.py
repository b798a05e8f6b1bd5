import gc
import importlib.util
import itertools
import os
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers
from lessons import definitions
from scipy import stats
from scipy.special import expit

from course_lib.learn import sample, stepper
from course_lib.learn.stepper import Stepper

# ---------------------------------------------------------------- probabilities

CLASSES = 7
some_logits = arrays(
    "float64", (CLASSES,), elements=st.floats(-8, 8, width=32), unique=True
)  # unique: with equal ones the likeliest k are not defined


def softmax(values):
    exponentials = [np.exp(value - max(values)) for value in values]
    return [each / sum(exponentials) for each in exponentials]


@given(some_logits, st.floats(0.1, 5))
def test_probabilities_are_the_softmax_of_the_scaled_logits(logits, temperature):
    assert sample.probabilities(logits, temperature) == pytest.approx(softmax(logits / temperature))


@given(some_logits, st.integers(1, CLASSES + 2), st.floats(0.2, 3))
def test_top_k_keeps_the_k_likeliest(logits, k, temperature):
    likeliest = sorted(range(CLASSES), key=lambda place: -logits[place])[:k]
    kept = iter(softmax([logits[place] / temperature for place in likeliest]))
    expected = [0.0] * CLASSES
    for place in likeliest:
        expected[place] = next(kept)
    assert sample.probabilities(logits, temperature, top_k=k) == pytest.approx(expected)


@given(some_logits, st.floats(0.01, 1), st.one_of(st.none(), st.integers(1, CLASSES)))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, p, k):
    full = sample.probabilities(logits, top_k=k)
    kept, reached = [], 0.0
    for place in sorted(range(CLASSES), key=lambda place: -logits[place]):
        if reached >= p - 1e-12:
            break
        kept.append(place)
        reached += full[place]
    expected = [full[place] / reached if place in kept else 0 for place in range(CLASSES)]
    if abs(reached - p) > 1e-9:  # where the sum is p to the last digit, rounding decides about the last class
        assert sample.probabilities(logits, top_k=k, top_p=p) == pytest.approx(expected, abs=1e-12)


def test_top_p_by_hand():
    logits = np.log([0.5, 0.05, 0.3, 0.15])
    assert sample.probabilities(logits, top_p=0.6) == pytest.approx([0.625, 0, 0.375, 0])
    assert sample.probabilities(logits, top_p=0.4) == pytest.approx([1, 0, 0, 0])
    assert sample.probabilities(logits, top_p=0.01) == pytest.approx([1, 0, 0, 0])  # the likeliest always stays
    assert sample.probabilities(logits, top_p=1) == pytest.approx([0.5, 0.05, 0.3, 0.15])
    assert sample.probabilities(logits, top_k=2) == pytest.approx([0.625, 0, 0.375, 0])


rules = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.one_of(st.just(0), st.floats(0.01, 10)),
        "top_k": st.integers(1, 9),
        "top_p": st.floats(0.01, 1),
    },
)


@given(arrays("float32", (2, 3, CLASSES), elements=st.floats(-50, 50, width=32)), rules)
def test_every_distribution_of_a_batch_is_one(logits, rule):
    result = sample.probabilities(logits, **rule)
    assert result.shape == logits.shape and result.dtype == "float64"
    assert (result >= 0).all() and np.allclose(result.sum(axis=-1), 1)
    best = result.argmax(axis=-1)
    chosen = np.take_along_axis(sample.probabilities(logits), best[..., None], axis=-1)[..., 0]
    likeliest = sample.probabilities(logits).max(axis=-1)
    assert np.allclose(chosen, likeliest)  # it stays so, or one whose logit differs in the last digits alone
    alone = [[sample.probabilities(row, **rule) for row in rows] for rows in logits]
    assert np.allclose(result, alone)


@given(arrays("float32", (4, CLASSES), elements=st.floats(-50, 50, width=32)))
def test_temperature_zero_is_argmax(logits):
    result = sample.probabilities(logits, temperature=0)
    assert result.argmax(axis=-1).tolist() == logits.argmax(axis=-1).tolist()
    assert np.sort(result, axis=-1)[:, -2:].tolist() == [[0, 1]] * 4  # one class, even where several are equal


def test_a_low_temperature_comes_near_argmax_and_a_high_one_near_chance():
    logits = np.array([1.0, 2.0, 4.0])
    assert sample.probabilities(logits, 1e-3) == pytest.approx([0, 0, 1])
    assert sample.probabilities(logits, 1e6) == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert sample.probabilities(logits + 1e6) == pytest.approx(sample.probabilities(logits))  # no overflow


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"temperature": -0.1}, "temperature is -0.1: it must be 0"),
        ({"top_k": 0}, "top_k is 0: it must be at least 1"),
        ({"top_p": 0.0}, "top_p is 0.0: it must lie above 0 and up to 1"),
        ({"top_p": 1.5}, "top_p is 1.5: it must lie"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(rule, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        sample.probabilities(np.zeros(3), **rule)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- draws


def test_draws_come_as_often_as_their_probability():
    probability = np.array([0.4, 0.0, 0.25, 0.05, 0.3])
    drawn = sample.draw(np.tile(probability, (20_000, 1)), np.random.default_rng(7))
    counts = np.bincount(drawn, minlength=5)
    assert counts[1] == 0
    possible = probability > 0
    assert stats.chisquare(counts[possible], 20_000 * probability[possible]).pvalue > 0.01


def test_draws_keep_the_shape_and_follow_the_rng():
    probability = sample.probabilities(np.random.default_rng(0).normal(size=(2, 50, 6)))
    drawn = sample.draw(probability, np.random.default_rng(1))
    assert drawn.shape == (2, 50) and np.issubdtype(drawn.dtype, np.integer)
    assert len(np.unique(drawn)) == 6
    assert np.array_equal(drawn, sample.draw(probability, np.random.default_rng(1)))
    assert not np.array_equal(drawn, sample.draw(probability, np.random.default_rng(2)))


class Extreme:
    """A random generator that gives only the ends of [0, 1)."""

    def __init__(self, value):
        self.value = value

    def random(self, shape):
        return np.full(shape, self.value)


@given(arrays("float64", (6,), elements=st.one_of(st.just(0.0), st.floats(1e-3, 1))).filter(np.any))
def test_no_draw_has_probability_zero(weights):
    probability = weights / weights.sum()
    for value in (0.0, 1 - 2**-53):
        assert probability[sample.draw(probability, Extreme(value))] > 0


# ---------------------------------------------------------------- models one step at a time

NOTES = 11  # classes


def residual():
    """A functional model: a block whose output is added to its input, and logits at every step."""
    window = keras.Input((None,), dtype="int32")
    x = layers.Embedding(NOTES, 6)(window)
    for dilation in (1, 2):
        gate = layers.Conv1D(6, 2, dilation_rate=dilation, padding="causal", activation="sigmoid")(x)
        value = layers.Conv1D(6, 2, dilation_rate=dilation, padding="causal", activation="tanh")(x)
        x = layers.Add()([x, layers.Multiply()([gate, value])])
    return keras.Model(window, layers.Dense(NOTES)(layers.LayerNormalization()(x)))


def sequential(*middle, scaled=False):
    start = [layers.Rescaling(1 / NOTES), layers.Reshape((-1, 1))] if scaled else [layers.Embedding(NOTES, 6)]
    window = keras.Input((None,), dtype="int32")
    return keras.Sequential([window, *start, *middle, layers.Dense(NOTES)])


MODELS = {  # the kinds of layers that the notebooks use
    "lstm": lambda: sequential(layers.LSTM(7), layers.Dropout(0.3)),
    "four lstm, scaled numbers": lambda: sequential(
        *[layer for _ in range(3) for layer in (layers.LSTM(5, return_sequences=True), layers.Dropout(0.3))],
        layers.LSTM(4),
        scaled=True,
    ),
    "causal convolution, two gru": lambda: sequential(
        layers.Conv1D(8, 3, padding="causal", activation="relu"),
        layers.Dropout(0.1),
        layers.GRU(6, return_sequences=True),
        layers.GRU(5),
    ),
    "gru without reset after": lambda: sequential(layers.GRU(5, reset_after=False)),
    "separable convolution": lambda: sequential(
        layers.ZeroPadding1D((2, 0)),
        layers.SeparableConv1D(8, 3, activation="relu"),
        layers.Dropout(0.1),
        layers.LSTM(6, return_sequences=True),
        layers.LSTM(5),
        scaled=True,
    ),
    "batch normalisation": lambda: sequential(
        layers.Conv1D(8, 3, padding="causal", activation="relu"),
        layers.LSTM(6, return_sequences=True),
        layers.BatchNormalization(),
        layers.LSTM(5),
        layers.BatchNormalization(),
    ),
    "dilated convolutions": lambda: sequential(
        *[layers.Conv1D(6, 2, dilation_rate=2**power, padding="causal", activation="relu") for power in range(3)],
        layers.Conv1D(6, 1),
        layers.LSTM(4),
    ),
    "dilated after padding": lambda: sequential(
        layers.ZeroPadding1D((4, 0)), layers.Conv1D(6, 3, dilation_rate=2), layers.LSTM(4)
    ),
    "logits at every step": lambda: sequential(layers.LSTM(6, return_sequences=True)),
    "functional, residual": residual,
}


def trained(name, seed=0):
    """A model whose weights, statistics included, are nowhere near their initial values."""
    model = MODELS[name]()
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(value) + 0.2 if "variance" in weight.path else value)
    return model


def whole(model, sequence):
    """Logits of the model over everything heard so far."""
    logits = keras.ops.convert_to_numpy(model(sequence, training=False))
    return logits[:, -1] if logits.ndim == 3 else logits


# Elsewhere than on TensorFlow every new length of the whole sequence takes seconds to compile.
TIMES = range(1, 13) if keras.backend.backend() == "tensorflow" else (1, 4, 12)


@pytest.mark.parametrize("batch", [1, 3], ids=["single", "several"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_gives_the_logits_of_the_whole_sequence_at_every_step(name, batch):
    model = trained(name)
    stepper = Stepper(model, batch)
    sequence = np.random.default_rng(1).integers(0, NOTES, (batch, 12), "int32")
    logits = [stepper.step(column) for column in sequence.T]
    for time in TIMES:
        expected = whole(model, sequence[:, :time])
        assert logits[time - 1].shape == expected.shape == (batch, NOTES)
        assert np.abs(logits[time - 1] - expected).max() < 1e-4, f"step {time}"
    assert np.abs(logits[-1] - logits[0]).max() > 1e-2  # or the past would not matter
    stepper.reset()
    assert np.allclose(stepper.step(sequence[:, 0]), logits[0], atol=1e-6)


def test_stepping_equals_predicting_on_the_fixed_window_of_a_notebook():
    window = keras.Input((12,), dtype="int32")
    model = keras.Sequential(
        [window, layers.Rescaling(1 / NOTES), layers.Reshape((-1, 1)), layers.LSTM(5), layers.Dense(NOTES)]
    )
    stepper = Stepper(model, 2)
    sequence = np.random.default_rng(2).integers(0, NOTES, (2, 12), "int32")
    for column in sequence.T:
        logits = stepper.step(column)
    assert np.abs(logits - model.predict_on_batch(sequence)).max() < 1e-4


def test_a_stepper_leaves_the_model_as_it_was():
    model = trained("batch normalisation")
    sequence = np.random.default_rng(2).integers(0, NOTES, (2, 9), "int32")
    before, weights = model.predict_on_batch(sequence), [weight.path for weight in model.weights]
    first, second = Stepper(model, 2), Stepper(model, 2)
    for column in sequence.T[:5]:
        first.step(column)
    fresh = second.step(sequence[:, 0])  # two steppers share weights, not their past
    assert np.allclose(fresh, whole(model, sequence[:, :1]), atol=1e-4)
    assert [weight.path for weight in model.weights] == weights
    assert np.array_equal(model.predict_on_batch(sequence), before)


def test_a_model_keeps_no_stepper_alive():
    """The past of fifty pieces takes a hundred MiB, and a notebook makes several steppers of a network."""
    model = trained("separable convolution")
    stepper = Stepper(model, 2)
    stepper.step(np.array([1, 2]))
    pasts = [weakref.ref(layer) for layer in stepper._stateful]
    del stepper
    gc.collect()
    assert pasts and not any(past() for past in pasts)


def test_a_stepper_follows_further_training():
    model = trained("lstm")
    stepper = Stepper(model)
    before = stepper.step(np.array([3]))
    model.layers[-1].bias.assign(keras.ops.ones(NOTES) * 5)
    stepper.reset()
    after = stepper.step(np.array([3]))
    assert not np.allclose(before, after)
    assert np.allclose(after, whole(model, np.array([[3]])), atol=1e-4)


class Sums(layers.Layer):
    """A layer of a lesson's own: each step becomes the sum of all steps so far."""

    def call(self, x):
        return keras.ops.cumsum(x, axis=1)


class OneSum(stepper.Stateful):
    made: list[tuple] = []  # of which layer and memory

    def __init__(self, layer, memory):
        super().__init__()
        self.made.append((layer, memory))

    def build(self, shape):
        self.remembered = [self.add_weight(shape=shape, initializer="zeros", trainable=False)]

    def call(self, x):
        self.remembered[0].assign(self.remembered[0].value + x)
        return keras.ops.convert_to_tensor(self.remembered[0].value)


def test_a_layer_of_a_lessons_own_is_stepped_by_its_registered_form(monkeypatch):
    sums = Sums()
    model = keras.Sequential([keras.Input((None, 3)), sums, layers.Dense(4)])
    with pytest.raises(ValueError, match="cannot be stepped"):
        Stepper(model)
    monkeypatch.setitem(stepper.STEPPED, Sums, OneSum)
    one_by_one, sequence = Stepper(model, batch=2, memory=5), np.random.default_rng(0).random((2, 6, 3), "float32")
    assert OneSum.made == [(sums, 5)]
    for _ in range(2):
        steps = [one_by_one.step(sequence[:, place]) for place in range(6)]
        assert np.allclose(np.stack(steps, axis=1), model.predict_on_batch(sequence), atol=1e-5)
        one_by_one.reset()


REFUSED = {
    "flatten": lambda: [layers.Flatten()],
    "bidirectional": lambda: [layers.Bidirectional(layers.LSTM(4))],
    "conv1d": lambda: [layers.Conv1D(4, 3, padding="same"), layers.LSTM(4)],
    "separable_conv1d": lambda: [layers.SeparableConv1D(4, 3, padding="same"), layers.LSTM(4)],
    "strided": lambda: [layers.Conv1D(4, 3, strides=2, padding="causal"), layers.LSTM(4)],
    "unpadded": lambda: [layers.Conv1D(4, 3), layers.LSTM(4)],
    "padded_too_little": lambda: [layers.ZeroPadding1D((1, 0)), layers.Conv1D(4, 3), layers.LSTM(4)],
    "padded_with_future": lambda: [layers.ZeroPadding1D(1), layers.Conv1D(4, 3), layers.LSTM(4)],
    "padded_for_nothing": lambda: [layers.ZeroPadding1D((2, 0)), layers.LSTM(4)],
    "padded_twice": lambda: [
        layers.ZeroPadding1D((2, 0)),
        layers.Conv1D(4, 3, padding="causal"),
        layers.LSTM(4),
    ],
    "backwards": lambda: [layers.LSTM(4, go_backwards=True)],
    "global_average_pooling1d": lambda: [layers.GlobalAveragePooling1D()],
    "max_pooling1d": lambda: [layers.MaxPooling1D(2), layers.LSTM(4)],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_layers_that_cannot_be_stepped_are_refused(kind):
    window = keras.Input((12,), dtype="int32")
    model = keras.Sequential([window, layers.Embedding(NOTES, 6), *REFUSED[kind](), layers.Dense(NOTES)])
    with pytest.raises(ValueError, match=r"^The layer \w+ .*cannot be stepped\.$") as caught:
        Stepper(model)
    named = str(caught.value).split()[2]
    assert named in [layer.name for layer in model.layers]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_steps_equal_the_whole_sequence_on_other_backends(backend):
    if keras.backend.backend() == backend:
        pytest.skip(f"{backend} is the backend of this run already")
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "(every_step and several) or generation_repeats",
    ]
    run = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True, timeout=500
    )
    assert run.returncode == 0, run.stdout[-3000:]


# ---------------------------------------------------------------- generation


@pytest.fixture(scope="module")
def model():
    return trained("causal convolution, two gru", seed=4)


PROMPTS = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 9]], "int32")


def test_generated_notes_are_drawn_one_by_one_from_the_model(model):
    """Against a loop that reads everything again for each note."""
    rng, rule = np.random.default_rng(3), {"temperature": 1.3, "top_k": 6, "top_p": 0.9}
    generated = sample.generate(Stepper(model, 3), PROMPTS, 8, np.random.default_rng(3), **rule)
    heard = PROMPTS
    for _ in range(8):
        drawn = sample.draw(sample.probabilities(whole(model, heard), **rule), rng)
        heard = np.concatenate([heard, drawn[:, None].astype("int32")], axis=1)
    assert generated.shape == (3, 8) and generated.dtype == "int32"
    assert generated.tolist() == heard[:, 4:].tolist()


def test_generation_repeats_with_the_rng_and_forgets_what_was_before():
    model = trained("lstm")
    model.layers[1].cell.bias.assign(np.repeat([0.0, 8.0, 0.0, 0.0], 7))  # input, forget, cell, output gates
    stepper = Stepper(model, 3)

    def generate(seed):
        return sample.generate(stepper, PROMPTS, 20, np.random.default_rng(seed)).tolist()

    first = generate(5)
    for _ in range(10):
        stepper.step(np.array([0, 0, 0]))
    assert generate(5) == first
    assert generate(6) != first
    stepper.reset = lambda: None
    assert generate(5) != first  # this model does not forget of itself


def test_rows_of_a_generated_batch_are_independent(model):
    together = sample.generate(Stepper(model, 3), PROMPTS, 12, np.random.default_rng(0), temperature=0)
    alone = Stepper(model, 1)
    for row, prompt in enumerate(PROMPTS):
        one = sample.generate(alone, prompt[None], 12, np.random.default_rng(row), temperature=0)
        assert one[0].tolist() == together[row].tolist()


def test_generation_follows_the_prompt():
    """A model that has learned to count on: the next class is the last plus one."""
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(NOTES, NOTES),
            layers.Conv1D(NOTES, 1),
            layers.Dense(NOTES),
        ]
    )
    identity = np.eye(NOTES)
    model.layers[0].embeddings.assign(identity)
    model.layers[1].kernel.assign(identity[None])
    model.layers[2].kernel.assign(9 * np.roll(identity, 1, axis=1))
    prompts = np.array([[7, 7, 3], [1, 2, 9]], "int32")
    generated = sample.generate(Stepper(model, 2), prompts, 4, np.random.default_rng(0), temperature=0)
    assert generated.tolist() == [[4, 5, 6, 7], [10, 0, 1, 2]]


@pytest.mark.parametrize("shape", [(3, 0), (4,), (1, 2, 3)])
def test_prompts_of_another_shape_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"prompts has shape .*: give \(batch, notes\) with at least one"):
        sample.generate(Stepper(model, 3), np.zeros(shape, "int32"), 4, np.random.default_rng(0))


def test_prompts_of_another_batch_are_refused(model):
    with pytest.raises(ValueError, match=r"There are 3 rows, and the stepper has a batch of 2: make it with .*batch=3"):
        sample.generate(Stepper(model, 2), PROMPTS, 4, np.random.default_rng(0))


# ---------------------------------------------------------------- rules for bands


def band_probabilities(seed, *shape, spread=2.0):
    return expit(np.random.default_rng(seed).normal(-4, spread, (*shape, 128, 5)))


@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_so_many_notes_sound_at_every_step_of_each_instrument(shape):
    counts = (3, 1, 0, 128, 2)
    block = sample.notes_rule(counts, np.random.default_rng(0))(band_probabilities(0, *shape))
    assert block.dtype == bool and block.shape == (*shape, 128, 5)
    assert (block.sum(axis=-2) == counts).all()


@pytest.mark.parametrize("count", [0, 1, 9, 640])
def test_so_many_notes_sound_at_every_step_of_all_together(count):
    block = sample.notes_rule(count, np.random.default_rng(0))(band_probabilities(0, 3, 4))
    assert block.dtype == bool and block.shape == (3, 4, 128, 5)
    assert (block.sum(axis=(-2, -1)) == count).all()


@pytest.mark.filterwarnings("error")
def test_fixed_numbers_are_drawn_of_certain_and_of_impossible_notes_too():
    for probability in (np.zeros((2, 128, 5)), np.ones((2, 128, 5))):
        block = sample.notes_rule(2, np.random.default_rng(0))(probability)
        assert (block.sum(axis=(-2, -1)) == 2).all()
    certain = np.zeros((50, 128, 5))
    certain[:, 60, 0] = certain[:, 40, 2] = 1
    block = sample.notes_rule((1, 0, 1, 0, 0), np.random.default_rng(0))(certain)
    assert block[:, 60, 0].all() and block[:, 40, 2].all()


def test_a_note_comes_as_often_as_the_softmax_of_the_logits_says():
    """Not of the probabilities, nor in proportion to them."""
    draws, logits = 4_000, np.random.default_rng(1).normal(0, 2, (128, 5))
    probability = np.broadcast_to(expit(logits), (draws, 128, 5))

    def fits(counts, weights):
        expected = draws * weights / weights.sum()
        rare = expected < 5  # too few for the test one by one
        pooled = [np.append(each[~rare], each[rare].sum()) for each in (counts, expected)]
        return stats.chisquare(*pooled).pvalue

    together = sample.notes_rule(1, np.random.default_rng(2))(probability).sum(axis=0)
    assert fits(together.ravel(), np.exp(logits).ravel()) > 0.01
    assert fits(together.ravel(), expit(logits).ravel()) < 1e-6
    apart = sample.notes_rule((1,) * 5, np.random.default_rng(3))(probability).sum(axis=0)
    for channel in range(5):
        assert fits(apart[:, channel], np.exp(logits[:, channel])) > 0.01
        assert fits(apart[:, channel], expit(logits[:, channel])) < 1e-3


def test_the_second_note_is_drawn_from_what_the_first_left():
    weights = dict(zip((10, 50, 60, 127), (0.5, 0.3, 0.15, 0.05), strict=True))
    logits = np.full((5_000, 128, 5), -27.0)
    for pitch, weight in weights.items():
        logits[:, pitch, 3] = np.log(weight)
    block = sample.notes_rule((0, 0, 0, 2, 0), np.random.default_rng(4))(expit(logits))[..., 3]
    pairs = list(itertools.combinations(weights, 2))
    counts = [(block[:, one] & block[:, other]).sum() for one, other in pairs]
    assert sum(counts) == 5_000
    expected = [
        weights[a] * weights[b] / (1 - weights[a]) + weights[b] * weights[a] / (1 - weights[b]) for a, b in pairs
    ]
    assert stats.chisquare(counts, 5_000 * np.array(expected)).pvalue > 0.01


def test_draws_of_notes_follow_the_rng():
    probability = band_probabilities(0, 20)
    blocks = [sample.notes_rule(4, np.random.default_rng(seed))(probability) for seed in (0, 0, 1)]
    assert np.array_equal(blocks[0], blocks[1]) and not np.array_equal(blocks[0], blocks[2])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, (0.05, 0.0, 0.01, 0.2, 0.6)])
def test_the_surest_share_of_each_instrument_sounds_in_every_block(share):
    probability = band_probabilities(5, 3, 8) ** [1, 2, 3, 4, 5]  # some instruments surer than others
    block = definitions("07", "surest_rule")["surest_rule"](share)(probability)
    assert block.dtype == bool and block.shape == probability.shape
    assert np.abs(block.mean(axis=(1, 2)) - share).max() <= 1 / (8 * 128)
    for piece, cells in zip(block, probability, strict=True):
        for channel in range(5):
            sounding, silent = (cells[..., channel][piece[..., channel] == side] for side in (True, False))
            assert sounding.min(initial=1) >= silent.max(), "the likeliest ones"


# ---------------------------------------------------------------- blocks

CELLS = 3


def counting(block, calls):
    """A stand-in for a network: call number n gives a block whose cells are the binary digits of n."""

    def predict(rolls):
        calls.append(rolls)
        digits = np.array([len(calls) >> digit & 1 for digit in range(CELLS)])
        return np.broadcast_to(18.0 * digits - 9, (len(rolls), block, CELLS))

    return predict


@pytest.mark.parametrize(("block", "length", "expected"), [(4, 10, 3), (4, 8, 2), (4, 3, 1), (1, 3, 3), (9, 10, 2)])
def test_blocks_are_generated_from_the_last_steps_and_cut_to_length(block, length, expected):
    prompts = np.random.default_rng(0).random((2, 6, CELLS)) < 0.5
    calls: list[np.ndarray] = []
    generated = sample.generate_blocks(counting(block, calls), prompts, length, sample.threshold_rule(0.5))
    assert generated.shape == (2, length, CELLS) and generated.dtype == bool
    numbers = (generated * 2 ** np.arange(CELLS)).sum(axis=-1)
    assert numbers.tolist() == [[1 + step // block for step in range(length)]] * 2
    assert len(calls) == expected
    heard = np.concatenate([prompts, generated], axis=1)
    for number, window in enumerate(calls):
        assert window.dtype == "float32" and window.shape == (2, 6, CELLS)
        end = 6 + number * block
        assert np.array_equal(window, heard[:, end - 6 : end])


def test_the_rule_of_a_block_is_given_probabilities():
    logits = np.array([-2.0, 0.0, 3.0])
    seen = []

    def rule(probability):
        seen.append(probability)
        return probability > 0.5

    prompts = np.zeros((1, 2, CELLS), bool)
    generated = sample.generate_blocks(lambda rolls: np.tile(logits, (1, 2, 1)), prompts, 2, rule)
    assert np.allclose(seen[0], softmax_of_two(logits)) and seen[0].shape == (1, 2, CELLS)
    assert generated.tolist() == [[[False, False, True]] * 2]


def softmax_of_two(logits):
    """The logistic function, as the softmax of a logit and 0."""
    return [softmax([logit, 0])[0] for logit in logits]


@pytest.mark.filterwarnings("error")
def test_sure_networks_raise_no_warning():
    prompts = np.zeros((1, 2, 2), bool)
    rule = sample.threshold_rule(0.5)
    generated = sample.generate_blocks(lambda rolls: np.full((1, 2, 2), [-1e4, 1e4], "float32"), prompts, 4, rule)
    assert generated.tolist() == [[[False, True]] * 4]


def test_silent_blocks_are_said(capsys):
    prompts = np.ones((2, 6, CELLS), bool)
    rule = sample.threshold_rule(0.5)
    silent = sample.generate_blocks(lambda rolls: np.full((2, 4, CELLS), -9.0), prompts, 8, rule)
    assert not silent.any()
    told = capsys.readouterr().out
    assert "Every generated step is silent" in told and told.count("\n") == 1
    sample.generate_blocks(counting(4, []), prompts, 8, rule)
    assert capsys.readouterr().out == ""
