"""Pictures: piano rolls, training curves, comparisons. Every function returns a closed matplotlib figure.

They are narrow and their letters large, so that they can be read on a telephone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import symusic
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from course_lib.music.band import BEATS_PER_BAR, DRUMS, INSTRUMENTS

WIDTH, HEIGHT = 5.6, 2.6  # inches
COLOURS = matplotlib.colormaps["cividis"]  # for quantities: reads the same with and without colour vision
# For kinds: blue, vermilion, green, purple, orange, sky blue, black (Okabe and Ito 2008), told apart by everybody.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def piano_roll(score: symusic.Score, title: str = "", beats: float | None = None) -> Figure:
    """Pitch over time in quarter notes, one line a note and one colour a track; at most `beats` of them.

    A line stands at each octave's C and, heavier, at some eight of the bar lines of the first time signature (4/4 where
    there is none).
    """
    return piano_rolls({title: score}, beats)


def piano_rolls(scores: Mapping[str, symusic.Score], beats: float | None = None) -> Figure:
    """The piano rolls of scores by title, one below the other."""
    figure, rows = plt.subplots(len(scores), figsize=(WIDTH, HEIGHT * len(scores)), layout="constrained", squeeze=False)
    for axes, (title, score) in zip(rows[:, 0], scores.items(), strict=True):
        _draw_roll(axes, score, title, beats)
    return _closed(figure)


def _draw_roll(axes: Axes, score: symusic.Score, title: str, beats: float | None) -> None:
    tracks = [track for track in score.tracks if track.notes and not track.is_drum]
    lowest, highest, end = 60, 72, 4.0
    for index, track in enumerate(tracks):
        notes = track.notes.numpy()
        start = notes["time"] / score.ticks_per_quarter
        stop = start + notes["duration"] / score.ticks_per_quarter
        pitch = notes["pitch"].astype(int)
        axes.hlines(pitch, start, stop - 0.03, linewidths=2.5, colors=[PALETTE[index % len(PALETTE)]])
        lowest, highest = min(lowest, pitch.min()), max(highest, pitch.max())
        end = max(end, stop.max())
    axes.set(xlim=(0, min(end, beats or end)), ylim=(lowest - 2, highest + 2))
    meter = score.time_signatures[0] if score.time_signatures else None
    beats_per_bar = meter.numerator * 4 / meter.denominator if meter else BEATS_PER_BAR
    bars_apart = max(1, round(axes.get_xlim()[1] / beats_per_bar / 8))
    axes.xaxis.set_major_locator(MultipleLocator(bars_apart * beats_per_bar))
    _name_octaves(axes)
    axes.set(xlabel="time (quarter notes; lines at bars)", ylabel="pitch", title=title)
    axes.grid(axis="x", color="0.6")
    axes.grid(axis="y", alpha=0.3)


def _name_octaves(axes: Axes) -> None:
    """Pitches by the names of their octaves: C4 is MIDI number 60."""
    axes.set_yticks(cs := [pitch for pitch in range(0, 128, 12) if axes.get_ylim()[0] <= pitch <= axes.get_ylim()[1]])
    axes.set_yticklabels([f"C{pitch // 12 - 1}" for pitch in cs])


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
            cmap=ListedColormap(["white", PALETTE[channel]]),
            vmin=0,
            vmax=1,
            extent=(0, len(roll) / steps_per_beat / BEATS_PER_BAR, lowest - 0.5, highest - 0.5),
        )
        axes.set_ylabel(name)
        if channel < DRUMS:
            _name_octaves(axes)
        else:  # a number is an instrument
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(axis="x", alpha=0.4)
    rows[0].set_title(title)
    rows[-1].set_xlabel("time (bars)")
    return _closed(figure)


def curves(
    histories: dict[str, dict[str, Sequence[float]]],
    metric: str,
    title: str,
    unit: str,
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """One metric of several trainings over their epochs: solid for training data, dashed for held-out data.

    Args:
        histories: under each name a history of `learn.train.fit`.
        metric: the end of the names of its entries. The lowest value of each held-out loss is marked by a star.
        title: what is to be seen.
        unit: of the metric.
        lines: values of what needs no network, by name, each drawn as a dotted line.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT + 1), layout="constrained")
    for index, (name, history) in enumerate(histories.items()):
        colour = PALETTE[index % len(PALETTE)]
        for entry, values in history.items():
            if entry.split()[-1] == metric:
                held_out = entry.removesuffix(metric).strip()
                epochs = np.arange(1, len(values) + 1)
                style = "--" if held_out else "-"
                axes.plot(epochs, values, style, marker=".", color=colour, label=f"{name}: {held_out or 'training'}")
                if held_out and metric.endswith("loss") and np.isfinite(values).any():
                    best = int(np.nanargmin(values))
                    axes.plot(best + 1, values[best], "*", markersize=12, color=colour)
    for index, (name, value) in enumerate((lines or {}).items()):
        axes.axhline(value, color="black", linestyle=(0, (1, 1 + 2 * index)), label=name)  # ever sparser dots
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=f"{metric} ({unit})", title=title)
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=9, loc="outside lower left", ncols=2)
    return _closed(figure)


def comparison(rows: Sequence[dict], title: str) -> Figure:
    """The rows of `measure.sets.compare`: both means and intervals, as shares of the larger mean to fit one axis."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.32 * len(rows) + 1.2), layout="constrained")
    sides = [("real", -0.12, PALETTE[0], "o"), ("generated", 0.12, PALETTE[1], "D")]
    for place, row in enumerate(rows):
        scale = np.nanmax([abs(row["generated"]), abs(row["real"]), 1e-9])
        for kind, offset, colour, marker in sides:
            mean, low, high = (row[kind + end] / scale for end in ("", "_low", "_high"))
            axes.plot([low, high], [place + offset] * 2, color=colour)
            axes.plot([mean], [place + offset], marker, color=colour, label=kind if place == 0 else None)
    axes.set_yticks(range(len(rows)), [row["measure"].replace("_", " ") for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="mean, as a share of the larger (line: 95 % interval)", title=title)
    axes.set_xlim(-0.05, min(1.6, axes.get_xlim()[1]))  # a wide interval may leave the picture
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=9)
    return _closed(figure)


def _closed(figure: Figure) -> Figure:
    """Off pyplot's list, so that a notebook shows a returned figure once and not twice."""
    plt.close(figure)
    return figure
