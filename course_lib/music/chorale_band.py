"""The chorale band: Bach's four-part chorales arranged by rule for the five instruments of a band.

A stand-in for LPD-5-cleansed, which has to be downloaded: five instruments that fit one another, made from
music that every user has. Real are the notes and the harmony; the guitar's figures and the drums are ours. Notebook
06 plays it.
"""

from __future__ import annotations

import zlib
from operator import itemgetter

import numpy as np
import symusic

from course_lib.music import band, corpus, midi

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
TICKS = 480  # a quarter note, in the arranged scores
EIGHTH = TICKS // 2
BAR = 8  # eighths
GUITAR_LOWEST, BASS_LOWEST, BASS_HIGHEST = 52, 28, 48  # E3, E1, C3
FIGURES = ((0, 1, 2, 3, 2, 1, 2, 1), (0, 2, 1, 3, 0, 2, 1, 3), (0, 3, 2, 1, 0, 3, 2, 1))  # notes of the chord
KICK, SNARE, TOM, LOW_TOM, HI_HAT, CRASH = 36, 38, 48, 45, 42, 49  # General MIDI percussion
BEATS = ((0, 4), (0, 3, 4), (0, 4, 5))  # eighths of a bar on which the bass drum is struck
PHRASE = 4 * BAR  # where a chorale marks no phrases, they are taken to last four bars


def load() -> list[midi.Piece]:
    """Every four-part chorale in 4/4 of the embedded corpus, arranged; sorted by name, the same each time."""
    return [
        midi.Piece(piece.name, "chorale band", arrange(piece), ("4/4",))
        for piece in corpus.embedded()
        if piece.time_signatures == ("4/4",) and all(_voices(piece.score))
    ]


def arrange(piece: midi.Piece) -> symusic.Score:
    """A chorale of four voices as a score of five tracks, its upbeat at the end of a bar of its own.

    Piano: the three upper voices as they stand. Bass: the bass voice, folded into E1 to C3. Strings: alto and tenor
    an octave higher, moving by beats. Guitar: the chord broken into eighths. Drums: a beat, a fill before the end of
    each phrase and a crash after it. Which figure and which beat is drawn from the name of the piece.
    """
    score = piece.score.resample(TICKS)
    first_bar = next((marker.time for marker in score.markers if marker.text == "bar line"), 0)
    score = score.shift_time(-first_bar % (band.BEATS_PER_BAR * TICKS))  # silence before the upbeat
    tracks = _voices(score)
    eighths = round(max(track.end() for track in tracks) / EIGHTH)
    fermatas = [round(marker.time / EIGHTH) for marker in score.markers if marker.text == "fermata"]
    phrases = fermatas or list(range(PHRASE, eighths, PHRASE))  # their ends
    drawn = zlib.crc32(piece.name.encode())

    voices = [[(note.time, note.duration, note.pitch) for note in track.notes] for track in tracks]
    sounding = np.stack([_sampled(voice, eighths) for voice in voices])  # (4, eighths)
    parts = [
        [note for voice in voices[:3] for note in voice],
        _guitar(sounding, FIGURES[drawn % 3]),
        [(start, length, _folded(pitch)) for start, length, pitch in voices[3]],
        [note for row in sounding[1:3] for note in _held(row)],
        _drums(eighths, phrases, BEATS[drawn // 3 % 3]),
    ]
    columns = [np.array(sorted(notes)).T for notes in parts]
    return band.new_score(columns, TICKS, score.tempos[0].qpm)


def _voices(score: symusic.Score) -> list:
    """The track of each of `VOICES`, None where there is none."""
    named = {track.name: track for track in score.tracks}
    return [named.get(voice) for voice in VOICES]


def _sampled(voice: list[tuple[int, int, int]], eighths: int) -> np.ndarray:
    """The pitch of a voice at the start of each eighth, 0 where it is silent: (eighths,)."""
    start, length, pitch = np.array(sorted(voice, key=itemgetter(0))).T
    time = np.arange(eighths) * EIGHTH
    last = np.searchsorted(start, time, side="right") - 1
    return np.where((last >= 0) & (time < (start + length)[last]), pitch[last], 0)


def _folded(pitch: int) -> int:
    """The same pitch class in the range of the bass guitar, as near as octaves allow."""
    while pitch > BASS_HIGHEST:
        pitch -= 12
    return pitch if pitch >= BASS_LOWEST else pitch + 12


def _guitar(sounding: np.ndarray, figure: tuple[int, ...]) -> list[tuple[int, int, int]]:
    notes = []
    for eighth, column in enumerate(sounding.T):
        chord = sorted({GUITAR_LOWEST + (int(pitch) - GUITAR_LOWEST) % 12 for pitch in column if pitch})
        if chord:
            notes.append((eighth * EIGHTH, EIGHTH, chord[figure[eighth % BAR] % len(chord)]))
    return notes


def _held(row: np.ndarray) -> list[tuple[int, int, int]]:
    """The pitch at each beat, an octave higher; beats with the same pitch become one note."""
    beats = row[::2]
    change = np.flatnonzero(np.diff(beats, prepend=-1, append=-1))
    return [
        (int(first) * TICKS, int(after - first) * TICKS, int(beats[first]) + 12)
        for first, after in zip(change, change[1:], strict=False)
        if beats[first]
    ]


def _drums(eighths: int, phrases: list[int], bass_drum: tuple[int, ...]) -> list[tuple[int, int, int]]:
    ends = set(phrases)
    strokes = []
    for eighth in range(eighths):
        place = eighth % BAR
        if ends & {eighth + 1, eighth + 2}:  # the last beat of a phrase
            strokes.append((eighth, TOM if eighth + 2 in ends else LOW_TOM))
        else:
            strokes.append((eighth, CRASH if eighth in ends else HI_HAT))
        if place in bass_drum:
            strokes.append((eighth, KICK))
        if place in (2, 6):
            strokes.append((eighth, SNARE))
    return [(eighth * EIGHTH, EIGHTH, pitch) for eighth, pitch in strokes]
