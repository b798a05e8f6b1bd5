"""The `events` encoding: int32 `(tokens,)`, MidiTok's TSD (time shift, duration). Taught in notebook 01, used in 11.

A song is `BOS`, its events in order of time, `EOS`. A note is two tokens, its pitch and its duration
(`Pitch_60 Duration_1.0.4`: one beat and no step, at 4 steps a beat), a drum stroke one (`PitchDrum_36`).
`TimeShift` moves on in time, and a longer silence takes several. `Program` names the instrument of the notes
that follow, until the next `Program`. Notes that begin together stand in order of instrument, then pitch. One
vocabulary serves piano and band, and it is the same for any data.

Kept, on the grid: all that `frames` and its `onsets` show of each family of `band.instrument`. A pitch that is struck
while it sounds in the same family ends there and goes on with the new note, as on a keyboard. Lost: what is finer than
a step, what sounds past 16 beats of one note, the length of drum strokes, velocities, tempo, time signatures, bar
lines, silence at the end, and which of the instruments of a family played.
"""

from __future__ import annotations

from functools import cache

import miditok
import numpy as np
import symusic

from course_lib.music import band, frames

STEPS_PER_BEAT = 4
LONGEST = 16  # beats of one token; in the embedded corpus one note in 8,000 is longer
PITCHED = [program for family, program in enumerate(band.PROGRAMS) if family != band.DRUMS]
DRUMS = -1  # MidiTok's program of a drum track
# How a sequence may go on: in each state, the state after a token of a kind; other kinds may not come. (MidiTok's
# `tokens_types_graph` has no states, and wants a duration after a stroke.)
GRAMMAR = {
    "start": {"BOS": "no program"},
    "no program": {"TimeShift": "no program", "Program": "pitch", "Program_-1": "stroke"},
    "pitched": {"Pitch": "duration", "TimeShift": "pitched", "Program": "pitch", "Program_-1": "stroke", "EOS": "end"},
    "drums": {"PitchDrum": "drums", "TimeShift": "drums", "Program": "pitch", "EOS": "end"},
    "pitch": {"Pitch": "duration"},  # due after the Program of an instrument with pitches
    "duration": {"Duration": "pitched"},  # due after a pitch
    "stroke": {"PitchDrum": "drums"},  # due after the Program of the drums
    "end": {"PAD": "end"},
}
STATES = tuple(GRAMMAR)


@cache
def tokenizer() -> miditok.TSD:
    """MidiTok's TSD with the settings of this encoding; the token of a name is `tokenizer()["Pitch_60"]`."""
    return miditok.TSD(
        miditok.TokenizerConfig(
            beat_res={(0, LONGEST): STEPS_PER_BEAT},
            special_tokens=["PAD", "BOS", "EOS"],
            pitch_range=(0, 127),
            use_velocities=False,
            use_programs=True,
            program_changes=True,
            programs=[*PITCHED, DRUMS],
            use_note_duration_programs=PITCHED,
            default_note_duration=1 / STEPS_PER_BEAT,  # of drum strokes, in beats
            drums_pitch_range=(0, 127),
            use_time_signatures=False,
        )
    )


@cache
def vocabulary() -> tuple[str, ...]:
    """The name of each token, such as `"Pitch_60"`; its place is the token."""
    return tuple(name.removesuffix("_None") for name in tokenizer().vocab)


def from_score(score: symusic.Score) -> np.ndarray:
    """int32 `(tokens,)` of a score in ticks, from BOS to EOS, without grace notes; times go to the nearest step.

    Raises:
        ValueError: where no note is left.
    """
    quantized = _quantized(score)
    if not quantized.tracks:
        raise ValueError(
            "The score has nothing to tokenize, as it holds no note of an instrument of the band (piano, guitar, "
            "bass, strings, drums): leave this MIDI file out."
        )
    tokens = tokenizer().encode(quantized, no_preprocess_score=True).ids
    return np.array([tokenizer()["BOS_None"], *tokens, tokenizer()["EOS_None"]], np.int32)


def to_score(tokens: np.ndarray, tempo: float = 120) -> symusic.Score:
    """A score of up to five tracks, in the order of `band.INSTRUMENTS`, from any part of a sequence `(tokens,)`.

    Notes ahead of its first Program go to the piano; what the `GRAMMAR` does not allow may be passed over.

    Raises:
        ValueError: for a number that is no token.
    """
    tokens = np.asarray(tokens)
    unknown = tokens[(tokens < 0) | (tokens >= len(vocabulary()))]
    if len(unknown):
        raise ValueError(
            f"{unknown[0]} is not one of the {len(vocabulary())} tokens of the events encoding: "
            "decode tokens that it made, or a model with as many outputs."
        )
    score = tokenizer().decode(tokens.tolist()).resample(STEPS_PER_BEAT * frames.STEP_TICKS)
    played = {band.DRUMS if track.is_drum else band.PROGRAMS.index(track.program): track for track in score.tracks}
    columns = {family: played[family].notes.numpy() for family in sorted(played)}
    score.tracks = [band.new_track(family, c["time"], c["duration"], c["pitch"]) for family, c in columns.items()]
    score.tempos = [symusic.Tempo(0, tempo)]  # in place of MidiTok's 120
    return score


def _quantized(score: symusic.Score) -> symusic.Score:
    """What of a score is encoded: a track for each family that plays, 4 ticks a quarter note."""
    start, end, pitch, channel = band.heard_notes(score)
    first, last = frames.nearest_steps(start, end, score.ticks_per_quarter, STEPS_PER_BEAT)
    quantized = symusic.Score(STEPS_PER_BEAT)
    for family in np.unique(channel).tolist():
        own = channel == family
        begin, end, sound = _one_at_a_time(first[own], last[own], pitch[own])
        quantized.tracks.append(band.new_track(family, begin, np.minimum(end - begin, LONGEST * STEPS_PER_BEAT), sound))
    return quantized


def _one_at_a_time(first: np.ndarray, last: np.ndarray, pitch: np.ndarray) -> tuple[np.ndarray, ...]:
    """Notes cut where their pitch is struck again, the later note sounding as long as either; by pitch, then time."""
    order = np.lexsort((first, pitch))
    first, last, pitch = first[order], last[order], pitch[order]
    far = last.max(initial=0) + 1  # keeps the pitches apart under one running maximum
    last = np.maximum.accumulate(last + far * pitch) - far * pitch
    again = pitch[1:] == pitch[:-1]
    last[:-1][again] = np.minimum(last[:-1], first[1:])[again]
    kept = last > first  # of notes that begin together, all but one were cut to nothing
    return first[kept], last[kept], pitch[kept]


@cache
def grammar() -> np.ndarray:
    """int8 `(states, vocabulary)`: the state after each token, as a number of `STATES`; -1: it may not come.

    To generate, begin at `state = state_after(prompt)`, draw among the tokens with `grammar()[state] >= 0`, and
    go on from `grammar()[state, token]`.
    """
    table = np.full((len(STATES), len(vocabulary())), -1, np.int8)
    for state, following in enumerate(GRAMMAR.values()):
        for token, name in enumerate(vocabulary()):
            kind = name if name == "Program_-1" else name.split("_")[0]
            if kind in following:
                table[state, token] = STATES.index(following[kind])
    return table


def state_after(tokens: np.ndarray) -> int:
    """The state of the grammar after a sequence from BOS on.

    Raises:
        ValueError: where the sequence is ill-formed.
    """
    state = STATES.index("start")
    for place, token in enumerate(np.asarray(tokens).tolist()):
        if not 0 <= token < len(vocabulary()):
            raise ValueError(f"{token} at place {place} is no token: the vocabulary has 0 to {len(vocabulary()) - 1}.")
        before, state = state, int(grammar()[state, token])
        if state < 0:
            raise ValueError(
                f"The sequence is ill-formed: {vocabulary()[token]} stands at place {place}, where only "
                f"{', '.join(GRAMMAR[STATES[before]])} may: give a song of the events encoding, from BOS on."
            )
    return state
