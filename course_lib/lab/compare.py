"""All systems side by side: the same measures, against the same held-out music, for whatever runs there are.

A notebook judges its system on its own grid and its own test songs. Here every piece of every system is read
back from its MIDI file, cut to the same length, and set against songs that none of the runs has trained on.
Notebook 13 shows the result.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import symusic

from course_lib import measure, music
from course_lib.lab import record
from course_lib.lab.schema import System

BEATS = 16  # of each piece: four bars, as short as the shortest piece that a system makes
EXCERPTS = 4  # of a song at most, so that long songs do not outweigh short ones
GRID = {"piano": 4, "band": 2}  # steps a beat: the coarsest grid on which a system of the kind works
REAL = "other real music"
FIGURES = ("parameters", "training_seconds", "seconds_per_minute", "copied_share", "longest_copied_run", "overlap")
Measured = list[dict[str, float]]  # of each excerpt


def systems(records: Sequence[record.Record]) -> dict[str, list]:
    """Every system that was recorded, as rows under "piano" and "band"; "notes" say what could not be had.

    Runs are compared with others of the same data, profile and seed: their reference are the songs on which none of
    them trained. The row `REAL` compares half of those songs with the other half.

    Returns:
        Rows with "system", "notebook", "profile", "runs", the means over runs of `FIGURES` ("seconds_per_minute": to
        generate a minute of music at 120 beats a minute; "overlap": mean over measures) and of "overlaps" (by measure,
        0 to 1), and of the first run "piece" (path of a MIDI file) and "folder". What no run has is None, as are the
        overlaps of a system of which a file is gone.
    """
    found: dict[str, list] = {"piano": [], "band": [], "notes": []}
    for kind in record.KINDS:
        rows: list[dict[str, Any]] = []
        chosen = [run for run in record.latest(records) if any(system.kind == kind for system in run.systems)]
        for (data, *_), group in groupby(sorted(chosen, key=_setting), key=_setting):
            alike = list(group)
            try:
                real = _held_out(alike, data, kind)
            except (OSError, ValueError) as error:
                found["notes"].append(f"No overlaps for the {kind} systems trained on {data}: {error}")
                real = []
            rows += _rows(alike, kind, real)
        found[kind] = _means(rows)
    return found


def _setting(run: record.Record) -> tuple[str, str, int]:
    return run.data.name, run.profile, run.seed


def _held_out(runs: Sequence[record.Record], data: str, kind: str) -> list[Measured]:
    """The measures of each song on which none of the runs trained."""
    trained = {name for run in runs for name in run.training_songs}
    rolls: Iterable[np.ndarray]
    if kind == "piano":
        rolls = (_roll(piece.score, kind) for piece in music.corpus.load(data) if piece.name not in trained)
    else:
        with redirect_stdout(io.StringIO()):  # which songs were left out, the notebooks have told
            bands = music.band_data.load(data, GRID[kind])
        rolls = (bands[number] for number, name in enumerate(bands.names) if name not in trained)
    measured = [[_measures(excerpt, kind) for excerpt in _excerpts(roll, BEATS * GRID[kind])] for roll in rolls]
    measured = [song for song in measured if song]
    if len(measured) < 4:
        raise ValueError(f"{len(measured)} songs of {BEATS} beats or more are left on which none of them trained.")
    return measured


def _roll(score: symusic.Score, kind: str) -> np.ndarray:
    """Of a band bool `(time, 128, 5)`; of a piano bool `(time, 128, 2)`: what sounds, and where notes begin."""
    if kind == "band":
        return music.band.from_score(score, GRID[kind])
    return np.stack([of(score, GRID[kind]) for of in (music.frames.from_score, music.frames.onsets)], axis=-1)


def _measures(roll: np.ndarray, kind: str) -> dict[str, float]:
    if kind == "band":
        return measure.band.measures(roll, GRID[kind])
    return measure.piece.measures(roll[..., 0], GRID[kind], onsets=roll[..., 1])


def _excerpts(roll: np.ndarray, steps: int) -> list[np.ndarray]:
    """Excerpts of a song, none overlapping another, evenly spread."""
    starts = np.arange(0, len(roll) - steps + 1, steps)
    starts = starts[np.linspace(0, len(starts) - 1, min(EXCERPTS, len(starts))).astype(int)]
    return [roll[i : i + steps] for i in starts]


def _beginning(roll: np.ndarray, steps: int) -> np.ndarray:
    """The beginning of a generated piece; one that ends before is silent for the rest."""
    return np.pad(roll[:steps], ((0, max(0, steps - len(roll))), (0, 0), (0, 0)))


def _rows(runs: Sequence[record.Record], kind: str, real: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """A row for each system of each run; `real` may be empty."""
    of_kind = [(run, system) for run in runs for system in run.systems if system.kind == kind]
    if real:
        halves = [[piece for song in real[half::2] for piece in song] for half in (0, 1)]
        heard = (_first(run, system) for run, system in of_kind if system.real)
        piece = next(filter(None, heard), None)
        yield _row(runs[0], System(REAL, "piano", True, [], 0), *halves) | {
            "notebook": "",
            "folder": "",
            "piece": piece,
        }
    reference = [piece for song in real for piece in song]
    for run, system in of_kind:
        if system.real:
            continue
        files = [Path(run.folder) / file for file in system.pieces]
        pieces = []
        if all(file.is_file() for file in files):  # committed results keep one of many, which tells little
            scores = [*_scores(files), *[symusic.Score(480)] * system.silent]
            pieces = [_measures(_beginning(_roll(score, kind), BEATS * GRID[kind]), kind) for score in scores]
        row = _row(run, system, pieces, reference)
        changed = ", ".join(f"{name} = {value}" for name, value in run.changed.items())
        yield row | {"system": f"{system.name} ({changed})"} if changed else row


def _first(run: record.Record, system: System) -> Path | None:
    """The first piece of a system that is there."""
    return next((file for name in system.pieces if (file := Path(run.folder) / name).is_file()), None)


def _scores(paths: Iterable[Path]) -> Iterator[symusic.Score]:
    """Of MIDI files; a warning names one that cannot be read."""
    for path in paths:
        try:
            yield music.midi.read(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is left out of the comparison: {error}.", stacklevel=2)


def _row(run: record.Record, system: System, pieces: Measured, reference: Measured) -> dict[str, Any]:
    compared = measure.sets.compare(pieces, reference) if pieces and reference else []
    seconds, novelty = system.generation_seconds, system.novelty or {}
    return {
        "system": system.name,
        "notebook": run.notebook,
        "folder": run.folder,
        "profile": run.profile,
        "piece": _first(run, system),
        "parameters": system.parameters,
        "training_seconds": system.training_seconds,
        "seconds_per_minute": 120 * seconds / system.beats if seconds is not None and system.beats else None,
        "copied_share": novelty.get("copied_share"),
        "longest_copied_run": novelty.get("longest_copied_run"),
        "overlap": measure.sets.mean_overlap(compared) if compared else None,
        "overlaps": {row["measure"]: row["overlap"] for row in compared},
    }


def _means(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system and profile: the mean of each figure over the runs that have it."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["system"], row["profile"]), []).append(row)
    return [
        group[0]
        | _mean({name: row[name] for name in FIGURES} for row in group)
        | {"overlaps": _mean(row["overlaps"] for row in group), "runs": len(group)}
        for group in groups.values()
    ]


def _mean(figures: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    means = pd.DataFrame(list(figures), dtype=float).mean()
    return {str(name): None if pd.isna(mean) else float(mean) for name, mean in means.items()}
