"""An epoch of the piano's VAE of notebook 09 where freed memory is kept, as in a run, and where it is not (Linux)."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
from lessons import definitions

from course_lib.lab.execute import ALLOCATOR

BATCHES, BATCH, REPEATS = 200, 32, 3


def main() -> dict[str, float]:
    """Seconds an epoch, the medians of processes taken in turns, and their ratio."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    took: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(REPEATS):
        for name, environment in {"kept": plain | ALLOCATOR, "given back": plain}.items():
            command = [sys.executable, __file__, "epoch"]
            child = subprocess.run(command, env=environment, capture_output=True, check=True)
            took[name].append(float(child.stdout.split()[-1]))
    seconds = {name: float(np.median(each)) for name, each in took.items()}
    ratio = seconds["given back"] / seconds["kept"]
    print(
        f"An epoch of a VAE, {BATCHES} batches of {BATCH}: {seconds['kept']:.1f} s where freed memory is kept, "
        f"{seconds['given back']:.1f} s without, {ratio:.2f} times faster"
    )
    return seconds | {"ratio": ratio}


def epoch() -> float:
    """Train for two epochs; return the seconds of the second."""
    settings = SimpleNamespace(
        block=32, filters=(32, 64, 128), warm_up=0, learning_rate=0.001, weight_decay=0.0, falling=0.0
    )
    given = {"settings": settings, "likelihood": "gaussian", "latent": 16}
    lesson = SimpleNamespace(**definitions("09", "encoder", "decoder", "vae", **given))
    blocks = (np.random.default_rng(0).random((BATCHES * BATCH, 32, 128, 1)) < 0.02).astype("float32")
    targets = {"reconstruction": blocks, "KL": np.zeros(len(blocks), "float32")}
    model = lesson.vae(lesson.encoder(16), lesson.decoder(16), 0.1, 1.0, 1000)
    for _ in range(2):
        started = time.perf_counter()
        model.fit(blocks, targets, batch_size=BATCH, verbose=0)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(epoch()) if sys.argv[1:] else main()
