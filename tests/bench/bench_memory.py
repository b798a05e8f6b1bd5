"""The peak memory of notebooks on 5,000 songs in the form of LPD-5, which stay mapped on disk.

    python tests/bench/bench_memory.py [NOTEBOOK ...]

The songs are the chorale band in fifteen keys. Trainings and their evaluations are cut to some batches, so what is
generated is noise; all else that reads, counts and splits songs is what `night` and `paper` do. The networks of `paper`
are for a GPU, in whose memory they, their batches and what they remember lie: here they have the sizes of `night`.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from course_lib import music
from course_lib.lab import execute, plan, record

SONGS, SHARD = 5_000, 250
GRIDS = {
    "06": (2, 2),
    "07": (4, 24),
    "08": (2, 2),
    "09": (2, 2),
    "10": (2, 2),
    "11": (2, 2),
}  # steps a beat of night and paper
LIMIT = 2 * 1024  # MiB
SIZES = [
    "batch_size",
    "pair_batch",
    "rows",
    "units",
    "filters",
    "rnn_units",
    "dense",
    "layers",
    "width",
    "heads",
    "inner",
    "memory",
    "segment",
    "generator_filters",
    "discriminator_filters",
]


def main(notebooks: list[str] | None = None) -> dict[str, float]:
    """Run each notebook in both profiles, print a line each, and return the peaks in MiB."""
    peaks = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in notebooks or GRIDS:
            for profile, grid in zip(("night", "paper"), GRIDS[name], strict=True):
                data = Path(temporary) / str(grid)
                if not data.exists():
                    shards(data, grid)
                run, seconds = _run(name, profile, data)
                peaks[f"{name} {profile}"] = run.peak_memory_mib
                print(
                    f"{name}, {profile}, {SONGS:,} songs: peak {run.peak_memory_mib:.0f} MiB (limit {LIMIT}), "
                    f"{seconds:.0f} s",
                    flush=True,
                )
    return peaks


def shards(folder: Path, steps_per_beat: int) -> None:
    """Write what `data_scripts.lpd5` leaves: packed songs, 250 to a shard, with an index."""
    folder.mkdir()
    bands = [music.band.from_score(piece.score, steps_per_beat) for piece in music.chorale_band.load()]
    names = []
    for first in range(0, SONGS, SHARD):
        packed, songs, steps = [], [], 0
        for number in range(first, min(first + SHARD, SONGS)):
            key, which = divmod(number, len(bands))
            pitched = np.roll(bands[which][..., : music.band.DRUMS], key - 7, axis=1)
            roll = np.concatenate([pitched, bands[which][..., music.band.DRUMS :]], axis=-1)
            packed.append(np.packbits(roll.reshape(len(roll), -1), axis=1))
            song = {"name": f"TR{number:05}", "instruments": list(music.band.INSTRUMENTS)}
            songs.append(song | {"first": steps, "steps": len(roll)})
            steps += len(roll)
        names.append(f"shard-{first // SHARD:04}.npy")
        np.save(folder / names[-1], np.concatenate(packed))
        (folder / names[-1]).with_suffix(".json").write_text(json.dumps({"songs": songs, "skipped": []}))
    index = {"steps_per_beat": steps_per_beat, "shards": names, "fingerprint": f"bench {SONGS}"}
    (folder / "bands.json").write_text(json.dumps(index))


def _run(name: str, profile: str, data: Path) -> tuple[record.Record, float]:
    [lesson] = map(plan.read_lesson, plan.chosen([name]))
    sizes = {name: values[1] for name, values in lesson.settings.items() if name in SIZES and profile == "paper"}
    asked = {"notebooks": [name], "profile": profile, "seed": [0], "data": str(data)}
    asked |= {"setting": [[size, json.dumps(value)] for size, value in sizes.items()]}
    out = data.parent / f"{name}-{profile}"
    [job] = plan.plan(argparse.Namespace(**asked, parameter=[], yes=False), out)
    started = time.perf_counter()
    job.folder.mkdir(parents=True)
    with (job.folder / "output.log").open("w", encoding="utf-8") as output:
        error = execute.execute(job, output, {"COURSE_SMOKE": "1"})
    result = record.find(job.folder)
    if error or result is None:
        raise RuntimeError(f"{name} in {profile}: {error}")
    return result, time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(max(main(sys.argv[1:]).values()) > LIMIT)
