"""Time MIDI to band against pypianoroll, and batches of bands against the training step that takes them.

    python tests/bench/bench_band.py [FOLDER]

FOLDER holds MIDI files at any depth; without it, eight pieces of the chorale band are used.
"""

import itertools
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import mean

import keras
import numpy as np
import pypianoroll
import symusic
from bench_encode import FILES, milliseconds
from keras import layers

from course_lib import music
from course_lib.learn.batches import Batches
from course_lib.learn.losses import roll_loss

STEPS = 4


def main(folder: str | None = None) -> dict[str, float]:
    """Measure, print one line a benchmark, and return milliseconds and ratios."""
    warnings.simplefilter("ignore")  # pretty_midi warns of tempo changes outside the first track
    with tempfile.TemporaryDirectory() as temporary:
        files = sorted(music.midi.midi_files(Path(folder))) if folder else _chorales(Path(temporary))
        files = files[:: max(1, len(files) // FILES)][:FILES]
        slow = mean(milliseconds(pypianoroll_band, file, repeats=3) for file in files)
        fast = mean(
            milliseconds(lambda file: music.band.from_score(symusic.Score(file), STEPS), file, 21) for file in files
        )
        print(
            f"MIDI to band: pypianoroll {slow:.0f} ms, fast {fast:.2f} ms a file, {slow / fast:.0f} times (target 30)"
        )
        batch, step = _batches(Path(temporary))
    print(
        f"64 shuffled windows of 40 steps from a shard on disk: {batch:.1f} ms; a training step of a 2D CNN on them: "
        f"{step:.0f} ms, {step / batch:.0f} times as long (target 1)"
    )
    return {"pypianoroll_ms": slow, "band_ms": fast, "batch_ms": batch, "step_ms": step}


def _chorales(folder: Path) -> list[Path]:
    files = [folder / f"{number}.mid" for number in range(FILES)]
    for file, piece in zip(files, music.chorale_band.load()[::40], strict=False):
        piece.score.dump_midi(file)
    return files


def pypianoroll_band(file: Path) -> np.ndarray:
    """The band of a file by pypianoroll: read, set the resolution, merge by the rule of LPD-5, binarize."""
    multitrack = pypianoroll.read(file).set_resolution(STEPS)
    roll = np.zeros((multitrack.get_max_length(), 128, len(music.band.INSTRUMENTS)), bool)
    for track in multitrack.tracks:
        channel = music.band.instrument(symusic.Track(str(track.name), track.program, track.is_drum))
        if channel is not None:
            roll[: len(track.pianoroll), :, channel] |= track.pianoroll > 0
    return roll


def _batches(folder: Path) -> tuple[float, float]:
    """Milliseconds of a batch from a memory-mapped shard, and of a training step on it."""
    bands = music.band_data.load("embedded", STEPS)
    np.save(folder / "shard.npy", bands.shards[0])
    shard = np.load(folder / "shard.npy", mmap_mode="r")
    mapped = music.band_data.Bands([shard], bands.places, bands.names, STEPS, bands.fingerprint)
    batches = Batches(mapped, 40, lambda rolls: (rolls[:, :20], rolls[:, 20:, :, :1]), hop=STEPS, batch_size=64)
    x = keras.Input((20, 128, 5))
    y = x
    for filters, strides in zip((16, 32, 48, 64), ((2, 2), (2, 2), (1, 2), (1, 2)), strict=True):
        y = layers.Conv2D(filters, 4, strides, padding="same", activation="relu")(y)
    for filters, strides in zip((48, 32, 16), ((1, 2), (1, 2), (2, 2)), strict=True):
        y = layers.Conv2DTranspose(filters, 4, strides, padding="same", activation="relu")(y)
    model = keras.Model(x, layers.Conv2DTranspose(1, 4, (2, 2), padding="same")(y))
    model.compile("adam", roll_loss())
    held = batches[0]
    numbers = itertools.count()
    batch = milliseconds(lambda _: batches[next(numbers)], folder, repeats=20)
    return batch, milliseconds(lambda _: model.train_on_batch(*held), folder, repeats=20)


if __name__ == "__main__":
    main(*sys.argv[1:2])
