"""Songs as band rolls, packed in memory or mapped from disk: any number of them. Notebook 06 loads them first."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from course_lib.music import band, chorale_band, midi, twins

CELLS = 128 * len(band.INSTRUMENTS)  # of one step of a band


@dataclass(frozen=True, eq=False)
class Bands:
    """Songs as band rolls on one grid, packed eight cells to a byte, in memory or mapped from disk.

    `bands[i]` is a song, bool `(time, 128, 5)`. Nothing of a mapped shard is read before it is asked for.
    """

    shards: Sequence[np.ndarray]  # uint8 (steps, 80) each, songs one after another
    places: np.ndarray  # int (songs, 3): of each song its shard, its first step there and its length
    names: Sequence[str]
    steps_per_beat: int
    fingerprint: str

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, song: int) -> np.ndarray:
        shard, first, steps = self.places[song]
        return self.cut(np.array([[shard, first]]), steps)[0]

    def part(self, songs: Sequence[int]) -> Bands:
        """Some of the songs, by their numbers; the packed music is shared."""
        return replace(self, places=self.places[songs], names=[self.names[song] for song in songs])

    def windows(self, length: int, hop: int) -> np.ndarray:
        """Shard and step, int `(windows, 2)`, at which windows begin: one every `hop` steps of each song.

        Raises:
            ValueError: where no song is long enough.
        """
        counts = np.maximum(0, (self.places[:, 2] - length) // hop + 1)
        if not counts.sum():
            raise ValueError(
                f"No song has {length} steps (the longest has {self.places[:, 2].max(initial=0)}): "
                "use a shorter window or longer songs."
            )
        song = np.repeat(np.arange(len(self)), counts)
        position = np.arange(len(song)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([self.places[song, 0], self.places[song, 1] + position * hop], axis=1)

    def openings(self, length: int, count: int) -> np.ndarray:
        """Bool `(count, length, 128, 5)`: songs after their first bar, used again where there are fewer songs."""
        bar = band.BEATS_PER_BAR * self.steps_per_beat
        windows = self.windows(bar + length, int(self.places[:, 2].max())) + [0, bar]
        return self.cut(windows[np.arange(count) % len(windows)], length)

    def excerpts(self, length: int, most: int = 300) -> np.ndarray:
        """Bool `(pieces, length, 128, 5)`: the songs cut without overlap; `most` of the pieces, evenly spread."""
        windows = self.windows(length, length)
        return self.cut(windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).astype(int)], length)

    def near_twins(self) -> list[int]:
        """A number for each song, the same for near twins (`twins.near_twins`); drums do not count."""
        return twins.near_twins(self[song][..., : band.DRUMS].max(axis=-1) for song in range(len(self)))

    def comparable_length(self, length: int, block: int) -> int:
        """`length` steps, or fewer whole blocks where fewer than five songs are so long; a block at least."""
        reached = int(np.sort(self.places[:, 2])[-5:][0])
        return min(length, max(block, reached // block * block))

    def cut(self, windows: np.ndarray, length: int) -> np.ndarray:
        """The music of windows: bool `(windows, length, 128, 5)`."""
        packed = np.stack([self.shards[shard][step : step + length] for shard, step in windows])
        for shard in set(windows[:, 0]):
            _let_go(self.shards[shard])
        return np.unpackbits(packed, axis=-1).view(bool).reshape(len(windows), length, 128, len(band.INSTRUMENTS))


def _let_go(shard: np.ndarray) -> None:
    """Let the system count what was read of a mapped shard as its cache, and not as memory of this process."""
    if isinstance(shard.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        shard.base.madvise(mmap.MADV_DONTNEED)


def pack(rolls: Sequence[np.ndarray], names: Sequence[str], steps_per_beat: int, fingerprint: str) -> Bands:
    """Band rolls, bool `(time, 128, 5)` each, as Bands in memory."""
    packed = [np.packbits(roll.reshape(len(roll), CELLS), axis=1) for roll in rolls]
    steps = np.array([len(roll) for roll in rolls])
    places = np.stack([np.zeros_like(steps), np.cumsum(steps) - steps, steps], axis=1)
    return Bands([np.concatenate(packed)], places, names, steps_per_beat, fingerprint)


def load(
    data: str | Path = "embedded", steps_per_beat: int = 2, only_four_four: bool = True, only_complete: bool = True
) -> Bands:
    """Band music: the chorale band (`data="embedded"`), a folder of MIDI files, or what data_scripts.lpd5 prepared.

    A line says how many songs were in another metre or lack an instrument, left out or not.

    Args:
        data: "embedded", or the path of a folder.
        steps_per_beat: the grid; prepared data have one already.
        only_four_four: leave out songs with other bars, such as 3/4; else every measure by the bar counts four beats.
        only_complete: leave out songs in which one of the five instruments never sounds.

    Raises:
        ValueError: where no song is left, and where prepared data stand on another grid.
    """
    prepared = Path(data).expanduser()
    if (prepared / "bands.json").is_file():
        return _mapped(prepared, steps_per_beat, only_complete)
    pieces = chorale_band.load() if str(data) == "embedded" else midi.folder(data)
    rolls = [band.from_score(piece.score, steps_per_beat) for piece in pieces]
    other_bars = np.array([not band.in_four_four(piece.score) for piece in pieces])
    silent = ~np.array([roll.any(axis=(0, 1)) for roll in rolls])  # (songs, instruments)
    kept = ~(other_bars & only_four_four | silent.any(axis=1) & only_complete)
    lacking = ", ".join(
        f"{name} in {count}" for name, count in zip(band.INSTRUMENTS, silent.sum(axis=0), strict=True) if count
    )
    told = f"{kept.sum()} of {len(pieces)} songs kept. Not in 4/4: {other_bars.sum()}"
    told += f" ({'left out' if only_four_four else 'kept'}). An instrument is silent: {silent.any(axis=1).sum()}"
    told += f" ({'left out' if only_complete else 'kept'}{'; ' + lacking if lacking else ''})."
    if not kept.any():
        raise ValueError(f"No song of {data} can be used: {told} Set only_four_four or only_complete to False.")
    print(told)
    pieces, rolls = list(compress(pieces, kept)), list(compress(rolls, kept))
    return pack(rolls, [piece.name for piece in pieces], steps_per_beat, midi.fingerprint(pieces))


def _mapped(folder: Path, steps_per_beat: int, only_complete: bool) -> Bands:
    """Shards that data_scripts.lpd5 wrote, mapped from disk."""
    try:
        index = json.loads((folder / "bands.json").read_text())
        shards = [np.load(folder / name, mmap_mode="r") for name in index["shards"]]
        songs = [
            (number, song)
            for number, name in enumerate(index["shards"])
            for song in json.loads((folder / name).with_suffix(".json").read_text())["songs"]
        ]
        made_for = index["steps_per_beat"]
        kept = [(shard, song) for shard, song in songs if len(song["instruments"]) == len(band.INSTRUMENTS)]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} holds no whole set of bands ({error}): prepare it again.") from error
    if made_for != steps_per_beat:
        raise ValueError(
            f"{folder} has {made_for} steps a beat, and {steps_per_beat} are needed: prepare the "
            f"data with --steps {steps_per_beat}."
        )
    print(f"{len(kept)} of {len(songs)} songs have all five instruments{' and are kept' if only_complete else ''}.")
    kept = kept if only_complete else songs
    if not kept:
        raise ValueError(f"No song of {folder} has all five instruments: set only_complete to False.")
    places = np.array([(shard, song["first"], song["steps"]) for shard, song in kept])
    return Bands(shards, places, [song["name"] for _, song in kept], steps_per_beat, index["fingerprint"])
