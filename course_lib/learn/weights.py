"""Weights of a trained network as a small file: float16, with what tells of which network and training they are."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from course_lib import files
from course_lib.learn import checkpoint


def save(path: Path, model: keras.Model, **about: Any) -> None:
    """Write the weights of a network, each to eight binary digits, and `about`, which JSON can hold.

    Raises:
        ValueError: a weight is no finite number, or too large for float16.
    """
    arrays = {"about": np.array(json.dumps(about)), "network": np.array(network_hash(model))}
    for number, weight in enumerate(model.weights):
        arrays[f"weight {number}"] = value = _rounded(keras.ops.convert_to_numpy(weight))
        if not np.isfinite(value).all():
            raise ValueError(
                f"The weights are not written to {path}: {weight.path} has values that float16 cannot hold (beyond "
                "65504, or no numbers); train with a lower learning rate or clipped gradients."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file as of `np.savez_compressed`, but a tenth smaller.
    with files.atomic_write(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_BZIP2) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Numbers to eight binary digits, as float16: the three that it has beyond them hardly compress."""
    digits, exponent = np.frexp(values)
    with np.errstate(over="ignore"):
        return np.ldexp(np.round(digits * 256) / 256, exponent).astype("float16")


def about(path: Path) -> dict[str, Any]:
    """What was said of the weights when they were saved.

    Raises:
        ValueError: no such file, or a damaged one.
    """
    return json.loads(_read(path, "about")[0].item())


def load(path: Path, model: keras.Model) -> None:
    """Give a network the weights that were saved of one with the same layers and shapes.

    Raises:
        ValueError: no such file, a damaged one, or one of another network.
    """
    [network] = _read(path, "network")
    if network.item() != network_hash(model):
        there = about(path)
        told = ", ".join(f"{name} {there[name]}" for name in ("notebook", "profile", "seed", "keras") if name in there)
        raise ValueError(
            f"The weights in {path} are of another network ({told}): build it with the sizes and the vocabulary that "
            "weights.about tells, and with the layers of that notebook."
        )
    values = _read(path, *(f"weight {number}" for number in range(len(model.weights))))
    checkpoint.assign(model.weights, [value.astype("float32") for value in values])


def network_hash(model: keras.Model) -> str:
    """Sixty-four digits for layers and shapes, whatever the names, the training and the precision."""
    layers = [part for layer in model.layers for part in getattr(layer, "layers", [layer])]
    return checkpoint.fingerprint(layers, str([tuple(weight.shape) for weight in model.weights]))


def _read(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of a file, and no others: all of it need not be unpacked to know what it is."""
    if not path.exists():
        raise ValueError(
            f"There are no weights in {path}: run the notebook with --profile night and copy its weights folder there "
            "(CONTRIBUTING.md, Add results)."
        )
    try:
        with np.load(path) as saved:
            return [saved[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"The weights in {path} are damaged: fetch or copy the file again.") from error
