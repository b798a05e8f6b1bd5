"""The check of each exercise fails for answers that are wrong, and for none at all; those are in `wrong_answers.toml`.

Here a check runs as far as stand-ins carry it for what its notebook read and trained: fast, and enough. That all of it
passes for the right answer shows `--nbval-lax notebooks`, which executes the notebooks with their solutions. `make
check-answers` tries every wrong answer in its whole notebook, trainings cut (COURSE_SMOKE=1).
"""

import ast
import builtins
import functools
import json
import os
import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace

import lessons
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from course_lib import music
from course_lib.course import editions
from course_lib.lab import plan
from course_lib.learn.split import Vocabulary

WRONG = tomllib.loads(Path(__file__).with_name("wrong_answers.toml").read_text(encoding="utf-8"))
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
NOTEBOOKS = {path.stem[:2]: path for path in sorted(lessons.NOTEBOOKS.glob("*.ipynb"))}

# What the checks, and the answers, use of the definitions of their notebook.
USED = {
    "00": "check np defaultdict Counter",
    "01": "check np pd music chords class_of note_table kept",
    "02": "check np music keras layers network compiled rows_of PADDING",
    "03": "check np music keras layers Vocabulary network compiled windows_of ioi_entropy",
    "04": "check np ops discriminator_loss from_line toy_ends SHARES rounded real_notes",
    "05": "check np music keras layers receptive_field numbers WEIGHTS causal moved_by plain output sizes field",
    "06": "check np music measure keras expit compiled rnn weighted joint",
    "07": "check np music measure f1 transposed for_instrument together bass_told",
    "08": "check np SHRINK",
    "09": "check np given",
    "10": "check np floor CENTRES on_modes",
    "11": "check np ops relative_shift RelativeAttention",
    "12": "check np math stats many_classes found_over_listeners var_clip var_error error_of_difference",
    "13": "check np stats",
}


def exercises():
    """{(number of the notebook, id of the exercise): the cell to answer in, then those that check it}."""
    found = {}
    for number, path in NOTEBOOKS.items():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            about, source = cell["metadata"].get("nbgrader"), "".join(cell["source"])
            if about and about["solution"]:
                last = found[number, about["grade_id"]] = [source]
            elif about:
                last.append(source)
    return found


EXERCISES = exercises()
EACH = pytest.mark.parametrize(("number", "name"), EXERCISES)


def answered(cell, code):
    """The cell to answer in with other code between the marks."""
    before, _, rest = cell.partition(BEGIN)
    indent = before.rpartition("\n")[2]
    return before.removesuffix(indent) + textwrap.indent(code.strip("\n"), indent) + rest.partition(END)[2]


class Songs(list):
    """Band rolls, with what is asked of those of notebooks 06 to 10."""

    def openings(self, steps, _):
        return np.stack([roll[:steps] for roll in self])


def stand_ins(number, folder):
    """What a notebook has read or trained before its exercises, in small."""
    rng = np.random.default_rng(0)
    settings = {name: values[0] for name, values in plan.read_lesson(NOTEBOOKS[number]).settings.items()}
    given = {"settings": SimpleNamespace(**settings), "seed": 0, "rng": rng, "run": SimpleNamespace(folder=folder)}
    songs = {name: ["C4_quarter", "D4_quarter", "E4_half"] * 50 for name in ("one", "two", "three")}
    noise = np.arange(64)[None] % 3
    changed = noise.copy()
    changed[0, [32, 40]] = (changed[0, [32, 40]] + 1) % 3
    match number:
        case "01":
            again = music.notes.to_score(["C4_quarter", "C4_quarter", "E4_half", "C4_quarter"])
            given |= {"measured": [SimpleNamespace(score=again)]}
            given |= {"losses": pd.DataFrame({"events": {"complete notes": 1.0}})}
        case "02":
            vocabulary = Vocabulary(list(songs.values()))
            given |= {"songs": songs, "training": ["one", "two"], "vocabulary": vocabulary}
            given |= {"row": noise, "changed": changed, "middle": 32}
        case "03":
            given["settings"].embedding = given["settings"].units = 8
            changed[0, 32] = noise[0, 32]
            bare = {name: [note.split("_")[0] for note in song] for name, song in songs.items()}
            named = {name: [*song, "E4_eighth"] for name, song in songs.items()}
            given |= {"songs": bare, "named": named, "vocabulary": Vocabulary(list(bare.values())), "classes": 3}
            given |= {"training": ["one", "two"], "validation": ["three"], "window": noise, "changed": changed}
            given |= {"train": SimpleNamespace(fit=lambda net, inputs, targets, **_: net.loss(targets, net(inputs)))}
            given |= {"flat": music.notes.to_score(["C4", "D4", "E4"])}
        case "05":
            given["settings"].frames_a_song = 32
            scores = [
                music.notes.to_score(["C4", "D4"] * half, step=1) for half in (3, 9, 9)
            ]  # one shorter than 32 frames
            pieces, dealt = [SimpleNamespace(score=score) for score in scores], {"train": [0, 1], "valid": [2]}
            rolls = [music.frames.from_score(score, 4)[:32] for score in scores[:2]]
            given |= {"pieces": pieces, "dealt": dealt, "frames": {"all": {"train": rolls}}}
            given |= {"by_hand": {"dilation 1": [3, 4, 5, 5, 6, 14, 11, 8]}}
        case "06":
            given["settings"].units = 4
            past, came = rng.random((8, 10, 128, 5)) < 0.05, rng.random((8, 1, 128, 5)) < 0.05
            given |= {"last_steps": lambda _: [(past, came)], "batches": lambda *_: None, "training": None}
            given |= {"train": SimpleNamespace(fit=lambda *_, **__: None)}
        case "07":
            given |= {"test": Songs(rng.random((2, 40, 128, 5)) < 0.05)}
        case "09":
            given |= {"last": rng.normal(size=(4, 5, 16)), "after": rng.normal(size=(4, 5, 16))}
    return given


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """A function: what stands above the exercises of a notebook, as far as they need it, and their right answers."""

    @functools.cache
    def known(number):
        given = stand_ins(number, tmp_path_factory.mktemp(number))
        found = given | lessons.definitions(number, *USED[number].split(), **given)
        if number == "02":
            found["rows"] = {"training": found["rows_of"](list(found["songs"].values()))}
        for (notebook, _), (cell, *_) in EXERCISES.items():
            if notebook == number:
                exec(cell, found)
        return found

    return known


def check(known, answer, cells):
    """Execute an answer, and its check up to the first statement that needs what stand-ins lack; returns how many."""
    known, statements = dict(known), [node for cell in cells for node in ast.parse(cell).body]
    exec(compile(answer, "<answer>", "exec"), known)
    for count, node in enumerate(statements):
        parts = list(ast.walk(node))
        names = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
        bound = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        bound |= {part.arg for part in parts if isinstance(part, ast.arg)}
        if names - bound - known.keys() - set(dir(builtins)):
            return count
        exec(compile(ast.Module([node], []), "<check>", "exec"), known)
    return len(statements)


@pytest.fixture(autouse=True)
def cut(monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")


def test_there_are_two_wrong_answers_or_more_to_each_exercise():
    assert [(number, name) for number, answers in WRONG.items() for name in answers] == list(EXERCISES)
    assert min(len(answers) for of_notebook in WRONG.values() for answers in of_notebook.values()) >= 2


@EACH
def test_right_passes_wrong_and_none_fail(number, name, namespace):
    cell, *cells = EXERCISES[number, name]
    assert check(namespace(number), cell, cells) > 0
    with pytest.raises(NotImplementedError):
        check(namespace(number), answered(cell, editions.STUB), cells)
    passed = []
    for why, code in WRONG[number][name].items():
        try:
            check(namespace(number), answered(cell, code), cells)
            passed.append(why)
        except Exception as error:
            assert not isinstance(error, SyntaxError | NameError), f"{why}: {error}"  # no answer at all, or no stand-in
    assert not passed


@pytest.mark.skipif("COURSE_CHECK_ANSWERS" not in os.environ, reason="takes long: `make check-answers` does it")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", NOTEBOOKS)
def test_each_wrong_answer_in_its_whole_notebook(number, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_OUT", str(tmp_path / NOTEBOOKS[number].stem))
    notebook = nbformat.read(NOTEBOOKS[number], as_version=4)
    cells, tried = [], {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            name = about["grade_id"]
            for why, code in WRONG[number][name].items():
                wrong = [answered(cell.source, code), *EXERCISES[number, name][1:]]
                tried[name, why] = [new_code_cell(source, metadata={"tags": ["raises-exception"]}) for source in wrong]
                cells += tried[name, why]
        cells.append(cell)
    notebook.cells = cells
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": lessons.NOTEBOOKS}}).execute()
    said = {
        key: [output.ename for cell in each for output in cell.outputs if output.output_type == "error"]
        for key, each in tried.items()
    }
    assert not [key for key, errors in said.items() if not errors]
    assert not [key for key, errors in said.items() if {"SyntaxError", "NameError"} & set(errors)]
