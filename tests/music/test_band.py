"""The band encoding: any roll and back, the rule of LPD-5, MIDI files as they come, and real songs by pypianoroll."""

import math
import re
import zipfile
from fractions import Fraction
from itertools import count

import mido
import numpy as np
import pypianoroll
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from course_lib import music

PIANO, GUITAR, BASS, STRINGS, DRUMS = range(5)
TICKS = 480  # a quarter note, in the files written here


def cells(roll, channel=None):
    """Where a roll sounds: (step, pitch, channel), or (step, pitch) of one channel."""
    return {tuple(map(int, cell)) for cell in np.argwhere(roll if channel is None else roll[..., channel])}


def sound(start, length, pitch, channel=0):
    """A note of a MIDI file, with times in quarter notes."""
    return [
        (start, mido.Message("note_on", note=pitch, velocity=80, channel=channel)),
        (start + length, mido.Message("note_off", note=pitch, channel=channel)),
    ]


def program(number, start=0, channel=0):
    return [(start, mido.Message("program_change", program=number, channel=channel))]


def metre(start, numerator, denominator=4):
    return [(start, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator))]


def tempo(start, quarters_a_minute):
    return [(start, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(quarters_a_minute)))]


def named(name):
    return [(0, mido.MetaMessage("track_name", name=name))]


def read(folder, *tracks):
    """The score of a MIDI file of these tracks, each a list of (time in quarter notes, message)."""
    file = mido.MidiFile(ticks_per_beat=TICKS)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for start, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=round(start * TICKS) - now))
            now = round(start * TICKS)
        file.tracks.append(track)
    file.save(folder / "song.mid")
    return music.midi.read(folder / "song.mid")


# ---------------------------------------------------------------- any roll and back

some_cells = st.sets(st.tuples(st.integers(0, 40), st.integers(0, 127), st.integers(0, 4)))
grids = st.sampled_from([1, 2, 3, 4, 12, 24])


@given(some_cells, grids, st.booleans())
def test_any_roll_survives_a_score_and_a_file_but_for_silence_at_the_end(sounding, steps_per_beat, written):
    roll = np.zeros((50, 128, 5), bool)
    for cell in sounding:
        roll[cell] = True
    score = music.band.to_score(roll, steps_per_beat)
    if written:
        score = symusic.Score.from_midi(score.dumps_midi())
    again = music.band.from_score(score, steps_per_beat)
    assert again.dtype == bool and again.shape[1:] == (128, 5)
    assert len(again) == 1 + max((step for step, _, _ in sounding), default=-1)
    assert np.array_equal(again, roll[: len(again)])
    assert music.band.in_four_four(score)


def test_a_run_of_a_pitch_is_one_note_and_a_run_of_a_drum_is_as_many_strokes():
    roll = np.zeros((8, 128, 5), bool)
    roll[1:4, 60, :] = True
    score = music.band.to_score(roll, steps_per_beat=4, tempo=90)
    held, step = [(120, 360)], 120
    strokes = [(step * number, step) for number in (1, 2, 3)]
    assert [[(n.time, n.duration) for n in track.notes] for track in score.tracks] == [held] * 4 + [strokes]
    assert [track.name for track in score.tracks] == [*music.band.INSTRUMENTS]
    assert [track.program for track in score.tracks] == [0, 24, 32, 48, 0]
    assert [track.is_drum for track in score.tracks] == [False] * 4 + [True]
    assert score.ticks_per_quarter == 480 and score.tempos[0].qpm == pytest.approx(90)
    assert all(n.velocity > 0 for track in score.tracks for n in track.notes)


@pytest.mark.parametrize("shape", [(5,), (9, 128), (9, 5, 128), (9, 128, 4), (1, 9, 128, 5)])
def test_a_roll_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"The roll has shape {shape}: give a bool array of shape (time, ")):
        music.band.to_score(np.zeros(shape, bool))


def test_nothing_to_encode_gives_no_steps():
    silent, grace = symusic.Score(480), symusic.Score(480)
    track = symusic.Track(program=0)
    track.notes.append(symusic.Note(960, 0, 60, 80))  # no length, no sound
    grace.tracks.append(track)
    effects = symusic.Score(480)
    effects.tracks.append(symusic.Track(program=127))
    effects.tracks[0].notes.append(symusic.Note(0, 480, 60, 80))
    for score in (silent, grace, effects, music.band.to_score(np.zeros((0, 128, 5)))):
        roll = music.band.from_score(score)
        assert roll.shape == (0, 128, 5) and roll.dtype == bool
        assert music.band.in_four_four(score)


# ---------------------------------------------------------------- who plays what


def test_the_rule_of_lpd_5_for_every_program():
    expected = {number: STRINGS for number in range(128)}
    expected |= dict.fromkeys(range(8), PIANO) | dict.fromkeys(range(24, 32), GUITAR)
    expected |= dict.fromkeys(range(32, 40), BASS)
    expected |= dict.fromkeys([*range(96, 104), *range(112, 128)])  # to none
    assert {number: music.band.instrument(symusic.Track(program=number)) for number in range(128)} == expected
    assert {music.band.instrument(symusic.Track(program=number, is_drum=True)) for number in range(128)} == {DRUMS}


def test_a_track_named_drums_is_drums_on_any_channel():
    for name in ("Drums", "DRUM", "drum kit", "DrumKit", "Latin Percussion", "12 - Drums (loud)"):
        assert music.band.instrument(symusic.Track(name, 0)) == DRUMS, name
    for name in ("", "Drummer Boy", "Eardrums", "Humdrum", "Percussionist", "Piano"):
        assert music.band.instrument(symusic.Track(name, 0)) == PIANO, name


@pytest.mark.parametrize(("name", "number"), [("Steel Drums", 114), ("Taiko Drum", 116), ("Synth Drum", 118)])
def test_percussive_programs_are_dropped_whatever_their_name(name, number):
    """Their names in General MIDI are track names in many files, and steel drums would be strokes of a melody."""
    assert music.band.instrument(symusic.Track(name, number)) is None
    assert music.band.instrument(symusic.Track(name, number, is_drum=True)) == DRUMS


def test_instruments_of_a_family_are_merged_and_effects_dropped(tmp_path):
    tracks = [
        program(number, channel=channel) + sound(0, 1, 40 + number // 8, channel)
        for channel, number in enumerate([0, 5, 16, 27, 33, 73, 99, 115, 125])
    ]
    roll = music.band.from_score(read(tmp_path, *tracks), 1)
    assert cells(roll) == {
        (0, 40, PIANO), (0, 42, STRINGS), (0, 43, GUITAR), (0, 44, BASS), (0, 49, STRINGS),
    }  # fmt: skip


def test_a_program_change_in_mid_track_changes_the_instrument(tmp_path):
    events = program(0) + sound(0, 1, 60) + program(33, start=1) + sound(1, 1, 40) + program(0, 2) + sound(2, 1, 62)
    roll = music.band.from_score(read(tmp_path, events), 1)
    assert cells(roll) == {(0, 60, PIANO), (1, 40, BASS), (2, 62, PIANO)}


def test_more_than_sixteen_channels_on_two_ports(tmp_path):
    tracks = []
    for port in range(2):
        for channel in range(16):
            start = [(0, mido.MetaMessage("midi_port", port=port))] + program((port * 16 + channel) * 2, 0, channel)
            tracks.append(start + sound(port, 1, 36 + channel, channel))
    roll = music.band.from_score(read(tmp_path, *tracks), 1)
    expected = set()
    for number in range(32):
        port, channel = divmod(number, 16)
        family = DRUMS if channel == 9 else music.band.instrument(symusic.Track(program=number * 2))
        expected.add((port, 36 + channel, family))
    assert cells(roll) == expected
    assert {family for *_, family in expected} == set(range(5))


def test_drums_on_a_channel_of_their_own_by_their_name(tmp_path):
    kit = named("Drums") + sound(0, 2, 36, channel=3) + sound(1, 1, 38, channel=3)
    roll = music.band.from_score(read(tmp_path, sound(0, 1, 60), kit), 2)
    assert cells(roll, DRUMS) == {(0, 36), (2, 38)}
    assert cells(roll, PIANO) == {(0, 60), (1, 60)}


def test_drums_of_any_length_are_strokes_of_one_step(tmp_path):
    """Many files write drums with no length at all, and some hold a stroke into the next."""
    kit = sound(0, 0, 36, 9) + sound(1, 4, 36, 9) + sound(2, 0.01, 42, 9) + sound(5.26, 0, 36, 9)
    score = read(tmp_path, sound(0, 1, 60), kit)
    assert min(n.duration for track in score.tracks for n in track.notes) == 0
    assert cells(music.band.from_score(score, 2), DRUMS) == {(0, 36), (2, 36), (4, 42), (11, 36)}
    coarse = symusic.Score(12)  # two steps a tick
    coarse.tracks.append(symusic.Track("", 0, True))
    coarse.tracks[0].notes.append(symusic.Note(5, 7, 36, 80))
    assert cells(music.band.from_score(coarse, 24), DRUMS) == {(10, 36)}


def test_pitched_notes_without_a_length_are_left_out(tmp_path):
    score = read(tmp_path, sound(0, 1, 60) + sound(1, 0, 64) + sound(2, 0.01, 67))
    assert cells(music.band.from_score(score, 2), PIANO) == {(0, 60), (1, 60), (4, 67)}


# ---------------------------------------------------------------- bars


def test_an_upbeat_written_as_a_short_bar_comes_at_the_end_of_a_bar(tmp_path):
    upbeat = sound(0, 1, 67) + sound(1, 4, 72)
    score = read(tmp_path, metre(0, 1) + metre(1, 4) + upbeat)
    assert cells(music.band.from_score(score, 1), PIANO) == {(3, 67), *((step, 72) for step in range(4, 8))}
    assert music.band.in_four_four(score)


def test_an_upbeat_written_in_every_track_is_one_upbeat(tmp_path):
    """Some programs repeat the time signatures in each track, and a reader keeps them all."""
    bars = metre(0, 1) + metre(1, 4)
    score = read(tmp_path, bars + sound(0, 1, 67), bars + sound(1, 4, 48, 1))
    assert len(score.time_signatures) == 4
    assert music.band.in_four_four(score)
    assert cells(music.band.from_score(score, 1)) == {(3, 67, PIANO), *((step, 48, PIANO) for step in range(4, 8))}


def test_a_time_signature_some_ticks_late_begins_the_first_bar(tmp_path):
    late = 10 / TICKS
    notes = [each for beat in range(8) for each in sound(beat, 1, 60 + beat)]
    for start in (0, late):  # exactly, or as late as the signature
        score = read(tmp_path, metre(late, 4) + [(time + start, message) for time, message in notes])
        roll = music.band.from_score(score, 2)
        assert roll[::2, :, PIANO].argmax(1).tolist() == list(range(60, 68)) and len(roll) == 16
        assert music.band.in_four_four(score)


@pytest.mark.parametrize(("bar_line", "first_step"), [(1, 3), (4, 0), (5, 3), (9.5, 2.5)])
def test_notes_before_the_first_bar_line_fill_bars_of_their_own(tmp_path, bar_line, first_step):
    score = read(tmp_path, metre(bar_line, 4) + sound(0, 0.5, 60) + sound(bar_line, 1, 72))
    roll = music.band.from_score(score, 2)
    (upbeat,) = np.flatnonzero(roll[:, 60, PIANO])
    downbeat = np.flatnonzero(roll[:, 72, PIANO])[0]
    assert upbeat == 2 * first_step and downbeat % 8 == 0 and downbeat - upbeat == 2 * bar_line


def test_silence_before_the_first_note_is_kept(tmp_path):
    roll = music.band.from_score(read(tmp_path, metre(0, 4) + sound(6, 1, 60)), 2)
    assert cells(roll, PIANO) == {(12, 60), (13, 60)}


def test_songs_in_three_four_are_told_apart_and_start_with_their_first_bar(tmp_path):
    waltz = read(tmp_path, metre(0, 3) + sound(0, 3, 60) + sound(3, 3, 62))
    assert not music.band.in_four_four(waltz)
    assert cells(music.band.from_score(waltz, 1), PIANO) == {(step, 60 + 2 * (step > 2)) for step in range(6)}
    late = read(tmp_path, metre(2, 3) + sound(2, 3, 60))
    assert cells(music.band.from_score(late, 1), PIANO) == {(0, 60), (1, 60), (2, 60)}


SIGNATURES = {  # (time in quarter notes, numerator, denominator)
    "none": ([], True),
    "4/4": ([(0, 4, 4)], True),
    "4/4 again": ([(0, 4, 4), (8, 4, 4)], True),
    "4/4 late": ([(0.01, 4, 4)], True),
    "upbeat": ([(0, 1, 4), (1, 4, 4)], True),
    "upbeat of three": ([(0, 3, 4), (3, 4, 4)], True),
    "3/4": ([(0, 3, 4)], False),
    "2/4": ([(0, 2, 4)], False),
    "2/2": ([(0, 2, 2)], False),
    "4/8": ([(0, 4, 8)], False),
    "a bar of 3/4 that is no upbeat": ([(0, 3, 4), (6, 4, 4)], False),
    "a whole bar of another metre": ([(0, 8, 8), (4, 4, 4)], False),
    "an upbeat before 3/4": ([(0, 1, 4), (1, 3, 4)], False),
    "a short bar in the middle": ([(0, 4, 4), (8, 2, 4), (10, 4, 4)], False),
    "another end": ([(0, 4, 4), (8, 3, 4)], False),
    "two upbeats": ([(0, 1, 4), (1, 2, 4), (3, 4, 4)], False),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_in_four_four(kind):
    signatures, expected = SIGNATURES[kind]
    score = symusic.Score(TICKS)
    for start, numerator, denominator in signatures:
        score.time_signatures.append(symusic.TimeSignature(round(start * TICKS), numerator, denominator))
    assert music.band.in_four_four(score) is expected


def test_the_grid_follows_beats_and_not_seconds(tmp_path):
    notes = [each for beat in range(12) for each in sound(beat, 0.5, 60 + beat)]
    changes = tempo(0, 60) + tempo(2.25, 203) + tempo(5, 41) + tempo(5.5, 300)
    steady, changing = read(tmp_path, tempo(0, 120) + notes), read(tmp_path, changes + notes)
    assert np.array_equal(music.band.from_score(changing, 4), music.band.from_score(steady, 4))
    assert music.band.from_score(steady, 4)[::4, :, PIANO].argmax(1).tolist() == list(range(60, 72))


some_notes = st.lists(
    st.tuples(
        st.integers(0, 6000),
        st.integers(0, 2000),
        st.integers(0, 127),
        st.sampled_from([0, 25, 38, 48, 100, None]),  # programs, or drums
    ),
    max_size=12,
)


@given(some_notes, st.integers(0, 3000), grids, st.sampled_from([12, 95, 220, 480]))
def test_a_band_is_what_a_loop_over_the_notes_draws(notes, bar_line, steps_per_beat, quarter):
    score = symusic.Score(quarter)
    score.time_signatures.append(symusic.TimeSignature(bar_line, 4, 4))
    for start, length, pitch, number in notes:
        score.tracks.append(symusic.Track("", number or 0, number is None))
        score.tracks[-1].notes.append(symusic.Note(start, length, pitch, 80))

    def nearest(tick, first_tick):
        return math.floor(Fraction((tick - first_tick) * steps_per_beat, quarter) + Fraction(1, 2))

    heard = [note for note in notes if note[3] != 100 and (note[1] or note[3] is None)]
    for bars in count():  # as few before the bar line as have room for every note
        first_tick = bar_line - bars * 4 * quarter
        if all(nearest(start, first_tick) >= 0 for start, *_ in heard):
            break
    expected = set()
    for start, length, pitch, number in heard:
        first, last = nearest(start, first_tick), nearest(start + length, first_tick)
        channel = {0: PIANO, 25: GUITAR, 38: BASS, 48: STRINGS, None: DRUMS}[number]
        steps = [first] if number is None else range(first, max(first + 1, last))
        expected |= {(place, pitch, channel) for place in steps}
    assert cells(music.band.from_score(score, steps_per_beat)) == expected


# ---------------------------------------------------------------- real songs, by another library


def by_pypianoroll(path, steps):
    """The roll at 2 steps a beat of a file that pypianoroll reads at 24, merged by LPD-5's rule."""
    multitrack = pypianoroll.read(path, resolution=24)
    roll = np.zeros((steps, 128, 5), bool)
    for track in multitrack.tracks:
        family = track.program // 8
        if not track.is_drum and family in (12, 14, 15):
            continue
        channel = DRUMS if track.is_drum else {0: PIANO, 3: GUITAR, 4: BASS}.get(family, STRINGS)
        binary = track.binarize().pianoroll
        if track.is_drum:  # a cell a stroke
            start, pitch = np.nonzero(binary)
            end = start
        else:
            edges = np.diff(np.pad(binary, ((1, 1), (0, 0))).astype(int), axis=0).T
            (pitch, start), (_, end) = np.nonzero(edges == 1), np.nonzero(edges == -1)
        first, last = (start + 6) // 12, (end + 6) // 12
        for a, b, p in zip(first, np.maximum(first + 1, last), pitch, strict=True):
            roll[a:b, p, channel] = True
    return roll


def test_real_songs_sound_where_pypianoroll_has_them(downloaded, tmp_path):
    """99 % of sounding cells are the same over all 93 songs that pypianoroll reads: 98.4 % piano, 99.2 % others.

    It is read at 24 steps a beat, as LPD-5 was, and its notes then go to the nearest of 2 steps. Of its own ways
    to 2 steps neither rounds so: `read(resolution=2)` cuts off the end of each note (63 % the same), and
    `set_resolution(2)` rounds each of the 24 steps, so that a note takes half a step more (82 %).

    The rest, as found by comparing notes: pretty_midi, which reads for pypianoroll, ends every sounding note of a
    pitch at the first note-off, and symusic the first of them; it drops drums without length; a note that sounds
    across a program change goes to the program at its end, and with symusic to the one at its start; ends are
    rounded down to a 24th in seconds, so that some just before the middle of a step miss it; velocities of notes
    on top of one another are added in 8 bits. The lines are about twice what differs over all songs. They can be
    crossed: a song moved by one step keeps 35 % of its cells, so one such song in ten would cost 6 %.
    """
    with zipfile.ZipFile(downloaded / "band_midi_children_songs.zip") as archive:
        archive.extractall(tmp_path)
    same, either, shares, unreadable = np.zeros(5), np.zeros(5), [], 0
    candidates = []
    for path in sorted(music.midi.midi_files(tmp_path)):
        score = music.midi.read(path)
        signatures = [(s.time, s.numerator, s.denominator) for s in score.time_signatures]
        if signatures and signatures[0][0] == 0 and all(s[1:] == (4, 4) for s in signatures):
            candidates.append((path, score))
    assert len(candidates) == 94
    tempos = 0
    for path, score in candidates[::4]:
        ours = music.band.from_score(score)
        try:
            theirs = by_pypianoroll(path, len(ours) + 8)
        except IndexError:  # a stroke after its last beat
            unreadable += 1
            continue
        ours = np.pad(ours, ((0, 8), (0, 0), (0, 0)))
        both, one = (ours & theirs).sum((0, 1)), (ours | theirs).sum((0, 1))
        same, either = same + both, either + one
        shares.append(both.sum() / one.sum())
        tempos += len(score.tempos) > 1
    print(np.round(same / either, 4), round(same.sum() / either.sum(), 4), np.round(np.sort(shares)[:5], 3))
    assert unreadable <= 1 and tempos >= 3, "tempo changes are to be among them"
    assert (same / either > 0.97).all() and same.sum() / either.sum() > 0.98
    assert np.median(shares) > 0.99 and min(shares) > 0.8
