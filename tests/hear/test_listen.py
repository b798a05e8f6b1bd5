import io
import sys

import numpy as np
import psutil
import pytest
import soundfile
import symusic
from scipy.signal import resample_poly

from course_lib.hear import listen, soundfont


def score_of(*notes, tempo=120, program=0, drums=False):
    """A score from (start, length, pitch) in quarter notes."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, tempo))
    track = symusic.Track(program=program, is_drum=drums)
    for start, length, pitch in notes:
        track.notes.append(symusic.Note(round(480 * start), round(480 * length), pitch, 90))
    score.tracks.append(track)
    return score


TUNE = score_of((0, 1, 60), (1, 1, 64), (2, 2, 67))  # two seconds
SILENT = [symusic.Score(480), score_of()]


def loudest_frequency(audio):
    """In hertz, of the first second of both channels together."""
    second = audio[: soundfont.SAMPLE_RATE].sum(axis=1) * np.hanning(soundfont.SAMPLE_RATE)
    return np.abs(np.fft.rfft(second)).argmax()


# ---------------------------------------------------------------- sound in memory


def test_sound_has_its_peak_at_nine_tenths():
    for score in (TUNE, score_of((0, 1, 30)), score_of(*[(0, 4, pitch) for pitch in range(30, 90)])):
        audio = listen.render(score)
        assert audio.dtype == "float32" and audio.ndim == 2 and audio.shape[1] == 2
        assert audio.flags.c_contiguous and np.isfinite(audio).all()
        assert np.abs(audio).max() == pytest.approx(0.9, abs=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by glibc, which Linux alone has")
def test_noise_on_all_pitches_leaves_no_memory_behind():
    listen.render(TUNE)
    before = psutil.Process().memory_info().rss
    noise = symusic.Score(480)
    for program in range(0, 80, 16):
        noise.tracks.append(score_of(*[(step / 4, 0.25, step) for step in range(128)], program=program).tracks[0])
    listen.render(noise)
    assert psutil.Process().memory_info().rss < before + 150 * 2**20
    assert listen.render(TUNE).any()  # by a new synthesizer


def test_all_pitches_are_rendered_in_portions_that_fit():
    portions = soundfont.portions(range(128))
    assert sum(portions, []) == list(range(128)) and len(portions) > 1
    assert all(soundfont.length(each) <= soundfont.MOST_KEPT for each in portions)


def test_a_track_without_notes_beside_one_of_many_sounds_is_silent():
    alone = score_of(*((0, 1, pitch) for pitch in range(20, 100)))
    assert soundfont.length(range(20, 100)) > soundfont.MOST_KEPT
    both = alone.copy()
    both.tracks.append(symusic.Track("silent"))
    assert np.array_equal(listen.render(both), listen.render(alone))


@pytest.mark.parametrize("score", SILENT)
def test_an_empty_score_is_a_second_of_silence(score):
    audio = listen.render(score)
    assert audio.shape == (44_100, 2) and audio.dtype == "float32" and not audio.any()


@pytest.mark.parametrize(("tempo", "seconds"), [(120, 2), (60, 4), (240, 1)])
def test_sound_lasts_as_long_as_the_music_and_its_tail(tempo, seconds):
    audio = listen.render(score_of((0, 1, 60), (1, 3, 64), tempo=tempo))
    assert seconds - 0.05 < len(audio) / 44_100 < seconds + 4  # strings ring on
    before_the_end = audio[int((seconds - 0.2) * 44_100) : int(seconds * 44_100)]
    assert np.abs(before_the_end).max() > 0.01


def test_notes_sound_when_the_score_says_so():
    audio = listen.render(score_of((4, 1, 60)))  # after two seconds
    assert np.abs(audio[: int(1.95 * 44_100)]).max() < 0.01
    assert np.abs(audio[int(2.0 * 44_100) : int(2.4 * 44_100)]).max() > 0.5


def test_a_440_hertz_is_heard_at_440_hertz():
    assert abs(loudest_frequency(listen.render(score_of((0, 4, 69)))) - 440) < 4


@pytest.mark.parametrize("program", [0, 24, 40, 73], ids=["piano", "guitar", "violin", "flute"])
def test_every_note_is_in_tune(program):
    """symusic alone plays most notes of this piano and violin up to two octaves too high."""
    for pitch in range(45, 86, 4):
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        partial = loudest_frequency(listen.render(score_of((0, 4, pitch), program=program))) / frequency
        assert min(abs(12 * np.log2(partial / whole)) for whole in (1, 2, 3, 4)) < 0.3, pitch


def test_instruments_and_drums_sound_different():
    sounds = [
        listen.render(score_of((0, 2, 45), program=program, drums=drums))
        for program, drums in [(0, False), (40, False), (0, True)]
    ]
    shortest = min(map(len, sounds))
    for number, one in enumerate(sounds):
        for other in sounds[number + 1 :]:
            assert np.abs(one[:shortest] - other[:shortest]).max() > 0.1


def test_the_synthesizer_is_made_once():
    assert soundfont.synthesizer() is soundfont.synthesizer()


# ---------------------------------------------------------------- files


def read_ogg(path_or_bytes):
    return soundfile.read(path_or_bytes)


def notes_of(score):
    return [(n.time, n.duration, n.pitch) for track in score.tracks for n in track.notes]


def test_saved_files_hold_the_music(tmp_path):
    midi, ogg = listen.save(TUNE, tmp_path / "new" / "folder" / "a tune, 1.5")
    assert midi == tmp_path / "new" / "folder" / "a tune, 1.5.mid" and ogg == midi.with_name("a tune, 1.5.ogg")
    assert sorted(path.name for path in midi.parent.iterdir()) == ["a tune, 1.5.mid", "a tune, 1.5.ogg"]
    assert notes_of(symusic.Score(midi)) == notes_of(TUNE)
    audio, rate = read_ogg(ogg)
    rendered = listen.render(TUNE)
    assert rate == 44_100 and audio.shape == rendered.shape
    assert np.corrcoef(audio[:, 0], rendered[:, 0])[0, 1] > 0.95  # lossy, but the same sound


def test_saving_again_replaces(tmp_path):
    listen.save(TUNE, tmp_path / "tune")
    midi, ogg = listen.save(score_of((0, 8, 40)), str(tmp_path / "tune"))
    assert notes_of(symusic.Score(midi)) == [(0, 3840, 40)]
    assert len(read_ogg(ogg)[0]) > 3.9 * 44_100


@pytest.mark.parametrize("score", SILENT)
def test_an_empty_score_is_saved_as_silence(score, tmp_path):
    midi, ogg = listen.save(score, tmp_path / "nothing")
    assert symusic.Score(midi).note_num() == 0
    audio, _ = read_ogg(ogg)
    assert len(audio) == 44_100 and np.abs(audio).max() < 1e-4


def test_five_minutes_are_written_whole():
    notes = [(place, 1, 48 + place * 7 % 36) for place in range(600)]  # at 120 a minute
    with soundfile.SoundFile(io.BytesIO(listen.ogg(score_of(*notes)))) as file:
        assert 299.9 < file.frames / file.samplerate < 305
        file.seek(int(299.2 * 44_100))  # the last notes are there
        assert np.abs(file.read(20_000)).max() > 0.1


def test_of_half_an_hour_five_minutes_sound_and_the_midi_file_is_whole(tmp_path):
    notes = [(10 * place, 1, 48 + place % 36) for place in range(360)]  # at 120 a minute
    midi, ogg = listen.save(score_of(*notes, (595, 3_000, 60)), tmp_path / "long")
    assert symusic.Score(midi).note_num() == 361
    with soundfile.SoundFile(ogg) as file:
        assert 299.9 < file.frames / file.samplerate < 305
    late = score_of((1_000, 1, 60))
    assert not listen.render(late).any() and len(listen.render(late)) == 44_100


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize(("limit", "left"), [(20, []), (10_000, ["tune.mid"])])
def test_a_disk_that_fills_up_leaves_nothing_half_written(limit, left, tmp_path):
    import resource

    listen.render(TUNE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(OSError):
            listen.save(TUNE, tmp_path / "tune")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == left
    if left:
        assert notes_of(symusic.Score(tmp_path / "tune.mid")) == notes_of(TUNE)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_fills_up_keeps_what_was_saved_before(tmp_path):
    import resource

    listen.save(TUNE, tmp_path / "tune")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        with pytest.raises(OSError):
            listen.save(score_of((0, 8, 40)), tmp_path / "tune")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---------------------------------------------------------------- in the notebook


def test_a_player_is_an_audio_tag_with_its_sound_inside():
    page = listen.play(TUNE)._repr_html_()
    assert "<audio" in page and "controls" in page
    assert 'src="data:audio/ogg;base64,' in page
    assert len(page) < 200_000


# ---------------------------------------------------------------- the mixing desk


def duet():
    """Two seconds of a low and of a high instrument, a drum, and a track without notes."""
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 120))
    for name, program, pitch, drums in [("low", 33, 33, False), ("high", 73, 88, False), ("kit", 0, 42, True)]:
        track = symusic.Track(name, program, drums)
        track.notes.append(symusic.Note(0, 1920, pitch, 90))
        score.tracks.append(track)
    score.tracks.append(symusic.Track("nobody"))
    return score


@pytest.fixture
def desk():
    """A mixer of the duet: the sliders and buttons of each track by its name, and what its player plays."""
    box = listen.mixer(duet())
    *rows, player = box.children
    controls = {row.children[0].description: row.children for row in rows}

    def heard():
        audio, rate = read_ogg(io.BytesIO(player.value))
        assert rate == 22_050
        return audio.ravel()  # one channel

    return controls, heard


def alone(*names):
    """Tracks of the duet, as loud as in the mix of all: in one channel, at half the sampling rate."""
    score = duet()
    sounds = {track.name: listen._audio(listen._alone(score, track)) for track in score.tracks}
    stems = {name: resample_poly(audio.mean(axis=1), 1, 2) for name, audio in sounds.items()}
    longest = max(map(len, stems.values()))
    stems = {name: np.pad(stem, (0, longest - len(stem))) for name, stem in stems.items()}
    gain = 0.9 / np.abs(sum(stems.values())).max()
    return sum(stems[name] for name in names) * gain


def loudness(audio):
    return np.sqrt((audio[:40_000] ** 2).mean())


def sounds_like(audio, expected):
    """The same sound at the same loudness, as far as Ogg, which loses a little, can tell."""
    length = min(len(audio), len(expected), 40_000)
    correlation = np.corrcoef(audio[:length].ravel(), expected[:length].ravel())[0, 1]
    return correlation > 0.9 and loudness(audio) == pytest.approx(loudness(expected), rel=0.1)


def test_the_desk_has_a_row_for_each_track_that_plays(desk):
    controls, _ = desk
    assert list(controls) == ["low", "high", "kit"]
    for volume, mute, solo in controls.values():
        assert (volume.value, mute.value, solo.value) == (1, False, False)
        assert (mute.description, solo.description) == ("mute", "solo")
        assert volume.min == 0 < volume.max


def test_the_desk_begins_with_everything_and_its_peak_at_nine_tenths(desk):
    _, heard = desk
    assert sounds_like(heard(), alone("low", "high", "kit"))
    assert not sounds_like(heard(), alone("low"))


def test_mute_takes_a_track_out_and_back_in(desk):
    controls, heard = desk
    whole = heard()
    for name in ("high", "kit"):
        controls[name][1].value = True
    assert sounds_like(heard(), alone("low"))
    controls["low"][1].value = True
    assert loudness(heard()) < 1e-4
    for _, mute, _ in controls.values():
        mute.value = False
    assert np.array_equal(heard(), whole)


def test_solo_plays_one_track_even_if_it_is_muted(desk):
    controls, heard = desk
    controls["high"][2].value = True
    assert sounds_like(heard(), alone("high"))
    controls["high"][1].value = True
    assert sounds_like(heard(), alone("high"))
    controls["low"][2].value = True
    assert sounds_like(heard(), alone("low", "high"))
    controls["high"][2].value = False
    assert sounds_like(heard(), alone("low"))


def test_volume_scales_a_track_and_never_overloads(desk):
    controls, heard = desk
    controls["low"][2].value = True
    full = heard()
    controls["low"][0].value = 0.5
    assert loudness(heard()) == pytest.approx(loudness(full) / 2, rel=0.05)
    controls["low"][0].value = 0
    assert loudness(heard()) < 1e-4
    controls["low"][2].value = False
    for volume, _, _ in controls.values():
        volume.value = 2
    assert np.abs(heard()).max() < 1.3, "cut off at 1, give or take what Ogg loses, where it would be 1.8"
    assert loudness(heard()) > 1.3 * loudness(alone("low", "high", "kit"))


@pytest.mark.parametrize("score", SILENT)
def test_the_desk_of_an_empty_score_is_a_second_of_silence(score):
    (player,) = listen.mixer(score).children
    audio, rate = read_ogg(io.BytesIO(player.value))
    assert len(audio) == rate == 22_050 and np.abs(audio).max() < 1e-4
