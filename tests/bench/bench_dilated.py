"""Generation from dilated convolutions: one new column a layer, against the whole receptive field each time."""

import time

import keras
import numpy as np
from keras import layers

from course_lib.learn.stepper import Stepper

CHANNELS, LEVELS, PITCHES, STEPS, REPEATS = 256, 8, 128, 20, 5  # the sizes of notebook 05 in `paper`


def main() -> dict[str, float]:
    """Milliseconds a step of each way, medians over repeats taken in turns, at a receptive field of 256."""
    keras.utils.set_random_seed(0)
    song = keras.Input((None, PITCHES))
    x, skips = layers.Dense(CHANNELS)(song), []
    for dilation in [2**i for i in range(LEVELS)]:
        what = layers.Conv1D(CHANNELS, 2, dilation_rate=dilation, padding="causal", activation="tanh")(x)
        gate = layers.Conv1D(CHANNELS, 2, dilation_rate=dilation, padding="causal", activation="sigmoid")(x)
        gated = layers.Multiply()([what, gate])
        skips.append(layers.Dense(CHANNELS)(gated))
        x = layers.Add()([x, layers.Dense(CHANNELS)(gated)])
    model = keras.Model(song, layers.Dense(PITCHES)(layers.Activation("relu")(layers.Add()(skips))))
    field = (np.random.default_rng(0).random((1, 2**LEVELS, PITCHES)) < 0.05).astype("float32")
    stepper = Stepper(model)
    for t in range(field.shape[1]):
        logits = stepper.step(field[:, t])
    difference = float(np.abs(logits - model.predict_on_batch(field)[:, -1]).max())
    ways = {
        "predict": lambda: model.predict(field, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(field),
        "step": lambda: stepper.step(field[:, 0]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            way()
            started = time.perf_counter()
            for _ in range(STEPS):
                way()
            times[name].append((time.perf_counter() - started) / STEPS * 1000)
    median = {name: float(np.median(values)) for name, values in times.items()}
    for name in ("predict", "predict_on_batch"):
        print(
            f"Generation, dilated, field of {2**LEVELS}: {name} {median[name]:.1f} ms, one column "
            f"{median['step']:.2f} ms a step, {median[name] / median['step']:.0f} times faster (target 10)"
        )
    print(f"Generation, dilated: largest difference of a logit {difference:.1e} (limit 1e-4)")
    return {**median, "difference": difference}


if __name__ == "__main__":
    main()
