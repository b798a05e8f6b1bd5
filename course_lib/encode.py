"""Scores as what a network can learn, and back: the ``notes``, ``frames`` and ``band`` encodings.

``notes`` is a sequence of classes, one for each moment at which notes of the merged score begin
(voorhis-allen, tham-kim, mischler). One pitch is named as music21 spells its MIDI number: ``C#4``, ``E-3``.
Two or more different pitches are their pitch classes in normal order: ``0.4.7``, and ``0`` for an octave.
With durations, ``_`` and music21's duration type of the shortest note follow: ``0.4.7_quarter``. Lost: rests,
dots, tuplets, how a chord is laid out, the longer notes of a group, velocities and tracks.

``frames`` is a bool array (time, 128), one row a grid step, True while a pitch sounds (morris-leou). Lost:
what is finer than a step, whether a pitch was struck again or held, velocities, tracks, silence at the end.

``band`` is a bool array (time, 128, 5): frames for each of the five instruments of LPD-5, drums among them,
with the first step on a bar line. Lost besides: which of the instruments of a family played.

A beat is a quarter note throughout. Notes without a length (grace notes) are left out, and but for ``band``
so are drum tracks. The fourth encoding, ``events``, is in `course_lib.events`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import symusic

from course_lib.sources import import_music21

if TYPE_CHECKING:
    from music21.stream import Stream

GRID_DIVISORS = (8, 6)  # onsets and durations of notes are multiples of 1/8 or 1/6 of a quarter note
PARTS = 24  # in a quarter note: the whole number of parts in which both divisors can be counted
GRID = np.unique([part for divisor in GRID_DIVISORS for part in range(0, PARTS + 1, PARTS // divisor)])
SHORTEST, LONGEST = int(GRID[1]), 64 * PARTS  # music21 has no name for longer than 64 quarter notes

PITCH_CLASS_NAMES = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")
PITCH_NAMES = tuple(f"{PITCH_CLASS_NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in range(128))
DURATION_TYPES = (
    "32nd",
    "16th",
    "eighth",
    "quarter",
    "half",
    "whole",
    "breve",
    "longa",
    "maxima",
    "duplex-maxima",
)
QUARTERS = {name: 2**power / 8 for power, name in enumerate(DURATION_TYPES)}  # the length a type decodes to
QUARTERS["complex"] = 1.25  # stands for any length that takes tied notes; the commonest in piano music

TICKS_PER_QUARTER = 480  # of the scores made from notes
STEP_TICKS = 120  # of the scores made from frames


# ---------------------------------------------------------------- notes


def notes(score: symusic.Score, durations: bool = True) -> list[str]:
    """Classes of a score in ticks, in order of onset: the fast path.

    Onsets and durations go to the nearest multiple of 1/8 or 1/6 of a quarter note, halfway up; durations are
    at least 1/8 and at most 64 quarter notes. Notes with the same onset on that grid form one class. The
    classes are those of :func:`notes_music21` on the same music.
    """
    start, length, pitch = _sounding(score)
    if not len(start):
        return []
    onset = _on_grid(start * PARTS / score.ticks_per_quarter)
    duration = _duration(length * PARTS / score.ticks_per_quarter) if durations else np.zeros_like(onset)
    order = np.argsort(onset)
    onset, duration, pitch = onset[order], duration[order], pitch[order]
    first = np.flatnonzero(np.diff(onset, prepend=-1))  # of each group
    lowest, highest = np.minimum.reduceat(pitch, first), np.maximum.reduceat(pitch, first)
    pitch_classes = np.bitwise_or.reduceat(1 << pitch % 12, first)  # as a set of twelve bits
    sound = np.where(lowest == highest, lowest, 128 + pitch_classes)
    shortest = np.minimum.reduceat(duration, first)
    return [_class(*group) for group in zip(sound.tolist(), shortest.tolist(), strict=True)]


def notes_music21(stream: Stream, durations: bool = True) -> list[str]:
    """Classes of a music21 stream, in order of onset: the reference, hundreds of times slower.

    Rounds as :func:`notes` does; pitch names, normal orders and duration types are music21's own. Pitches are
    taken as written: call ``stream.toSoundingPitch()`` first for transposing instruments. Ties are joined
    pitch by pitch, as ``Stream.stripTies`` misses the tie of one note in a chord, and ties between voices.
    Enharmonic spelling, which MIDI does not carry, is dropped by the names.

    Read a MIDI file with ``music21.converter.parse(path, quantizePost=False)``. On the same file, classes
    differ from those of :func:`notes` where music21's reader changes the music. It gives one onset and one
    length to notes of a track that begin less than 1/16 of a quarter note apart and end at most that far
    apart. A note held over several bars can make a bar too long, which delays the rest of that part. And in
    a file of type 0, where all instruments share one track, notes that meet a drum stroke this way are lost.
    """
    music21 = import_music21()
    joined = _joined_music21(stream)
    onsets = _on_grid(np.array([float(start * PARTS) for start, _, _ in joined]))
    lengths = _duration(np.array([float(length * PARTS) for _, length, _ in joined]))
    groups: dict[int, list[tuple[int, int]]] = {}
    for onset, length, (_, _, midi) in zip(onsets.tolist(), lengths.tolist(), joined, strict=True):
        groups.setdefault(onset, []).append((length, midi))
    classes = []
    for _, group in sorted(groups.items()):
        pitches = [music21.pitch.Pitch(midi=midi) for midi in sorted({midi for _, midi in group})]
        chord = music21.chord.Chord(pitches)
        name = pitches[0].nameWithOctave if len(pitches) == 1 else ".".join(map(str, chord.normalOrder))
        kind = music21.duration.Duration(Fraction(min(group)[0], PARTS)).type
        classes.append(f"{name}_{kind}" if durations else name)
    return classes


def notes_to_score(classes: Iterable[str], tempo: float = 120, step: float = 0.5) -> symusic.Score:
    """A one-track piano score with the classes one after another; ``notes`` of it gives the classes again.

    A chord is laid upward in closed position from octave 4, an octave as two notes. A class lasts the
    undotted length of its type ("complex": 1.25 quarter notes), or ``step`` quarter notes if it has no type.
    Raises ValueError for a class that ``notes`` cannot give, and for a step below 1/8.
    """
    groups = [_decode(name, step) for name in classes]
    sizes = [len(pitches) for pitches, _ in groups]
    length = np.array([round(quarters * TICKS_PER_QUARTER) for _, quarters in groups], np.int64)
    pitch = np.array([midi for pitches, _ in groups for midi in pitches], np.int64)
    start = np.cumsum(length) - length
    return _score(TICKS_PER_QUARTER, tempo, np.repeat(start, sizes), np.repeat(length, sizes), pitch)


def notes_to_music21(classes: Iterable[str], step: float = 0.5) -> Stream:
    """What :func:`notes_to_score` gives, as a music21 stream: for music21's MIDI writer, as in the papers."""
    music21 = import_music21()
    result: Stream = music21.stream.Stream()
    for name in classes:
        midis, quarters = _decode(name, step)
        pitches = [music21.pitch.Pitch(midi=midi) for midi in midis]
        element = music21.note.Note(pitches[0]) if len(pitches) == 1 else music21.chord.Chord(pitches)
        element.quarterLength = quarters
        result.append(element)
    return result


def normal_order(pitch_classes: Iterable[int]) -> list[int]:
    """The most compact ordering, counted upward, of a set of pitch classes from 0 to 11.

    The smallest span from first to last wins, then the smallest intervals above the first, nearest one first,
    then the lowest first pitch class (Forte, The Structure of Atonal Music, 1973; music21's normalOrder).
    """
    ordered = sorted(set(pitch_classes))
    rotations = [ordered[first:] + ordered[:first] for first in range(len(ordered))]

    def openness(rotation: list[int]) -> tuple[int, list[int]]:
        intervals = [(pitch_class - rotation[0]) % 12 for pitch_class in rotation]
        return intervals[-1], intervals

    return min(rotations, key=openness)


def duration_type(length: int) -> str:
    """music21's duration type of a length on the grid, in 24ths of a quarter note from 3 to 64 × 24."""
    eighths, sixth = divmod(length, PARTS // 8)
    if sixth:  # a multiple of 1/6 alone is one tuplet, named after the next longer note value
        return DURATION_TYPES[eighths.bit_length()]
    ones = f"{eighths:b}".rstrip("0")  # a note value with up to four dots is a run of binary ones
    return "complex" if "0" in ones or len(ones) > 5 else DURATION_TYPES[eighths.bit_length() - 1]


@cache
def _class(sound: int, duration: int) -> str:
    """The class of a MIDI pitch, or of 128 + a set of pitch classes as bits; duration in 24ths or 0."""
    if sound < 128:
        name = PITCH_NAMES[sound]
    else:
        name = ".".join(map(str, normal_order(bit for bit in range(12) if sound - 128 >> bit & 1)))
    return f"{name}_{duration_type(duration)}" if duration else name


@cache
def _pitches() -> dict[str, list[int]]:
    """The MIDI pitches that each class without duration decodes to."""
    pitches = {name: [pitch] for pitch, name in enumerate(PITCH_NAMES)}
    for bits in range(1, 2**12):
        name = _class(128 + bits, 0)
        first, *others = map(int, name.split("."))
        above = [(other - first) % 12 for other in others] or [12]
        pitches[name] = [60 + first + interval for interval in (0, *above)]
    return pitches


def _decode(name: str, step: float) -> tuple[list[int], float]:
    """MIDI pitches, and a length in quarter notes."""
    if step < SHORTEST / PARTS:
        raise ValueError(f"step is {step} quarter notes, too short to tell notes apart: give at least 0.125.")
    sound, typed, kind = name.partition("_")
    if sound not in _pitches():
        raise ValueError(
            f'Class "{name}" holds neither a pitch such as C#4 nor pitch classes in normal '
            "order such as 0.4.7: give classes that the notes encoding made."
        )
    if typed and kind not in QUARTERS:
        raise ValueError(f'Class "{name}" has an unknown duration type: use one of {", ".join(QUARTERS)}.')
    return _pitches()[sound], QUARTERS[kind] if typed else step


def _on_grid(parts: np.ndarray) -> np.ndarray:
    """The nearest grid point to each time in 24ths of a quarter note; halfway goes up."""
    beat, rest = np.divmod(parts, PARTS)
    nearest = GRID[np.searchsorted((GRID[1:] + GRID[:-1]) / 2, rest, side="right")]
    return beat.astype(np.int64) * PARTS + nearest


def _duration(parts: np.ndarray) -> np.ndarray:
    return np.clip(_on_grid(parts), SHORTEST, LONGEST)


def _joined_music21(stream: Stream) -> list[list]:
    """[start, length, MIDI pitch] of each note, ties joined within a part; in quarter notes, as Fractions."""
    joined: list[list] = []
    for part in list(stream.getElementsByClass("Part")) or [stream]:
        tied: dict[tuple, list] = {}  # (pitch, where it ends so far) → a note that a tie lengthens
        for element in part.flatten().notes:
            if not element.quarterLength or not element.pitches:  # a grace note, or percussion
                continue
            start, length = Fraction(element.offset), Fraction(element.quarterLength)
            for note in element.notes if element.isChord else [element]:
                midi = note.pitch.midi
                row = tied.pop((midi, start), None)
                if row is None:
                    row = [start, Fraction(0), midi]
                    joined.append(row)
                row[1] += length
                if note.tie is not None and note.tie.type in ("start", "continue"):
                    tied[midi, start + length] = row
    return joined


# ---------------------------------------------------------------- frames


def frames(score: symusic.Score, steps_per_beat: int = 4) -> np.ndarray:
    """bool (time, 128) of a score in ticks: True while a pitch sounds; (0, 128) if none does.

    A note sounds from its start to its end, both at the nearest step (halfway up), and for one step at least.
    """
    first, last, pitch = _steps(score, steps_per_beat)
    roll = np.zeros((last.max(initial=0), 128), bool)
    step, note = _every_step(first, last)
    roll[step, pitch[note]] = True
    return roll


def onsets(score: symusic.Score, steps_per_beat: int = 4) -> np.ndarray:
    """bool, of the shape of ``frames``: True where a note begins."""
    first, last, pitch = _steps(score, steps_per_beat)
    roll = np.zeros((last.max(initial=0), 128), bool)
    roll[first, pitch] = True
    return roll


def frames_to_score(
    roll: np.ndarray, steps_per_beat: int = 4, tempo: float = 120, velocity: int = 80, program: int = 0
) -> symusic.Score:
    """A one-track score from bool (time, 128): each unbroken run of a pitch becomes one held note.

    ``frames`` of it gives the roll again, less silent rows at the end. Raises ValueError for another shape.
    """
    roll = np.asarray(roll, bool)
    if roll.ndim != 2 or roll.shape[1] != 128:
        raise ValueError(f"The roll has shape {roll.shape}: give a bool array of shape (time, 128).")
    return _score(steps_per_beat * STEP_TICKS, tempo, *_held_notes(roll), velocity, program)


def _held_notes(roll: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks, and pitch, of each unbroken run of a pitch in a bool (time, 128)."""
    change = np.diff(np.pad(roll, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
    pitch, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)  # in the same order: by pitch, then time
    order = np.lexsort((pitch, first))
    return first[order] * STEP_TICKS, (last - first)[order] * STEP_TICKS, pitch[order]


def _strokes(roll: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`_held_notes`, each step of a bool (time, 128) a note of its own."""
    step, pitch = np.nonzero(roll)
    return step * STEP_TICKS, np.full_like(step, STEP_TICKS), pitch


def _steps(score: symusic.Score, steps_per_beat: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First step, the step after the last, and pitch of each note."""
    start, length, pitch = _sounding(score)
    return *_nearest_steps(start, start + length, score.ticks_per_quarter, steps_per_beat), pitch


def _nearest_steps(
    start: np.ndarray, end: np.ndarray, quarter: int, steps_per_beat: int
) -> tuple[np.ndarray, np.ndarray]:
    """First step and the step after the last, of notes from start to end in ticks; one step at least."""
    first = (2 * start * steps_per_beat + quarter) // (2 * quarter)  # rounds in whole numbers, halfway up
    last = (2 * end * steps_per_beat + quarter) // (2 * quarter)
    return first, np.maximum(first + 1, last)


def _every_step(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each step of each note from ``first`` to before ``last``, and the number of its note."""
    lengths = last - first
    note = np.repeat(np.arange(len(first)), lengths)
    return np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths), note


# ---------------------------------------------------------------- band

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


def band(score: symusic.Score, steps_per_beat: int = 2) -> np.ndarray:
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
    return band_roll(start - anchor, end - anchor, pitch, channel, score.ticks_per_quarter, steps_per_beat)


def band_roll(
    start: np.ndarray,
    end: np.ndarray,
    pitch: np.ndarray,
    channel: np.ndarray,
    quarter: int,
    steps_per_beat: int,
) -> np.ndarray:
    """bool (time, 128, 5) of notes with times in ticks, ``quarter`` of them a beat, from the first bar line."""
    first, last = _nearest_steps(start, end, quarter, steps_per_beat)
    first = np.maximum(first, 0)
    last = np.where(channel == DRUMS, first + 1, np.maximum(first + 1, last))
    roll = np.zeros((last.max(initial=0), 128, len(INSTRUMENTS)), bool)
    step, note = _every_step(first, last)
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


def band_to_score(roll: np.ndarray, steps_per_beat: int = 2, tempo: float = 120) -> symusic.Score:
    """A score of five tracks from bool (time, 128, 5); ``band`` of it gives the roll again, less silence at the end.

    Each unbroken run of a pitch becomes one held note, but for drums, where each step is a stroke of its own.
    Raises ValueError for another shape.
    """
    roll = np.asarray(roll, bool)
    if roll.ndim != 3 or roll.shape[1:] != (128, len(INSTRUMENTS)):
        raise ValueError(f"The roll has shape {roll.shape}: give a bool array of shape (time, 128, 5).")
    score = symusic.Score(steps_per_beat * STEP_TICKS)
    score.tempos.append(symusic.Tempo(0, tempo))
    score.time_signatures.append(symusic.TimeSignature(0, 4, 4))
    for channel, name in enumerate(INSTRUMENTS):
        notes = _strokes(roll[..., channel]) if channel == DRUMS else _held_notes(roll[..., channel])
        track = _track(*notes, VELOCITIES[channel], PROGRAMS[channel], name, channel == DRUMS)
        score.tracks.append(track)
    return score


# ---------------------------------------------------------------- scores


def _sounding(score: symusic.Score) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks, and pitch, of every note that has a length, drums apart; int64."""
    columns = [track.notes.numpy() for track in score.tracks if not track.is_drum]
    start, length, pitch = (
        np.concatenate([np.zeros(0, np.int64)] + [column[name] for column in columns])
        for name in ("time", "duration", "pitch")
    )
    sounding = length > 0
    return start[sounding], length[sounding], pitch[sounding]


def _score(
    ticks_per_quarter: int,
    tempo: float,
    start: np.ndarray,
    length: np.ndarray,
    pitch: np.ndarray,
    velocity: int = 80,
    program: int = 0,
) -> symusic.Score:
    score = symusic.Score(ticks_per_quarter)
    score.tempos.append(symusic.Tempo(0, tempo))
    score.tracks.append(_track(start, length, pitch, velocity, program))
    return score


def _track(
    start: np.ndarray,
    length: np.ndarray,
    pitch: np.ndarray,
    velocity: int,
    program: int,
    name: str = "",
    is_drum: bool = False,
) -> symusic.Track:
    track = symusic.Track(name=name, program=program, is_drum=is_drum)
    times, pitches = (start.astype(np.int32), length.astype(np.int32)), pitch.astype(np.int8)
    track.notes = symusic.Note.from_numpy(*times, pitches, np.full(len(pitch), velocity, np.int8))
    return track
