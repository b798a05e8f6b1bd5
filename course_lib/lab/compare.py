"""All systems side by side: the same measures, between the same floor and ceiling, for whatever runs there are.

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
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import symusic

from course_lib import measure, music
from course_lib.lab import claims, record
from course_lib.lab.schema import System
from course_lib.learn import split

BEATS = 16  # of each piece: four bars, as short as the shortest piece that a system makes
EXCERPTS = 4  # of a song at most, so that long songs do not outweigh short ones
SHOWN = 16  # excerpts of noise and of other real music in the rows of their own
GRID = {"piano": 4, "band": 2}  # steps a beat: the coarsest grid on which a system of the kind works
NOISE, REAL = "noise of equal density", "other real music"
FIGURES = ("parameters", "training_seconds", "seconds_per_minute", "copied_share", "longest_copied_run")
PLACE = ("overlap", "floor", "ceiling", "place")  # see `measure.sets.place`
Measured = list[dict[str, float]]  # of each excerpt


class Reference(NamedTuple):
    """Excerpts of songs on which no run trained, one half of the songs the real music, and what it is compared with."""

    real: Measured
    noise: Measured  # each as long and together as dense as `real`
    other_real: Measured


def systems(records: Sequence[record.Record]) -> dict[str, list]:
    """Every system that was recorded, as rows under "piano" and "band"; "notes" say what could not be had.

    Runs are compared with others of the same data, profile and seed: their reference are the songs on which none of
    them trained. Its first two rows are the floor and the ceiling, `NOISE` and `REAL`, at place 0 and 1 by definition.

    Returns:
        Rows with "system", "notebook", "profile", "data", "runs", the means over runs of `FIGURES`
        ("seconds_per_minute": to generate a minute of music at 120 beats a minute), of `PLACE` and of "overlaps" (by
        measure, 0 to 1), the 95 % interval of the place "low", "high" (from three runs on), and of the run of median
        place "folder", and "piece" and "nearest", the paths of its pieces of median and of greatest nearness to real
        music. What no run has is None, as is the place of a system of which a file is gone.
    """
    found: dict[str, list] = {"piano": [], "band": [], "notes": []}
    for kind in record.KINDS:
        rows: list[dict[str, Any]] = []
        chosen = [run for run in record.latest(records) if any(system.kind == kind for system in run.systems)]
        for (data, *_), group in groupby(sorted(chosen, key=_setting), key=_setting):
            alike = list(group)
            try:
                reference = _reference(alike, data, kind)
            except (OSError, ValueError) as error:
                found["notes"].append(f"No places for the {kind} systems trained on {data}: {error}")
                reference = None
            rows += _rows(alike, kind, reference)
        found[kind] = _means(rows)
    return found


def in_words(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows of one kind show: who stands nearest to real music, who no nearer than noise, where the RNNs do."""
    placed = [row for row in rows if row["system"] not in (NOISE, REAL) and row["place"] is not None]
    if not placed:
        return []
    ranked = sorted(placed, key=lambda row: -row["place"])
    told = [f"Nearest to real music: {_told(ranked[:1])}, where noise is at 0 and other real music at 1."]
    if noisy := [row for row in ranked if row["place"] <= 0]:
        told.append(f"No nearer than noise: {_told(noisy)}.")
    if unsure := [row for row in ranked if _end(row, "low") <= 0 < row["place"]]:
        told.append(f"Nearer than noise in the mean, but not with the whole interval: {_told(unsure)}.")
    if not noisy + unsure:
        told.append("In the mean every system stands nearer than noise.")
    if good := [row for row in ranked if _end(row, "low") > 1]:
        told.append(f"Nearer than other real music, which is too good: look at what is copied: {_told(good)}.")
    for row in [row for row in ranked if row["system"].startswith("RNN")]:
        others = [each for each in ranked if all(each[name] == row[name] for name in ("profile", "data"))]
        others = [other for other in others if not other["system"].startswith("RNN")]
        above = [other for other in others if other["place"] > row["place"]]
        nearer = f"{len(above)}, {_told(above)}" if above else "none"
        with_intervals = [other for other in above if None not in (other["low"], row["low"])]
        if with_intervals:
            plain = [other for other in with_intervals if other["low"] > row["high"]]
            nearer = f"{nearer}; intervals apart: {len(plain)}"
        told.append(f"{_told([row])}: of {len(others)} systems that are no RNN, nearer to real music: {nearer}.")
    if any(row["low"] is None for row in placed):
        told.append("With fewer than three runs a system has no interval, and another seed may order them otherwise.")
    return told


def _told(rows: Sequence[dict[str, Any]]) -> str:
    intervals = ["" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]" for row in rows]
    return ", ".join(
        f"{row['system']} {row['place']:.2f}{interval} ({row['profile']})"
        for row, interval in zip(rows, intervals, strict=True)
    )


def _end(row: dict[str, Any], end: str) -> float:
    return row["place"] if row[end] is None else row[end]


def _setting(run: record.Record) -> tuple[str, str, int]:
    return run.data.name, run.profile, run.seed


def _reference(runs: Sequence[record.Record], data: str, kind: str) -> Reference:
    """What the systems of these runs are compared with, measures that are constant in the real music left out."""
    of_kind = ((run, system) for run in runs for system in run.systems if system.kind == kind)
    trained = {name for run, system in of_kind for name in system.training_songs or run.training_songs}
    rolls: Iterable[np.ndarray]
    if kind == "piano":
        rolls = (_roll(piece.score, kind) for piece in music.corpus.load(data) if piece.name not in trained)
    else:
        with redirect_stdout(io.StringIO()):  # which songs were left out, the notebooks have told
            bands = music.band_data.load(data, GRID[kind])
        rolls = (bands[number] for number, name in enumerate(bands.names) if name not in trained)
    songs = [song for roll in rolls if (song := _excerpts(roll, BEATS * GRID[kind]))]
    if len(songs) < 4:
        raise ValueError(f"{len(songs)} songs of {BEATS} beats or more are left on which none of them trained.")
    pitched = [np.concatenate(song)[..., : music.band.DRUMS].max(axis=-1) for song in songs]
    halves = split.split_songs(songs, (1, 1), groups=music.twins.near_twins(pitched))
    real, other = ([excerpt for song in half for excerpt in song] for half in halves)
    rng = np.random.default_rng(0)
    noise = measure.baselines.noise(np.stack(real), rng)
    if kind == "piano":
        noise[..., 1] = False  # a note begins where its pitch was silent before
    sets = [pd.DataFrame([_measures(roll, kind) for roll in rolls]) for rolls in (real, noise, other)]
    varied = sets[0].columns[sets[0].nunique() > 1]
    orders = [np.arange(len(real)), rng.permutation(len(noise)), rng.permutation(len(other))]  # so that any few do
    return Reference(*(table[varied].iloc[order].to_dict("records") for table, order in zip(sets, orders, strict=True)))


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


def _rows(runs: Sequence[record.Record], kind: str, reference: Reference | None) -> Iterator[dict[str, Any]]:
    """A row for noise and for real music, and one for each system of each run."""
    of_kind = [(run, system) for run in runs for system in run.systems if system.kind == kind]
    if reference:
        heard = (_there(run, system) for run, system in of_kind if system.real)
        piece = next((files[0] for files in heard if files), None)
        for name, pieces, at in ((NOISE, reference.noise, 0.0), (REAL, reference.other_real, 1.0)):
            yield _row(runs[0], System(name, "piano", True, [], 0), pieces[:SHOWN], reference) | {
                "notebook": "",
                "folder": "",
                "place": at,
                "piece": piece if name == REAL else None,
                "nearest": None,
            }
    for run, system in of_kind:
        if system.real:
            continue
        files, pieces = _there(run, system), []
        if reference and len(files) == len(system.pieces):  # committed results keep one of many, which tells little
            readable = [(file, score) for file in files if (score := _score(file))]
            scores = [*(score for _, score in readable), *[symusic.Score(480)] * system.silent]
            pieces = [_measures(_beginning(_roll(score, kind), BEATS * GRID[kind]), kind) for score in scores]
            pieces = [{name: piece[name] for name in reference.real[0]} for piece in pieces]
            files = _by_nearness([file for file, _ in readable], pieces, reference.real) or files
        row = _row(run, system, pieces, reference)
        row |= (
            {"piece": files[(len(files) - 1) // 2], "nearest": files[-1]} if files else {"piece": None, "nearest": None}
        )
        changed = ", ".join(f"{name} = {value}" for name, value in run.changed.items())
        yield row | {"system": f"{system.name} ({changed})"} if changed else row


def _there(run: record.Record, system: System) -> list[Path]:
    """The pieces of a system that are there."""
    return [file for name in system.pieces if (file := Path(run.folder) / name).is_file()]


def _score(path: Path) -> symusic.Score | None:
    """Of a MIDI file; None, and a warning that names it, where it cannot be read."""
    try:
        return music.midi.read(path)
    except (OSError, ValueError) as error:
        warnings.warn(f"{path} is left out of the comparison: {error}.", stacklevel=2)
        return None


def _by_nearness(files: Sequence[Path], pieces: Measured, real: Measured) -> list[Path]:
    """Files from the one furthest from real music to the nearest, by what their pieces measure.

    A piece is near by as much as, in the mean over measures, real pieces lie on either side of it.
    """
    values = np.array([list(piece.values()) for piece in real])
    made = np.array([list(piece.values()) for piece in pieces[: len(files)]]).reshape(-1, 1, values.shape[1])
    sides = np.minimum((values <= made).mean(1), (values >= made).mean(1))  # NaN: on neither
    return [files[number] for number in np.argsort(sides.mean(-1), kind="stable")]


def _row(run: record.Record, system: System, pieces: Measured, reference: Reference | None) -> dict[str, Any]:
    seconds, novelty = system.generation_seconds, system.novelty or {}
    row: dict[str, Any] = {
        "system": system.name,
        "notebook": run.notebook,
        "folder": run.folder,
        "profile": run.profile,
        "data": Path(run.data.name).name,
        "parameters": system.parameters,
        "training_seconds": system.training_seconds,
        "seconds_per_minute": 120 * seconds / system.beats if seconds is not None and system.beats else None,
        "copied_share": novelty.get("copied_share"),
        "longest_copied_run": novelty.get("longest_copied_run"),
        "overlaps": {},
        **dict.fromkeys(PLACE),
    }
    if pieces and reference:
        number, (real, noise, other) = len(pieces), reference
        compared = measure.sets.compare(pieces, real)
        row["overlaps"] = {each["measure"]: each["overlap"] for each in compared}
        place = measure.sets.place(pieces, real, noise[:number], other[:number])
        row |= {name: None if np.isnan(figure) else figure for name, figure in place.items()}
    return row


def _means(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system, profile and data set: the mean of each figure over the runs that have it."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["system"], row["profile"], row["data"]), []).append(row)
    means = []
    for group in groups.values():
        placed = sorted((row for row in group if row["place"] is not None), key=lambda row: row["place"])
        middle = placed[(len(placed) - 1) // 2] if placed else group[0]
        figures = _mean({name: row[name] for name in (*FIGURES, *PLACE)} for row in group)
        _, low, high = claims.interval([row["place"] for row in placed if len(placed) >= 3] or [0.0])
        overlaps = _mean(row["overlaps"] for row in group)
        means.append(middle | figures | {"low": low, "high": high, "overlaps": overlaps, "runs": len(group)})
    return means


def _mean(figures: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    means = pd.DataFrame(list(figures), dtype=float).mean()
    return {str(name): None if pd.isna(mean) else float(mean) for name, mean in means.items()}
