"""What is in a user's folder of MIDI files, and which notebooks can use it: `doctor --data FOLDER`.

Files are read, songs encoded and near twins found by the functions that the notebooks call; settings, such as the
length of a window, are read from the notebooks. Which pieces a notebook keeps stands in its cells alone, and here a
second time, in `uses`; tests/lab/test_own_data.py holds the two together.
"""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pretty_midi

from course_lib import UsageError
from course_lib.lab import estimate, plan, report
from course_lib.learn.split import split_songs
from course_lib.music import band, frames, midi, notes, twins

WITHOUT_TRAINING = ("00", "01")
BANDS = ("06", "07", "08", "09", "10")
LEAST = {"08": (1, 1, 2), "09": (3, 1, 1)}  # songs for training, validation and test; of other notebooks one each
COMPOSERS = ("mozart", "haydn", "beethoven")  # of notebook 05, where it is told no others


class Use(NamedTuple):
    """What a notebook can do with the pieces of a folder."""

    notebook: str  # its number
    kept: pd.DataFrame
    fine: bool  # whether it can run
    rule: str


def describe(data: str) -> int:
    """Print what is in the folder `data` and which notebooks can use it; 1 where none that trains a network can.

    Raises:
        UsageError: where no MIDI file of the folder can be used.
    """
    pieces, skipped = read(data)
    facts, files = table(pieces), len(pieces) + len(skipped)
    print(f"Folder       {data}: {_count(files, 'MIDI file')}, {_count(len(pieces), 'piece')} of music")
    print("Skipped     ", "\n             ".join(_by_reason(skipped)))
    print(f"Near twins   {_twins(facts)}")
    print(f"Metres       {_metres(facts)}")
    print(f"Instruments  {_instruments(facts)}\n             {_bands(facts)}")
    print("Lengths     ", "\n             ".join(_lengths(facts)))

    found = uses(facts)
    seconds, source = _times()
    print("\nNotebooks, the pieces that each can use, and about how long it takes in the profile quick:\n")
    for use in found:
        print(_row(use, seconds.get(use.notebook)))
    for remark in [*_remarks(found, facts), source]:
        print("\n" + textwrap.fill(remark, 110))
    return int(not any(use.fine for use in found if use.notebook not in WITHOUT_TRAINING))


def read(data: str) -> tuple[list[midi.Piece], list[tuple[str, str]]]:
    """The pieces of a folder as the notebooks read them, and the file and the reason of all that is skipped.

    Raises:
        UsageError: as `describe`.
    """
    root = Path(data).expanduser()
    if not root.is_dir():
        raise UsageError(f"There is no folder '{data}': give a folder that holds MIDI files, at any depth.")
    if (root / "bands.json").is_file():
        raise UsageError(
            f"'{data}' holds bands that data_scripts.lpd5 prepared, no MIDI files: notebooks 06 to 11 take it as it is."
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            pieces = midi.folder(root)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return pieces, re.findall(r"^  (.+?\.midi?): (.+)$", said.getvalue(), re.MULTILINE | re.IGNORECASE)


def table(pieces: Sequence[midi.Piece]) -> pd.DataFrame:
    """A row a piece: what the notebooks ask of it, and what a reader would like to know."""
    facts = pd.DataFrame([_facts(piece) for piece in pieces])
    plays = facts[list(band.INSTRUMENTS)]
    facts["any"], facts["all five"] = plays.any(axis=1), plays.all(axis=1)
    facts["twin"] = twins.near_twins(frames.onsets(piece.score) for piece in pieces)
    return facts


def _facts(piece: midi.Piece) -> dict[str, Any]:
    score = piece.score
    roll = band.from_score(score, steps_per_beat=2)
    return {
        "name": piece.name,
        "composer": piece.composer.lower(),
        "metre": " and ".join(sorted(piece.time_signatures)),
        "names a metre": bool(score.time_signatures),
        "families": [
            "Drums" if track.is_drum else pretty_midi.program_to_instrument_class(track.program)
            for track in score.tracks
            if track.notes
        ],
        "in 4/4": band.in_four_four(score),
        **{name: roll[..., channel].any() for channel, name in enumerate(band.INSTRUMENTS)},
        "band beats": len(roll) / 2,
        "moments": len(notes.from_score(score, durations=False)),
        "sixteenths": int(frames.onsets(score).any(axis=1).sum()),
        "notes": score.note_num(),
        "beats": score.end() / score.ticks_per_quarter,
        "minutes": score.to("second").end() / 60,
    }


# ---------------------------------------------------------------- which notebooks


def uses(facts: pd.DataFrame) -> list[Use]:
    """Of each notebook that takes a folder of MIDI files, which pieces it uses in `quick` and whether it can run."""
    found = [Use(number, facts, True, "every piece") for number in WITHOUT_TRAINING]

    least = _quick("02")["prompt"]
    kept = facts[(facts["metre"] == "4/4") & (facts["moments"] > least)]
    found.append(_use("02", kept, f"wholly in 4/4, more than {least} notes or chords"))

    least = _quick("03")["window"]
    found.append(_use("03", facts[facts["moments"] > least], f"more than {least} notes or chords"))

    least, most = _quick("04")["sequence"], _quick("04")["pieces"]
    kept = facts[facts["sixteenths"] > least].nlargest(most, "sixteenths")
    found.append(_use("04", kept, f"the {most} longest of those with more than {least} notes"))

    found.append(_of_composers(facts))
    for number in BANDS:
        beats = _band_beats(number)
        kept = facts[facts["in 4/4"] & facts["all five"] & (facts["band beats"] >= beats)]
        found.append(_use(number, kept, f"in 4/4, all five of the band, {beats / band.BEATS_PER_BAR:.0f} bars or more"))
    found.append(_use("11", facts[facts["any"]], "any instrument of the band"))
    return found


def _use(notebook: str, kept: pd.DataFrame, rule: str) -> Use:
    """A notebook that splits its pieces 8 / 1 / 1, or nearly so, near twins together."""
    try:
        parts = split_songs(list(kept.index), (8, 1, 1), groups=list(kept["twin"]))
    except ValueError:  # fewer songs than parts
        return Use(notebook, kept, False, rule)
    least = LEAST.get(notebook, (1, 1, 1))
    return Use(notebook, kept, all(len(part) >= few for part, few in zip(parts, least, strict=True)), rule)


def _of_composers(facts: pd.DataFrame) -> Use:
    """Notebook 05: composers with a model of their own, and all others together, are each split for themselves."""
    count = facts["composer"].value_counts()
    names = [name for name in COMPOSERS if count.get(name, 0) >= 5]
    names = names if len(names) > 1 else [name for name in count.index[:3] if name and count[name] >= 5]
    names = names if len(names) > 1 else []
    first = facts.groupby("twin")["composer"].transform("first")  # near twins count as by the first one's composer
    owner = first.where(first.isin(names), "others")
    songs = facts.groupby(owner)["twin"].nunique()
    if songs.min() < 2:
        rule = f"{songs.idxmin()}: one song alone, which cannot be split: take it out, or add two"
    elif names:
        rule = "every piece; models of " + ", ".join(f"{name} ({count[name]})" for name in names) + " and of all"
    else:
        rule = "every piece; one model of all, as no two top folders hold five"
    return Use("05", facts, bool(songs.min() >= 2 and songs.max() >= 3), rule)  # two songs: no validation


@cache
def _quick(number: str) -> dict[str, Any]:
    """The settings of a notebook in the profile `quick`."""
    [path] = plan.chosen([number])
    return {name: values[0] for name, values in plan.read_lesson(path).settings.items()}


def _band_beats(number: str) -> float:
    """Beats of the longest excerpts of test songs that a notebook takes: a song must be so long."""
    settings = _quick(number)
    if number in ("06", "07"):
        return settings["steps"] / settings["steps_a_beat"]
    blocks = 1 if number == "10" else 2  # 08 and 09 judge a block by the one after it
    return blocks * settings["block"] / settings["steps_a_beat"]


# ---------------------------------------------------------------- in words


def _by_reason(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """A line a reason, the commonest first, with the first files that it concerns."""
    files: dict[str, list[str]] = {}
    for name, reason in skipped:
        files.setdefault(reason, []).append(name)
    lines = [
        f"{len(names):,} {reason}: {', '.join(names[:3])}{', …' * (len(names) > 3)}"
        for reason, names in sorted(files.items(), key=lambda item: -len(item[1]))
    ]
    return [*lines[:10], *[f"{len(lines) - 10} other reasons"] * (len(lines) > 10)] or ["no file"]


def _twins(facts: pd.DataFrame) -> str:
    number = int(facts["twin"].duplicated(keep=False).sum())
    return f"{_count(number, 'piece')} with nearly the same music as another, in whatever key: dealt together with it"


def _metres(facts: pd.DataFrame) -> str:
    several = facts["metre"].str.contains(" and ")
    unnamed = (~facts["names a metre"]).sum()
    listed = _listed(facts["metre"].mask(several, "more than one"))
    return f"{listed}" + (f" ({unnamed:,} name no metre: by the rule of MIDI they are in 4/4)" if unnamed else "")


def _instruments(facts: pd.DataFrame) -> str:
    return f"General MIDI families, in how many pieces: {_listed(facts['families'].map(set).map(sorted).explode())}"


def _bands(facts: pd.DataFrame) -> str:
    listed = ", ".join(f"{name} {count:,}" for name, count in facts[list(band.INSTRUMENTS)].sum().items())
    four_four = (facts["all five"] & facts["in 4/4"]).sum()
    return f"as a band: {listed}; all five {facts['all five'].sum():,}, of these in 4/4 {four_four:,}"


def _lengths(facts: pd.DataFrame) -> list[str]:
    return [
        f"{name}: {facts[name].min():,.{places}f} the shortest, {facts[name].median():,.{places}f} the median, "
        f"{facts[name].max():,.{places}f} the longest"
        for name, places in {"notes": 0, "beats": 0, "minutes": 1}.items()
    ]


def _row(use: Use, seconds: float | None) -> str:
    took = report.duration(seconds) if seconds else "seconds" if use.notebook in WITHOUT_TRAINING else "unknown"
    mark, took = ("OK", took) if use.fine else ("!!", "–")
    return f"{mark}  {use.notebook}  {_count(len(use.kept), 'piece'):>12}  {took:>12}  {use.rule}"


def _remarks(found: Sequence[Use], facts: pd.DataFrame) -> Iterator[str]:
    """What a notebook that stops needs, and how many bands there would be with other parameters."""
    if not all(use.fine for use in found):
        yield (
            "!! This notebook would stop. Pieces are split 8 / 1 / 1, to learn from, to choose by and to test on, near "
            "twins together. Each part needs one; 08 needs two to test on (of 17 pieces), 09 three to learn from (5)."
        )
    long = facts["band beats"] >= _band_beats("06")
    four_four, whole = facts["in 4/4"], facts["all five"]
    yield (
        f"Bands for 06 to 09: {(long & four_four & whole).sum():,}; "
        f"with -p only_four_four false {(long & whole).sum():,}, "
        f"with -p only_complete false {(long & four_four).sum():,}, with both {long.sum():,}."
    )


def _times() -> tuple[dict[str, float], str]:
    """Seconds of each notebook in `quick` by its number, and a sentence on how they are known."""
    needs = estimate.Needs("quick")
    runs = [run for runs in needs.runs.values() for run in runs]
    speed = estimate.speed() if any(run.speed for run in runs) else None
    where = "at the speed of this machine" if speed else f"on {', '.join(sorted({run.device for run in runs}))}"
    sentence = (
        f"The times are those of the committed runs, {where}. A training in quick ends after a fixed number of batches "
        "at most, so more music adds little; 02 and 03 get slower with the number of different chords."
    )
    return {name[:2]: seconds for name, seconds in needs.seconds(speed).items()}, sentence


def _listed(values: pd.Series, most: int = 8) -> str:
    """How often each value stands in a column, the commonest first."""
    counts = values.value_counts()
    shown = [f"{name} {count:,}" for name, count in counts[:most].items()]
    return ", ".join([*shown, *[f"others {counts[most:].sum():,}"] * (len(counts) > most)])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
