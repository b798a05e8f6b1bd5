"""The `band` encoding: bool `(time, 128, 5)`, frames for each of the five instruments of LPD-5.

Drums are among them, and the first step is on a bar line. Lost: what frames lose, and which of the instruments of a
family played. Velocities are not encoded: each instrument has its own in `VELOCITIES` when it is decoded. Bars have
`BEATS_PER_BAR` beats; a song in another metre is known by :func:`in_four_four`. Source: chen-horg-zhuo and tham-kim.
Taught in notebooks 01 and 06, used in 06 to 10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import symusic

from course_lib.music import frames, midi

INSTRUMENTS = ("Piano", "Guitar", "Bass", "Strings", "Drums")  # the channels of a band, as in the papers
PROGRAMS = (0, 24, 32, 48, 0)  # General MIDI programs counted from 0, as LPD-5 has them
VELOCITIES = (80, 70, 90, 64, 90)  # of decoded notes
DRUMS = INSTRUMENTS.index("Drums")
BEATS_PER_BAR = 4  # a band is in 4/4, like LPD-5


def instrument(track: symusic.Track) -> int | None:
    """The channel of a band that a MIDI track belongs to, by the rule of LPD-5; None: to none.

    Programs 0 to 7 are piano, 24 to 31 guitar, 32 to 39 bass; effects (96 to 103, 120 to 127) and percussive
    programs (112 to 119) are dropped; all others, organ and winds among them, are strings. Ours: a track named
    drums or percussion is taken for drums, unless its program is percussive: "Steel Drums" play melodies.
    """
    family = track.program // 8
    named = re.search(r"\b(drums?|drum ?kit|percussion)\b", track.name, re.IGNORECASE) and family != 14
    if track.is_drum or named:
        return DRUMS
    return {0: 0, 3: 1, 4: 2, 12: None, 14: None, 15: None}.get(family, INSTRUMENTS.index("Strings"))


def heard_notes(score: symusic.Score) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start and end in ticks, pitch, and channel, of each note that belongs to a band; int64 `(notes,)` each.

    A note without a length (a grace note) is left out, unless it is a drum stroke, whose length has no meaning.
    """
    start, length, pitch, track = midi.all_notes(score)
    families = [instrument(each) for each in score.tracks]
    channel = np.array([-1 if family is None else family for family in families], int)[track]
    heard = (channel >= 0) & ((length > 0) | (channel == DRUMS))
    return start[heard], (start + length)[heard], pitch[heard], channel[heard]


def from_score(score: symusic.Score, steps_per_beat: int = 2) -> np.ndarray:
    """Bool `(time, 128, 5)` of a score in ticks: True while an instrument sounds a pitch.

    Times go to the nearest step; of a drum stroke the first step alone is kept, as more would hide the next stroke.
    Step 0 begins a bar: bars are counted from where the first 4/4 begins, and an upbeat ends a bar of its own.
    """
    start, end, pitch, channel = heard_notes(score)
    signatures = [(s.time, (s.numerator, s.denominator)) for s in score.time_signatures] or [(0, (4, 4))]
    anchor = next((time for time, metre in signatures if metre == (4, 4)), signatures[0][0])
    early = anchor - start.min(initial=anchor) - score.ticks_per_quarter // (2 * steps_per_beat)
    bar = BEATS_PER_BAR * score.ticks_per_quarter
    anchor -= max(0, -(-early // bar)) * bar
    return from_notes(start - anchor, end - anchor, pitch, channel, score.ticks_per_quarter, steps_per_beat)


def from_notes(
    start: np.ndarray, end: np.ndarray, pitch: np.ndarray, channel: np.ndarray, quarter: int, steps_per_beat: int
) -> np.ndarray:
    """Bool `(time, 128, 5)` of notes with times in ticks, `quarter` of them a beat, from the first bar line."""
    first, last = frames.nearest_steps(start, end, quarter, steps_per_beat)
    first = np.maximum(first, 0)
    last = np.where(channel == DRUMS, first + 1, np.maximum(first + 1, last))
    roll = np.zeros((last.max(initial=0), 128, len(INSTRUMENTS)), bool)
    step, note = frames.every_step(first, last)
    roll[step, pitch[note], channel[note]] = True
    return roll


def in_four_four(score: symusic.Score) -> bool:
    """Whether all of a score is in 4/4, but for an upbeat written as a shorter bar before the first one."""
    bar = BEATS_PER_BAR * score.ticks_per_quarter
    signatures = sorted({(s.time, s.numerator, s.denominator) for s in score.time_signatures})  # once, of all tracks
    if len(signatures) > 1 and signatures[0][0] == 0 and signatures[1][0] < bar:
        signatures = signatures[1:]
    return all(signature[1:] == (4, 4) for signature in signatures)  # without any, MIDI means 4/4


def to_score(roll: np.ndarray, steps_per_beat: int = 2, tempo: float = 120) -> symusic.Score:
    """A score of five tracks from bool `(time, 128, 5)`; :func:`from_score` gives it back, less silence at the end.

    Each unbroken run of a pitch becomes one held note, but for drums, where each step is a stroke of its own.

    Raises:
        ValueError: for another shape.
    """
    roll = np.asarray(roll, bool)
    if roll.ndim != 3 or roll.shape[1:] != (128, len(INSTRUMENTS)):
        raise ValueError(f"The roll has shape {roll.shape}: give a bool array of shape (time, 128, 5).")
    parts = [frames.held_notes(roll[..., channel]) for channel in range(DRUMS)]
    step, pitch = np.nonzero(roll[..., DRUMS])
    strokes = step * frames.STEP_TICKS, np.full_like(step, frames.STEP_TICKS), pitch
    return new_score([*parts, strokes], steps_per_beat * frames.STEP_TICKS, tempo)


def new_score(parts: Iterable[Iterable[np.ndarray]], ticks_per_quarter: int, tempo: float) -> symusic.Score:
    """A score in 4/4 from columns of the notes of each instrument: start and length in ticks, and pitch."""
    score = symusic.Score(ticks_per_quarter)
    score.tempos.append(symusic.Tempo(0, tempo))
    score.time_signatures.append(symusic.TimeSignature(0, BEATS_PER_BAR, 4))
    score.tracks = [new_track(channel, *columns) for channel, columns in enumerate(parts)]
    return score


def new_track(channel: int, start: np.ndarray, length: np.ndarray, pitch: np.ndarray) -> symusic.Track:
    """The track of one instrument, at its own velocity."""
    notes = midi.note_list(start, length, pitch, VELOCITIES[channel])
    return symusic.Track(INSTRUMENTS[channel], PROGRAMS[channel], channel == DRUMS, notes)
