"""How networks are computed, in one place: the memory of a GPU, the precision, and XLA.

`COURSE_PRECISION`: float32 (default), mixed_float16 or mixed_bfloat16: 16 bits, for which GPUs are built, with weights
kept in float32. `COURSE_XLA`: auto (default: Keras compiles what it can where there is a GPU, on a CPU only what
asks for it, as notebook 11 does), on or off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
XLA = {"auto": None, "on": True, "off": False}
MEMORY_GROWTH = {  # a GPU's memory is taken as it is needed, so that others may use the rest
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def precision() -> str:
    """What `train.fit` and `adversarial` train networks in; all else computes in float32.

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
    """Let Keras' own layers of a model compute in the precision chosen, but for the last, from its last weights on.

    So its answers are float32 whatever the rest computes in, as is what a lesson defines or computes beside it.
    """
    import keras  # a lesson without a network need not wait for it

    if precision() == "float32":
        return
    networks = [part for part in (model, *_parts(model)) if isinstance(part, keras.Model)]
    answers = [id(answer) for network in networks for answer in getattr(network, "outputs", None) or []]
    kept = {id(network) for network in networks}
    for network in networks:
        for layer in reversed(network.layers):
            kept.add(id(layer))
            if layer.weights:
                break
    for layer in _parts(model):
        own = [id(each) for each in keras.tree.flatten(getattr(layer, "output", None))]  # None: a part of another layer
        if id(layer) not in kept and not set(own) & set(answers):
            layer.dtype_policy = precision()
    model.train_function = model.test_function = model.predict_function = None  # those were traced in float32


def _parts(layer) -> Iterator:
    """The layers in a layer or network, at any depth, without those of a lesson's own and what they are made of."""
    import keras

    for part in layer._flatten_layers(include_self=False, recursive=False):
        if isinstance(part, keras.Model) or type(part).__module__.startswith("keras."):
            yield part
            yield from _parts(part)


def scaled(optimizer):
    """The optimizer; in float16 with its loss scaled, as gradients would vanish there."""
    import keras

    done = isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or precision() != "mixed_float16"
    return optimizer if done else keras.optimizers.LossScaleOptimizer(optimizer)


def use_xla(model) -> None:
    """Let XLA compile a model or not, as chosen; before it trains or predicts, which is when it is compiled."""
    if xla() is not None:
        model.jit_compile = xla()
