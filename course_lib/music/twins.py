"""Songs that are nearly the same music: a chorale printed twice, or in another key. Known by content, not by name.

They are dealt to the same part of a split, or a held-out song would be one that the network was trained on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COMMON = 40  # songs: runs of chords that so many share are idioms, such as one note repeated


def near_twins(rolls: Iterable[np.ndarray], n: int = 8, share: float = 0.25) -> list[int]:
    """A number for each song, the same for near twins and for what is linked by them.

    Two songs are near twins where a quarter of the runs of `n` chords of the shorter one also stand, in whatever key,
    in the longer one (a chord repeated counts once). In the corpus of music21 these are 14 pairs, of which 9 share more
    than half; the nearest other pair shares a fifth.

    Args:
        rolls: bool `(time, 128)` each, what sounds or what begins.
        n: chords of a run.
        share: of the runs of the shorter song, from which on songs are twins.
    """
    runs = [_runs(roll, n) for roll in rolls]
    holders: dict[tuple, list[int]] = defaultdict(list)
    for song, own in enumerate(runs):
        for run in own:
            holders[run].append(song)
    shared = Counter(pair for songs in holders.values() if len(songs) < COMMON for pair in combinations(songs, 2))
    twins = [pair for pair, count in shared.items() if count >= share * min(len(runs[song]) for song in pair)]
    first, second = np.array(twins, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(twins)), (first, second)), shape=(len(runs), len(runs)))
    return connected_components(graph, directed=False)[1].tolist()


def _runs(roll: np.ndarray, n: int) -> set[tuple]:
    """Runs of `n` chords, each as its intervals down from its top note and that note's interval from the one before."""
    sounding = roll[roll.any(axis=1)]
    if not len(sounding):
        return set()
    different = np.r_[True, (sounding[1:] != sounding[:-1]).any(axis=1)]
    chords = [np.flatnonzero(step) for step in sounding[different]]
    words = [
        (int(chord[-1] - before[-1]), *(chord[-1] - chord[:-1]).tolist())
        for before, chord in zip(chords, chords[1:], strict=False)
    ]
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}
