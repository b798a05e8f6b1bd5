"""A Transformer-XL: generation from memory against reading everything again, and training against Keras' attention."""

import time
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
from keras import layers
from lessons import definitions

from course_lib.learn.stepper import STEPPED, Stepper

lesson = SimpleNamespace(**definitions("11", "RelativeAttention", "WithMemory", "Rows", "OneAttention"))
STEPPED[lesson.RelativeAttention] = lesson.OneAttention
VOCABULARY, SEGMENT, ROWS, DROPOUT = 400, 128, 8, 0.1
CONTEXT, STEPS, REPEATS = 512, 20, 5


def main() -> dict[str, float]:
    """The figures of generation, for as many rows as a notebook generates together and for one, and of training."""
    return generation(ROWS, "target 20") | generation(1, "no target") | training()


def transformer_xl(depth: int, width: int, heads: int, inner: int) -> keras.Model:
    """Tokens and memories to logits and what is to be remembered."""
    tokens = keras.Input((None,), dtype="int32")
    memories = [keras.Input((None, width)) for _ in range(depth)]
    x, heard = layers.Embedding(VOCABULARY, width)(tokens), []
    for memory in memories:
        heard.append(x)
        x = block(x, lesson.RelativeAttention(heads)(x, memory), inner)
    return keras.Model([tokens, *memories], [layers.Dense(VOCABULARY, dtype="float32")(x), *heard])


def without_recurrence(depth: int, width: int, heads: int, inner: int) -> keras.Model:
    """The same sizes from Keras' own attention."""
    tokens = keras.Input((SEGMENT,), dtype="int32")
    x = layers.Embedding(VOCABULARY, width)(tokens)
    for _ in range(depth):
        x = block(x, layers.MultiHeadAttention(heads, width // heads)(x, x, use_causal_mask=True), inner)
    return keras.Model(tokens, layers.Dense(VOCABULARY, dtype="float32")(x))


def block(x, attended, inner: int):
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(DROPOUT)(attended)]))
    y = layers.Dense(x.shape[-1])(layers.Dense(inner, activation="relu")(x))
    return layers.LayerNormalization()(layers.Add()([x, layers.Dropout(DROPOUT)(y)]))


def generation(rows: int, target: str, depth=4, width=256, heads=4, inner=1024) -> dict[str, float]:
    """Milliseconds for one more token of each row, medians over repeats taken in turns; rows go together."""
    keras.utils.set_random_seed(0)
    model = transformer_xl(depth, width, heads, inner)
    heard = np.random.default_rng(0).integers(0, VOCABULARY, (rows, CONTEXT))
    nothing = [np.zeros((rows, 0, width), "float32")] * depth
    whole = keras.Model(model.inputs, model.outputs[0])
    stepper = Stepper(model, batch=rows, memory=CONTEXT)
    for tokens in heard.T:
        logits = stepper.step(tokens)
    difference = float(np.abs(logits - whole.predict_on_batch([heard, *nothing])[:, -1]).max())
    ways = {  # the slow one once a repeat, which is long enough
        "recomputing": (lambda: whole.predict_on_batch([heard, *nothing]), 1),
        "from memory": (lambda: stepper.step(heard[:, 0]), STEPS),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, (way, steps) in ways.items():
            way()
            started = time.perf_counter()
            for _ in range(steps):
                way()
            times[name].append((time.perf_counter() - started) / steps * 1000)
    median = {name: float(np.median(values)) for name, values in times.items()}
    ratio = median["recomputing"] / median["from memory"]
    print(
        f"Generation, Transformer-XL {depth} x {width}, batch of {rows}: {median['recomputing']:.1f} ms a token over "
        f"{CONTEXT} tokens again, {median['from memory']:.2f} ms from memory, {ratio:.0f} times faster ({target}); "
        f"largest difference of a logit {difference:.1e} (limit 1e-4)"
    )
    return {f"generation ratio, batch of {rows}": ratio, f"generation difference, batch of {rows}": difference}


def training(depth=3, width=128, heads=4, inner=512) -> dict[str, float]:
    """Tokens a second in ``model.fit``, medians over repeats taken in turns; memory as long as a segment."""
    keras.utils.set_random_seed(0)
    song = np.random.default_rng(0).integers(0, VOCABULARY, 10 * SEGMENT + 1)
    rows = lesson.Rows([song] * ROWS, SEGMENT, rows=ROWS)
    plain = rows.tokens.reshape(-1, SEGMENT), rows.targets.reshape(-1, SEGMENT)
    networks = {
        name: lesson.WithMemory(transformer_xl(depth, width, heads, inner), rows=ROWS, length=SEGMENT)
        for name in ("with memory", "not by XLA")
    } | {"without memory": without_recurrence(depth, width, heads, inner)}
    for name, model in networks.items():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, jit_compile=name != "not by XLA")
    ways = {
        name: partial(model.fit, *data, batch_size=ROWS, shuffle=False, verbose=0)
        for (name, model), data in zip(networks.items(), [(rows,), (rows,), plain], strict=True)
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # compiles
    for _ in range(REPEATS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    speed = {name: rows.targets.size / float(np.median(values)) for name, values in times.items()}
    without, not_by_xla = (speed["with memory"] / speed[name] for name in ("without memory", "not by XLA"))
    print(
        f"Training, {depth} layers of {width}, segment and memory {SEGMENT}: {speed['with memory']:.0f} tokens a "
        f"second; Keras' own attention without memory {speed['without memory']:.0f}, ratio {without:.2f} "
        f"(target 0.5); not compiled by XLA {speed['not by XLA']:.0f}, ratio {not_by_xla:.2f} (no target)"
    )
    return {"training ratio, without memory": without, "training ratio, not by XLA": not_by_xla}


if __name__ == "__main__":
    main()
