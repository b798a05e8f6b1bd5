"""The settings of a notebook, one column a profile."""

from __future__ import annotations

import os
from types import SimpleNamespace

from course_lib import PROFILES


class Settings(SimpleNamespace):
    """The values of the chosen profile as attributes; shown in a notebook as a table of both profiles."""

    def __init__(self, profile: str, pairs: dict[str, tuple]):
        super().__init__(**{name: pair[PROFILES.index(profile)] for name, pair in pairs.items()})
        self._profile, self._pairs = profile, pairs

    def _repr_markdown_(self) -> str:
        titles = [f"**{name}** (this run)" if name == self._profile else name for name in PROFILES]
        rows = [f"| {name} | {quick} | {paper} |" for name, (quick, paper) in self._pairs.items()]
        return "\n".join([f"| setting | {titles[0]} | {titles[1]} |", "|---|---|---|", *rows])


def settings(profile: str, **pairs: tuple) -> Settings:
    """Choose between two values for each name: ``epochs=(8, 200)`` is 8 in ``quick`` and 200 in ``paper``.

    Raises ValueError for an unknown profile.
    """
    if profile not in PROFILES:
        raise ValueError(f'There is no profile "{profile}": choose "quick" or "paper".')
    return Settings(profile, pairs)


def smoke() -> bool:
    """True under ``COURSE_SMOKE=1``, where a notebook only shows that it runs."""
    return os.environ.get("COURSE_SMOKE") == "1"
