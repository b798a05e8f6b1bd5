"""What the papers had rated, and which differences listeners are to judge: the last sections of `claims.toml`."""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

import msgspec

from course_lib import files


class System(msgspec.Struct, forbid_unknown_fields=True):
    """A system by the name that its notebook records, and what its paper published."""

    name: str
    paper: str
    forms: list[str] = []  # of the test, in which it was rated
    clips: list[float] = []  # rating of each
    ratings: dict[str, float] = {}  # by scale

    def __post_init__(self) -> None:
        if self.clips:
            self.ratings = {"rating": round(statistics.fmean(self.clips), 2)}


class Sides(msgspec.Struct, forbid_unknown_fields=True):
    """Systems to be rated above others, as keys of `Published.system`."""

    better: list[str]
    worse: list[str] = []  # none: the other generated systems of the same kind


class Contrast(msgspec.Struct, forbid_unknown_fields=True):
    """What a claim says of ratings."""

    claim: str
    form: str
    sides: list[Sides]
    scales: list[str] = []  # none: all of the form


class Published(msgspec.Struct):
    system: dict[str, System]
    clips_each: dict[str, int]  # by form
    contrast: list[Contrast]


@cache
def load() -> Published:
    """Systems, clips of each, and contrasts."""
    return msgspec.toml.decode(Path(files.__file__).with_name("claims.toml").read_bytes(), type=Published)
