"""What held-out music costs in likelihood: by the logits of a network, and by frequencies that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from course_lib.measure.piece import Roll


def frame_nll(logits: Sequence[NDArray[np.floating]], frames: Sequence[Roll]) -> float:
    """Negative log-likelihood of songs in nats a frame, each pitch of a frame an independent Bernoulli.

    The sum over pitches is averaged over the predicted frames of all songs together, so that a long song weighs more
    than a short one; first frames are neither predicted nor counted. nan where no song has a second frame.
    Source: the code of Bai et al. (2018).

    Args:
        logits: Of each song `(T - 1, pitches)`, what the sigmoid takes: row t predicts frame t + 1 from those before.
        frames: Of each song bool `(T, pitches)`.

    Raises:
        ValueError: Where logits and songs do not match.
    """
    if len(logits) != len(frames):
        raise ValueError(f"frame_nll got logits of {len(logits)} songs and frames of {len(frames)}")
    nats, count = 0.0, 0
    for predicted, song in zip(logits, frames, strict=True):
        fine = song.dtype == bool and song.ndim == 2 and len(song) > 0
        if not fine or predicted.shape != (len(song) - 1, song.shape[1]):
            raise ValueError(
                "logits must be (T - 1, pitches) and frames bool (T, pitches) with T of 1 or more,"
                f" but these are {predicted.shape} and {song.dtype} {song.shape}: predict frames 2 to T"
            )
        # -log sigmoid(x) = log(1 + exp(-x)), which neither overflows nor rounds a sure probability to 1
        against = np.where(song[1:], np.negative(predicted), predicted).astype(float)
        nats += float(np.logaddexp(0, against).sum())
        count += len(predicted)
    return nats / count if count else nan


def marginal_nll(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """`frame_nll` of test songs, in nats a frame, where each pitch sounds as often as in training.

    What a model scores that learned nothing but these frequencies: JSB Chorales 11.09, Nottingham 10.26. Half a frame
    is added for sound and for silence of each pitch, so that a pitch never heard in training is improbable and not
    impossible. Source: Krichevsky and Trofimov (1981).

    Raises:
        ValueError: Without training songs, and for songs that are not bool with the same number of pitches.
    """
    if not train or any(song.dtype != bool or song.shape[1:] != train[0].shape[1:] for song in train):
        raise ValueError("marginal_nll needs training songs, each bool (T, pitches) with the same pitches")
    heard = np.concatenate(train)
    logits = np.log(heard.sum(0) + 0.5) - np.log((~heard).sum(0) + 0.5)
    return frame_nll([np.broadcast_to(logits, (max(0, len(song) - 1), len(logits))) for song in test], test)


def ngram_nll(
    training: Sequence[NDArray[np.integer]], held_out: Sequence[NDArray[np.integer]], classes: int, order: int
) -> list[float]:
    """Negative log-likelihood of songs in nats a token, by n-gram models: `order` means of `ngram_nats` over all songs.

    The arguments and errors are those of `ngram_nats`. Entry n - 1 is of the n-gram model, which sees the n - 1 tokens
    before.
    """
    return ngram_nats(training, held_out, classes, order).mean(axis=1).tolist()


def ngram_nats(
    training: Sequence[NDArray[np.integer]], held_out: Sequence[NDArray[np.integer]], classes: int, order: int
) -> NDArray[np.float64]:
    """Negative log-likelihood of each token of songs in nats, by n-gram models of the training songs.

    Where training has C tokens after a history h, T different ones, their counts are mixed with the model of a
    history h' one token shorter: P(w | h) = (c(hw) + T P(w | h')) / (C + T), down to 1 / `classes`; so no token is
    impossible. At the beginning of a song the history is as long as there are tokens. As in training a transformer,
    first tokens are neither predicted nor counted.
    Source: Witten and Bell (1991; their method C), interpolated as in Chen and Goodman (1999).

    Args:
        training: Songs `(tokens,)`, integers from 0 to `classes` - 1.
        held_out: Songs of the same kind.
        classes: Size of the vocabulary.
        order: The longest n-gram, in tokens.

    Returns:
        `(order, tokens)`: row n - 1 is of the n-gram model; the tokens are all but the first of each song, one song
        after another.

    Raises:
        ValueError: For nothing to count or to predict, and for tokens out of range.
    """
    if order < 1:
        raise ValueError(f"order is {order}, but an n-gram has 1 token or more")
    if not any(map(len, training)) or max(map(len, held_out), default=0) < 2:
        raise ValueError("ngram_nll needs training songs with tokens, and a held-out song of 2 tokens or more")
    songs = [*training, *held_out]
    tokens = np.concatenate(songs)
    if tokens.min() < 0 or tokens.max() >= classes:
        raise ValueError(f"tokens are {tokens.min()} to {tokens.max()}, but must be 0 to {classes - 1}: set classes")
    places = np.concatenate([np.arange(len(song)) for song in songs])
    trained = np.arange(len(tokens)) < sum(map(len, training))
    history = np.zeros(len(tokens), np.int64)  # one number for the tokens before; equal tokens, equal numbers
    asked = np.flatnonzero(~trained)
    p = np.full(len(asked), 1 / classes)
    nats = []
    for seen in range(order):
        numbers, grams = np.unique(history * classes + tokens, return_inverse=True)
        now = places >= max(1, seen)  # elsewhere the history would reach into the song before
        count = np.bincount(grams[now & trained], minlength=len(numbers))
        past = history[asked]
        total = np.bincount(history[now & trained], minlength=len(tokens))[past]
        different = np.bincount(numbers[count > 0] // classes, minlength=len(tokens))[past]
        different = np.maximum(1, different)  # a history never seen leaves p as it is
        p = np.where(now[asked], (count[grams[asked]] + different * p) / (total + different), p)
        nats.append(-np.log(p[places[asked] > 0]))
        history = np.roll(grams, 1)
    return np.array(nats)


def markov_nll(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """`frame_nll` of test songs, in nats a frame, where each pitch sees nothing but its own last value.

    One table a pitch, of how often it sounded after sounding and after silence, half a frame added to each count. The
    cells of a band, reshaped to `(T, 640)`, are taken for pitches.
    """
    before, now = (np.concatenate(part) for part in zip(*((song[:-1], song[1:]) for song in train), strict=True))
    logits = []
    for state in (False, True):
        sounded, silent = ((before == state) & (now == value) for value in (True, False))
        logits.append(np.log(sounded.sum(0) + 0.5) - np.log(silent.sum(0) + 0.5))
    return frame_nll([np.where(song[:-1], logits[1], logits[0]) for song in test], test)


def hold_last(blocks: Roll, steps: int) -> Roll:
    """The last step of each block `(n, steps, …)` held for the next `steps`: `(n, steps, …)`."""
    return np.repeat(blocks[:, -1:], steps, axis=1)


def repeat_block(blocks: Roll, steps: int) -> Roll:
    """Each block `(n, any steps, …)` played again, from its first step on: `(n, steps, …)`."""
    return blocks[:, np.arange(steps) % blocks.shape[1]]


def block_table(blocks: Roll, following: Roll, held_out: Roll) -> NDArray[np.float64]:
    """Probabilities of the next block by a table of how long each pitch sounded in the last one.

    A pitch of an instrument is in one of five states: it sounded at 0, 1 to 2, 3 to 5, 6 to 9, or 10 and more steps of
    the last block. For each state it is counted how often each cell of the next block sounded, in `blocks`
    `(n, steps, 128, …)` and what followed them, `(n, length, 128, …)`. A share counted from few blocks is drawn to that
    of all pitches in the same state, which is worth 4 blocks.

    Returns:
        For the blocks `held_out` `(m, steps, 128, …)`: float `(m, length, 128, …)`.
    """
    states, state = (np.digitize(rolls.sum(1), (1, 3, 6, 10))[:, None] for rolls in (blocks, held_out))
    probability = np.zeros((len(held_out), *following.shape[1:]))
    for each in range(5):
        here = states == each
        sounded, counted = (here & following).sum(0), here.sum(0)
        of_all_pitches = (sounded.sum(1, keepdims=True) + 0.5) / (counted.sum(1, keepdims=True) + 1)
        probability += np.where(state == each, (sounded + 4 * of_all_pitches) / (counted + 4), 0)
    return probability


def block_nll(probability: NDArray[np.floating], truth: Roll) -> float:
    """Negative log-likelihood of blocks `(n, steps, …)` in nats a step, each cell an independent Bernoulli."""
    sure = np.clip(probability, 1e-7, 1 - 1e-7)
    nats = -np.where(truth, np.log(sure), np.log1p(-sure))
    return float(nats.sum() / np.prod(truth.shape[:2]))


def f1(predicted: Roll, truth: Roll) -> float:
    """Agreement in the cells that sound, 0 to 1: the harmonic mean of precision and recall. nan where none does."""
    sounding = predicted.sum() + truth.sum()
    return float(2 * (predicted & truth).sum() / sounding) if sounding else nan


def pca(train: Roll, test: Roll, numbers: int) -> NDArray[np.float64]:
    """Test pieces `(m, …)` rebuilt from `numbers` numbers each, the principal components of training `(n, …)`."""
    flat, held_out = (pieces.reshape(len(pieces), -1).astype("float64") for pieces in (train, test))
    mean = flat.mean(0)
    _, _, components = svds(flat - mean, numbers, random_state=np.random.default_rng(0))
    rebuilt = (held_out - mean) @ components.T @ components + mean
    return rebuilt.reshape(test.shape)


def nearest(train: Roll, test: Roll) -> Roll:
    """For each test piece `(m, …)` the training piece that differs from it in the fewest cells: `(m, …)`."""
    flat, held_out = (pieces.reshape(len(pieces), -1).astype("float32") for pieces in (train, test))
    differing = held_out.sum(1)[:, None] + flat.sum(1) - 2 * held_out @ flat.T
    return train[differing.argmin(1)]


def noise(rolls: Roll, rng: np.random.Generator, by_pitch: bool = False) -> Roll:
    """Rolls `(n, steps, 128, …)` of chance alone, each instrument as dense as in `rolls`.

    With `by_pitch` each pitch sounds as often as it does there, else all do equally often.
    """
    axes = (0, 1) if by_pitch else (0, 1, 2)
    return rng.random(rolls.shape) < rolls.mean(axes, keepdims=True)
