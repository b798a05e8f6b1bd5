"""What a listener sees, in a notebook and under Voilà."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import ipywidgets
import ipywidgets.embed
import pytest

from course_lib import UsageError
from course_lib.listening import page, sessions

CNN, RNN, REAL, XL = "2D CNN", "RNN (Chen et al.)", "Real music, band", "Transformer-XL"
NAMES = (CNN, RNN, REAL, XL)
ANN, BEN = "abcdefgh", "23456789"


class Reader:
    """Drives a page as a person does, by what it shows."""

    def __init__(self, box):
        self.box = box

    def all(self, kind):
        def below(widget):
            yield widget
            for child in getattr(widget, "children", ()):
                yield from below(child)

        return [widget for widget in below(self.box) if isinstance(widget, kind)]

    def button(self, name):
        return next(button for button in self.all(ipywidgets.Button) if button.description == name)

    @property
    def choices(self):
        return self.all(ipywidgets.ToggleButtons)

    @property
    def text(self):
        return " ".join(widget.value for widget in self.all((ipywidgets.Label, ipywidgets.HTML)))

    @property
    def sounds(self):
        return [player.value for player in self.all(ipywidgets.Audio)]

    def answer(self, index=-1):
        for choice in self.choices:
            choice.index = index % len(choice.options)
        self.button("Save and go on").click()


def copy(folder, tmp_path):
    (tmp_path / "clips").mkdir()
    for path in [folder / "test.json", *(folder / "clips").iterdir()]:
        (tmp_path / path.relative_to(folder)).write_bytes(path.read_bytes())
    return tmp_path


def test_a_whole_test_on_the_page(folder, tmp_path):
    target = copy(folder, tmp_path)
    test = sessions.load(target)
    asked = sessions.items(test, ANN)
    reader, shown = Reader(page.page(target, ANN)), ""
    for number, item in enumerate(asked):
        shown += json.dumps(ipywidgets.embed.dependency_state(reader.box))
        assert f"{number + 1} of {len(asked)}" in reader.text
        assert reader.all(ipywidgets.IntProgress)[0].value == number
        assert reader.sounds == [(target / "clips" / f"{clip}.flac").read_bytes() for clip in item["clips"]]
        assert all(not player.autoplay and not player.loop for player in reader.all(ipywidgets.Audio))
        assert reader.button("Back").disabled == (number == 0)
        assert [choice.value for choice in reader.choices] == [None] * len(reader.choices)
        for choice in reader.choices:
            assert reader.button("Save and go on").disabled
            choice.index = len(choice.options) - 1
        assert not reader.button("Save and go on").disabled
        assert len(sessions.answers(target)) == number
        reader.button("Save and go on").click()
        assert len(sessions.answers(target)) == number + 1, "it is saved at once"
    assert "Thank you" in reader.text and ANN in reader.text and not reader.choices
    best = {"rating": {"rating": 10}, "scales": dict.fromkeys(sessions.SCALES, 5), "pairs": None}[test["form"]]
    for item, answer in zip(asked, sessions.answers(target), strict=True):
        assert answer["answer"] == (best or {"preferred": item["clips"][1]})
    shown += json.dumps(ipywidgets.embed.dependency_state(reader.box))
    for secret in (*NAMES, *(clip[key] for clip in test["clips"] for key in ("id", "source"))):
        assert secret not in shown, "the page tells what is heard"


def test_the_questions_can_be_read(folder):
    reader, form = Reader(page.page(folder, ANN)), json.loads((folder / "test.json").read_text())["form"]
    options = [list(choice.options) for choice in reader.choices]
    ten, six = ([(str(number), number) for number in numbers] for numbers in (range(1, 11), range(6)))
    assert options == {"rating": [ten], "scales": [six] * 5, "pairs": [[("A", 0), ("B", 1)]]}[form]
    for words in ("eadphones", "names", "saved"):
        assert words in reader.text
    for word in {"rating": ["1 =", "10 ="], "scales": list(sessions.SCALES), "pairs": ["Clip A", "Clip B"]}[form]:
        assert word in reader.text
    assert all(tip.endswith(label) for choice in reader.choices
               for tip, (label, _) in zip(choice.tooltips, choice.options, strict=True))  # fmt: skip


def test_the_page_says_how_much_there_is_to_hear_and_does_so_once(folder, tmp_path):
    target = copy(folder, tmp_path)
    test = sessions.load(target)
    count = len(sessions.items(test, ANN))
    # seconds: 11 clips of 1 and 5 to answer, or 5 * 5; 16 pairs of 2 * 1 and 5
    about = {"rating": "11 clips, about 1", "scales": "11 clips, about 5", "pairs": "16 pairs, about 2"}[test["form"]]
    reader = Reader(page.page(target, ANN))
    assert f"There are {about} minutes." in reader.text
    reader.answer()
    assert "<h1>" not in reader.text and f"2 of {count}" in reader.text
    reader.button("Back").click()
    assert "<h1>Listening test</h1>" in reader.text


def test_closing_and_opening_goes_on_where_one_stopped(folder, tmp_path):
    target = copy(folder, tmp_path)
    count = len(sessions.items(sessions.load(target), ANN))
    for number in range(count):
        reader = Reader(page.page(target, ANN))
        assert f"{number + 1} of {count}" in reader.text
        reader.answer()
    assert "Thank you" in Reader(page.page(target, ANN)).text
    assert f"1 of {count}" in Reader(page.page(target, BEN)).text, "another listener begins at the beginning"


def test_a_torn_line_is_asked_again_and_nothing_is_said_of_it(rating, recwarn):
    for _ in range(3):
        Reader(page.page(rating, ANN)).answer()
    path = rating / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    reader = Reader(page.page(rating, ANN))
    assert "3 of 9" in reader.text and not [w for w in recwarn if "torn" in str(w.message)]  # Voilà would show it
    reader.answer()
    assert "4 of 9" in reader.text and "4 of 9" in Reader(page.page(rating, ANN)).text


def test_an_earlier_answer_can_be_changed(folder, tmp_path):
    target = copy(folder, tmp_path)
    reader = Reader(page.page(target, ANN))
    reader.answer(0)
    reader.answer(0)
    before = sessions.answers(target)
    reader.button("Back").click()
    reader.button("Back").click()
    assert "1 of" in reader.text and all(choice.index == 0 for choice in reader.choices), "the answer is shown"
    reader.answer(1)
    assert "2 of" in reader.text and all(choice.index == 0 for choice in reader.choices)
    now = sessions.answers(target)
    assert now[0]["answer"] != before[0]["answer"] and now[1] == before[1] and len(now) == 2
    reader = Reader(page.page(target, ANN))
    assert "3 of" in reader.text
    reader.button("Back").click()
    reader.button("Back").click()
    assert all(choice.index == 1 for choice in reader.choices), "the changed answer is shown after opening again"


def test_one_can_go_back_from_the_end(rating):
    reader = Reader(page.page(rating, ANN))
    for _ in range(9):
        reader.answer(3)
    assert "Thank you" in reader.text and "<h1>" not in reader.text
    assert '<a href="?new">' in reader.text and f"?listener={ANN}" in reader.text
    reader.button("Back").click()
    assert "9 of 9" in reader.text and reader.choices[0].value == 4
    reader.answer(4)
    assert "Thank you" in reader.text and sessions.answers(rating)[-1]["answer"] == {"rating": 5}


def test_a_double_click_saves_one_answer(rating):
    reader = Reader(page.page(rating, ANN))
    reader.answer()
    reader.button("Save and go on").click()
    assert "2 of 9" in reader.text and "Not saved" not in reader.text and len(sessions.answers(rating)) == 1
    for _ in range(8):
        reader.answer()
    assert "Thank you" in reader.text


def test_a_full_disk_is_said_and_nothing_is_lost(rating, monkeypatch):
    def full(_file):
        raise OSError(28, "No <space> left")

    reader = Reader(page.page(rating, ANN))
    reader.answer(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        reader.answer(6)
    assert "Not saved (No &lt;space&gt; left)" in reader.text
    assert "2 of 9" in reader.text and reader.choices[0].value == 7
    reader.button("Save and go on").click()
    assert "3 of 9" in reader.text and "Not saved" not in reader.text
    assert [answer["answer"]["rating"] for answer in sessions.answers(rating)] == [3, 7]


def test_a_page_of_a_broken_folder_says_so(rating):
    next((rating / "clips").iterdir()).unlink()
    with pytest.raises(UsageError, match="build the test again"):
        page.page(rating)


@pytest.mark.parametrize("listener", [None, "", "<script>", "../../x", "ABCDEFGH"])
def test_what_is_no_code_gets_a_fresh_one(rating, listener):
    for _ in range(9):
        Reader(page.page(rating, ANN)).answer()
    reader = Reader(page.page(rating, listener))
    reader.answer()
    codes = {answer["listener"] for answer in sessions.answers(rating)} - {ANN}
    assert len(codes) == 1 and sessions.valid_listener(codes.pop())


# ---------------------------------------------------------------- under Voilà


def visit(folder, monkeypatch, cookie=None, query=None):
    """The code in the cookie that a visit sets, and the page it shows."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things: shown.extend(things))
    monkeypatch.setenv("COURSE_LISTENING_TEST", str(folder))
    for name, value in (("HTTP_COOKIE", cookie), ("QUERY_STRING", query)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    page.voila_page()
    script, box = shown
    start, _, end = page.SCRIPT.partition("COOKIE")
    assert end and script.data.startswith(start) and script.data.endswith(end)
    value = script.data.removeprefix(start).removesuffix(end)
    pattern = rf"course_listener_{sessions.load(folder)['id']}=({sessions.CODE}); max-age=2592000; path=/; SameSite=Lax"
    return re.fullmatch(pattern, value)[1], Reader(box)


def test_a_cookie_or_an_address_tells_who_comes_back(rating, monkeypatch):
    name = f"course_listener_{sessions.load(rating)['id']}"
    code, reader = visit(rating, monkeypatch)
    reader.answer()
    for cookie in (f"{name}={code}", f'a="{{b}}"; {name}={code}', f"x=1;{name}={code}; y=2"):
        again, reader = visit(rating, monkeypatch, cookie)
        assert again == code and "2 of 9" in reader.text
    assert visit(rating, monkeypatch, "x=1", f"a=b&listener={code}")[0] == code
    for query in (f"listener={BEN}", f"new&listener={BEN}"):
        assert visit(rating, monkeypatch, f"{name}={code}", query)[0] == BEN, "the address wins over the cookie"
    for query in ("new", "new=", "new=1"):
        fresh, reader = visit(rating, monkeypatch, f"{name}={code}", query)
        assert fresh not in (code, BEN) and "1 of 9" in reader.text
    assert visit(rating, monkeypatch, f"not_{name}={code}")[0] != code
    assert visit(rating, monkeypatch, f"course_listener_00000000={code}")[0] != code
    assert visit(rating, monkeypatch)[0] != code


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "../../x", "%3Cscript%3E", 'abcdefgh"', "abcdefghx", "a" * 9999]
)
def test_an_evil_cookie_or_address_gets_a_fresh_code(rating, monkeypatch, evil):
    name = f"course_listener_{sessions.load(rating)['id']}"
    for cookie, query in ((f"{name}={evil}", None), (None, f"listener={evil}"), (f"{name}={evil}", f"listener={evil}")):
        code, reader = visit(rating, monkeypatch, cookie, query)
        assert sessions.valid_listener(code) and code not in evil
        assert evil not in json.dumps(ipywidgets.embed.dependency_state(reader.box))
    assert not (rating / "answers.jsonl").exists()


def test_a_page_starts_light():
    """A kernel for each listener must start at once: nothing of the lessons is imported."""
    code = "import sys, course_lib.listening.sessions; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {
        "keras",
        "tensorflow",
        "jax",
        "music21",
        "scipy",
        "pandas",
        "pyloudnorm",
        "nbformat",
        "matplotlib",
    }


def test_a_port_that_is_taken_is_said(rating):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            page.serve(rating, port, "127.0.0.1")
    with pytest.raises(UsageError, match="Port 99999"):
        page.serve(rating, 99_999, "127.0.0.1")
    with pytest.raises(UsageError, match="missing or damaged"):
        page.serve(rating / "clips")


def test_the_addresses_can_be_reached_by_others():
    assert page._hosts("127.0.0.1") == ["127.0.0.1"]
    assert socket.gethostname() in page._hosts("0.0.0.0") and "0.0.0.0" not in page._hosts("0.0.0.0")


@pytest.mark.skipif(os.name != "posix", reason="stops the server by Ctrl-C")
@pytest.mark.timeout(180)
def test_the_page_is_served_and_the_folder_is_not(rating, an_answer):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            pytest.skip(f"no port can be had here: {error}")
        port = probe.getsockname()[1]
    sessions.append(rating, an_answer(sessions.load(rating), ANN, 0))
    code = f"from course_lib.listening import page; raise SystemExit(page.serve({str(rating)!r}, {port}, '127.0.0.1'))"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path="", cookie=""):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Cookie": cookie})
        with opener.open(request, timeout=60) as reply:
            return reply.status, reply.read().decode()

    try:
        assert f"http://127.0.0.1:{port}/" in server.stdout.readline()
        for _ in range(120):
            try:
                get("voila/static/none")
            except urllib.error.HTTPError as error:
                error.close()
                break  # it answers
            except OSError:
                assert server.poll() is None, (rating / "voila.log").read_text()
                time.sleep(0.5)
        name = f"course_listener_{sessions.load(rating)['id']}"
        status, html = get(cookie=f"{name}=<script>evil</script>")
        assert status == 200 and "Listening test" in html and "widget-view" in html
        mine = re.search(f"{name}=({sessions.CODE})", html)[1]
        again = get(cookie=f"other=1; {name}={mine}")[1]
        assert f"{name}={mine}" in again, "the cookie does not reach the page"
        for text in (html, again):
            assert not any(secret in text for secret in (*NAMES, ".mid", "evil", "Traceback", str(rating)))
        clip = next((rating / "clips").iterdir()).name
        for file in (
            "answers.jsonl",
            "test.json",
            "page.ipynb",
            "voila.log",
            "voila.json",
            f"clips/{clip}",
            "../test.json",
        ):
            for path in (f"voila/files/{file}", file):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    get(path)
                refused.value.close()
                assert refused.value.code in (403, 404), path
    finally:
        server.send_signal(signal.SIGINT)
        try:
            said = server.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert server.returncode == 0 and "answers are kept" in said
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # nothing is left that listens
