"""The chorale band against the chorales: what is Bach's is his note for note, what is ours follows its rules."""

from collections import Counter

import numpy as np
import pytest
from music21 import converter

from course_lib import music

PIANO, GUITAR, BASS, STRINGS, DRUMS = range(5)


@pytest.fixture(scope="module")
def chorales():
    return {piece.name: piece for piece in music.corpus.embedded()}


@pytest.fixture(scope="module")
def band():
    return music.chorale_band.load()


@pytest.fixture(scope="module")
def pairs(chorales, band):
    """Each arranged piece with its chorale, and the quarter notes of silence that were put before it."""
    found = []
    for piece in band:
        score = chorales[piece.name].score
        bar_line = next(mark.time for mark in score.markers if mark.text == "bar line") / score.ticks_per_quarter
        found.append((piece, chorales[piece.name], -bar_line % 4))
    return found


def notes(score, *tracks):
    """(start, end, pitch) of the notes of some tracks in order, times in quarter notes; float (notes, 3)."""
    columns = [track.notes.numpy() for track in tracks]
    start, length, pitch = (
        np.concatenate([column[name] for column in columns]) for name in ("time", "duration", "pitch")
    )
    rows = np.stack([start / score.ticks_per_quarter, (start + length) / score.ticks_per_quarter, pitch], axis=1)
    return rows[np.lexsort(rows.T[::-1])]


def voices(piece, *names):
    named = {track.name: track for track in piece.score.tracks}
    return notes(piece.score, *(named[name] for name in names))


def strokes(piece):
    """{eighth: pitches struck there}"""
    struck: dict[int, set] = {}
    for start, _, pitch in notes(piece.score, piece.score.tracks[DRUMS]):
        assert start * 2 % 1 == 0
        struck.setdefault(int(start * 2), set()).add(int(pitch))
    return struck


def fermatas(chorale, shift):
    """Where phrases end, in eighths of the arrangement."""
    marks = [mark.time / chorale.score.ticks_per_quarter for mark in chorale.score.markers if mark.text == "fermata"]
    return {round(2 * (time + shift)) for time in marks}


# ---------------------------------------------------------------- the set


def test_there_are_over_300_pieces_of_five_instruments(band):
    assert len(band) >= 300
    names = [piece.name for piece in band]
    assert names == sorted(set(names)) and all(name.startswith("bach/") for name in names)
    for piece in band:
        assert piece.composer == "chorale band" and piece.time_signatures == ("4/4",)
        assert [track.name for track in piece.score.tracks] == [*music.band.INSTRUMENTS]
        assert [music.band.instrument(track) for track in piece.score.tracks] == [PIANO, GUITAR, BASS, STRINGS, DRUMS]
        assert all(track.notes for track in piece.score.tracks)
        assert music.band.in_four_four(piece.score)


def test_what_is_left_out_has_other_voices_or_bars(chorales, band):
    arranged = {piece.name for piece in band}
    others = [piece for name, piece in chorales.items() if name not in arranged]
    assert len(others) > 50
    for piece in others:
        names = {track.name for track in piece.score.tracks}
        assert piece.time_signatures != ("4/4",) or not names >= set(music.chorale_band.VOICES), piece.name


def test_two_calls_give_the_same_bytes(band):
    again = music.chorale_band.load()
    assert [piece.name for piece in again] == [piece.name for piece in band]
    assert all(a.score.dumps_midi() == b.score.dumps_midi() for a, b in zip(again, band, strict=True))


def test_every_beat_and_every_figure_is_used(pairs):
    """Drawn from the name by a checksum: a third of the pieces each."""
    kicks, figures = Counter(), Counter()
    for piece, _, _ in pairs:
        struck = strokes(piece)
        kicks[tuple(place for place in range(8) if music.chorale_band.KICK in struck.get(8 + place, ()))] += 1
    for piece, chorale, shift in pairs[::8]:
        chord = voices(chorale, *music.chorale_band.VOICES) + [shift, shift, 0]
        played = [(int(2 * start), int(pitch)) for start, _, pitch in notes(piece.score, piece.score.tracks[GUITAR])]
        chords = {time: sorted({52 + (pitch - 52) % 12 for pitch in sounding(chord, time / 2)}) for time, _ in played}
        (figure,) = [
            number
            for number, figure in enumerate(music.chorale_band.FIGURES)
            if all(chords[time][figure[time % 8] % len(chords[time])] == pitch for time, pitch in played)
        ]
        figures[figure] += 1
    assert set(kicks) == set(music.chorale_band.BEATS) and min(kicks.values()) > 60
    assert len(figures) == 3 and min(figures.values()) > 5


def test_every_instrument_keeps_to_its_range(band):
    pitches = [
        Counter(np.concatenate([piece.score.tracks[channel].notes.numpy()["pitch"] for piece in band]).tolist())
        for channel in range(5)
    ]
    low, high = [min(each) for each in pitches], [max(each) for each in pitches]
    assert (low[GUITAR], high[GUITAR]) == (52, 63)  # E3 and the eleven notes above it
    assert low[BASS] >= 28 and high[BASS] <= 48  # E1 to C3
    assert low[PIANO] >= 36 and high[PIANO] <= 84
    assert low[STRINGS] >= 48 and high[STRINGS] <= 90  # from where cellos and violas stay comfortable
    assert set(pitches[DRUMS]) == {36, 38, 42, 45, 48, 49}


def test_all_five_sound_in_nine_bars_of_ten(band):
    """A model of a band learns little from bars in which one pauses. What is missing: bars before an upbeat."""
    together = bars = 0
    for piece in band:
        roll = music.band.from_score(piece.score, 2)
        whole = np.pad(roll, ((0, -len(roll) % 8), (0, 0), (0, 0))).reshape(-1, 8, 128, 5).any((1, 2))
        together, bars = together + whole.all(1).sum(), bars + len(whole)
    assert bars > 4000 and together > 0.9 * bars


# ---------------------------------------------------------------- Bach's notes


def test_the_piano_plays_the_upper_voices_as_they_stand(pairs):
    for piece, chorale, shift in pairs:
        expected = voices(chorale, "Soprano", "Alto", "Tenor") + [shift, shift, 0]
        # on a grid of 480 ticks a quarter note, where some triplets and 64ths are rounded
        assert np.allclose(notes(piece.score, piece.score.tracks[PIANO]), expected, atol=1.5 / 480), piece.name


def test_the_bass_plays_the_bass_voice_in_its_octaves(pairs):
    for piece, chorale, shift in pairs:
        played, sung = notes(piece.score, piece.score.tracks[BASS]), voices(chorale, "Bass")
        assert np.allclose(played[:, :2], sung[:, :2] + shift, atol=1.5 / 480), piece.name
        assert ((played[:, 2] - sung[:, 2]) % 12 == 0).all(), piece.name
        inside = (sung[:, 2] >= music.chorale_band.BASS_LOWEST) & (sung[:, 2] <= music.chorale_band.BASS_HIGHEST)
        assert (played[inside, 2] == sung[inside, 2]).all(), "what lies in its range is not moved"


def sounding(voice, time):
    """The pitches of a voice that sound at a time."""
    return voice[(voice[:, 0] <= time + 1e-9) & (time + 1e-9 < voice[:, 1]), 2].astype(int)


def test_guitar_tones_belong_to_the_chord_that_sounds(pairs):
    for piece, chorale, shift in pairs[::4]:
        played = notes(piece.score, piece.score.tracks[GUITAR])
        chord = voices(chorale, *music.chorale_band.VOICES) + [shift, shift, 0]
        assert np.allclose(np.diff(played[:, :2]), 0.5), "every tone is an eighth"
        tones = {time: pitch for time, _, pitch in played}
        assert len(tones) == len(played), "one tone at a time"
        for time in np.arange(0, chord[:, 1].max(), 0.5):
            classes = {pitch % 12 for pitch in sounding(chord, time)}
            assert (time in tones) == bool(classes), (piece.name, time)
            assert not classes or tones[time] % 12 in classes, (piece.name, time)


def test_the_guitar_breaks_its_chords(pairs):
    for piece, _, _ in pairs:
        played = notes(piece.score, piece.score.tracks[GUITAR])[:, 2]
        assert (np.diff(played) != 0).mean() > 0.6, piece.name


def test_strings_are_alto_and_tenor_by_the_beat_an_octave_higher(pairs):
    for piece, chorale, shift in pairs[::4]:
        played = notes(piece.score, piece.score.tracks[STRINGS])
        assert (played[:, :2] % 1 == 0).all(), "they move by beats"
        inner = [voices(chorale, name) + [shift, shift, 0] for name in ("Alto", "Tenor")]
        moves = 0
        before = [[], []]
        for time in np.arange(0, max(voice[:, 1].max() for voice in inner)):
            now = [sounding(voice, time)[-1:].tolist() for voice in inner]
            expected = {pitch + 12 for voice in now for pitch in voice}
            assert set(sounding(played, time)) == expected, (piece.name, time)
            moves += sum(bool(new) and new != old for new, old in zip(now, before, strict=True))
            before = now
        assert len(played) == moves, "a pitch that stays is held"


# ---------------------------------------------------------------- bars and phrases


@pytest.mark.parametrize(("name", "upbeat"), [("bach/bwv66.6", 1), ("bach/bwv10.7", 0), ("bach/bwv103.6", 1)])
def test_the_first_bar_line_falls_on_a_bar(name, upbeat, chorales):
    """By the bars of the score itself, as music21 reads it."""
    piece = music.chorale_band.arrange(chorales[name])
    score = converter.parse(dict(music.corpus.corpus_paths())[name], forceSource=True)
    measures = score.parts[0].getElementsByClass("Measure")
    first = next(measure.offset for measure in measures if measure.duration.quarterLength == 4)
    assert first == upbeat
    start = notes(piece, piece.tracks[PIANO])[0, 0]
    assert start == -upbeat % 4 and (start + first) % 4 == 0


def test_upbeats_come_at_the_end_of_the_first_bar(pairs):
    shifts = Counter(shift for *_, shift in pairs)
    assert set(shifts) == {0, 2, 3} and shifts[3] > shifts[0] > 50, "most chorales begin with an upbeat of a beat"
    begun = [
        notes(piece.score, piece.score.tracks[PIANO])[0, 0] == shift
        and np.flatnonzero(music.band.from_score(piece.score, 2)[..., PIANO].any(1))[0] == 2 * shift
        for piece, _, shift in pairs
    ]
    assert sum(begun) >= 0.97 * len(pairs), "the others begin with a rest, or with instruments alone"


def test_phrases_end_with_a_fill_and_a_crash(pairs):
    with_phrases = crashes = 0
    for piece, chorale, shift in pairs:
        struck = strokes(piece)
        last = max(struck)
        ends = {end for end in fermatas(chorale, shift) if end <= last + 1}  # a final note of the trumpets aside
        with_phrases += bool(ends)
        if not ends:
            continue
        for end in ends:
            assert struck[end - 1] & {music.chorale_band.TOM, music.chorale_band.LOW_TOM}, (piece.name, end)
            if end - 2 >= 0 and not {end - 1, end + 1} & ends:
                assert music.chorale_band.TOM in struck[end - 2] and music.chorale_band.LOW_TOM in struck[end - 1], (
                    piece.name,
                    end,
                )
            if end <= last and not {end + 1, end + 2} & ends:
                assert music.chorale_band.CRASH in struck[end], (piece.name, end)
                crashes += 1
        fills = {end - back for end in ends for back in (1, 2)}
        for eighth, pitches in struck.items():
            marked = pitches & {music.chorale_band.TOM, music.chorale_band.LOW_TOM, music.chorale_band.CRASH}
            assert bool(marked) == (eighth in fills | ends), (piece.name, eighth)
            assert (music.chorale_band.HI_HAT in pitches) != bool(marked), (piece.name, eighth)
    assert with_phrases > 300 and crashes > 1000


def test_drums_keep_time(pairs):
    for piece, _, _ in pairs:
        struck = strokes(piece)
        assert sorted(struck) == list(range(len(struck))), "a stroke on every eighth from the first bar on"
        snare = {eighth for eighth, pitches in struck.items() if music.chorale_band.SNARE in pitches}
        assert snare == {eighth for eighth in struck if eighth % 4 == 2}, "on the second and the fourth beat"
        kick = {eighth % 8 for eighth, pitches in struck.items() if music.chorale_band.KICK in pitches}
        assert 0 in kick, "on the first"


def test_chorales_without_fermatas_have_phrases_of_four_bars(pairs):
    unmarked = [(piece, strokes(piece)) for piece, chorale, shift in pairs if not fermatas(chorale, shift)]
    assert 1 <= len(unmarked) < 10
    for piece, struck in unmarked:
        crashes = [eighth for eighth, pitches in struck.items() if music.chorale_band.CRASH in pitches]
        assert crashes == list(range(32, max(struck) + 1, 32)), piece.name
        assert all(music.chorale_band.LOW_TOM in struck[end - 1] for end in crashes)


def test_the_tempo_is_the_chorale_s(pairs):
    assert all(piece.score.tempos[0].qpm == chorale.score.tempos[0].qpm for piece, chorale, _ in pairs)
