"""The embedded corpus: Bach, Haydn, Mozart and Beethoven from inside the music21 package."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import symusic
from tqdm import tqdm

from course_lib import files
from course_lib.music import midi

COMPOSERS = ("bach", "haydn", "mozart", "beethoven")
TICKS_PER_QUARTER = 10080  # divisible by 2^5, 9, 5 and 7: every rhythm of the corpus falls on a whole tick
DEFAULT_TEMPO = 100  # quarter notes a minute, for the many scores that print no tempo


def load(data: str | Path = "embedded") -> list[midi.Piece]:
    """Pieces of the embedded corpus (``data="embedded"``) or of a folder of MIDI files, sorted by name."""
    return embedded() if str(data) == "embedded" else midi.folder(data)


def embedded() -> list[midi.Piece]:
    """Bach, Haydn, Mozart and Beethoven from the corpus inside the music21 package.

    Built once into the cache (about a minute on two cores), then read in well under a second. A cache that
    was damaged, or made by another music21, is built again. Parts are kept as tracks, ties are joined, grace
    notes (which have no length) are left out and repeats are not played twice. Each file of the corpus keeps
    its own licence, so none of it is committed: it comes from the package on the user's machine.
    """
    where = files.cache_folder() / f"embedded-3-music21-{version('music21')}"
    pieces = _read_cache(where)
    if pieces is None:
        _build_cache(where)
        pieces = _read_cache(where)
    if pieces is None:
        raise OSError(f"The corpus built in {where} cannot be read back: is the disk full or failing?")
    return pieces


def import_music21():
    """The music21 package, imported when it is needed, as that takes a while.

    In a notebook it would, a second later, change how every later figure is drawn: that timer is stopped.
    """
    import music21

    timer = getattr(music21.ipython21, "t", None)
    if timer:
        timer.cancel()
    return music21


def corpus_paths() -> list[tuple[str, Path]]:
    """(name, path) of each distinct work of the four composers, by file name.

    The corpus has some works twice, as .krn beside .mxl: the .mxl is taken. Its .rntxt files hold
    harmonic analyses, not music.
    """
    corpus = import_music21().corpus

    chosen: dict[str, Path] = {}
    for composer in COMPOSERS:
        for path in sorted(Path(found) for found in corpus.getComposer(composer)):
            if path.suffix == ".rntxt":
                continue
            name = "/".join(path.with_suffix("").parts[path.parts.index(composer) :])
            if name not in chosen or path.suffix == ".mxl":
                chosen[name] = path
    return sorted(chosen.items())


def score_from_music21(stream) -> symusic.Score:
    """A music21 score as a symusic score at 10,080 ticks a quarter: a track a part.

    The stream itself is moved to sounding pitch, where its parts are written for transposing instruments.
    Markers "bar line" (the first, after an upbeat if there is one) and "fermata" (where it ends, in any
    part) keep what MIDI has no event for.
    """
    score = symusic.Score(TICKS_PER_QUARTER)
    marks = stream.recurse().getElementsByClass("MetronomeMark")
    tempos = [mark.getQuarterBPM() for mark in marks if mark.number]
    score.tempos.append(symusic.Tempo(0, tempos[0] if tempos else DEFAULT_TEMPO))
    stream.toSoundingPitch(inPlace=True)
    for offset, signature in _time_signatures(stream):
        numerator, denominator = map(int, signature.split("/"))
        score.time_signatures.append(symusic.TimeSignature(offset, numerator, denominator))
    for text, place in _marks(stream):
        score.markers.append(symusic.TextMeta(_ticks(place), text))
    for part in stream.parts:
        track = symusic.Track(name=str(part.partName or ""), program=0)
        for start, length, pitch in _sounding_notes(part):
            track.notes.append(symusic.Note(start, length, pitch, 80))
        if track.notes:
            score.tracks.append(track)
    return score


def _marks(stream) -> list[tuple[str, float]]:
    """(text, offset in quarter notes) of the first bar line and of where each fermata ends, in order of time."""
    bars = list(stream.parts[0].getElementsByClass("Measure"))
    upbeat = bars[0].barDuration.quarterLength - bars[0].paddingLeft if bars and bars[0].paddingLeft else 0
    fermatas = {
        element.offset + element.quarterLength
        for element in stream.flatten().notes
        if any("Fermata" in mark.classes for mark in element.expressions)
    }
    return [("bar line", upbeat), *(("fermata", end) for end in sorted(fermatas))]


def _sounding_notes(part) -> list[list[int]]:
    """[start, length, pitch] in ticks, ties joined.

    Joined here because music21's stripTies takes longer than parsing, and misses ties inside chords.
    """
    notes: list[list[int]] = []
    tied: dict[tuple[int, int], list[int]] = {}  # (pitch, end) → the note that a tie lengthens there
    for element in part.flatten().notes:
        start, length = _ticks(element.offset), _ticks(element.quarterLength)
        if length <= 0:
            continue
        for member in element.notes if element.isChord else [element]:
            pitch = member.pitch.midi
            note = tied.pop((pitch, start), None)  # some files mark only where a tie starts
            if note:
                note[1] += length
            else:
                note = [start, length, pitch]
                notes.append(note)
            if member.tie and member.tie.type in ("start", "continue"):
                tied[pitch, start + length] = note
    return notes


def _ticks(quarters) -> int:
    return round(quarters * TICKS_PER_QUARTER)


def _time_signatures(stream) -> list[tuple[int, str]]:
    found = {}
    for signature in stream.parts[0].recurse().getElementsByClass("TimeSignature"):
        found[_ticks(signature.getOffsetInHierarchy(stream))] = signature.ratioString
    return sorted(found.items())


def _convert_work(name: str, source: Path, folder: Path) -> dict | None:
    converter = import_music21().converter

    score = score_from_music21(converter.parse(source, forceSource=True))
    if score.note_num() == 0:
        return None
    content = score.dumps_midi()
    _cached_midi(folder, name).write_bytes(content)
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}


def _cached_midi(folder: Path, name: str) -> Path:
    return folder / (name.replace("/", "_") + ".mid")


def _build_cache(where: Path) -> None:
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        prefix = where.name + ".partial-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=where.parent, ignore_cleanup_errors=True) as partial:
            built = Path(partial) / "corpus"  # a folder that others may read, as a temporary one is not
            built.mkdir()
            _convert_works(built)
            try:
                built.rename(where)
            except OSError:
                if _read_cache(where) is None:  # else another process has built the same meanwhile
                    shutil.rmtree(where, ignore_errors=True)
                    built.rename(where)
    except OSError as error:
        raise OSError(
            f"The corpus cache {where} could not be written ({error}): free some disk space, "
            "or set COURSE_CACHE to a folder that can be written."
        ) from error
    except BrokenProcessPool as error:
        raise RuntimeError(
            "A process that read the corpus died: in a script of your own, load pieces under "
            '`if __name__ == "__main__":`; otherwise see that memory is free.'
        ) from error


def _convert_works(folder: Path) -> None:
    works = corpus_paths()
    # Largest first, so that both cores finish together; spawned, since a fork of a process that runs
    # a deep-learning library can hang.
    works.sort(key=lambda work: -work[1].stat().st_size)
    workers = min(8, os.cpu_count() or 1)  # a container may see all cores of a large machine, and have little memory
    with ProcessPoolExecutor(max_workers=workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_convert_work, name, source, folder) for name, source in works]
        progress = tqdm(jobs, desc="Building the embedded corpus (once)", unit="piece", mininterval=5)
        try:
            rows = [row for job in progress if (row := job.result())]
        finally:  # an interruption would otherwise wait for every piece
            pool.shutdown(cancel_futures=True)
    kept: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: row["name"]):
        kept.setdefault(row["sha256"], row)  # some works stand twice under two names, note for note
    for row in rows:
        if row not in kept.values():
            _cached_midi(folder, row["name"]).unlink()
    (folder / "index.json").write_text(json.dumps(list(kept.values()), indent=0))


def _read_cache(where: Path) -> list[midi.Piece] | None:
    """The cached pieces, or None where the cache is absent or differs in one byte from what was built."""
    try:
        pieces = []
        for row in json.loads((where / "index.json").read_text()):
            content = _cached_midi(where, row["name"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != row["sha256"]:
                return None
            pieces.append(midi.new_piece(row["name"], row["name"].split("/")[0], symusic.Score.from_midi(content)))
        return pieces or None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
