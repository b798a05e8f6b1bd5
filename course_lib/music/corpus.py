"""Pieces of music by the name of their source: the embedded corpus, or a folder of MIDI files.

The embedded corpus is Bach, Haydn, Mozart and Beethoven from inside the music21 package. Notebook 00 loads it.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import symusic
from tqdm import tqdm

from course_lib import files
from course_lib.music import midi

COMPOSERS = ("bach", "haydn", "mozart", "beethoven")
FORMAT = 4  # of the cache: another number makes everybody build it again
TICKS_PER_QUARTER = 10080  # divisible by 2^5, 9, 5 and 7: every rhythm of the corpus falls on a whole tick
DEFAULT_TEMPO = 100  # quarter notes a minute, for the many scores that print no tempo


def load(data: str | Path = "embedded") -> list[midi.Piece]:
    """Pieces of the embedded corpus (`data="embedded"`) or of a folder of MIDI files, sorted by name."""
    return embedded() if str(data) == "embedded" else midi.folder(data)


def state(data: str | Path = "embedded") -> str:
    """A short text that changes when what `data` names does, found without reading a note."""
    if str(data) == "embedded":
        return f"embedded-{FORMAT}-music21-{version('music21')}"
    root, digest = Path(data).expanduser(), hashlib.sha256()
    if (root / "bands.json").is_file():
        digest.update((root / "bands.json").read_bytes())
    else:
        for path in midi.midi_files(root):
            row = f"{path.relative_to(root).as_posix()} {path.stat().st_size} {path.stat().st_mtime_ns}\n"
            digest.update(row.encode(errors="surrogateescape"))  # file names need not be UTF-8
    return digest.hexdigest()[:12]


def embedded() -> list[midi.Piece]:
    """Bach, Haydn, Mozart and Beethoven from the corpus inside the music21 package.

    Built once into the cache (half a minute on two cores), and again where that was damaged, or made by another
    music21. Parts are kept as tracks, ties are joined, grace notes (which have no length) are left out and repeats are
    not played twice. Each file of the corpus keeps its own licence, so none of it is committed.
    """
    path = files.cache_folder() / f"{state('embedded')}.zip"
    pieces = _read_cache(path)
    if pieces is None:
        _build_cache(path)
        pieces = _read_cache(path)
    if pieces is None:
        raise OSError(f"The corpus built in {path} cannot be read back: is the disk full or failing?")
    return pieces


def import_music21():
    """The music21 package, imported when it is needed, as that takes a while."""
    import music21

    if timer := getattr(music21.ipython21, "t", None):  # would change how every later figure of a notebook is drawn
        timer.cancel()
    return music21


def corpus_paths() -> list[tuple[str, Path]]:
    """(name, path) of each distinct work of the four composers, by file name."""
    corpus = import_music21().corpus
    chosen: dict[str, Path] = {}
    for composer in COMPOSERS:
        for path in sorted(Path(found) for found in corpus.getComposer(composer)):
            name = "/".join(path.with_suffix("").parts[path.parts.index(composer) :])
            if path.suffix == ".rntxt":  # harmonic analyses, not music
                continue
            if name not in chosen or path.suffix == ".mxl":  # some works stand twice, as .krn beside .mxl
                chosen[name] = path
    return sorted(chosen.items())


def score_from_music21(stream) -> symusic.Score:
    """A music21 score as a symusic score at 10,080 ticks a quarter: a track a part, without percussion.

    The stream itself is moved to sounding pitch. Markers "bar line" (the first, after an upbeat if there is one) and
    "fermata" (where it ends, in any part) keep what MIDI has no event for.
    """
    score = symusic.Score(TICKS_PER_QUARTER)
    marks = stream.recurse().getElementsByClass("MetronomeMark")
    tempos = [mark.getQuarterBPM() for mark in marks if mark.number]
    score.tempos.append(symusic.Tempo(0, tempos[0] if tempos else DEFAULT_TEMPO))
    stream.toSoundingPitch(inPlace=True)
    signatures = stream.parts[0].recurse().getElementsByClass("TimeSignature")
    placed = {_ticks(signature.getOffsetInHierarchy(stream)): signature for signature in signatures}
    for time, signature in sorted(placed.items()):
        score.time_signatures.append(symusic.TimeSignature(time, signature.numerator, signature.denominator))
    for text, place in _marks(stream):
        score.markers.append(symusic.TextMeta(_ticks(place), text))
    for part in stream.parts:
        track = symusic.Track(name=str(part.partName or ""), program=0)
        for start, length, pitch in _joined_notes(part):
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


def _joined_notes(part) -> list[list[int]]:
    """[start, length, pitch] in ticks, ties joined: music21's stripTies misses those inside chords, and is slow."""
    notes: list[list[int]] = []
    tied: dict[tuple[int, int], list[int]] = {}  # (pitch, end) → the note that a tie lengthens there
    for element in part.flatten().notes:
        start, length = _ticks(element.offset), _ticks(element.quarterLength)
        if length <= 0 or not element.pitches:  # a grace note, or percussion
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


# ---------------------------------------------------------------- the cache: a .zip of MIDI files, one a piece


def _read_cache(path: Path) -> list[midi.Piece] | None:
    """The cached pieces, or None where the cache is absent or damaged, which its checksums tell."""
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name.removesuffix(".mid"): archive.read(name) for name in archive.namelist()}
            if len(contents) != int(archive.comment):
                return None
        return [
            midi.new_piece(name, name.split("/")[0], symusic.Score.from_midi(content))
            for name, content in contents.items()
        ]
    except Exception:  # a damaged .zip raises many types
        return None


def _build_cache(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        works = sorted(_converted_works())  # before the file is opened: a process that is stopped here leaves nothing
        written = set()
        with files.atomic_write(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in works:
                if content not in written:  # some works stand twice under two names, note for note
                    archive.writestr(f"{name}.mid", content)
                    written.add(content)
            archive.comment = str(len(written)).encode()  # as the list of files in a .zip has no checksum
    except OSError as error:
        raise OSError(
            f"The corpus cache {path} could not be written ({error}): free some disk space, "
            "or set COURSE_CACHE to a folder that can be written."
        ) from error
    except BrokenProcessPool as error:
        raise RuntimeError(
            "A process that read the corpus died: in a script of your own, load pieces under "
            '`if __name__ == "__main__":`; otherwise see that memory is free.'
        ) from error


def _converted_works() -> Iterator[tuple[str, bytes]]:
    """(name, MIDI file) of the works that hold notes, converted on all cores."""
    # Largest first, so that all cores finish together; spawned, since a fork of a process that runs a deep-learning
    # library can hang; and with fewer searches for garbage, which take a fifth of the time.
    works = sorted(corpus_paths(), key=lambda work: -work[1].stat().st_size)
    workers = min(8, os.cpu_count() or 1)  # a container may see all cores of a large machine, and have little memory
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=gc.set_threshold, initargs=(200_000,)) as pool:
        jobs = {pool.submit(_as_midi, source): name for name, source in works}
        try:
            for job in tqdm(jobs, desc="Building the embedded corpus (once)", unit="piece", mininterval=5):
                if content := job.result():
                    yield jobs[job], content
        finally:  # an interruption would otherwise wait for every piece
            pool.shutdown(cancel_futures=True)


def _as_midi(source: Path) -> bytes | None:
    """A work of the corpus as a MIDI file; None where it has no notes."""
    music21 = import_music21()
    with warnings.catch_warnings():  # of bars that are too long in the corpus itself: nothing that a user could mend
        warnings.simplefilter("ignore", music21.musicxml.xmlObjects.MusicXMLWarning)
        score = score_from_music21(music21.converter.parse(source, forceSource=True))
    return score.dumps_midi() if score.note_num() else None
