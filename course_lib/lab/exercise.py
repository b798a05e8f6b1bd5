"""What the checks of exercises say: exact, close, or how far off."""

from __future__ import annotations

from typing import Any

import numpy as np

CLOSE = 0.05  # of the right answer: a slip of rounding or of one step, not of the idea


def check(name: str, answer: Any, right: Any, tolerance: float = 1e-6) -> None:
    """Print that an answer is exact.

    Args:
        name: what was asked, as the sentence is to name it.
        answer: a number, an array, or anything that can be compared.
        right: the right answer, of the same kind.
        tolerance: of numbers, as a share of the right one.

    Raises:
        AssertionError: with one sentence that says close, or how far off. An autograder counts both as wrong.
    """
    try:
        given, wanted = np.asarray(answer, float), np.asarray(right, float)
    except (TypeError, ValueError):
        given, wanted = None, None
    if given is None or wanted is None:
        assert answer == right, f"{name}: {answer!r}, where {right!r} is right."
    else:
        assert given.shape == wanted.shape, f"{name}: its shape is {given.shape}, where {wanted.shape} is right."
        off = float(np.max(np.abs(given - wanted), initial=0))
        scale = float(np.max(np.abs(wanted), initial=0)) or 1.0
        shown = f"{answer} where {right} is right" if given.ndim == 0 else "the largest difference"
        close = "close, but not exact" if off <= CLOSE * scale else "off"
        assert off <= tolerance * scale, f"{name}: {close}, by {off:.3g} ({shown})."
    print(f"{name}: exact")
