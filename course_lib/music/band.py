"""The ``band`` encoding: bool ``(time, 128, 5)``, frames for each of the five instruments of LPD-5.

Drums are among them, and the first step is on a bar line. Lost: what frames lose, and which of the instruments of a
family played. Source: chen-horg-zhuo and tham-kim. Taught in notebooks 01 and 06, used in 06 to 10.
"""

from __future__ import annotations

import re

import numpy as np
import symusic

from course_lib.music import frames, midi

INSTRUMENTS = ("Piano", "Guitar", "Bass", "Strings", "Drums")  # the channels of a band, as in the papers
PROGRAMS = (0, 24, 32, 48, 0)  # General MIDI programs counted from 0, as LPD-5 has them
VELOCITIES = (80, 70, 90, 64, 90)
DRUMS = INSTRUMENTS.index("Drums")
BEATS_PER_BAR = 4  # a band is in 4/4, like LPD-5


def instrument(track: symusic.Track) -> int | None:
    """The channel of a band that a MIDI track belongs to, by the rule of LPD-5; None: to none.

    Programs 0 to 7 are piano, 24 to 31 guitar, 32 to 39 bass; effects (96 to 103, 120 to 127) and percussive
    programs (112 to 119) are dropped; all others, organ and winds among them, are strings. Ours: a track named
    drums or percussion is taken for drums, as some programs write them on channels of their own, unless its
    program is percussive: "Steel Drums" play melodies.
    """
    family = track.program // 8
    named = re.search(r"\b(drums?|drum ?kit|percussion)\b", track.name, re.IGNORECASE) and family != 14
    if track.is_drum or named:
        return DRUMS
    return {0: 0, 3: 1, 4: 2, 12: None, 14: None, 15: None}.get(family, INSTRUMENTS.index("Strings"))


def from_score(score: symusic.Score, steps_per_beat: int = 2) -> np.ndarray:
    """bool (time, 128, 5) of a score in ticks: True while an instrument sounds a pitch.

    Times go to the nearest step as in :func:`frames`; of a drum stroke the first step alone is kept, as its
    length has no meaning and would hide the next stroke. Bars of four beats are counted from where the first 4/4
    begins, not from time 0, so that step 0 begins a bar; an upbeat comes at the end of a bar of its own.
    """
    bar, columns = BEATS_PER_BAR * score.ticks_per_quarter, []
    for track in score.tracks:
        family = instrument(track)
        if family is not None and track.notes:
            notes = track.notes.numpy()
            start, length = notes["time"].astype(np.int64), notes["duration"].astype(np.int64)
            if family == DRUMS:
                length = np.ones_like(length)
            heard = length > 0
            columns.append(
                [each[heard] for each in (start, start + length, notes["pitch"], np.full(len(start), family))]
            )
    if not columns:
        return np.zeros((0, 128, len(INSTRUMENTS)), bool)
    start, end, pitch, channel = map(np.concatenate, zip(*columns, strict=True))
    anchor = _first_bar_line(score)
    early = anchor - start.min(initial=anchor) - score.ticks_per_quarter // (2 * steps_per_beat)
    anchor -= max(0, -(-early // bar)) * bar
    return from_notes(start - anchor, end - anchor, pitch, channel, score.ticks_per_quarter, steps_per_beat)


def from_notes(
    start: np.ndarray,
    end: np.ndarray,
    pitch: np.ndarray,
    channel: np.ndarray,
    quarter: int,
    steps_per_beat: int,
) -> np.ndarray:
    """bool (time, 128, 5) of notes with times in ticks, ``quarter`` of them a beat, from the first bar line."""
    first, last = frames.nearest_steps(start, end, quarter, steps_per_beat)
    first = np.maximum(first, 0)
    last = np.where(channel == DRUMS, first + 1, np.maximum(first + 1, last))
    roll = np.zeros((last.max(initial=0), 128, len(INSTRUMENTS)), bool)
    step, note = frames.every_step(first, last)
    roll[step, pitch[note], channel[note]] = True
    return roll


def _first_bar_line(score: symusic.Score) -> int:
    """The tick at which the first whole bar begins: where the first 4/4 does, or else the first signature."""
    signatures = [(s.time, (s.numerator, s.denominator)) for s in score.time_signatures]
    return next((time for time, kind in signatures if kind == (4, 4)), signatures[0][0] if signatures else 0)


def in_four_four(score: symusic.Score) -> bool:
    """Whether all of a score is in 4/4, but for an upbeat written as a shorter bar before the first one."""
    bar = BEATS_PER_BAR * score.ticks_per_quarter
    signatures = sorted({(s.time, s.numerator, s.denominator) for s in score.time_signatures})  # once, of all tracks
    if len(signatures) > 1 and signatures[0][0] == 0 and signatures[1][0] < bar:
        signatures = signatures[1:]
    return all(signature[1:] == (4, 4) for signature in signatures)  # without any, MIDI means 4/4


def to_score(roll: np.ndarray, steps_per_beat: int = 2, tempo: float = 120) -> symusic.Score:
    """A score of five tracks from bool (time, 128, 5); ``band`` of it gives the roll again, less silence at the end.

    Each unbroken run of a pitch becomes one held note, but for drums, where each step is a stroke of its own.
    Raises ValueError for another shape.
    """
    roll = np.asarray(roll, bool)
    if roll.ndim != 3 or roll.shape[1:] != (128, len(INSTRUMENTS)):
        raise ValueError(f"The roll has shape {roll.shape}: give a bool array of shape (time, 128, 5).")
    score = symusic.Score(steps_per_beat * frames.STEP_TICKS)
    score.tempos.append(symusic.Tempo(0, tempo))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for channel, name in enumerate(INSTRUMENTS):
        notes = frames.strokes(roll[..., channel]) if channel == DRUMS else frames.held_notes(roll[..., channel])
        track = midi.new_track(*notes, VELOCITIES[channel], PROGRAMS[channel], name, channel == DRUMS)
        score.tracks.append(track)
    return score
