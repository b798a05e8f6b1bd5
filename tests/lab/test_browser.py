"""A listening test in a real browser: two listeners at once, a page that is closed, a server that is killed."""

import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest
import symusic

from course_lib.lab import record
from course_lib.listening import build

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield running
        running.close()


def tune(seed):
    """Six seconds of random quarter notes."""
    rng, score, track = random.Random(seed), symusic.Score(480), symusic.Track()
    score.tempos.append(symusic.Tempo(0, 120))
    track.notes.extend(symusic.Note(480 * i, 480, rng.randrange(50, 80), 80) for i in range(12))
    score.tracks.append(track)
    return score


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.setenv("COURSE_OUT", str(tmp_path / "runs" / "07_cnn_2d"))
    run = record.start("07_cnn_2d", "quick", 0, "embedded")
    for number, name in enumerate(("2D CNN", "RNN (Chen et al.)")):
        run.system(name, [tune(10 * number + i) for i in range(2)], "band")
    run.system("Real music, band", [tune(90)], "band", real=True)
    run.finish()
    return tmp_path / "runs"


class Server:
    """The listening test as a process of its own, as `make listen` starts it."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.address = folder, f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "course_lib", "listen", "--out", str(self.folder), "--ip", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], start_new_session=True, stdout=subprocess.DEVNULL
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                opener.open(f"{self.address}voila/static/no-such-file", timeout=5)
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the server did not start")

    def kernels(self):
        count = 0
        for each in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                count += "ipykernel_launcher" in " ".join(each.cmdline())
        return count

    def kill(self):
        """The power goes: server and kernels at once."""
        family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
        for each in family:
            each.send_signal(signal.SIGKILL)
        self.process.wait()


def place(page):
    """Number of the clip that is shown, and of all."""
    shown = page.get_by_text(re.compile(r"^Clip \d+ of \d+$"))
    shown.wait_for(timeout=60_000)
    return [int(number) for number in re.findall(r"\d+", shown.inner_text())]


def rate(page, rating):
    """Rate the clip that is shown, and wait for the next."""
    number, every = place(page)
    page.get_by_role("button", name=str(rating), exact=True).click()
    page.get_by_role("button", name="Save and go on").click()
    following = f"Clip {number + 1} of {every}" if number < every else "Thank you"
    page.get_by_text(following, exact=True).wait_for(timeout=30_000)


def saved(folder):
    """Ratings by listener, in the order of their items."""
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    found = {}
    for line in sorted(lines, key=lambda line: line["item"]):
        found.setdefault(line["listener"], []).append(line["answer"]["rating"])
    return sorted(found.values())


def test_two_listeners_at_once_rate_a_whole_test_through_a_closed_page_and_a_kill(browser, runs, tmp_path):
    folder = build.build(record.load(runs), tmp_path / "test", clips_each=2, seconds=3)
    server = Server(folder)
    try:
        ann, bob = browser.new_context(), browser.new_context()  # each with cookies of its own
        for context in (ann, bob):
            context.set_default_navigation_timeout(120_000)  # until the kernel of the page has shown it
        pages = {1: ann.new_page(), 2: bob.new_page()}
        for page in pages.values():
            page.goto(server.address)
        assert place(pages[1]) == place(pages[2]) == [1, 6]  # 5 clips and one again
        length = "document.querySelector('audio').duration"
        pages[1].wait_for_function(f"{length} > 0")
        assert pages[1].evaluate(length) == pytest.approx(3, abs=0.2)
        text = pages[1].content()
        assert not any(name in text for name in ("CNN", "RNN", "Real music"))

        for rating in (3, 4):
            for first, page in pages.items():
                rate(page, rating * first)
        assert server.kernels() == 2
        pages[2].goto("about:blank")  # a page that is left stops its kernel
        deadline = time.monotonic() + 30
        while server.kernels() > 1 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert server.kernels() == 1

        pages[1].close()  # and opened again by the address alone
        pages[1] = ann.new_page()
        pages[1].goto(server.address)
        assert place(pages[1])[0] == 3
        rate(pages[1], 5)

        server.kill()
        assert saved(folder) == [[3, 4, 5], [6, 8]]
        server.start()
        for page in pages.values():
            page.goto(server.address)
        assert (place(pages[1])[0], place(pages[2])[0]) == (4, 3)
        for rating in (6, 7, 1):
            rate(pages[1], rating)
        for rating in (10, 2, 2, 9):
            rate(pages[2], rating)
        assert saved(folder) == [[3, 4, 5, 6, 7, 1], [6, 8, 10, 2, 2, 9]]
    finally:
        server.kill()
