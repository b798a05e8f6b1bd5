"""Pictures: piano rolls, training curves, comparisons. Every function returns a closed matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import symusic
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from course_lib.music.band import BEATS_PER_BAR, DRUMS, INSTRUMENTS

WIDTH, HEIGHT = 7, 2.6  # inches
COLOURS = matplotlib.colormaps["cividis"]  # reads the same with and without colour vision


def piano_roll(score: symusic.Score, title: str = "", beats: float | None = None) -> Figure:
    """Pitch over time in quarter notes, one line a note and one shade a track; at most `beats` of them."""
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
    tracks = [track for track in score.tracks if track.notes and not track.is_drum]
    lowest, highest, end = 60, 72, 4.0
    for index, track in enumerate(tracks):
        notes = track.notes.numpy()
        start = notes["time"] / score.ticks_per_quarter
        stop = start + notes["duration"] / score.ticks_per_quarter
        pitch = notes["pitch"].astype(int)
        axes.hlines(pitch, start, stop - 0.03, linewidths=2.5, colors=[COLOURS(index / max(1, len(tracks) - 1) * 0.8)])
        lowest, highest = min(lowest, pitch.min()), max(highest, pitch.max())
        end = max(end, stop.max())
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 4, 8], integer=True))
    axes.set(xlim=(0, min(end, beats or end)), ylim=(lowest - 2, highest + 2))
    axes.set(xlabel="time (quarter notes)", ylabel="pitch (MIDI number)", title=title)
    axes.grid(alpha=0.3)
    return _closed(figure)


def band(roll: np.ndarray, title: str, steps_per_beat: int) -> Figure:
    """The five instruments of a band roll, bool `(time, 128, 5)`, one below the other, over time in bars of 4/4."""
    figure, rows = plt.subplots(len(INSTRUMENTS), figsize=(WIDTH, 5.4), sharex=True, layout="constrained")
    for channel, (axes, name) in enumerate(zip(rows, INSTRUMENTS, strict=True)):
        pitches = np.flatnonzero(roll[..., channel].any(axis=0))
        lowest, highest = (max(0, pitches[0] - 2), min(128, pitches[-1] + 3)) if len(pitches) else (58, 64)
        axes.imshow(
            roll[:, lowest:highest, channel].T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap=ListedColormap(["white", "#00224e"]),
            vmin=0,
            vmax=1,
            extent=(0, len(roll) / steps_per_beat / BEATS_PER_BAR, lowest - 0.5, highest - 0.5),
        )
        axes.set_ylabel(f"{name}\n(pitch)" if channel < DRUMS else f"{name}\n(sound)", fontsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(labelsize=7)
    rows[0].set_title(title)
    rows[-1].set_xlabel("time (bars)")
    return _closed(figure)


def curves(histories: dict[str, dict[str, Sequence[float]]], metric: str, title: str, unit: str) -> Figure:
    """One metric of several trainings over their epochs: solid for training data, dashed for held-out data.

    `histories` holds a history of `learn.train.fit` under each name; `metric` is the end of the names of its entries.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT + 0.6), layout="constrained")
    for index, (name, history) in enumerate(histories.items()):
        colour = COLOURS(index / max(1, len(histories) - 1) * 0.85)
        for entry, values in history.items():
            if entry.split()[-1] == metric:
                held_out = entry.removesuffix(metric).strip()
                epochs = np.arange(1, len(values) + 1)
                style = "--" if held_out else "-"
                axes.plot(epochs, values, style, marker=".", color=colour, label=f"{name}: {held_out or 'training'}")
    axes.set(xlabel="epoch", ylabel=f"{metric} ({unit})", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return _closed(figure)


def comparison(rows: Sequence[dict], title: str) -> Figure:
    """The rows of `measure.sets.compare`: both means and intervals, as shares of the larger mean to fit one axis."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.3 * len(rows) + 1), layout="constrained")
    sides = [("real", -0.12, COLOURS(0.0), "o"), ("generated", 0.12, COLOURS(0.85), "D")]
    for place, row in enumerate(rows):
        scale = np.nanmax([abs(row["generated"]), abs(row["real"]), 1e-9])
        for kind, offset, colour, marker in sides:
            mean, low, high = (row[kind + end] / scale for end in ("", "_low", "_high"))
            axes.plot([low, high], [place + offset] * 2, color=colour)
            axes.plot([mean], [place + offset], marker, color=colour, label=kind if place == 0 else None)
    axes.set_yticks(range(len(rows)), [row["measure"].replace("_", " ") for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="mean over pieces, as a share of the larger of the two (line: 95 % interval)", title=title)
    axes.set_xlim(-0.05, min(1.6, axes.get_xlim()[1]))  # a wide interval may leave the picture
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8)
    return _closed(figure)


def _closed(figure: Figure) -> Figure:
    """Off pyplot's list, so that a notebook shows a returned figure once and not twice."""
    plt.close(figure)
    return figure
