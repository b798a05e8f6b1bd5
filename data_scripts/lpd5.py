"""Turn LPD-5-cleansed into packed band rolls, in bounded memory:  python -m data_scripts.lpd5

The Lakh Pianoroll Dataset (Dong et al., 2018; CC BY 4.0): 21,425 songs for drums, piano, guitar, bass and
strings at 24 steps a beat. The folder --out receives, songs in the order of their names, 250 to a shard:

shard-0000.npy   uint8 (steps, 80), the songs one after another: np.packbits(roll.reshape(-1, 640), axis=1) of
                 the `band` encoding, roll bool (steps, 128, 5) in the order of encode.INSTRUMENTS
shard-0000.json  {"songs": [{"name", "msd_id", "genres", "instruments", "first", "steps"}], "skipped": [{"name",
                 "reason"}]}, where instruments are those that sound, and what tells whether the shard is done;
                 written after the shard
bands.json       {"format", "steps_per_beat", "shards", "songs", "skipped", "fingerprint"}; written last

The publisher gives no checksum: a download is checked by the CRC inside gzip and by counting the songs.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import posixpath
import re
import shutil
import signal
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from course_lib import files, music
from data_scripts import download

ADDRESS = "https://drive.usercontent.google.com/download?id=1yz0Ma-6cWTl6mhkrLnAVJ7RNzlQRypQ5&export=download&confirm=t"
SONGS = 21_425
FORMAT = 1  # of bands.json and the shards
SHARD_SONGS = 250  # a second or two of work: Ctrl-C waits for the shards that were handed out
MAX_BYTES = 50_000_000  # of one song, packed or unpacked; the real ones are well below one million
MAX_ARCHIVE_BYTES = 20_000_000_000  # unpacked
MAX_BEATS, MAX_ROWS = music.midi.MAX_QUARTERS, 24 * music.midi.MAX_QUARTERS
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)  # what reading a broken archive raises
SHOWN = 20  # skipped songs that are named on stderr
MSD_ID = re.compile("TR[A-Z0-9]{16}")  # a track of the Million Song Dataset


class Song(NamedTuple):
    """A file to convert. ``msd_id`` is "" where its folder is not named after one."""

    name: str
    path: Path
    size: int  # bytes
    msd_id: str
    genres: list[str]


# ---------------------------------------------------------------- the archive


def fetch(url: str | None = None) -> Path:
    """The archive in the downloads of the cache, fetched if it is not there; ``url`` as in `main`.

    Each address has a file of its own, so that a download never goes on from the part of another.
    """
    url = url or os.environ.get("COURSE_LPD5_URL") or ADDRESS
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"The address {url} must start with https:// or http://.")
    target = files.download_folder() / f"lpd_5_cleansed-{hashlib.sha256(url.encode()).hexdigest()[:8]}.tar.gz"
    if not target.exists():
        download.fetch(url, target, None)
    return target


def unpack(archive: Path) -> Path:
    """The folder with the songs of a .tar.gz, named after the archive's content; unpacked once.

    Whole or not at all: an interrupted unpacking is done again. Raises ValueError for an archive that is cut
    off or damaged, and for one with a member that is no plain file or folder inside of it.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    where = files.download_folder() / "lpd_5" / digest
    if where.is_dir():
        return where
    partial = where.with_name(digest + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        # Read in one pass up to its last byte, where gzip keeps its checksum: tarfile alone stops before.
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                _extract(tar, partial, archive)
            while stream.read(download.BLOCK):
                pass
        partial.rename(where)
    except DAMAGE as error:
        raise ValueError(f"{archive} is cut off, damaged or no .tar.gz at all ({error}): fetch it again.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return where


def _extract(tar: tarfile.TarFile, folder: Path, archive: Path) -> None:
    """Write the .npz files of ``tar`` below ``folder``, which holds nothing else, so no link can lead out of it."""
    total = 0
    for member in tqdm(tar, desc="Unpacking LPD-5", unit=" files", mininterval=1):
        path = PureWindowsPath(member.name)  # knows the separators and roots of every system
        total += member.size
        if path.anchor or ".." in path.parts or not (member.isfile() or member.isdir()):
            problem = "leads out of the folder, or is a link or device"
        elif member.size > MAX_BYTES or total > MAX_ARCHIVE_BYTES:
            problem = "is too large for this data set"
        else:
            problem = ""
        if problem:
            raise ValueError(f"{archive} was not unpacked: its {member.name!r} {problem}; fetch the published one.")
        if member.isfile() and path.suffix == ".npz":
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)  # type: ignore[arg-type]


def read_labels(path: Path) -> dict[str, list[str]]:
    """{MSD id: its labels, sorted} from ``labels/`` or ``labels.tar.gz`` of the data set's repository.

    Each file ``id_list_Rock.txt`` in them names a label and has one MSD id a line. They lie in a folder a
    source, which comes first in the label: "tagtraum/Rock", but "Rock" where ``path`` holds one source alone.
    """
    try:
        if path.is_dir():
            lists = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("id_list_*.txt")}
        else:
            with tarfile.open(path, "r:gz") as tar:
                found = [member for member in tar if member.isfile() and member.size < MAX_BYTES]
                names = [member for member in found if posixpath.basename(member.name).startswith("id_list_")]
                lists = {member.name: tar.extractfile(member).read() for member in names}  # type: ignore[union-attr]
    except (OSError, *DAMAGE) as error:
        raise ValueError(f"The labels in {path} cannot be read ({error}): give --labels another file.") from error
    if not lists:
        raise ValueError(f"There is no id_list_*.txt in {path}: give --labels the folder labels or labels.tar.gz.")
    shared = posixpath.commonpath([posixpath.dirname(name) for name in lists]) or "."
    labels: dict[str, set[str]] = {}
    for name, text in lists.items():
        label = posixpath.relpath(name, shared).replace("id_list_", "").removesuffix(".txt")
        for msd_id in text.decode("ascii", "replace").split():
            labels.setdefault(msd_id, set()).add(label)
    return {msd_id: sorted(some) for msd_id, some in labels.items()}


# ---------------------------------------------------------------- one song


def read_song(path: Path, steps_per_beat: int = 2) -> np.ndarray:
    """The `band` encoding of an .npz of LPD-5, bool (steps, 128, 5), as written by any version of pypianoroll.

    An unbroken run of a pitch is a note, and its start and end go to the nearest step as in `band.from_score`.
    Nothing is unpickled, and sizes are looked at before they are believed. Raises ValueError with the reason
    for a file that is not such a song; a damaged file may raise anything.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB")
    with zipfile.ZipFile(path) as file:
        if sum(member.file_size for member in file.infolist()) > MAX_BYTES:
            raise ValueError(f"unpacks to more than {MAX_BYTES // 1_000_000} MB")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in file.infolist()):
            raise ValueError("is not compressed as numpy does it")
        if "info.json" not in file.namelist():
            raise ValueError("holds no info.json, as pypianoroll writes it")
        info = json.loads(file.read("info.json"))
        resolution = info.get("beat_resolution", info.get("resolution"))  # before pypianoroll 1.0, and since
        if type(resolution) is not int or not 0 < resolution <= 10_000:
            raise ValueError(f"has a resolution of {resolution!r:.20}")
        tracks = [(str(track["name"]), number) for number, track in info.items() if number.isdigit()]
        if sorted(name for name, _ in tracks) != sorted(music.band.INSTRUMENTS):
            found = ", ".join(name for name, _ in tracks)
            raise ValueError(f"has the tracks {found!r:.100}, not {', '.join(music.band.INSTRUMENTS)}")
        numbers = dict(tracks)
        notes = [_notes(file, numbers[name], resolution) for name in music.band.INSTRUMENTS]
    channel = np.repeat(np.arange(len(notes)), [len(pitch) for _, _, pitch in notes])
    if not len(channel):
        raise ValueError("holds no notes")
    start, end, pitch = (np.concatenate(columns) for columns in zip(*notes, strict=True))
    return music.band.from_notes(start, end, pitch, channel, resolution, steps_per_beat)


def _notes(file: zipfile.ZipFile, number: str, resolution: int) -> tuple[np.ndarray, ...]:
    """First row, the row after the last, and pitch of each note of a track."""
    member = f"pianoroll_{number}_csc_{{}}.npy".format
    velocity = _array(file, member("data"), "buif")
    row, edge, shape = (_array(file, member(part), "iu").astype(np.int64) for part in ("indices", "indptr", "shape"))
    if len(shape) != 2 or not 0 <= shape[0] <= min(MAX_ROWS, MAX_BEATS * resolution) or shape[1] != 128:
        raise ValueError(f"claims a roll of shape {shape.tolist()!r:.60}, no music of 128 pitches")
    rows = int(shape[0])
    if len(edge) != 129 or edge[0] != 0 or edge[-1] != len(row) or (np.diff(edge) < 0).any():
        raise ValueError("has columns that do not follow one another")
    if len(velocity) != len(row) or row.min(initial=0) < 0 or row.max(initial=-1) >= rows:
        raise ValueError("has cells outside of its roll")
    # Columns are laid end to end with an empty row between, so that no run goes on from one to the next.
    cell = (np.repeat(np.arange(128), np.diff(edge)) * (rows + 1) + row)[velocity != 0]
    if (np.diff(cell) <= 0).any():
        cell = np.unique(cell)
    pitch, start = np.divmod(cell[np.diff(cell, prepend=-2) != 1], rows + 1)
    return start, cell[np.diff(cell, append=-2) != 1] - pitch * (rows + 1) + 1, pitch


def _array(file: zipfile.ZipFile, member: str, kinds: str) -> np.ndarray:
    """A row of numbers in an .npz. Raises ValueError for other arrays, those that need unpickling among them."""
    content = file.read(member)
    stream = BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):  # the others are for headers that no roll needs
        raise ValueError(f"its {member} has another version of numpy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in kinds or len(shape) != 1 or shape[0] * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"its {member} is no row of numbers, or not as long as it claims ({dtype!s:.20} {shape})")
    return np.frombuffer(content, dtype, offset=stream.tell())


# ---------------------------------------------------------------- shards


def find_songs(root: Path, genres: dict[str, list[str]] | None = None) -> list[Song]:
    """The .npz files at any depth below ``root``, by name. Raises ValueError where there is none.

    A name is the path below the folder lpd_5_cleansed, else below ``root``: unpacked anywhere, songs keep it.
    """
    songs = []
    for path in root.rglob("*.npz"):
        if path.is_file():
            name = path.relative_to(root).with_suffix("").as_posix().split("lpd_5_cleansed/")[-1]
            msd_id = path.parent.name if MSD_ID.fullmatch(path.parent.name) else ""
            songs.append(Song(name, path, path.stat().st_size, msd_id, (genres or {}).get(msd_id, [])))
    if not songs:
        raise ValueError(f"{root} holds no .npz file at any depth: give --file the archive or folder of LPD-5.")
    return sorted(songs)


def prepare(songs: list[Song], out: Path, steps_per_beat: int = 2, workers: int = 1) -> dict[str, Any]:
    """Write the shards that ``out`` lacks, then its bands.json, which is returned.

    In as many processes as ``workers`` says, each of which holds one song at a time. Says on stderr which songs
    were skipped, and why. Raises ValueError where ``out`` holds shards of other songs or settings, and where no
    song can be used.
    """
    started = time.perf_counter()
    about = [FORMAT, steps_per_beat, SHARD_SONGS, *((song.name, song.size, song.genres) for song in songs)]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("shard-*.json"):
        if _read_json(path).get("key") != key:
            raise ValueError(
                f"{out} holds {path.name} of other songs, labels or --steps: delete that folder, or give another --out."
            )
    shards = {f"shard-{i // SHARD_SONGS:04}": songs[i : i + SHARD_SONGS] for i in range(0, len(songs), SHARD_SONGS)}
    tasks = [(out, name, some, steps_per_beat, key) for name, some in shards.items() if not _done(out, name)]
    todo = sum(len(task[2]) for task in tasks)
    with tqdm(total=len(songs), initial=len(songs) - todo, desc="Preparing LPD-5", unit=" songs") as bar:
        if workers == 1 or len(tasks) < 2:
            for task in tasks:
                bar.update(_make_shard(*task))
        else:
            _in_processes(tasks, workers, bar)
    bands, steps = _finish(list(shards), out, steps_per_beat)
    seconds = time.perf_counter() - started
    print(
        f"OK  {bands['songs']:,} songs, {steps:,} steps in {seconds:.1f} s ({todo / seconds:.0f} songs a second), "
        f"{bands['skipped']:,} skipped: give this folder to --data of notebooks 06 to 08: {out}"
    )
    return bands


def _finish(names: list[str], out: Path, steps_per_beat: int) -> tuple[dict[str, Any], int]:
    """Write bands.json from the json of every shard; also the number of steps."""
    shards = {f"{name}.npy": _read_json(out / f"{name}.json") for name in names}
    songs = [song for shard in shards.values() for song in shard["songs"]]
    skipped = [f"  {song['name']}: {song['reason']}" for shard in shards.values() for song in shard["skipped"]]
    if skipped:
        more = ["  ... and more, named in the json of each shard"] * (len(skipped) > SHOWN)
        print(f"Skipped {len(skipped):,} songs:", *skipped[:SHOWN], *more, sep="\n", file=sys.stderr)
    if not songs:
        raise ValueError(f"None of the {len(skipped):,} songs can be used: give --file the archive or folder of LPD-5.")
    digests = {name: shard["digest"] for name, shard in shards.items() if shard["songs"]}
    bands = {
        "format": FORMAT,
        "steps_per_beat": steps_per_beat,
        "shards": list(digests),
        "songs": len(songs),
        "skipped": len(skipped),
        "fingerprint": hashlib.sha256(json.dumps([steps_per_beat, digests]).encode()).hexdigest()[:12],
    }
    _write_json(out / "bands.json", bands)
    return bands, sum(song["steps"] for song in songs)


def _in_processes(tasks: list[tuple], workers: int, bar: tqdm) -> None:
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs a deep-learning library can hang
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker) as pool:
        try:
            handler = signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # Ctrl-C is for this process; those it starts inherit
            jobs = [pool.submit(_make_shard, *task) for task in tasks]
            signal.signal(signal.SIGINT, handler)
            for job in as_completed(jobs):
                bar.update(job.result())
        finally:  # after an error or Ctrl-C, finish what is in work and leave the rest
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """End a worker when its main process was killed, as nobody else would; leave Ctrl-C to that, on Windows too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _make_shard(out: Path, name: str, songs: list[Song], steps_per_beat: int, key: str) -> int:
    """Write one shard and then its json, song by song; returns how many songs it dealt with."""
    rows, skipped, steps, digest = [], [], 0, hashlib.sha256()
    partial = out / f"{name}.npy.partial"  # large, and of one name, so that what a kill leaves is written over
    try:
        with partial.open("wb") as file:
            _write_header(file, 0)
            for song in songs:
                try:
                    roll = read_song(song.path, steps_per_beat)
                except Exception as error:  # a damaged file can raise many types
                    kind = "" if type(error) is ValueError else f"not readable, {type(error).__name__}: "
                    reason = kind + str(error).partition("\n")[0][:200]
                    skipped.append({"name": song.name, "reason": reason})
                    continue
                packed = np.packbits(roll.reshape(len(roll), -1), axis=1)
                heard = [name for channel, name in enumerate(music.band.INSTRUMENTS) if roll[:, :, channel].any()]
                row = {"name": song.name, "msd_id": song.msd_id, "genres": song.genres, "instruments": heard}
                rows.append(row | {"first": steps, "steps": len(packed)})
                digest.update(json.dumps(rows[-1]).encode() + packed.tobytes())
                file.write(packed)  # type: ignore[arg-type]
                steps += len(packed)
            size = file.tell()
            file.seek(0)
            _write_header(file, steps)
        partial.replace(out / f"{name}.npy")
    finally:
        partial.unlink(missing_ok=True)
    done = {"key": key, "bytes": size, "digest": digest.hexdigest(), "songs": rows, "skipped": skipped}
    _write_json(out / f"{name}.json", done)
    return len(songs)


def _write_header(file: BinaryIO, steps: int) -> None:
    """The header of a shard; numpy leaves room in it for any length of the first axis."""
    about = {"descr": "|u1", "fortran_order": False, "shape": (steps, 128 * len(music.band.INSTRUMENTS) // 8)}
    np.lib.format.write_array_header_1_0(file, about)


def _done(out: Path, name: str) -> bool:
    shard = out / f"{name}.npy"
    return shard.is_file() and shard.stat().st_size == _read_json(out / f"{name}.json").get("bytes")


def _read_json(path: Path) -> dict[str, Any]:
    """{} for a file that is not there or not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with files.atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=0), encoding="utf-8")


# ---------------------------------------------------------------- the command


def _folder(url: str | None, file: Path | None) -> Path:
    """The folder that holds the songs, fetched and unpacked where it must be."""
    if file:
        if not file.exists():
            raise ValueError(f"There is no file or folder {file}: give --file the archive or folder of LPD-5.")
        if file.is_dir():
            return file
    with download.alone():
        if file:
            return unpack(file)
        archive = fetch(url)
        try:
            return unpack(archive)
        except ValueError as error:
            archive.unlink()
            raise ValueError(f"{error} It was not kept: try another --url, or --file.") from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when the bands are there, 1 when they are not, 130 when stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.lpd5", description=(__doc__ or "").partition("\n")[0])
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--url", help="address of lpd_5_cleansed.tar.gz, also as $COURSE_LPD5_URL")
    way.add_argument("--file", type=Path, help="that archive fetched by hand, or a folder it was unpacked to")
    parser.add_argument("--steps", type=int, default=2, help="steps a beat, 1 to 24 (default 2)")
    parser.add_argument("--out", type=Path, help="folder for the result (default: lpd5-STEPS in the cache)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--labels", type=Path, help="folder labels, or labels.tar.gz, of the data set's repository")
    args = parser.parse_args(arguments)
    if not 1 <= args.steps <= 24:
        parser.error("--steps takes 1 to 24: the music has 24 steps a beat")
    if args.workers < 1:
        parser.error("--workers takes 1 or more")
    out = (args.out or files.cache_folder() / f"lpd5-{args.steps}").expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)  # before a long download
        genres = read_labels(args.labels) if args.labels else {}
        songs = find_songs(_folder(args.url, args.file), genres)
        labelled = sum(bool(song.genres) for song in songs)
        print(f"Found {len(songs):,} songs (the published set has {SONGS:,}), {labelled:,} with labels.")
        prepare(songs, out, args.steps, args.workers)
    except ValueError as error:
        print(f"!!  {error}", file=sys.stderr)
        return 1
    except OSError as error:
        advice = "free some disk space, or give --out (or set COURSE_CACHE to) a folder that can be written"
        print(f"!!  {error}: {advice}; what is done is kept.", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print("!!  A process died, perhaps for want of memory: run this again with fewer --workers.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: run the same command to go on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
