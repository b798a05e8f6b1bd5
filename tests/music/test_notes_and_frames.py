"""The fast encodings against music21 and against rules written out by hand, and every encoding back again."""

import re
import subprocess
import sys
import zipfile
from difflib import SequenceMatcher
from fractions import Fraction

import music21
import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import definitions

from course_lib import music

notes_from_music21 = definitions("01", "notes_from_music21")["notes_from_music21"]
music21_stream = definitions("02", "music21_stream")["music21_stream"]


def score_of(*tracks, ticks_per_quarter=480, drums=()):
    """A score from lists of (start, length, pitch) in quarter notes; ``drums`` numbers the drum tracks."""
    score = symusic.Score(ticks_per_quarter)
    for number, notes in enumerate(tracks):
        track = symusic.Track(is_drum=number in drums)
        for start, length, pitch in notes:
            ticks = round(start * ticks_per_quarter), round(length * ticks_per_quarter)
            track.notes.append(symusic.Note(*ticks, pitch, 80))
        score.tracks.append(track)
    return score


def rows(score):
    """Every note as (start, length, pitch) in ticks, sorted."""
    return sorted((n.time, n.duration, n.pitch) for track in score.tracks for n in track.notes)


# ---------------------------------------------------------------- notes: examples by hand


def test_notes_of_two_bars_worked_out_by_hand():
    right = [(0, 1, 64), (1, 0.5, 61), (1.5, 0.5, 72), (2, 2, 67), (4, 0, 60), (4, 4, 72)]
    left = [(0, 2, 60), (0, 4, 67), (1.5, 0.5, 60), (2, 1.5, 67), (2, 3, 63)]
    kit = [(0, 1, 36), (0.5, 1, 36), (3, 1, 36)]
    score = score_of(right, left, kit, drums=[2])
    assert music.notes.from_score(score) == ["0.4.7_quarter", "C#4_eighth", "0_eighth", "3.7_quarter", "C5_whole"]
    assert music.notes.from_score(score, durations=False) == ["0.4.7", "C#4", "0", "3.7", "C5"]


def test_times_go_to_the_nearest_eighth_or_sixth_of_a_quarter_note_halfway_up():
    parts = np.array([0, 1.4, 1.5, 3.4, 3.5, 4.9, 5, 7, 10, 10.5, 13.5, 22.4, 22.5, 23.9, 24, 241.5])
    expected = [0, 0, 3, 3, 4, 4, 6, 8, 9, 12, 15, 21, 24, 24, 24, 243]
    assert music.notes.quantize(parts).tolist() == expected


@given(st.integers(0, 10**6), st.sampled_from([24, 96, 220, 480, 1000, 10080]))
def test_no_grid_point_is_nearer(ticks, ticks_per_quarter):
    time = Fraction(ticks, ticks_per_quarter)
    chosen = Fraction(int(music.notes.quantize(np.array([ticks * 24 / ticks_per_quarter]))[0]), 24)
    grid = [Fraction(round(time * divisor) + offset, divisor) for divisor in (8, 6) for offset in (-1, 0, 1)]
    assert chosen in grid
    assert abs(chosen - time) == min(abs(point - time) for point in grid)


def test_durations_stay_between_an_eighth_of_a_quarter_note_and_64_quarter_notes():
    score = score_of([(0, 0.01, 60), (1, 100, 60), (200, 63.97, 60)])
    assert music.notes.from_score(score) == ["C4_32nd", "C4_duplex-maxima", "C4_duplex-maxima"]


def test_nothing_to_encode_gives_no_classes():
    drums, grace = score_of([(0, 1, 36)], drums=[0]), score_of([(0, 0, 60)])
    for score in (symusic.Score(480), score_of([]), drums, grace):
        assert music.notes.from_score(score) == []
        assert music.notes.to_score([]).note_num() == 0
        assert music.frames.from_score(score).shape == music.frames.onsets(score).shape == (0, 128)
    assert notes_from_music21(music21.stream.Score([music21.stream.Part()])) == []


# ---------------------------------------------------------------- notes: our rules against music21's


def test_normal_order_is_music21s_for_every_set_of_pitch_classes():
    names = music.notes.PITCH_CLASS_NAMES
    for bits in range(1, 2**12):
        pitch_classes = [pc for pc in range(12) if bits >> pc & 1]
        expected = music21.chord.Chord([names[pc] for pc in pitch_classes]).normalOrder
        assert music.notes.normal_order(pitch_classes) == expected


def test_duration_types_are_music21s_on_the_whole_grid_to_16_quarter_notes_and_sampled_to_64():
    lengths = [24 * quarter + int(part) for quarter in range(64) for part in music.notes.GRID[:-1]]
    for length in lengths[1 : 16 * 12] + lengths[16 * 12 :: 7] + [music.notes.LONGEST]:
        assert music.notes.duration_type(length) == music21.duration.Duration(Fraction(length, 24)).type, length


def test_pitch_names_are_music21s():
    assert list(music.notes.PITCH_NAMES) == [music21.pitch.Pitch(midi=midi).nameWithOctave for midi in range(128)]


any_notes = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 3000), st.integers(0, 127)), max_size=15)


@settings(max_examples=60)
@given(any_notes, any_notes, st.sampled_from([96, 220, 480, 1000]), st.booleans())
def test_fast_and_reference_agree_on_any_notes(right, left, ticks_per_quarter, durations):
    score, stream = symusic.Score(ticks_per_quarter), music21.stream.Score()
    for notes in (right, left):
        track, part = symusic.Track(), music21.stream.Part()
        for start, length, pitch in notes:
            track.notes.append(symusic.Note(start, length, pitch, 80))
            note = music21.note.Note(music21.pitch.Pitch(midi=pitch))  # Note(0) would be a C4
            note.quarterLength = Fraction(length, ticks_per_quarter)
            part.insert(Fraction(start, ticks_per_quarter), note)
        score.tracks.append(track)
        stream.insert(0, part)
    assert music.notes.from_score(score, durations) == notes_from_music21(stream, durations)


def test_reference_joins_the_tie_of_one_note_in_a_chord():
    first, second = music21.chord.Chord(["C4", "E4"]), music21.chord.Chord(["C4", "F4"])
    first.notes[0].tie, second.notes[0].tie = music21.tie.Tie("start"), music21.tie.Tie("stop")
    part = music21.stream.Part([first, second])
    assert notes_from_music21(music21.stream.Score([part])) == ["0.4_quarter", "F4_quarter"]
    assert [len(chord.pitches) for chord in part.stripTies().notes] == [2, 2]  # why it is not used


def test_importing_the_module_imports_neither_music21_nor_a_backend():
    check = "import sys, course_lib.music; print({'music21', 'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "set()\n"


# ---------------------------------------------------------------- notes: real pieces

CHORALES = [
    "bwv10.7",
    "bwv135.6",
    "bwv165.6",
    "bwv175.7",
    "bwv227.1",
    "bwv244.10",
    "bwv248.33-3",
    "bwv253",
    "bwv262",
    "bwv267",
    "bwv281",
    "bwv296",
    "bwv300",
    "bwv314",
    "bwv328",
    "bwv338",
    "bwv350",
    "bwv384",
    "bwv42.7",
    "bwv8.6",
]
MOVEMENTS = [
    "haydn/opus1no1/movement2",
    "haydn/opus1no1/movement4",
    "mozart/k545/movement1_exposition",
    "mozart/k156/movement3",
    "beethoven/opus18no1/movement3",
]


def test_corpus_gives_the_same_classes_both_ways_and_what_midi_drops_is_counted():
    paths = dict(music.corpus.corpus_paths())
    counted = {"notes": 0, "grace": 0, "spelled otherwise": 0}
    for name in [f"bach/{chorale}" for chorale in CHORALES] + MOVEMENTS:
        stream = music21.converter.parse(paths[name], forceSource=True)
        score = music.corpus.score_from_music21(stream)
        for durations in (True, False):
            reference = notes_from_music21(stream, durations)
            assert len(reference) > 20
            assert music.notes.from_score(score, durations) == reference, name
        for element in stream.flatten().notes:
            for pitch in element.pitches:
                counted["notes"] += 1
                counted["grace"] += element.quarterLength == 0
                plain = music21.pitch.Pitch(midi=pitch.midi)
                counted["spelled otherwise"] += pitch.nameWithOctave != plain.nameWithOctave
    print(counted)
    assert counted["notes"] > 5000
    assert 0 < counted["grace"] < 0.02 * counted["notes"]
    assert 0 < counted["spelled otherwise"] < 0.1 * counted["notes"]


def as_music21_reads(score):
    """The score with notes of a track that begin and end within 1/16 of a quarter note made one chord."""
    near = score.ticks_per_quarter / 16
    result = symusic.Score(score.ticks_per_quarter)
    for track in score.tracks:
        waiting = sorted(((n.time, n.end, n.pitch) for n in track.notes), key=lambda note: note[0])
        read = symusic.Track(is_drum=track.is_drum)
        while waiting:
            start, end, _ = waiting[0]
            chord = [note for note in waiting if note[0] - start < near and abs(note[1] - end) <= near]
            waiting = [note for note in waiting if note not in chord]
            length = chord[-1][1] - chord[-1][0]
            read.notes.extend([symusic.Note(start, length, pitch, 80) for _, _, pitch in chord])
        result.tracks.append(read)
    return result


def delayed(stream, ticks_per_quarter):
    """Whether music21 placed some untied note later than the tick at which it read it."""
    notes = [note for part in stream.parts for note in part.flatten().notes]
    untied = [note for note in notes if note.tie is None]
    return any(abs(note.offset - note.editorial.midiTickStart / ticks_per_quarter) > 0.01 for note in untied)


def test_asap_midi_files_give_the_same_classes_both_ways_but_for_what_music21s_reader_changes(downloaded, tmp_path):
    with zipfile.ZipFile(downloaded / "asap_scores.zip") as archive:
        archive.extractall(tmp_path)
    files = sorted(music.midi.midi_files(tmp_path), key=lambda file: (file.stat().st_size, file))[:30]
    compared = identical = classes = different = 0
    for file in files:
        score = symusic.Score(file)
        stream = music21.converter.parse(file, quantizePost=False, forceSource=True)
        if delayed(stream, score.ticks_per_quarter):
            continue
        reference, fast = notes_from_music21(stream), music.notes.from_score(score)
        assert music.notes.from_score(as_music21_reads(score)) == reference, file
        compared += 1
        identical += fast == reference
        classes += len(fast)
        same = SequenceMatcher(a=fast, b=reference, autojunk=False).get_matching_blocks()
        different += len(fast) - sum(block.size for block in same)
    print(f"{compared} of {len(files)} files, {identical} identical; {different} of {classes} classes differ")
    assert compared >= 20
    assert identical >= 20
    assert different <= 0.003 * classes


def test_drums_and_grace_notes_of_a_midi_file_are_left_out_both_ways(tmp_path):
    piano, kit = [(0, 1, 60), (1, 0, 62), (2, 0.5, 64), (2, 1, 67)], [(0, 1, 36), (0.5, 1, 38), (0.5, 1, 42)]
    score_of(piano, kit, drums=[1]).dump_midi(tmp_path / "band.mid")
    stream = music21.converter.parse(tmp_path / "band.mid", quantizePost=False, forceSource=True)
    expected = ["C4_quarter", "4.7_eighth"]
    assert music.notes.from_score(symusic.Score(tmp_path / "band.mid")) == notes_from_music21(stream) == expected


# ---------------------------------------------------------------- notes and back

orders = st.sets(st.integers(0, 11), min_size=1).map(music.notes.normal_order)
sounds = st.sampled_from(music.notes.PITCH_NAMES) | orders.map(lambda order: ".".join(map(str, order)))
kinds = st.sampled_from(sorted(music.notes.QUARTERS))
typed_classes = st.lists(st.builds("{}_{}".format, sounds, kinds), max_size=30)


@given(typed_classes)
def test_classes_with_durations_survive_a_score(classes):
    assert music.notes.from_score(music.notes.to_score(classes)) == classes


@given(st.lists(sounds, max_size=30), st.floats(0.125, 8))
def test_classes_without_durations_survive_a_score_at_any_step(classes, step):
    assert music.notes.from_score(music.notes.to_score(classes, step=step), durations=False) == classes


@given(any_notes)
def test_encoding_again_what_was_decoded_changes_nothing(notes):
    score = score_of([(start / 480, length / 480, pitch) for start, length, pitch in notes])
    classes = music.notes.from_score(score)
    assert music.notes.from_score(music.notes.to_score(classes)) == classes


@settings(max_examples=50)
@given(typed_classes | st.lists(sounds, max_size=30))
def test_music21_stream_holds_the_notes_of_the_score(classes):
    stream = music21_stream(music.notes.to_score(classes, step=0.75))
    notes = [
        (element.offset * 480, element.quarterLength * 480, pitch.midi)
        for element in stream.notes
        for pitch in element.pitches
    ]
    assert sorted(notes) == rows(music.notes.to_score(classes, step=0.75))


def test_classes_are_laid_out_as_documented():
    score = music.notes.to_score(["C#4_quarter", "7.11.2_eighth", "0_complex", "E-1"], tempo=90, step=0.25)
    assert rows(score) == [
        (0, 480, 61),
        (480, 240, 67), (480, 240, 71), (480, 240, 74),
        (720, 600, 60), (720, 600, 72),
        (1320, 120, 27),
    ]  # fmt: skip
    assert [tempo.qpm for tempo in score.tempos] == [pytest.approx(90)]


def test_music21s_own_midi_writer_keeps_the_classes(tmp_path):
    classes = ["C4_quarter", "0.4.7_half", "E-3_16th", "11.2.5.7_eighth", "0_whole", "F#2_complex"]
    music21_stream(music.notes.to_score(classes)).write("midi", tmp_path / "written.mid")
    assert music.notes.from_score(symusic.Score(tmp_path / "written.mid")) == classes


BAD_CLASSES = ["H9", "0.99", "", "C", "D-4", "G#9", "4.0", "0.0", "0.4.", "+0.4"]
BAD_TYPES = ["C#4_", "_quarter", "C4_64th", "C4_long", "0.4.7_quarter_quarter"]


@pytest.mark.parametrize("name", BAD_CLASSES + BAD_TYPES)
def test_bad_class_is_named(name):
    with pytest.raises(ValueError, match=re.escape(f'"{name}"')):
        music.notes.to_score(["C4_quarter", name])


@pytest.mark.parametrize("step", [0, -1, 0.1])
def test_step_too_short_is_refused(step):
    with pytest.raises(ValueError, match=f"step is {step} "):
        music.notes.to_score(["C4"], step=step)


# ---------------------------------------------------------------- frames


def cells(roll):
    return {tuple(map(int, cell)) for cell in np.argwhere(roll)}


def test_frames_worked_out_by_hand():
    score = score_of([(0, 1, 60), (0.6, 0.25, 64)], [(0.125, 0.01, 67)], [(0, 9, 36)], drums=[2])
    assert cells(music.frames.from_score(score)) == {(0, 60), (1, 60), (2, 60), (3, 60), (2, 64), (1, 67)}
    assert cells(music.frames.onsets(score)) == {(0, 60), (2, 64), (1, 67)}
    assert music.frames.from_score(score).shape == music.frames.onsets(score).shape == (4, 128)
    assert cells(music.frames.from_score(score, steps_per_beat=1)) == {(0, 60), (1, 64), (0, 67)}
    assert music.frames.from_score(score).dtype == music.frames.onsets(score).dtype == bool


@given(any_notes, st.sampled_from([1, 2, 3, 4, 12]), st.sampled_from([96, 220, 480]))
def test_frames_are_what_a_loop_over_the_notes_draws(notes, steps_per_beat, ticks_per_quarter):
    score = score_of([(Fraction(start, ticks_per_quarter), Fraction(length, ticks_per_quarter), pitch)
                      for start, length, pitch in notes], ticks_per_quarter=ticks_per_quarter)  # fmt: skip
    sounding, struck = set(), set()
    for start, length, pitch in notes:
        first, last = (int(Fraction(tick * steps_per_beat, ticks_per_quarter) + Fraction(1, 2))
                       for tick in (start, start + length))  # fmt: skip
        if length:
            sounding |= {(step, pitch) for step in range(first, max(first + 1, last))}
            struck.add((first, pitch))
    assert cells(music.frames.from_score(score, steps_per_beat)) == sounding
    assert cells(music.frames.onsets(score, steps_per_beat)) == struck
    assert len(music.frames.from_score(score, steps_per_beat)) == 1 + max((step for step, _ in sounding), default=-1)


@given(st.sets(st.tuples(st.integers(0, 40), st.integers(0, 127))), st.sampled_from([1, 2, 3, 4, 12, 24]))
def test_any_roll_survives_a_score_but_for_silence_at_the_end(sounding, steps_per_beat):
    roll = np.zeros((50, 128), bool)
    for cell in sounding:
        roll[cell] = True
    again = music.frames.from_score(music.frames.to_score(roll, steps_per_beat), steps_per_beat)
    assert np.array_equal(again, roll[: len(again)])
    assert not roll[len(again) :].any()


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 6), st.integers(1, 9)), max_size=20))
def test_scores_on_the_grid_survive_frames_but_for_touching_repeated_notes(gaps):
    ends: dict[int, int] = {}
    notes, held = [], []
    for pitch, gap, length in gaps:
        start = ends.get(pitch, 0) + gap
        notes.append((start / 4, length / 4, pitch))
        touching = next((note for note in held if note[2] == pitch and note[0] + note[1] == start), None)
        if touching:
            touching[1] += length
        else:
            held.append([start, length, pitch])
        ends[pitch] = start + length
    again = music.frames.to_score(music.frames.from_score(score_of(notes)))
    step = music.frames.STEP_TICKS
    assert rows(again) == sorted((start * step, length * step, pitch) for start, length, pitch in held)


def test_frames_to_score_writes_what_it_is_told(tmp_path):
    roll = np.zeros((8, 128), bool)
    roll[2:5, 60] = roll[7, 127] = roll[0, 0] = True
    score = music.frames.to_score(roll, steps_per_beat=2, tempo=75)
    score.dump_midi(tmp_path / "roll.mid")
    track = symusic.Score(tmp_path / "roll.mid").tracks[0]
    assert (track.program, {note.velocity for note in track.notes}) == (0, {80})
    assert np.array_equal(music.frames.from_score(symusic.Score(tmp_path / "roll.mid"), steps_per_beat=2), roll)
    assert symusic.Score(tmp_path / "roll.mid").tempos[0].qpm == pytest.approx(75)


@pytest.mark.parametrize("shape", [(5,), (5, 88), (5, 128, 5)])
def test_roll_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        music.frames.to_score(np.zeros(shape, bool))
