"""Objective measures of music, always taken of generated and of real pieces alike.

A piano roll is bool `(time, 128)`: a row for each grid step, a column for each MIDI pitch, True while a note
sounds. An onset roll has the same shape and is True only where a note begins. A beat is a quarter note.
Bars are counted from the first step; an incomplete last bar is filled up with silence. Of a silent piece
every measure is nan except `empty_bar_rate` (1) and `notes_per_step` (0); of a roll with no steps, all are.

The definitions are those of MuseGAN (Dong et al. 2018), pypianoroll and muspy where these are sound. Not
followed, because faulty: pypianoroll 1.0.4's `empty_beat_rate` (the share of beats that are *not* empty),
`qualified_note_rate` (fails on bool, and pairs the start of one pitch with the end of another),
`in_scale_rate` and `n_pitch_classes_used` (like MuseGAN's code, they add up neighbouring pitches instead of
octaves); and muspy 0.5's bars (one too many after music that ends on a bar line; and a bar counts as sounding
if a note ends as it begins).
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

Roll = NDArray[np.bool_]
nan = math.nan


def measures(
    roll: Roll, steps_per_beat: int = 4, beats_per_bar: float = 4, onsets: Roll | None = None
) -> dict[str, float]:
    """Every measure below that a single piece for one instrument has, by name.

    `beats_per_bar` is in quarter notes: 1.5 for 3/8. `onsets` tells repeated notes apart that touch; without
    it a note begins where its pitch was silent a step before, and repeated notes that touch count as one.
    A note qualifies from an eighth of a beat on, as in MuseGAN, but from 2 steps on at the least.
    Raises ValueError for rolls of another shape or type, and for a bar that is not a whole number of steps.
    """
    steps_per_bar = _steps_per_bar(steps_per_beat, beats_per_bar)
    _check(roll)
    starts = rising_edges(roll)
    if onsets is not None:
        _check(onsets)
        if onsets.shape != roll.shape or (onsets & ~roll).any():
            raise ValueError("onsets marks notes where roll is silent: give two rolls of one piece and grid")
        starts |= onsets
    return {
        "empty_bar_rate": empty_bar_rate(roll, steps_per_bar),
        "notes_per_step": notes_per_step(roll),
        "pitch_classes_per_bar": pitch_classes_per_bar(roll, steps_per_bar),
        "pitch_range": pitch_range(roll),
        "pitch_class_entropy": pitch_class_entropy(starts),
        "in_scale_rate": in_scale_rate(starts),
        "qualified_note_rate": qualified_note_rate(roll, starts, max(2, math.ceil(steps_per_beat / 8))),
        "ioi_entropy": ioi_entropy(starts),
        "groove_consistency": groove_consistency(starts, steps_per_bar),
        "commonest_pitch_share": commonest_pitch_share(starts),
        "longest_run": longest_run(starts),
        "longest_held_note": longest_held_note(roll, steps_per_beat),
    }


def rising_edges(roll: Roll) -> Roll:
    """The onset roll `(time, 128)` of a roll: True where a pitch sounds that was silent a step before."""
    edges = roll.copy()
    edges[1:] &= ~roll[:-1]
    return edges


def empty_bar_rate(roll: Roll, steps_per_bar: int) -> float:
    """Share of bars in which nothing sounds, 0 to 1 (MuseGAN's "empty bars")."""
    bars = _bars(roll, steps_per_bar)
    return float(1 - bars.any((1, 2)).mean()) if len(bars) else nan


def notes_per_step(roll: Roll) -> float:
    """Mean number of pitches that sound at a step, silent steps included (muspy's `polyphony` omits them)."""
    return float(roll.sum() / len(roll)) if len(roll) else nan


def pitch_classes_per_bar(roll: Roll, steps_per_bar: int) -> float:
    """Mean number of pitch classes, 1 to 12, in the bars that sound (MuseGAN's "used pitch classes")."""
    used = (_pitch_classes(_bars(roll, steps_per_bar).any(1)) > 0).sum(1)
    return float(used[used > 0].mean()) if used.any() else nan


def pitch_range(roll: Roll) -> float:
    """Semitones from the lowest to the highest pitch (as pypianoroll's)."""
    pitches = np.flatnonzero(roll.any(0))
    return float(pitches[-1] - pitches[0]) if len(pitches) else nan


def pitch_class_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitch classes, 0 to log2(12) = 3.58 (Wu and Yang 2020; as muspy's)."""
    return _entropy(_pitch_classes(onsets.sum(0)))


def pitch_entropy(onsets: Roll) -> float:
    """Entropy in bits of the notes' pitches, octaves apart, 0 to log2(128) = 7 (muspy's `pitch_entropy`)."""
    return _entropy(onsets.sum(0))


def in_scale_rate(onsets: Roll) -> float:
    """Share of the notes in the best major or natural minor scale of the piece (muspy's `scale_consistency`).

    Each minor scale has the pitch classes of its relative major, so 12 scales stand for all 24 keys. Notes
    drawn evenly from all pitch classes score 7 / 12 = 0.58 or more: the fewer notes, the higher by chance.
    """
    notes = _pitch_classes(onsets.sum(0))
    major = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
    best = max(notes[np.roll(major, key)].sum() for key in range(12))
    return float(best / notes.sum()) if notes.any() else nan


def qualified_note_rate(roll: Roll, onsets: Roll, min_steps: int = 2) -> float:
    """Share of notes that last at least `min_steps` steps: low in music broken into fragments.

    MuseGAN's paper asks for 3 steps at 24 a beat (its code, and pypianoroll, for 2).
    """
    lengths = _note_lengths(roll, onsets)
    return float((lengths >= min_steps).mean()) if len(lengths) else nan


def ioi_entropy(onsets: Roll) -> float:
    """Entropy in bits of the inter-onset intervals, from each step where notes begin to the next such step.

    0 is one rhythm only; nan where notes begin at fewer than two steps.
    """
    return _entropy(np.bincount(np.diff(np.flatnonzero(onsets.any(1)))))


def groove_consistency(onsets: Roll, steps_per_bar: int) -> float:
    """Mean likeness of the rhythm of neighbouring bars, 0 to 1 (Wu and Yang 2020; muspy).

    The likeness of two bars is the share of grid positions at which notes begin in both or in neither, so it
    nears 1 on a fine grid (in muspy, ticks) and in sparse music: compare on one grid only. An incomplete last
    bar is left out here; muspy counts it, and an empty one more after music that ends on a bar line, so it
    scores two identical bars below 1. nan for fewer than two complete bars.
    """
    rhythm = onsets[: len(onsets) // steps_per_bar * steps_per_bar].any(1).reshape(-1, steps_per_bar)
    return float((rhythm[1:] == rhythm[:-1]).mean()) if len(rhythm) > 1 and onsets.any() else nan


def commonest_pitch_share(onsets: Roll) -> float:
    """Share of the notes, above 0 to 1, that have the commonest pitch of the piece."""
    return float(onsets.sum(0).max() / onsets.sum()) if onsets.any() else nan


def longest_run(onsets: Roll) -> float:
    """Longest run of one note (or chord): onset steps in a row at which it begins, and nothing else does.

    Repeated notes that touch need true onsets to count here; merged into one, `longest_held_note` shows them.
    """
    played = onsets[onsets.any(1)]
    changes = (played[1:] != played[:-1]).any(1)
    return float(np.diff(np.flatnonzero(np.r_[True, changes, True])).max()) if len(played) else nan


def longest_held_note(roll: Roll, steps_per_beat: int) -> float:
    """Beats for which the longest note sounds without a break, struck again or not."""
    lengths = _note_lengths(roll, rising_edges(roll))
    return float(lengths.max() / steps_per_beat) if len(lengths) else nan


def variety(rolls: Sequence[Roll], steps_per_beat: int = 4, beats_per_bar: float = 4) -> float:
    """Mean distance between the pieces of a set, 0 (all alike, as after mode collapse) to 1.

    Each piece becomes a histogram of its sounding cells over position in the bar and pitch class, so pieces
    of any length compare; two pieces are as far apart as the total variation of their histograms. Silent
    pieces are alike, and at 1 from all others. Transposing a piece changes it, reordering its bars does not.
    Short pieces lie further apart by chance: compare sets of like length. nan for fewer than two pieces.
    """
    steps_per_bar = _steps_per_bar(steps_per_beat, beats_per_bar)
    for roll in rolls:
        _check(roll)
    return _mean_distance([_pitch_classes(_bars(roll, steps_per_bar).sum(0)) for roll in rolls])


def compare(generated: Sequence[dict[str, float]], real: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """One row for each measure, from two lists of what `measures` returned for each piece of a set.

    A row has "measure", the means "generated" and "real", their 95 % intervals "generated_low",
    "generated_high", "real_low", "real_high" (bootstrap over pieces with a fixed seed; nan for one piece),
    and "overlap", the area that both distributions share: 1 for identical sets, 0 for ranges that do not
    meet. Pieces of which a measure is nan are left out of its row. Raises ValueError for a set without
    pieces, and for pieces with different measures.
    """
    if not generated or not real or len({frozenset(piece) for piece in [*generated, *real]}) > 1:
        raise ValueError("compare needs one or more pieces on each side, all with the same measures")
    rows = []
    for name in generated[0]:
        row: dict[str, Any] = {"measure": name}
        values = []
        for side, pieces in (("generated", generated), ("real", real)):
            column = np.array([piece[name] for piece in pieces], float)
            values.append(column := column[~np.isnan(column)])
            row[side] = float(column.mean()) if len(column) else nan
            row[f"{side}_low"], row[f"{side}_high"] = _bootstrap_interval(column)
        rows.append(row | {"overlap": _overlap(*values)})
    return rows


def mean_overlap(rows: Sequence[dict[str, Any]]) -> float:
    """Mean "overlap" of the rows of `compare`, over the measures that real music has.

    A measure that the generated pieces lack, as silent ones do, counts 0. nan where real music has none.
    """
    shared = [np.nan_to_num(row["overlap"]) for row in rows if not math.isnan(row["real"])]
    return float(np.mean(shared)) if shared else nan


def changes(roll: Roll) -> list[bytes]:
    """The steps of a roll `(time, …)`, each as one word for `novelty`, repeats of the step before left out."""
    packed = np.packbits(roll.reshape(len(roll), math.prod(roll.shape[1:])), axis=1)
    new = np.r_[True, (packed[1:] != packed[:-1]).any(1)][: len(packed)]
    return [step.tobytes() for step in packed[new]]


def novelty(
    generated: Sequence[Sequence[Hashable]], training: Sequence[Sequence[Hashable]], n: int = 8
) -> dict[str, float]:
    """How much of generated note sequences also stands, note for note, in one of the training songs.

    A sequence holds note classes (strings or integers). Returns "longest_copied_run" in notes, the mean over
    sequences; "longest_copied_run_max", that of the worst sequence; and "copied_share", the mean share of a
    sequence's n-grams that stand in training (sequences shorter than n left out; nan where none is left).
    Held-out songs in place of the generated ones show how much real music shares with the training songs.
    Raises ValueError for n below 1, and for a sequence given in place of a list of sequences.
    """
    if n < 1:
        raise ValueError(f"n is {n}, but an n-gram has 1 note or more")
    if any(isinstance(song, (str, int, np.integer)) for song in [*generated, *training]):
        raise ValueError("novelty takes lists of sequences: put a single sequence into a list")
    copied = _copied_runs(generated, training)
    runs = [run.max(initial=0) for run in copied]
    shares = [(run[: len(run) - n + 1] >= n).mean() for run in copied if len(run) >= n]
    return {
        "longest_copied_run": float(np.mean(runs)) if runs else nan,
        "longest_copied_run_max": float(max(runs, default=nan)),
        "copied_share": float(np.mean(shares)) if shares else nan,
    }


def _copied_runs(
    generated: Sequence[Sequence[Hashable]], training: Sequence[Sequence[Hashable]]
) -> list[NDArray[np.int64]]:
    """For each note of each generated sequence: the longest run from it on that stands in a training song.

    Runs grow by a note at a time, and those that stand on one side only are dropped, so that time grows with
    the notes that are shared rather than with all pairs of notes.
    """
    codes: dict[Hashable, int] = {}
    songs = [[codes.setdefault(note, len(codes)) for note in song] for song in [*generated, *training]]
    # A code of its own ends each song, so that no shared run crosses the end.
    text = np.array([code for end, song in enumerate(songs, len(codes)) for code in [*song, end]], np.int64)
    stops = np.cumsum([len(song) + 1 for song in songs[: len(generated)]])
    first_trained = stops[-1] if len(stops) else 0
    runs = np.zeros(len(text), np.int64)
    alive = np.arange(len(text))  # where a run begins that stands on both sides
    grams = text.copy()  # one number for the run that begins at each of these; equal runs, equal numbers
    for length in range(len(text)):
        trained = alive >= first_trained
        stands = np.zeros((2, grams.max(initial=0) + 1), bool)  # 0: in generated sequences, 1: in training
        stands[trained.astype(int), grams] = True
        keep = (stands[0] & stands[1])[grams]
        alive, grams = alive[keep], grams[keep]
        if not len(alive):
            break
        runs[alive] = length + 1
        longer = grams * (text.max() + 1) + text[alive + length + 1]
        grams = np.unique(longer, return_inverse=True)[1]
    return [run[:-1] for run in np.split(runs, stops)[: len(generated)]]


def _check(roll: Roll) -> None:
    if roll.dtype != bool or roll.ndim != 2 or roll.shape[1] != 128:
        raise ValueError(
            f"a piano roll must be bool (time, 128), but this one is {roll.dtype} {roll.shape}:"
            " threshold probabilities and velocities first"
        )


def _steps_per_bar(steps_per_beat: int, beats_per_bar: float) -> int:
    steps = steps_per_beat * beats_per_bar
    if not steps >= 1 or steps % 1:
        raise ValueError(
            f"a bar of {beats_per_bar} beats at {steps_per_beat} steps a beat has {steps} steps:"
            " choose steps_per_beat so that it has a whole number, 1 or more"
        )
    return int(steps)


def _mean_distance(histograms: Sequence[NDArray[np.int64]]) -> float:
    """Mean total variation, 0 to 1, between histograms of one shape, each divided by its sum."""
    profiles = [np.r_[cells.ravel(), not cells.any()] / max(1, cells.sum()) for cells in histograms]  # last: silence
    return float(pdist(np.array(profiles), "cityblock").mean() / 2) if len(profiles) > 1 else nan


def _bars(roll: Roll, steps_per_bar: int) -> Roll:
    """(time, ...) -> (bars, steps_per_bar, ...)"""
    filling = np.zeros((-len(roll) % steps_per_bar, *roll.shape[1:]), bool)
    return np.concatenate([roll, filling]).reshape(-1, steps_per_bar, *roll.shape[1:])


def _pitch_classes(pitches: Any) -> NDArray[np.int64]:
    """Sums over octaves: (..., 128) -> (..., 12)"""
    octaves = np.concatenate([pitches, np.zeros_like(pitches[..., :4])], axis=-1)  # 132 = 11 octaves
    return octaves.reshape(*pitches.shape[:-1], 11, 12).sum(-2)


def _note_lengths(roll: Roll, onsets: Roll) -> NDArray[np.int64]:
    """Steps from each onset to the end of its note, or to the next onset of its pitch: (notes,), by pitch."""
    last = roll.copy()  # True at the last step of each note
    last[:-1] &= ~roll[1:] | onsets[1:]
    return np.flatnonzero(last.T) - np.flatnonzero(onsets.T) + 1


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log2(1 / shares)).sum()) if len(shares) else nan


def _bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < 2:
        return nan, nan
    draws = np.random.default_rng(0).integers(len(values), size=(1000, len(values)))
    low, high = np.percentile(values[draws].mean(1), (2.5, 97.5))
    return float(low), float(high)


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Area shared by the histograms of two samples, over bins that hold equal shares of both together.

    Such bins, as many as the square root of the smaller sample (2 or more), are proof against outliers.
    Chance keeps two samples of one distribution below 1: at about 0.8, for 20 or for 100 pieces each.
    """
    if not len(a) or not len(b):
        return nan
    if a.max() < b.min() or b.max() < a.min():
        return 0.0
    bins = max(2, round(math.sqrt(min(len(a), len(b)))))
    edges = np.quantile(np.r_[a, b], np.arange(1, bins) / bins)
    shares = [np.bincount(np.searchsorted(edges, x), minlength=bins) / len(x) for x in (a, b)]
    return float(np.minimum(*shares).sum())


# --- likelihood of held-out frames ------------------------------------------------------------------------


def frame_nll(logits: Sequence[NDArray[np.floating]], frames: Sequence[Roll]) -> float:
    """Negative log-likelihood of songs in nats a frame, each pitch of a frame an independent Bernoulli.

    `frames[i]` is a song, bool `(T, pitches)`. `logits[i]`, `(T - 1, pitches)`, predict its frames 2 to T,
    each from the frames before it: row t is of frame t + 1. Logits are what the sigmoid takes, not the
    probabilities it gives. The sum over pitches is averaged over the predicted frames of all songs together,
    so that a long song weighs more than a short one; first frames are neither predicted nor counted (of the
    4,725 test frames of JSB Chorales in 77 songs, 4,648 count): the definition in the code of Bai et al.
    (2018). nan where no song has a second frame. Raises ValueError where logits and songs do not match.
    """
    if len(logits) != len(frames):
        raise ValueError(f"frame_nll got logits of {len(logits)} songs and frames of {len(frames)}")
    nats, count = 0.0, 0
    for predicted, song in zip(logits, frames, strict=True):
        _check_prediction(predicted, song)
        # -log sigmoid(x) = log(1 + exp(-x)), which neither overflows nor rounds a sure probability to 1
        against = np.where(song[1:], np.negative(predicted), predicted).astype(float)
        nats += float(np.logaddexp(0, against).sum())
        count += len(predicted)
    return nats / count if count else nan


def marginal_nll(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """`frame_nll` of test songs where each pitch sounds as often as in training, whatever came before.

    What a model scores that learned nothing but these frequencies: JSB Chorales 11.09, Nottingham 10.26. Half
    a frame is added for sound and for silence of each pitch (Krichevsky and Trofimov 1981), so that a pitch
    never heard in training is improbable and not impossible. Raises ValueError without training songs, and
    for songs that are not bool with the same number of pitches.
    """
    if not train or any(song.dtype != bool or song.shape[1:] != train[0].shape[1:] for song in train):
        raise ValueError("marginal_nll needs training songs, each bool (T, pitches) with the same pitches")
    heard = np.concatenate(train)
    logits = np.log(heard.sum(0) + 0.5) - np.log((~heard).sum(0) + 0.5)
    return frame_nll([np.broadcast_to(logits, (max(0, len(song) - 1), len(logits))) for song in test], test)


def _check_prediction(logits: NDArray[np.floating], song: Roll) -> None:
    fine = song.dtype == bool and song.ndim == 2 and len(song) > 0
    if not fine or logits.shape != (len(song) - 1, song.shape[1]):
        raise ValueError(
            "logits must be (T - 1, pitches) and frames bool (T, pitches) with T of 1 or more,"
            f" but these are {logits.shape} and {song.dtype} {song.shape}: predict frames 2 to T"
        )


# --- likelihood of held-out tokens ------------------------------------------------------------------------


def ngram_nll(
    training: Sequence[NDArray[np.integer]], held_out: Sequence[NDArray[np.integer]], classes: int, order: int
) -> list[float]:
    """Negative log-likelihood of songs in nats a token, by n-gram models of the training songs.

    Entry n - 1 of the `order` numbers is of the n-gram model, which sees the n - 1 tokens before, or as many as
    there are at the beginning of a song. Songs are integers `(tokens,)` from 0 to `classes` - 1. As in training
    a transformer, the first token of a song is neither predicted nor counted; the mean is over all other tokens
    of all songs together. Where training has C tokens after a history h, T different ones, the model mixes
    their counts with the model of a history h' one token shorter: P(w | h) = (c(hw) + T P(w | h')) / (C + T),
    down to 1 / `classes`. This is the smoothing of Witten and Bell (1991; their method C), interpolated as in
    Chen and Goodman (1999); it leaves no token impossible. Raises ValueError for an order below 1, for no
    training tokens, for no held-out song with a second token, and for tokens out of range.
    """
    if order < 1:
        raise ValueError(f"order is {order}, but an n-gram has 1 token or more")
    if not any(map(len, training)) or max(map(len, held_out), default=0) < 2:
        raise ValueError("ngram_nll needs training songs with tokens, and a held-out song of 2 tokens or more")
    songs = [*training, *held_out]
    tokens = np.concatenate(songs)
    if tokens.min() < 0 or tokens.max() >= classes:
        raise ValueError(f"tokens are {tokens.min()} to {tokens.max()}, but must be 0 to {classes - 1}: set classes")
    places = np.concatenate([np.arange(len(song)) for song in songs])
    trained = np.arange(len(tokens)) < sum(map(len, training))
    history = np.zeros(len(tokens), np.int64)  # one number for the tokens before; equal tokens, equal numbers
    p = np.full(len(tokens), 1 / classes)
    nats = []
    for seen in range(order):
        numbers, grams = np.unique(history * classes + tokens, return_inverse=True)
        now = places >= max(1, seen)  # elsewhere the history would reach into the song before
        count = np.bincount(grams[now & trained], minlength=len(numbers))
        total = np.bincount(history[now & trained], minlength=len(tokens))[history]
        different = np.bincount(numbers[count > 0] // classes, minlength=len(tokens))[history]
        different = np.maximum(1, different)  # a history never seen leaves p as it is
        p = np.where(now, (count[grams] + different * p) / (total + different), p)
        nats.append(float(-np.log(p[~trained & (places > 0)]).mean()))
        history = np.roll(grams, 1)
    return nats
