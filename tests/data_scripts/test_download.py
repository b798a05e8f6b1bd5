"""data_scripts.download against servers on this machine that behave as real ones do, well and badly."""

import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from course_lib import files, music
from data_scripts import download

ROOT = Path(__file__).resolve().parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path, and behaves as its switches say."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked = []  # (path, Range header) of each request
        self.ranges = True  # whether it can send a part
        self.sized = True  # whether it says how long the file is
        self.cut_at = 0  # closes the connection after as many bytes, this often:
        self.cuts = 0
        self.busy = 0  # answers 503 this often
        self.headers = {}  # more of them
        self.hang = threading.Event()  # where set: goes silent at cut_at
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        content = server.files.get(self.path)
        if server.busy:
            server.busy -= 1
            return self.send_error(503)
        if content is None:
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.sized:
            self.send_header("Content-Length", str(len(content) - start))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            self.wfile.write(content[start : start + server.cut_at])
            self.wfile.flush()
            while server.hang.is_set():
                time.sleep(0.02)
        else:
            self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    started = []

    def start(files):
        server = Server(files)
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.hang.clear()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve):
    return serve({"/song.mat": CONTENT})


def registered(monkeypatch, name, file, sha256):
    """Another file in place of the published one of a data set."""
    data_set = download.REGISTRY[name]._replace(file=file, sha256=sha256)
    monkeypatch.setitem(download.REGISTRY, name, data_set)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A cache of its own, one small data set in place of the published one, no proxy and no waiting."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    registered(monkeypatch, "jsb", "song.mat", SHA256)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def target():
    return files.download_folder() / "song.mat"


@pytest.fixture
def cut_off(target):
    """The part file of a download that was cut off."""
    path = target.with_name("song.mat.partial")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:100_000])
    return path


def left(folder=None):
    """The files in the downloads of the cache."""
    folder = folder or files.download_folder()
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ranges(server):
    return [wanted for _, wanted in server.asked]


# ---------------------------------------------------------------- one file


def test_a_file_is_fetched_once(server, target, capsys):
    for _ in range(2):
        assert download.main(["jsb", "--url", server.url + "/"]) == 0
        assert capsys.readouterr().out == f"OK  jsb: verified in {target}\n"
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert server.asked == [("/song.mat", None)]
    assert music.datasets.find("jsb") == target


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1])
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT


def test_a_download_that_was_cut_off_goes_on(server, target, cut_off):
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert ranges(server) == ["bytes=100000-"]


def test_a_server_that_sends_no_parts_sends_the_whole(server, target, cut_off):
    server.ranges = False
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert len(server.asked) == 1


def test_a_damaged_part_is_thrown_away_and_the_file_fetched_whole(server, target, cut_off):
    cut_off.write_bytes(b"x" + CONTENT[1:100_000])
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert ranges(server) == ["bytes=100000-", None]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"x"], ids=["whole", "too long"])
def test_a_part_with_nothing_left_to_fetch(server, target, cut_off, part):
    cut_off.write_bytes(part)
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert ranges(server) == [f"bytes={len(part)}-", None][: 1 if part == CONTENT else 2]


def test_a_connection_cut_half_way_resumes_within_one_call(server, target):
    server.cut_at, server.cuts = 150_000, 1
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert ranges(server) == [None, "bytes=150000-"]


def test_a_line_that_keeps_breaking_leaves_the_part_for_the_next_call(server, target, capsys):
    server.cut_at, server.cuts = 50_000, download.TRIES
    assert download.main(["jsb", "--url", server.url]) == 1
    said = capsys.readouterr().err
    assert "could not be fetched in 4 tries (the connection ended after 200,000 bytes)" in said
    assert "run this again (what has come is kept)" in said
    assert left() == ["song.mat.partial"]
    assert download.main(["jsb", "--url", server.url]) == 0
    assert target.read_bytes() == CONTENT and left() == ["song.mat"]
    assert ranges(server)[-1] == "bytes=200000-"


def test_a_server_that_goes_silent_is_given_up_and_asked_for_the_rest(server, target, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 2)
    server.cut_at, server.cuts = 200_000, 1
    server.hang.set()
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=200000-"]


FIRST = """
from data_scripts import download
with download.one_at_a_time():
    print("alone", flush=True)
    input()
"""


def test_a_second_process_waits_and_fetches_only_what_the_first_did_not(server, target, capsys):
    target.parent.mkdir(parents=True)
    first = subprocess.Popen([sys.executable, "-c", FIRST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    first.stdout.readline()

    def finish():
        target.write_bytes(CONTENT)
        first.communicate(b"stop")

    threading.Timer(0.5, finish).start()
    assert download.download("jsb", server.url) == target
    assert server.asked == [] and "Another process writes to the downloads" in capsys.readouterr().err


def test_a_busy_server_is_asked_again_after_longer_and_longer(server, target, monkeypatch):
    waits = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waits.append))
    server.busy = 3
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and waits == [1, 2, 4]


def test_a_proxy_is_taken_from_the_environment(server, target, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    server.files["http://music.invalid/song.mat"] = CONTENT
    download.download("jsb", "http://music.invalid")
    assert target.read_bytes() == CONTENT and server.asked == [("http://music.invalid/song.mat", None)]


def test_a_file_that_is_called_compressed_is_kept_as_it_is(serve, target, monkeypatch):
    packed = gzip.compress(CONTENT)
    registered(monkeypatch, "jsb", "song.mat", hashlib.sha256(packed).hexdigest())
    server = serve({"/song.mat": packed})
    server.headers = {"Content-Encoding": "gzip"}
    download.download("jsb", server.url)
    assert target.read_bytes() == packed


def test_a_file_of_unknown_length(server, target):
    server.sized = False
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True])
def test_wrong_content_is_refused_and_nothing_is_left(server, capsys, cut_off, resumed):
    if not resumed:
        cut_off.unlink()
    server.files["/song.mat"] = CONTENT[::-1]
    assert download.main(["jsb", "--url", server.url]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"!!  jsb: {server.url}/song.mat is not the published file (its SHA-256 differs)")
    assert said.count("\n") == 1 and left() == []


def test_wrong_content_does_not_replace_what_was_there(server, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"an older edition")
    server.files["/song.mat"] = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match="not the published file"):
        download.download("jsb", server.url)
    assert target.read_bytes() == b"an older edition" and left() == ["song.mat"]


def test_an_address_without_the_file_is_not_asked_twice(server, capsys):
    assert download.main(["jsb", "--url", server.url + "/elsewhere"]) == 1
    assert "/elsewhere/song.mat answered 404 Not Found: give another address" in capsys.readouterr().err
    assert len(server.asked) == 1 and left() == []


def test_a_server_that_is_not_there(serve, capsys):
    gone = serve({})
    gone.shutdown()
    gone.server_close()
    assert download.main(["jsb", "--url", gone.url]) == 1
    said = capsys.readouterr().err
    assert "could not be fetched in 4 tries" in said and "refused" in said and "Max retries" not in said
    for address in ("file:///etc/hostname", "song.mat"):
        assert download.main(["jsb", "--url", address]) == 1
        assert "must start with https:// or http://" in capsys.readouterr().err
    assert left() == []


def test_a_cache_that_cannot_be_written_is_not_taken_for_a_broken_line(server, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "cache"))
    assert download.main(["jsb", "--url", server.url]) == 1
    assert "jsb could not be written" in capsys.readouterr().err and server.asked == []

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "full"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.tqdm, "update", full)
    assert download.main(["jsb", "--url", server.url]) == 1
    assert "free some disk space" in capsys.readouterr().err and len(server.asked) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a whole console there")
def test_ctrl_c_keeps_what_has_come(server, target, tmp_path):
    server.cut_at, server.cuts = 200_000, 1
    server.hang.set()
    code = (
        "import sys; from data_scripts import download\n"
        f"jsb = download.REGISTRY['jsb']._replace(file='song.mat', sha256={SHA256!r})\n"
        "download.REGISTRY['jsb'] = jsb\n"
        "sys.exit(download.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "jsb", "--url", server.url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    part = target.with_name("song.mat.partial")
    deadline = time.monotonic() + 60
    while (part.stat().st_size if part.exists() else 0) < 200_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "Stopped: run the same command" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert left() == ["song.mat.partial"] and part.read_bytes() == CONTENT[:200_000]
    download.download("jsb", server.url)
    assert target.read_bytes() == CONTENT and ranges(server) == [None, "bytes=200000-"]


# ---------------------------------------------------------------- fetched by hand, and the command line


def test_a_file_fetched_by_hand_is_verified_and_copied(target, tmp_path, cut_off, capsys):
    mine = tmp_path / "downloaded (1).mat"
    mine.write_bytes(CONTENT[::-1])
    assert download.main(["jsb", "--file", str(mine)]) == 1
    assert f"{mine} is not the published file (its SHA-256 differs)" in capsys.readouterr().err
    assert left() == ["song.mat.partial"], "what was downloaded before is not touched"

    mine.write_bytes(CONTENT)
    assert download.main(["jsb", "--file", str(mine)]) == 0
    assert target.read_bytes() == mine.read_bytes() == CONTENT and left() == ["song.mat"]

    target.unlink()
    for other in (tmp_path, tmp_path / "nowhere.mat"):
        assert download.main(["jsb", "--file", str(other)]) == 1
        assert f"There is no file {other}" in capsys.readouterr().err


def test_one_data_set_failing_does_not_stop_the_next(server, monkeypatch, capsys):
    registered(monkeypatch, "muse", "absent.mat", SHA256)
    assert download.main(["muse", "jsb", "--url", server.url]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("OK  jsb") and err.startswith("!!  muse")


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "the following arguments are required: NAME"),
        (["lakh"], "invalid choice: 'lakh' (choose from"),
        (["jsb", "muse", "--file", "x"], "--file takes one NAME at a time"),
        (["jsb", "--file", "x", "--url", "http://y"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_said(arguments, says, capsys):
    with pytest.raises(SystemExit) as stop:
        download.main(arguments)
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_help_tells_what_there_is_under_which_licence(capsys):
    with pytest.raises(SystemExit):
        download.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "jsb: JSB Chorales: 382" in said and "(CC BY-NC-SA 4.0)" in said and "lpd5" not in said


# ---------------------------------------------------------------- ASAP, a tree of files


TREE = {f"Bach/Fugue {i}#/midi_score.mid": bytes([i]) * (i + 1) for i in range(3)}


@pytest.fixture
def tree(monkeypatch, tmp_path):
    """A manifest of three files in place of the 235."""

    def write(paths):
        rows = [f"{path},{len(data)},{hashlib.sha256(data).hexdigest()},4/4,1" for path, data in paths.items()]
        (tmp_path / "tree.csv").write_text("\n".join(["path,bytes,sha256,time_signatures,notes", *rows]))
        monkeypatch.setattr(download, "MANIFEST", tmp_path / "tree.csv")

    write(TREE)
    return write


def quoted(files):
    return {"/" + path.replace(" ", "%20").replace("#", "%23"): data for path, data in files.items()}


def test_the_tree_is_fetched_and_only_what_is_missing(serve, tree, capsys):
    server, folder = serve(quoted(TREE)), files.download_folder() / "asap"
    assert download.main(["asap", "--url", server.url]) == 0
    assert f"(for your notebooks: --data {folder})" in capsys.readouterr().out
    assert {path: (folder / path).read_bytes() for path in left(folder)} == TREE
    assert len(server.asked) == 3

    first, second, third = TREE
    (folder / first).unlink()
    (folder / second).write_bytes(b"damaged")
    assert download.download("asap", server.url) == folder
    assert {path: (folder / path).read_bytes() for path in left(folder)} == TREE
    assert len(server.asked) == 5


def test_one_wrong_file_of_the_tree_is_refused_and_the_right_ones_stay(serve, tree):
    first, second, third = TREE
    server = serve(quoted(TREE | {second: b"something else"}))
    with pytest.raises(ValueError, match="/Bach/Fugue%201%23/midi_score.mid is not the published file"):
        download.download("asap", server.url)
    assert left() == ["asap/" + first]


def test_the_tree_may_be_a_folder_fetched_by_hand(tree, tmp_path, capsys):
    for path, data in TREE.items():
        (tmp_path / "clone" / path).parent.mkdir(parents=True)
        (tmp_path / "clone" / path).write_bytes(data)
    assert download.main(["asap", "--file", str(tmp_path / "clone")]) == 0
    assert left(files.download_folder() / "asap") == sorted(TREE)

    (tmp_path / "clone" / path).unlink()
    shutil.rmtree(files.download_folder())
    assert download.main(["asap", "--file", str(tmp_path / "clone")]) == 1
    assert f"There is no file {tmp_path / 'clone' / path}" in capsys.readouterr().err


def test_the_real_manifest_and_real_scores(downloaded, tmp_path):
    folder, rows = download._wanted("asap")
    assert len(rows) == len(set(rows)) == 235
    archive = downloaded / "asap_scores.zip"
    if not archive.exists():
        pytest.skip("asap_scores.zip is not here: set COURSE_TEST_DATA to the folder that holds it")
    shutil.unpack_archive(archive, tmp_path / "scores")
    top = next((tmp_path / "scores").rglob(rows[0][0])).parents[len(Path(rows[0][0]).parts) - 1]
    assert download.download("asap", file=top) == folder
    assert len(music.midi.folder(folder)) == 235
