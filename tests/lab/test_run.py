"""The command line: what is run, what it leaves, how it fails. These notebooks are tiny and import little."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from datetime import datetime
from pathlib import Path

import msgspec
import nbformat
import pandas as pd
import papermill
import pytest
import run_records
import soundfile
import symusic

from course_lib import cli, files, music
from course_lib.hear import listen
from course_lib.lab import committed, doctor, execute, plan, provenance, record, run, schema
from course_lib.listening import page, sessions

PARAMETERS = 'profile = "quick"  # or "paper"\nseed = 0\ndata = "embedded"\n'
FINISH = """
import os
from pathlib import Path
from course_lib.lab import record
record.start("NAME", profile, seed, data, size=size).finish()
"""
GOOD = [PARAMETERS + "size = 1", "print('epoch 1/1  loss 0.5')", FINISH]
TABLE = "settings = run.settings(epochs=(1, 20), widths=((8, 4), (8, 6, 4)), rate=(0.5, 0.25), kind=('a', None))"
WITH_SETTINGS = [
    PARAMETERS,
    f"from course_lib.lab import record\nrun = record.start('NAME', profile, seed, data)\n{TABLE}",
    "print(settings.epochs, settings.widths, settings.rate)\nrun.finish()",
]


def write_notebook(path: Path, *sources: str, tags: tuple[str, ...] = ("parameters",)) -> None:
    """A notebook of code cells, the first one with tags; NAME in them stands for its name."""
    cells = [nbformat.v4.new_code_cell(source.replace("NAME", path.stem)) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.cells[0].metadata["tags"] = list(tags)
    nbformat.write(notebook, path)


def command(line: str) -> int:
    """The exit status of ``python -m course_lib`` with these words."""
    return cli.main(line.split())


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder of notebooks that the command line finds; the working folder is an empty one beside it."""
    folder, here = tmp_path / "notebooks", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("COURSE_NOTEBOOKS", str(folder))
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.chdir(here)
    write_notebook(folder / "02_good.ipynb", *GOOD)
    return folder


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that would have been executed; none is."""
    seen = []
    monkeypatch.setattr(run, "execute", seen.append)
    monkeypatch.setattr(run.report, "write", lambda roots, target: target)
    return seen


# ---------------------------------------------------------------- what is run


@pytest.mark.parametrize(
    "text, value",
    [("3", 3), ("-1", -1), ("1e-3", 0.001), ("true", True), ("False", False), ("lstm_1", "lstm_1"), ("", ""),
     ("8,4", [8, 4]), ("8,", [8]), ("None", None), ("bach/bwv1.6", "bach/bwv1.6"), ("a,b", "a,b"), ("[x", "[x")],
)  # fmt: skip
def test_values_are_read_as_literals(text, value):
    read = plan.literal(text)
    assert read == value and type(read) is type(value)


def test_seeds_and_values_make_one_run_each(notebooks, jobs):
    assert command("run 2 --seed 0 1 -p size 1 2.5 -p size big/one --out out") == 0
    assert [(job.parameters["seed"], job.parameters["size"]) for job in jobs] == [
        (0, 1), (0, 2.5), (0, "big/one"), (1, 1), (1, 2.5), (1, "big/one"),
    ]  # fmt: skip
    assert len({job.folder for job in jobs}) == 6
    assert jobs[4].folder == Path("out/02_good/seed=1,size=2.5").resolve()
    assert jobs[2].folder.parent == jobs[0].folder.parent, "a value with a slash must not make a folder more"


def test_a_single_run_has_no_folder_of_its_own_and_a_seed_given_twice_runs_once(notebooks, jobs):
    assert command("run 02_good.ipynb --seed 3 3 --out out") == 0
    assert [job.folder for job in jobs] == [Path("out/02_good").resolve()]
    assert jobs[0].parameters == {"profile": "quick", "seed": 3, "data": "embedded"}


def test_a_parameter_goes_to_the_notebooks_that_have_it(notebooks, jobs):
    write_notebook(notebooks / "00_tour.ipynb", "profile = 'quick'")
    assert command("run -p size 4 5 --out out") == 0
    assert [job.parameters for job in jobs] == [
        {"profile": "quick"},
        {"profile": "quick", "seed": 0, "data": "embedded", "size": 4},
        {"profile": "quick", "seed": 0, "data": "embedded", "size": 5},
    ]


def test_a_data_folder_is_passed_as_an_absolute_path(notebooks, jobs):
    Path("midi/deep").mkdir(parents=True)
    Path("midi/deep/a.MID").write_bytes(b"")
    assert command("run --data midi --out out") == 0
    assert jobs[0].parameters["data"] == str(Path("midi").resolve())


def test_a_folder_of_prepared_bands_is_data_too(notebooks, jobs):
    """It holds shards, and no MIDI file."""
    Path("lpd").mkdir()
    assert command("run --data lpd --out out") == 2 and jobs == []
    Path("lpd/bands.json").write_text("{}")
    assert command("run --data lpd --out out") == 0
    assert jobs[0].parameters["data"] == str(Path("lpd").resolve())


WRONG = {
    "run 99": "Notebook '99' is unknown: choose from 02_good.",
    "run good": "Notebook 'good' is unknown",
    "run --profile big": "Profile 'big' is unknown: use quick, night, paper.",
    "run --seed -1": "Seed -1 must be a whole number",
    "run --data nowhere": "Data folder 'nowhere' does not exist",
    "run --data .": "Data folder '.' holds no .mid or .midi file",
    "run -p depth 1": "Parameter 'depth' is unknown: the chosen notebooks have data, profile, seed, size.",
    "run -p size": "Parameter 'size' has no value",
    "run -s epochs": "Setting 'epochs' has no value: use -s epochs VALUE.",
    "run -s epochs 1": "Setting 'epochs' is unknown: the chosen notebooks have none.",
    "run --seed 0 1 2 -p size " + " ".join(map(str, range(400))): "This asks for 1,200 runs: add --yes to start",
    "run -p seed 1": "Parameter 'seed' has an option of its own: use --seed.",
    "report nowhere": "does not exist",
    "report .": "No run was found in",
    "report . --readme a_file": "a_file has no lines <!-- scoreboard --> and <!-- /scoreboard -->: add them",
    "report . --readme nowhere.md": "nowhere.md has no lines <!-- scoreboard -->",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_asked_wrongly_gets_one_sentence_and_leaves_nothing(wrong, notebooks, capsys):
    Path("a_file").write_text("")
    assert command(wrong) == 2
    captured = capsys.readouterr()
    assert WRONG[wrong] in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert contents(Path.cwd()) == ["a_file"]


UNWRITABLE = {
    "run --out a_file": "a_file cannot be written (File exists)",
    "run --out a_file/below": "cannot be written (Not a directory)",
    "run --out /dev/full": "/dev/full cannot be written (File exists)",
    f"run --out {'long' * 100}": "cannot be written (File name too long)",
    "report kept --out a_file/page.html": "a_file cannot be written (File exists)",
}


@pytest.mark.parametrize("line", UNWRITABLE)
def test_a_folder_that_cannot_be_written_is_named(line, notebooks, capsys):
    Path("a_file").write_text("")
    Path("kept").mkdir()
    Path("kept/error.txt").write_text("ValueError: none")
    assert command(line) == 1
    captured = capsys.readouterr()
    assert UNWRITABLE[line] in captured.err and "choose another --out." in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert contents(Path.cwd()) == ["a_file", "kept", "kept/error.txt"]


WRONG_SETTINGS = {
    "epoch 1": "Setting 'epoch' is unknown: the chosen notebooks have epochs, kind, rate, widths.",
    "epochs many": "Settings of 03_learns: epochs is 'many': it takes a whole number",
    "epochs 1.5": "Settings of 03_learns: epochs is 1.5: it takes a whole number",
    "epochs true": "Settings of 03_learns: epochs is True: it takes a whole number",
    "widths 8": "Settings of 03_learns: widths is 8: it takes a list",
    "widths 8,a": "Settings of 03_learns: widths is '8,a'",
}


@pytest.mark.parametrize("wrong", WRONG_SETTINGS)
def test_a_wrong_setting_stops_before_anything_starts(wrong, notebooks, capsys):
    write_notebook(notebooks / "03_learns.ipynb", *WITH_SETTINGS)
    assert command(f"run -s {wrong}") == 2
    captured = capsys.readouterr()
    assert WRONG_SETTINGS[wrong] in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert contents(Path.cwd()) == []


def test_settings_make_a_grid_for_the_notebooks_that_have_them(notebooks, jobs):
    write_notebook(notebooks / "03_learns.ipynb", *WITH_SETTINGS)
    assert command("run --seed 0 1 -s epochs 5 10 -s widths 8, --out out") == 0
    assert [(job.notebook.stem, job.parameters["seed"], job.settings) for job in jobs] == [
        ("02_good", 0, {}), ("02_good", 1, {}),
        *(("03_learns", seed, {"epochs": epochs, "widths": (8,)}) for seed in (0, 1) for epochs in (5, 10)),
    ]  # fmt: skip
    assert jobs[3].folder == Path("out/03_learns/seed=0,epochs=10,widths=%288%2C%29").resolve()
    jobs.clear()
    assert command("run 3 -s kind None b --out out") == 0
    assert [job.settings for job in jobs] == [{"kind": None}, {"kind": "b"}]
    jobs.clear()
    assert command("run 3 -s rate 1 --out out") == 0
    assert [(job.settings, job.folder.name) for job in jobs] == [({"rate": 1.0}, "seed=0,rate=1.0")]


def test_a_large_grid_needs_a_yes(notebooks, jobs):
    line = "run --seed 0 1 2 -p size " + " ".join(map(str, range(334))) + " --out out"
    assert command(line) == 2 and jobs == []
    assert command(f"{line} --yes") == 0 and len(jobs) == 1002


def test_a_night_is_a_profile(notebooks, jobs):
    assert command("run --profile night --out out") == 0
    assert jobs[0].parameters["profile"] == "night"


ODD = ["a, b = 1, 2", "c = d = 3", "e = 4; f = 5", "g: int = 6", 'h = """\nnot = 1\n"""', "i = dict(\n    no=7)"]


def test_the_parameters_of_odd_cells_are_found(notebooks):
    write_notebook(notebooks / "03_odd.ipynb", "\n".join(ODD), "%matplotlib inline", "other = 1")
    assert plan.read_lesson(notebooks / "03_odd.ipynb").parameters == set("abcdefghi")


def test_every_lesson_of_the_course_can_be_planned():
    lessons = {path.stem[:2]: plan.read_lesson(path) for path in plan.chosen([])}
    assert {"profile", "seed", "data"} <= set.intersection(*(lesson.parameters for lesson in lessons.values()))
    for number in range(2, 12):
        assert "batch_size" in lessons[f"{number:02}"].settings or len(lessons[f"{number:02}"].settings) > 5
    assert lessons["13"].reads == {"runs"} and lessons["09"].reads == {"08"} and not lessons["02"].reads


@pytest.mark.parametrize("content", ["", "[]", "{}", "not JSON", '{"nbformat": 4'])
def test_a_damaged_notebook_is_named(content, notebooks, capsys):
    (notebooks / "03_damaged.ipynb").write_text(content)
    assert command("run --out out") == 2
    assert "03_damaged.ipynb cannot be read" in capsys.readouterr().err
    assert contents(Path.cwd()) == []


def test_no_notebooks_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_NOTEBOOKS", str(tmp_path))
    assert command("run") == 2
    assert f"no notebooks in {tmp_path}" in capsys.readouterr().err


# ---------------------------------------------------------------- running


def test_a_run_leaves_the_executed_notebook_its_result_and_a_report(notebooks, capsys):
    write_notebook(notebooks / "02_good.ipynb", *GOOD, "print(os.getcwd())")
    assert command("run --seed 0 1 -p size 1e-3 --out out{x}") == 0  # papermill fills in braces
    out = Path("out{x}").resolve()
    for seed in (0, 1):
        folder = out / "02_good" / f"seed={seed},size=0.001"
        assert contents(folder) == ["02_good.ipynb", "kernel.log", "result.json"]
        result = json.loads((folder / "result.json").read_text())
        assert result["parameters"] == {"profile": "quick", "seed": seed, "data": "embedded", "size": 0.001}
    printed = capsys.readouterr().out
    assert "[1/2] 02_good seed=0,size=0.001 ...\n    epoch 1/1  loss 0.5\n" in printed
    assert "[2/2] 02_good seed=1,size=0.001 ... done in" in printed
    assert f"    {notebooks}\n" in printed, "the working folder is that of the notebooks"
    assert f"Report      {out / 'index.html'}\n" in printed and (out / "index.html").exists()
    assert "COURSE_OUT" not in os.environ


def test_what_a_cell_leaves_out_of_reach_is_given_back(notebooks, capfd):
    leave = """
import gc, weakref
gc.disable()
class Ring:
    pass
ring = Ring()
ring.itself, ring.memory = ring, b"x" * 2**26
left = weakref.ref(ring)
del ring
print("in the cell:", left() is not None)
"""
    begin = 'from course_lib.lab import record\nrun = record.start("NAME", profile, seed, data)'
    after = 'print("after it:", left() is not None)\nrun.finish()'
    write_notebook(notebooks / "02_good.ipynb", PARAMETERS, begin, leave, after)
    assert command("run 02 --out out") == 0
    printed = capfd.readouterr().out
    assert "in the cell: True" in printed and "after it: False" in printed


@pytest.mark.parametrize("home", ["writable", "not"])
def test_the_players_of_a_run_may_play(home, notebooks, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter" / "data"))
    if home == "not":
        (tmp_path / "jupyter").touch()
    assert command("run 02 --out out") == 0
    if home == "writable":
        executed = nbformat.read("out/02_good/02_good.ipynb", as_version=4)
        notary = nbformat.sign.NotebookNotary(data_dir=str(tmp_path / "jupyter" / "data"))
        assert notary.check_signature(executed)
        executed.cells[1].source = "print('something else')"
        assert not notary.check_signature(executed)


def test_a_run_ends_with_the_piece_to_hear_first(notebooks, capsys):
    pieces = """
import symusic
from course_lib.lab import record
run = record.start("NAME", profile, seed, data)
score = symusic.Score(480)
score.tracks.append(symusic.Track(program=0))
score.tracks[0].notes.append(symusic.Note(0, 480, 60, 80))
run.music("real", score, "Real.", real=True)
run.music("untrained", score, "Before.")
run.music("trained", score, "After.", first=True)
run.finish()
"""
    write_notebook(notebooks / "02_good.ipynb", PARAMETERS, pieces)
    assert command("run 02 --out out") == 0
    folder = Path("out/02_good").resolve()
    assert f"First MIDI  {folder / 'trained.mid'}\n" in capsys.readouterr().out


def test_changed_settings_reach_the_notebook_and_its_record(notebooks, capfd):
    write_notebook(notebooks / "02_good.ipynb", *WITH_SETTINGS)
    assert command("run -s epochs 5 -s widths 16,2 --out out") == 0
    folder = Path("out/02_good/seed=0,epochs=5,widths=%2816%2C%202%29").resolve()
    result = record.find(folder)
    assert (result.changed, result.settings["rate"]) == ({"epochs": 5, "widths": [16, 2]}, 0.5)
    assert "    5 (16, 2) 0.5\n" in capfd.readouterr().out
    assert command("run -s epochs 5 -s widths 16,2 --out out") == 0
    assert "was done before" in capfd.readouterr().out
    assert command("run --out out") == 0
    assert record.find(Path("out/02_good").resolve()).changed == {}


def test_what_libraries_tell_their_programmers_stays_out(notebooks, capfd):
    warn = "import warnings\nwarnings.warn('for programmers', FutureWarning)\nwarnings.warn('for users')"
    write_notebook(notebooks / "02_good.ipynb", *GOOD, warn)
    assert command("run --out out") == 0
    said = capfd.readouterr().err
    assert "for users" in said and "for programmers" not in said


def test_a_notebook_that_fails_does_not_stop_the_others(notebooks, capsys):
    write_notebook(notebooks / "03_fails.ipynb", *GOOD, "raise ValueError('No song is long.')", "print(1)")
    write_notebook(notebooks / "04_dies.ipynb", *GOOD, "os._exit(1)")
    write_notebook(notebooks / "05_leaves.ipynb", *GOOD, "import sys\nsys.exit()", "print(1)")
    write_notebook(notebooks / "06_good.ipynb", *GOOD)
    assert command("run --out out") == 1
    captured = capsys.readouterr()
    assert "3 of 5 failed:\n  03_fails: ValueError: No song is long.\n  04_dies: The kernel" in captured.err
    assert "05_leaves: SystemExit" in captured.err and "run --out out" in captured.err
    assert "[2/5] 03_fails ... FAILED after" in captured.out
    for name in ("03_fails", "04_dies", "05_leaves"):
        assert contents(Path("out") / name) == [f"{name}.ipynb", "error.txt", "kernel.log"]
    assert Path("out/03_fails/error.txt").read_text() == "ValueError: No song is long.\n"
    assert Path("out/06_good/result.json").exists()
    page = Path("out/index.html").read_text()
    assert "Failed: ValueError: No song is long." in page


def test_what_is_done_is_not_done_again(notebooks, capsys):
    checkpoint, result = Path("out/02_good/checkpoint"), Path("out/02_good/result.json")
    once = "if not os.path.exists(os.environ['COURSE_OUT'] + '/checkpoint'): raise RuntimeError('stopped')"
    write_notebook(notebooks / "02_good.ipynb", GOOD[0], "import os\n" + once, FINISH)
    assert command("run --out out") == 1
    checkpoint.touch()
    assert command("run --out out") == 0, "what an unfinished run left is there when it goes on"
    assert not Path("out/02_good/error.txt").exists()

    before = result.stat()
    capsys.readouterr()
    assert command("run --out out") == 0
    assert result.stat().st_mtime_ns == before.st_mtime_ns and result.stat().st_ino == before.st_ino
    assert "[1/1] 02_good ... was done before" in capsys.readouterr().out

    write_notebook(notebooks / "02_good.ipynb", *GOOD)
    assert command("run --out out") == 0
    printed = capsys.readouterr().out
    assert "[1/1] 02_good ... made by other code: run again\n" in printed and "epoch" in printed
    assert checkpoint.exists(), "changed code goes on from its checkpoint"


def done_again(capsys) -> str:
    """The reason why the notebook runs again, "" if it does not."""
    capsys.readouterr()
    assert command("run --data midi --out out") == 0
    return capsys.readouterr().out.splitlines()[0].partition(" ... ")[2].removesuffix("was done before")


def test_what_was_made_by_other_code_or_data_runs_again(notebooks, monkeypatch, capsys):
    Path("midi").mkdir()
    Path("midi/a.mid").write_bytes(b"")
    assert done_again(capsys) == "" and Path("out/02_good/result.json").exists() and done_again(capsys) == ""
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "package_hash", lambda *rooms: "0123456789ab")
        assert done_again(capsys) == "made by other code: run again"  # which the kernel runs with the old one
    assert done_again(capsys) == ""
    Path("midi/b.mid").write_bytes(b"")
    assert done_again(capsys) == "made from other data: run again"
    assert done_again(capsys) == ""
    path = Path("out/02_good/result.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"changed": {"epochs": 3}}))
    assert done_again(capsys) == "made with other settings: run again"
    path.write_text("{}")
    assert done_again(capsys) == ""
    notebook = nbformat.read(notebooks / "02_good.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("More is said."))
    nbformat.write(notebook, notebooks / "02_good.ipynb")
    assert done_again(capsys) == "", "words are no code"


def test_the_results_of_other_parameters_are_not_overwritten(notebooks, monkeypatch, capsys):
    assert command("run --out out") == 0
    before = Path("out/02_good/result.json").read_bytes()
    assert command("run -p size 2 --out out") == 2
    assert "holds a run with other parameters: choose another --out" in capsys.readouterr().err
    monkeypatch.setenv("COURSE_SMOKE", "1")
    assert command("run --out out") == 2, "a smoke run must not replace a real one"
    assert Path("out/02_good/result.json").read_bytes() == before


def test_a_full_disk_stops_the_run_with_one_sentence(notebooks, monkeypatch, capsys):
    write = papermill.iorw.LocalHandler.write
    calls = []

    def write_until_full(self, text, path):
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return write(self, text, path)

    write_notebook(notebooks / "03_good.ipynb", *GOOD)
    monkeypatch.setattr(papermill.iorw.LocalHandler, "write", write_until_full)
    assert command("run --out out") == 1
    captured = capsys.readouterr()
    assert "02_good.partial.ipynb cannot be written (No space left on device): make room" in captured.err
    assert captured.err.count("\n") == 1 and "03_good" not in captured.out
    assert not list(Path("out").rglob("result.json")) and not Path("out/02_good/02_good.ipynb").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_tells_how_to_go_on(way, notebooks):
    wait = "import time\nprint('waiting', os.getpid())\ntime.sleep(60)"
    write_notebook(notebooks / "02_good.ipynb", *GOOD, wait)
    process = subprocess.Popen(
        [sys.executable, "-m", "course_lib", "run", "--out", "out dir"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(files.ROOT)},
    )
    assert process.stdout and process.stderr
    line = next(line for line in process.stdout if "waiting" in line)
    time.sleep(0.5)  # until the line just read is no longer at work in the runner
    process.send_signal(way)
    assert process.wait(20) == 130
    assert process.stderr.read() == (
        "\nStopped; what is done is kept. To go on: python -m course_lib run --out 'out dir'\n"
    )
    assert contents(Path("out dir/02_good")) == ["02_good.partial.ipynb", "kernel.log"]
    deadline = time.monotonic() + 10
    while Path(f"/proc/{line.split()[1]}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{line.split()[1]}").exists(), "the kernel must not outlive its run"


def test_without_out_the_run_folder_is_a_new_one_and_latest_leads_to_it(notebooks, jobs, monkeypatch):
    monkeypatch.setattr(files, "ROOT", Path.cwd())  # no checkout
    for day in (1, 2):
        monkeypatch.setattr(run, "datetime", Namespace(now=lambda day=day: datetime(2026, 1, day)))
        assert command("run") == 0
        assert Path("runs/latest").resolve() == jobs[-1].folder.parent
    assert command("run --out elsewhere") == 0
    found = contents(Path("runs"))
    assert found == ["2026-01-01_00-00-00", "2026-01-02_00-00-00", "latest"]


def test_a_notebook_that_reads_what_others_left_runs_last_and_does_not_move_latest(notebooks, jobs, monkeypatch):
    monkeypatch.setattr(files, "ROOT", Path.cwd())
    write_notebook(notebooks / "01_reads.ipynb", *GOOD, tags=("parameters", "reads-runs"))
    times = iter(range(1, 9))
    monkeypatch.setattr(run, "datetime", Namespace(now=lambda: datetime(2026, 1, next(times))))
    assert command("run 1") == 0
    assert jobs[-1].folder.parent.parent == Path("runs").resolve() and not Path("runs/latest").exists()
    assert command("run 2") == 0
    first = jobs[-1].folder.parent
    assert command("run 1") == 0
    assert jobs[-1].folder.parent != first and Path("runs/latest").resolve() == first
    jobs.clear()
    assert command("run") == 0
    assert [job.notebook.stem for job in jobs] == ["02_good", "01_reads"]
    assert Path("runs/latest").resolve() == jobs[-1].folder.parent != first


def test_a_notebook_that_reads_what_others_left_is_never_done(notebooks, capsys):
    write_notebook(notebooks / "02_good.ipynb", *GOOD, tags=("parameters", "reads-runs"))
    for reason in ("", "reads the other runs: run again"):
        assert command("run --out out") == 0
        assert capsys.readouterr().out.splitlines()[0] == f"[1/1] 02_good ... {reason}".strip()


def test_where_links_are_refused_latest_is_a_text_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError("privilege not held")))
    run._point_latest(tmp_path / "2026-01-01_00-00-00")
    assert (tmp_path / "latest").read_text() == "2026-01-01_00-00-00"
    assert contents(tmp_path) == ["latest"]


def test_progress_bars_stay_out_of_a_log():
    class Log(list):
        def isatty(self) -> bool:
            return False

        write = list.append

    log = Log()
    passed = execute._Indented(log)  # type: ignore[arg-type]
    passed.write("epoch 1\n\nepoch 2\n")
    passed.write("\r 10%|#         |")
    assert log == ["    epoch 1\n\n    epoch 2\n"]


# ---------------------------------------------------------------- the listening test

RATED = {"2D CNN": "band", "RNN (Chen et al.)": "band", "MelodyCNN + HarmonyCNNs": "piano", "VAE-NN": "piano"}
DILATED = [f"dilated, {composer}" for composer in ("mozart", "haydn", "beethoven", "all")]


def tune(seed: int) -> symusic.Score:
    """Twelve quarter notes: six seconds."""
    score, track = symusic.Score(480), symusic.Track()
    track.notes.extend(symusic.Note(480 * i, 480, 50 + (7 * seed + 5 * i) % 30, 80) for i in range(12))
    score.tracks.append(track)
    return score


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """The pages that would have been served: folder, port and ip. The checkout is an empty folder."""
    served = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(page, "serve", lambda *given: served.append(given) or 0)
    return served


@pytest.fixture
def recorded(tmp_path, monkeypatch, offered):
    """A run with five pieces of all systems that the papers had rated, to which runs/latest leads."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    folder = tmp_path / "runs" / "monday"
    monkeypatch.setenv("COURSE_OUT", str(folder / "07_cnn_2d"))
    made = record.start("07_cnn_2d", "quick", 0, "embedded")
    names = RATED | dict.fromkeys(DILATED, "piano") | {"Other": "band"}
    for number, (name, kind) in enumerate(names.items()):
        made.system(name, [tune(10 * number + i) for i in range(5)], kind)
    for kind in ("piano", "band"):
        made.system(f"Real music, {kind}", [tune(100 + i) for i in range(5)], kind, real=True)
    made.finish()
    run._point_latest(folder)
    return folder


def drawn(target: Path) -> dict[str, int]:
    """How many clips of each system a listening test has."""
    return dict(Counter(clip["system"] for clip in sessions.load(target)["clips"]))


@pytest.mark.parametrize(
    "form, systems, clips",
    [
        ("rating", [*RATED, "Real music, band", "Real music, piano"], 4),
        ("scales", [*DILATED, "Real music, piano"], 2),
        ("pairs", [*RATED, "Real music, band", "Real music, piano"], 2),
    ],
)
def test_listen_takes_what_claims_by_ear_are_about(recorded, offered, form, systems, clips):
    words = "listen --seconds 1" + f" --form {form}" * (form != "rating")
    assert command(words) == 0
    target = Path("runs/listening").resolve() / form
    assert offered == [(target, 8866, "0.0.0.0")]
    test = sessions.load(target)
    assert (test["form"], test["seconds"]) == (form, 1)
    assert drawn(target) == dict.fromkeys(systems, clips)


def test_listen_takes_the_systems_clips_and_address_that_are_asked_for(recorded, offered):
    assert command("listen --systems all --clips 1 --seconds 1 --out all --port 9000 --ip 127.0.0.1") == 0
    assert drawn(Path("all")) == dict.fromkeys([*RATED, *DILATED, "Other", "Real music, band", "Real music, piano"], 1)
    assert cli.main(["listen", str(recorded), "--systems", "VAE-NN", "--seconds", "1", "--out", "one"]) == 0
    assert drawn(Path("one")) == {"VAE-NN": 4, "Real music, piano": 4}
    assert offered == [(Path("all").resolve(), 9000, "127.0.0.1"), (Path("one").resolve(), 8866, "0.0.0.0")]


def test_listen_goes_on_with_a_test_that_is_there(recorded, offered, capsys):
    assert command("listen --form pairs --seconds 1 --clips 1 --out mine") == 0
    target, listener = Path("mine").resolve(), "abcdefgh"
    before, test = (target / "test.json").read_bytes(), sessions.load(target)
    for number in (0, 1, 0):
        item = sessions.items(test, listener)[number]
        answer = {"listener": listener, "item": number, "answer": {"preferred": item["clips"][0]}}
        sessions.append(target, {"test": test["id"], **item, **answer, "time": "2026-01-01T00:00:00+00:00"})
    capsys.readouterr()
    for words in ("listen --out mine", "listen --out mine --form pairs"):
        assert command(words) == 0
        said = capsys.readouterr().out
        assert f"Going on with the test in {target} (form pairs, 6 clips of 1 s, 2 answers so far)." in said
    for form in ("rating", "scales", "stars"):
        assert command(f"listen --out mine --form {form}") == 2
        captured = capsys.readouterr()
        assert captured.err == f"{target} holds a test of form pairs: choose another --out for a new one.\n"
    assert (target / "test.json").read_bytes() == before and len(offered) == 3


@pytest.mark.parametrize(
    "words, said",
    [
        ("listen", "latest' does not exist: give a folder that run has written."),
        ("listen nowhere", "nowhere' does not exist"),
        ("listen .", "None of 0 runs has recorded pieces of a system: run a notebook from 02 on first."),
        ("listen . --form stars", "Form 'stars' is unknown: use rating, scales, pairs."),
    ],
)
def test_listen_without_runs_gets_one_sentence(words, said, offered, capsys):
    assert command(words) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert offered == [] and contents(Path.cwd()) == []


def test_listen_follows_latest_where_it_is_a_text_file(recorded, offered):
    (recorded.parent / "latest").unlink()
    (recorded.parent / "latest").write_text("monday\n")
    assert command("listen --seconds 1 --out mine") == 0
    assert drawn(Path("mine"))["2D CNN"] == 4


@pytest.mark.parametrize("name", ["run", "report", "listen", "notebooks", "doctor"])
def test_every_command_shows_an_example(name, capsys):
    with pytest.raises(SystemExit):
        command(f"{name} --help")
    assert f"example: python -m course_lib {name}" in " ".join(capsys.readouterr().out.split())


# ---------------------------------------------------------------- doctor


def keras_answers(monkeypatch, text: str, status: int = 0) -> None:
    done = subprocess.CompletedProcess([], status, stdout=text, stderr="ModuleNotFoundError: no backend")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)


def test_doctor_gives_each_line_a_mark(monkeypatch, tmp_path, capsys):
    keras_answers(monkeypatch, "3.15.1 jax 1\n")
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["numpy>=2", 'pytest>=999; extra == "test"'])
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    assert command("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and all(line.startswith(("OK  ", "!!  ")) for line in lines)
    assert {"OK  packages in their ranges", "OK  Keras 3.15.1 on jax", "OK  GPU: 1"} <= set(lines)
    assert f"OK  corpus: will be built on first use (a minute) in {os.path.relpath(tmp_path / 'cache')}" in lines
    assert contents(tmp_path) == []


def test_doctor_says_of_each_gpu_what_will_be_used(monkeypatch, capsys):
    keras_answers(monkeypatch, "3.15.1 jax 2\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setenv("COURSE_PRECISION", "mixed_float16")
    monkeypatch.setenv("COURSE_XLA", "off")
    assert command("doctor") == 0
    printed = capsys.readouterr().out
    for worker, name in enumerate("46"):
        told = f"worker {worker} of run --jobs auto, mixed_float16, XLA off, its memory taken as it is needed"
        assert f"OK  GPU {name}: {told}" in printed
    monkeypatch.setenv("COURSE_PRECISION", "float8")
    assert command("doctor") == 1
    assert "!!  COURSE_PRECISION is 'float8': set it to float32, mixed_float16 or" in capsys.readouterr().out


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    keras_answers(monkeypatch, "", status=1)
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["numpy>=999", "no-such-package-of-ours>=1"])
    monkeypatch.setattr(doctor.listen, "ogg", lambda *_: (_ for _ in ()).throw(RuntimeError("no soundfont")))
    assert command("doctor") == 1
    printed = capsys.readouterr().out
    assert "!!  packages: numpy>=999 is needed, not " in printed
    assert "no-such-package-of-ours>=1 is missing; pip install" in printed
    assert "!!  Keras cannot be imported (ModuleNotFoundError: no backend): install" in printed
    assert "!!  sound: no Ogg could be written (no soundfont); pip install" in printed


def test_the_committed_copies_are_replaced_all_or_none(notebooks, capsys):
    sound = "import sys\nfrom IPython.display import HTML\nprint(1, file=sys.stderr)\nHTML('<audio src=x>')"
    good = notebooks / "02_good.ipynb"
    write_notebook(good, GOOD[0], "print(6 * 7)", sound)
    before = good.read_text()
    write_notebook(notebooks / "03_bad.ipynb", GOOD[0], "1 / 0")
    assert command("notebooks") == 1
    assert good.read_text() == before and "ZeroDivisionError" in capsys.readouterr().err

    assert command("notebooks 02") == 0
    cells = nbformat.read(good, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3], "no cell is injected"
    assert cells[1].outputs[0].text == "42\n"
    assert len(cells[2].outputs) == 1 and "<audio" not in str(cells[2].outputs)
    assert not list(notebooks.glob("*.partial"))


def test_what_was_printed_line_by_line_is_committed_as_one_output():
    def printed(text):
        return nbformat.v4.new_output("stream", name="stdout", text=text)

    cell = nbformat.v4.new_code_cell("train()")
    shown = nbformat.v4.new_output("display_data", {"text/plain": "a table"})
    cell.outputs = [printed("epoch 1\n"), printed("epoch 2\n"), shown, printed("done\n")]
    cleaned = committed.clean(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [output.get("text") for output in cleaned] == ["epoch 1\nepoch 2\n", None, "done\n"]
    assert cleaned[1].data == {"text/plain": "a table"}


def test_a_table_is_committed_without_the_classes_of_its_cells():
    styled = pd.DataFrame({"a": [1, 2]}).style.highlight_max(color="red").to_html(table_uuid="x")
    cell = nbformat.v4.new_code_cell("table")
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": styled})]
    html = committed.clean(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs[0].data["text/html"]
    assert 'class="data' in styled and "class=" not in html
    assert '<td id="T_x_row1_col0" >2</td>' in html and "#T_x_row1_col0" in html, "its colour stays"


def test_a_committed_notebook_links_the_music_that_it_played_but_none_that_is_real(tmp_path):
    score = music.notes.to_score(["C4_quarter", "E4_quarter"])
    cells = [nbformat.v4.new_code_cell(f"listen.play({name})") for name in ("made", "real", "other", "night")]
    for cell, played in zip(cells, map(score.shift_pitch, range(4)), strict=True):
        html = listen.play(played)._repr_html_()
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/html": html}, execution_count=1)]
    notebook, folder = tmp_path / "notebooks/02_toy.ipynb", tmp_path / "run"
    for path in (notebook, folder / notebook.name):
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    texts = [schema.Music(name, f"{name}.mid", f"{name}.ogg", "", real=name == "real") for name in ("made", "real")]
    for piece, played in zip(texts, (score, score.shift_pitch(1)), strict=True):
        listen.save(played, folder / piece.name)
    listen.save(score.shift_pitch(3), folder / "after_a_night")  # as `nights.piece` does
    result = run_records.record(music=texts)
    (folder / "result.json").write_bytes(msgspec.json.encode(result))

    committed.keep(notebook, folder)
    first, *others, night = [cell.outputs[0].data for cell in nbformat.read(notebook, 4).cells]
    assert first["text/markdown"] == "♪ [made.ogg](../results/sound/02_toy/made.ogg)"
    assert night["text/markdown"] == "♪ [after_a_night.ogg](../results/sound/02_toy/after_a_night.ogg)"
    assert [data["text/plain"] for data in others] == [committed.SILENT] * 2
    clips = sorted(clip.name for clip in (tmp_path / "results/sound").rglob("*.ogg"))
    assert clips == ["after_a_night.ogg", "made.ogg"]
    assert soundfile.info(notebook.parent / "../results/sound/02_toy/made.ogg").duration <= listen.CLIP_SECONDS

    nbformat.write(nbformat.v4.new_notebook(cells=cells[1:]), notebook)
    with pytest.raises(ValueError, match=r"02_toy.ipynb has other code than the run"):
        committed.keep(notebook, folder)
