"""From encoded songs to training data: splits by song, vocabularies, windows, bands of any number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from course_lib import arrange, encode, sources

Song = TypeVar("Song")


def split_songs(songs: Sequence[Song], parts: Sequence[int] = (10, 3, 3), seed: int = 0) -> list[list[Song]]:
    """Whole songs dealt at random into parts of the given proportions, each with at least one song.

    As many songs as ``sum(parts)`` give exactly those counts. No song stands in two parts, so a held-out song
    shares no bar with the training songs. Raises ValueError for fewer songs than parts.
    """
    if len(songs) < len(parts):
        raise ValueError(
            f"A split by song into {len(parts)} parts needs at least {len(parts)} songs, and there are "
            f"{len(songs)}: add songs to the data."
        )
    order = np.random.default_rng(seed).permutation(len(songs))
    ideal = np.array(parts) / sum(parts) * len(songs)
    counts = np.maximum(1, np.floor(ideal).astype(int))
    while counts.sum() < len(songs):
        counts[np.argmax(ideal - counts)] += 1
    while counts.sum() > len(songs):
        counts[np.argmax(counts)] -= 1
    edges = np.cumsum([0, *counts])
    return [[songs[i] for i in order[start:end]] for start, end in zip(edges, edges[1:], strict=False)]


class Vocabulary:
    """The classes of some songs in sorted order; a class's integer is its place in ``classes``."""

    def __init__(self, songs: Sequence[Sequence[str]]):
        self.classes = sorted({name for song in songs for name in song})
        self._index = {name: index for index, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.classes)

    def encode(self, song: Sequence[str]) -> np.ndarray:
        """int32 ``(notes,)``. Raises ValueError for a class that the vocabulary lacks."""
        try:
            return np.array([self._index[name] for name in song], dtype="int32")
        except KeyError as error:
            raise ValueError(f"The vocabulary of {len(self)} classes has no class {error}.") from None

    def decode(self, integers: Sequence[int]) -> list[str]:
        """The class names of a sequence of integers."""
        return [self.classes[index] for index in integers]


def windows(song: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every window of one song and the note after it.

    ``(notes,)`` gives inputs ``(notes - length, length)`` and targets ``(notes - length,)``; neighbours
    overlap in all but one note. A song no longer than a window gives none.
    """
    if len(song) <= length:
        return np.empty((0, length), song.dtype), np.empty(0, song.dtype)
    return np.lib.stride_tricks.sliding_window_view(song[:-1], length), song[length:]


def all_windows(songs: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows of several songs one after another; none crosses from one song into the next.

    Raises ValueError when every song is shorter than a window.
    """
    pairs = [windows(song, length) for song in songs]
    if not any(len(targets) for _, targets in pairs):
        longest = max((len(song) for song in songs), default=0)
        raise ValueError(
            f"No song is longer than a window of {length} notes (the longest has {longest}): "
            "use a shorter window or longer songs."
        )
    inputs, targets = zip(*pairs, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


def padded(songs: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Songs as equal pieces in which every frame is predicted from those before it.

    Bool songs ``(frames, pitches)`` are cut into pieces of at most ``length`` predictions, none of which crosses
    two songs. Gives float32 inputs ``(pieces, length, pitches)`` and targets one frame later; targets past the
    end of a song are -1, for :func:`course_lib.train.frame_loss` to leave out. Raises ValueError where no song
    has two frames.
    """
    pieces = [song[i : i + length + 1] for song in songs for i in range(0, len(song) - 1, length)]
    if not pieces:
        raise ValueError("No song has two frames, so there is nothing to predict: use longer songs.")
    inputs = np.zeros((len(pieces), length, pieces[0].shape[1]), "float32")
    targets = np.full_like(inputs, -1)
    for row, piece in enumerate(pieces):
        inputs[row, : len(piece) - 1] = piece[:-1]
        targets[row, : len(piece) - 1] = piece[1:]
    return inputs, targets


def continuing_rows(
    songs: Sequence[np.ndarray], rows: int, segment: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Songs laid out in rows, cut into segments in which each row goes on where its last segment ended.

    Songs of tokens ``(tokens,)`` are dealt in random order, the longest to the emptiest row first. Each begins with
    a segment of its own. Gives inputs int32 ``(segments, rows, segment)``, the next token of each as targets (-1
    where there is none), and bool ``(segments, rows)``, true where a song begins or a row is out of songs.
    Raises ValueError where no song has two tokens.
    """
    lengths = [-(-(len(song) - 1) // segment) for song in songs]  # in segments
    if max(lengths, default=0) < 1:
        raise ValueError("No song has two tokens, so there is nothing to predict: use longer songs.")
    order = rng.permutation(len(songs))
    dealt: list[list[int]] = [[] for _ in range(rows)]
    filled = np.zeros(rows, int)
    for song in sorted(order, key=lambda song: -lengths[song]):
        dealt[filled.argmin()].append(song)
        filled[filled.argmin()] += lengths[song]
    inputs = np.zeros((filled.max(), rows, segment), "int32")
    targets = np.full_like(inputs, -1)
    begins = np.ones(inputs.shape[:2], bool)
    for row, its_songs in enumerate(dealt):
        first = 0
        for song in rng.permutation(its_songs):
            for place in range(0, len(songs[song]) - 1, segment):
                piece = songs[song][place : place + segment + 1]
                inputs[first, row, : len(piece) - 1] = piece[:-1]
                targets[first, row, : len(piece) - 1] = piece[1:]
                begins[first, row] = place == 0
                first += 1
    return inputs, targets, begins


# ---------------------------------------------------------------- bands

CELLS = 128 * len(encode.INSTRUMENTS)  # of one step of a band


class Bands:
    """Songs as band rolls on one grid, packed eight cells to a byte, in memory or mapped from disk.

    ``bands[i]`` is a song, bool ``(time, 128, 5)``. ``shards`` are arrays uint8 ``(steps, 80)``, and ``places``
    gives for each song its shard, its first step there and its length: int ``(songs, 3)``. Nothing of a mapped
    shard is read before it is asked for.
    """

    def __init__(
        self,
        shards: Sequence[np.ndarray],
        places: np.ndarray,
        names: Sequence[str],
        steps_per_beat: int,
        fingerprint: str,
    ):
        self.shards, self.places, self.names = shards, places, names
        self.steps_per_beat, self.fingerprint = steps_per_beat, fingerprint

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, song: int) -> np.ndarray:
        shard, first, steps = self.places[song]
        return _unpacked(self.shards[shard][first : first + steps])

    def part(self, songs: Sequence[int]) -> Bands:
        """Some of the songs, by their numbers; the packed music is shared."""
        names = [self.names[song] for song in songs]
        return Bands(self.shards, self.places[songs], names, self.steps_per_beat, self.fingerprint)

    def windows(self, length: int, hop: int) -> np.ndarray:
        """Where the windows of ``length`` steps begin, one every ``hop`` steps of each song.

        int ``(windows, 2)``: shard and step. No window crosses two songs. Raises ValueError where none fits.
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
        """The first steps of songs after their first bar, which may hold no more than an upbeat.

        Bool ``(count, length, 128, 5)``; songs are used again where there are fewer.
        """
        bar = encode.BEATS_PER_BAR * self.steps_per_beat
        windows = self.windows(bar + length, int(self.places[:, 2].max())) + [0, bar]
        return self.cut(windows[np.arange(count) % len(windows)], length)

    def excerpts(self, length: int, most: int = 300) -> np.ndarray:
        """Pieces of the songs, none overlapping another; ``most`` of them, evenly spread, where there are more.

        Bool ``(pieces, length, 128, 5)``; ends of songs that do not fill a piece are left out.
        """
        windows = self.windows(length, length)
        return self.cut(windows[np.linspace(0, len(windows) - 1, min(most, len(windows))).astype(int)], length)

    def comparable_length(self, length: int, block: int, songs: int = 5) -> int:
        """``length`` steps, or fewer whole blocks where fewer than ``songs`` songs are so long; a block at least."""
        reached = int(np.sort(self.places[:, 2])[-songs:][0])
        return min(length, max(block, reached // block * block))

    def cut(self, windows: np.ndarray, length: int) -> np.ndarray:
        """The music of windows: bool ``(windows, length, 128, 5)``."""
        return _unpacked(np.stack([self.shards[shard][step : step + length] for shard, step in windows]))


def pack(rolls: Sequence[np.ndarray], names: Sequence[str], steps_per_beat: int, fingerprint: str) -> Bands:
    """Band rolls, bool ``(time, 128, 5)`` each, as Bands in memory."""
    packed = [np.packbits(roll.reshape(len(roll), CELLS), axis=1) for roll in rolls]
    steps = np.array([len(roll) for roll in rolls])
    places = np.stack([np.zeros_like(steps), np.cumsum(steps) - steps, steps], axis=1)
    return Bands([np.concatenate(packed)], places, names, steps_per_beat, fingerprint)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """uint8 (…, 80) to bool (…, 128, 5)"""
    cells = np.unpackbits(packed, axis=-1).view(bool)
    return cells.reshape(*packed.shape[:-1], 128, len(encode.INSTRUMENTS))


def load_bands(
    data: str | Path = "embedded", steps_per_beat: int = 2, only_four_four: bool = True, only_complete: bool = True
) -> Bands:
    """Band music: the chorale band (``data="embedded"``), a folder of MIDI, or what data_scripts.lpd5 prepared.

    With ``only_four_four``, songs with other bars are left out, with ``only_complete`` those in which one of the
    five instruments never sounds; a line says how many there were of each, left out or not. Raises ValueError
    where no song is left, and where prepared data stand on another grid.
    """
    prepared = Path(data).expanduser()
    if (prepared / "bands.json").is_file():
        return _mapped(prepared, steps_per_beat, only_complete)
    pieces = arrange.chorale_band() if str(data) == "embedded" else sources.folder(data)
    rolls = [encode.band(piece.score, steps_per_beat) for piece in pieces]
    other_bars = np.array([not encode.in_four_four(piece.score) for piece in pieces])
    silent = ~np.array([roll.any(axis=(0, 1)) for roll in rolls])  # (songs, instruments)
    kept = ~(other_bars & only_four_four | silent.any(axis=1) & only_complete)
    lacking = ", ".join(
        f"{name} in {count}" for name, count in zip(encode.INSTRUMENTS, silent.sum(axis=0), strict=True) if count
    )
    told = f"{kept.sum()} of {len(pieces)} songs kept. Not in 4/4: {other_bars.sum()}"
    told += f" ({'left out' if only_four_four else 'kept'}). An instrument is silent: {silent.any(axis=1).sum()}"
    told += f" ({'left out' if only_complete else 'kept'}{'; ' + lacking if lacking else ''})."
    if not kept.any():
        raise ValueError(f"No song of {data} can be used: {told} Set only_four_four or only_complete to False.")
    print(told)
    chosen = np.flatnonzero(kept)
    names, fingerprint = [pieces[i].name for i in chosen], sources.fingerprint([pieces[i] for i in chosen])
    return pack([rolls[i] for i in chosen], names, steps_per_beat, fingerprint)


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
        kept = [(shard, song) for shard, song in songs if len(song["instruments"]) == len(encode.INSTRUMENTS)]
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
