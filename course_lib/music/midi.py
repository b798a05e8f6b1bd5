"""Scores read from MIDI files, and what is made from and of them: pieces, columns of notes, tracks."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import symusic

MAX_FILE_BYTES = 10_000_000
MAX_TRACKS = 1_000
MAX_QUARTERS = 20_000  # over three hours at 100 quarters a minute: a broken delta time, not music


@dataclass(frozen=True)
class Piece:
    """One work: its score in ticks, and the time signatures in order of first appearance (at least one)."""

    name: str
    composer: str
    score: symusic.Score
    time_signatures: tuple[str, ...]


def fingerprint(pieces: list[Piece]) -> str:
    """Twelve hexadecimal digits that change when any name or note of the pieces does."""
    digest = hashlib.sha256()
    for piece in sorted(pieces, key=lambda piece: piece.name):
        header = f"{piece.name} {piece.score.ticks_per_quarter} {piece.time_signatures}"
        digest.update(header.encode(errors="surrogateescape"))  # file names need not be UTF-8
        for track in piece.score.tracks:
            notes = track.notes.numpy()
            for column in ("time", "duration", "pitch"):
                digest.update(notes[column].tobytes())
    return digest.hexdigest()[:12]


def folder(path: str | Path) -> list[Piece]:
    """Every `.mid` or `.midi` file at any depth below `path` that can be used, as pieces sorted by name.

    The composer is the first folder below `path`, or "" for a file at the top. Files that cannot be used, such as
    those that hold drums only, are named on stderr.

    Raises:
        ValueError: where nothing usable is found.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f'There is no folder {root}: set data to a folder of MIDI files, or to "embedded".')
    files = list(midi_files(root))
    if not files:
        raise ValueError(f"The folder {root} holds no .mid or .midi file at any depth: point data at one that does.")
    pieces, skipped = [], []
    for file in files:
        name = file.relative_to(root)
        try:
            score = read(file)
            if all(track.is_drum for track in score.tracks if track.notes):
                raise ValueError("holds drums only")
        except (ValueError, OSError) as problem:
            skipped.append(f"  {name}: {problem}")
            continue
        composer = name.parts[0] if len(name.parts) > 1 else ""
        pieces.append(new_piece(name.with_suffix("").as_posix(), composer, score))
    if skipped:
        print(f"Skipped {len(skipped)} of {len(files)} MIDI files in {root}:", *skipped, sep="\n", file=sys.stderr)
    if not pieces:
        raise ValueError(f"None of the {len(files)} MIDI files in {root} can be used; the first: {skipped[0].strip()}.")
    return pieces


def midi_files(root: Path) -> Iterator[Path]:
    """Paths of the MIDI files at any depth below `root`, in sorted order."""
    return (path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".mid", ".midi") and path.is_file())


def read(path: Path) -> symusic.Score:
    """The score of one MIDI file, in ticks.

    Raises:
        ValueError: with the reason why the file cannot be used.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES // 1_000_000} MB")
    content = path.read_bytes()
    _check_chunks(content)
    try:
        score = symusic.Score.from_midi(content)
    except Exception as error:  # symusic raises several types, RuntimeError and ValueError among them
        raise ValueError(f"not readable as MIDI ({str(error).splitlines()[0]})") from error
    if score.ticks_per_quarter <= 0:
        raise ValueError("its clock is not in ticks a quarter note")
    if score.note_num() == 0:
        raise ValueError("holds no notes")
    if any(not 0 < tempo.qpm < 10_000 for tempo in score.tempos):
        raise ValueError("has a tempo of zero")
    if any(meter.numerator < 1 or meter.denominator < 1 for meter in score.time_signatures):
        raise ValueError("has a time signature of zero")
    # Times are 32-bit in symusic: the sum of absurd ones comes out below zero.
    if score.start() < 0 or score.end() > MAX_QUARTERS * score.ticks_per_quarter:
        raise ValueError(f"claims to last more than {MAX_QUARTERS:,} quarter notes")
    return score


def _check_chunks(content: bytes) -> None:
    """Walk the chunks of a MIDI file: a parser may return half of a file that was cut off and say nothing."""
    if not content:
        raise ValueError("an empty file")
    if content[:4] != b"MThd":
        raise ValueError("not a MIDI file")
    if len(content) < 14:
        raise ValueError("cut off in its header")
    tracks = int.from_bytes(content[10:12], "big")
    if tracks > MAX_TRACKS:
        raise ValueError(f"declares {tracks:,} tracks, more than {MAX_TRACKS:,}")
    position = 8 + int.from_bytes(content[4:8], "big")
    track = 1
    while track <= tracks:
        end = position + 8 + int.from_bytes(content[position + 4 : position + 8], "big")
        if position + 8 > len(content) or end > len(content):
            raise ValueError(f"cut off in track {track} of {tracks}")
        if content[position : position + 4] == b"MTrk":  # other chunks may stand between
            if not _sound_events(content, position + 8, end):
                raise ValueError(f"a damaged event in track {track} of {tracks}")
            track += 1
        position = end


# Events of the Standard MIDI File 1.0 as patterns. A time (TIME) ends at its first byte below 128, and so do
# lengths; a status byte is above, and an event without one repeats the last (running status).
TIME = rb"[\x80-\xff]{0,3}[\x00-\x7f]"
SHORT = rb"TIME([\xc0-\xdf])[\x00-\x7f](?:TIME[\x00-\x7f]){0,999}"
LONG = rb"TIME([\x80-\xbf\xe0-\xef])[\x00-\x7f]{2}(?:TIME[\x00-\x7f]{2}){0,999}"
REPEATED = {0: b"", 1: rb"(?:TIME[\x00-\x7f]){1,999}|", 2: rb"(?:TIME[\x00-\x7f]{2}){1,999}|"}
CHANNEL_EVENTS = {
    size: re.compile((repeated + rb"(?:" + SHORT + rb"|" + LONG + rb"){1,999}").replace(b"TIME", TIME))
    for size, repeated in REPEATED.items()
}
META_OR_SYSEX = re.compile(rb"TIME(?:\xff([\x00-\x7f])|\xf0)(TIME)".replace(b"TIME", TIME))


def _sound_events(content: bytes, position: int, end: int) -> bool:
    """Whether a track is made of whole events: a damaged one can crash symusic 0.5, and Python with it."""
    data_bytes = 0  # of the event that a running status repeats
    while position < end:
        if events := CHANNEL_EVENTS[data_bytes].match(content, position, end):
            position, data_bytes = events.end(), events.lastindex or data_bytes
        elif event := META_OR_SYSEX.match(content, position, end):
            length = reduce(lambda value, byte: value << 7 | byte & 127, event[2], 0)
            position = event.end() + length
            if event[1] == b"\x2f":
                break  # end of track
            if event[1] is None:
                data_bytes = 0
        else:
            return False
    return position <= end


def new_piece(name: str, composer: str, score: symusic.Score) -> Piece:
    """A piece with the time signatures of its score."""
    found = [f"{signature.numerator}/{signature.denominator}" for signature in score.time_signatures]
    return Piece(name, composer, score, tuple(dict.fromkeys(found)) or ("4/4",))  # 4/4 is MIDI's own default


def all_notes(score: symusic.Score) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks, pitch, and the number of its track, of every note; int64 `(notes,)` each."""
    columns = [track.notes.numpy() for track in score.tracks]
    start, length, pitch = (
        np.concatenate([np.zeros(0, np.int64), *(column[name] for column in columns)])
        for name in ("time", "duration", "pitch")
    )
    return start, length, pitch, np.repeat(np.arange(len(columns)), [len(column["time"]) for column in columns] or 0)


def sounding_notes(score: symusic.Score) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and length in ticks, and pitch, of every note that has a length, drums apart; int64 `(notes,)` each."""
    start, length, pitch, track = all_notes(score)
    sounding = (length > 0) & ~np.array([each.is_drum for each in score.tracks], bool)[track]
    return start[sounding], length[sounding], pitch[sounding]


def piano_score(
    ticks_per_quarter: int, tempo: float, start: np.ndarray, length: np.ndarray, pitch: np.ndarray
) -> symusic.Score:
    """A score of one piano track from columns of its notes, times in ticks; the tempo in quarter notes a minute."""
    score = symusic.Score(ticks_per_quarter)
    score.tempos.append(symusic.Tempo(0, tempo))
    score.tracks.append(symusic.Track(notes=note_list(start, length, pitch)))
    return score


def note_list(
    start: np.ndarray, length: np.ndarray, pitch: np.ndarray, velocity: int = 80
) -> symusic.core.NoteTickList:
    """Symusic's notes from columns, times in ticks."""
    times, pitches = (start.astype(np.int32), length.astype(np.int32)), pitch.astype(np.int8)
    return symusic.Note.from_numpy(*times, pitches, np.full(len(pitch), velocity, np.int8))
