"""Many runs at once on a Dask cluster, and what becomes of them when a part of it is killed. The notebooks are tiny."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest

from course_lib import cli, files
from course_lib.lab import cluster, estimate, machine, plan, progress, provenance, record, schema, scoreboard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")

PARAMETERS = 'profile = "quick"\nseed = 0\ndata = "embedded"\n'
# Ten epochs that go on from the last one, as training does from its checkpoint; each start is noted.
EPOCHS = """
import os, time
from pathlib import Path
out = Path(os.environ["COURSE_OUT"])
state = out / "state"
first = int(state.read_text()) if state.exists() else 0
with (out / "starts").open("a") as starts:
    starts.write(f"{first} {os.getpid()} {os.getppid()}\\n")
for epoch in range(first + 1, 11):
    time.sleep(0.2)
    (out / "state.new").write_text(str(epoch))
    (out / "state.new").replace(state)
    print(f"epoch {epoch}/10  loss {1 / epoch:.3f}", flush=True)
"""
FINISH = """
from course_lib.lab import record
run = record.start("NAME", profile, seed, data)
run.note("loss", 1 / int(state.read_text()) + seed)
run.finish()
"""


def write(folder: Path, name: str, *sources: str, tags: tuple[str, ...] = ("parameters",)) -> None:
    cells = [nbformat.v4.new_code_cell(source.replace("NAME", name)) for source in (PARAMETERS, *sources)]
    cells[0].metadata["tags"] = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with notebooks beside it: one that trains."""
    for name in ("notebooks", "here", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("COURSE_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(files.ROOT))
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    write(tmp_path / "notebooks", "02_learns", EPOCHS, FINISH)
    return tmp_path


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "course_lib", "run", "--out", "out", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(condition, seconds: float = 150):
    """What a condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, psutil.NoSuchProcess):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {condition}")


def starts(name: str) -> list[list[int]]:
    """Of each start of a run's kernel: the epochs that were done, its process and the worker's."""
    return [[int(word) for word in line.split()] for line in Path("out", name, "starts").read_text().splitlines()]


def epoch(name: str) -> int:
    return int(Path("out", name, "state").read_text())


def losses() -> dict[str, float]:
    return {
        path.parent.name: json.loads(path.read_text())["measures"]["loss"] for path in Path("out").rglob("result.json")
    }


def kernels_here() -> list[psutil.Process]:
    """The kernels whose runs lie below the working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("COURSE_OUT", "").startswith(str(Path.cwd())):
                found.append(process)
        except psutil.Error:
            pass
    return found


SEEDS = {"seed=0": 0.1, "seed=1": 1.1, "seed=2": 2.1}  # the losses of runs that went to their end


# ---------------------------------------------------------------- side by side


def test_runs_side_by_side_leave_what_they_leave_one_after_another(place, capsys):
    counts = 'import os\nfrom pathlib import Path\n(Path(os.environ["COURSE_OUT"]) / "starts").open("a").write("x")\n'
    write(place / "notebooks", "03_fails", counts + "raise ValueError('No song is long.')")
    write(place / "notebooks", "04_reads", "print(1)", "state = out = None", tags=("parameters", "reads-runs"))
    assert cli.main(["run", "02", "--seed", "0", "1", "2", "--out", "alone"]) == 0
    capsys.readouterr()
    assert cli.main(["run", "--seed", "0", "1", "2", "--jobs", "2", "--out", "out"]) == 1
    said = capsys.readouterr()
    for seed in range(3):
        ours, theirs = (record.find(Path(out, "02_learns", f"seed={seed}").resolve()) for out in ("out", "alone"))
        assert ours.measures == theirs.measures and ours.code == theirs.code
    assert said.out.startswith("9 runs, 2 at once; 9 of unknown length: no such run is committed; disk: ")
    assert re.search(r"Dashboard   http://127.0.0.1:\d+/status\nStatus      .*/out/status.html\n", said.out)
    assert said.out.count("... FAILED after") == 3 and "ValueError: No song is long." in said.out
    ends = re.findall(r"^\[\d/9\] (\d\d)", said.out, re.MULTILINE)
    assert ends[-3:] == ["04"] * 3, "what reads the others runs last"
    assert "3 of 9 failed:" in said.err
    failed = [path.read_text() for path in Path("out/03_fails").rglob("starts")]
    assert failed == ["x"] * 3, "what fails by itself is not tried again"
    page = Path("out/status.html").read_text()
    assert "9 of 9 ended, 0 running, 0 waiting" in page and "http-equiv" not in page
    assert "epoch 10/10  loss 0.100" in Path("out/02_learns/seed=1/output.log").read_text()

    assert cli.main(["run", "02", "--seed", "0", "1", "2", "--jobs", "2", "--out", "out"]) == 0
    assert capsys.readouterr().out.count("was done before") == 3


def test_a_notebook_that_reads_another_waits_for_its_runs(place):
    there = (
        "import os\nfrom pathlib import Path\nstudy = Path(os.environ['COURSE_OUT']).parents[1]\n"
        "assert len(list(study.glob('02_learns/*/result.json'))) == 2"
    )
    write(place / "notebooks", "03_reads", there, tags=("parameters", "reads-02"))
    assert cli.main(["run", "--seed", "0", "1", "--jobs", "3", "--out", "out"]) == 0


def test_what_a_long_notebook_waits_for_comes_first(place, monkeypatch, capsys):
    expected = {"01_long": 50.0, "02_learns": 1.0, "03_reads": 100.0}
    monkeypatch.setattr(estimate.Needs, "seconds", lambda self, speed: expected)
    for name, tags in {"01_long": (), "02_learns": (), "03_reads": ("reads-02",)}.items():
        write(place / "notebooks", name, "print(1)", tags=("parameters", *tags))
    assert cli.main(["run", "--seed", "0", "1", "--jobs", "2", "--out", "out"]) == 0
    ends = re.findall(r"^\[\d/6\] (\d\d)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(ends[:2]) == ["02", "02"]


def test_while_it_runs_the_page_tells_epoch_and_figure(place):
    runner = start("--seed", "0", "1", "--jobs", "2")
    row = re.compile(r"<li>02_learns seed=\d · [\d.]+ s · epoch \d+/10 loss \d\.\d+</li>")
    text = until(lambda: row.search(page := Path("out/status.html").read_text()) and page)
    assert '<meta http-equiv="refresh"' in text and "2 running" in text
    assert runner.wait(300) == 0


def test_each_run_is_held_to_its_threads_and_keeps_its_allocator(place, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 6)
    threads = (
        'import os\nassert os.environ["OMP_NUM_THREADS"] == os.environ["TF_NUM_INTRAOP_THREADS"] == "3"\n'
        'assert os.environ["MALLOC_TRIM_THRESHOLD_"] == str(2**27)  # not what Dask sets for its own workers'
    )
    write(place / "notebooks", "02_learns", threads)
    assert cli.main(["run", "--seed", "0", "1", "--jobs", "2", "--out", "out"]) == 0


def test_what_compares_seconds_has_nothing_beside_it(place, monkeypatch):
    monkeypatch.setattr(plan.claims, "compares_seconds", lambda notebook, profile: notebook == "03_timed")
    monkeypatch.setattr(machine, "cores", lambda: 2)
    span = (
        "import os, time\nfrom pathlib import Path\nbegun = time.time()\ntime.sleep(1)\n"
        "Path(os.environ['COURSE_OUT'], 'span').write_text(f'{begun} {time.time()} {os.environ[\"OMP_NUM_THREADS\"]}')"
    )
    for name in ("02_learns", "03_timed"):
        write(place / "notebooks", name, span)
    assert cli.main(["run", "--seed", "0", "1", "--jobs", "2", "--out", "out"]) == 0
    spans = {path.parent.parent.name + path.parent.name: path.read_text().split() for path in Path("out").rglob("span")}
    timed = [spans[name] for name in sorted(spans) if "timed" in name]
    for begun, ended, threads in timed:
        others = [span for span in spans.values() if span[0] != begun]
        assert all(other[1] <= begun or other[0] >= ended for other in others)
        assert threads == "2", "all cores are its own"
    assert {span[2] for name, span in spans.items() if "learns" in name} == {"1"}


def test_a_second_runner_on_one_folder_stops(place, capsys):
    runner = start("--seed", "0", "1", "--jobs", "2")
    until(lambda: epoch("02_learns/seed=0"))
    assert cli.main(["run", "--seed", "0", "1", "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(f"Another run is at work in {Path('out').resolve()}: wait for it")
    assert runner.wait(300) == 0 and losses() == {name: SEEDS[name] for name in ("seed=0", "seed=1")}


def test_a_notebook_that_outgrows_its_worker_ends_with_a_sentence(place, monkeypatch, capsys):
    write(place / "notebooks", "02_learns", "import time\nheld = bytearray(400_000_000)\ntime.sleep(20)")
    memory = psutil.virtual_memory()._replace(total=600 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert cli.main(["run", "--seed", "0", "1", "--jobs", "2", "--out", "out"]) == 1
    told = r"The notebook held 0\.[34] GiB, its worker has 0\.3: give it smaller batches"
    assert re.search(told, capsys.readouterr().err)


# ---------------------------------------------------------------- before the start


def test_a_dry_run_tells_what_there_is_to_do_and_does_nothing(place, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "speed", lambda: 50.0)
    run = scoreboard.committed()[0]
    took = {"notebook": "02_learns", "seconds": 9.0, "speed": 100.0, "disk_mib": 512.0, "peak_memory_mib": 1000.0}
    before_a_stop = schema.Training(best_epoch=1, epochs=1, stopped="limit", seconds=60.0, watched="", best=None)
    run.trainings = {"net": before_a_stop}
    for name, value in took.items():
        setattr(run, name, value)
    run.parameters, run.changed = {"profile": "quick", "seed": 0, "data": "embedded"}, {}
    monkeypatch.setattr(scoreboard, "committed", lambda: [run])
    assert cli.main(["run", "--seed", *"0123", "--jobs", "2", "--out", "out", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 runs, 2 at once; about 4 min 0 s to 8 min 0 s; disk: 2.0 GiB of ")
    assert not Path("out").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_jobs_gets_one_sentence(jobs, place, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["run", f"--jobs={jobs}"])
    assert left.value.code == 2 and "is no number of runs at once" in capsys.readouterr().err


def test_auto_takes_a_worker_a_gpu_else_a_core_that_memory_allows(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    memory = psutil.virtual_memory()._replace(total=16 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.workers(100, 2048) == (8, 1)
    assert machine.workers(3, 2048) == (3, 2)
    assert machine.workers(100, 6000) == (2, 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert machine.workers(100, 2048) == (2, 4)


def test_each_gpu_has_a_worker_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with cluster.here(2) as client:
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(seen.values()) == ["5", "7"]


# ---------------------------------------------------------------- stopped and killed


def test_ctrl_c_leaves_all_resumable_and_no_kernel_behind(place):
    runner = start("--seed", "0", "1", "2", "--jobs", "2")
    until(lambda: epoch("02_learns/seed=0") > 2)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(120) == 130
    assert "Stopped; what is done is kept. To go on: python -m course_lib run" in runner.stdout.read()
    until(lambda: not kernels_here(), 60)
    assert set(losses().items()) <= set(SEEDS.items()) and not Path("out", cluster.STOP).exists()
    assert start("--seed", "0", "1", "2", "--jobs", "2").wait(300) == 0
    assert losses() == SEEDS
    assert starts("02_learns/seed=0")[-1][0] > 2, "it went on from its last epoch"


def test_a_worker_that_is_killed_costs_no_more_than_the_epoch(place):
    runner = start("--seed", "0", "1", "2", "--jobs", "2")
    until(lambda: epoch("02_learns/seed=0") > 3)
    [[_, kernel, worker]] = starts("02_learns/seed=0")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == "zombie", 60)
    assert runner.wait(300) == 0 and losses() == SEEDS
    assert starts("02_learns/seed=0")[1][0] >= 3


def test_a_run_whose_worker_is_lost_again_and_again_is_given_up(place):
    lethal = (
        "import os, signal, time\nopen(os.environ['COURSE_OUT'] + '/starts', 'a').write('x')\n"
        "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(5)"
    )
    write(place / "notebooks", "03_kills", "import os\n(lambda: None)()", lethal)
    runner = start("--jobs", "2")
    assert runner.wait(300) == 1
    said = runner.stdout.read()
    assert "03_kills: Its worker was lost, again and again." in said and "02_learns ... done in" in said
    assert Path("out/03_kills/starts").read_text() == "x" * 4, "once, and three times on other workers"


def test_the_runner_is_killed_at_any_moment(place):
    """Three times while it sets out, seven times while it trains, or as it ends."""
    moments, seeds, in_training = random.Random(0), [str(seed) for seed in range(6)], 0
    expected = {f"seed={seed}": 0.1 + float(seed) for seed in seeds}

    def epochs() -> int:
        return sum(int(path.read_text()) for path in Path("out").rglob("state"))

    for number in range(10):
        before, runner = epochs(), start("--seed", *seeds, "--jobs", "2")
        if number < 3:
            time.sleep(moments.uniform(0.5, 3))
        else:
            until(lambda before=before, runner=runner: epochs() > before or runner.poll() is not None)
            time.sleep(moments.uniform(0, 0.8))
        in_training += runner.poll() is None and epochs() > before
        runner.kill()
        runner.wait()
        assert losses().items() <= expected.items(), "a result is whole or not there"
        until(lambda: not kernels_here(), 60)
    last = start("--seed", *seeds, "--jobs", "2")
    assert last.wait(300) == 0, last.stdout.read()
    assert losses() == pytest.approx(expected)
    assert in_training >= 5
    assert any(first > 0 for seed in seeds for first, *_ in starts(f"02_learns/seed={seed}")), "from its last epoch"
    assert not [path for path in Path("out").rglob("*.partial*") if path.name.endswith(".partial.ipynb")]


# ---------------------------------------------------------------- a cluster that is there


@contextmanager
def process(*words: str, **given):
    """A process of Dask, ended with the block."""
    command = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]]
    with Path(f"{words[0]}-{time.monotonic_ns()}.log").open("w") as log:
        running = psutil.Popen(command, stdout=log, stderr=log, **given)
        try:
            yield running
        finally:
            with suppress(psutil.NoSuchProcess):
                for each in [*running.children(recursive=True), running]:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            running.wait()


def scheduler(port: int):
    return process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")


def worker(port: int, *words: str, **given):
    place = ["--resources", f"{cluster.PLACE}=1"]
    return process(
        "dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", *place, *words, **given
    )


@pytest.fixture
def port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_worker_that_does_not_fit_is_named_and_left_out(place, port):
    other = place / "other"
    shutil.copytree(files.ROOT / "course_lib", other / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "course_lib/more.py").write_text("")
    changed = {"env": os.environ | {"PYTHONPATH": str(other)}}
    with scheduler(port), worker(port), worker(port, "--name", "changed", **changed):
        runner = start("--seed", "0", "1", "2", "--scheduler", f"tcp://127.0.0.1:{port}")
        assert runner.wait(300) == 0
    said = runner.stdout.read()
    assert said.count("is left out: it has other code of course_lib.") == 1 and losses() == SEEDS
    assert len({line[2] for seed in range(3) for line in starts(f"02_learns/seed={seed}")}) == 1


def test_no_worker_fits(place, port):
    with scheduler(port), process("dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard"):
        runner = start("--scheduler", f"tcp://127.0.0.1:{port}")
        assert runner.wait(300) == 2
    assert "start it with --resources notebook=1" in runner.stdout.read()


def test_no_scheduler_answers(place, port, capsys):
    assert cli.main(["run", "--scheduler", f"tcp://127.0.0.1:{port}", "--out", "out"]) == 2
    assert f"No Dask scheduler answers at tcp://127.0.0.1:{port}" in capsys.readouterr().err


def test_a_scheduler_that_is_killed_and_started_again_goes_on(place, port):
    """Its worker lives on, and ends its run by itself before another goes on with it."""
    with worker(port):
        with scheduler(port):
            runner = start("--seed", "0", "1", "--scheduler", f"tcp://127.0.0.1:{port}")
            until(lambda: epoch("02_learns/seed=0") > 2)
        until(lambda: not kernels_here(), 60)
        with scheduler(port), worker(port):
            assert runner.wait(300) == 0, runner.stdout.read()
    assert "The scheduler went away: waiting for it" in runner.stdout.read()
    assert losses() == {name: SEEDS[name] for name in ("seed=0", "seed=1")}
    assert starts("02_learns/seed=0")[-1][0] >= 2


def test_a_worker_that_cannot_write_hands_its_job_on(place, port):
    """On the first worker every file of the run is refused, as on a full disk; the other one then does the job."""
    broken = place / "broken"
    broken.mkdir()
    refuse = "def full(self, text, path):\n    raise OSError(28, 'No space left on device', path)\n"
    patch = "from papermill.iorw import LocalHandler\nLocalHandler.write = full\n"
    (broken / "full.py").write_text(refuse + patch)
    with scheduler(port), worker(port, "--preload", str(broken / "full.py")), worker(port):
        runner = start("--seed", "0", "1", "2", "--scheduler", f"tcp://127.0.0.1:{port}")
        assert runner.wait(300) == 0, runner.stdout.read()
    assert losses() == SEEDS
    assert runner.stdout.read().count("is left out: it could not write its files (a full disk?)") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_notebook_whose_worker_has_no_room_is_done_by_another(place, port):
    writes = "import os\nwith open(os.environ['CHECKPOINTS'], 'w') as file:\n    file.write('x' * 100_000)\n"
    write(place / "notebooks", "02_learns", writes, EPOCHS, FINISH)
    full, room = ({"env": os.environ | {"CHECKPOINTS": path}} for path in ("/dev/full", os.devnull))
    with scheduler(port), worker(port, **full), worker(port, **room):
        runner = start("--seed", "0", "1", "2", "--scheduler", f"tcp://127.0.0.1:{port}")
        assert runner.wait(300) == 0, runner.stdout.read()
    assert losses() == SEEDS
    assert runner.stdout.read().count("is left out: it could not write its files (a full disk?)") == 1


def test_a_worker_that_closes_before_its_time_is_up_hands_its_job_on(place, port):
    write(place / "notebooks", "02_learns", EPOCHS.replace("time.sleep(0.2)", "time.sleep(3)"), FINISH)
    with scheduler(port), worker(port, "--lifetime", "25s"):  # the run takes 30
        runner = start("--scheduler", f"tcp://127.0.0.1:{port}")
        until(lambda: epoch("02_learns"))
        with worker(port):
            assert runner.wait(300) == 0, runner.stdout.read()
    assert list(losses().values()) == [0.1] and "was lost" not in runner.stdout.read()
    (_, _, first_worker), (done, _, second_worker) = starts("02_learns")
    assert done > 0 and first_worker != second_worker


# ---------------------------------------------------------------- small parts


def test_a_worker_must_have_the_versions_and_the_folder_of_the_study(tmp_path, monkeypatch):
    package, versions = provenance.package_hash(), provenance.versions()
    assert cluster.unfit(package, versions, tmp_path) == ""
    assert cluster.unfit("0" * 12, versions, tmp_path) == "has other code of course_lib"
    here = versions["keras"]
    assert cluster.unfit(package, versions | {"keras": "2.0"}, tmp_path) == f"has keras {here}, not 2.0"
    assert cluster.unfit(package, versions, tmp_path / "no") == f"does not see the folder {tmp_path / 'no'}"
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert cluster.unfit(package, versions, tmp_path) == f"cannot write to {tmp_path}"
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    assert cluster.unfit(package, versions, tmp_path) == f"has no room in {tmp_path}"


def test_a_line_says_what_is_left_and_that_memory_runs_short_once(tmp_path, monkeypatch, capsys):
    job = SimpleNamespace(name="02_learns", notebook=Path("02_learns.ipynb"), folder=tmp_path)
    board = progress.Board([job], tmp_path, "", {"02_learns": 1000.0})
    (tmp_path / progress.OUTPUT).write_text("epoch 2/10  loss 1.5\n")
    board.begun[job.name] = time.monotonic() - 400
    assert board.line(job) == "02_learns · 6 min 40 s · about 10 min 0 s left · epoch 2/10 loss 1.5"
    memory = psutil.virtual_memory()._replace(total=10 * 2**30, available=2**30 // 2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    for _ in range(2):
        board.show()
    told = "Memory runs short on this machine (0.5 of 10 GiB are left): stop with Ctrl-C"
    assert capsys.readouterr().out.count(told) == 1


def test_the_gpus_that_nvidia_smi_lists(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA A100 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert machine.gpus() == ["1"]


def test_kernels_talk_over_files_and_keep_their_history_in_memory(place):
    asks = (
        "from ipykernel.kernelapp import IPKernelApp\nassert IPKernelApp.instance().transport == 'ipc'\n"
        "assert get_ipython().history_manager.hist_file == ':memory:'"
    )
    write(place / "notebooks", "02_learns", asks)
    assert cli.main(["run", "--out", "out"]) == 0


def test_the_last_epoch_is_read_from_the_end(tmp_path):
    output = tmp_path / "output.log"
    assert progress.last_epoch(output) == ""
    output.write_text(
        "x" * 10_000 + "\nepoch 1/20  loss 3.2\nepoch 2/20  loss 2.5  validation loss 2.75  1.2 s\nnote\n"
    )
    assert progress.last_epoch(output) == "epoch 2/20 loss 2.5  validation loss 2.75  1.2 s"
    output.write_bytes(b"\xff\xfe")
    assert progress.last_epoch(output) == ""


def test_speed_is_measured_once_and_kept(place, monkeypatch):
    counted = []

    def measured(*_, **__):
        counted.append(1)
        return subprocess.CompletedProcess([], 0, stdout="123.456\n")

    monkeypatch.setattr(estimate.subprocess, "run", measured)
    monkeypatch.setattr(estimate.provenance, "device", lambda: "CPU")
    assert [estimate.speed(), estimate.speed()] == [123.46, 123.46] and len(counted) == 1


def test_a_gpu_without_memory_names_the_setting_to_lower(place, capsys):
    table = "from course_lib.lab import record\nrun = record.start('NAME', profile, seed, data)\n"
    sizes = "settings = run.settings(batch_size=(8, 16), pair_batch=(4, 8), epochs=(1, 2))"
    write(
        place / "notebooks", "02_learns", table + sizes, "raise RuntimeError('RESOURCE_EXHAUSTED: OOM when allocating')"
    )
    assert cli.main(["run", "--out", "out"]) == 1
    said = "The memory of the GPU ran out: lower batch_size or pair_batch (-s NAME VALUE)."
    assert f"{said} RuntimeError: RESOURCE_EXHAUSTED" in capsys.readouterr().err


def test_a_kernel_takes_the_memory_of_a_gpu_as_it_needs_it(place):
    write(place / "notebooks", "02_learns", "import os\nassert os.environ['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'")
    assert cli.main(["run", "--out", "out"]) == 0
