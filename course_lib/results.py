"""What a run leaves behind, with its provenance; the papers' claims and their verdicts.

A notebook calls ``start``, records figures, music and claims on the ``Run``, and ends with ``finish``, which
writes ``result.json``. ``scoreboard`` sets all such files against the rules of ``claims.toml``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import symusic

from course_lib import PROFILES, listen, sources

ROOT = Path(__file__).resolve().parents[1]  # of the checkout, where there is one
KINDS = ("piano", "band")  # of systems
FEWEST_LISTENERS = 5  # for a verdict: fewer agree by chance too often (course_lib.ratings.heard)
LISTEN = "only listeners can judge it: notebook 12 or make listen collects their ratings"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, with exactly one rule: ``above``, ``below`` or ``listeners``."""

    id: str
    paper: str
    notebook: str  # "02"
    claim: str
    published: str
    measure: str  # what the scalar is, or the proxy where only listeners can tell
    why: str  # why the line stands where it does
    above: float = math.nan  # reproduced when the scalar is greater than this
    below: float = math.nan  # reproduced when the scalar is at most this
    listeners: bool = False
    heard: str = ""  # what listeners' answers are made into, judged against 0
    profile: str = ""  # "paper": tested at the paper's scale only

    @property
    def rule(self) -> str:
        """The rule in words."""
        words = f"at most {self.below:g}" if math.isnan(self.above) else f"above {self.above:g}"
        words = "listeners decide; the figure is a proxy" if self.listeners else words
        return words + ", paper profile only" * (self.profile == "paper")


class Verdict(NamedTuple):
    """A verdict, the mean over seeds, its 95 % interval (None for one seed), and a reason where needed."""

    verdict: str
    mean: float | None
    low: float | None
    high: float | None
    reason: str


@cache
def claims() -> dict[str, Claim]:
    """Every claim of ``claims.toml`` by id, in file order."""
    entries = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))["claim"]
    return {entry["id"]: Claim(**entry) for entry in entries}


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

    def data(self, pieces: list[sources.Piece] | str) -> None:
        """Record which data the run saw: pieces, or a fingerprint made elsewhere."""
        self._result["data_fingerprint"] = pieces if isinstance(pieces, str) else sources.fingerprint(pieces)

    def note(self, name: str, value: Any) -> None:
        """Record a number, text, list or dict under ``measures``; ValueError: what JSON cannot hold."""
        self._result["measures"][name] = _plain(value, name)

    def comparison(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the rows of ``measure.compare``: generated music beside real music."""
        self._result["comparison"] = _plain(rows, "comparison")

    def music(self, name: str, score: symusic.Score, caption: str, real: bool = False) -> Path:
        """Save ``name.mid`` and, given a sound library, ``name.ogg``; return the path without suffix.

        ``caption``: one sentence that says what is heard; ``real``: music that no model made. ValueError: a
        name that cannot name files.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ValueError(f"Music name {name!r} names its files: use letters, digits, '_' and '-' only.")
        midi, ogg = listen.save(score, self.folder / name)
        files = {"midi": Path(midi).name, "ogg": Path(ogg).name if ogg else None}
        seconds = round(score.to("second").end(), 3)
        self._music[name] = {"name": name, **files, "caption": caption, "real": real, "seconds": seconds}
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
        their ends, by default up to their last notes; ``novelty``: from ``measure.novelty``. Pieces without a
        pitched note are counted only. ValueError: another kind, or no pieces.
        """
        if kind not in KINDS or not scores:
            raise ValueError(f"System {name!r} has {len(scores)} pieces of kind {kind!r}: give some, of {KINDS}.")
        sounding = [score for score in scores if any(track.notes and not track.is_drum for track in score.tracks)]
        stem = re.sub(r"\W+", "_", name.lower()).strip("_")
        files = [f"pieces/{stem}_{number:02}.mid" for number in range(1, len(sounding) + 1)]
        (self.folder / "pieces").mkdir(exist_ok=True)
        for file, score in zip(files, sounding, strict=True):
            (self.folder / file).write_bytes(score.dumps_midi())
        record = {"name": name, "kind": kind, "real": real, "parameters": parameters}
        record |= {"pieces": files, "silent": len(scores) - len(sounding)}
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
        if id not in claims():
            raise ValueError(f"Claim {id!r} is not in claims.toml, which has {', '.join(claims())}.")
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
            with sources.whole(path) as partial:
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
    base = ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()
    kind = "smoke" if os.environ.get("COURSE_SMOKE") == "1" else "interactive"
    folder = Path(os.environ.get("COURSE_OUT") or base / "runs" / kind / notebook)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
    except OSError as error:
        problem = f"The run folder {folder} cannot be written ({error.strerror or error})"
        raise ValueError(f"{problem}: choose another.") from error
    return Run(notebook, folder, {"profile": profile, "seed": seed, "data": str(data), **parameters})


def load_results(folder: str | Path) -> list[dict[str, Any]]:
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


def verdict(claim: Claim, values: Sequence[float | None], profile: str = "quick") -> Verdict:
    """Judge a claim from its scalars, one a seed, all measured in one profile.

    One scalar is judged by its side of the line, several by the 95 % Student t interval of their mean: wholly
    on one side, or inconclusive, as it is when a run diverged (None, NaN or infinity).
    """
    if not values:
        return Verdict("not run", None, None, None, "no run has measured it")
    finite = [value for value in values if value is not None and math.isfinite(value)]
    mean = statistics.fmean(finite) if finite else None
    low = high = None
    if mean is not None and len(finite) > 1:
        from scipy import stats  # slow to import, and a run that only records has no need of it

        margin = stats.t.ppf(0.975, len(finite) - 1) * statistics.stdev(finite) / math.sqrt(len(finite))
        low, high = mean - float(margin), mean + float(margin)

    ends = [mean] if low is None else [low, high]
    right = {end > claim.above or end <= claim.below for end in ends if end is not None}  # NaN: no such line
    outcome, reason = ("reproduced" if right == {True} else "not reproduced"), ""
    if len(right) == 2:
        outcome, reason = "inconclusive", "the interval over seeds spans the line"
    if len(finite) < len(values):
        lost = f"{len(values) - len(finite)} of {len(values)} runs"
        outcome, reason = "inconclusive", f"{lost} gave no finite value (diverged)"
    if claim.listeners:
        outcome = "needs listeners"
    elif claim.profile == "paper" and profile != "paper":
        outcome, reason = "not run", "tested at the paper's scale only; the figure is of the quick profile"
    return Verdict(outcome, mean, low, high, reason)


def _by_listeners(entry: Mapping[str, Any]) -> Verdict:
    """Judge a claim from what ``Run.heard`` recorded."""
    (low, high), listeners = entry["heard"], entry["detail"]["listeners"]
    outcome = "reproduced" if low > 0 else "not reproduced" if high <= 0 else "inconclusive"
    reason = f"{listeners} listeners" + ": the interval spans 0" * (outcome == "inconclusive")
    if listeners < FEWEST_LISTENERS:
        outcome, reason = "needs listeners", f"{listeners} have rated, and a verdict needs {FEWEST_LISTENERS}"
    return Verdict(outcome, entry["value"], low, high, reason)


def scoreboard(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each claim, in file order, from the results of ``load_results``.

    What listeners said wins over a proxy, the listening test with most listeners over others. Runs at the paper's scale
    win over quick ones; of runs alike in all parameters and data the latest counts.
    ``measured`` is the mean over ``runs`` values, ``low`` and ``high`` its 95 % interval (None where there is
    none), ``links`` the folders of the runs.
    """
    rows, counted = [], latest(results)
    for claim in claims().values():
        entries = [(run, entry) for run in counted for entry in run["claims"] if entry["id"] == claim.id]
        heard = [(run, entry) for run, entry in entries if "heard" in entry]
        heard = sorted(heard, key=lambda pair: pair[1]["detail"]["listeners"])[-1:]
        found = [(run, entry["value"]) for run, entry in heard or entries]
        profiles = {run["parameters"]["profile"] for run, _ in found}
        profile = "paper" if "paper" in profiles else "quick"
        found = [(run, value) for run, value in found if run["parameters"]["profile"] == profile]
        runs = [run for run, _ in found]
        judged = _by_listeners(heard[0][1]) if heard else verdict(claim, [value for _, value in found], profile)
        fields = ("id", "paper", "notebook", "claim", "published", "measure", "rule", "why")
        row = {field: getattr(claim, field) for field in fields}
        profile = heard[0][1]["detail"]["profile"] if heard else profile
        row["proxy"] = claim.listeners and bool(runs) and not heard
        if heard:
            row |= {"measure": claim.heard, "rule": "above 0"}
        row |= {"measured": judged.mean, "low": judged.low, "high": judged.high, "runs": len(runs)}
        unheard = claim.listeners and judged.verdict in ("not run", "needs listeners")
        reasons = [judged.reason, LISTEN if unheard else "", _mixed(runs)]
        row |= {"verdict": judged.verdict, "reason": "; ".join(filter(None, reasons))}
        row |= {"profile": profile if runs else "", "device": ", ".join(sorted({r["device"] for r in runs}))}
        rows.append(row | {"links": sorted(run["folder"] for run in runs)})
    return rows


def newest(runs: Path) -> Path:
    """The folder to which ``latest`` in the folder ``runs`` leads: a link, or where links are refused a text file."""
    latest = runs / "latest"
    return runs / latest.read_text(encoding="utf-8").strip() if latest.is_file() else latest.resolve()


def latest(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of runs alike in notebook, parameters and data the latest, oldest first."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in sorted(results, key=lambda run: run["started"]):
        key = json.dumps([run[name] for name in ("notebook", "parameters", "data_fingerprint")])
        found.pop(key, None)  # so that the later run also has the later place
        found[key] = run
    return list(found.values())


def _mixed(runs: Sequence[Mapping[str, Any]]) -> str:
    """What but the seed differs between runs whose values are averaged."""
    names = {name for run in runs for name in run["parameters"]} - {"seed", "data"}
    seen = {name: {json.dumps(run["parameters"].get(name)) for run in runs} for name in sorted(names)}
    seen["data"] = {run["data_fingerprint"] or run["parameters"].get("data") for run in runs}
    mixed = ", ".join(name for name, kinds in seen.items() if len(kinds) > 1)
    return mixed and f"the runs averaged differ in {mixed}"


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
    if not (ROOT / ".git").exists():  # else git would name the commit of a project around this one
        return None
    return _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing or fails."""
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None


def different_data(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A clause for each notebook and profile whose runs saw different data: which, where, and the fingerprints."""
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for run in results:
        if run["data_fingerprint"]:  # some notebooks read no data
            kinds = seen.setdefault((run["notebook"], run["parameters"]["profile"]), {})
            kinds.setdefault(run["data_fingerprint"], run["folder"])
    return [
        f"runs of {notebook} in the {profile} profile saw different data, "
        + " and ".join(f"{folder} (fingerprint {fingerprint})" for fingerprint, folder in kinds.items())
        for (notebook, profile), kinds in seen.items()
        if len(kinds) > 1
    ]
