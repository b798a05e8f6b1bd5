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
Rolls = tuple[np.ndarray, np.ndarray | None]  # of a song, and where its notes begin if the roll does not tell
Measured = list[dict[str, float]]  # of each excerpt


def systems(records: Sequence[record.Record]) -> dict[str, list]:
    """Every system that was recorded, as rows under "piano" and "band"; "notes" say what could not be had.

    Runs are compared with others of the same data, profile and seed: their reference are the songs on which none of
    them trained. The row `REAL` compares half of those songs with the other half.

    Returns:
        Rows with "system", "notebook", "profile", "runs", the means over runs of "parameters", "training_seconds",
        "seconds_per_minute" (to generate a minute of music at 120 beats a minute), "copied_share",
        "longest_copied_run", "overlap" (mean over measures) and "overlaps" (by measure, 0 to 1), and of the first run
        "piece" (path of a MIDI file) and "folder". What no run has is None, as are the overlaps of a system of which
        a file is gone.
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
    """What runs share that are set against the same held-out music."""
    return run.data.name, run.profile, run.seed


def _held_out(runs: Sequence[record.Record], data: str, kind: str) -> list[Measured]:
    """The measures of each song on which none of the runs trained."""
    trained = {name for run in runs for name in run.training_songs}
    songs: Iterable[Rolls]
    if kind == "piano":
        songs = (_rolls(piece.score, kind) for piece in music.corpus.load(data) if piece.name not in trained)
    else:
        with redirect_stdout(io.StringIO()):  # which songs were left out, the notebooks have told
            bands = music.band_data.load(data, GRID[kind])
        songs = ((bands[number], None) for number, name in enumerate(bands.names) if name not in trained)
    measured = [[_measures(*excerpt, kind) for excerpt in _excerpts(*song, kind)] for song in songs]
    measured = [song for song in measured if song]
    if len(measured) < 4:
        raise ValueError(f"{len(measured)} songs of {BEATS} beats or more are left on which none of them trained.")
    return measured


def _rolls(score: symusic.Score, kind: str) -> Rolls:
    """The roll of a score; for the piano also where notes begin, as touching notes of one pitch are common."""
    if kind == "band":
        return music.band.from_score(score, GRID[kind]), None
    return music.frames.from_score(score, GRID[kind]), music.frames.onsets(score, GRID[kind])


def _excerpts(roll: np.ndarray, onsets: np.ndarray | None, kind: str) -> list[Rolls]:
    """Excerpts of a song, none overlapping another, evenly spread."""
    steps = BEATS * GRID[kind]
    starts = np.arange(0, len(roll) - steps + 1, steps)
    starts = starts[np.linspace(0, len(starts) - 1, min(EXCERPTS, len(starts))).astype(int)]
    return [(roll[i : i + steps], None if onsets is None else onsets[i : i + steps]) for i in starts]


def _beginning(roll: np.ndarray, onsets: np.ndarray | None, kind: str) -> Rolls:
    """The beginning of a generated piece; one that ends before is silent for the rest."""
    steps = BEATS * GRID[kind]
    rest = ((0, max(0, steps - len(roll))), *[(0, 0)] * (roll.ndim - 1))
    return np.pad(roll[:steps], rest), None if onsets is None else np.pad(onsets[:steps], rest)


def _measures(roll: np.ndarray, onsets: np.ndarray | None, kind: str) -> dict[str, float]:
    if kind == "band":
        return measure.band.measures(roll, GRID[kind])
    return measure.piece.measures(roll, GRID[kind], onsets=onsets)


def _rows(runs: Sequence[record.Record], kind: str, real: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """A row for each system of each run; `real` may be empty."""
    of_kind = [(run, system) for run in runs for system in run.systems if system.kind == kind]
    if real:
        halves = [[piece for song in real[half::2] for piece in song] for half in (0, 1)]
        files = [Path(run.folder) / file for run, system in of_kind if system.real for file in system.pieces]
        shown = {"notebook": "", "folder": "", "profile": runs[0].profile, "piece": _first(files)}
        yield _row(shown, System(REAL, "piano", True, [], 0), *halves)
    reference = [piece for song in real for piece in song]
    for run, system in of_kind:
        if system.real:
            continue
        files = [Path(run.folder) / file for file in system.pieces]
        pieces = []
        if all(file.is_file() for file in files):  # committed results keep one of many, which tells little
            pieces = [_rolls(score, kind) for score in _scores(files)]
            pieces += [_rolls(symusic.Score(480), kind)] * system.silent
        shown = {"notebook": run.notebook, "folder": run.folder, "profile": run.profile, "piece": _first(files)}
        changed = ", ".join(f"{name} = {value}" for name, value in run.changed.items())
        row = _row(shown, system, [_measures(*_beginning(*piece, kind), kind) for piece in pieces], reference)
        yield row | {"system": f"{system.name} ({changed})"} if changed else row


def _first(files: Iterable[Path]) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _scores(paths: Iterable[Path]) -> Iterator[symusic.Score]:
    """Of MIDI files; a warning names one that cannot be read."""
    for path in paths:
        try:
            yield music.midi.read(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is left out of the comparison: {error}.", stacklevel=2)


def _row(shown: dict[str, Any], system: System, pieces: Measured, reference: Measured) -> dict[str, Any]:
    compared = measure.sets.compare(pieces, reference) if pieces and reference else []
    seconds, novelty = system.generation_seconds, system.novelty or {}
    return shown | {
        "system": system.name,
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
