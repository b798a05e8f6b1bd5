"""Runs and listening tests that several files share."""

import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import symusic

from course_lib.listening import build, sessions

CNN, RNN, REAL, XL = "2D CNN", "RNN (Chen et al.)", "Real music, band", "Transformer-XL"


def random_tune(seed, seconds=4.0, silence=0.0, program=0, velocity=80):
    """A score of random quarter notes at 120 beats a minute."""
    chance, score, track = random.Random(seed), symusic.Score(480), symusic.Track(program=program)
    score.tempos.append(symusic.Tempo(0, 120))
    for number in range(round(seconds * 2)):
        track.notes.append(symusic.Note(round(960 * silence) + 480 * number, 480, chance.randrange(50, 80), velocity))
    score.tracks.append(track)
    return score


def recorded(folder, systems, profile="quick"):
    """What `record.load` says of a run that has left these systems: name -> (kind, real, scores)."""
    (folder / "pieces").mkdir(parents=True)
    found = []
    for name, (kind, real, scores) in systems.items():
        stem = name.lower().replace(" ", "_")
        paths = [f"pieces/{stem}_{number:02}.mid" for number, score in enumerate(scores, 1) if score.note_num()]
        for path, score in zip(paths, (score for score in scores if score.note_num()), strict=True):
            (folder / path).write_bytes(score.dumps_midi())
        found.append(SimpleNamespace(name=name, kind=kind, real=real, pieces=paths))
    return SimpleNamespace(folder=str(folder), profile=profile, systems=found)


@pytest.fixture(scope="session")
def tune() -> Callable[..., symusic.Score]:
    return random_tune


@pytest.fixture
def record() -> Callable[..., SimpleNamespace]:
    return recorded


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two seeds of one band notebook, and a piano notebook without real music."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    real = [random_tune(90 + n, 6, 0, 48, 120) for n in range(3)]
    for seed in (0, 1):
        systems = {
            CNN: ("band", False, [random_tune(10 * seed + n, silence=1.5) for n in range(3)]),
            RNN: ("band", False, [random_tune(50 + 10 * seed + n, 4, 0, 30, 25) for n in range(3)]),
            REAL: ("band", True, real),
        }
        found.append(recorded(folder / f"seed={seed}", systems))
    short = [random_tune(1, 1), random_tune(2, 1.5)]
    piano = {XL: ("piano", False, [random_tune(30), *short]), "Tiny": ("piano", False, short)}
    return [*found, recorded(folder / "piano", piano)]


@pytest.fixture(scope="session", params=sessions.FORMS)
def folder(request, runs, tmp_path_factory):
    """A test of each form, without answers."""
    return build.build(runs, tmp_path_factory.mktemp("tests") / request.param, request.param, seconds=1)


@pytest.fixture
def rating(runs, tmp_path):
    return build.build(runs, tmp_path / "rating", systems=[CNN, RNN, XL], seconds=1)


@pytest.fixture
def an_answer():
    """A whole answer of a listener to one of their items."""

    def answer(test, listener, number, when=0):
        item = sessions.items(test, listener)[number]
        given = {
            "rating": {"rating": 7},
            "scales": dict.fromkeys(sessions.SCALES, 3),
            "pairs": {"preferred": item["clips"][-1]},
        }[test["form"]]
        stamp = f"1970-01-01T00:00:{when % 60:02}+00:00"
        return {"test": test["id"], "listener": listener, "item": number, **item, "answer": given, "time": stamp}

    return answer
