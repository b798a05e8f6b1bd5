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


def use_precision(model) -> None:
    """Let Keras' own layers of a model compute in the precision chosen, but for those that its answers come from.

    So its logits are float32 whatever the rest computes in, as is what a lesson defines or computes beside it.
    """
    import keras  # a lesson without a network need not wait for it

    if precision() == "float32":
        return
    parts = model._flatten_layers()
    networks = [part for part in parts if isinstance(part, keras.Model)]
    answers = [id(answer) for network in networks for answer in getattr(network, "outputs", None) or []]
    for layer in parts:
        own = keras.tree.flatten(getattr(layer, "output", None))  # None: a part of another layer
        of_keras = type(layer).__module__.startswith("keras.") and layer not in networks
        if of_keras and not any(id(each) in answers for each in own):
            layer.dtype_policy = precision()


def scaled(optimizer):
    """The optimizer; in float16 with its loss scaled, as gradients would vanish there."""
    import keras

    done = isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or precision() != "mixed_float16"
    return optimizer if done else keras.optimizers.LossScaleOptimizer(optimizer)


def use_xla(model) -> None:
    """Let XLA compile a model or not, as chosen; before it trains or predicts, which is when it is compiled."""
    if xla() is not None:
        model.jit_compile = xla()
