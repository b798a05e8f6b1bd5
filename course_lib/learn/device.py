"""How networks are computed, in one place: the memory of a GPU, the precision, and XLA.

`COURSE_PRECISION`: float32 (default), mixed_float16 or mixed_bfloat16: 16 bits, for which GPUs are built, with weights
kept in float32. `COURSE_XLA`: auto (default: Keras compiles the networks that it can), on or off.
"""

from __future__ import annotations

import os

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
XLA = {"auto": None, "on": True, "off": False}
MEMORY_GROWTH = {  # a GPU's memory is taken as it is needed, so that others may use the rest
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def precision() -> str:
    """What networks of this process compute in.

    Raises:
        ValueError: `COURSE_PRECISION` is none of `PRECISIONS`.
    """
    chosen = os.environ.get("COURSE_PRECISION", "float32")
    if chosen not in PRECISIONS:
        raise ValueError(f"COURSE_PRECISION is {chosen!r}: set it to {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.")
    return chosen


def xla() -> bool | None:
    """Whether XLA compiles networks; None leaves it to Keras.

    Raises:
        ValueError: `COURSE_XLA` is none of `XLA`.
    """
    chosen = os.environ.get("COURSE_XLA", "auto")
    if chosen not in XLA:
        raise ValueError(f"COURSE_XLA is {chosen!r}: set it to auto, on or off.")
    return XLA[chosen]


def prepare() -> None:
    """Let Keras make the networks from here on in the precision chosen.

    Raises:
        ValueError: `COURSE_PRECISION` or `COURSE_XLA` is wrong.
    """
    import keras  # a lesson without a network need not wait for it

    xla()
    keras.config.set_dtype_policy(precision())


def scaled(optimizer):
    """The optimizer for a loop of one's own; in float16 with its loss scaled, as gradients would vanish there.

    `Model.compile` does the same for `Model.fit`.
    """
    import keras

    return keras.optimizers.LossScaleOptimizer(optimizer) if precision() == "mixed_float16" else optimizer


def use_xla(model) -> None:
    """Let XLA compile a model or not, as chosen; before it trains or predicts, which is when it is compiled."""
    if xla() is not None:
        model.jit_compile = xla()
