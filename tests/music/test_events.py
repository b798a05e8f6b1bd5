"""MidiTok's tokens and back, on any notes and on real files; the grammar, transposition and the vocabulary."""

import re
import zipfile

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from lessons import definitions
from miditok.data_augmentation.data_augmentation import augment_score

from course_lib import music
from course_lib.music import events

NUMBER = {name: token for token, name in enumerate(events.vocabulary())}


@pytest.fixture(scope="module")
def bands():
    return music.chorale_band.load()


def score_of(*tracks, ticks_per_quarter=480):
    """A score from (program, is_drum, [(start, length, pitch) in ticks])."""
    score = symusic.Score(ticks_per_quarter)
    for program, is_drum, notes in tracks:
        track = symusic.Track(program=program, is_drum=is_drum)
        for start, length, pitch in notes:
            track.notes.append(symusic.Note(start, length, pitch, 80))
        score.tracks.append(track)
    return score


def names(tokens):
    return [events.vocabulary()[token] for token in tokens]


def rows(score, per_quarter):
    """Every note as (family, start, length, pitch), in parts of a quarter note."""
    scale = score.ticks_per_quarter // per_quarter
    assert all(note.time % scale == note.duration % scale == 0 for track in score.tracks for note in track.notes)
    return sorted(
        (music.band.instrument(track), note.time // scale, note.duration // scale, note.pitch)
        for track in score.tracks
        for note in track.notes
    )


def kept(score):
    """What the docstring says that the encoding keeps, by plain loops over the steps: rows in steps."""
    sounding, struck = set(), set()
    for track in score.tracks:
        family = music.band.instrument(track)
        for note in track.notes:
            first, last = ((8 * time + score.ticks_per_quarter) // (2 * score.ticks_per_quarter)
                           for time in (note.time, note.time + note.duration))  # fmt: skip
            if family is not None and (note.duration or family == music.band.DRUMS):
                end = first + 1 if family == music.band.DRUMS else max(first + 1, last)
                sounding |= {(family, step, note.pitch) for step in range(first, end)}
                struck.add((family, first, note.pitch))
    held, result = sounding - struck, []
    for family, first, pitch in struck:
        last = first + 1
        while (family, last, pitch) in held and last < first + 64:
            last += 1
        result.append((family, first, last - first, pitch))
    return sorted(result)


# ---------------------------------------------------------------- encoding


def test_a_band_worked_out_by_hand():
    piano = [(0, 480, 64), (0, 240, 60), (0, 960, 60), (70, 0, 72), (480, 1, 67)]
    guitar, flute, kit = [(0, 480, 52)], [(0, 480 * 17, 72)], [(0, 7, 36), (59, 500, 36), (240, 0, 42)]
    score = score_of((0, False, piano), (0, True, kit), (73, False, flute), (25, False, guitar))
    assert names(events.from_score(score)) == [
        "BOS",
        "Program_0", "Pitch_60", "Duration_2.0.4", "Pitch_64", "Duration_1.0.4",
        "Program_24", "Pitch_52", "Duration_1.0.4",
        "Program_48", "Pitch_72", "Duration_16.0.4",
        "Program_-1", "PitchDrum_36", "TimeShift_0.2.4", "PitchDrum_42", "TimeShift_0.2.4",
        "Program_0", "Pitch_67", "Duration_0.1.4",
        "EOS",
    ]  # fmt: skip


def test_long_silence_takes_several_time_shifts_and_survives():
    score = score_of((0, False, [(480 * 40 + 120, 480, 60)]))
    tokens = events.from_score(score)
    assert names(tokens)[1:4] == ["TimeShift_16.0.4", "TimeShift_16.0.4", "TimeShift_8.1.4"]
    assert rows(events.to_score(tokens), 4) == [(0, 161, 4, 60)]


def test_times_of_a_fine_clock_do_not_overflow():
    score = score_of((0, False, [(300_000_000, 10080, 60)]), ticks_per_quarter=10080)
    assert rows(events.to_score(events.from_score(score)), 4) == [(0, 119_048, 4, 60)]


notes = st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 12_000), st.integers(0, 127)), max_size=12)
tracks = st.lists(st.tuples(st.sampled_from([0, 5, 25, 33, 40, 73, 97, 115]), st.booleans(), notes), max_size=6)


@given(tracks, st.sampled_from([96, 220, 480]))
def test_any_music_comes_back_as_it_is_on_the_grid(tracks, ticks_per_quarter):
    score = score_of(*tracks, ticks_per_quarter=ticks_per_quarter)
    expected = kept(score)
    if not expected:
        with pytest.raises(ValueError, match="nothing to tokenize"):
            events.from_score(score)
        return
    tokens = events.from_score(score)
    again = events.to_score(tokens, tempo=90)
    assert rows(symusic.Score.from_midi(again.dumps_midi()), 4) == expected
    assert tokens.dtype == np.int32
    assert rows(again, 4) == expected
    assert np.array_equal(events.from_score(again), tokens)
    assert again.tempos[0].qpm == pytest.approx(90)
    assert events.STATES[events.state_after(tokens)] == "end"


def survives(score):
    """Encodes, decodes, writes and reads a score, and gives its number of tokens."""
    tokens = events.from_score(score)
    again = symusic.Score.from_midi(events.to_score(tokens).dumps_midi())
    assert rows(again, 4) == kept(score)
    events.state_after(tokens)  # raises where a sequence is ill-formed
    return len(tokens)


def test_embedded_pieces_survive():
    pieces = music.corpus.embedded()[::15]
    counts = [survives(piece.score) for piece in pieces]
    print(f"{len(pieces)} pieces, {sum(counts)} tokens")
    assert len(pieces) > 25


def test_chorale_bands_survive(bands):
    for piece in bands[::40]:
        assert survives(piece.score) > 500
        assert [track.name for track in events.to_score(events.from_score(piece.score)).tracks] == list(
            music.band.INSTRUMENTS
        )


@pytest.mark.parametrize("archive", ["asap_scores.zip", "band_midi_children_songs.zip"])
def test_midi_files_survive(downloaded, tmp_path, archive):
    with zipfile.ZipFile(downloaded / archive) as opened:
        opened.extractall(tmp_path)
    files = sorted(music.midi.midi_files(tmp_path))[::7][:15]
    for file in files:
        survives(music.midi.read(file))
    assert len(files) >= 5


def test_frames_and_onsets_stay_as_they_are():
    score = music.corpus.embedded()[0].score
    again = events.to_score(events.from_score(score))
    assert np.array_equal(music.frames.onsets(again), music.frames.onsets(score))
    assert np.array_equal(music.frames.from_score(again), music.frames.from_score(score))


@pytest.mark.parametrize("token", [-1, 392, 10_000])
def test_a_number_that_is_no_token_is_named(token):
    with pytest.raises(ValueError, match=rf"^{token} is not one of the 392 tokens"):
        events.to_score(np.array([1, token]))


# ---------------------------------------------------------------- grammar


def walk(rng, length, masked=True):
    """A random sequence from BOS; a kind of token is drawn first, so that all kinds are met."""
    tokens, state = [NUMBER["BOS"]], events.state_after([NUMBER["BOS"]])
    kinds = np.array([name.split("_")[0] for name in events.vocabulary()])
    while len(tokens) < length:
        allowed = events.grammar()[state] >= 0 if masked else np.ones(len(kinds), bool)
        allowed[[NUMBER["EOS"], NUMBER["PAD"], NUMBER["BOS"]]] = False
        kind = rng.choice(np.unique(kinds[allowed]))
        tokens.append(int(rng.choice(np.flatnonzero(allowed & (kinds == kind)))))
        state = events.grammar()[state, tokens[-1]] if masked else state
    return tokens


def strays(tokens):
    """What does not become the note that its tokens say: pitches that are lost, or turn into another instrument's."""
    score = events.to_score(tokens)
    wanted = [name.split("_") for name in names(tokens) if name.startswith("Pitch")]
    drums = [note.pitch for track in score.tracks if track.is_drum for note in track.notes]
    others = [note.pitch for track in score.tracks if not track.is_drum for note in track.notes]
    missing = 0
    for kind, found in (("PitchDrum", drums), ("Pitch", others)):
        said = [int(pitch) for name, pitch in wanted if name == kind]
        missing += sum(max(0, said.count(pitch) - found.count(pitch)) for pitch in set(said))
    return missing


def type_errors(tokens):
    """MidiTok's own count of errors, its graph put right for strokes, which take no duration here."""
    tokenizer = events.miditok.TSD(events.tokenizer().config)
    graph = tokenizer.tokens_types_graph
    graph["PitchDrum"] = {"PitchDrum", "Program", "TimeShift", "EOS"}
    return tokenizer.tokens_errors(list(tokens)) * len(tokens)


def test_a_walk_in_the_grammar_has_no_errors_and_loses_nothing_and_one_outside_does():
    rng = np.random.default_rng(0)
    for _ in range(10):
        tokens = walk(rng, 300)
        if events.STATES[events.state_after(tokens)] == "duration":
            tokens = tokens[:-1]
        assert strays(tokens) == 0
        assert type_errors(tokens[1:]) == 0  # MidiTok's graph does not know BOS_None by its name
        assert {"Pitch", "PitchDrum", "TimeShift", "Program"} <= {name.split("_")[0] for name in names(tokens)}
        outside = walk(rng, 300, masked=False)
        assert strays(outside) > 10
        assert type_errors(outside[1:]) > 10
        with pytest.raises(ValueError, match="ill-formed"):
            events.state_after(outside)


def test_every_state_leads_to_the_end_of_the_song():
    table, end = events.grammar(), events.STATES.index("end")
    reached = {end}
    for _ in events.STATES:
        reached |= {state for state in range(len(table)) if reached & set(table[state].tolist())}
    assert reached == set(range(len(events.STATES)))
    assert table.shape == (8, 392)
    assert (table >= 0).any(axis=1).all()


def test_a_real_song_ends_only_where_it_ends(bands):
    tokens = events.from_score(bands[0].score)
    states = [int(events.state_after(tokens[: length + 1])) for length in range(0, len(tokens), 50)]
    assert events.STATES.index("end") not in states[:-1]
    with pytest.raises(ValueError, match=re.escape(f"BOS stands at place {len(tokens)}, where only PAD may")):
        events.state_after([*tokens, NUMBER["BOS"]])


@pytest.mark.parametrize(
    ("sequence", "wrong"),
    [
        ("Pitch_60", "Pitch_60 stands at place 0"),
        ("BOS Pitch_60", "Pitch_60 stands at place 1"),
        ("BOS Program_0 PitchDrum_36", "PitchDrum_36 stands at place 2"),
        ("BOS Program_-1 Pitch_60", "Pitch_60 stands at place 2"),
        ("BOS Program_-1 PitchDrum_36 Duration_1.0.4", "Duration_1.0.4 stands at place 3"),
        ("BOS Program_-1 PitchDrum_36 TimeShift_1.0.4 Pitch_60", "Pitch_60 stands at place 4"),
        ("BOS Program_0 Pitch_60 Duration_1.0.4 TimeShift_1.0.4 PitchDrum_36", "PitchDrum_36 stands at place 5"),
        ("BOS Program_0 Pitch_60 TimeShift_1.0.4", "TimeShift_1.0.4 stands at place 3"),
        ("BOS Program_0 Pitch_60 EOS", "EOS stands at place 3"),
    ],
)
def test_ill_formed_sequences_are_told_where(sequence, wrong):
    with pytest.raises(ValueError, match=re.escape(wrong)):
        events.state_after([NUMBER[name] for name in sequence.split()])


# ---------------------------------------------------------------- transposition, vocabulary


transpose = definitions("11", "transpose")["transpose"]


@pytest.mark.parametrize("semitones", [-12, -1, 0, 5, 12])
def test_transposed_tokens_are_the_tokens_of_transposed_music(bands, semitones):
    score = bands[0].score
    moved = score.copy()
    for track in moved.tracks:
        if not track.is_drum:
            track.shift_pitch(semitones, inplace=True)
    tokens = transpose(events.from_score(score), semitones)
    assert tokens.dtype == np.int32
    assert np.array_equal(tokens, events.from_score(moved))
    assert np.array_equal(tokens, events.from_score(augment_score(score, semitones))), "as by MidiTok"


def test_transposition_past_the_last_pitch_gives_the_song_as_it_was():
    tokens = np.array([NUMBER[name] for name in ("Pitch_120", "Duration_1.0.4", "PitchDrum_127", "Pitch_3")], np.int32)
    assert names(transpose(tokens, 7)) == ["Pitch_127", "Duration_1.0.4", "PitchDrum_127", "Pitch_10"]
    for semitones in (8, -4, 100):
        assert transpose(tokens, semitones).tolist() == tokens.tolist()
    assert transpose(tokens[1:3], 100).tolist() == tokens[1:3].tolist()


def test_vocabulary_is_the_one_that_models_were_saved_with():
    kinds = [name.split("_")[0] for name in events.vocabulary()]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    assert counts == {
        "PAD": 1, "BOS": 1, "EOS": 1, "Pitch": 128, "Duration": 64, "TimeShift": 64, "PitchDrum": 128, "Program": 5
    }  # fmt: skip
    assert names(range(4)) == ["PAD", "BOS", "EOS", "Pitch_0"]
    assert names(range(387, 392)) == ["Program_0", "Program_32", "Program_48", "Program_24", "Program_-1"]


@pytest.mark.parametrize("token", [-1, len(events.vocabulary())])
def test_numbers_that_are_no_token_are_refused(token):
    with pytest.raises(ValueError, match=f"{token} at place 1 is no token"):
        events.state_after([events.tokenizer()["BOS_None"], token])
