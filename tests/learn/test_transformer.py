"""Notebook 11: attention against a double loop, memory, its training, generation from it, its vocabulary."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import keras
import lessons
import numpy as np
import pytest
from lessons import definitions

from course_lib.learn import sample, train
from course_lib.learn.stepper import STEPPED, Stepper
from course_lib.music import events

WANTED = (
    "RelativeAttention",
    "AbsoluteAttention",
    "WithMemory",
    "Rows",
    "continuing_rows",
    "relative_shift",
    "OneAttention",
    "check_vocabulary",
    "answers",
    "attention_by_hand",
    "attention_maps",
    "plain_nats",
)
lesson = SimpleNamespace(**definitions("11", *WANTED))
STEPPED[lesson.RelativeAttention] = lesson.OneAttention
BACKEND = keras.backend.backend()
VOCABULARY, DEPTH, WIDTH, HEADS = 11, 2, 8, 2
RNG = np.random.default_rng(0)
tensor = keras.ops.convert_to_tensor
array = keras.ops.convert_to_numpy


def transformer_xl(seed=0, dropout=0.0, depth=DEPTH, attention=lesson.RelativeAttention):
    """As a notebook assembles it, with weights (biases, too) large enough for all of them to be felt."""
    tokens = keras.Input((None,), dtype="int32")
    memories = [keras.Input((None, WIDTH)) for _ in range(depth)]
    x, heard = keras.layers.Embedding(VOCABULARY, WIDTH)(tokens), []
    for memory in memories:
        heard.append(x)
        attended = keras.layers.Dropout(dropout)(attention(HEADS)(x, memory))
        x = keras.layers.LayerNormalization()(keras.layers.Add()([x, attended]))
        y = keras.layers.Dense(WIDTH)(keras.layers.Dense(16, activation="relu")(x))
        x = keras.layers.LayerNormalization()(keras.layers.Add()([x, y]))
    logits = keras.layers.Dense(VOCABULARY, dtype="float32")(x)
    model = keras.Model([tokens, *memories], [logits, *heard])
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.7, weight.shape) + (1 if "gamma" in weight.path else 0))
    return model


@pytest.fixture(scope="module")
def model():
    return transformer_xl()


def nothing(rows, length=0):
    return [tensor(np.zeros((rows, length, WIDTH), "float32"))] * DEPTH


def whole(model, tokens):
    """Logits of sequences heard at once, and what was heard."""
    logits, *heard = model([tensor(np.asarray(tokens, "int32")), *nothing(len(tokens))])
    return array(logits), [array(each) for each in heard]


def some_tokens(rows, length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, (rows, length)).astype("int32")


# ---------------------------------------------------------------- attention


@pytest.fixture(scope="module")
def attention():
    layer = lesson.RelativeAttention(HEADS)
    layer.build((None, None, WIDTH), (None, None, WIDTH))
    for weight in layer.weights:
        weight.assign(np.random.default_rng(len(weight.path)).normal(0, 0.8, weight.shape))
    return layer


def by_loops(layer, x, memory):
    """The formula of section 3.3 for every pair of a step and a key that it may see."""
    query, key, value, distance, output = (
        array(getattr(layer, name).kernel).astype("float64")
        for name in ("query", "key", "value", "distance", "output_projection")
    )
    u, v = (array(bias)[:, 0].astype("float64") for bias in (layer.content_bias, layer.distance_bias))
    size = WIDTH // HEADS
    result = np.zeros(x.shape)
    for row in range(len(x)):
        heard = np.concatenate([memory[row], x[row]])
        for step in range(x.shape[1]):
            at = memory.shape[1] + step
            mixed = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                scores, values = [], []
                for place in range(at + 1):
                    if not heard[place].any():
                        continue
                    angles = (at - place) / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
                    r = np.concatenate([np.sin(angles), np.cos(angles)]) @ distance[:, part]
                    q, k = heard[at] @ query[:, part], heard[place] @ key[:, part]
                    scores.append((q @ k + q @ r + u[head] @ k + v[head] @ r) / np.sqrt(size))
                    values.append(heard[place] @ value[:, part])
                weights = np.exp(scores - np.max(scores))
                mixed.append(weights @ np.array(values) / weights.sum())
            result[row, step] = np.concatenate(mixed) @ output
    return result


@pytest.mark.parametrize(("remembered", "empty", "steps"), [(0, 0, 5), (4, 0, 5), (6, 4, 3), (3, 3, 4), (2, 0, 1)])
def test_attention_equals_a_double_loop(attention, remembered, empty, steps):
    x = RNG.normal(size=(3, steps, WIDTH)).astype("float32")
    memory = RNG.normal(size=(3, remembered, WIDTH)).astype("float32")
    memory[1, :empty] = 0  # of one row only
    found = array(attention(tensor(x), tensor(memory)))
    np.testing.assert_allclose(found, by_loops(attention, x, memory), atol=1e-5)
    by_hand = lesson.attention_by_hand(attention, x[0], memory[0])  # the row whose memory is full
    np.testing.assert_allclose(by_hand, found[0], atol=1e-5)


def gradients(function, *inputs):
    """Of the sum of a function's output, for each input."""
    if BACKEND == "jax":
        import jax

        return [np.array(each) for each in jax.grad(lambda *x: function(*x).sum(), range(len(inputs)))(*inputs)]
    import tensorflow as tf

    variables = [tf.Variable(each) for each in inputs]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(*[tf.identity(each) for each in variables]))
    return [np.array(each) for each in tape.gradient(total, variables, unconnected_gradients="zero")]


def test_no_gradient_flows_into_the_memory(attention):
    x, memory = RNG.normal(size=(2, 2, 3, WIDTH)).astype("float32")
    into_x, into_memory = gradients(lambda x, memory: attention(x, memory), x, memory)
    assert np.abs(into_x).max() > 0.1 and not into_memory.any()
    moved = array(attention(tensor(x), tensor(memory + 1))) - array(attention(tensor(x), tensor(memory)))
    assert np.abs(moved).max() > 0.1  # although the memory is heard


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"^3 heads do not divide a width of 8: .*\.$"):
        lesson.RelativeAttention(3)(np.zeros((1, 2, 8)), np.zeros((1, 2, 8)))


def test_the_shift_brings_each_distance_to_its_key():
    scores = RNG.normal(size=(2, 3, 4, 7)).astype("float32")  # column j is distance 6 - j
    by_key = array(lesson.relative_shift(tensor(scores)))
    for step in range(4):
        known = 7 - 4 + step  # the step's own key, at distance 0
        np.testing.assert_array_equal(by_key[:, :, step, : known + 1], scores[:, :, step, 6 - known :])


def test_absolute_attention_equals_a_double_loop():
    """Places are numbered back from the window's end, and join queries and keys, not values."""
    layer = lesson.AbsoluteAttention(HEADS)
    layer.build((None, None, WIDTH), (None, None, WIDTH))
    for weight in layer.weights:
        weight.assign(np.random.default_rng(len(weight.path)).normal(0, 0.8, weight.shape))
    x = RNG.normal(size=(2, 5, WIDTH)).astype("float32")
    memory = RNG.normal(size=(2, 4, WIDTH)).astype("float32")
    memory[1, :3] = 0  # empty
    inner = {weight.path.split("/")[-2]: array(weight).astype("float64") for weight in layer.weights}
    expected = np.zeros(x.shape)
    for row in range(2):
        heard = np.concatenate([memory[row], x[row]])
        angles = np.arange(len(heard))[::-1, None] / 10000 ** (np.arange(0, WIDTH, 2) / WIDTH)
        placed = heard + np.concatenate([np.sin(angles), np.cos(angles)], axis=1) @ inner["place"]
        for step in range(5):
            at = 4 + step
            seen = [place for place in range(at + 1) if heard[place].any()]
            for head in range(HEADS):
                q = placed[at] @ inner["query"][:, head]
                scores = np.array([q @ (placed[place] @ inner["key"][:, head]) for place in seen]) / np.sqrt(
                    WIDTH // HEADS
                )
                shares = np.exp(scores - scores.max())
                values = np.array([heard[place] @ inner["value"][:, head] for place in seen])
                expected[row, step] += shares @ values / shares.sum() @ inner["attention_output"][head]
    np.testing.assert_allclose(array(layer(tensor(x), tensor(memory))), expected, atol=1e-5)


def test_the_twins_attention_is_as_large():
    shape = (None, None, 128)
    sizes = []
    for layer in (lesson.RelativeAttention(4), lesson.AbsoluteAttention(4)):
        layer.build(shape, shape)
        sizes.append(layer.count_params())
    assert sizes[0] - sizes[1] == 2 * 128  # u and v
    assert sizes[1] == 5 * 128 * 128


# ---------------------------------------------------------------- the model


def test_two_segments_with_memory_equal_one_long_segment(model):
    tokens = some_tokens(3, 13)
    together, _ = whole(model, tokens)
    _, heard = whole(model, tokens[:, :6])
    second, *_ = model([tensor(tokens[:, 6:]), *[tensor(each) for each in heard]])
    np.testing.assert_allclose(array(second), together[:, 6:], atol=1e-4)
    forgotten, _ = whole(model, tokens[:, 6:])
    assert np.abs(forgotten - together[:, 6:]).max() > 0.1


def test_an_empty_memory_is_as_none(model):
    tokens = some_tokens(2, 5)
    logits, *_ = model([tensor(tokens), *nothing(2, 7)])
    np.testing.assert_allclose(array(logits), whole(model, tokens)[0], atol=1e-5)


def test_the_future_is_not_heard(model):
    tokens = some_tokens(2, 9)
    other = tokens.copy()
    other[:, 5] = (other[:, 5] + 1) % VOCABULARY
    change = np.abs(whole(model, other)[0] - whole(model, tokens)[0]).max(axis=(0, 2))
    assert (change[:5] == 0).all() and (change[5:] > 1e-4).all()


def test_a_saved_model_loads_as_it_was(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(whole(loaded, some_tokens(2, 6))[0], whole(model, some_tokens(2, 6))[0])


def test_maps_of_attention_are_shares_of_what_was_heard(model):
    tokens = some_tokens(1, 9)
    _, heard = lesson.answers(model, tokens[:, :5])
    maps = lesson.attention_maps(model, tokens[:, 5:], heard)
    assert [each.shape for each in maps] == [(HEADS, 4, 9)] * DEPTH
    for each in maps:
        np.testing.assert_allclose(each.sum(axis=-1), 1, atol=1e-5)
        assert not np.triu(each, 6).any()  # of the future


# ---------------------------------------------------------------- rows that go on


def songs_of(*lengths):
    return [np.full(length, number + 1) + np.arange(length) * 100 for number, length in enumerate(lengths)]


def test_each_row_goes_on_where_its_segment_ended():
    songs = songs_of(10, 3, 7, 5, 2, 12, 1)
    inputs, targets, begins = lesson.continuing_rows(songs, 3, 4, np.random.default_rng(0))
    assert inputs.shape == targets.shape == (4, 3, 4) and begins.shape == (4, 3) and inputs.dtype == "int32"
    found = []
    for row in range(3):
        for segment in range(len(inputs)):
            real = targets[segment, row] >= 0
            heard = inputs[segment, row][real].tolist(), targets[segment, row][real].tolist()
            if begins[segment, row]:
                found.append(([], []))
            found[-1][0].extend(heard[0])
            found[-1][1].extend(heard[1])
    expected = [(song[:-1].tolist(), song[1:].tolist()) for song in songs if len(song) > 1]
    assert sorted(pair for pair in found if pair[0]) == sorted(expected)


def test_rows_are_filled_evenly_and_differ_with_the_rng():
    songs = songs_of(*range(20, 60))
    inputs, targets, _ = lesson.continuing_rows(songs, 4, 8, np.random.default_rng(0))
    segments = sum(-(-(len(song) - 1) // 8) for song in songs)
    assert len(inputs) == -(-segments // 4)  # not one segment more than must be
    again, other = (lesson.continuing_rows(songs, 4, 8, np.random.default_rng(seed))[0] for seed in (0, 1))
    assert (again == inputs).all() and (other != inputs).any()


def test_songs_too_short_to_predict_are_refused():
    for songs in ([], [np.array([3])]):
        with pytest.raises(ValueError, match=r"^No song has two tokens"):
            lesson.continuing_rows(songs, 2, 4, np.random.default_rng(0))


# ---------------------------------------------------------------- training

SONGS = [some_tokens(1, length, seed=length)[0] for length in (9, 21, 4, 14, 30, 17)]


def recurrent(model, rows, length):
    result = lesson.WithMemory(model, rows=rows, length=length)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    result.compile(keras.optimizers.Adam(0.01), loss, jit_compile=BACKEND == "jax")  # else compiling takes longest
    return result


def nats(model, song):
    """Of each token of a song after the first, heard from its beginning."""
    logits = whole(model, song[None, :-1])[0][0].astype("float64")
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -logits[np.arange(len(song) - 1), song[1:]]


@pytest.mark.parametrize(("rows", "segment"), [(2, 4), (3, 7)])
def test_evaluation_gives_nats_a_token_with_all_memory(model, rows, segment):
    """Carried through rows and forgotten at borders: what each song has when it is heard alone and whole."""
    found = recurrent(model, rows, 40).evaluate(lesson.Rows(SONGS, segment, rows=rows), verbose=0)
    assert found == pytest.approx(np.concatenate([nats(model, song) for song in SONGS]).mean(), abs=1e-4)


def test_evaluation_without_memory_hears_each_segment_alone(model):
    found = recurrent(model, 2, 0).evaluate(lesson.Rows(SONGS, 5, rows=2), verbose=0)
    pieces = [song[i : i + 6] for song in SONGS for i in range(0, len(song) - 1, 5)]
    assert found == pytest.approx(np.concatenate([nats(model, piece) for piece in pieces]).mean(), abs=1e-4)


def test_the_last_part_of_each_segment_is_judged_alone(model):
    rows = lesson.Rows(SONGS, 6, rows=2, first=4)
    found = recurrent(model, 2, 40).evaluate(rows, verbose=0)
    late = [nats(model, song)[np.arange(len(song) - 1) % 6 >= 4] for song in SONGS]
    assert found == pytest.approx(np.concatenate(late).mean(), abs=1e-4)
    assert (rows.targets >= 0).sum() == sum(map(len, late))


@pytest.mark.parametrize("length", [0, 3, 40])
def test_the_plain_loop_gives_what_evaluation_gives(model, length):
    rows = lesson.Rows(SONGS, 5, rows=2)
    nats = lesson.plain_nats(model, rows, length)
    assert nats.shape == rows.targets.shape and (np.isnan(nats) == (rows.targets < 0)).all()
    assert np.nanmean(nats) == pytest.approx(recurrent(model, 2, length).evaluate(rows, verbose=0), abs=1e-4)


def test_memory_keeps_the_last_steps_of_each_layer(model):
    memory = recurrent(model, 2, 3)
    tokens = some_tokens(2, 4)
    memory((tensor(tokens[:, :2]), tensor(np.array([True, True]))))
    assert not array(memory.memory[0])[:, 0].any()  # two steps are no more than that
    memory((tensor(tokens[:, 2:]), tensor(np.array([False, True]))))
    _, heard = whole(model, tokens)
    _, alone = whole(model, tokens[1:, 2:])
    for layer in range(DEPTH):
        kept = array(memory.memory[layer])
        np.testing.assert_allclose(kept[0], heard[layer][0, 1:], atol=1e-5)
        np.testing.assert_allclose(kept[1, 1:], alone[layer][0], atol=1e-5)
        assert not kept[1, 0].any()


def test_training_learns_and_resumes_to_the_same_losses(tmp_path, capsys):
    def up(song, rng):
        return (song + rng.integers(3)) % VOCABULARY

    def trained(folder, epochs):
        model = recurrent(transformer_xl(seed=5, dropout=0.1, depth=1), 2, 8)
        rows = lesson.Rows([np.arange(40) % 7, np.arange(30) % 7], 6, rows=2, vary=up)
        held_out = {"validation": lesson.Rows([np.arange(25) % 7], 6, rows=2)}
        return train.fit(model, rows, epochs=epochs, folder=folder, seed=1, held_out=held_out)

    straight = trained(tmp_path / "straight", 4)
    trained(tmp_path / "stopped", 2)
    capsys.readouterr()
    resumed = trained(tmp_path / "stopped", 4)
    assert capsys.readouterr().out.startswith("continuing after epoch 2 of 4")
    for name in ("loss", "validation loss"):
        np.testing.assert_allclose(resumed[name], straight[name], rtol=1e-5)
    assert straight["loss"][-1] < straight["loss"][0]


def test_songs_are_varied_and_laid_out_anew_in_each_epoch():
    rows = lesson.Rows(SONGS, 6, rows=2)
    first = rows.tokens
    rows.shuffle(1, 1)
    assert rows.tokens.shape == first.shape and rows.tokens.tolist() != first.tolist()
    rows.shuffle(0, 0)
    assert rows.tokens.tolist() == first.tolist()
    song = lesson.Rows([np.zeros(7, int)], 6, rows=1, vary=lambda song, rng: song + rng.integers(100))
    heard = []
    for epoch in range(5):
        song.shuffle(0, epoch)
        heard.append(song.tokens.max())
    assert len(set(heard)) > 1


def test_a_smoke_run_is_cut_to_two_segments(tmp_path, monkeypatch, model):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    rows = lesson.Rows(SONGS, 3, rows=2)
    seen = []
    monkeypatch.setattr(
        lesson.Rows,
        "__getitem__",
        lambda self, i, get=lesson.Rows.__getitem__: seen.append(i) or get(self, i),
    )
    train.fit(recurrent(transformer_xl(depth=1), 2, 4), rows, epochs=5, folder=tmp_path, seed=0)
    assert set(seen) == {0, 1} and len(rows) > 10


def test_training_in_mixed_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "mixed_float16")
    model = transformer_xl(seed=5, depth=1)
    rows = lesson.Rows([np.arange(60) % 7], 6, rows=2)
    history = train.fit(recurrent(model, 2, 8), rows, epochs=4, folder=tmp_path, seed=1)
    of_dense = [layer.compute_dtype for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    assert model.layers[-1].compute_dtype == "float32" and "float16" in of_dense
    stepper = Stepper(model, memory=8)
    for token in (1, 2, 3):
        logits = stepper.step([token])
    expected, *_ = model([tensor(np.array([[1, 2, 3]])), *nothing(1)[:1]])
    np.testing.assert_allclose(logits, array(expected)[:, -1], atol=0.05)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("kind", ["type", "text"])
def test_too_little_memory_is_one_clear_sentence(tmp_path, monkeypatch, model, kind):
    error = type("ResourceExhaustedError", (Exception,), {}) if kind == "type" else RuntimeError
    text = "OOM when allocating" if kind == "type" else "RESOURCE_EXHAUSTED: Out of memory"

    def fails(*_, **__):
        raise error(text)

    memory, rows = recurrent(model, 2, 4), lesson.Rows(SONGS, 3, rows=2)
    monkeypatch.setattr(memory, "fit", fails)
    with pytest.raises(MemoryError, match=r"^The device ran out of memory: lower the setting .* \(batch_size.*\.$"):
        train.fit(memory, rows, epochs=1, folder=tmp_path, seed=0)
    text = "something else"
    error = RuntimeError
    with pytest.raises(RuntimeError, match="something else"):
        train.fit(memory, rows, epochs=1, folder=tmp_path, seed=0)


# ---------------------------------------------------------------- generation


def test_steps_from_memory_equal_recomputing(model):
    tokens = some_tokens(3, 12)
    stepper = Stepper(model, batch=3, memory=11)
    for _ in range(2):  # the second time after a reset
        stepper.reset()
        steps = np.stack([stepper.step(column) for column in tokens.T], axis=1)
        np.testing.assert_allclose(steps, whole(model, tokens)[0], atol=1e-4)


def test_a_step_hears_no_further_back_than_its_memory(model):
    """Against the same memory carried by training's way, a token at a time."""
    tokens = some_tokens(2, 12)
    stepper, carried = Stepper(model, batch=2, memory=4), lesson.WithMemory(model, rows=2, length=4)
    for place, column in enumerate(tokens.T):
        expected = carried((tensor(column[:, None]), tensor(np.full(2, place == 0))))
        np.testing.assert_allclose(stepper.step(column), array(expected)[:, 0], atol=1e-4)
    assert np.abs(array(expected)[:, 0] - whole(model, tokens)[0][:, -1]).max() > 0.01


def test_a_stepper_follows_further_training():
    model = transformer_xl()
    stepper = Stepper(model, memory=6)
    for weight in model.weights:
        weight.assign(weight * 1.3)
    stepper.reset()
    steps = np.stack([stepper.step([token]) for token in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(steps, whole(model, [[1, 2, 3]])[0], atol=1e-4)


def test_a_stepper_must_be_told_its_memory(model):
    with pytest.raises(ValueError, match=r"^The model attends to its past: say how many steps.*\.$"):
        Stepper(model)


def test_a_student_who_changes_attention_changes_what_is_trained_stepped_and_heard(tmp_path, monkeypatch):
    """Distances count the other way round, by an edit of one line of the notebook."""
    (path,) = lessons.NOTEBOOKS.glob("11*.ipynb")
    source, line = path.read_text(encoding="utf-8"), "scores = by_content + relative_shift(by_distance)"
    assert source.count(line) == 1
    (tmp_path / path.name).write_text(source.replace(line, line.replace("+", "-")), encoding="utf-8")
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    edited = SimpleNamespace(**definitions("11", *WANTED))
    keras.saving.register_keras_serializable()(lesson.RelativeAttention)  # again the one that is saved and loaded
    monkeypatch.setitem(STEPPED, edited.RelativeAttention, edited.OneAttention)
    prompts, losses, heard = np.array([[0], [1]]), [], []
    for version in (lesson, edited):
        model = transformer_xl(depth=1, attention=version.RelativeAttention)
        rows = version.Rows([np.arange(40) % 7, np.arange(30) % 7], 6, rows=2)
        memory = recurrent(model, 2, 8)
        losses.append(train.fit(memory, rows, epochs=2, folder=tmp_path / str(len(losses)), seed=1)["loss"])
        stepper = Stepper(model, batch=2, memory=20)
        tokens = some_tokens(2, 8)
        steps = np.stack([stepper.step(column) for column in tokens.T], axis=1)
        np.testing.assert_allclose(steps, version.answers(model, tokens)[0], atol=1e-4)
        heard.append((steps, sample.generate(stepper, prompts, 20, np.random.default_rng(0))))
    assert np.abs(np.subtract(*losses)).max() > 1e-3  # trained
    assert np.abs(heard[0][0] - heard[1][0]).max() > 1e-2  # stepped
    assert (heard[0][1] != heard[1][1]).any()  # heard


# State 0 takes 0 or 1 on to state 1, which takes 2 to 4 on to state 0, or 10 to the end, where only 9 may come.
GRAMMAR = np.full((3, VOCABULARY), -1, "int8")
GRAMMAR[0, [0, 1]], GRAMMAR[1, [2, 3, 4]], GRAMMAR[1, 10], GRAMMAR[2, 9] = 1, 0, 2, 2


def well_formed(tokens):
    state = 0
    for token in tokens:
        if state >= 0:
            state = GRAMMAR[state, token]
    return state >= 0


@pytest.mark.parametrize("rule", [{}, {"temperature": 0}, {"temperature": 3, "top_k": 5, "top_p": 0.9}])
def test_generated_tokens_obey_the_grammar(model, rule):
    stepper, prompts = Stepper(model, batch=4, memory=20), np.array([[0], [1], [0], [1]])
    result = sample.generate(stepper, prompts, 12, np.random.default_rng(0), grammar=GRAMMAR, **rule)
    free = sample.generate(stepper, prompts, 12, np.random.default_rng(0), **rule)
    assert all(well_formed(row) for row in np.concatenate([prompts, result], axis=1))
    assert not all(well_formed(row) for row in np.concatenate([prompts, free], axis=1))


def test_generation_draws_from_the_logits_of_the_whole(model):
    rng, heard = np.random.default_rng(7), np.array([[0], [1]])
    for _ in range(6):
        state = np.zeros(2, int)
        for column in heard.T:
            state = GRAMMAR[state, column]
        logits = np.where(GRAMMAR[state] >= 0, whole(model, heard)[0][:, -1], -np.inf)
        heard = np.concatenate([heard, sample.draw(sample.probabilities(logits, top_p=0.9), rng)[:, None]], axis=1)
    stepper = Stepper(model, batch=2, memory=20)
    found = sample.generate(stepper, heard[:, :1], 6, np.random.default_rng(7), grammar=GRAMMAR, top_p=0.9)
    assert found.tolist() == heard[:, 1:].tolist()


def test_an_ill_formed_prompt_is_refused(model):
    stepper = Stepper(model, batch=2, memory=4)
    with pytest.raises(ValueError, match=r"^Prompt 1 is ill-formed: the grammar does not allow token 7 at place 2\."):
        sample.generate(stepper, np.array([[0, 2, 0], [1, 3, 7]]), 2, np.random.default_rng(0), grammar=GRAMMAR)


def test_a_prompt_longer_than_memory_is_announced(model, capsys):
    stepper = Stepper(model, memory=4)
    sample.generate(stepper, some_tokens(1, 5), 2, np.random.default_rng(0))  # the last sees itself and 4 before
    assert capsys.readouterr().out == ""
    sample.generate(stepper, some_tokens(1, 6), 2, np.random.default_rng(0))
    assert capsys.readouterr().out.startswith("The prompt has 6 tokens and the memory holds 4: ")


def test_a_grammar_of_another_vocabulary_is_refused(model):
    stepper = Stepper(model, memory=4)
    prompt = some_tokens(1, 3)
    classes = model.outputs[0].shape[-1]
    with pytest.raises(ValueError, match=f"grammar is of {classes + 1} classes and the model has {classes} outputs"):
        sample.generate(stepper, prompt, 2, np.random.default_rng(0), grammar=np.zeros((1, classes + 1), int))
    for wrong in (-1, classes):
        with pytest.raises(ValueError, match=f"the model knows 0 to {classes - 1}"):
            sample.generate(
                stepper, prompt * 0 + wrong, 2, np.random.default_rng(0), grammar=np.zeros((1, classes), int)
            )


def test_top_p_keeps_the_likeliest_where_probabilities_tie():
    assert sample.probabilities(np.array([-1e-17, -5, 0]), top_p=0.4).tolist() == [0, 0, 1]


# ---------------------------------------------------------------- the saved vocabulary


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(events.vocabulary()))
    lesson.check_vocabulary(path, 392)
    with pytest.raises(ValueError, match="has 392 tokens and the model 300 outputs"):
        lesson.check_vocabulary(path, 300)
    path.write_text(json.dumps(events.vocabulary()[::-1]))
    with pytest.raises(ValueError, match="is not that of the events encoding"):
        lesson.check_vocabulary(path, 392)


# ---------------------------------------------------------------- another backend


@pytest.mark.skipif(BACKEND == "jax", reason="runs on JAX already")
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed (pip install jax)")
def test_all_of_this_on_jax():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
