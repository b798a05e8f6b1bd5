"""What a run leaves behind, with its provenance."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import symusic

from course_lib import PROFILES, files
from course_lib.hear import listen
from course_lib.lab import claims
from course_lib.music.midi import Piece, fingerprint

KINDS = ("piano", "band")  # of systems


class Run:
    """One execution of a notebook; made by ``start``. What is recorded twice under one name is replaced."""

    def __init__(self, notebook: str, folder: Path, parameters: dict[str, Any]) -> None:
        self.folder = folder
        self.smoke = os.environ.get("COURSE_SMOKE") == "1"
        self._clock = time.monotonic()
        self._music: dict[str, Any] = {}
        self._claims: dict[str, Any] = {}
        self._systems: dict[str, Any] = {}
        self._result: dict[str, Any] = {
            "notebook": notebook,
            "status": "complete",
            "smoke": self.smoke,
            "parameters": _plain(parameters, "parameters"),
            "data_fingerprint": None,
            "started": datetime.now(UTC).isoformat(),
            "measures": {},
            "comparison": [],
        }

    def data(self, pieces: list[Piece] | str) -> None:
        """Record which data the run saw: pieces, or a fingerprint made elsewhere."""
        self._result["data_fingerprint"] = pieces if isinstance(pieces, str) else fingerprint(pieces)

    def note(self, name: str, value: Any) -> None:
        """Record a number, text, list or dict under ``measures``; ValueError: what JSON cannot hold."""
        self._result["measures"][name] = _plain(value, name)

    def comparison(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the rows of ``sets.compare``: generated music beside real music."""
        self._result["comparison"] = _plain(rows, "comparison")

    def music(self, name: str, score: symusic.Score, caption: str, real: bool = False) -> Path:
        """Save ``name.mid`` and, given a sound library, ``name.ogg``; return the path without suffix.

        ``caption``: one sentence that says what is heard; ``real``: music that no model made. ValueError: a
        name that cannot name files.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"Music name {name!r} names its files: use letters, digits, '_' and '-' only.")
        midi, ogg = listen.save(score, self.folder / name)
        written = {"midi": Path(midi).name, "ogg": Path(ogg).name if ogg else None}
        seconds = round(score.to("second").end(), 3)
        self._music[name] = {"name": name, **written, "caption": caption, "real": real, "seconds": seconds}
        return self.folder / name

    def trained_on(self, songs: Sequence[str]) -> None:
        """Record the names of the training songs, so that runs can be compared on music that none has seen."""
        self._result["training_songs"] = sorted(set(songs))

    def system(
        self,
        name: str,
        scores: Sequence[symusic.Score],
        kind: str = "piano",
        real: bool = False,
        parameters: int | None = None,
        training_seconds: float | None = None,
        generation_seconds: float | None = None,
        beats: float | None = None,
        novelty: Mapping[str, float] | None = None,
    ) -> None:
        """Save pieces of a system as MIDI in ``pieces/``, for the comparison of systems and the listening test.

        ``name``: as people are to read it; ``kind``: "piano" or "band"; ``real``: held-out music; ``parameters``: of
        all its networks; ``generation_seconds``: for all ``scores`` together; ``beats``: of them all, with silence at
        their ends, by default up to their last notes; ``novelty``: from ``sets.novelty``. Pieces without a
        pitched note are counted only. ValueError: another kind, or no pieces.
        """
        if kind not in KINDS or not scores:
            raise ValueError(f"System {name!r} has {len(scores)} pieces of kind {kind!r}: give some, of {KINDS}.")
        sounding = [score for score in scores if any(track.notes and not track.is_drum for track in score.tracks)]
        stem = re.sub(r"\W+", "_", name.lower()).strip("_")
        paths = [f"pieces/{stem}_{number:02}.mid" for number in range(1, len(sounding) + 1)]
        (self.folder / "pieces").mkdir(exist_ok=True)
        for file, score in zip(paths, sounding, strict=True):
            (self.folder / file).write_bytes(score.dumps_midi())
        record = {"name": name, "kind": kind, "real": real, "parameters": parameters}
        record |= {"pieces": paths, "silent": len(scores) - len(sounding)}
        record["beats"] = beats or sum(score.end() / score.ticks_per_quarter for score in scores)
        record |= {"training_seconds": training_seconds, "generation_seconds": generation_seconds}
        self._systems[name] = _plain(record | {"novelty": novelty}, name)

    @property
    def systems(self) -> list[dict[str, Any]]:
        """What ``system`` has recorded."""
        return list(self._systems.values())

    def claim(self, id: str, value: float, detail: Any = None) -> None:
        """Record the scalar that the rule of a claim reads, and what it was made of. Not in a smoke run.

        NaN or infinity says that the run diverged. ValueError: an unknown id, or a value not one number.
        """
        if id not in claims.claims():
            raise ValueError(f"Claim {id!r} is not in claims.toml, which has {', '.join(claims.claims())}.")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Claim {id!r} needs one number, not {value!r}.") from error
        entry = {"id": id, "value": _plain(number, id), "detail": _plain(detail, id)}
        if not self.smoke:
            self._claims[id] = entry

    def heard(self, id: str, value: float, low: float, high: float, listeners: int, profile: str = "quick") -> None:
        """Record what listeners said of a claim: its ``heard`` figure, the 95 % interval, the profile of the clips."""
        self.claim(id, value, {"listeners": listeners, "profile": profile})
        if id in self._claims:
            self._claims[id]["heard"] = [low, high]

    def finish(self) -> Path:
        """Write ``result.json`` in one step and return its path; ValueError if the disk refuses it."""
        result = self._result | _provenance()
        result["seconds"] = round(time.monotonic() - self._clock, 3)
        recorded = {"music": self._music, "systems": self._systems, "claims": self._claims}
        result |= {key: list(entries.values()) for key, entries in recorded.items()}
        path = self.folder / "result.json"
        try:
            with files.atomic_write(path) as partial:
                partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            problem = f"The result could not be written to {path} ({error.strerror or error})"
            raise ValueError(f"{problem}: free some space or choose another folder.") from error
        return path


def start(notebook: str, profile: str, seed: int, data: str | Path, **parameters: Any) -> Run:
    """Begin a run of a notebook such as ``"02_lstm_next_note"``, in ``$COURSE_OUT`` or ``runs/interactive/``
    (``runs/smoke/`` under ``COURSE_SMOKE=1``).

    An earlier ``result.json`` of that folder goes, so that a run that stops half-way does not look finished.
    ValueError: an unknown profile, a seed that is no seed, or a folder that cannot be written.
    """
    if profile not in PROFILES:
        raise ValueError(f"Profile {profile!r} is unknown: use {' or '.join(PROFILES)}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"Seed {seed!r} must be a whole number from 0 to {2**32 - 1}.")
    base = files.ROOT if (files.ROOT / "pyproject.toml").exists() else Path.cwd()
    kind = "smoke" if os.environ.get("COURSE_SMOKE") == "1" else "interactive"
    folder = Path(os.environ.get("COURSE_OUT") or base / "runs" / kind / notebook)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
    except OSError as error:
        problem = f"The run folder {folder} cannot be written ({error.strerror or error})"
        raise ValueError(f"{problem}: choose another.") from error
    return Run(notebook, folder, {"profile": profile, "seed": seed, "data": str(data), **parameters})


def load(folder: str | Path) -> list[dict[str, Any]]:
    """Every complete ``result.json`` below a folder, smoke runs left out, each with its ``folder`` added.

    A damaged file is skipped with a warning that names it; where nothing has run the list is empty.
    """
    results = []
    found = (Path(where) / "result.json" for where, _, files in os.walk(folder) if "result.json" in files)
    for path in sorted(found):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            _check(result)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            warnings.warn(f"{path} is damaged and was skipped ({problem}); run it again.", stacklevel=2)
            continue
        if not result["smoke"]:
            results.append(result | {"folder": str(path.parent)})
    return results


def latest(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of runs alike in notebook, parameters and data the latest, oldest first."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in sorted(results, key=lambda run: run["started"]):
        key = json.dumps([run[name] for name in ("notebook", "parameters", "data_fingerprint")])
        found.pop(key, None)  # so that the later run also has the later place
        found[key] = run
    return list(found.values())


def _check(result: dict[str, Any]) -> None:
    """Raise unless a decoded result has every key of the format, and claims whose values are numbers."""
    keys = "notebook status smoke parameters backend device versions git_commit data_fingerprint started"
    for key in f"{keys} seconds peak_memory_mib measures comparison music claims".split():
        result[key]
    result["parameters"]["profile"], result["parameters"]["seed"], result["parameters"]["data"]
    for claim in result["claims"]:
        claim["id"], claim["value"] is None or math.isfinite(claim["value"])
        if "heard" in claim:
            [math.isfinite(end) for end in claim["heard"]], claim["detail"]["listeners"], claim["detail"]["profile"]
    for system in result.get("systems", []):  # results of before there were any lack them
        for key in ("name", "kind", "real", "pieces", "beats"):
            system[key]


def _plain(value: Any, where: str) -> Any:
    """The value as JSON gives it back: NumPy numbers and arrays unpacked, NaN and infinity as None."""
    try:
        text = json.dumps(value, default=lambda array: array.tolist())
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where} cannot be recorded: use numbers, text, lists or dicts of them.") from error
    return json.loads(text, parse_constant=lambda _: None)


def _provenance() -> dict[str, Any]:
    """What computed the result. The backend is None where the notebook had no need of Keras."""
    keras = sys.modules.get("keras")
    backend = keras.config.backend() if keras else None
    versions = {"python": platform.python_version()}
    for package in ("keras", "numpy", "music21", "symusic"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    if backend in sys.modules:  # its distribution may have another name, such as tensorflow-cpu
        versions[backend] = sys.modules[backend].__version__
    try:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    except ImportError:  # Windows
        peak = None
    device = _device(str(keras.ops.zeros(1).device) if keras else "cpu")
    return {
        "backend": backend,
        "device": device,
        "versions": versions,
        "git_commit": _git_commit(),
        "peak_memory_mib": peak,
    }


def _device(placed: str) -> str:
    """The maker's name of the device on which Keras placed a tensor."""
    if "cpu" not in placed.lower():
        names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or placed
        return "GPU: " + ", ".join(sorted(set(names.splitlines())))
    with suppress(OSError):  # Linux alone has this file
        if match := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return f"CPU: {match[1]}"
    return f"CPU: {platform.processor() or platform.machine()}"


def _git_commit() -> str | None:
    """The commit of the checkout, with ``-dirty`` where tracked files differ from it; None outside of one."""
    if not (files.ROOT / ".git").exists():  # else git would name the commit of a project around this one
        return None
    return _output("git", "-C", str(files.ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing or fails."""
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None
