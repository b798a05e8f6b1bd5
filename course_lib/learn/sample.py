"""Drawing from a model's output: rules from probabilities to notes, and loops that generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from course_lib.learn.stepper import Stepper


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """Softmax of `logits / temperature`, cut to the likeliest classes: `(…, classes)` to float64 of that shape.

    `top_k` keeps so many of the likeliest classes (Fan et al. 2018); `top_p` the smallest set whose probability
    reaches p (nucleus sampling, Holtzman et al. 2020).

    Raises:
        ValueError: a setting out of range.
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
    result = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
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
    """One class from each distribution: `(…, classes)` gives integers `(…)`."""
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
    """New notes after each prompt: integers `(batch, prompt)` give `(batch, length)`.

    `grammar` `(states, classes)`, as from `music.events.grammar`, keeps every row well-formed: the state after each
    class, -1 where it may not come; prompts begin in state 0. `rule` are settings of `probabilities`.

    Raises:
        ValueError: an empty prompt, one that breaks the grammar, or a grammar of another vocabulary.
    """
    if prompts.ndim != 2 or prompts.shape[1] == 0:
        raise ValueError(f"prompts has shape {prompts.shape}: give (batch, notes) with at least one note each.")
    if 0 < stepper.memory < prompts.shape[1] - 1:
        print(
            f"The prompt has {prompts.shape[1]} tokens and the memory holds {stepper.memory}: what comes next is made "
            f"from the last {stepper.memory + 1}, and from earlier ones only as far as these were heard with them."
        )
    if grammar is None:
        grammar = np.zeros((1, stepper.classes), int)  # any class may follow any
    if grammar.shape[1] != stepper.classes:
        raise ValueError(
            f"The grammar is of {grammar.shape[1]} classes and the model has {stepper.classes} outputs: give the "
            "grammar of the vocabulary that the model was trained with."
        )
    states = _states_after(grammar, prompts)
    stepper.reset()
    for column in prompts.T:
        logits = stepper.step(column)
    result = np.empty((len(prompts), length), "int32")
    for position in range(length):
        logits = np.where(grammar[states] >= 0, logits, -np.inf)
        result[:, position] = draw(probabilities(logits, **rule), rng)
        states = grammar[states, result[:, position]]
        if position < length - 1:
            logits = stepper.step(result[:, position])
    return result


def _states_after(grammar: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The state after each prompt, integers `(batch,)`."""
    if prompts.min() < 0 or prompts.max() >= grammar.shape[1]:
        raise ValueError(
            f"A prompt has tokens from {prompts.min()} to {prompts.max()}, and the model knows 0 to "
            f"{grammar.shape[1] - 1}: give tokens of the vocabulary that it was trained with."
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
    """The rule of morris-leou: a pitch sounds where its probability is above `threshold` (0 to 1)."""
    return lambda probability: probability > threshold


def chance_rule(rng: np.random.Generator):
    """Each pitch sounds with its own probability."""
    return lambda probability: rng.random(probability.shape) < probability


def notes_rule(counts: int | Sequence[int], rng: np.random.Generator):
    """The rule of chen-horg-zhuo and tham-kim for bands: fixed numbers of notes, drawn from a softmax.

    `counts` is a number of notes for all instruments together, or one for each instrument: so many different pitches
    are drawn at every step `(…, 128, 5)`, each time by the softmax of the logits of what is left.
    """

    def rule(probability: np.ndarray) -> np.ndarray:
        # The largest of logits + Gumbel noise is a draw from their softmax, and the n largest are n draws
        # without replacement.
        logits = np.log(probability + 1e-12) - np.log1p(1e-12 - probability)
        scores = logits + rng.gumbel(size=logits.shape)
        if isinstance(counts, int):
            scores = scores.reshape(*scores.shape[:-2], -1, 1)  # as of one instrument
        ranks = np.argsort(np.argsort(-scores, axis=-2), axis=-2)
        return (ranks < counts).reshape(probability.shape)

    return rule


def generate_blocks(
    predict: Callable[[np.ndarray], np.ndarray],
    prompts: np.ndarray,
    length: int,
    rule: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """New steps after each prompt, a block at a time: bool `(batch, length, …)`.

    `predict` takes as many last steps as the prompts have, float32 `(batch, steps, …)`, and gives logits of the next
    block `(batch, block, …)`; `rule` turns their probabilities into that block.
    """
    steps = prompts.shape[1]
    rolls = prompts.astype("float32")
    while rolls.shape[1] < steps + length:
        logits = np.asarray(predict(rolls[:, -steps:]), "float64")
        block = rule(expit(logits)).astype("float32")
        rolls = np.concatenate([rolls, block], axis=1)
    result = rolls[:, steps : steps + length].astype(bool)
    if not result.any():
        print("Every generated step is silent: lower the threshold, or draw each pitch by chance.")
    return result
