"""What a committed night left for shorter runs: its networks in `results/weights`, its pieces in `results/night`.

A notebook's parameter `start` says whether its networks are trained ("scratch") or take these weights ("night").
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import symusic

from course_lib import files
from course_lib.hear import listen
from course_lib.lab import record
from course_lib.learn import weights
from course_lib.music import midi


def keep(run: record.Run, name: str, network: keras.Model, history: Mapping[str, Any], **about: Any) -> None:
    """Write a trained network to `weights/name.npz` in the folder of a run.

    A run of `quick`, a smoke run and one with changed settings write none.

    Args:
        run: of `night` or `paper`.
        name: of the file.
        network: as trained.
        history: of its training.
        **about: what it takes to build and use the network beside the parameters and settings of the run, such as its
            vocabulary.
    """
    made = run.record
    if made.profile == "quick" or made.smoke or made.changed:
        return
    about |= {"name": name, "notebook": made.notebook, "profile": made.profile, "seed": made.seed}
    about |= {"data": {"name": Path(made.data.name).name, "fingerprint": made.data.fingerprint}, "commit": made.commit}
    about |= {"settings": made.settings, "history": history, "keras": keras.__version__}
    try:
        weights.save(run.folder / "weights" / f"{name}.npz", network, **record.plain(about, name))
    except ValueError as problem:
        print(problem)  # no reason to lose the night


def about(run: record.Run, name: str) -> dict[str, Any]:
    """What was kept with a network of a committed night. Raises ValueError where there is none."""
    return weights.about(_file(run, name))


def load(run: record.Run, name: str, network: keras.Model) -> dict[str, Any]:
    """Give a network the weights of a committed night in place of training; what was kept with them, as its history.

    Raises:
        ValueError: there are none, or they are of another network, of other data or of another seed.
    """
    kept = about(run, name)
    if apart := _apart(run, kept):
        raise ValueError(f'start = "night" cannot stand for the training of this run: {apart}. Use start = "scratch".')
    weights.load(_file(run, name), network)
    print(f"{_told([kept])}; not trained here.")
    return kept


def networks(
    run: record.Run, build: Callable[[dict[str, Any]], keras.Model], *names: str
) -> dict[str, tuple[keras.Model, dict[str, Any]]]:
    """Networks of a committed night by name, each with what was kept with it; a sentence, and {}, where there are none.

    Args:
        run: of `quick`, as others train such networks themselves.
        build: makes a network from what was kept with its weights.
        *names: of the files.
    """
    if run.record.profile != "quick":
        return {}
    if not all(_file(run, name).exists() for name in names):
        print(
            "No night's weights of this notebook are committed: run it with --profile night, then copy its weights "
            f"folder to results/weights/{run.record.notebook}."
        )
        return {}
    found = {}
    state = random.getstate()  # Keras draws its seeds from it: what comes next shall be as without a night
    try:
        for name in names:
            kept = about(run, name)
            found[name] = build(kept), kept
            weights.load(_file(run, name), found[name][0])
    except (ValueError, KeyError, AttributeError) as problem:  # a lesson whose network was changed goes on without
        print(f"No network of a night is played: {problem}")
        return {}
    finally:
        random.setstate(state)
    told = [kept for _, kept in found.values()]
    print(f"{_told(told)}; {_apart(run, told[0]) or 'no test song was learned'}.")
    return found


def piece(run: record.Run, stem: str) -> symusic.Score | None:
    """A piece that a committed night made, kept in the run folder as `after_a_night`; None, and a sentence, without."""
    found = sorted((files.ROOT / "results" / "night" / run.record.notebook).glob(f"seed=*/pieces/{stem}.mid"))
    if not found:
        print("No night of this notebook is committed yet: run it with --profile night, and hear it then.")
        return None
    score = midi.read(found[0])
    listen.save(score, run.folder / "after_a_night")
    return score


def _file(run: record.Run, name: str) -> Path:
    return files.ROOT / "results" / "weights" / run.record.notebook / f"{name}.npz"


def _told(kept: Sequence[Mapping[str, Any]]) -> str:
    epochs = ", ".join(f"{each['name']} {len(each['history']['loss'])}" for each in kept)
    return f"Weights of the {kept[0]['profile']} profile, seed {kept[0]['seed']} (epochs: {epochs})"


def _apart(run: record.Run, kept: Mapping[str, Any]) -> str:
    """How the songs of a night were others than those of a run, as a clause; "" where they were the same."""
    if kept["data"]["fingerprint"] != run.record.data.fingerprint:
        return f"learned from other data ({kept['data']['name']})"
    if kept["seed"] != run.record.seed:
        return f"seed {kept['seed']} dealt the songs in another way, so test songs of this run may have been learned"
    return ""
