"""The typed content of `result.json`, and its one reader."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

FORM = 2  # of the file; `_upgraded` reads those of form 1, which had no number


class Data(msgspec.Struct):
    """What a run saw: the `data` parameter, and the state of its files."""

    name: str
    fingerprint: str | None = None
    songs: int | None = None
    source: str = ""


class Code(msgspec.Struct):
    """Hashes of the notebook's code cells and of the package's `provenance.FIGURES`; "" in records of before them."""

    notebook: str = ""
    package: str = ""


class Training(msgspec.Struct):
    """How one network was trained; `learn.train.fit` leaves this in the network's checkpoint folder."""

    best_epoch: int  # counted from 1
    epochs: int
    stopped: Literal["patience", "limit"]
    seconds: float
    watched: str
    best: float | None

    @property
    def still_improving(self) -> bool:
        """Whether it reached its limit of epochs with the best of them, by the figure watched, in the last tenth."""
        return self.stopped == "limit" and self.best_epoch > 0.9 * self.epochs


class Music(msgspec.Struct):
    """One piece to listen to; its files lie in the folder of the run."""

    name: str
    midi: str
    ogg: str | None
    caption: str
    real: bool = False
    seconds: float | None = None
    first: bool = False  # to be heard before the others of the run


class System(msgspec.Struct):
    """What one system generated, for the comparison of systems and the listening test."""

    name: str
    kind: Literal["piano", "band"]
    real: bool  # held-out music
    pieces: list[str]  # MIDI files below the folder of the run
    beats: float  # of all pieces together
    silent: int = 0  # pieces without a pitched note, which have no file
    parameters: int | None = None  # of all its networks
    training_seconds: float | None = None
    generation_seconds: float | None = None  # of all pieces together
    novelty: dict[str, float | None] | None = None
    training_songs: list[str] | None = None  # where it learned from others than the run's


class Heard(msgspec.Struct):
    """What listeners said of a claim: a 95 % interval, how many they were, the profile of the clips."""

    low: float
    high: float
    listeners: int
    profile: str


class Measured(msgspec.Struct):
    """The scalar that a claim is judged by (None: the run diverged), and what it was made of."""

    id: str
    value: float | None
    detail: Any = None
    heard: Heard | None = None


class Record(msgspec.Struct, kw_only=True):
    """What one run of a notebook left."""

    form: int = FORM
    notebook: str
    status: str = "complete"
    smoke: bool
    parameters: dict[str, Any]
    settings: dict[str, Any] = {}
    changed: dict[str, Any] = {}  # those settings that were given from outside
    data: Data
    code: Code = msgspec.field(default_factory=Code)
    commit: str | None
    versions: dict[str, str]
    backend: str | None
    device: str
    precision: str = "float32"
    started: str
    seconds: float
    speed: float | None = None  # of the machine, see `estimate.speed`
    beside: float | None = None  # cores that other programs kept busy meanwhile; None: not known
    peak_memory_mib: float | None
    disk_mib: float | None = None  # what the run left
    claims: list[Measured] = []
    measures: dict[str, Any] = {}
    baselines: list[dict[str, Any]] = []
    comparison: list[dict[str, Any]] = []
    trainings: dict[str, Training] = {}
    systems: list[System] = []
    music: list[Music] = []
    training_songs: list[str] = []
    folder: str = ""  # where it was read

    @property
    def profile(self) -> str:
        return self.parameters["profile"]

    @property
    def seed(self) -> int:
        return self.parameters["seed"]


def loaded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a run with these parameters has to say beside its changed settings: that its networks were not trained."""
    return {"start": "night"} if parameters.get("start") == "night" else {}


def load(*folders: str | Path) -> list[Record]:
    """Every complete record below some folders, each once, smoke runs left out.

    A file that is damaged, or of a later form, is skipped with a warning that names it.
    """
    walks = (each for folder in folders for each in os.walk(folder))
    records = []
    for path in sorted({Path(where) / "result.json" for where, _, names in walks if "result.json" in names}):
        try:
            records.append(_read(path))
        except ValueError as error:
            warnings.warn(str(error), stacklevel=2)
    return [record for record in records if not record.smoke]


def find(folder: Path) -> Record | None:
    """The record in a folder itself, of a smoke run too; None where there is none or it cannot be read."""
    with suppress(ValueError):
        return _read(folder / "result.json")
    return None


def latest(records: Iterable[Record]) -> list[Record]:
    """Of runs alike in notebook, parameters, changed settings and data the latest, oldest first."""
    found: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.started):
        key = json.dumps([record.notebook, record.parameters, record.changed, record.data.fingerprint])
        found.pop(key, None)  # so that the later run also has the later place
        found[key] = record
    return list(found.values())


def _read(path: Path) -> Record:
    """The record in a file; ValueError with one sentence where it cannot be read."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        form = content.get("form", 1)
        record = None if form > FORM else msgspec.convert(_upgraded(content) if form == 1 else content, Record)
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged and was skipped ({problem}); run it again.") from error
    if record is None:
        raise ValueError(f"{path} was made by a later version of this course and was skipped: update this one.")
    record.folder = str(path.parent)
    return record


def _upgraded(old: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of form 1, which knew neither settings nor hashes, in the present form."""
    data = {"name": old["parameters"]["data"], "fingerprint": old["data_fingerprint"]}
    for claim in old["claims"]:
        if "heard" in claim:
            low, high = claim["heard"]
            claim["heard"] = {"low": low, "high": high, **claim.pop("detail")}
    return old | {"form": FORM, "data": data, "commit": old["git_commit"]}
