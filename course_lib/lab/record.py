"""What a notebook records of its run: `start` begins, `Run.finish` writes `result.json`, `load` reads it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import symusic

from course_lib import files
from course_lib.hear import listen
from course_lib.lab import claims, machine, provenance, schema
from course_lib.lab.schema import Code, Data, Heard, Measured, Music, Record, System, Training, find, latest, load
from course_lib.learn import device, profiles
from course_lib.music import corpus, midi

__all__ = ["KINDS", "Record", "Run", "find", "latest", "load", "start"]
KINDS = ("piano", "band")  # of systems


class Run:
    """One execution of a notebook; made by `start`. What is recorded twice under one name is replaced."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record
        self._clock = time.monotonic()
        self._goes_on = any(folder.glob("checkpoints/**/checkpoint.npz"))  # with trainings of an earlier process
        machine.busy_beside()  # begins to count

    def settings(self, **table: tuple) -> profiles.Settings:
        """`profiles.settings` of this run's profile, with what `COURSE_SETTINGS`, a JSON object, changes of them.

        A start from a night's weights counts as a change too: what was not trained here is no measurement of its own.
        """
        changed = json.loads(os.environ.get("COURSE_SETTINGS") or "{}")
        chosen = profiles.settings(self.record.profile, changed, **table)
        self.record.settings, self.record.changed = plain(chosen.values, "settings"), plain(chosen.changed, "settings")
        self.record.changed |= schema.loaded(self.record.parameters)
        return chosen

    def data(self, pieces: Sequence[midi.Piece] | str, songs: int | None = None) -> None:
        """Record which data the run saw: pieces, or a fingerprint made elsewhere and the number of songs."""
        if not isinstance(pieces, str):
            pieces, songs = midi.fingerprint(list(pieces)), len(pieces)
        self.record.data.fingerprint, self.record.data.songs = pieces, songs

    def trained_on(self, songs: Sequence[str]) -> None:
        """Record the names of the training songs, so that runs can be compared on music that none has seen."""
        self.record.training_songs = sorted(set(songs))

    def note(self, name: str, value: Any) -> None:
        """Record a number, text, list or dict under `measures`; ValueError for what JSON cannot hold."""
        self.record.measures[name] = plain(value, name)

    def comparison(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the rows of `measure.sets.compare`: generated music beside real music."""
        self.record.comparison = plain(rows, "comparison")

    def music(self, name: str, score: symusic.Score, caption: str, real: bool = False, first: bool = False) -> Path:
        """Save a piece as `name.mid` and, given a sound library, `name.ogg`; return the path without suffix.

        `caption` is one sentence that says what is heard; `real` is music that no model made; `first` is the piece that
        a run names at its end, else the one saved first.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"Music name {name!r} names its files: use letters, digits, '_' and '-' only.")
        written, ogg = listen.save(score, self.folder / name)
        seconds = round(score.to("second").end(), 3)
        ogg_name = Path(ogg).name if ogg else None
        _put(self.record.music, Music(name, Path(written).name, ogg_name, caption, real, seconds, first))
        return self.folder / name

    def system(
        self,
        name: str,
        scores: Sequence[symusic.Score],
        kind: str = "piano",
        real: bool = False,
        beats: float | None = None,
        **figures: Any,
    ) -> None:
        """Save the pieces of a system as MIDI in `pieces/`; those without a pitched note are counted only.

        Args:
            name: as people are to read it.
            scores: one or more.
            kind: "piano" or "band".
            real: held-out music.
            beats: of all scores, with silence at their ends; by default up to their last notes.
            **figures: see `schema.System`.
        """
        if kind not in KINDS or not scores:
            raise ValueError(f"System {name!r} has {len(scores)} pieces of kind {kind!r}: give some, of {KINDS}.")
        sounding = [score for score in scores if any(track.notes and not track.is_drum for track in score.tracks)]
        stem = re.sub(r"\W+", "_", name.lower()).strip("_")
        paths = [f"pieces/{stem}_{number:02}.mid" for number in range(1, len(sounding) + 1)]
        (self.folder / "pieces").mkdir(exist_ok=True)
        for path, score in zip(paths, sounding, strict=True):
            (self.folder / path).write_bytes(score.dumps_midi())
        beats = beats or sum(score.end() / score.ticks_per_quarter for score in scores)
        silent, figures = len(scores) - len(sounding), plain(figures, name)
        _put(self.record.systems, System(name, kind, real, paths, float(beats), silent, **figures))  # type: ignore[arg-type]

    def baseline(
        self,
        network: str,
        figure: str,
        value: float,
        baselines: Mapping[str, float],
        more_is_better: bool = False,
        training: str = "",
    ) -> str:
        """Record a network beside what needs no network, on held-out songs; a sentence that says which is better.

        Args:
            network: as the claims name it.
            figure: what all are measured in, with its unit, such as "NLL, nats a frame".
            value: of the network.
            baselines: the same figure of each baseline, by name.
            more_is_better: of the figure.
            training: the folder in `checkpoints/` where the network was trained: verdicts wait until that training
                ended without improving any more. Without, as for a GAN, there is no held-out loss to watch.
        """
        finite = {name: float(each) for name, each in baselines.items() if np.isfinite(each)}
        if not finite:
            raise ValueError(f"{network} has no baseline with a finite {figure}: give one that needs no network.")
        best = (max if more_is_better else min)(finite, key=lambda name: finite[name])
        beaten = bool(value > finite[best] if more_is_better else value < finite[best])
        entry = {"network": network, "figure": figure, "value": value, "best": best, "baselines": dict(baselines)}
        entry["training"] = training
        others = [each for each in self.record.baselines if each["network"] != network]
        self.record.baselines = [*others, plain(entry | {"beaten": beaten}, network)]
        verb, figures = "beats" if beaten else "does not beat", f"{value:.3f} against {finite[best]:.3f} ({figure})"
        return f"{network} {verb} the best of what needs no network, {best}: {figures}."

    def usual(self, network: str) -> str:
        """A sentence on where the figure of a network, recorded by `baseline`, lay in the committed runs."""
        [mine] = [row for row in self.record.baselines if row["network"] == network]
        profile, data = self.record.profile, self.record.data.name
        seen = {
            run.seed: row["value"]
            for run in load(files.ROOT / "results" / profile / self.record.notebook)
            for row in run.baselines
            if row["network"] == network and run.data.name == data and not run.changed and row["value"] is not None
        }
        if not seen:
            return f"No run of {network} in the {profile} profile is committed yet."
        low, high = min(seen.values()), max(seen.values())
        if len(seen) == 1:  # which is no band
            return f"{network}: in the one committed run {low:.3f}, here {mine['value']:.3f}."
        here = round(mine["value"], 3)  # as printed
        where = "in" if round(low, 3) <= here <= round(high, 3) else "below" if here < low else "above"
        band = f"in {len(seen)} committed runs {low:.3f} to {high:.3f}"
        return f"{network}: {band}, here {mine['value']:.3f}, {where} that band."

    def claim(self, id: str, value: float, detail: Any = None, heard: Heard | None = None) -> None:
        """Record the scalar that the rule of a claim reads, and what it was made of. Not in a smoke run.

        NaN or infinity says that the run diverged.

        Raises:
            ValueError: an unknown id, or a value that is not one number.
        """
        if id not in claims.claims():
            raise ValueError(f"Claim {id!r} is not in claims.toml, which has {', '.join(claims.claims())}.")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Claim {id!r} needs one number, not {value!r}.") from error
        if not self.record.smoke:
            _put(self.record.claims, Measured(id, plain(number, id), plain(detail, id), heard), "id")

    def heard(self, id: str, value: float, low: float, high: float, listeners: int, profile: str = "quick") -> None:
        """Record what listeners said of a claim: its `heard` figure, the 95 % interval, the profile of the clips."""
        self.claim(id, value, heard=Heard(low, high, listeners, profile))

    def finish(self) -> Path:
        """Write `result.json` in one step and return its path; ValueError if the disk refuses it."""
        self.record.seconds = round(time.monotonic() - self._clock, 3)
        self.record.beside = None if self._goes_on else machine.busy_beside()
        for name, value in provenance.of_process().items():
            setattr(self.record, name, value)
        checkpoints = self.folder / "checkpoints"
        for path in sorted(checkpoints.rglob("training.json")):
            name = path.parent.relative_to(checkpoints).as_posix()
            self.record.trainings[name] = msgspec.json.decode(path.read_bytes(), type=Training)
        left = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        self.record.disk_mib = round(left / 2**20, 1)
        content = plain(self.record, "The result")
        del content["folder"]
        path = self.folder / "result.json"
        try:
            with files.atomic_write(path) as partial:
                partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        except OSError as error:
            problem = f"The result could not be written to {path} ({error.strerror or error})"
            raise ValueError(f"{problem}: free some space or choose another folder.") from error
        return path


def start(notebook: str, profile: str, seed: int, data: str | Path, **parameters: Any) -> Run:
    """Begin a run of a notebook in `$COURSE_OUT`, else in `runs/interactive/` (or `runs/smoke/`).

    What an earlier run recorded in that folder goes, so that a run that stops half-way does not look finished.

    Args:
        notebook: its file name without the suffix, such as "02_lstm_next_note".
        data: "embedded" or a folder.
        **parameters: what else can be chosen in the notebook's parameters cell.

    Raises:
        ValueError: an unknown profile or start, a seed that is no seed, or a folder that cannot be written;
            `COURSE_PRECISION` or `COURSE_XLA` is wrong.
    """
    if profile not in profiles.PROFILES:
        raise ValueError(f"Profile {profile!r} is unknown: use {', '.join(profiles.PROFILES)}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"Seed {seed!r} must be a whole number from 0 to {2**32 - 1}.")
    begin = parameters.get("start", "scratch")
    if begin not in ("scratch", "night"):
        raise ValueError(f'start is {begin!r}: choose "scratch" (train) or "night" (take the weights of a night).')
    if begin == "night" and profile != "night":
        raise ValueError(f'start = "night" is for networks of that size: choose profile = "night", not {profile!r}.')
    if begin == "scratch":
        parameters.pop("start", None)  # so that runs from before there was a choice are known as alike
    machine.give_back_after_cells()
    device.precision()  # a wrong one ends the run here
    device.xla()
    smoke = profiles.smoke()
    usual = files.runs_folder() / ("smoke" if smoke else "interactive") / notebook
    folder = Path(os.environ.get("COURSE_OUT") or usual)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = [folder / "result.json", *folder.glob("checkpoints/**/training.json"), *folder.glob("weights/*.npz")]
        for earlier in left:
            earlier.unlink(missing_ok=True)
    except OSError as error:
        problem = f"The run folder {folder} cannot be written ({error.strerror or error})"
        raise ValueError(f"{problem}: choose another.") from error
    source = provenance.notebooks_folder() / f"{notebook}.ipynb"
    record = Record(
        notebook=notebook,
        smoke=smoke,
        parameters=plain({"profile": profile, "seed": seed, "data": str(data), **parameters}, "parameters"),
        data=Data(str(data), source=corpus.state(data)),
        code=Code(provenance.notebook_hash(source), provenance.package_hash(*provenance.FIGURES)),
        started=datetime.now(UTC).isoformat(),
        seconds=0,
        speed=float(os.environ.get("COURSE_SPEED") or 0) or None,
        **provenance.of_process(),
    )
    return Run(folder, record)


def _put(entries: list, entry: Any, key: str = "name") -> None:
    """Append an entry, or put it in the place of one of the same name."""
    names = [getattr(each, key) for each in entries]
    place = names.index(getattr(entry, key)) if getattr(entry, key) in names else len(entries)
    entries[place : place + 1] = [entry]


def plain(value: Any, where: str) -> Any:
    """The value as JSON gives it back: NumPy numbers and arrays unpacked, NaN and infinity as None."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=lambda array: array.tolist()))
    except (TypeError, ValueError, AttributeError, msgspec.MsgspecError) as error:
        raise ValueError(f"{where} cannot be recorded: use numbers, text, lists or dicts of them.") from error
