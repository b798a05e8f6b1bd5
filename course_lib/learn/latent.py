"""Music in latent space, after Tham & Kim (2021): encoding, decoding, generation block by block, and style.

A latent array has the shape `(…, 5, K)`: a vector of K numbers for each instrument, in the order of the band.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from course_lib.music import band, band_data


def encode(encoders: Sequence[keras.Model], blocks: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """Bool blocks ``(n, steps, 128, 5)`` to the means of their latent vectors, float32 ``(n, 5, K)``.

    Each encoder takes its instrument's ``(n, steps, 128, 1)`` to ``(n, K + 1)``: K means, and a log-deviation
    that is dropped.
    """
    means = []
    for start in range(0, len(blocks), batch_size):
        part = blocks[start : start + batch_size].astype("float32")
        stats = [encoder.predict_on_batch(part[..., i : i + 1]) for i, encoder in enumerate(encoders)]
        means.append(np.stack(stats, axis=1)[..., :-1])
    return np.concatenate(means)


def decode(decoders: Sequence[keras.Model], latents: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """Latents ``(…, 5, K)`` to what the decoders make of them, float32 ``(…, steps, 128, 5)``."""
    flat, rolls = latents.reshape(-1, *latents.shape[-2:]), []
    for start in range(0, len(flat), batch_size):
        part = flat[start : start + batch_size].swapaxes(0, 1)
        made = [decoder.predict_on_batch(vectors) for decoder, vectors in zip(decoders, part, strict=True)]
        rolls.append(np.concatenate(made, axis=-1))
    return np.concatenate(rolls).reshape(*latents.shape[:-2], *rolls[0].shape[1:])


def active_dimensions(means: np.ndarray) -> int:
    """How many dimensions of ``(n, K)`` means differ between pieces: a variance above 0.01 (Burda et al. 2016).

    An inactive dimension says nothing about the music; none active is posterior collapse.
    """
    return int((means.var(axis=0) > 0.01).sum())


def style(
    encoders: Sequence[keras.Model], bands: band_data.Bands, songs: Sequence[int], steps: int
) -> list[np.ndarray]:
    """The different latent vectors in the blocks of chosen songs: for each instrument, ``(vectors, K)``.

    Several songs make a hybrid. Raises ValueError for no song, and for one that is shorter than a block of ``steps``
    or in which an instrument is silent.
    """
    if not len(songs):
        raise ValueError("A style needs a song: choose one, or two for a hybrid.")
    blocks = []
    for song in songs:
        roll, name = bands[song], bands.names[song]
        if len(roll) < steps:
            raise ValueError(f"{name} has {len(roll)} steps, and a style needs {steps} or more: choose a longer song.")
        silent = [instrument for i, instrument in enumerate(band.INSTRUMENTS) if not roll[..., i].any()]
        if silent:
            missing = " and ".join(silent)
            raise ValueError(f"{name} has no {missing}, so it gives no style: choose a song with all five instruments.")
        blocks.append(bands.part([song]).excerpts(steps, most=len(roll)))
    latents = encode(encoders, np.concatenate(blocks))
    return [np.unique(latents[:, i], axis=0) for i in range(len(encoders))]


def check(noise_sd: float = 0.0, alpha: float = 0.0) -> None:
    """Raises ValueError for settings of :func:`generate` that are out of range."""
    if not 0 <= noise_sd < np.inf:
        raise ValueError(f"noise_sd is {noise_sd}: it must be 0 (no noise) or a number above.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}: it must lie between 0 (the style is not heard) and 1 (only the style).")


def interpolated(latents: np.ndarray, drawn: np.ndarray, alpha: float) -> np.ndarray:
    """z' = alpha s + (1 - alpha) z, for every instrument: both ``(…, 5, K)``. ValueError: alpha outside 0 to 1."""
    check(alpha=alpha)
    return alpha * drawn + (1 - alpha) * latents


def generate(
    networks: Sequence[keras.Model],
    start: np.ndarray,
    blocks: int,
    rng: np.random.Generator,
    noise_sd: float = 1.0,
    style: Sequence[np.ndarray] | None = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """Latents of the next blocks after the first ones: ``(pieces, 5, K)`` gives ``(pieces, blocks, 5, K)``.

    In each block Gaussian noise of deviation ``noise_sd`` is added to every instrument's last vector. Then the
    first network takes the piano's vector ``(n, K)`` to its next one, and each other network the piano's next and
    its own instrument's last, ``(n, 2 K)``, to its next. With a :func:`style`, every instrument's last vector is
    first :func:`interpolated` with one drawn from its own set. Raises ValueError for settings out of range.
    """
    check(noise_sd, alpha)
    latents, result = start, []
    for _ in range(blocks):
        if style is not None:
            drawn = np.stack([vectors[rng.integers(len(vectors), size=len(start))] for vectors in style], axis=1)
            latents = interpolated(latents, drawn, alpha)
        latents = following(networks, latents + noise_sd * rng.normal(size=latents.shape))
        result.append(latents)
    return np.stack(result, axis=1)


def following(networks: Sequence[keras.Model], latents: np.ndarray) -> np.ndarray:
    """The vectors of the next block, ``(n, 5, K)`` to ``(n, 5, K)``: the piano's, then the others' given it."""
    piano = networks[0].predict_on_batch(latents[:, 0].astype("float32"))
    others = [
        network.predict_on_batch(np.concatenate([piano, latents[:, i]], axis=-1).astype("float32"))
        for i, network in enumerate(networks)
        if i
    ]
    return np.stack([piano, *others], axis=1)
