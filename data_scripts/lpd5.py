"""Turn LPD-5-cleansed into packed band rolls, in bounded memory: `python -m data_scripts.lpd5`.

The Lakh Pianoroll Dataset (Dong et al., 2018): songs for drums, piano, guitar, bass and strings at 24 steps a beat. The
folder --out receives what `music.band_data` maps from disk, songs in the order of their names, 250 to a shard:

shard-0000.npy   uint8 (steps, 80), the songs one after another, the `band` encoding packed eight cells to a byte
shard-0000.json  {"songs": [{"name", "instruments" that sound, "first", "steps"}], "skipped": [{"name", "reason"}]},
                 and what tells whether the shard is done; written after the shard
bands.json       {"steps_per_beat", "shards", "fingerprint"}; written last

One process takes about a minute for all songs. The publisher gives no checksum: a download is checked by the CRC inside
gzip and by counting the songs.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import sys
import tarfile
import zipfile
import zlib
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from distributed import Client, KilledWorker, as_completed
from scipy.sparse import csc_matrix
from tqdm import tqdm

from course_lib import UsageError, files, music
from course_lib.lab import cluster
from data_scripts import download

SONGS = 21_425
FORMAT = 2  # of the shards
SHARD_SONGS = 250  # under a second of work, which is what a run that is stopped loses
MAX_BYTES = 50_000_000  # of one song, packed or unpacked; the real ones are well below one million
SHOWN = 20  # skipped songs that are named on stderr


class Song(NamedTuple):
    """An .npz file of LPD-5: `size` bytes of `path` from `offset` on, as it may lie inside of a .tar."""

    name: str
    size: int
    path: Path
    offset: int

    def read(self) -> BytesIO:
        """The file. Raises ValueError for one that is too large."""
        if self.size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return BytesIO(file.read(self.size))


def fetch(url: str | None, file: Path | None) -> Path:
    """The archive as a .tar, fetched and unpacked where it must be, or the folder that `file` is."""
    if file and not file.exists():
        raise ValueError(f"There is no file or folder {file}: give --file the archive or folder of LPD-5.")
    if file and file.is_dir():
        return file
    with download.one_at_a_time():
        if file:
            return unpack(file)
        url = url or music.datasets.REGISTRY["lpd5"].address
        name = hashlib.sha256(url.encode()).hexdigest()[:8]  # so that another address is another download
        archive = files.download_folder() / f"lpd_5_cleansed-{name}.tar.gz"
        if not archive.exists():
            download.fetch(url, archive, None)
        try:
            return unpack(archive)
        except ValueError as error:
            archive.unlink()
            raise ValueError(f"{error} It was not kept: try another --url, or --file.") from error


def unpack(archive: Path) -> Path:
    """The .tar in a .tar.gz, named after its content in the downloads; whole and its CRC checked, or not at all.

    Its songs are read from where they lie in it, so that no path or link in it leads anywhere.
    """
    with archive.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()[:12]
    target = files.download_folder() / f"lpd_5-{digest}.tar"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")  # large, and of one name: what a kill leaves is written over
    try:
        with gzip.open(archive) as stream, partial.open("wb") as file:
            shutil.copyfileobj(stream, file)
        with tarfile.open(partial, "r:") as tar:
            tar.getmembers()  # which raises where one is damaged
        partial.replace(target)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise ValueError(f"{archive} is cut off, damaged or no .tar.gz at all ({error}): fetch it again.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def find_songs(source: Path) -> list[Song]:
    """The .npz files at any depth in a folder or .tar, by name. Raises ValueError where there is none.

    A name is the path below the folder lpd_5_cleansed, where there is one: a song has the same wherever it lies.
    """
    if source.is_dir():
        paths = [path for path in source.rglob("*.npz") if path.is_file()]
        found = [(path.relative_to(source).as_posix(), path.stat().st_size, path, 0) for path in paths]
    else:
        with tarfile.open(source, "r:") as tar:
            found = [(member.name, member.size, source, member.offset_data) for member in tar if member.isfile()]
    songs = sorted(
        Song(name.removesuffix(".npz").split("lpd_5_cleansed/")[-1], size, path, offset)
        for name, size, path, offset in found
        if name.endswith(".npz")
    )
    if not songs:
        raise ValueError(f"{source} holds no .npz file at any depth: give --file the archive or folder of LPD-5.")
    return songs


def read_song(file: Path | BytesIO, steps_per_beat: int = 2) -> np.ndarray:
    """The `band` encoding of an .npz of LPD-5, bool (steps, 128, 5), as written by any version of pypianoroll.

    An unbroken run of a pitch is a note, and its start and end go to the nearest step as in `band.from_score`.
    Not read by `pypianoroll.load`, which trusts a file's sizes and positions: wrong ones end the process.

    Raises:
        ValueError: with the reason, for a file that is no such song; a damaged one may raise anything.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"unpacks to more than {MAX_BYTES // 1_000_000} MB")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise ValueError("is not compressed as numpy does it")  # zipfile unpacks the other kinds whatever the size
        if "info.json" not in archive.namelist():
            raise ValueError("holds no info.json, as pypianoroll writes it")
        info = json.loads(archive.read("info.json"))
        resolution = info.get("beat_resolution", info.get("resolution"))  # before pypianoroll 1.0, and since
        if type(resolution) is not int or not 0 < resolution <= 10_000:
            raise ValueError(f"has a resolution of {resolution!r:.20}")
        numbers = {str(track["name"]): number for number, track in info.items() if number.isdigit()}
        if sorted(numbers) != sorted(music.band.INSTRUMENTS):
            raise ValueError(f"has the tracks {', '.join(numbers)!r:.100}, not {', '.join(music.band.INSTRUMENTS)}")
        notes = [_notes(archive, numbers[name], resolution) for name in music.band.INSTRUMENTS]
    channel = np.repeat(np.arange(len(notes)), [len(pitch) for _, _, pitch in notes])
    if not len(channel):
        raise ValueError("holds no notes")
    start, end, pitch = (np.concatenate(columns) for columns in zip(*notes, strict=True))
    return music.band.from_notes(start, end, pitch, channel, resolution, steps_per_beat)


def _notes(archive: zipfile.ZipFile, number: str, resolution: int) -> tuple[np.ndarray, ...]:
    """First row, the row after the last, and pitch of each note of a track, a sparse matrix (rows, 128)."""
    member = f"pianoroll_{number}_csc_{{}}.npy".format
    velocity = _array(archive, member("data"), "buif")
    row, edge, shape = (_array(archive, member(part), "iu") for part in ("indices", "indptr", "shape"))
    if len(shape) != 2 or not 0 <= shape[0] <= music.midi.MAX_QUARTERS * resolution or shape[1] != 128:
        raise ValueError(f"claims a roll of shape {shape.tolist()!r:.60}, no music of 128 pitches")
    roll = csc_matrix((velocity != 0, row, edge), shape=shape.tolist())
    roll.check_format(full_check=True)
    roll.eliminate_zeros()
    roll.sum_duplicates()  # and sorts
    # Columns are laid end to end with an empty row between, so that no run goes on from one to the next.
    column = int(shape[0]) + 1
    cell = np.repeat(np.arange(128), np.diff(roll.indptr)) * column + roll.indices
    pitch, start = np.divmod(cell[np.diff(cell, prepend=-2) != 1], column)
    return start, cell[np.diff(cell, append=-2) != 1] - pitch * column + 1, pitch


def _array(archive: zipfile.ZipFile, member: str, kinds: str) -> np.ndarray:
    """A row of numbers in an .npz; numpy unpickles nothing, and reads no more than is there."""
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream)
    if array.dtype.kind not in kinds or array.ndim != 1:
        raise ValueError(f"its {member} is no row of numbers ({array.dtype!s:.20} {array.shape})")
    return array


def prepare(songs: list[Song], out: Path, steps_per_beat: int = 2, client: Client | None = None) -> None:
    """Write the shards that `out` lacks, then its bands.json; say which songs were skipped and why.

    Args:
        songs: by name.
        out: the folder to fill.
        steps_per_beat: of the rolls.
        client: of a Dask cluster that sees the songs and `out`; without one, one shard is written after another.

    Raises:
        ValueError: `out` holds shards of other songs or settings, or no song can be used.
    """
    made_of = [FORMAT, steps_per_beat, SHARD_SONGS, *((song.name, song.size) for song in songs)]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    out.mkdir(parents=True, exist_ok=True)
    done = {path.with_suffix(".npy"): json.loads(path.read_text("utf-8")) for path in sorted(out.glob("shard-*.json"))}
    if other := [path.name for path, shard in done.items() if shard.get("key") != key]:
        advice = "delete that folder, or give another --out"
        raise ValueError(f"{out} holds {other[0]} of other songs or --steps: {advice}.")
    parts = {}
    for first in range(0, len(songs), SHARD_SONGS):
        path = out / f"shard-{first // SHARD_SONGS:04}.npy"
        if not (path in done and path.is_file()):
            parts[path] = songs[first : first + SHARD_SONGS]
    bar = {"desc": "Preparing LPD-5", "unit": " shards", "total": len(parts)}
    if client:
        tasks = [
            client.submit(write_shard, path, some, steps_per_beat, key, pure=False) for path, some in parts.items()
        ]
        for task in tqdm(as_completed(tasks), **bar):
            task.result()
    else:
        for path, some in tqdm(parts.items(), **bar):
            write_shard(path, some, steps_per_beat, key)
    paths = [out / f"shard-{number:04}.json" for number in range(-(-len(songs) // SHARD_SONGS))]
    shards = {path.with_suffix(".npy").name: json.loads(path.read_text("utf-8")) for path in paths}

    used = [song for shard in shards.values() for song in shard["songs"]]
    skipped = [f"  {song['name']}: {song['reason']}" for shard in shards.values() for song in shard["skipped"]]
    if skipped:
        about = f"Skipped {len(skipped):,} songs, all named in the json of their shard:"
        print(about, *skipped[:SHOWN], sep="\n", file=sys.stderr)
    if not used:
        raise ValueError(f"None of the {len(skipped):,} songs can be used: give --file the archive or folder of LPD-5.")
    digests = {name: shard["digest"] for name, shard in shards.items() if shard["songs"]}
    fingerprint = hashlib.sha256(json.dumps([steps_per_beat, digests]).encode()).hexdigest()[:12]
    bands = {"steps_per_beat": steps_per_beat, "shards": list(digests), "fingerprint": fingerprint}
    _write_json(out / "bands.json", bands)
    steps = sum(song["steps"] for song in used)
    print(
        f"OK  {len(used):,} songs, {steps:,} steps, {len(skipped):,} skipped: "
        f"give this folder to --data of notebooks 06 to 11: {out}"
    )


def write_shard(path: Path, songs: list[Song], steps_per_beat: int, key: str) -> None:
    """Write one shard and then its json."""
    packed, rows, skipped = [np.zeros((0, music.band_data.CELLS // 8), np.uint8)], [], []
    steps = 0
    for song in songs:
        try:
            roll = read_song(song.read(), steps_per_beat)
        except Exception as error:  # a damaged file can raise many types
            kind = "" if type(error) is ValueError else f"not readable, {type(error).__name__}: "
            skipped.append({"name": song.name, "reason": kind + str(error).partition("\n")[0][:200]})
            continue
        packed.append(np.packbits(roll.reshape(len(roll), -1), axis=1))
        heard = [name for channel, name in enumerate(music.band.INSTRUMENTS) if roll[:, :, channel].any()]
        rows.append({"name": song.name, "instruments": heard, "first": steps, "steps": len(roll)})
        steps += len(roll)
    shard = np.concatenate(packed)
    with files.atomic_write(path) as partial, partial.open("wb") as file:
        np.save(file, shard)
    digest = hashlib.sha256(json.dumps(rows).encode() + shard.tobytes()).hexdigest()
    done = {"key": key, "digest": digest, "songs": rows, "skipped": skipped}
    _write_json(path.with_suffix(".json"), done)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with files.atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=0), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when the bands are there, 1 when they are not, 130 when stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.lpd5", description=(__doc__ or "").partition("\n")[0])
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--url", help="address of lpd_5_cleansed.tar.gz")
    way.add_argument("--file", type=Path, help="that archive fetched by hand, or a folder it was unpacked to")
    parser.add_argument("--steps", type=int, default=2, help="steps a beat, 1 to 24 (default 2)")
    parser.add_argument("--out", type=Path, help="folder for the result (default: lpd5-STEPS in the cache)")
    many = parser.add_mutually_exclusive_group()
    many.add_argument("--jobs", type=int, default=1, help="shards at once on this machine (default 1)")
    many.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that sees the files")
    args = parser.parse_args(arguments)
    if not 1 <= args.steps <= 24:
        parser.error("--steps takes 1 to 24: the music has 24 steps a beat")
    out = (args.out or files.cache_folder() / f"lpd5-{args.steps}").expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)  # before a long download
        songs = find_songs(fetch(args.url, args.file))
        print(f"Found {len(songs):,} songs (the published set has {SONGS:,}).")
        here = cluster.here(args.jobs) if args.jobs > 1 else nullcontext()
        with cluster.elsewhere(args.scheduler) if args.scheduler else here as client:
            prepare(songs, out, args.steps, client)
    except (UsageError, ValueError) as error:
        print(f"!!  {error}", file=sys.stderr)
        return 1
    except KilledWorker:
        print("!!  A worker was lost again and again: take fewer --jobs; what is done is kept.", file=sys.stderr)
        return 1
    except OSError as error:
        advice = "free some disk space, or give --out (or set COURSE_CACHE to) a folder that can be written"
        print(f"!!  {error}: {advice}; what is done is kept.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: run the same command to go on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
