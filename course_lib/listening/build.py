"""Makes a blind listening test from what runs have left: a folder with `test.json` and `clips/` (notebook 12).

`runs` are records as `record.load` gives them: `folder`, `profile` and `systems`, each of these with `name`, `kind`,
`real` and `pieces` (paths of MIDI files in the folder).
"""

from __future__ import annotations

import itertools
import json
import random
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import symusic

from course_lib import UsageError, files
from course_lib.hear import listen, soundfont
from course_lib.listening import published, sessions
from course_lib.music import midi

TEMPO = 120  # beats a minute, of every clip: else real music could be told by it
LOUDNESS = -23.0  # LUFS, the broadcasters' level (EBU R 128)
PEAK = 0.9  # of full scale at most
FADE = 0.25  # seconds at the end of a clip
AUDIBLE = 0.01  # of full scale
SOUNDING = 0.5  # of a clip at least must be audible


class Piece(NamedTuple):
    """One piece that a run has left as MIDI."""

    system: str
    kind: str
    real: bool
    source: str  # the end of its path
    profile: str
    path: Path


def usual_systems(runs: Sequence[Any], form: str) -> tuple[list[str] | None, int]:
    """The systems that claims by ear are about in this form, and clips of each; None for all where runs lack them."""
    if form not in sessions.FORMS:
        raise UsageError(f"Form '{form}' is unknown: use {', '.join(sessions.FORMS)}.")
    known = published.load()
    there = {system.name for run in runs for system in run.systems}
    rated = [system.name for system in known.system.values() if form in system.forms and system.name in there]
    return rated or None, known.clips_each[form]


def build(
    runs: Sequence[Any],
    target: str | Path,
    form: str = "rating",
    systems: Sequence[str] | None = None,
    clips_each: int = 2,
    seconds: float = 10,
    seed: int = 0,
) -> Path:
    """Make the folder `target`: `clips_each` clips of each system (default: of all), and of real music of their kinds.

    Args:
        form: "rating" (1 to 10), "scales" (five, 0 to 5) or "pairs".
        seed: of the choice of pieces.

    Raises:
        UsageError: nothing to choose from, or a target that holds a test.
    """
    target = Path(target)
    if clips_each < 1 or not 1 <= seconds <= 60:
        raise UsageError(f"{clips_each} clips of {seconds} s each are no test: ask for 1 or more, of 1 to 60 s.")
    if (target / "test.json").exists():
        raise UsageError(f"{target} holds a listening test, which is never replaced: choose another folder.")

    import soundfile  # only here: `doctor` must start where it cannot be imported

    drawn = _drawn(_chosen(runs, systems), clips_each, seconds, seed)
    random.Random(seed).shuffle(drawn)  # so that a clip's place in test.json does not tell its system
    clips: list[Any] = [{"id": secrets.token_hex(5)} | piece._asdict() for piece, _ in drawn]
    for clip in clips:
        del clip["path"]  # which holds on this machine alone
    test: sessions.Test = {"id": secrets.token_hex(4), "form": form, "seconds": seconds, "clips": clips, "seed": seed}
    if len(clips) < 2 or not sessions.items(test, ""):
        problem = f"Too few clips ({len(clips)}) for a test of form '{form}'"
        raise UsageError(f"{problem}: choose more systems of one kind, or fewer seconds.")
    sounds = _equally_loud([audio for _, audio in drawn])
    (target / "clips").mkdir(parents=True, exist_ok=True)
    for clip, sound in zip(clips, sounds, strict=True):
        # Lossless, and played by every browser, also by older ones on telephones, which do not know Ogg.
        soundfile.write(target / "clips" / f"{clip['id']}.flac", sound, soundfont.SAMPLE_RATE)
    with files.atomic_write(target / "test.json") as partial:  # last: it tells that the test is whole
        partial.write_text(json.dumps(test, indent=1) + "\n", encoding="utf-8")
    return target


def _chosen(runs: Sequence[Any], systems: Sequence[str] | None) -> list[Piece]:
    """The pieces of the systems, and the real ones of the same kinds. UsageError: none, or an unknown system."""
    recorded = [(run, system) for run in runs for system in run.systems]
    pieces = [
        Piece(system.name, system.kind, system.real, "/".join(path.parts[-4:]), run.profile, path)
        for run, system in recorded
        for path in (Path(run.folder) / file for file in system.pieces)
    ]
    if all(piece.real for piece in pieces):
        raise UsageError(f"None of {len(runs)} runs has recorded pieces of a system: run a notebook from 02 on first.")
    if len(profiles := {piece.profile for piece in pieces}) > 1:
        raise UsageError(f"The runs are of the profiles {' and '.join(sorted(profiles))}: give folders of one profile.")
    there = sorted({piece.system for piece in pieces})
    wanted = there if systems is None else systems
    silent = {system.name for _, system in recorded if not system.pieces and (not systems or system.name in systems)}
    if silent:
        print(f"Left out, as all their pieces are silent: {', '.join(sorted(silent))}")
    if unknown := [name for name in wanted if name not in there]:
        raise UsageError(f"System '{unknown[0]}' is unknown: the runs have {', '.join(map(repr, there))}.")
    kinds = {piece.kind for piece in pieces if piece.system in wanted}
    return [piece for piece in pieces if piece.system in wanted or piece.real and piece.kind in kinds]


def _drawn(pieces: list[Piece], each: int, seconds: float, seed: int) -> list[tuple[Piece, np.ndarray]]:
    """At most `each` pieces of every system, whatever run they come from, and their sound.

    Says what was left out for being too short, and which systems and real music are missing.
    """
    drawn: list[tuple[Piece, np.ndarray]] = []
    left_out, missing = [], []
    for system in sorted({piece.system for piece in pieces}):
        usable: dict[bytes, tuple[Piece, symusic.Score]] = {}  # by content: seeds record the same real music
        for piece in sorted(piece for piece in pieces if piece.system == system):
            if opening := _opening(piece, seconds):
                usable.setdefault(piece.path.read_bytes(), (piece, opening))
            else:
                left_out.append(piece.source)
        order = random.Random(f"{seed}/{system}").sample(list(usable.values()), len(usable))
        sounds = ((piece, _sound(opening, seconds)) for piece, opening in order)
        some = list(itertools.islice((pair for pair in sounds if _sounding(pair[1]) >= SOUNDING), each))
        drawn += some
        missing += [] if some else [system]
    if left_out:
        print(f"Left out, shorter than {seconds:g} s or unreadable: {', '.join(left_out)}")
    if missing:
        print(f"Left out, without a piece that is long enough and sounds: {', '.join(missing)}")
    for kind in sorted({piece.kind for piece, _ in drawn} - {piece.kind for piece, _ in drawn if piece.real}):
        print(f"No real music ({kind}) to be had: the test has no hidden reference for it.")
    return drawn


def _sounding(audio: np.ndarray) -> float:
    """The share of tenths of a second in which something is heard."""
    tenth = soundfont.SAMPLE_RATE // 10
    blocks = np.abs(audio[: len(audio) // tenth * tenth]).reshape(-1, tenth * 2)
    return float((blocks.max(axis=1) > AUDIBLE).mean())


def _opening(piece: Piece, seconds: float) -> symusic.Score | None:
    """The first seconds at the common tempo, from the first note on; None: it is shorter, or unreadable."""
    try:
        score = midi.read(piece.path)
        score.tempos = [symusic.Tempo(0, TEMPO)]
        if piece.kind == "piano":  # else real music, or a model, could be told by its instruments
            score.tracks = [track for track in score.tracks if not track.is_drum]
            for track in score.tracks:
                track.program = 0
        score = score.to("second")
    except (OSError, ValueError):
        return None
    if not score.note_num():  # drums alone
        return None
    start = _first_note(score)
    end = max(note.end for track in score.tracks for note in track.notes)
    return score.clip(0, start + seconds, clip_end=True) if end - start >= seconds - 0.001 else None  # float32


def _first_note(score: symusic.Score) -> float:
    return min(note.start for track in score.tracks for note in track.notes)


def _sound(opening: symusic.Score, seconds: float) -> np.ndarray:
    """(samples, 2): exactly the seconds from the first note on, faded out at the end."""
    start, length, fade = (round(t * soundfont.SAMPLE_RATE) for t in (_first_note(opening), seconds, FADE))
    audio = listen.render(opening)[start : start + length]
    audio = np.pad(audio, ((0, length - len(audio)), (0, 0)))
    audio[-fade:] *= np.linspace(1, 0, fade, dtype="float32")[:, None]
    return audio


def _equally_loud(sounds: list[np.ndarray]) -> list[np.ndarray]:
    """The sounds at -23 LUFS (ITU-R BS.1770), or all lower where one would leave full scale."""
    import pyloudnorm  # slow to import, and no page has need of it

    meter = pyloudnorm.Meter(soundfont.SAMPLE_RATE)
    loudness = [meter.integrated_loudness(sound) for sound in sounds]
    room = [20 * np.log10(PEAK / np.abs(sound).max()) for sound in sounds]
    level = min(LOUDNESS, *(loud + up for loud, up in zip(loudness, room, strict=True)))
    return [sound * 10 ** ((level - loud) / 20) for sound, loud in zip(sounds, loudness, strict=True)]
