"""Drawing from a model's output: rules from probabilities to notes, and loops that generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from course_lib.learn.stepper import Stepper


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """Softmax of ``logits / temperature`` over the last axis, cut to the likeliest classes.

    ``temperature`` 0 puts everything on the likeliest class (argmax). ``top_k`` keeps the k likeliest classes
    (Fan et al. 2018). ``top_p`` keeps the smallest set of likeliest classes whose probability reaches p
    (nucleus sampling, Holtzman et al. 2020); the likeliest always stays. Shape in and out
    ``(…, classes)``, float64.
    Raises ValueError for a setting out of range.
    """
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature}: it must be 0 (argmax) or a number above.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1, or None to keep every class.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must lie above 0 and up to 1, or be None.")
    logits = np.asarray(logits, "float64")
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranks = np.argsort(order, axis=-1, kind="stable")
    if temperature == 0:
        return (ranks == 0).astype("float64")
    scaled = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    result = np.exp(scaled)
    if top_k is not None:
        result[ranks >= top_k] = 0
    result /= result.sum(axis=-1, keepdims=True)
    if top_p is not None:
        ordered = np.take_along_axis(result, order, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered  # probability of everything likelier
        np.put_along_axis(result, order, np.where(before < top_p, ordered, 0), axis=-1)
        result /= result.sum(axis=-1, keepdims=True)
    return result


def draw(probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class from each distribution: ``(…, classes)`` gives integers ``(…)``."""
    cumulative = np.cumsum(probability, axis=-1)
    threshold = rng.random(cumulative.shape[:-1] + (1,)) * cumulative[..., -1:]
    return (cumulative <= threshold).sum(axis=-1)


def generate(
    stepper: Stepper,
    prompts: np.ndarray,
    length: int,
    rng: np.random.Generator,
    grammar: np.ndarray | None = None,
    **rule,
) -> np.ndarray:
    """``length`` new notes after each prompt: integers ``(batch, prompt)`` give ``(batch, length)``.

    ``grammar`` ``(states, classes)``, as from :func:`course_lib.music.events.grammar`, keeps every row well-formed: the
    state after each class, -1 where it may not come; prompts begin in state 0. ``rule`` is passed to
    :func:`probabilities` (temperature, top_k, top_p). Says so where a prompt is longer than the stepper's memory.
    ValueError: an empty prompt, one that breaks the grammar, or a grammar of another vocabulary.
    """
    if prompts.ndim != 2 or prompts.shape[1] == 0:
        raise ValueError(f"prompts has shape {prompts.shape}: give (batch, notes) with at least one note each.")
    if 0 < stepper.memory < prompts.shape[1] - 1:
        print(
            f"The prompt has {prompts.shape[1]} tokens and the memory holds {stepper.memory}: what comes next is made "
            f"from the last {stepper.memory + 1}, and from earlier ones only as far as these were heard with them."
        )
    states = None if grammar is None else _states_after(grammar, prompts)
    stepper.reset()
    for column in prompts.T:
        logits = stepper.step(column)
    if grammar is not None and grammar.shape[1] != logits.shape[1]:
        raise ValueError(
            f"The grammar is of {grammar.shape[1]} classes and the model has {logits.shape[1]} outputs: give the "
            "grammar of the vocabulary that the model was trained with."
        )
    result = np.empty((len(prompts), length), "int32")
    for position in range(length):
        if grammar is not None:
            logits = np.where(grammar[states] >= 0, logits, -np.inf)
        result[:, position] = draw(probabilities(logits, **rule), rng)
        if grammar is not None:
            states = grammar[states, result[:, position]]
        if position < length - 1:
            logits = stepper.step(result[:, position])
    return result


def _states_after(grammar: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The state of the grammar after each prompt, integers ``(batch,)``."""
    if prompts.min() < 0 or prompts.max() >= grammar.shape[1]:
        raise ValueError(
            f"A prompt has tokens from {prompts.min()} to {prompts.max()}, and the grammar knows 0 to "
            f"{grammar.shape[1] - 1}: give tokens of its vocabulary."
        )
    states = np.zeros(len(prompts), int)
    for place, column in enumerate(prompts.T):
        states = grammar[states, column]
        if (states < 0).any():
            row = int(np.argmax(states < 0))
            raise ValueError(
                f"Prompt {row} is ill-formed: the grammar does not allow token {column[row]} at place {place}. "
                "Give the beginning of a song, from its first token on."
            )
    return states


def threshold_rule(threshold: float):
    """The rule of morris-leou: a pitch sounds where its probability is above ``threshold`` (0 to 1)."""
    return lambda probability: probability > threshold


def chance_rule(rng: np.random.Generator):
    """Each pitch sounds with its own probability."""
    return lambda probability: rng.random(probability.shape) < probability


def surest_rule(share: float | np.ndarray):
    """The rule for blocks of which a known share of cells should sound: the likeliest ones.

    ``share`` (0 to 1), one for all or one for each instrument, is met in every block ``(batch, time, 128, n)``, however
    sure or unsure a network that hears its own music has become; fewer cells sound where probabilities tie.
    """

    def rule(probability: np.ndarray) -> np.ndarray:
        cells = probability.reshape(len(probability), -1, probability.shape[-1])
        shares = np.broadcast_to(share, cells.shape[-1])
        lowest = [np.quantile(cells[..., i], 1 - each, axis=1) for i, each in enumerate(shares)]
        return probability > np.stack(lowest, axis=-1)[:, None, None]

    return rule


def notes_rule(counts: int | Sequence[int], rng: np.random.Generator):
    """The rule of chen-horg-zhuo and tham-kim for bands: fixed numbers of notes, drawn from a softmax.

    ``counts`` is a number of notes for all instruments together, or one for each instrument: so many different
    pitches are drawn at every step ``(…, 128, 5)``, each time by the softmax of the logits of what is left.
    """

    def rule(probability: np.ndarray) -> np.ndarray:
        # The largest of logits + Gumbel noise is a draw from their softmax, and the n largest are n draws
        # without replacement.
        logits = np.log(probability + 1e-12) - np.log1p(1e-12 - probability)
        scores = logits + rng.gumbel(size=logits.shape)
        if isinstance(counts, int):
            cells = scores.reshape(*scores.shape[:-2], -1)
            return _largest(cells, counts).reshape(scores.shape)
        chosen = [_largest(scores[..., channel], count) for channel, count in enumerate(counts)]
        return np.stack(chosen, axis=-1)

    return rule


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """True at the ``count`` largest scores of the last axis."""
    ranks = np.argsort(np.argsort(-scores, axis=-1), axis=-1)
    return ranks < count


def generate_blocks(
    predict: Callable[[np.ndarray], np.ndarray],
    prompts: np.ndarray,
    length: int,
    rule: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """``length`` new steps after each prompt, a block at a time: bool ``(batch, length, …)``.

    ``predict`` takes as many last steps as the prompts have, float32 ``(batch, steps, …)``, and gives logits of
    the next block ``(batch, block, …)``; ``rule`` turns their probabilities into that block. Says so when all
    came out silent.
    """
    steps = prompts.shape[1]
    rolls = prompts.astype("float32")
    while rolls.shape[1] < steps + length:
        logits = np.asarray(predict(rolls[:, -steps:]), "float64")
        block = rule(expit(logits)).astype("float32")
        rolls = np.concatenate([rolls, block], axis=1)
    result = rolls[:, steps : steps + length].astype(bool)
    _say_if_silent(result)
    return result


def _say_if_silent(result: np.ndarray) -> None:
    if not result.any():
        print("Every generated step is silent: lower the threshold, or draw each pitch by chance.")


def generate_frames(
    stepper: Stepper, prompts: np.ndarray, length: int, rule: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """``length`` new frames after each prompt: bool ``(batch, prompt, pitches)`` gives ``(batch, length, pitches)``.

    ``rule`` turns the probabilities ``(batch, pitches)`` of the next frame into that frame. Says so when every
    frame came out silent. Raises ValueError for an empty prompt.
    """
    if prompts.ndim != 3 or prompts.shape[1] == 0:
        raise ValueError(f"prompts has shape {prompts.shape}: give (batch, frames, pitches) with a frame or more.")
    stepper.reset()
    for frame in prompts.swapaxes(0, 1):
        logits = stepper.step(frame.astype("float32"))
    result = np.zeros((len(prompts), length, prompts.shape[2]), bool)
    for position in range(length):
        result[:, position] = rule(expit(logits.astype("float64")))
        logits = stepper.step(result[:, position].astype("float32"))
    _say_if_silent(result)
    return result
