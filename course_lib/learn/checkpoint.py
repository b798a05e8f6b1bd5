"""Trainings on disk: what decides how one goes on, its last state, and how it ended."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import keras
import numpy as np

from course_lib import files


def fingerprint(parts: Sequence[Any], *content: Any) -> str:
    """Sixty-four digits for all that decides how training goes on from a checkpoint, but its length.

    `parts` are layers, optimizers and losses, known by their configuration (but for the name that Keras counts up in
    each process); functions are known by their name and code, so that one who edits a loss trains anew.
    """
    described = [
        [type(part).__name__, part.get_config()] if hasattr(part, "get_config") else _function(part) for part in parts
    ]
    digest = hashlib.sha256(re.sub(r"'name': '[^']*'| at 0x[0-9a-f]+", "", repr(described)).encode())
    for each in content:
        digest.update(np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()


def _function(part: Any) -> list:
    """The name of a function, its code and what it closes over; anything else as it is."""
    code, closed = getattr(part, "__code__", None), getattr(part, "__closure__", None) or ()
    return [getattr(part, "__name__", part), code and _code(code), [repr(cell.cell_contents) for cell in closed]]


def _code(code: CodeType) -> list:
    """What a function does, wherever it is written and whatever its comments say."""
    constants = [_code(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


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
