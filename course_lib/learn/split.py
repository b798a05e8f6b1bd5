"""From encoded songs to training data: splits by song, vocabularies, windows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

Song = TypeVar("Song")


def split_songs(
    songs: Sequence[Song], parts: Sequence[int] = (10, 3, 3), seed: int = 0, groups: Sequence[Hashable] | None = None
) -> list[list[Song]]:
    """Whole songs dealt at random into parts of the given proportions, each with at least one song.

    As many songs as `sum(parts)` give exactly those counts. No song stands in two parts, so a held-out song shares no
    bar with the training songs.

    Args:
        songs: names, numbers or the songs themselves.
        parts: such as training, validation and test.
        seed: deals differently.
        groups: one entry a song; songs with equal entries come into the same part, as near twins
            (`music.twins.near_twins`) and movements of one work should. Counts then fit as nearly as groups allow.

    Raises:
        ValueError: fewer songs, or groups of songs, than parts.
    """
    together: dict[Hashable, list[Song]] = {}
    for song, group in zip(songs, range(len(songs)) if groups is None else groups, strict=True):
        together.setdefault(group, []).append(song)
    if len(together) < len(parts):
        raise ValueError(
            f"A split by song into {len(parts)} parts needs at least {len(parts)} songs, and there are "
            f"{len(together)}{' groups of them' if len(together) < len(songs) else ''}: add songs to the data."
        )
    ideal = np.array(parts) / sum(parts) * len(songs)
    counts = np.maximum(1, np.floor(ideal).astype(int))
    while counts.sum() < len(songs):
        counts[np.argmax(ideal - counts)] += 1
    while counts.sum() > len(songs):
        counts[np.argmax(counts)] -= 1
    dealt: list[list[Song]] = [[]]
    order = np.random.default_rng(seed).permutation(len(together))
    lists = list(together.values())
    for left, number in zip(range(len(order), 0, -1), order, strict=True):
        full = len(dealt[-1]) >= counts[len(dealt) - 1] or left <= len(parts) - len(dealt)
        if dealt[-1] and full and len(dealt) < len(parts):
            dealt.append([])
        dealt[-1] += lists[number]
    return dealt


class Vocabulary:
    """The classes of some songs in sorted order; a class's integer is its place in `classes`."""

    def __init__(self, songs: Sequence[Sequence[str]]):
        self.classes = sorted({name for song in songs for name in song})
        self._index = {name: index for index, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.classes)

    def encode(self, song: Sequence[str]) -> np.ndarray:
        """int32 `(notes,)`.

        Raises:
            ValueError: a class that the vocabulary lacks.
        """
        try:
            return np.array([self._index[name] for name in song], dtype="int32")
        except KeyError as error:
            raise ValueError(f"The vocabulary of {len(self)} classes has no class {error}.") from None

    def decode(self, integers: Sequence[int]) -> list[str]:
        """The class names of a sequence of integers."""
        return [self.classes[index] for index in integers]


def all_windows(songs: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every window of each song and the note after it; none crosses from one song into the next.

    A song `(notes,)` gives inputs `(notes - length, length)` and targets `(notes - length,)`, so neighbours overlap in
    all but one note; one that is no longer than a window gives none.

    Raises:
        ValueError: every song is too short.
    """
    long_enough = [song for song in songs if len(song) > length]
    if not long_enough:
        longest = max((len(song) for song in songs), default=0)
        raise ValueError(
            f"No song is longer than a window of {length} notes (the longest has {longest}): "
            "use a shorter window or longer songs."
        )
    inputs = [np.lib.stride_tricks.sliding_window_view(song[:-1], length) for song in long_enough]
    return np.concatenate(inputs), np.concatenate([song[length:] for song in long_enough])
