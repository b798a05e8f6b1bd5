"""The page of a listening test: for one listener in a notebook (12), or for a class through Voilà.

Nobody learns from a page which system made a clip.
"""

from __future__ import annotations

import html
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from course_lib import UsageError
from course_lib.listening import sessions

QUESTIONS = {  # by form and scale
    "rating": {"rating": "<b>How good is this, as music?</b> 1 = very bad, 10 = excellent"},
    "scales": {name: f"<b>{name}.</b> {question}" for name, question in sessions.SCALES.items()},
    "pairs": {"preferred": "<b>Which of the two is better?</b>"},
}
WELCOME = """<h1>Listening test</h1>
<p>There are {about}. Trust your ears: no answer is wrong. Headphones are best; set the
volume at the first clip, then leave it. One of them may come twice. No names are asked. Each answer is saved as you go,
so that you can close this page and go on later; if a button does nothing, load the page again.</p>"""
THANKS = """<h2>Thank you</h2><p>All your answers are saved.</p>
<p>To change one in another browser, add <code>?listener={listener}</code> to the address of the class's page. Somebody
else wants to listen in this browser? <a href="?new">Start a new test</a>.</p>"""
STYLE = """<style>
.listening-test { max-width: 40em; margin: 0 auto; }
.listening-test .widget-toggle-buttons { width: 100%; }
.listening-test .widget-toggle-buttons > div { display: grid; grid-template-columns: repeat(2, 1fr); }
.listening-test.rating .widget-toggle-buttons > div { grid-template-columns: repeat(5, 1fr); }
.listening-test.scales .widget-toggle-buttons > div { grid-template-columns: repeat(6, 1fr); }
.listening-test .widget-toggle-button { width: auto; height: 2.8em; line-height: 2.8em; }
.listening-test .widget-button:not(.widget-toggle-button) { width: 10em; height: 2.8em; margin: 1em .5em 0 0; }
.listening-test audio { width: calc(100% - .5em); }
</style>"""
SCRIPT = """<script>
document.cookie = "COOKIE";
history.replaceState(null, "", location.pathname);
document.addEventListener("play", started => {  // one clip at a time
  for (const player of document.querySelectorAll("audio")) if (player !== started.target) player.pause();
}, true);
</script>"""
VOILA = {  # its settings
    "Voila": {
        "port_retries": 0,
        "log_level": "ERROR",
        # Voilà's template asks a foreign server for icons; without Internet the page would wait for them.
        "tornado_settings": {
            "disable_check_xsrf": True,  # else a page that is left cannot stop its kernel
            "headers": {
                "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
                "connect-src 'self' ws: wss:"
            },
        },
    },
    "VoilaConfiguration": {
        "strip_sources": True,
        "show_tracebacks": False,
        "file_allowlist": [],  # no browser gets a file of the folder
        "http_header_envs": ["Cookie"],
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
    },
    "MappingKernelManager": {"cull_idle_timeout": 600, "cull_interval": 60},  # seconds; for tabs that were closed
}


def page(folder: str | Path, listener: str | None = None):
    """The page of one listener, which goes on where they stopped; without a valid code that of a new listener."""
    return _Page(Path(folder), listener if sessions.valid_listener(listener) else sessions.new_listener()).box


class _Page:
    """The widgets in `box` and what they do. No word of theirs comes from a listener or names a system."""

    def __init__(self, folder: Path, listener: str) -> None:
        import ipywidgets as widgets  # slow to import, and not needed to build or to read answers

        self.folder, self.listener, self.test = folder, listener, sessions.load(folder)
        try:
            self.sounds = {c["id"]: (folder / "clips" / f"{c['id']}.flac").read_bytes() for c in self.test["clips"]}
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read ({error.strerror}): build the test again.") from error
        self.items = sessions.items(self.test, listener)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torn lines: Voilà would show it
            answers = sessions.answers(folder)
        self.given = {answer["item"]: answer["answer"] for answer in answers if answer["listener"] == listener}

        self.progress = widgets.IntProgress(max=len(self.items), layout={"width": "auto"})
        self.style, self.place, self.problem = widgets.HTML(STYLE), widgets.Label(), widgets.HTML()
        pairs = self.test["form"] == "pairs"
        self.what, names = ("Pair", ("Clip A", "Clip B")) if pairs else ("Clip", ("",))
        self.players = [widgets.Audio(format="flac", autoplay=False, loop=False) for _ in names]
        labelled = zip(map(widgets.Label, names), self.players, strict=True)
        heard = [part for label, player in labelled for part in (label, player) if part is player or label.value]
        asked, self.controls = _controls(self.test["form"])
        self.next = widgets.Button(description="Save and go on", button_style="primary")
        self.back = widgets.Button(description="Back", tooltip="Change an earlier answer")
        self.question = [*heard, *asked, widgets.HBox([self.next, self.back]), self.problem]
        self.end = [widgets.HTML(THANKS.format(listener=listener)), self.back]
        seconds = len(self.items) * (len(names) * self.test["seconds"] + 5 * len(self.controls))  # 5 s an answer
        about = f"{len(self.items)} {self.what.lower()}s, about {max(1, round(seconds / 60))} minutes"
        self.welcome = widgets.HTML(WELCOME.format(about=about))
        self.box = widgets.VBox()
        self.box.add_class("listening-test").add_class(self.test["form"])
        for control in self.controls.values():
            control.observe(lambda _: self.enable(), "value")
        self.next.on_click(lambda _: self.save())
        self.back.on_click(lambda _: self.show(self.number - 1))
        self.show(next((number for number in range(len(self.items)) if number not in self.given), len(self.items)))

    def show(self, number: int) -> None:
        """Show an item, with its earlier answer if there is one, or the end."""
        self.number, self.problem.value = number, ""
        over = number == len(self.items)
        if not over:
            clips, given = self.items[number]["clips"], self.given.get(number, {})
            for player, clip in zip(self.players, clips, strict=True):
                player.value = self.sounds[clip]
            for name, control in self.controls.items():
                value = given.get(name)
                control.value = clips.index(value) if value in clips else value
        self.place.value = "Done" if over else f"{self.what} {number + 1} of {len(self.items)}"
        self.progress.value, self.back.disabled = number, number == 0
        self.enable()
        top = [self.style, *([] if number else [self.welcome]), self.place, self.progress]
        self.box.children = [*top, *(self.end if over else self.question)]

    def enable(self) -> None:
        self.next.disabled = any(control.value is None for control in self.controls.values())

    def save(self) -> None:
        """Write the answer, then go on; if it cannot be written, say so and stay."""
        if self.next.disabled or self.number == len(self.items):  # the second half of a double click
            return
        item, given = self.items[self.number], {name: control.value for name, control in self.controls.items()}
        if self.test["form"] == "pairs":
            given = {"preferred": item["clips"][given["preferred"]]}
        time = datetime.now(UTC).isoformat(timespec="seconds")
        who = {"test": self.test["id"], "listener": self.listener, "item": self.number}
        try:
            sessions.append(self.folder, who | item | {"answer": given, "time": time})
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self.problem.value = f"Not saved ({html.escape(reason)}): wait a moment and try again, or ask for help."
            return
        self.given[self.number] = given
        self.show(self.number + 1)


def _controls(form: str) -> tuple[list[Any], dict[str, Any]]:
    """The questions as widgets, and those that take the answer by name, nothing chosen."""
    import ipywidgets as widgets

    parts: list[Any] = [widgets.HTML("From 0, not at all, to 5, very much:")] if form == "scales" else []
    controls = {}
    for name, question in QUESTIONS[form].items():
        options = [("A", 0), ("B", 1)] if form == "pairs" else [(str(n), n) for n in sessions.POINTS[form][name]]
        tips = [f"{name}: {label}" for label, _ in options]  # what a screen reader adds to the bare number
        style = {"button_width": "auto"}
        controls[name] = widgets.ToggleButtons(options=options, value=None, tooltips=tips, style=style)
        parts += [widgets.HTML(question), controls[name]]
    return parts, controls


def voila_page() -> None:
    """Show the page in the kernel that Voilà has started for one visit.

    A cookie tells who comes back; `?listener=CODE` in the address goes on with another's test, `?new` begins one.
    """
    from IPython.display import HTML, display

    folder = os.environ["COURSE_LISTENING_TEST"]
    name = f"course_listener_{sessions.load(folder)['id']}"
    cookie = re.search(f"(?:^|; *){name}=({sessions.CODE})(?:;|$)", os.environ.get("HTTP_COOKIE", ""))
    query = parse_qs(os.environ.get("QUERY_STRING", ""), keep_blank_values=True)
    asked = query.get("listener", [""])[0] or ("" if "new" in query else cookie[1] if cookie else "")
    listener = asked if sessions.valid_listener(asked) else sessions.new_listener()
    value = f"{name}={listener}; max-age={30 * 24 * 3600}; path=/; SameSite=Lax"  # seconds
    display(HTML(SCRIPT.replace("COOKIE", value)), page(folder, listener))


def serve(folder: str | Path, port: int = 8866, ip: str = "0.0.0.0") -> int:
    """Offer the test as a web page until Ctrl-C, a Python process for each visitor; returns the exit status.

    Raises:
        UsageError: there is no test in the folder, or the port is taken.
    """
    import nbformat  # slow to import

    folder = Path(folder).resolve()
    page(folder)  # says now, rather than in a browser, what is not whole
    _check_free(ip, port)
    cell = nbformat.v4.new_code_cell("from course_lib.listening import page\n\npage.voila_page()")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "title": "Listening test"})
    addresses = " or ".join(f"http://{host}:{port}/" for host in _hosts(ip))
    print(f"The listening test is at {addresses}")
    print("It is up in a few seconds; anyone who can reach the address can take part.")
    print(f"The answers are kept in {folder / 'answers.jsonl'}. Ctrl-C stops.", flush=True)
    command = [sys.executable, "-m", "voila", "page.ipynb", "--no-browser", f"--port={port}", f"--Voila.ip={ip}"]
    env = os.environ | {"COURSE_LISTENING_TEST": str(folder)}
    with tempfile.TemporaryDirectory() as served, (folder / "voila.log").open("wb") as log:
        nbformat.write(notebook, Path(served) / "page.ipynb")
        (Path(served) / "voila.json").write_text(json.dumps(VOILA), encoding="utf-8")
        server = subprocess.Popen(command, cwd=served, env=env, stderr=log)
        try:
            status = server.wait()
            print(f"The server has stopped: {folder / 'voila.log'} may tell why.")
            return status
        except KeyboardInterrupt:
            print("Stopped; the answers are kept.")
            return 0
        finally:
            server.terminate()
            server.wait()


def _check_free(ip: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            if os.name == "posix":  # as the server does: a port that was just let go is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ip, port))
    except (OSError, OverflowError) as error:
        raise UsageError(f"Port {port} of {ip} cannot be had ({error}): choose another port.") from error


def _hosts(ip: str) -> list[str]:
    """Names of this computer for others: its address in the local network, and its host name."""
    if ip != "0.0.0.0":
        return [ip]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of examples: nothing is sent, but a route is chosen
            return [probe.getsockname()[0], socket.gethostname()]
        except OSError:  # no network
            return [socket.gethostname()]
