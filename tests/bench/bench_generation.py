"""Generation by one compiled step a note, against predicting over the last 100 notes each time."""

import time

import keras
import numpy as np
from keras import layers

from course_lib.learn.stepper import Stepper

WINDOW, CLASSES, NOTES, REPEATS = 100, 500, 20, 5


def main() -> dict[str, float]:
    """Milliseconds a note of each way, medians over repeats taken in turns, for the 2 × LSTM-256 build."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((WINDOW,), dtype="int32"),
            layers.Embedding(CLASSES, 64),
            layers.LSTM(256, return_sequences=True),
            layers.LSTM(256),
            layers.Dense(CLASSES),
        ]
    )
    window = np.random.default_rng(0).integers(0, CLASSES, (1, WINDOW))
    stepper = Stepper(model)
    for note in window[0]:
        logits = stepper.step([note])
    difference = np.abs(logits - model.predict(window, verbose=0)).max()
    ways = {
        "predict": lambda: model.predict(window, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(window),
        "step": lambda: stepper.step(window[:, 0]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            way()
            started = time.perf_counter()
            for _ in range(NOTES):
                way()
            times[name].append((time.perf_counter() - started) / NOTES * 1000)
    median = {name: float(np.median(values)) for name, values in times.items()}
    for name in ("predict", "predict_on_batch"):
        target = " (target 50)" if name == "predict" else ""
        print(
            f"Generation, 2 x LSTM-256: {name} over {WINDOW} notes {median[name]:.1f} ms, one step "
            f"{median['step']:.2f} ms a note, {median[name] / median['step']:.0f} times faster{target}"
        )
    print(f"Generation, 2 x LSTM-256: largest difference of a logit {difference:.1e} (limit 1e-4)")
    return {**median, "ratio": median["predict"] / median["step"], "difference": float(difference)}


if __name__ == "__main__":
    main()
