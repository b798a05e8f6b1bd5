"""What held-out music costs in likelihood: by the logits of a network, and by frequencies that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from numpy.typing import NDArray

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
    """Negative log-likelihood of songs in nats a token, by n-gram models of the training songs.

    Where training has C tokens after a history h, T different ones, their counts are mixed with the model of a
    history h' one token shorter: P(w | h) = (c(hw) + T P(w | h')) / (C + T), down to 1 / `classes`; so no token is
    impossible. At the beginning of a song the history is as long as there are tokens. As in training a transformer,
    first tokens are neither predicted nor counted; the mean is over all others of all songs together.
    Source: Witten and Bell (1991; their method C), interpolated as in Chen and Goodman (1999).

    Args:
        training: Songs `(tokens,)`, integers from 0 to `classes` - 1.
        held_out: Songs of the same kind.
        classes: Size of the vocabulary.
        order: The longest n-gram, in tokens.

    Returns:
        `order` numbers: entry n - 1 is of the n-gram model, which sees the n - 1 tokens before.

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
    p = np.full(len(tokens), 1 / classes)
    nats = []
    for seen in range(order):
        numbers, grams = np.unique(history * classes + tokens, return_inverse=True)
        now = places >= max(1, seen)  # elsewhere the history would reach into the song before
        count = np.bincount(grams[now & trained], minlength=len(numbers))
        total = np.bincount(history[now & trained], minlength=len(tokens))[history]
        different = np.bincount(numbers[count > 0] // classes, minlength=len(tokens))[history]
        different = np.maximum(1, different)  # a history never seen leaves p as it is
        p = np.where(now, (count[grams] + different * p) / (total + different), p)
        nats.append(float(-np.log(p[~trained & (places > 0)]).mean()))
        history = np.roll(grams, 1)
    return nats
