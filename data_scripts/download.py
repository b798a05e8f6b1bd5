"""Fetch public data sets into the cache, every file checked: `python -m data_scripts.download jsb asap`.

Not by pooch, which neither resumes nor lets a second process wait: all that it does here is one line, the checksum.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm import tqdm

from course_lib import files
from course_lib.music.datasets import REGISTRY

NAMES = [name for name in REGISTRY if name != "lpd5"]  # which has a command of its own
MANIFEST = Path(__file__).with_name("asap_manifest.csv")
TRIES = 4
TIMEOUT = 30  # seconds of silence after which the line counts as dead
BLOCK = 2**16
BUSY = (429, 500, 502, 503, 504)  # answers of a server that may do better in a moment
OTHER_WAYS = "give another address with --url, or a file fetched by hand with --file."


def download(name: str, url: str | None = None, file: Path | None = None) -> Path:
    """The file of a data set in the downloads of the cache, or for "asap" the folder; what is missing is fetched.

    It comes from the folder `url` on the web (default: the public one), or is copied from `file`, fetched by hand.

    Raises:
        ValueError: the content is not the published one, of which nothing is kept, or the line breaks for good: what
            has come is kept, and the next call goes on from there.
    """
    base = (url or REGISTRY[name].address).rstrip("/")
    folder, rows = _wanted(name)
    if _missing(folder, rows):
        with one_at_a_time():
            missing = _missing(folder, rows)  # less, where another process has fetched the same meanwhile
            for path, sha256 in tqdm(missing, desc=name, unit="file", disable=len(missing) < 2):
                if file:
                    _take(file / path if name == "asap" else file, folder / path, sha256)
                else:
                    fetch(f"{base}/{quote(path)}", folder / path, sha256)
    return folder if name == "asap" else folder / rows[0][0]


def _wanted(name: str) -> tuple[Path, list[tuple[str, str]]]:
    """The folder for a data set, and (path in it, SHA-256) of each of its files."""
    if name != "asap":
        return files.download_folder(), [(REGISTRY[name].file, REGISTRY[name].sha256)]
    with MANIFEST.open(newline="", encoding="utf-8") as table:
        return files.download_folder() / name, [(row["path"], row["sha256"]) for row in csv.DictReader(table)]


def _missing(folder: Path, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(path, sha256) for path, sha256 in rows if not files.has_sha256(folder / path, sha256)]


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Lock the downloads of a cache, so that one process writes there; a second says that it waits."""
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


def _take(file: Path, target: Path, sha256: str) -> None:
    """Copy a file that the user fetched to `target`, if it is the right one."""
    if not file.is_file():
        raise ValueError(f"There is no file {file}: give --file what was fetched by hand.")
    if not files.has_sha256(file, sha256):
        raise ValueError(f"{file} is not the published file (its SHA-256 differs): fetch it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, _partial(target))
    _partial(target).replace(target)


def fetch(url: str, target: Path, sha256: str | None) -> None:
    """Download a file to `target`, in place only when whole and of that SHA-256 (None: not published).

    Goes on from the `.partial` file of a download that was cut off. Raises ValueError as `download` does.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"The address {url} must start with https:// or http://.")
    partial = _partial(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists()
    _complete(partial, url)
    if resumed and sha256 and not files.has_sha256(partial, sha256):
        partial.unlink()  # the older part may be what is damaged: once more from the start
        _complete(partial, url)
    if sha256 and not files.has_sha256(partial, sha256):
        partial.unlink()
        raise ValueError(f"{url} is not the published file (its SHA-256 differs) and was not kept: {OTHER_WAYS}")
    partial.replace(target)


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _complete(partial: Path, url: str) -> None:
    """Bring `partial` to its full length, in a few tries with longer and longer waits between them."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            return _continue(partial, url)
        except requests.RequestException as error:
            reason = getattr(error.args[0], "reason", error)  # in urllib3's words, which are clearer
        except urllib3.exceptions.HTTPError:
            reason = f"the connection ended after {partial.stat().st_size:,} bytes"
    raise ValueError(
        f"{url} could not be fetched in {TRIES} tries ({reason}): check the network and run this again "
        f"(what has come is kept), or {OTHER_WAYS}"
    )


def _continue(partial: Path, url: str) -> None:
    """Add to `partial` what it lacks; from the start where the server does not send the rest alone."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and have:
            return  # there is nothing beyond what we have: the checksum will tell whether it is right
        if response.status_code in BUSY:
            response.raise_for_status()
        if not response.ok:
            raise ValueError(f"{url} answered {response.status_code} {response.reason}: {OTHER_WAYS}")
        if "text/html" in response.headers.get("Content-Type", ""):  # a login, a warning, a quota that is used up
            raise ValueError(
                f"{url} answered with a web page instead of the file: open it in a browser to see why, {OTHER_WAYS}"
            )
        rest = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")  # else the whole file
        done, length = have if rest else 0, response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with (
            partial.open("ab" if rest else "wb") as file,
            tqdm(desc=partial.stem, initial=done, total=total, unit="B", unit_scale=True, leave=False, delay=1) as bar,
        ):
            while block := response.raw.read1(BLOCK):  # `read` would lose the last bytes before a line breaks
                file.write(block)
                bar.update(len(block))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when every data set is there, 1 when one is not, 130 when stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.download", description=__doc__.partition("\n")[0])
    listed = "; ".join(f"{name}: {REGISTRY[name].title} ({REGISTRY[name].licence})" for name in NAMES)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=listed)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--url", help="folder on the web to fetch from")
    way.add_argument("--file", type=Path, help="a file fetched by hand (asap: the folder with its tree)")
    args = parser.parse_args(arguments)
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


if __name__ == "__main__":
    sys.exit(main())
