"""What a night leaves for shorter runs, and that a run which starts from it counts for no verdict."""

import random

import keras
import numpy as np
import pytest
import run_records

from course_lib import files, music
from course_lib.lab import nights, plan, record, schema, scoreboard
from course_lib.learn import weights

HISTORY = {"loss": [2.0, np.float32(1.5)], "validation loss": [2.0, 1.75]}


def network(about=None):
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(about["settings"]["units"] if about else 6)])


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Begins a run of a notebook whose night would be committed below `tmp_path`."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.delenv("COURSE_SMOKE", raising=False)

    def begin(profile, seed=0, fingerprint="f", settings="{}", folder=None, data="embedded", **parameters):
        monkeypatch.setenv("COURSE_OUT", str(tmp_path / (folder or profile)))
        monkeypatch.setenv("COURSE_SETTINGS", settings)
        run = record.start("02_toy", profile, seed, data, **parameters)
        run.settings(units=(3, 6), notes=(8, 16))
        run.data(fingerprint, 5)
        return run

    return begin


@pytest.fixture
def committed(start, tmp_path):
    """The weights of a night that was not there before, copied to where they are committed; its network."""
    run = start("night", start="scratch")
    trained = network()
    nights.keep(run, "net", trained, HISTORY, vocabulary=["C4"])
    (tmp_path / "results/weights").mkdir(parents=True)
    (run.folder / "weights").rename(tmp_path / "results/weights/02_toy")
    return trained


def test_a_night_keeps_its_networks_with_what_tells_of_them(start):
    run = start("night", data="/home/me/songs", start="scratch")
    nights.keep(run, "net", network(), HISTORY, vocabulary=["C4"])
    about = weights.about(run.folder / "weights" / "net.npz")
    told = {key: about[key] for key in ("name", "notebook", "profile", "seed", "data", "settings", "vocabulary")}
    assert told == {
        **{"name": "net", "notebook": "02_toy", "profile": "night", "seed": 0, "vocabulary": ["C4"]},
        **{"data": {"name": "songs", "fingerprint": "f"}, "settings": {"units": 6, "notes": 16}},
    }
    assert about["history"] == {"loss": [2.0, 1.5], "validation loss": [2.0, 1.75]}
    assert "/home" not in str(about), "a folder of the user is nobody else's business"
    start("night")
    assert not list((run.folder / "weights").iterdir()), "a new run in that folder begins without"


def test_a_quick_a_smoke_and_a_changed_run_keep_none(start, monkeypatch):
    runs = [start("quick"), start("night", settings='{"notes": 9}', folder="changed")]
    runs.append(start("night", start="night", folder="loaded"))
    monkeypatch.setenv("COURSE_SMOKE", "1")
    runs.append(start("night", folder="smoke"))
    for run in runs:
        nights.keep(run, "net", network(), HISTORY)
        assert not (run.folder / "weights").exists()


def test_weights_that_cannot_be_kept_do_not_end_the_night(start, capsys):
    broken = network()
    broken.layers[0].bias.assign(np.full(6, np.inf))
    nights.keep(start("night"), "net", broken, HISTORY)
    assert "are not written" in capsys.readouterr().out


def test_a_quick_run_gets_the_network_of_a_night(start, committed, capsys):
    [(found, about)] = nights.networks(start("quick"), network, "net").values()
    assert np.allclose(found.get_weights()[0], committed.get_weights()[0], rtol=2**-8)
    assert about["vocabulary"] == ["C4"]
    told = "Weights of the night profile, seed 0 (epochs: net 2); no test song was learned.\n"
    assert capsys.readouterr().out == told


def test_it_is_said_where_the_songs_of_the_night_were_others(start, committed, capsys):
    nights.networks(start("quick", seed=1), network, "net")
    assert (
        "; seed 0 dealt the songs in another way, so test songs of this run may have been learned"
        in capsys.readouterr().out
    )
    nights.networks(start("quick", fingerprint="g"), network, "net")
    assert "; learned from other data (embedded).\n" in capsys.readouterr().out


def test_without_the_files_one_sentence_says_so(start, committed, capsys):
    assert nights.networks(start("quick"), network, "net", "other") == {}
    told = capsys.readouterr().out
    assert told.startswith("No night's weights of this notebook are committed: run it with --profile night")
    assert told.count("\n") == 1 and "results/weights/02_toy" in told
    assert nights.networks(start("night"), network, "net") == {}, "a night trains such networks itself"


@pytest.mark.parametrize(
    "build",
    [
        lambda about: network(),
        lambda about: keras.Sequential([keras.Input((4,)), keras.layers.Dense(7)]),
        lambda about: 1,
    ],
    ids=["fits", "another network", "no network"],
)
def test_a_lesson_goes_on_as_without_a_night(start, committed, build, capsys):
    """With the same random numbers, and where its network was changed and does not fit."""
    run = start("quick")
    random.seed(5)
    wanted = random.random()
    random.seed(5)
    found = nights.networks(run, build, "net")
    assert random.random() == wanted
    assert bool(found) == ("no test song" in (told := capsys.readouterr().out))
    assert found or told.startswith("No network of a night is played: ")


def test_a_start_from_a_night_stands_for_the_training(start, committed, capsys):
    mine = network({"settings": {"units": 6}})
    mine.layers[0].bias.assign(np.ones(6))
    run = start("night", start="night")
    assert nights.load(run, "net", mine) == nights.about(run, "net")
    assert nights.about(run, "net")["history"]["loss"] == [2.0, 1.5]
    assert np.allclose(mine.get_weights()[1], 0)
    assert capsys.readouterr().out == "Weights of the night profile, seed 0 (epochs: net 2); not trained here.\n"


def test_a_start_from_a_night_of_other_songs_is_refused(start, committed):
    for other in ({"seed": 1}, {"fingerprint": "g"}):
        with pytest.raises(ValueError, match='^start = "night" cannot stand for the training.*Use start = "scratch"'):
            nights.load(start("night", start="night", **other), "net", network())
    with pytest.raises(ValueError, match="There are no weights in"):
        nights.load(start("night", start="night"), "other", network())


@pytest.mark.parametrize("profile, begin", [("quick", "night"), ("paper", "night"), ("night", "yesterday")])
def test_a_wrong_start_is_refused(start, profile, begin):
    with pytest.raises(ValueError, match="start (is|=)"):
        start(profile, start=begin)


def test_a_start_from_a_night_never_counts_for_a_verdict(start, tmp_path):
    """It is recorded as a change, as a changed setting is; a training is recorded as if there had been no choice."""
    for seed, begin in enumerate(["scratch", "scratch", "scratch", "night"]):
        run = start("night", seed=seed, folder=f"runs/{seed}", start=begin)
        run.record.baselines, run.record.trainings = [run_records.beside("WaveNet", 1.0, 2.0)], {}
        run.record.trainings["net"] = run_records.training()
        run.claim("va-overlap", 0.2 if begin == "scratch" else -9.0)
        run.finish()
    assert run.record.changed == {"start": "night"} == {"start": run.record.parameters["start"]}
    runs = record.load(tmp_path / "runs")
    assert [each.changed for each in runs[:3]] == [{}] * 3 and "start" not in runs[0].parameters
    [row] = [row for row in scoreboard.rows(runs) if row["id"] == "va-overlap"]
    assert (row["measured"], row["seeds"]) == (pytest.approx(0.2), 3)
    assert "1 with changed settings left out" in row["reason"]


def test_a_start_from_a_night_is_done_when_it_was_run(tmp_path):
    """It is not run again for the change that it is recorded with."""
    job = plan.Job(tmp_path / "02_toy.ipynb", tmp_path, "02_toy", {"profile": "night", "start": "night"})
    result = run_records.record(changed={"start": "night"}, code=schema.Code(), parameters={"start": "night"})
    (tmp_path / "result.json").write_bytes(schema.msgspec.json.encode(result))
    job.executed.touch()
    assert plan.why_again(job) is None
    other = plan.Job(job.notebook, tmp_path, "02_toy", {"profile": "night"})
    assert plan.why_again(other) == "made with other settings"


def test_a_piece_of_a_night_is_kept_apart_from_those_of_the_run(start, tmp_path, capsys):
    run = start("quick")
    assert nights.piece(run, "net_01") is None
    assert capsys.readouterr().out.startswith("No night of this notebook is committed yet")
    folder = tmp_path / "results/night/02_toy/seed=0/pieces"
    folder.mkdir(parents=True)
    score = music.notes.to_score(["C4_quarter", "E4_quarter"])
    (folder / "net_01.mid").write_bytes(score.dumps_midi())
    assert nights.piece(run, "net_01").end() == score.end()
    assert (run.folder / "after_a_night.ogg").exists() and not run.record.music
