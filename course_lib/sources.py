"""Where music comes from: the embedded corpus, or a folder of MIDI files. Either way a list of pieces."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version
from pathlib import Path

import numpy as np
import platformdirs
import symusic
from tqdm import tqdm

COMPOSERS = ("bach", "haydn", "mozart", "beethoven")
TICKS_PER_QUARTER = 10080  # divisible by 2^5, 9, 5 and 7: every rhythm of the corpus falls on a whole tick
DEFAULT_TEMPO = 100  # quarter notes a minute, for the many scores that print no tempo
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


def load(data: str | Path = "embedded") -> list[Piece]:
    """Pieces of the embedded corpus (``data="embedded"``) or of a folder of MIDI files, sorted by name."""
    return embedded() if str(data) == "embedded" else folder(data)


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


def cache_folder() -> Path:
    """``$COURSE_CACHE``, else ``cache/`` of the checkout, else the user's cache folder."""
    if folder_name := os.environ.get("COURSE_CACHE"):
        return Path(folder_name)
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists():
        return checkout / "cache"
    return Path(platformdirs.user_cache_dir("course_lib"))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write a file under, which becomes ``path`` when the block ends without an error.

    So nobody ever sees the file half-written, and processes that write the same file at once do not mix. What a kill
    leaves behind is hidden, and has another suffix than a finished file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# ---------------------------------------------------------------- the embedded corpus


def embedded() -> list[Piece]:
    """Bach, Haydn, Mozart and Beethoven from the corpus inside the music21 package.

    Built once into the cache (about a minute on two cores), then read in well under a second. A cache that
    was damaged, or made by another music21, is built again. Parts are kept as tracks, ties are joined, grace
    notes (which have no length) are left out and repeats are not played twice. Each file of the corpus keeps
    its own licence, so none of it is committed: it comes from the package on the user's machine.
    """
    where = cache_folder() / f"embedded-3-music21-{version('music21')}"
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


def _read_cache(where: Path) -> list[Piece] | None:
    """The cached pieces, or None where the cache is absent or differs in one byte from what was built."""
    try:
        pieces = []
        for row in json.loads((where / "index.json").read_text()):
            content = _cached_midi(where, row["name"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != row["sha256"]:
                return None
            pieces.append(_piece(row["name"], row["name"].split("/")[0], symusic.Score.from_midi(content)))
        return pieces or None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


# ---------------------------------------------------------------- a folder of MIDI files


def folder(path: str | Path) -> list[Piece]:
    """Every readable ``.mid`` or ``.midi`` file at any depth below ``path``, as pieces sorted by name.

    The composer is the first folder below ``path``, or "" for a file at the top. A file that cannot be used
    is named on stderr with its reason and counted. Raises ValueError when nothing usable is found.
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
            score = read_midi(file)
        except (ValueError, OSError) as problem:
            skipped.append(f"  {name}: {problem}")
            continue
        composer = name.parts[0] if len(name.parts) > 1 else ""
        pieces.append(_piece(name.with_suffix("").as_posix(), composer, score))
    if skipped:
        print(
            f"Skipped {len(skipped)} of {len(files)} MIDI files in {root}:",
            *skipped,
            sep="\n",
            file=sys.stderr,
        )
    if not pieces:
        raise ValueError(f"None of the {len(files)} MIDI files in {root} can be used; the first: {skipped[0].strip()}.")
    return pieces


def midi_files(root: Path) -> Iterator[Path]:
    """Paths of the MIDI files at any depth below ``root``, in sorted order."""
    return (path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".mid", ".midi") and path.is_file())


def read_midi(path: Path) -> symusic.Score:
    """The score of one MIDI file, in ticks. Raises ValueError with the reason why a file cannot be used."""
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
    if all(track.is_drum for track in score.tracks if track.notes):
        raise ValueError("holds drums only")
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


def _piece(name: str, composer: str, score: symusic.Score) -> Piece:
    found = [f"{signature.numerator}/{signature.denominator}" for signature in score.time_signatures]
    return Piece(name, composer, score, tuple(dict.fromkeys(found)) or ("4/4",))  # 4/4 is MIDI's own default


# ---------------------------------------------------------------- downloads

DOWNLOADS = {  # name: (file, its SHA-256); data_scripts/download.py fetches them
    "jsb": ("JSB_Chorales.mat", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),
    "nottingham": ("Nottingham.mat", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),
    "muse": ("MuseData.mat", "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff"),
    "piano_midi": ("Piano_midi.mat", "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34"),
}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # beside the checkout
LOWEST_KEY = 21  # MIDI pitch of the first of a piano's 88 keys


def download_folder() -> Path:
    """Where downloads are kept: ``downloads/`` of the cache folder."""
    return cache_folder() / "downloads"


def holds(path: Path, sha256: str) -> bool:
    """Whether ``path`` is a file with that SHA-256 (64 lower-case hexadecimal digits)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def find_download(name: str) -> Path | None:
    """The file of a data set of `DOWNLOADS`, its SHA-256 checked, or None where there is none.

    Looked for in the downloads of the cache, then in the folder ``$COURSE_DATA``, then in ``shared/data``
    beside the checkout, so that a class can share one copy. A file of that name with other content is named
    on stderr and passed over. Raises ValueError for an unknown name.
    """
    if name not in DOWNLOADS:
        raise ValueError(f"There is no data set '{name}': choose {', '.join(DOWNLOADS)}.")
    file, sha256 = DOWNLOADS[name]
    folders = [download_folder(), SHARED_DATA]
    if class_folder := os.environ.get("COURSE_DATA"):
        folders.insert(1, Path(class_folder).expanduser())
    for where in folders:
        if holds(where / file, sha256):
            return where / file
        if (where / file).exists():
            print(f"Passed over {where / file}: its SHA-256 is not the published one.", file=sys.stderr)
    return None


def polyphonic(name: str) -> dict[str, list[np.ndarray]]:
    """The songs of a data set of Boulanger-Lewandowski et al. (2012), each bool ``(frames, 88)``.

    The keys "train", "valid" and "test" are the published splits. A frame is a quarter note in "jsb" and an
    eighth in "nottingham", "muse" and "piano_midi". Column 0 is MIDI pitch 21 (`LOWEST_KEY`), as in the
    authors' own lists of pitches. The chorales of "jsb" all stand in C major or C minor, about an octave
    above where Bach wrote them. The files are those that Bai et al. (2018) give with their code.
    Raises ValueError where no verified file is found, and for a file that holds anything else.
    """
    from scipy.io import loadmat  # here, since most notebooks have no use for it

    path = find_download(name)
    if path is None:
        raise ValueError(
            f"The data set '{name}' is not here: run `python -m data_scripts.download {name}`, "
            f"or set COURSE_DATA to a folder that holds {DOWNLOADS[name][0]}."
        )
    splits = ("train", "valid", "test")
    try:
        content = loadmat(path, variable_names=[f"{split}data" for split in splits])  # unpickles nothing
        return {split: [_frames(song) for song in content[f"{split}data"].ravel()] for split in splits}
    except Exception as error:  # loadmat raises many types on a damaged file
        raise ValueError(f"{path} holds no songs of 88 pitches in three splits ({error}).") from error


def _frames(song: np.ndarray) -> np.ndarray:
    if song.ndim != 2 or song.shape[1] != 88 or not len(song) or not np.isin(song, (0, 1)).all():
        raise ValueError(f"a song of {song.dtype} {song.shape} is not (frames, 88) of 0 and 1")
    return song.astype(bool)
