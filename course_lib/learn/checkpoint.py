"""Trainings on disk: what decides how one goes on, its last state, and how it ended."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import keras
import numpy as np

from course_lib import files


def fingerprint(parts: Sequence[Any], *content: Any) -> str:
    """Sixty-four digits for all that decides how training goes on from a checkpoint, but its length.

    `parts` are layers, optimizers and losses, known by their configuration (but for the name that Keras counts up in
    each process); functions by their name and own code, not that of what they call, so that an edited loss trains anew.
    """
    described = [_described(part) for part in parts]
    digest = hashlib.sha256(re.sub(r"'name': '[^']*'| at 0x[0-9a-f]+", "", repr(described)).encode())
    for each in content:
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()


def _described(part: Any) -> Any:
    """What a part is by its configuration, or its own code: a function that a lesson changes keeps its name."""
    if hasattr(part, "get_config"):
        return [type(part).__name__, part.get_config()]
    if isinstance(part, partial):
        return [_described(part.func), part.args, part.keywords]
    if isinstance(part, FunctionType):
        closed = [repr(cell.cell_contents) for cell in part.__closure__ or ()]
        return [part.__name__, part.__defaults__, closed, _described(part.__code__)]
    if isinstance(part, CodeType):
        return [part.co_code, part.co_names, part.co_varnames, *map(_described, part.co_consts)]
    if isinstance(part, frozenset):
        return sorted(map(repr, part))  # whose order is another in each process
    return getattr(part, "__name__", part)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds `variables`, and a history beside them, for trainings with the fingerprint `key`."""

    path: Path
    key: str
    variables: Sequence

    def save(self, history: Mapping[str, Any]) -> None:
        """Write all as they are now, several times faster than `Model.save_weights`; a kill leaves the last file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"history {name}": values for name, values in history.items()}
        arrays |= {f"variable {i}": keras.ops.convert_to_numpy(value) for i, value in enumerate(self.variables)}
        with files.atomic_write(self.path) as partial, partial.open("wb") as file:
            np.savez(file, key=self.key, **arrays)

    def restore(self) -> dict[str, np.ndarray]:
        """Put the variables back and return the history; {} where there is no file that fits."""
        try:
            with np.load(self.path) as saved:
                if saved["key"] != self.key:
                    return {}
                values = [saved[f"variable {i}"] for i in range(len(self.variables))]
                history = {name[8:]: saved[name] for name in saved.files if name.startswith("history ")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}
        assign(self.variables, values)
        return history


def assign(variables: Sequence, values: Sequence) -> None:
    """Give each variable its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def best_epoch(figures: Sequence[float]) -> int:
    """The place of the lowest figure, the first of several."""
    return list(figures).index(min(figures))


def summarise(folder: Path, epochs: int, limit: int, seconds: float, watched: str = "", figures=()) -> None:
    """Write `training.json`: how a training ended, and the best epoch (or step) by the figure that was watched."""
    best = best_epoch(figures) if watched else epochs - 1
    summary = {
        "best_epoch": best + 1,
        "epochs": epochs,
        "stopped": "patience" if epochs < limit else "limit",
        "seconds": seconds,
        "watched": watched,
        "best": float(figures[best]) if watched and math.isfinite(figures[best]) else None,
    }
    with files.atomic_write(folder / "training.json") as partial:
        partial.write_text(json.dumps(summary, indent=1))
