"""The site in a real browser: no error, no dead link, no silent player, nothing from elsewhere, no page too wide.

The notebooks but for two are cut to their head and their end, so that this takes seconds. The same tests check a whole
site, made by `make site` or `make site RUN=…`, where COURSE_SITE names its folder.
"""

import functools
import http.server
import os
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest

from course_lib import files
from course_lib.course import site as course_site

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
WHOLE = ("00_start_here", "03_gru_next_note")
PHONE = {"width": 390, "height": 844}
ABORTED = "net::ERR_ABORTED"  # the rest of a sound, once its head is read
DRAWN = """() => document.readyState === "complete"
    && [...document.querySelectorAll("audio")].every((player) => player.readyState || player.error)
    && [...document.querySelectorAll("pre.mermaid")].every((diagram) => diagram.querySelector("svg"))
    && (!document.querySelector(".math") || document.querySelector("mjx-container"))"""


@dataclass
class Visit:
    """What a browser found on one page."""

    faults: list[str] = field(default_factory=list)  # errors and warnings of the console, and what did not load
    asked: set[str] = field(default_factory=set)  # addresses of all that it loaded
    links: set[str] = field(default_factory=set)
    durations: list[float] = field(default_factory=list)  # of the players, seconds
    width: int = 0  # of the page, pixels
    undrawn: int = 0  # formulas


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    if folder := os.environ.get("COURSE_SITE"):
        return Path(folder)
    notebooks, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("built") / "site"
    for path in sorted((files.ROOT / "notebooks").glob("*.ipynb")):
        lesson = nbformat.read(path, as_version=4)
        if path.stem not in WHOLE:
            end = next(place for place, cell in enumerate(lesson.cells) if re.match(r"## \d+ Exercises", cell.source))
            lesson.cells[1:end] = []
        nbformat.write(lesson, notebooks / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_NOTEBOOKS", str(notebooks))
        assert course_site.build(out) == 0, "Sphinx warns: see what it printed"
    return out


@contextmanager
def served(folder: Path):
    """The address of a web server, on this machine alone, for a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


def visit(context, address: str) -> Visit:
    """Open a page and wait until all of it is there."""
    found, page = Visit(), context.new_page()
    page.on("console", lambda said: found.faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.faults.append(str(error)))
    page.on("requestfailed", lambda request: found.faults.append(request.url) if request.failure != ABORTED else None)
    page.on("request", lambda request: found.asked.add(request.url))
    page.goto(address, timeout=120_000)
    page.wait_for_function(DRAWN, timeout=120_000)
    found.links = set(page.eval_on_selector_all("a[href]", "links => links.map((link) => link.href)"))
    found.durations = page.eval_on_selector_all("audio", "players => players.map((player) => player.duration || 0)")
    found.width = page.evaluate("document.documentElement.scrollWidth")
    found.undrawn = page.locator(".math:not(:has(mjx-container)), mjx-merror").count()
    page.close()
    return found


@functools.cache
def answer(address: str) -> tuple[int, str]:
    """Status and text of what an address on this machine holds."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as reply:
            return reply.status, reply.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, ""


def dead(links: set[str], home: str) -> set[str]:
    """The links to this machine that lead nowhere, or to a place on a page that is not there."""
    gone = set()
    for link in links:
        address, place = urldefrag(link)
        if link.startswith(home):
            status, text = answer(address)
            there = not place or f'id="{unquote(place)}"' in text
            gone |= set() if status == 200 and there else {link}
    return gone


@pytest.fixture(scope="module")
def home(built):
    with served(built) as address:
        yield address


@pytest.fixture(scope="module")
def visits(built, home, browser) -> dict[str, Visit]:
    pages = sorted(page.relative_to(built).as_posix() for page in built.rglob("*.html") if "_static" not in page.parts)
    context = browser.new_context(viewport=PHONE)
    return {page: visit(context, urljoin(home, page)) for page in pages}


def test_sphinx_has_nothing_to_warn_of_and_every_notebook_is_a_chapter(built):
    chapters = {page.stem for page in (built / "notebooks").glob("*.html")}
    assert chapters == {path.stem for path in (files.ROOT / "notebooks").glob("*.ipynb")}
    assert (built / "index.html").exists()


def test_no_page_has_an_error(visits):
    assert not {page: found.faults for page, found in visits.items() if found.faults}


def test_every_link_inside_leads_somewhere(visits, home):
    links = set().union(*(found.links for found in visits.values()))
    assert len([link for link in links if link.startswith(home)]) > 100
    assert not dead(links, home)


def test_every_player_has_a_duration(visits):
    players = [(page, seconds) for page, found in visits.items() for seconds in found.durations]
    assert {"index.html", "notebooks/03_gru_next_note.html"} <= {page for page, _ in players}
    assert not [player for player in players if not 0.5 < player[1] < 600]


def test_nothing_is_fetched_from_elsewhere(visits, home):
    asked = set().union(*(found.asked for found in visits.values()))
    assert all(any(script in address for address in asked) for script in ("mermaid.js", "tex-svg.js"))
    assert not [address for address in asked if not address.startswith((home, "data:", "blob:"))]


def test_no_page_is_wider_than_a_telephone(visits):
    assert not {page: found.width for page, found in visits.items() if found.width > PHONE["width"]}


def test_all_formulas_are_set(visits):
    assert not {page: found.undrawn for page, found in visits.items() if found.undrawn}


def test_each_chapter_can_be_downloaded_with_and_without_solutions(visits, home):
    for page, found in visits.items():
        if page.startswith("notebooks/"):
            name = Path(page).with_suffix(".ipynb").name
            whole, student = (answer(f"{home}downloads/{part}{name}")[1] for part in ("", "student/"))
            assert {f"{home}downloads/{name}", f"{home}downloads/student/{name}"} <= found.links
            assert "BEGIN SOLUTION" in whole and "BEGIN SOLUTION" not in student and "NotImplementedError" in student


def test_search_finds_a_chapter(home, browser):
    page = browser.new_page()
    page.goto(f"{home}search.html?q=temperature")
    page.locator("ul.search a[href*='notebooks/03']").first.wait_for(timeout=60_000)


def test_the_colours_are_those_that_the_reader_prefers(home, browser):
    shade = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(home)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shade[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3]))
    assert shade["light"] > 600 and shade["dark"] < 150


def test_a_bad_page_is_found_out(tmp_path, browser):
    (tmp_path / "silent.ogg").write_bytes(b"no sound")
    (tmp_path / "page.html").write_text(
        """<!doctype html><link rel="icon" href="data:,"><script src="http://localhost:9/elsewhere.js"></script>
        <script>console.error("an error")</script><audio src="silent.ogg" preload="metadata"></audio>
        <a href="gone.html">gone</a><a href="#nowhere">nowhere</a><div style="width: 1000px">wide</div>"""
    )
    with served(tmp_path) as address:
        found = visit(browser.new_context(viewport=PHONE), f"{address}page.html")
        assert "an error" in found.faults and len(found.faults) > 1
        assert "http://localhost:9/elsewhere.js" in found.asked
        assert found.durations == [0] and found.width == 1000 + 8
        assert dead(found.links, address) == {f"{address}gone.html", f"{address}page.html#nowhere"}
