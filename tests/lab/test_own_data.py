"""What `doctor --data` says of a folder, beside the cells of the notebooks that read it."""

import ast
import json
import re
import zipfile
from functools import cache
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import run_records
import symusic
from lessons import NOTEBOOKS

from course_lib import cli, measure, music
from course_lib.lab import estimate, own_data, plan, scoreboard
from course_lib.learn.split import split_songs
from course_lib.music import events, midi

DRUMS, BAND = -1, (0, 24, 32, 48, -1)
# What the cells of a notebook hold by which it takes its songs and splits them.
CELLS = {
    "02": ("pieces = [piece for piece in music.corpus.load(data)", "= split_songs(list(scores)"),
    "03": ("long_enough = sorted(", "= split_songs(long_enough"),
    "04": ("MAJOR = ", "def note_names(", "whole = {", "usable = [name for name in whole", "= split_songs(chosen"),
    "05": ("count = pd.Series(", "def joined(", "works = [", "def deal(", "owners = [", "def padded("),
    "06": ("bands = music.band_data.load(data",),
    "07": ("bands = music.band_data.load(data",),
    "08": ("bands = music.band_data.load(data", "def spread("),
    "09": ("bands = music.band_data.load(data", "style_songs = list("),
    "10": ("bands = music.band_data.load(data",),
    "11": ("def tokenized(", "prepared = (Path(data)"),
}


def write(path: Path, seed: int = 0, beats: int = 64, metres=((0, 4, 4),), programs=(0,)) -> None:
    """A MIDI file of random notes, one a beat and track; metres are (beat, numerator, denominator)."""
    rng, score, time = np.random.default_rng(seed), symusic.Score(480), np.arange(beats) * 480
    for beat, numerator, denominator in metres:
        score.time_signatures.append(symusic.TimeSignature(beat * 480, numerator, denominator))
    for program in programs:
        played = midi.note_list(time, np.full(beats, 480), rng.integers(40, 80, beats))
        score.tracks.append(symusic.Track("", max(program, 0), program == DRUMS, played))
    path.parent.mkdir(parents=True, exist_ok=True)
    score.dump_midi(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A folder with something of everything, 29 files."""
    root, waltz = tmp_path_factory.mktemp("mixed"), ((0, 3, 4),)
    for number in range(6):
        write(root / f"bach/{number}.mid", seed=number, beats=100)
        write(root / f"Haydn/{number}.mid", seed=10 + number, beats=100, metres=waltz)
    for number in range(7):
        write(root / f"bands/{number}.midi", seed=20 + number, programs=BAND)
    write(root / "bands/short.mid", seed=30, beats=20, programs=BAND)
    write(root / "bands/waltz.mid", seed=31, metres=waltz, programs=BAND)
    write(root / "bands/no drums.mid", seed=32, metres=(), programs=BAND[:4])
    write(root / "bands/upbeat.mid", seed=33, metres=((0, 1, 4), (1, 4, 4)), programs=BAND)
    write(root / "tiny.mid", seed=34, beats=10)
    write(root / "rain.mid", seed=35, beats=100, programs=(96,))
    for name, content in {"empty": b"", "text": b"no music", "word": b"no more"}.items():
        (root / f"bands/{name}.mid").write_bytes(content)
    write(root / "beat.mid", programs=(DRUMS,))
    return root


@cache
def notebook(number: str) -> tuple[list[str], SimpleNamespace]:
    """The code cells of a notebook, and its settings in `quick`."""
    [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    settings = {name: values[0] for name, values in plan.read_lesson(path).settings.items()}
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], SimpleNamespace(**settings)


def executed(number: str, data: Path) -> dict:
    """What the data cells of a notebook define in `quick`; an error where they stop."""
    sources, settings = notebook(number)
    space = {"data": str(data), "seed": 0, "composers": "", "only_four_four": True, "only_complete": True}
    space |= {"settings": settings, "run": Mock(), "music": music, "measure": measure}
    space |= {
        "events": events,
        "np": np,
        "pd": pd,
        "re": re,
        "Path": Path,
        "islice": islice,
        "split_songs": split_songs,
    }
    for text in CELLS[number]:
        [source] = [source for source in sources if text in source]
        exec(source, space)
    return space


def longest_excerpt(number: str) -> int:
    """Steps of the longest excerpts of songs for which a notebook asks in `quick`, as far as its settings say."""
    sources, settings = notebook(number)
    code = "\n".join(source for source in sources if source[0] not in "%!")
    asked = [
        call.args[0]
        for call in ast.walk(ast.parse(code))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "excerpts"
    ]
    known = [each for each in asked if {n.id for n in ast.walk(each) if isinstance(n, ast.Name)} <= {"settings"}]
    return max(eval(ast.unparse(each), {"settings": settings}) for each in known)


def used(data: Path) -> dict[str, own_data.Use]:
    return {use.notebook: use for use in own_data.uses(own_data.table(own_data.read(str(data))[0]))}


# ---------------------------------------------------------------- as the notebooks


def test_the_pieces_are_those_that_each_notebook_keeps(mixed):
    found = {number: set(use.kept["name"]) for number, use in used(mixed).items()}
    assert found.pop("00") == found.pop("01") == {piece.name for piece in music.corpus.load(mixed)}
    variables = {"02": "scores", "03": "long_enough", "04": "chosen", "11": "songs"}
    for number, variable in variables.items():
        assert found[number] == set(executed(number, mixed)[variable]), number
    assert found["05"] == {piece.name for piece in executed("05", mixed)["pieces"]}
    for number in own_data.BANDS:
        bands = executed(number, mixed)["bands"]
        long = bands.places[:, 2] >= longest_excerpt(number)
        assert found[number] == {name for name, enough in zip(bands.names, long, strict=True) if enough}, number
    assert len(found["02"]) == 16 and len(found["06"]) == 8 and len(found["10"]) == 9  # what the folder was made for
    assert "bands/upbeat" in found["06"] - found["02"] and "rain" in found["03"] - found["11"]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # of notebook 02 without a song
@pytest.mark.parametrize(
    "folders",
    [
        {"": 2},
        {"": 4},
        {"": 5},
        {"": 16},
        {"": 17},
        {"bach": 5, "haydn": 5, "": 1},
        {"bach": 5, "haydn": 5, "": 2},
        {"mozart": 5, "haydn": 5, "others": 9},
        {"mozart": 5, "haydn": 5, "beethoven": 1},
        {"twins": 3},
        {"short": 5},
    ],
    ids=str,
)
def test_a_notebook_is_said_to_run_where_its_data_cells_do(folders, tmp_path):
    seed = 0
    for folder, songs in folders.items():
        for song in range(songs):
            seed += folder != "twins" or song == 2  # of the three pieces two are the same
            write(tmp_path / folder / f"{song}.mid", seed, beats=12 if folder == "short" else 66, programs=BAND)
    said = {number: use.fine for number, use in used(tmp_path).items() if number in CELLS}
    assert said == {number: runs(number, tmp_path) for number in CELLS}


def runs(number: str, data: Path) -> bool:
    """Whether the data cells of a notebook come to an end, and what asks the most of its songs."""
    try:
        space = executed(number, data)
        if number == "05":
            space["padded"]([np.zeros((9, 128), bool) for _ in space["dealt"]["valid"]], 4)
        if number in own_data.BANDS:
            for part in (space["test"], space["validation"]):
                part.excerpts(longest_excerpt(number))
        if number == "08":  # it divides by how far apart its starts are
            return space["spread"](space["test"].openings(32, 16)) > 0
    except (ValueError, IndexError):
        return False
    return True


def test_it_names_the_composers_that_get_a_model_of_their_own(mixed):
    assert "models of bands (11), haydn (6), bach (6) and of all" in used(mixed)["05"].rule
    space = executed("05", mixed)
    assert space["names"] == ["bands", "haydn", "bach"] and set(space["owners"]) == {*space["names"], "others"}


# ---------------------------------------------------------------- what is said


def test_it_tells_what_is_in_a_folder(mixed, capsys):
    assert cli.main(["doctor", "--data", str(mixed)]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    for line in (
        f"Folder       {mixed}: 29 MIDI files, 25 pieces of music",
        "Skipped      2 not a MIDI file: bands/text.mid, bands/word.mid",
        "             1 holds drums only: beat.mid",
        "             1 an empty file: bands/empty.mid",
        "Near twins   0 pieces with",
        "Metres       4/4 17, 3/4 7, more than one 1 (1 name no metre",
        "in how many pieces: Piano 24, Bass 11, Ensemble 11, Guitar 11, Drums 10, Synth Effects 1",
        "as a band: Piano 24, Guitar 11, Bass 11, Strings 11, Drums 10; all five 10, of these in 4/4 9",
        "notes: 10 the shortest, 100 the median, 320 the longest",
        "minutes: 0.1 the shortest, 0.8 the median, 0.8 the longest",
        "Bands for 06 to 09: 8; with -p only_four_four false 9, with -p only_complete false 15, with both 22.",
    ):
        assert " ".join(line.split()) in " ".join(printed.out.split())
    marks = {line[4:6]: line[:2] for line in printed.out.splitlines() if re.match(r"(OK|!!)  \d\d  ", line)}
    assert marks == {number: "!!" if number == "08" else "OK" for number in ("00", "01", *CELLS)}  # 08: too few bands


def test_it_is_no_failure_only_where_some_notebook_can_train(tmp_path, capsys):
    write(tmp_path / "waltz.mid", metres=((0, 3, 4),))
    assert cli.main(["doctor", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "OK  00       1 piece" in said and "!!  02      0 pieces" in said and "Each part needs one" in said


def test_times_are_the_committed_seconds_at_the_speed_of_this_machine(mixed, monkeypatch, capsys):
    def row(number):
        own_data.describe(str(mixed))
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"OK  {number}"))

    took = {
        "notebook": "02_lstm_next_note",
        "profile": "quick",
        "seconds": 90.0,
        "device": "a machine",
        "trainings": {},
    }
    monkeypatch.setattr(scoreboard, "committed", lambda: [run_records.record(**took)])
    monkeypatch.setattr(estimate, "speed", lambda: pytest.fail("its speed helps nobody: that of the runs is unknown"))
    assert " 90 s " in row("02") and " unknown " in row("03") and " seconds " in row("00")
    monkeypatch.setattr(scoreboard, "committed", lambda: [run_records.record(**took, speed=100.0)])
    monkeypatch.setattr(estimate, "speed", lambda: 50.0)
    assert " 3 min 0 s " in row("02")


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "There is no folder '{}': give"),
        ({}, "The folder {} holds no .mid or .midi file"),
        ({"a.mid": b"", "b.mid": b"x"}, "None of the 2 MIDI files in {} can be used; the first: a.mid: an empty file."),
        ({"bands.json": b"{}"}, "'{}' holds bands that data_scripts.lpd5 prepared"),
    ],
)
def test_what_cannot_be_told_of_ends_in_one_sentence(content, said, tmp_path, capsys):
    folder = tmp_path / "mine"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    assert cli.main(["doctor", "--data", str(folder)]) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.startswith(said.format(folder)) and printed.err.count("\n") == 1


def test_real_bands_are_counted_as_the_notebooks_count_them(downloaded, tmp_path):
    archive = downloaded / "band_midi_children_songs.zip"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not in $COURSE_TEST_DATA")
    with zipfile.ZipFile(archive) as songs:
        songs.extractall(tmp_path)
    bands = music.band_data.load(tmp_path)
    assert set(used(tmp_path)["08"].kept["name"]) == set(bands.names)
