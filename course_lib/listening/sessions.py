"""Who hears what in which order, and the answers on disk: `test.json` and `answers.jsonl` of a test's folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeGuard

import filelock
import msgspec

from course_lib import UsageError

SCALES = {  # of morris-leou, which names them only: the explanations and the range 0 to 5 are ours
    "Flow": "Does one moment lead on to the next?",
    "Rhythm": "Is the rhythm convincing?",
    "Classical": "Does it sound like classical music?",
    "Repetitive": "Do ideas come back?",
    "Correct": "Do the notes fit together, without wrong ones?",
}
POINTS = {"rating": {"rating": range(1, 11)}, "scales": dict.fromkeys(SCALES, range(6))}  # by form and scale
FORMS = (*POINTS, "pairs")
PAIRS = 15  # heard by one listener at most, and one of them twice
CODE = "[23456789abcdefghjkmnpqrstuvwxyz]{8}"  # of a listener: no characters that look alike
Item = dict[str, Any]  # {"clips": ids in the order shown, "repeat": whether it was heard before}


class Clip(TypedDict):
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{10}\Z")]
    system: str
    kind: str
    real: bool
    source: str  # the end of the path of its piece
    profile: str


class Test(TypedDict):
    """A decoded `test.json`."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z")]
    form: Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(FORMS)})\Z")]
    seconds: float
    clips: Annotated[list[Clip], msgspec.Meta(min_length=2)]
    seed: int


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """What a line of `answers.jsonl` must hold."""

    test: str
    listener: Annotated[str, msgspec.Meta(pattern=rf"^{CODE}\Z")]
    item: Annotated[int, msgspec.Meta(ge=0)]  # number among those of the listener
    clips: list[str]
    repeat: bool
    answer: dict[str, Any]
    time: datetime


def load(folder: str | Path) -> Test:
    """The decoded test.json of a folder. Raises UsageError where there is none, or a damaged one."""
    path = Path(folder) / "test.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Test)
    except (OSError, ValueError) as error:
        about = "is missing or damaged: give a folder that the listening test was built in."
        raise UsageError(f"{path} {about}") from error


def items(test: Test, listener: str) -> list[Item]:
    """What one listener hears, in an order that follows from the test and the listener's code alone.

    Every clip (or up to 15 pairs) once, and one that was heard early again at the end, a pair with its sides
    swapped. Empty where no two clips make a pair.
    """
    seed = test["id"], listener
    chosen = _pairs(test, *seed) if test["form"] == "pairs" else [[clip["id"]] for clip in test["clips"]]
    order = _shuffled(chosen, *seed)
    again = [clips[::-1] for clips in order[len(order) // 4 :][:1]]
    return [{"clips": clips, "repeat": number >= len(order)} for number, clips in enumerate(order + again)]


def _pairs(test: Test, *seed: str) -> list[list[str]]:
    """Pairs of clips of one kind and two systems: next always one whose systems, then clips, were used least."""
    system = {clip["id"]: clip["system"] for clip in test["clips"]}
    every = [
        (first["id"], second["id"])
        for first, second in itertools.combinations(test["clips"], 2)
        if first["kind"] == second["kind"] and first["system"] != second["system"]
    ]
    every, used = _shuffled(every, *seed), Counter[Any]()
    chosen: list[list[str]] = []

    def use(pair: tuple[str, str]) -> tuple[int, int, int]:
        systems = {system[clip] for clip in pair}
        return used[frozenset(systems)], sum(used[name] for name in systems), sum(used[clip] for clip in pair)

    while every and len(chosen) < PAIRS:
        pair = min(every, key=use)
        every.remove(pair)
        systems = {system[clip] for clip in pair}
        used.update([frozenset(systems), *systems, *pair])
        chosen.append(_shuffled(pair, *seed, *pair))
    return chosen


def _shuffled(values: Iterable[Any], *seed: str) -> list[Any]:
    """In an order that looks random, yet is the same in every version of Python."""
    return sorted(values, key=lambda value: hashlib.sha256(repr((seed, value)).encode()).digest())


def new_listener() -> str:
    return "".join(secrets.choice(CODE[1:-4]) for _ in range(8))


def valid_listener(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and re.fullmatch(CODE, text) is not None


def append(folder: str | Path, answer: dict[str, Any]) -> None:
    """Add one answer to answers.jsonl; when this returns, it is on disk.

    Raises:
        ValueError: an answer to something that this listener was not asked.
        OSError: the disk refuses it.
    """
    test, path = load(folder), Path(folder) / "answers.jsonl"
    _check(test, answer, partial(items, test))
    line = json.dumps(answer).encode() + b"\n"
    with filelock.FileLock(f"{path}.lock", timeout=30), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line  # after a line that a crash has torn
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def answers(folder: str | Path) -> list[dict[str, Any]]:
    """The last answer of each listener to each item; what is no valid line is skipped, with a warning."""
    test, path = load(folder), Path(folder) / "answers.jsonl"
    own = cache(partial(items, test))
    found, skipped = {}, 0
    for line in filter(None, path.read_bytes().split(b"\n") if path.exists() else []):
        try:
            answer = msgspec.json.decode(line)
            _check(test, answer, own)
            found[answer["listener"], answer["item"]] = answer
        except ValueError:
            skipped += 1
    if skipped:
        warnings.warn(f"{skipped} torn or foreign lines of {path} were skipped.", stacklevel=2)
    return list(found.values())


def _check(test: Test, answer: Any, own: Callable[[str], list[Item]]) -> None:
    """ValueError unless the answer is a whole one, to one of the listener's `own` items."""
    msgspec.convert(answer, Answer)
    listener, number, given = answer["listener"], answer["item"], answer["answer"]
    if answer["test"] != test["id"]:
        raise ValueError(f"The answer must belong to test {test['id']}.")
    if own(listener)[number : number + 1] != [{"clips": answer["clips"], "repeat": answer["repeat"]}]:
        raise ValueError(f"Listener {listener} has no item {number} with these clips.")
    allowed: Mapping[str, Any] = POINTS.get(test["form"], {"preferred": answer["clips"]})
    known = all(type(value) in (int, str) and value in allowed.get(name, ()) for name, value in given.items())
    if not known or len(given) < len(allowed):
        raise ValueError(f"The answer to item {number} of listener {listener} is none of form '{test['form']}'.")
