"""Generation in latent space, all pieces in a batch, against one piece at a time: pieces a second."""

import time
from types import SimpleNamespace

import keras
import numpy as np
from keras import layers
from lessons import definitions

lesson = SimpleNamespace(**definitions("09", "generate", "decode"))
LATENT, BLOCKS, PIECES, REPEATS = 16, 10, 200, 3
ALONE = 8  # pieces timed one at a time
WIDTHS = {"quick": (32, 64, 128), "paper": (64, 128, 256)}  # of the decoders, in notebook 09
TILES = ((4, 4), (4, 4), (2, 8))
THRESHOLD = 0.3


def main() -> dict[str, float]:
    """Pieces of five instruments and ten blocks a second, medians over repeats taken in turns."""
    keras.utils.set_random_seed(0)
    networks = [next_network(LATENT, 128, 128), *(next_network(2 * LATENT, 128) for _ in range(4))]
    starts = np.random.default_rng(0).normal(size=(PIECES, 5, LATENT))
    result = {}
    for name, filters in WIDTHS.items():
        decoders = [decoder(filters) for _ in range(5)]

        def rolls(start, decoders=decoders):
            latents = lesson.generate(networks, start, BLOCKS, np.random.default_rng(0))
            return lesson.decode(decoders, latents) > THRESHOLD

        ways = {"batched": [starts], "alone": list(starts[:ALONE, None])}
        speed: dict[str, list[float]] = {way: [] for way in ways}
        for batches in ways.values():
            rolls(batches[0])
        for _ in range(REPEATS):
            for way, batches in ways.items():
                started = time.perf_counter()
                for batch in batches:
                    rolls(batch)
                speed[way].append(sum(map(len, batches)) / (time.perf_counter() - started))
        median = {way: float(np.median(values)) for way, values in speed.items()}
        ratio = median["batched"] / median["alone"]
        print(
            f"Generation, VAE-NN, 5 instruments x {BLOCKS} blocks, {name} sizes: {median['batched']:.0f} pieces a "
            f"second in a batch of {PIECES} (target 100), {median['alone']:.1f} one at a time, {ratio:.1f} times faster"
        )
        result |= {f"{name} {way}": value for way, value in median.items()} | {f"{name} ratio": ratio}
    return result


def next_network(inputs: int, *units: int) -> keras.Model:
    """MelodyNN, or a ConditionalNN."""
    vector = x = keras.Input((inputs,))
    for width in units:
        x = layers.Dropout(0.2)(layers.Dense(width, activation="relu")(x))
    return keras.Model(vector, layers.Dense(LATENT)(x))


def decoder(filters: tuple[int, ...]) -> keras.Model:
    """A vector to a block ``(32, 128, 1)``."""

    vector = keras.Input((LATENT,))
    x = layers.Reshape((1, 1, filters[-1]))(layers.Dense(filters[-1], activation="relu")(vector))
    for width, tile in zip(filters[-2::-1], TILES[:0:-1], strict=True):
        x = layers.Conv2DTranspose(width, tile, tile, activation="relu")(x)
    return keras.Model(vector, layers.Conv2DTranspose(1, TILES[0], TILES[0])(x))


if __name__ == "__main__":
    main()
