import csv
import os
import re
import struct
import subprocess
import sys
import textwrap
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from music21 import bar, chord, clef, duration, expressions, instrument, meter, note, stream, tempo, tie

from course_lib import files, music

QUARTER = music.corpus.TICKS_PER_QUARTER


# ---------------------------------------------------------------- the embedded corpus


@pytest.fixture(scope="module")
def corpus():
    return music.corpus.embedded()


def test_the_corpus_has_the_four_composers(corpus):
    composers = [piece.composer for piece in corpus]
    counts = {composer: composers.count(composer) for composer in music.corpus.COMPOSERS}
    assert counts == {"bach": 409, "haydn": 9, "mozart": 16, "beethoven": 22}
    assert len(corpus) == sum(counts.values())
    names = [piece.name for piece in corpus]
    assert names == sorted(set(names))
    assert all(piece.name.startswith(piece.composer + "/") for piece in corpus)


def test_no_two_pieces_of_the_corpus_have_the_same_notes(corpus):
    seen = {}
    for piece in corpus:
        notes = sorted((n.time, n.duration, n.pitch) for track in piece.score.tracks for n in track.notes)
        transposed = tuple((time - notes[0][0], pitch - notes[0][2]) for time, _, pitch in notes)
        assert transposed not in seen, f"{piece.name} repeats {seen[transposed]}, maybe transposed"
        seen[transposed] = piece.name


def test_works_that_stand_twice_are_taken_once():
    names = [name for name, _ in music.corpus.corpus_paths()]
    assert len(names) == len(set(names)) == 457  # and one of them copies another note for note
    twice = 0
    for name, path in music.corpus.corpus_paths():
        both = path.with_suffix(".krn").exists() and path.with_suffix(".mxl").exists()
        assert not both or path.suffix == ".mxl", name
        twice += both
    assert twice == 3 + 4  # three chorales, and the movements of a quartet by Beethoven


def test_every_piece_of_the_corpus_is_music(corpus):
    metres = re.compile(r"([2-9]|12)/(2|4|8)")
    for piece in corpus:
        assert piece.time_signatures and all(metres.fullmatch(each) for each in piece.time_signatures)
        assert piece.score.ticks_per_quarter == QUARTER
        assert len(piece.score.tempos) == 1 and 20 < piece.score.tempos[0].qpm < 300
        for track in piece.score.tracks:
            columns = track.notes.numpy()
            assert columns["time"].min() >= 0 and columns["duration"].min() > 0
            assert columns["pitch"].min() > 20 and columns["pitch"].max() < 109
    assert sum(piece.time_signatures == ("4/4",) for piece in corpus) > 300


def test_a_known_chorale_has_its_four_voices(corpus):
    (chorale,) = [piece for piece in corpus if piece.name == "bach/bwv66.6"]
    assert chorale.time_signatures == ("4/4",)
    soprano, *others = chorale.score.tracks
    assert [track.name for track in chorale.score.tracks] == ["Soprano", "Alto", "Tenor", "Bass"]
    opening = [(n.time / QUARTER, n.duration / QUARTER, n.pitch) for n in soprano.notes][:5]
    assert opening == [(0, 0.5, 73), (0.5, 0.5, 71), (1, 1, 69), (2, 1, 71), (3, 1, 73)]
    assert all(track.notes for track in others)


# ---------------------------------------------------------------- files that are whole


def test_a_file_is_replaced_when_its_block_ends_and_stays_when_that_fails(tmp_path):
    path = tmp_path / "song.mid"
    with files.atomic_write(path) as partial:
        partial.write_bytes(b"whole")
        assert list(tmp_path.iterdir()) == [partial] and list(music.midi.midi_files(tmp_path)) == []
    with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"whole"


def test_two_processes_write_under_two_names(tmp_path, monkeypatch):
    with files.atomic_write(tmp_path / "a.json") as mine:
        monkeypatch.setattr(files.os, "getpid", lambda: 0)
        with files.atomic_write(tmp_path / "a.json") as theirs:
            mine.write_text("mine")
            theirs.write_text("theirs")
        assert (tmp_path / "a.json").read_text() == "theirs"
    assert (tmp_path / "a.json").read_text() == "mine"


# ---------------------------------------------------------------- the cache of the corpus

TINY = ("bach/bwv125.6", "bach/bwv165.6", "bach/bwv66.6")


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A corpus of three works, cached in an empty folder."""
    works = [work for work in music.corpus.corpus_paths() if work[0] in TINY]
    monkeypatch.setattr(music.corpus, "corpus_paths", lambda: list(works))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def one_thread(monkeypatch):
    """Works are converted one by one in this process, where a test can interfere."""
    monkeypatch.setattr(music.corpus, "ProcessPoolExecutor", lambda *options, **others: ThreadPoolExecutor(1))


def test_the_cache_is_built_once_by_several_processes(tiny, monkeypatch):
    built = music.corpus.embedded()
    assert [piece.name for piece in built] == list(TINY)
    (cache,) = tiny.iterdir()  # nothing unfinished beside it
    assert zipfile.ZipFile(cache).namelist() == [f"{name}.mid" for name in TINY]
    monkeypatch.setattr(music.corpus, "_build_cache", None)  # reading again must not build
    assert music.midi.fingerprint(music.corpus.load("embedded")) == music.midi.fingerprint(built)


def test_the_cached_piece_is_the_converted_one(tiny, one_thread):
    from music21 import converter

    cached = music.corpus.embedded()[2]
    direct = music.corpus.score_from_music21(
        converter.parse(dict(music.corpus.corpus_paths())[cached.name], forceSource=True)
    )
    assert [(t.name, *((n.time, n.duration, n.pitch) for n in t.notes)) for t in cached.score.tracks] == [
        (t.name, *((n.time, n.duration, n.pitch) for n in t.notes)) for t in direct.tracks
    ]


DAMAGE = {
    "a changed byte of music": lambda sound: sound[:300] + bytes([sound[300] ^ 1]) + sound[301:],
    "a shortened file": lambda sound: sound[:-40],
    "half a file": lambda sound: sound[: len(sound) // 2],
    "an empty file": lambda sound: b"",
    "another kind of file": lambda sound: b"not music" * 100,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_built_again(kind, tiny, one_thread):
    music.corpus.embedded()
    (cache,) = tiny.iterdir()
    cache.write_bytes(DAMAGE[kind](cache.read_bytes()))
    assert music.corpus._read_cache(cache) is None
    assert [piece.name for piece in music.corpus.embedded()] == list(TINY)
    assert [*tiny.iterdir()] == [cache] and len(music.corpus._read_cache(cache)) == 3


def test_any_changed_bit_of_the_cache_is_noticed_or_means_nothing(tiny, one_thread):
    whole = music.midi.fingerprint(music.corpus.embedded())
    (cache,) = tiny.iterdir()
    sound = cache.read_bytes()
    noticed = 0
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        cache.write_bytes(damaged)
        pieces = music.corpus._read_cache(cache)
        noticed += pieces is None
        assert pieces is None or music.midi.fingerprint(pieces) == whole, place
    assert noticed > 0.8 * len(sound)


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions there")
def test_the_cache_can_be_read_by_whom_the_folder_around_it_lets_in(tiny, one_thread):
    music.corpus.embedded()
    (cache,) = tiny.iterdir()
    assert cache.stat().st_mode & 0o044 == tiny.stat().st_mode & 0o044


def test_works_that_copy_another_note_for_note_are_dropped(tiny, one_thread, monkeypatch):
    works = music.corpus.corpus_paths()
    monkeypatch.setattr(music.corpus, "corpus_paths", lambda: [*works, ("bach/copy", works[0][1])])
    assert [piece.name for piece in music.corpus.embedded()] == list(TINY)


def test_an_interrupted_build_leaves_nothing_and_does_not_finish_first(tiny, one_thread, monkeypatch):
    def interrupted(jobs, **options):
        yield next(iter(jobs))
        raise KeyboardInterrupt

    converted = []
    convert = music.corpus._as_midi

    def counted(source):
        converted.append(source)
        return convert(source)

    works = music.corpus.corpus_paths() * 20
    monkeypatch.setattr(music.corpus, "corpus_paths", lambda: list(works))
    monkeypatch.setattr(music.corpus, "_as_midi", counted)
    monkeypatch.setattr(music.corpus, "tqdm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        music.corpus.embedded()
    assert 1 <= len(converted) < 10, "the works still waiting are not to be converted"
    assert [*tiny.iterdir()] == []


def no_space(*arguments, **options):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("owner", "method"), [(Path, "mkdir"), (zipfile.ZipFile, "writestr")])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(owner, method, tiny, one_thread, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, no_space)
        with pytest.raises(OSError, match=r"The corpus cache .* could not be written .*No space left.*COURSE_CACHE"):
            music.corpus.embedded()
    assert not tiny.exists() or [*tiny.iterdir()] == []
    assert len(music.corpus.embedded()) == 3  # and once there is space again, it is built


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_real_failure_to_write_is_one_sentence_and_leaves_nothing(tiny, one_thread):
    import resource

    music.corpus.corpus_paths()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the works are larger
        with pytest.raises(OSError, match="could not be written .*free some disk space") as caught:
            music.corpus.embedded()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [*tiny.iterdir()] == []


def test_a_cache_folder_that_cannot_be_made_is_one_sentence(tiny, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="could not be written"):
        music.corpus.embedded()


def test_a_cache_that_another_process_built_meanwhile_does_no_harm(tiny, one_thread, monkeypatch):
    def slow(jobs, **options):
        yield from jobs
        with monkeypatch.context() as other:  # another process, done first
            other.setattr(music.corpus, "tqdm", lambda jobs, **options: jobs)
            other.setattr(files.os, "getpid", lambda: 0)
            assert len(music.corpus.embedded()) == 3

    monkeypatch.setattr(music.corpus, "tqdm", slow)
    assert len(music.corpus.embedded()) == 3
    assert len([*tiny.iterdir()]) == 1


def test_what_music21_says_of_bars_that_are_too_long_is_not_shown(tmp_path):
    notes = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>900</duration></note>"
    (tmp_path / "long.musicxml").write_text(
        '<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>Violin</part-name></score-part>'
        '</part-list><part id="P1"><measure number="1"><attributes><divisions>672</divisions><time><beats>1</beats>'
        f"<beat-type>4</beat-type></time></attributes>{notes}</measure><measure number='2'>{notes}</measure>"
        "</part></score-partwise>"
    )
    music21 = music.corpus.import_music21()
    warning = music21.musicxml.xmlObjects.MusicXMLWarning
    with pytest.warns(warning, match="overfull"):
        music21.converter.parse(tmp_path / "long.musicxml", forceSource=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert symusic.Score.from_midi(music.corpus._as_midi(tmp_path / "long.musicxml")).note_num() == 2


def test_a_script_without_a_main_guard_is_told_so(tiny, tmp_path):
    """Worker processes run the script again: Python then refuses, and the pool breaks."""
    script = tmp_path / "script.py"
    script.write_text("from course_lib import music\nprint(len(music.corpus.load()))\n")
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 1
    assert 'load pieces under `if __name__ == "__main__":`' in run.stderr
    assert not [*tiny.rglob("*")]


def test_a_pool_that_breaks_leaves_nothing(tiny, one_thread, monkeypatch):
    def broken(source):
        raise BrokenProcessPool("killed")

    monkeypatch.setattr(music.corpus, "_as_midi", broken)
    with pytest.raises(RuntimeError, match="died"):
        music.corpus.embedded()
    assert [*tiny.iterdir()] == []


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("COURSE_CACHE")
    assert files.cache_folder().name in ("cache", "course_lib")


# ---------------------------------------------------------------- music21 scores


def part_of(*elements, name="Right hand"):
    part = stream.Part()
    part.partName = name
    for offset, element in elements:
        part.insert(offset, element)
    return part


def sound(pitch, quarters=1.0, tied=None):
    made = note.Note(pitch, quarterLength=quarters)
    made.tie = tie.Tie(tied) if tied else None
    return made


def rows(score):
    """Of each track, (start, length, pitch) with times in quarter notes."""
    return [sorted((n.time / QUARTER, n.duration / QUARTER, n.pitch) for n in track.notes) for track in score.tracks]


def converted(*parts):
    return rows(music.corpus.score_from_music21(stream.Score(parts)))


def test_parts_become_tracks_and_rests_and_barlines_nothing():
    right = part_of((0, clef.TrebleClef()), (0, sound("C4")), (1, note.Rest(2)), (3, sound("B-4")))
    left = part_of((0, sound("C2", 4)), (4, bar.Barline("final")), name="Left hand")
    silent = part_of((0, note.Rest(4)), name="Triangle")
    score = music.corpus.score_from_music21(stream.Score([right, left, silent]))
    assert rows(score) == [[(0, 1, 60), (3, 1, 70)], [(0, 4, 36)]]
    assert [track.name for track in score.tracks] == ["Right hand", "Left hand"]


def test_odd_rhythms_fall_on_whole_ticks():
    triplet = note.Note("C4")
    triplet.duration = duration.Duration(1 / 3)
    quintuplet = note.Note("D4")
    quintuplet.duration = duration.Duration("16th")
    quintuplet.duration.appendTuplet(duration.Tuplet(5, 4))
    score = music.corpus.score_from_music21(
        stream.Score([part_of((0, triplet), (1, quintuplet), (2, sound("E4", 1 / 32)))])
    )
    assert [(n.time, n.duration) for n in score.tracks[0].notes] == [
        (0, QUARTER // 3),
        (QUARTER, QUARTER // 5),
        (2 * QUARTER, QUARTER // 32),
    ]


def test_ties_are_joined():
    tied = part_of((0, sound("C4", 1, "start")), (1, sound("C4", 2, "continue")), (3, sound("C4", 0.5, "stop")))
    assert converted(tied) == [[(0, 3.5, 60)]]
    unmarked_end = part_of((0, sound("C4", 1, "start")), (1, sound("C4", 2)), (3, sound("C4")))
    assert converted(unmarked_end) == [[(0, 3, 60), (3, 1, 60)]]
    across_bars = stream.Part()
    for number, kind in enumerate(("start", "stop"), 1):
        across_bars.append(stream.Measure([sound("C4", 4, kind)], number=number))
    assert converted(across_bars) == [[(0, 8, 60)]]


def test_notes_that_only_look_tied_are_not_joined():
    repeated = part_of((0, sound("C4")), (1, sound("C4")))
    assert converted(repeated) == [[(0, 1, 60), (1, 1, 60)]]
    other_pitch = part_of((0, sound("C4", 1, "start")), (1, sound("D4", 1, "stop")))
    assert converted(other_pitch) == [[(0, 1, 60), (1, 1, 62)]]
    with_a_gap = part_of((0, sound("C4", 1, "start")), (2, sound("C4", 1, "stop")))
    assert converted(with_a_gap) == [[(0, 1, 60), (2, 1, 60)]]
    in_another_part = part_of((0, sound("C4", 1, "start"))), part_of((1, sound("C4", 1, "stop")))
    assert converted(*in_another_part) == [[(0, 1, 60)], [(1, 1, 60)]]


def test_a_unison_in_another_voice_does_not_end_a_tie():
    part = part_of(
        (0, sound("C4", 2, "start")), (0, sound("C4", 1)), (1, sound("C4", 0.5)), (2, sound("C4", 1, "stop"))
    )
    assert converted(part) == [[(0, 1, 60), (0, 3, 60), (1, 0.5, 60)]]


def test_chords_and_ties_inside_them():
    first, second = chord.Chord(["C4", "E4", "G4"]), chord.Chord(["C4", "F4", "G4"])
    first.quarterLength = second.quarterLength = 2
    first.notes[0].tie, second.notes[0].tie = tie.Tie("start"), tie.Tie("stop")
    assert converted(part_of((0, first), (2, second))) == [[(0, 2, 64), (0, 2, 67), (0, 4, 60), (2, 2, 65), (2, 2, 67)]]
    whole = chord.Chord(["C4", "E4"], quarterLength=1), chord.Chord(["C4", "E4"], quarterLength=1)
    whole[0].tie, whole[1].tie = tie.Tie("start"), tie.Tie("stop")
    assert converted(part_of((0, whole[0]), (1, whole[1]))) == [[(0, 2, 60), (0, 2, 64)]]


def test_grace_notes_are_dropped():
    grace = note.Note("D4", quarterLength=0.5).getGrace()
    grace_chord = chord.Chord(["D4", "F4"], quarterLength=0.5).getGrace()
    assert converted(part_of((0, grace), (0, grace_chord), (0, sound("C4")))) == [[(0, 1, 60)]]


def test_transposing_instruments_sound_at_their_pitch():
    clarinet, piano = part_of((0, instrument.Clarinet()), (0, sound("C4"))), part_of((0, sound("C4")))
    for part in (clarinet, piano):
        part.atSoundingPitch = False
    assert converted(clarinet, piano) == [[(0, 1, 58)], [(0, 1, 60)]]  # a clarinet in B flat


def test_repeats_are_not_played_twice():
    measure = stream.Measure([sound("C4", 4)])
    measure.leftBarline, measure.rightBarline = bar.Repeat(direction="start"), bar.Repeat(direction="end")
    part = stream.Part([measure])
    assert converted(part) == [[(0, 4, 60)]]


def test_the_tempo_is_in_quarter_notes_a_minute():
    def tempo_of(*marks):
        part = part_of((0, sound("C4", 8)), *marks)
        (found,) = music.corpus.score_from_music21(stream.Score([part])).tempos
        return round(found.qpm, 2)

    assert tempo_of() == music.corpus.DEFAULT_TEMPO
    assert tempo_of((0, tempo.MetronomeMark(number=72))) == 72
    assert tempo_of((0, tempo.MetronomeMark(number=60, referent="half"))) == 120
    assert tempo_of((0, tempo.MetronomeMark("somehow")), (4, tempo.MetronomeMark(number=50))) == 50


def test_time_signatures_stand_at_their_place():
    part = part_of((0, meter.TimeSignature("6/8")), (0, sound("C4", 6)), (3, meter.TimeSignature("2/4")))
    score = music.corpus.score_from_music21(stream.Score([part]))
    assert [(m.time / QUARTER, m.numerator, m.denominator) for m in score.time_signatures] == [
        (0, 6, 8),
        (3, 2, 4),
    ]


def marks(*parts):
    """The markers of a converted score, times in quarter notes."""
    score = music.corpus.score_from_music21(stream.Score(parts))
    return [(mark.text, mark.time / QUARTER) for mark in score.markers]


def bars(*contents, upbeat=0.0):
    """A part in 4/4 of these measures, the first of them an upbeat of so many quarter notes."""
    measures = [stream.Measure(content, number=number) for number, content in enumerate(contents, int(not upbeat))]
    measures[0].insert(0, meter.TimeSignature("4/4"))
    measures[0].paddingLeft = 4 - upbeat if upbeat else 0
    return stream.Part(measures)


def held(element):
    element.expressions.append(expressions.Fermata())
    return element


@pytest.mark.parametrize("upbeat", [1, 0.5, 3])
def test_the_first_bar_line_comes_after_the_upbeat(upbeat):
    part = bars([sound("C4", upbeat)], [sound("D4", 4)], [sound("E4", 4)], upbeat=upbeat)
    assert marks(part) == [("bar line", upbeat)]


def test_without_an_upbeat_or_bars_the_first_bar_line_is_the_beginning():
    assert marks(bars([sound("C4", 4)], [sound("D4", 4)])) == [("bar line", 0)]
    assert marks(part_of((0, sound("C4", 4)))) == [("bar line", 0)]


def test_fermatas_are_marked_where_they_end_once_for_all_parts():
    upper = bars([sound("C4")], [sound("D4", 2), held(sound("E4", 2))], [held(sound("F4", 4))], upbeat=1)
    lower = bars([sound("C3")], [sound("D3", 2), held(sound("E3", 1.5)), sound("E3", 0.5)], [sound("F3", 4)], upbeat=1)
    assert marks(upper) == [("bar line", 1), ("fermata", 5), ("fermata", 9)]
    assert marks(upper, lower) == [("bar line", 1), ("fermata", 4.5), ("fermata", 5), ("fermata", 9)]
    whole = held(chord.Chord(["C4", "E4"], quarterLength=4))
    assert marks(bars([whole])) == [("bar line", 0), ("fermata", 4)]
    accented = sound("C4", 4)
    accented.expressions.append(expressions.Trill())
    assert marks(bars([accented])) == [("bar line", 0)]


def test_the_marks_of_a_known_chorale_are_in_the_corpus(corpus):
    """As printed. The cache holds MIDI files, and these are markers in them."""
    (chorale,) = [piece for piece in corpus if piece.name == "bach/bwv66.6"]
    found = [(mark.text, mark.time / QUARTER) for mark in chorale.score.markers]
    assert found[0] == ("bar line", 1)
    assert found[1:] == [("fermata", end) for end in (4, 8, 12, 20, 29, 36)]
    assert all(piece.score.markers for piece in corpus)


# ---------------------------------------------------------------- fingerprints


def piece_of(*pitches, name="a", metre=("4/4",)):
    score = symusic.Score(480)
    track = symusic.Track()
    for place, pitch in enumerate(pitches):
        track.notes.append(symusic.Note(480 * place, 480, pitch, 80))
    score.tracks.append(track)
    return music.midi.Piece(name, "", score, metre)


pieces_of_music = st.lists(st.lists(st.integers(0, 127), min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda songs: [piece_of(*song, name=str(place)) for place, song in enumerate(songs)]
)


@given(pieces_of_music, st.data())
def test_the_fingerprint_changes_with_a_note_and_not_with_the_order(pieces, data):
    before = music.midi.fingerprint(pieces)
    assert re.fullmatch("[0-9a-f]{12}", before)
    assert music.midi.fingerprint(data.draw(st.permutations(pieces))) == before
    changed = data.draw(st.sampled_from(pieces)).score.tracks[0].notes
    place = data.draw(st.integers(0, len(changed) - 1))
    attribute, value = data.draw(st.sampled_from([("pitch", 1), ("time", 7), ("duration", -3)]))
    old = getattr(changed[place], attribute)
    setattr(changed[place], attribute, old + value if old + value <= 127 or attribute != "pitch" else old - 1)
    assert music.midi.fingerprint(pieces) != before
    setattr(changed[place], attribute, old)
    assert music.midi.fingerprint(pieces) == before


def test_the_fingerprint_changes_with_names_metre_and_number_of_pieces():
    variants = [
        [piece_of(60)],
        [piece_of(60, name="b")],
        [piece_of(60, metre=("3/4",))],
        [piece_of(60), piece_of(60, name="b")],
        [piece_of(60, 62)],
        [],
    ]
    assert len({music.midi.fingerprint(pieces) for pieces in variants}) == len(variants)


def test_the_state_of_the_embedded_corpus_is_its_format_and_the_version_of_music21(monkeypatch):
    before = music.corpus.state("embedded")
    assert before == music.corpus.state() == f"embedded-{music.corpus.FORMAT}-music21-{version('music21')}"
    monkeypatch.setattr(music.corpus, "FORMAT", 0)
    assert music.corpus.state("embedded") != before


def test_the_state_of_a_folder_changes_with_its_midi_files_and_reads_none(tmp_path, monkeypatch):
    song = write(tmp_path, "deep/song.mid", GOOD)
    monkeypatch.setattr(music.midi, "read", None)
    seen = [music.corpus.state(tmp_path)]
    assert re.fullmatch("[0-9a-f]{12}", seen[0]) and music.corpus.state(str(tmp_path)) == seen[0]
    write(tmp_path, "deep/notes.txt", b"no music")
    assert music.corpus.state(tmp_path) == seen[0]

    def change_time():
        os.utime(song, ns=(0, song.stat().st_mtime_ns + 1_000_000_000))

    changes = [
        lambda: write(tmp_path, "new.mid", GOOD),
        change_time,
        lambda: song.write_bytes(GOOD + b"more"),
        lambda: song.rename(tmp_path / "moved.mid"),
        lambda: (tmp_path / "moved.mid").unlink(),
    ]
    for change in changes:
        change()
        seen.append(music.corpus.state(tmp_path))
    assert len(set(seen)) == len(seen)


def test_the_state_of_prepared_data_is_that_of_their_index(tmp_path):
    (tmp_path / "bands.json").write_text('{"fingerprint": "a"}')
    before = music.corpus.state(tmp_path)
    (tmp_path / "shard-0000.npy").write_bytes(b"music")
    assert music.corpus.state(tmp_path) == before
    (tmp_path / "bands.json").write_text('{"fingerprint": "b"}')
    assert music.corpus.state(tmp_path) != before


# ---------------------------------------------------------------- MIDI files, written byte by byte


def length(value):
    """A variable-length quantity of the Standard MIDI File."""
    digits = [value & 127]
    while value := value >> 7:
        digits.insert(0, value & 127 | 128)
    return bytes(digits)


def track(events, end=b"\x00\xff\x2f\x00"):
    body = events + end
    return b"MTrk" + struct.pack(">I", len(body)) + body


def midi(*tracks, division=480, kind=1, declared=None):
    count = len(tracks) if declared is None else declared
    return b"MThd" + struct.pack(">IHHH", 6, kind, count, division) + b"".join(tracks)


NOTE = b"\x00\x90\x3c\x50\x83\x60\x80\x3c\x00"  # one quarter note, middle C
GOOD = midi(track(NOTE))
DRUMS_ONLY = midi(track(NOTE.replace(b"\x90", b"\x99").replace(b"\x80", b"\x89")))
LONGEST_TIME = length(2**28 - 1)

BAD = {
    "truncated": (GOOD[:-6], "cut off in track 1 of 1"),
    "truncated_header": (GOOD[:11], "cut off in its header"),
    "truncated_between_tracks": (midi(track(NOTE), declared=2), "cut off in track 2 of 2"),
    "empty": (b"", "an empty file"),
    "text": (b"This is my favourite tune.\n", "not a MIDI file"),
    "mac_resource": (b"\x00\x05\x16\x07" + bytes(100), "not a MIDI file"),
    "riff": (b"RIFF" + struct.pack("<I", len(GOOD)) + b"RMIDdata" + GOOD, "not a MIDI file"),
    "oversized": (midi(track(NOTE * 100)), "larger than 0 MB"),
    "no_tracks": (midi(), "holds no notes"),
    "no_notes": (midi(track(b"")), "holds no notes"),
    "never_ending_note": (midi(track(NOTE[:4])), "holds no notes"),
    "zero_tempo": (midi(track(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE)), "has a tempo of zero"),
    "forty_thousand_tracks": (midi(track(NOTE), declared=40_000), "declares 40,000 tracks, more than 1,000"),
    "smpte_clock": (midi(track(NOTE), division=0xE728), r"not readable as MIDI \(.*Division type"),
    "zero_clock": (midi(track(NOTE), division=0), "its clock is not in ticks a quarter note"),
    "zero_metre": (midi(track(b"\x00\xff\x58\x04\x00\x02\x18\x08" + NOTE)), "has a time signature of zero"),
    "huge_metre": (midi(track(b"\x00\xff\x58\x04\x04\xc8\x18\x08" + NOTE)), "has a time signature of zero"),
    "absurd_time": (
        midi(track(LONGEST_TIME + NOTE[1:])),
        "claims to last more than 20,000 quarter notes",
    ),
    "absurd_times_that_overflow": (
        midi(track((LONGEST_TIME + b"\xff\x01\x00") * 9 + NOTE)),
        "claims to last more than 20,000 quarter notes",
    ),
    "unknown_format": (midi(track(NOTE), kind=9), r"not readable as MIDI \(.*format"),
    "pitch_above_127": (midi(track(NOTE.replace(b"\x3c", b"\xc8"))), "a damaged event in track 1 of 1"),
    "no_status": (midi(track(NOTE), track(b"\x00\x3c\x50")), "a damaged event in track 2 of 2"),
    "no_status_after_system_exclusive": (
        midi(track(NOTE[:4] + b"\x00\xf0\x02\x43\xf7\x60\x3c\x00" + NOTE)),
        "a damaged event in track 1 of 1",
    ),
    "text_beyond_the_track": (midi(track(b"\x00\xff\x01\xff\x7f")), "a damaged event in track 1 of 1"),
    "time_of_five_bytes": (midi(track(b"\x80\x80\x80\x80" + NOTE)), "a damaged event in track 1 of 1"),
    "escape_event": (midi(track(b"\x00\xf7\x01\x43" + NOTE)), "a damaged event in track 1 of 1"),
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_is_read_at_any_depth(tmp_path):
    metre = b"\x00\xff\x58\x04\x03\x02\x18\x08"
    for name in ("Bach/a/b/c/deep.mid", "Bach/flat.midi", "top.mid", "UPPER.MID", "Ravel/Mixed.Midi"):
        write(tmp_path, name, midi(track(metre + NOTE)))
    write(tmp_path, "Bach/plain.mid", GOOD)
    write(tmp_path, "Bach/notes.txt", b"not music, and not said to be")
    (tmp_path / "a folder.mid").mkdir()
    pieces = music.corpus.load(str(tmp_path))
    assert {piece.name: (piece.composer, piece.time_signatures) for piece in pieces} == {
        "Bach/a/b/c/deep": ("Bach", ("3/4",)),
        "Bach/flat": ("Bach", ("3/4",)),
        "Bach/plain": ("Bach", ("4/4",)),  # what MIDI means when it says nothing
        "Ravel/Mixed": ("Ravel", ("3/4",)),
        "UPPER": ("", ("3/4",)),
        "top": ("", ("3/4",)),
    }
    assert all([(n.time, n.duration, n.pitch) for n in p.score.tracks[0].notes] == [(0, 480, 60)] for p in pieces)


def test_time_signatures_are_named_once_in_order(tmp_path):
    def metre(numerator, power):
        return b"\x00\xff\x58\x04" + bytes([numerator, power, 24, 8]) + NOTE

    write(tmp_path, "a.mid", midi(track(metre(4, 2) + metre(6, 3) + metre(4, 2) + metre(2, 1))))
    (piece,) = music.midi.folder(tmp_path)
    assert piece.time_signatures == ("4/4", "6/8", "2/2")


def test_bad_files_among_good_ones_are_skipped_named_and_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(music.midi, "MAX_FILE_BYTES", 500)
    for name, (content, _) in BAD.items():
        write(tmp_path, f"bad/{name}.mid", content)
    write(tmp_path, "good/one.mid", GOOD)
    write(tmp_path, "good/two.mid", midi(track(b""), track(NOTE)))
    pieces = music.midi.folder(tmp_path)
    assert [piece.name for piece in pieces] == ["good/one", "good/two"]
    captured = capsys.readouterr()
    heading, *lines = captured.err.strip().splitlines()
    assert heading == f"Skipped {len(BAD)} of {len(BAD) + 2} MIDI files in {tmp_path}:"
    assert len(lines) == len(BAD) and captured.out == ""
    for line, (name, (_, reason)) in zip(lines, sorted(BAD.items()), strict=True):
        assert re.match(rf"  bad/{name}\.mid: {reason}", line)


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_alone_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.setattr(music.midi, "MAX_FILE_BYTES", 500)
    content, reason = BAD[name]
    path = write(tmp_path, "bad.mid", content)
    with pytest.raises(ValueError, match=reason):
        music.midi.read(path)
    with pytest.raises(
        ValueError, match=r"None of the 1 MIDI files in .* can be used; the first: bad\.mid: .*\.$"
    ) as e:
        music.midi.folder(tmp_path)
    assert "\n" not in str(e.value)


def test_drums_alone_can_be_read_but_are_no_piece(tmp_path, capsys):
    path = write(tmp_path, "drums.mid", DRUMS_ONLY)
    assert music.midi.read(path).note_num() == 1
    with pytest.raises(ValueError, match=r"None of the 1 MIDI files in .* can be used; the first: drums.mid: holds dr"):
        music.midi.folder(tmp_path)
    write(tmp_path, "piano.mid", GOOD)
    assert [piece.name for piece in music.midi.folder(tmp_path)] == ["piano"]
    assert "Skipped 1 of 2" in (told := capsys.readouterr().err) and "drums.mid: holds drums only" in told


def test_a_file_that_may_not_be_read_is_skipped(tmp_path, capsys, monkeypatch):
    read = Path.read_bytes

    def read_bytes(path):
        if path.name == "secret.mid":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    write(tmp_path, "open.mid", GOOD)
    write(tmp_path, "secret.mid", GOOD)
    assert [piece.name for piece in music.midi.folder(tmp_path)] == ["open"]
    assert "Skipped 1 of 2" in (told := capsys.readouterr().err) and "secret.mid: " in told


def test_a_folder_without_midi_or_no_folder_is_one_sentence(tmp_path):
    write(tmp_path, "readme.txt", b"no music here")
    for path, reason in [
        (tmp_path, "holds no .mid or .midi file at any depth"),
        (tmp_path / "nowhere", "There is no folder"),
        (tmp_path / "readme.txt", "There is no folder"),
    ]:
        with pytest.raises(ValueError, match=reason) as caught:
            music.corpus.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want file names in Unicode")
def test_file_names_need_not_be_utf8(tmp_path):
    name = os.fsdecode("Für Elise.mid".encode("latin-1"))
    write(tmp_path, name, GOOD)
    (piece,) = music.midi.folder(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", music.midi.fingerprint([piece]))


def test_files_that_are_odd_but_allowed_are_read(tmp_path):
    def read(*tracks, **header):
        score = music.midi.read(write(tmp_path, "odd.mid", midi(*tracks, **header)))
        return [(n.time, n.duration, n.pitch) for t in score.tracks for n in t.notes]

    one = [(0, 480, 60)]
    assert read(track(NOTE, end=b"")) == one  # no end of track
    assert read(track(NOTE[:6] + b"\x3c\x00")) == one  # running status, velocity 0
    assert read(track(NOTE[:4] + b"\x00\xff\x01\x02la" + b"\x83\x60\x3c\x00")) == one  # it outlives a text
    assert read(track(b"\x00\xc0\x05\x00\x07" + NOTE)) == one  # and stands for a program too
    assert read(track(b"\x00\xf0\x03\x43\x12\xf7" + NOTE)) == one  # system exclusive
    assert read(track(b"\x00\xff\x01\x81\x00" + b"x" * 128 + NOTE)) == one  # a long text
    assert read(track(b"\x00\xe0\x00\x40\x00\xd0\x11\x00\xb0\x07\x7f" + NOTE)) == one  # bend, pressure, control
    assert read(track(NOTE) + b"XFIH" + struct.pack(">I", 2) + b"ab") == one  # a chunk of somebody's own
    assert read(b"XFIH" + struct.pack(">I", 2) + b"ab" + track(NOTE), declared=1) == one
    assert read(track(NOTE), track(NOTE), kind=2) == one * 2
    drums = NOTE.replace(b"\x90", b"\x99").replace(b"\x80", b"\x89")
    assert len(read(track(drums), track(NOTE))) == 2  # drums beside notes
    assert music.midi.read(write(tmp_path, "odd.mid", GOOD + b"rubbish")).note_num() == 1


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 15), st.integers(0, 127)), min_size=1, max_size=30))
def test_files_that_symusic_writes_are_read_back(tmp_path_factory, notes):
    score = symusic.Score(960)
    for channel in range(16):
        made = symusic.Track(program=channel)
        for time, number, pitch in notes:
            if number == channel:
                made.notes.append(symusic.Note(time, 480, pitch, 64))
        score.tracks.append(made)
    path = write(tmp_path_factory.getbasetemp(), "written.mid", score.dumps_midi())
    back = music.midi.read(path)
    assert sorted({(n.time, n.pitch) for t in back.tracks for n in t.notes}) == sorted({(t, p) for t, _, p in notes})


FUZZ = textwrap.dedent("""
    import collections, pathlib, random, sys, time
    from course_lib import music

    outcomes, slowest = collections.Counter(), 0
    originals = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).glob("*.mid"))]
    file = pathlib.Path(sys.argv[1]) / "mutant"
    for seed in range(int(sys.argv[2])):
        rng = random.Random(seed)
        content = bytearray(rng.choice(originals))
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        near = rng.choice((40, 200, len(content)))
        for _ in range(rng.choice((0, 1, 2, 5, 20, 100))):
            if content:
                place = rng.randrange(min(near, len(content)))
                flipped = content[place] ^ 1 << rng.randrange(8)
                content[place] = rng.choice((0, 127, 255, rng.randrange(256), flipped))
        file.write_bytes(content)
        started = time.perf_counter()
        try:
            score = music.midi.read(file)
            outcomes["read"] += 1
            columns = [track.notes.numpy() for track in score.tracks if track.notes]
            assert all(c["time"].min() >= 0 and c["duration"].min() >= 0 for c in columns)
            assert all(c["pitch"].min() >= 0 and c["velocity"].min() >= 0 for c in columns)
            music.notes.from_score(score), music.frames.from_score(score)
        except ValueError as problem:
            assert str(problem) and chr(10) not in str(problem)
            outcomes["refused"] += 1
        slowest = max(slowest, time.perf_counter() - started)
    print(outcomes["read"], outcomes["refused"], slowest)
""")


def test_damaged_bytes_never_crash_or_hang_the_process(tmp_path, corpus):
    """In a process of its own: symusic's reader is C++, and trusts what it reads."""
    shortest = min(corpus, key=lambda piece: piece.score.note_num())
    write(tmp_path, "real.mid", shortest.score.dumps_midi())
    write(
        tmp_path,
        "channel16.mid",
        midi(*[track(b"\x00\x9f" + b"\x3c\x50\x60\x3c\x00\x00" * 60 + b"\x3c\x00")] * 2),
    )
    write(
        tmp_path,
        "rich.mid",
        midi(track(b"\x00\xff\x03\x02ab\x00\xc0\x05\x00\xf0\x03\x43\x12\xf7" + NOTE * 20)),
    )
    run = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path), "2500"], capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr[-2000:]
    read, refused, slowest = map(float, run.stdout.split())
    assert read > 500 and refused > 500, "both outcomes must be tried"
    assert slowest < 5


def test_damaged_notes_that_crash_symusic_are_refused(tmp_path):
    """Pitches above 127 on channel 16 write beyond the reader's table of sounding notes."""
    crashing = track(b"".join(b"\x00\x9f" + bytes([pitch]) + b"\x50" for pitch in range(128, 256)))
    path = write(tmp_path, "crash.mid", midi(crashing))
    code = f"from pathlib import Path; from course_lib import music; music.midi.read(Path({str(path)!r}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "ValueError: a damaged event in track 1 of 1" in run.stderr


# ---------------------------------------------------------------- real folders


def unpacked(archive, folder):
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


def test_every_piano_score_of_asap_loads(downloaded, tmp_path, capsys):
    pieces = music.midi.folder(unpacked(downloaded / "asap_scores.zip", tmp_path))
    assert len(pieces) == 235 and capsys.readouterr().err == ""
    with open(downloaded / "asap_manifest.csv") as file:
        manifest = {row["path"]: row for row in csv.DictReader(file)}
    assert len(manifest) == 235
    for piece in pieces:
        row = manifest[piece.name + ".mid"]
        assert piece.score.note_num() == int(row["notes"])
        assert set(piece.time_signatures) == set(row["time_signatures"].split())
    assert {"Bach", "Chopin", "Ravel"} < {piece.composer for piece in pieces}


def test_every_band_song_loads(downloaded, tmp_path, capsys):
    pieces = music.midi.folder(unpacked(downloaded / "band_midi_children_songs.zip", tmp_path))
    assert len(pieces) == 161 and capsys.readouterr().err == ""
    assert all(len(piece.score.tracks) > 1 for piece in pieces)
