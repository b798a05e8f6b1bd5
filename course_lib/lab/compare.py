"""All systems side by side: the same measures, against the same held-out music, for whatever runs there are.

A notebook judges its system on its own grid and its own test songs. Here every piece of every system is read
back from its MIDI file, cut to the same length, and set against songs that none of the runs has trained on.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from course_lib import measure, music
from course_lib.lab import record

BEATS = 16  # of each piece: four bars, as short as the shortest piece that a system makes
EXCERPTS = 4  # of a song at most, so that long songs do not outweigh short ones
GRID = {"piano": 4, "band": 2}  # steps a beat: the coarsest grid on which a system of the kind works
REAL = "other real music"
FIGURES = ("parameters", "training_seconds", "seconds_per_minute", "copied_share", "longest_copied_run", "overlap")
Rolls = tuple[np.ndarray, np.ndarray | None]  # of a song, and where its notes begin if the roll does not tell
Measured = list[dict[str, float]]  # of each excerpt


def systems(runs: Sequence[Mapping[str, Any]]) -> dict[str, list]:
    """Every system that the results of ``record.load`` recorded, as rows under "piano" and "band".

    A row has "system", "notebook", "profile", "runs", the means over runs of "parameters", "training_seconds",
    "seconds_per_minute" (to generate a minute of music at 120 beats a minute), "copied_share",
    "longest_copied_run", "overlap" (mean over measures) and "overlaps" (by measure, 0 to 1), and of the first run
    "piece" (path of a MIDI file) and "folder". A figure that no run has is None, as are the overlaps of a system of
    which a file is gone. Runs are compared with others of the same data, profile and seed: their reference are the
    songs on which none of them trained. The row ``REAL`` compares half of those songs with the other half. "notes" are
    sentences on what could not be had.
    """
    found: dict[str, list] = {"piano": [], "band": [], "notes": []}
    for kind in record.KINDS:
        rows: list[dict[str, Any]] = []
        chosen = [run for run in record.latest(runs) if any(each["kind"] == kind for each in run.get("systems", []))]
        for (data, *_), group in groupby(sorted(chosen, key=_setting), key=_setting):
            alike = list(group)
            try:
                real = _held_out(alike, data, kind)
            except (OSError, ValueError) as error:
                found["notes"].append(f"No overlaps for the {kind} systems trained on {data}: {error}")
                real = []
            rows += _rows(alike, kind, real)
        found[kind] = [_mean(rows, *key) for key in dict.fromkeys((row["system"], row["profile"]) for row in rows)]
    return found


def _setting(run: Mapping[str, Any]) -> tuple[str, str, int]:
    """What runs share that are set against the same held-out music."""
    return run["parameters"]["data"], run["parameters"]["profile"], run["parameters"]["seed"]


def _held_out(runs: Sequence[Mapping[str, Any]], data: str, kind: str) -> list[Measured]:
    """The measures of each song on which none of the runs trained."""
    trained = {name for run in runs for name in run.get("training_songs", [])}
    songs = (_excerpts(*rolls(), kind) for name, rolls in _songs(data, kind) if name not in trained)
    measured = [[_measures(*excerpt, kind) for excerpt in song] for song in songs if song]
    if len(measured) < 4:
        raise ValueError(f"{len(measured)} songs of {BEATS} beats or more are left on which none of them trained.")
    return measured


def _songs(data: str, kind: str) -> Iterator[tuple[str, Callable[[], Rolls]]]:
    """Names of songs, and what gives their rolls."""
    if kind == "piano":
        for piece in music.corpus.load(data):
            yield piece.name, partial(_on_grid, piece.score, kind)
        return
    with redirect_stdout(io.StringIO()):  # which songs were left out, the notebooks have told
        bands = music.band_data.load(data, GRID[kind])
    for number, name in enumerate(bands.names):
        yield name, partial(_song, bands, number)


def _song(bands: music.band_data.Bands, number: int) -> Rolls:
    return bands[number], None


def _on_grid(score: symusic.Score, kind: str) -> Rolls:
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


def _rows(runs: Sequence[Mapping[str, Any]], kind: str, real: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """A row for each system of each run; ``real`` may be empty."""
    reference = [piece for song in real for piece in song]
    if real:
        halves = [[piece for song in real[half::2] for piece in song] for half in (0, 1)]
        heard = (
            Path(run["folder"]) / file
            for run in runs
            for system in run.get("systems", [])
            if system["real"] and system["kind"] == kind
            for file in system["pieces"]
        )
        shown = {"profile": runs[0]["parameters"]["profile"], "piece": next(filter(Path.is_file, heard), None)}
        yield _row(shown, {"name": REAL}, *halves)
    for run in runs:
        shown = {"notebook": run["notebook"], "profile": run["parameters"]["profile"], "folder": run["folder"]}
        for system in run.get("systems", []):
            if system["kind"] == kind and not system["real"]:
                paths = [Path(run["folder"]) / file for file in system["pieces"]]
                shown["piece"] = next((path for path in paths if path.is_file()), None)
                pieces = []
                if all(path.is_file() for path in paths):  # committed results keep one of many, which tells little
                    pieces = [_on_grid(score, kind) for score in _scores(paths)]
                    pieces += [_on_grid(symusic.Score(480), kind)] * system.get("silent", 0)
                yield _row(shown, system, [_measures(*_beginning(*piece, kind), kind) for piece in pieces], reference)


def _scores(paths: Iterable[Path]) -> Iterator[symusic.Score]:
    """Of MIDI files; a warning names one that cannot be read."""
    for path in paths:
        try:
            yield music.midi.read(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is left out of the comparison: {error}.", stacklevel=2)


def _row(shown: dict[str, Any], system: Mapping[str, Any], pieces: Measured, reference: Measured) -> dict[str, Any]:
    compared = measure.sets.compare(pieces, reference) if pieces and reference else []
    seconds, beats = system.get("generation_seconds"), system.get("beats")
    novelty = system.get("novelty") or {}
    return {
        **{"notebook": "", "folder": "", "piece": None, **shown},
        "system": system["name"],
        "parameters": system.get("parameters"),
        "training_seconds": system.get("training_seconds"),
        "seconds_per_minute": 120 * seconds / beats if seconds is not None and beats else None,
        "copied_share": novelty.get("copied_share"),
        "longest_copied_run": novelty.get("longest_copied_run"),
        "overlap": measure.sets.mean_overlap(compared) if compared else None,
        "overlaps": {row["measure"]: row["overlap"] for row in compared},
    }


def _mean(rows: Iterable[dict[str, Any]], system: str, profile: str) -> dict[str, Any]:
    """One row of those of a system in a profile: the mean of each figure over the runs that have it."""
    rows = [row for row in rows if (row["system"], row["profile"]) == (system, profile)]
    means = {name: _mean_of(row[name] for row in rows) for name in FIGURES}
    measures = dict.fromkeys(name for row in rows for name in row["overlaps"])
    overlaps = {name: _mean_of(row["overlaps"].get(name) for row in rows) for name in measures}
    return rows[0] | means | {"overlaps": overlaps, "runs": len(rows)}


def _mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None
