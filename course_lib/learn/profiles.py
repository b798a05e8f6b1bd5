"""The settings of a notebook, one column a profile."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import NoneType, SimpleNamespace
from typing import Any

PROFILES = ("quick", "night", "paper")
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
    NoneType: "null",
}


class Settings(SimpleNamespace):
    """The values of a run as attributes; a notebook shows them as a table of all profiles."""

    def __init__(self, profile: str, changed: dict[str, Any], table: dict[str, tuple]):
        self._chosen, self._table = PROFILES.index(profile), table
        self.changed = changed
        self.values = {name: row[self._chosen] for name, row in table.items()} | changed
        super().__init__(**self.values)

    def __repr__(self) -> str:
        return f"{PROFILES[self._chosen]}: {', '.join(f'{name}={value}' for name, value in self.values.items())}"

    def _repr_markdown_(self) -> str:
        rows = [["setting", *PROFILES], ["---"] * (1 + len(PROFILES))]
        rows[0][1 + self._chosen] = f"**{PROFILES[self._chosen]}** (this run)"
        for name, row in self._table.items():
            rows.append([name, *map(str, row)])
            if name in self.changed:
                rows[-1][1 + self._chosen] = f"**{self.changed[name]}** (changed from {row[self._chosen]})"
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def settings(profile: str, changed: Mapping[str, Any] | None = None, **table: tuple) -> Settings:
    """Choose a value for each name: `epochs=(8, 20, 200)` stands for `quick`, `night` and `paper`.

    Of two values, `night` takes the second, too. `changed` holds values from outside, in place of the profile's.

    Raises:
        ValueError: an unknown profile, a setting that the table lacks, or a value of another kind.
    """
    if profile not in PROFILES:
        raise ValueError(f'There is no profile "{profile}": choose "quick", "night" or "paper".')
    for name, row in table.items():
        if len(row) not in (2, 3):
            raise ValueError(f"{name} has {len(row)} values: give (quick, paper) or (quick, night, paper).")
    changed = dict(changed or {})
    if unknown := [name for name in changed if name not in table]:
        raise ValueError(f"There is no setting {unknown[0]}: choose from {', '.join(table)}.")
    kept = {name: as_kind(name, value, table[name]) for name, value in changed.items()}
    return Settings(profile, kept, {name: row if len(row) == 3 else (*row, row[1]) for name, row in table.items()})


def as_kind(name: str, value: Any, options: Sequence[Any]) -> Any:
    """A value from outside as one of the kinds of `options`; a whole number may stand for a number, a list for a tuple.

    Raises:
        ValueError: it is of none of those kinds.
    """
    kinds = {type(option) for option in options}
    if isinstance(value, list | tuple) and tuple in kinds:
        return tuple(as_kind(name, each, sum((row for row in options if isinstance(row, tuple)), ())) for each in value)
    if type(value) in kinds:  # isinstance would take True for a whole number
        return value
    if type(value) is int and float in kinds:
        return float(value)
    wanted = " or ".join(text for kind, text in KINDS.items() if kind in kinds)
    raise ValueError(f"{name} is {value!r}: it takes {wanted}, as in {options[0]!r}.")


def smoke() -> bool:
    """True under `COURSE_SMOKE=1`, where a notebook only shows that it runs."""
    return os.environ.get("COURSE_SMOKE") == "1"
