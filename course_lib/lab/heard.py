"""What the systems of the committed results sound and look like: two clips of each, and a picture beside real music."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import symusic

from course_lib import measure
from course_lib.hear import draw, listen
from course_lib.lab import pictures, record
from course_lib.learn import profiles
from course_lib.music import corpus, frames, midi

SECONDS = 20  # of each clip
BEATS = 32  # of each piano roll, and of each piece that is told in figures
CLIPS = {"typical": "piece", "chosen": "nearest"}  # of which column of a row of `compare.systems`


def clips(systems: Mapping[str, Sequence[dict[str, Any]]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write two clips of each system into `folder`, which holds no others afterwards.

    Args:
        systems: of `compare.systems`.
        folder: is made where it is missing.

    Returns:
        The rows with pieces by kind, in order of their notebooks, each system in the largest profile that it ran in,
        with the paths of "clips" by name, and the "figures" of its typical piece in words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, kept = {}, set()
    with tempfile.TemporaryDirectory() as scratch:
        for kind in record.KINDS:
            rows = {}
            for row in sorted(systems[kind], key=lambda row: profiles.PROFILES.index(row["profile"])):
                if row["folder"] and row["piece"]:  # else a reference, or all of its pieces are gone
                    rows[row["system"], row["data"]] = row
            for row in rows.values():
                row["clips"], row["figures"] = {}, in_figures([midi.read(row["piece"])])
                for name, column in CLIPS.items():
                    stem = re.sub(r"\W+", "_", f"{row['system']} {row['data']} {row['profile']} {name}".lower())
                    path = folder / f"{stem}.ogg"
                    if whole := pictures.clip(row[column], Path(scratch), SECONDS):
                        listen.publish(path, listen.clip(whole, SECONDS))
                    if path.is_file():  # where nothing can be made audible, the clip that was there before
                        row["clips"][name] = path
                        kept.add(path)
            found[kind] = sorted(rows.values(), key=lambda row: row["notebook"])
    for old in set(folder.glob("*.ogg")) - kept:
        old.unlink()
    return found


def in_figures(scores: Iterable[symusic.Score]) -> str:
    """What tells a drone or random notes: medians over the beginnings of pieces, drums left out, in words.

    Repeated notes that touch count as one, as in a piano roll.
    """
    rolls = (frames.from_score(score)[: BEATS * 4] for score in scores)
    found = pd.DataFrame([measure.piece.measures(roll) for roll in rolls if len(roll)]).median()
    if found.empty:
        return "no note"
    return (
        "{notes_per_step:.1f} notes at a time, the longest for {longest_held_note:.0f} beats, "
        "{pitch_classes_per_bar:.0f} pitch classes a bar, {in_scale_rate:.0%} of the notes in one scale"
    ).format(**found)


def picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a typical piece of the piano system nearest to real music, above real music that it has not seen."""
    placed = [row for row in rows if row["place"] is not None] or rows[:1]
    if not placed:
        return
    best = max(placed, key=lambda row: row["place"] or 0)
    run = record.find(Path(best["folder"]))
    if run is None:
        return
    seen = {name for system in run.systems for name in system.training_songs or ()} | set(run.training_songs or ())
    real = next((piece for piece in corpus.load(run.data.name) if piece.name not in seen), None)
    rolls = {f"{best['system']}, {best['profile']} profile: a typical piece": midi.read(best["piece"])}
    if real:
        rolls[f"Real: {real.name}, from which it did not learn"] = real.score
    draw.piano_rolls(rolls, BEATS).savefig(path, dpi=150, bbox_inches="tight")
