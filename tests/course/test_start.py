"""What starts the course without installing it: Binder, the Colab cell, the image, the workflow."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from packaging.specifiers import SpecifierSet

from course_lib import files
from course_lib.lab import schema
from course_lib.lab.execute import ALLOCATOR

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "start_without_installing.md"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
[WORKFLOW] = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
JOBS = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
POST_BUILD = ROOT / ".binder" / "postBuild"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile and what follows it, comments left out and lines joined."""
    lines = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines) if word]


def faults(dockerfile: str) -> set[str]:
    """What is wrong with a Dockerfile, in one word each."""
    found, given = set(), instructions(dockerfile)
    values = {word: rest for word, rest in given}  # of several the last, which is the one that counts
    for word, rest in given:
        if word == "FROM" and rest.partition(":")[2] in ("", "latest"):
            found.add("tag")
        if word == "COPY":
            *sources, _target = [part for part in rest.split() if not part.startswith("--")]
            if not all((ROOT / source).exists() for source in sources):
                found.add("source")
            if f"--chown={values.get('USER')}:" not in rest:
                found.add("owner")
        if word == "RUN" and "pip install" in rest and "--no-cache-dir" not in rest:
            found.add("cache")
        usual = ("--yes", "--no-install-recommends", "rm -rf /var/lib/apt/lists")
        if word == "RUN" and "apt-get install" in rest and not all(part in rest for part in usual):
            found.add("apt")
        if word not in ("FROM", "RUN", "USER", "WORKDIR", "ENV", "COPY", "VOLUME", "EXPOSE", "CMD"):
            found.add("unknown")
    try:
        words = json.loads(values["CMD"])
    except ValueError:
        return found | {"shell"}  # as a string it would run under a shell, which keeps signals from it
    if values.get("USER", "root") in ("root", "0"):
        found.add("root")
    if f"--port={values['EXPOSE']}" not in words:
        found.add("port")
    if any(re.search("token|password|allow-root", each) for each in words):
        found.add("token")
    return found


def test_the_dockerfile_has_no_fault():
    assert faults(DOCKERFILE) == set()


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("python:3.11-slim", "python:latest", "tag"),
        ("python:3.11-slim", "python", "tag"),
        ("COPY --chown=course:course requirements.txt", "COPY --chown=course:course lock.txt", "source"),
        ("COPY --chown=course:course . ", "COPY . ", "owner"),
        ("--no-cache-dir --requirement", "--requirement", "cache"),
        ("&& rm -rf /var/lib/apt/lists/*", "&& true", "apt"),
        ("WORKDIR", "WORKDIRECTORY", "unknown"),
        ('CMD ["jupyter", "lab",', "CMD jupyter lab", "shell"),
        ("USER course", "USER root", "root"),
        ("EXPOSE 8888", "EXPOSE 80", "port"),
        ('"--no-browser"', '"--IdentityProvider.token="', "token"),
    ],
)
def test_the_lint_sees(right, wrong, fault):
    assert right in DOCKERFILE
    assert fault in faults(DOCKERFILE.replace(right, wrong))


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not on the PATH")
def test_hadolint_has_no_warning():
    subprocess.run(["hadolint", "--failure-threshold", "warning", str(ROOT / "Dockerfile")], check=True)


def test_the_image_keeps_the_runs_and_leaves_out_what_git_ignores():
    values = dict(instructions(DOCKERFILE))
    assert values["VOLUME"] == f"{values['WORKDIR']}/runs"
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert ".git" in left_out
    for ignored in (ROOT / ".gitignore").read_text().split():
        assert f"**/{ignored.strip('/')}" in left_out, f"{ignored} of .gitignore is missing in .dockerignore"


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_kernels_that_run_does_not_start_have_its_allocator_too(name):
    assert " ".join(f"{setting}={value}" for setting, value in ALLOCATOR.items()) in (ROOT / name).read_text()


@pytest.mark.timeout(3600)
def test_the_image_builds_and_asks_for_its_token():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker engine answers (docker info): the Dockerfile was linted, and not built")

    def docker(*words: str) -> str:
        return subprocess.run(["docker", *words], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()

    image = "music-course:test"
    docker("build", "--tag", image, str(ROOT))
    assert docker("run", "--rm", image, "id", "-u") == "1000"
    docker("run", "--rm", image, "make", "--question", "install")  # fails where make would install again
    docker("run", "--rm", image, "python", "-m", "course_lib", "doctor")
    container = docker("run", "--detach", "--publish", "127.0.0.1::8888", image)
    try:
        address = f"http://{docker('port', container, '8888').splitlines()[0]}/api"
        assert answer(address) == 200
        assert answer(f"{address}/contents") == 403
    finally:
        docker("rm", "--force", container)


def answer(address: str) -> int:
    """The status of a page, as soon as its server is up."""
    for _ in range(120):
        try:
            return urllib.request.urlopen(address).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(1)
    raise TimeoutError(address)


def test_one_python_everywhere_and_the_package_takes_it():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    versions = {
        "binder": (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-"),
        "docker": dict(instructions(DOCKERFILE))["FROM"].removeprefix("python:").removesuffix("-slim"),
        "conda": next(each.removeprefix("python=") for each in conda if str(each).startswith("python=")),
    }
    for name, job in JOBS.items():
        for step in job["steps"]:
            if "setup-python" in step.get("uses", ""):
                versions[f"workflow, {name}"] = step["with"]["python-version"]
    assert set(versions.values()) == {"3.11"}, versions
    accepted = re.search(r'^requires-python = "(.+?)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert "3.11" in SpecifierSet(accepted)


def test_binder_installs_the_lock():
    here = ROOT / ".binder" / "requirements.txt"
    [line] = [line for line in here.read_text().splitlines() if line and not line.startswith("#")]
    assert (here.parent / line.removeprefix("-r ")).resolve() == ROOT / "requirements.txt"


@pytest.mark.skipif(sys.platform == "win32", reason="Binder runs Linux")
def test_binders_last_step_installs_the_package_and_leaves_a_corpus(tmp_path):
    subprocess.run(["bash", "-n", str(POST_BUILD)], check=True)
    asked = tmp_path / "asked"
    python = tmp_path / "python"  # which only writes down what pip is asked for
    python.write_text(f"""#!/bin/sh
case "$*" in
    "-m pip"*) echo "$*" >> {asked} ;;
    *) exec {sys.executable} "$@" ;;
esac
""")
    python.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([POST_BUILD], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert asked.read_text().split()[2:] == ["install", "--no-cache-dir", "--no-deps", "--editable", "."]
    assert "Embedded corpus ready" in done.stdout


def test_the_development_container_is_the_image():
    values, folder = dict(instructions(DOCKERFILE)), ROOT / ".devcontainer"
    build = DEVCONTAINER["build"]
    assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT
    assert DEVCONTAINER["remoteUser"] == values["USER"]
    assert DEVCONTAINER["forwardPorts"] == [int(values["EXPOSE"])]


def test_every_command_is_there():
    scripts = [POST_BUILD.read_text(), DEVCONTAINER["postCreateCommand"], DOCKERFILE, PAGE.read_text()]
    scripts += [step.get("run", "") for step in STEPS]
    modules = {name for text in scripts for name in re.findall(r"python3? -m ([\w.]+)", text)}
    assert {"pip", "venv", "course_lib", "data_scripts.build_embedded"} <= modules
    assert not [name for name in modules if find_spec(name) is None]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for step in STEPS for word in re.findall(r"make (\w+)", step.get("run", ""))} <= targets


def test_the_workflow_says_what_was_agreed():
    text = WORKFLOW.read_text()
    assert text.startswith("# This workflow has never been run.")
    systems = {job["runs-on"] for job in JOBS.values()} | set(JOBS["others"]["strategy"]["matrix"]["os"])
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= systems
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used and not [each for each in used if not re.fullmatch(r"actions/[\w-]+@v\d+", each)]
    smoke = next(step for step in JOBS["others"]["steps"] if "env" in step)
    assert smoke["env"] == {"COURSE_SMOKE": "1"} and "run 00 01 02 03 --out" in smoke["run"]


TINY = """import matplotlib.pyplot  # which refuses a backend that is not there
from course_lib.lab import record
from course_lib.music import notes
run = record.start("00_tiny", profile, seed, data)
run.music("made", notes.to_score(["C4_quarter"]), "A note.")
run.finish()"""


@pytest.mark.skipif(sys.platform == "win32", reason="Colab runs Linux")
def test_the_colab_cell_in_a_plain_kernel(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so there is nothing to clone from")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in (
        'profile = "quick"\nseed = 0\ndata = "embedded"', TINY)])  # fmt: skip
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "00_tiny.ipynb")

    # In place of what pip would install, the new environment is lent this one's packages; the clone comes first.
    asked, packages = tmp_path / "asked", sysconfig.get_path("purelib")
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f"""#!/bin/sh
case "$*" in
    "-m pip --python .venv/bin/python install"*)
        echo "$*" >> {asked}
        printf '%s\\n' "$PWD" {packages} > "$(echo .venv/lib/python3*/site-packages)/lent.pth" ;;
    *) exec {sys.executable} "$@" ;;
esac
""")
    python.chmod(0o755)
    cell = re.search(r"^```python\n(REPOSITORY = .+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    cell = cell.replace("https://github.com/OWNER/NAME", ROOT.as_uri()).replace('"00 01 02 03"', '"00"')
    colab = {  # what Colab gives to all that its kernel starts
        "MPLBACKEND": "module://ipykernel.pylab.backend_inline",
        "PYTHONPATH": str(tmp_path),
        "COURSE_NOTEBOOKS": str(tmp_path / "notebooks"),
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    (tmp_path / "matplotlib.py").write_text("raise ImportError('PYTHONPATH of Colab was not taken away')")
    client = NotebookClient(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]),
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    outputs = client.execute(env=os.environ | colab).cells[0].outputs

    assert [line.split("install ")[1] for line in asked.read_text().splitlines()] == [
        "--quiet --requirement requirements.txt",
        "--quiet --no-deps --editable .",
    ]
    clone = tmp_path / "course"
    assert schema.find(clone / "runs" / "latest" / "00_tiny")
    players = [each for each in outputs if "<audio" in each.get("data", {}).get("text/html", "")]
    assert len(players) == 1, [each.get("text") for each in outputs]


def test_the_memory_named_is_that_of_the_committed_runs():
    peaks = [run.peak_memory_mib / 1024 for run in schema.load(files.ROOT / "results" / "quick")]
    assert f"between {min(peaks):.1f} and {max(peaks):.1f} GiB" in " ".join(PAGE.read_text().split())


def test_no_address_is_invented():
    found = re.findall(r"github\.com/(?:[\w.-]+/)?([\w.-]+/[\w.-]+)", PAGE.read_text() + DOCKERFILE)
    assert set(found) <= {"OWNER/NAME"}
