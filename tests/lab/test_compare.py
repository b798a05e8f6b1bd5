"""All systems side by side, between floor and ceiling, on songs made here: no corpus is read."""

import numpy as np
import pytest
import symusic

from course_lib import measure, music
from course_lib.lab import claims, compare, provenance, record
from course_lib.learn.split import split_songs


def piano(seed, beats=16, center=60):
    """A score that sounds from its first step to its last."""
    rng = np.random.default_rng(seed)
    roll = np.zeros((4 * beats, 128), bool)
    roll[:, center - 12 : center + 12] = rng.random((4 * beats, 24)) < rng.uniform(0.1, 0.4)
    roll[[0, -1], center] = True
    return music.frames.to_score(roll)


def band(seed, beats=16):
    rng = np.random.default_rng(seed)
    roll = np.zeros((2 * beats, 128, 5), bool)
    roll[:, 36:72] = rng.random((2 * beats, 36, 5)) < rng.uniform(0.05, 0.3)
    roll[[0, -1], 60, 0] = True
    return music.band.to_score(roll)


def repeated(times):
    """A score of 16 beats: a note struck that many times in each bar, without a gap."""
    length = 1920 // times
    score = symusic.Score(480)
    score.tracks.append(symusic.Track())
    for number in range(4 * times):
        start = number // times * 1920 + number % times * length
        score.tracks[0].notes.append(symusic.Note(start, length, 60, 80))
    return score


def measured(scores):
    """What a piano's first 16 beats measure."""
    return [measure.piece.measures(music.frames.from_score(s)[:64], onsets=music.frames.onsets(s)[:64]) for s in scores]


def expected(scores, reference):
    """Overlaps by measure, without those that are constant in the reference."""
    rows = measure.sets.compare(measured(scores), measured(reference))
    varied = {name for name in measured(reference)[0] if len({piece[name] for piece in measured(reference)}) > 1}
    return {row["measure"]: row["overlap"] for row in rows if row["measure"] in varied}


def halves(songs):
    """The songs that are the real music, and those that are the other real music."""
    return [[songs[name] for name in half] for half in split_songs(list(songs), (1, 1))]


def row_of(rows, system, profile="quick"):
    [row] = [row for row in rows if (row["system"], row["profile"]) == (system, profile)]
    return row


@pytest.fixture
def songs(monkeypatch):
    """The piano songs that `corpus.load` finds, by name: "a" to "f" to begin with."""
    found = {name: piano(number) for number, name in enumerate("abcdef")}
    monkeypatch.setattr(
        music.corpus,
        "load",
        lambda data: [music.midi.Piece(name, "", score, ("4/4",)) for name, score in found.items()],
    )
    return found


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Writes runs, given as keywords of `run`, and compares their systems; `run` alone writes one."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.setattr(provenance, "git_commit", lambda: None)
    count = iter(range(100))

    def run(
        systems,
        notebook="03_gru_next_note",
        profile="quick",
        seed=0,
        data="here",
        trained=(),
        changed=None,
        **parameters,
    ):
        monkeypatch.setenv("COURSE_OUT", str(tmp_path / f"{next(count):02}"))
        run = record.start(notebook, profile, seed, data, **parameters)
        run.record.changed = changed or {}
        run.trained_on(trained)
        for name, (scores, options) in systems.items():
            run.system(name, scores, **options)
        run.finish()
        return run.folder

    def systems(*runs):
        for each in runs:
            run(**each)
        return compare.systems(record.load(tmp_path))

    systems.run = run
    return systems


# ---------------------------------------------------------------- the reference


def test_what_plays_the_held_out_songs_overlaps_wholly(songs, compared):
    real, other = halves(songs)
    found = compared({"systems": {"copy": (real, {}), "like": (other, {})}})
    copy, like = (row_of(found["piano"], name) for name in ("copy", "like"))
    assert (found["band"], found["notes"]) == ([], [])
    assert copy["overlap"] == 1 and set(copy["overlaps"].values()) == {1}
    assert copy["place"] > 1, "nearer than other real music is"
    assert like["place"] == 1 and like["overlap"] == like["ceiling"] == copy["ceiling"] > like["floor"]


def test_overlaps_are_those_of_measure_compare(songs, compared):
    made = [piano(seed, center=64) for seed in range(20, 26)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    overlaps = expected(made, halves(songs)[0])
    assert row["overlaps"] == pytest.approx(overlaps)
    assert row["overlap"] == pytest.approx(np.mean(list(overlaps.values()))) and 0 < row["overlap"] < 1


def test_a_place_is_that_of_measure_sets(songs, compared):
    made = [piano(seed, center=64) for seed in range(20, 23)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    real, other = (measured(half) for half in halves(songs))
    ceiling = measure.sets.place(measured(made), real, real, other)
    assert [row[name] for name in ("overlap", "ceiling")] == pytest.approx([ceiling["overlap"], ceiling["ceiling"]])
    assert row["place"] == pytest.approx((row["overlap"] - row["floor"]) / (row["ceiling"] - row["floor"]))


def test_measures_that_are_constant_in_real_music_are_left_out(songs, compared):
    found = compared({"systems": {"GRU": ([piano(9)] * 3, {})}})["piano"]
    for name in (compare.NOISE, compare.REAL, "GRU"):
        overlaps = row_of(found, name)["overlaps"]
        assert "empty_bar_rate" not in overlaps and "notes_per_step" in overlaps


def test_songs_that_any_run_of_the_group_trained_on_are_no_reference(songs, compared):
    real, _ = halves(songs)
    songs |= {f"x{seed}": piano(30 + seed) for seed in range(6)} | {"y": piano(9)}
    first = {"systems": {"GRU": (real, {})}, "trained": [f"x{seed}" for seed in range(6)]}
    found = compared(first, {"notebook": "11", "systems": {"XL": (real, {})}, "trained": ["y"]})
    assert [row_of(found["piano"], name)["overlap"] for name in ("GRU", "XL")] == [1, 1]


def test_a_system_may_have_training_songs_of_its_own_and_those_of_the_other_kind_stay_references(songs, compared):
    """As the band of notebook 11 beside its piano."""
    real, _ = halves(songs)
    songs |= {f"x{seed}": piano(30 + seed) for seed in range(6)}
    own = {"training_songs": [f"x{seed}" for seed in range(6)]}
    two = {"XL": (real, own), "XL, band": ([piano(9)], {"kind": "band"})}
    found = compared({"systems": two, "trained": list("abcdef")})
    assert row_of(found["piano"], "XL")["overlap"] == 1


@pytest.mark.parametrize("other", [{"seed": 1}, {"profile": "paper"}, {"data": "there"}])
def test_each_seed_profile_and_data_has_a_reference_of_its_own(songs, compared, other):
    made, _ = halves(songs)
    songs |= {f"x{seed}": piano(30 + seed) for seed in range(6)}
    first = {"systems": {"GRU": (made, {})}, "trained": [f"x{seed}" for seed in range(6)]}
    second = {"notebook": "11", "systems": {"XL": (made, {})}, **other}
    found = compared(first, second)
    assert row_of(found["piano"], "GRU")["overlap"] == 1
    assert row_of(found["piano"], "XL", other.get("profile", "quick"))["overlaps"] == pytest.approx(
        expected(made, halves(songs)[0])
    )


def test_the_data_of_each_group_are_loaded_and_have_rows_of_their_own(monkeypatch, songs, compared):
    loaded, load = [], music.corpus.load
    monkeypatch.setattr(music.corpus, "load", lambda data: loaded.append(data) or load(data))
    found = compared(*({"systems": {"GRU": ([piano(9)], {})}, "data": data} for data in ("here", "far/there")))
    assert loaded == ["far/there", "here"]
    assert [(row["data"], row["runs"]) for row in found["piano"] if row["system"] == "GRU"] == [
        ("there", 1),
        ("here", 1),
    ]


def test_struck_again_is_told_from_held(songs, compared):
    songs.clear()
    songs |= {str(number): repeated(2 ** (number % 4)) for number in range(8)}
    made = [repeated(times) for times in (1, 1, 1, 2)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    assert row["overlaps"] == pytest.approx(expected(made, halves(songs)[0]), nan_ok=True)
    assert 0 < row["overlaps"]["longest_run"] < 1


def test_songs_of_fewer_than_16_beats_are_no_reference(songs, compared):
    for name in "def":
        songs[name] = piano(1, beats=15)
    found = compared({"systems": {"GRU": ([piano(9)], {})}})
    told = "3 songs of 16 beats or more are left on which none of them trained."
    assert found["notes"] == [f"No places for the piano systems trained on here: {told}"]
    [row] = found["piano"]
    assert (row["system"], row["place"], row["overlap"], row["overlaps"]) == ("GRU", None, None, {})


def test_four_songs_are_enough(songs, compared):
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["a", "b"]})
    assert found["notes"] == [] and row_of(found["piano"], "GRU")["overlap"] is not None
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["a", "b", "c"]})
    assert len(found["notes"]) == 1


def test_near_twins_stand_in_the_same_half(songs, compared):
    """Else other real music would be nearly the real music, and the ceiling too high."""
    names = list(songs)
    for count, name in enumerate(names):
        songs[f"{name} again"] = symusic.Score.from_midi(songs[name].shift_pitch(count % 3).dumps_midi())
    real, other = (set(half) for half in split_songs(list(songs), (1, 1), groups=[*range(6), *range(6)]))
    assert not [name for name in names if (name in real) != (f"{name} again" in real)]
    made = [songs[name] for name in sorted(real, key=list(songs).index)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    assert row["overlap"] == 1


def test_excerpts_are_spread_over_the_song():
    roll = np.arange(10 * 64 + 32)
    found = compare._excerpts(roll, 64)
    assert [int(part[0]) // 64 for part in found] == [0, 3, 6, 9]
    assert all(len(part) == 64 and (np.diff(part) == 1).all() for part in found)
    assert [len(compare._excerpts(roll[:length], 64)) for length in (63, 64, 3 * 64)] == [0, 1, 3]


@pytest.mark.parametrize("shape", [(128, 2), (128, 5)])
def test_a_piece_is_cut_or_filled_up_to_16_beats(shape):
    for length in (0, 5, 64, 71):
        found = compare._beginning(np.ones((length, *shape), bool), 64)
        assert found.shape == (64, *shape) and found.dtype == bool
        assert found[:length].all() and not found[length:].any()


def test_a_short_piece_is_silent_for_the_rest(songs, compared):
    short, long = piano(9, beats=8), piano(9, beats=40)
    cut = music.frames.to_score(music.frames.from_score(long)[:64])
    systems = {"short": ([short] * 6, {}), "long": ([long] * 6, {}), "cut": ([cut] * 6, {})}
    found = compared({"systems": systems})["piano"]
    assert row_of(found, "long")["overlaps"] == row_of(found, "cut")["overlaps"]
    filled = [np.pad(of(short), ((0, 32), (0, 0))) for of in (music.frames.from_score, music.frames.onsets)]
    rows = measure.sets.compare([measure.piece.measures(filled[0], onsets=filled[1])] * 6, measured(halves(songs)[0]))
    overlaps = {row["measure"]: row["overlap"] for row in rows}
    assert row_of(found, "short")["overlaps"] == {name: overlaps[name] for name in row_of(found, "short")["overlaps"]}


def test_floor_and_ceiling_have_rows_of_their_own(songs, compared):
    for number, name in enumerate("abcdef"):
        songs[name] = piano(number, beats=32, center=60 + number)
    songs["x"] = piano(7, center=100)
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["x"]})["piano"]
    del songs["x"]
    cut = [[part for song in half for part in parts(song)] for half in halves(songs)]
    assert [row["system"] for row in found] == [compare.NOISE, compare.REAL, "GRU"]
    noise, real, made = found
    assert real["overlaps"] == pytest.approx(expected(cut[1], cut[0])) and noise["overlap"] < real["overlap"] < 1
    assert made["overlaps"] == pytest.approx(expected([piano(9)], cut[0]))
    assert (noise["place"], real["place"], noise["piece"]) == (0, 1, None)
    assert [(row["notebook"], row["profile"], row["folder"]) for row in (noise, real)] == [("", "quick", "")] * 2
    assert real["parameters"] is real["training_seconds"] is real["seconds_per_minute"] is real["copied_share"] is None


def parts(song):
    """The excerpts of a song of 32 beats."""
    roll = music.frames.from_score(song)
    return [music.frames.to_score(roll[:64]), music.frames.to_score(roll[64:])]


def test_noise_is_as_dense_as_the_real_music_and_stands_far_from_it(monkeypatch, songs, compared):
    seen = []
    noise = measure.baselines.noise
    monkeypatch.setattr(
        measure.baselines, "noise", lambda *given: seen.append((given[0], made := noise(*given))) or made
    )
    row = row_of(compared({"systems": {"GRU": ([piano(9)] * 4, {})}})["piano"], compare.NOISE)
    [(real, made)] = seen
    assert real.shape == made.shape == (3, 64, 128, 2)
    assert made[..., 0].mean() == pytest.approx(real[..., 0].mean(), rel=0.1)
    assert row["overlap"] == row["floor"] < row["ceiling"]


# ---------------------------------------------------------------- bands


def test_bands_are_compared_on_their_own_grid(monkeypatch, compared, capsys):
    scores = {name: band(number) for number, name in enumerate("abcdxy")}
    rolls = [music.band.from_score(score, 2) for score in scores.values()]

    def load(*asked):
        print("6 of 6 songs kept.")
        return music.band_data.pack(rolls, list(scores), 2, "f") if asked == ("here", 2) else None

    monkeypatch.setattr(music.band_data, "load", load)
    held_out, _ = halves({name: scores[name] for name in "abcd"})
    made = [band(seed) for seed in range(10, 14)]
    systems = {"CNN": (held_out, {"kind": "band"}), "VAE": (made, {"kind": "band"})}
    found = compared({"systems": systems, "trained": ["x", "y"]})
    assert (found["piano"], found["notes"], capsys.readouterr().out) == ([], [], "")
    assert [row["system"] for row in found["band"]] == [compare.NOISE, compare.REAL, "CNN", "VAE"]
    assert row_of(found["band"], "CNN")["overlap"] == 1
    of = [[measure.band.measures(music.band.from_score(score, 2), 2) for score in part] for part in (made, held_out)]
    overlaps = {row["measure"]: row["overlap"] for row in measure.sets.compare(*of)}
    found = row_of(found["band"], "VAE")["overlaps"]
    assert "harmonic_distance" in found and "drum_pattern_rate" not in found, "the latter is always 1 on this grid"
    assert found == pytest.approx({name: overlaps[name] for name in found})


def test_a_silent_band_counts(monkeypatch, compared):
    scores = [band(number) for number in range(8)]
    rolls = [music.band.from_score(score, 2) for score in scores]
    names = list("abcdefgh")
    monkeypatch.setattr(music.band_data, "load", lambda data, steps: music.band_data.pack(rolls, names, 2, "f"))
    real, _ = halves(dict(zip(names, scores, strict=True)))
    systems = {"all": (real, {"kind": "band"}), "half": ([*real, *[symusic.Score(480)] * 4], {"kind": "band"})}
    found = compared({"systems": systems})["band"]
    assert row_of(found, "all")["overlaps"]["notes_per_step"] == 1
    assert row_of(found, "half")["overlaps"]["notes_per_step"] < 1


def test_kinds_stay_apart_and_real_systems_are_no_rows(monkeypatch, songs, compared):
    rolls = [music.band.from_score(band(number), 2) for number in range(4)]
    monkeypatch.setattr(music.band_data, "load", lambda data, steps: music.band_data.pack(rolls, list("abcd"), 2, "f"))
    systems = {"GRU": ([piano(9)], {}), "CNN": ([band(9)], {"kind": "band"})}
    systems |= {"Real music, piano": ([piano(8)], {"real": True})}
    systems |= {"Real music, band": ([band(8)], {"kind": "band", "real": True})}
    found = compared({"systems": systems})
    assert [row["system"] for row in found["piano"]] == [compare.NOISE, compare.REAL, "GRU"]
    assert [row["system"] for row in found["band"]] == [compare.NOISE, compare.REAL, "CNN"]
    heard = [found[kind][1]["piece"].name for kind in ("piano", "band")]  # to be played beside the others
    assert heard == ["real_music_piano_01.mid", "real_music_band_01.mid"]
    assert "harmonic_distance" in row_of(found["band"], "CNN")["overlaps"]


# ---------------------------------------------------------------- pieces


def test_a_silent_piece_counts_as_one_without_notes(songs, compared):
    made, _ = halves(songs)
    found = compared({"systems": {"all": (made, {}), "half": ([*made, *[symusic.Score(480)] * 3], {})}})["piano"]
    whole, half = row_of(found, "all"), row_of(found, "half")
    assert half["overlaps"]["notes_per_step"] < 1
    assert half["overlaps"]["pitch_class_entropy"] == 1  # which silence does not have
    assert whole["overlap"] == 1 and half["overlap"] < 1 and half["place"] < whole["place"]


def test_a_system_of_silence_alone_has_nothing_in_common_with_music(songs, compared):
    row = row_of(
        compared({"systems": {"GAN": ([symusic.Score(480)] * 3, {"generation_seconds": 1.0})}})["piano"], "GAN"
    )
    assert (row["overlap"], row["piece"], row["seconds_per_minute"]) == (0, None, None) and row["place"] <= 0
    assert row["overlaps"].pop("notes_per_step") == 0
    assert set(row["overlaps"].values()) == {None}


def test_a_measure_that_no_piece_has_counts_as_no_overlap(songs, compared):
    held = np.zeros((64, 128), bool)
    held[:, 60] = True  # one note, so that no interval lies between two
    row = row_of(compared({"systems": {"GAN": ([music.frames.to_score(held)] * 3, {})}})["piano"], "GAN")
    assert row["overlaps"]["ioi_entropy"] is None
    assert row["overlap"] == pytest.approx(np.mean([overlap or 0 for overlap in row["overlaps"].values()]))


def test_a_damaged_piece_is_left_out_and_without_one_there_is_no_place(songs, compared, tmp_path):
    made, _ = halves(songs)
    folder = compared.run({"GRU": ([piano(80, center=90), *made], {})})
    damaged, *others = (folder / f"pieces/gru_{number:02}.mid" for number in (1, 2, 3, 4))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.warns(UserWarning, match=r"gru_01\.mid is left out of the comparison: cut off in track") as warned:
        row = row_of(compared()["piano"], "GRU")
    assert len(warned) == 1
    assert row["overlap"] == 1 and row["piece"] in others
    damaged.unlink()
    row = row_of(compared()["piano"], "GRU")
    assert (row["place"], row["overlap"], row["overlaps"], row["piece"]) == (None, None, {}, others[1])


def nearness(score, real):
    """How near a piece is to real ones: the mean over measures of the smaller share of them on one side of it."""
    [made], real = measured([score]), measured(real)
    varied = [name for name in made if len({piece[name] for piece in real}) > 1]
    sides = [
        [sum(piece[name] <= made[name] for piece in real), sum(piece[name] >= made[name] for piece in real)]
        for name in varied
    ]
    return np.mean([min(each) for each in sides]) / len(real)


def test_the_piece_to_hear_is_neither_the_best_nor_the_worst(songs, compared):
    real, _ = halves(songs)
    made = [piano(40, center=110), real[0], piano(41, center=70), piano(42, center=100), piano(43, center=64)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    order = sorted(range(5), key=lambda number: nearness(made[number], real))
    assert order[-1] == 1
    assert row["piece"].name == f"gru_{order[2] + 1:02}.mid"


def test_silent_pieces_are_not_heard(songs, compared):
    made = [symusic.Score(480)] * 4 + [piano(9)]
    assert row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")["piece"].name == "gru_01.mid"


@pytest.mark.parametrize("silent", [0, 3])
def test_a_system_whose_files_are_gone_has_no_overlaps(songs, compared, silent):
    folder = compared.run({"GRU": ([piano(9), *[symusic.Score(480)] * silent], {"parameters": 7})})
    (folder / "pieces/gru_01.mid").unlink()
    row = row_of(compared()["piano"], "GRU")
    assert (row["overlap"], row["overlaps"], row["piece"], row["parameters"]) == (None, {}, None, 7)


# ---------------------------------------------------------------- rows


def test_figures_are_means_over_runs_of_a_profile(songs, compared):
    def run(seed, profile="quick", **options):
        return {"seed": seed, "profile": profile, "systems": {"GRU": ([piano(seed)] * 2, options)}}

    found = compared(
        run(1, parameters=10, generation_seconds=4.0, novelty={"copied_share": 0.25, "longest_copied_run": 4.0}),
        run(0, parameters=20, generation_seconds=8.0, novelty={"copied_share": 0.75, "longest_copied_run": np.nan}),
        run(0, "paper", training_seconds=60.0),
    )["piano"]
    row = row_of(found, "GRU")
    assert (row["runs"], row["parameters"], row["training_seconds"]) == (2, 15, None)
    assert (row["copied_share"], row["longest_copied_run"]) == (0.5, 4)
    assert row["seconds_per_minute"] == pytest.approx(120 * 6 / 32)
    each = [expected([piano(seed)] * 2, halves(songs)[0]) for seed in (0, 1)]
    assert row["overlaps"] == pytest.approx({name: np.mean([one[name] for one in each]) for name in each[0]})
    assert row["overlap"] == pytest.approx(np.mean([list(one.values()) for one in each]))
    paper = row_of(found, "GRU", "paper")
    assert (paper["runs"], paper["parameters"], paper["training_seconds"]) == (1, None, 60)
    assert (row_of(found, compare.REAL)["runs"], row_of(found, compare.REAL, "paper")["runs"]) == (2, 1)


def test_a_place_has_an_interval_from_three_runs_on(songs, compared, tmp_path):
    def run(seed):
        return {"seed": seed, "systems": {"GRU": ([piano(20 + seed), piano(50 + seed)], {})}}

    assert row_of(compared(run(0), run(1))["piano"], "GRU")["low"] is None
    row = row_of(compared(run(2))["piano"], "GRU")
    places = [row_of(compare.systems([single])["piano"], "GRU") for single in record.load(tmp_path)]
    expected = claims.interval([place["place"] for place in places])
    assert (row["place"], row["low"], row["high"]) == pytest.approx(expected)
    middle = sorted(places, key=lambda place: place["place"])[1]
    assert (row["folder"], row["piece"]) == (middle["folder"], middle["piece"]), "the run of median place is heard"


def test_runs_with_changed_settings_are_rows_of_their_own(songs, compared):
    run = {"systems": {"GRU": ([piano(9)], {})}}
    found = compared(run, run | {"seed": 1}, run | {"changed": {"epochs": 3, "units": 8}})["piano"]
    named = {(row["system"], row["runs"]) for row in found if row["folder"]}
    assert named == {("GRU", 2), ("GRU (epochs = 3, units = 8)", 1)}


def test_a_row_names_its_first_run(songs, compared, tmp_path):
    run = {"systems": {"GRU, width 8": ([piano(9)], {})}, "notebook": "04_lstm_vs_gan"}
    songs.clear()  # so that none has a place
    row = row_of(compared({**run, "seed": 0}, {**run, "seed": 1})["piano"], "GRU, width 8")
    assert (row["notebook"], row["folder"]) == ("04_lstm_vs_gan", str(tmp_path / "00"))
    assert row["piece"] == tmp_path / "00/pieces/gru_width_8_01.mid"


def test_two_systems_of_one_run_show_their_own_pieces(songs, compared, tmp_path):
    found = compared({"systems": {"LSTM": ([piano(8)], {}), "GAN": ([piano(9)], {})}})["piano"]
    assert [row_of(found, name)["piece"].name for name in ("LSTM", "GAN")] == ["lstm_01.mid", "gan_01.mid"]


@pytest.mark.parametrize("seconds, expected_seconds", [(3.0, 6.0), (0.0, 0.0), (None, None)])
def test_seconds_for_a_minute_of_music_at_120_beats(songs, compared, seconds, expected_seconds):
    made = [piano(9, beats=20), piano(9, beats=40)]  # half a minute
    found = compared({"systems": {"GRU": (made, {"generation_seconds": seconds})}})
    assert row_of(found["piano"], "GRU")["seconds_per_minute"] == expected_seconds


def test_of_runs_alike_the_latest_counts(songs, compared):
    old, new = ({"systems": {"GRU": ([piano(9)], {"parameters": number})}} for number in (1, 2))
    row = row_of(compared(old, new)["piano"], "GRU")
    assert (row["runs"], row["parameters"]) == (1, 2)


@pytest.mark.parametrize("kind, make", [("piano", piano), ("band", band)])
def test_data_that_are_gone_cost_their_own_overlaps_only(monkeypatch, compared, tmp_path, kind, make):
    gone, there = tmp_path / "gone", tmp_path / "midi"
    there.mkdir()
    for number in range(4):
        (there / f"{number}.mid").write_bytes(make(number).dumps_midi())
    systems = {"A": ([make(9)], {"kind": kind, "parameters": 5})}
    lost = {"systems": systems, "data": str(gone)}
    found = compared(lost, {"systems": {"B": systems["A"]}, "data": str(there)})
    [note] = found["notes"]
    assert note.startswith(f"No places for the {kind} systems trained on {gone}: There is no folder {gone}: ")
    row = row_of(found[kind], "A")
    assert (row["overlap"], row["overlaps"], row["parameters"]) == (None, {}, 5) and row["piece"].is_file()
    assert row_of(found[kind], "B")["overlap"] > 0
    assert row_of(found[kind], compare.REAL)["runs"] == 1


def test_runs_without_systems_are_passed_over(songs, compared):
    assert compare.systems([]) == {"piano": [], "band": [], "notes": []}
    assert compared({"systems": {}, "notebook": "13"}) == {"piano": [], "band": [], "notes": []}


# ---------------------------------------------------------------- in words


def placed(system, place, low=None, high=None, **given):
    return {"system": system, "place": place, "low": low, "high": high, "profile": "night", "data": "here", **given}


FLOOR, CEILING = placed(compare.NOISE, 0.0), placed(compare.REAL, 1.0)


def test_words_name_the_nearest_and_what_is_no_nearer_than_noise():
    rows = [
        FLOOR,
        CEILING,
        placed("GAN", -0.125, -0.2, 0.1),
        placed("XL", 0.625, 0.5, 0.75),
        placed("GRU", 0.25, -0.1, 0.6),
    ]
    assert compare.in_words(rows) == [
        "Nearest to real music: XL 0.62 [0.50, 0.75] (night), where noise is at 0 and other real music at 1.",
        "No nearer than noise: GAN -0.12 [-0.20, 0.10] (night).",
        "Nearer than noise in the mean, but not with the whole interval: GRU 0.25 [-0.10, 0.60] (night).",
    ]


def test_words_of_single_runs_say_that_they_are():
    told = compare.in_words([FLOOR, CEILING, placed("XL", 0.625), placed("GRU", 0.5)])
    assert told[1:] == [
        "In the mean every system stands nearer than noise.",
        "With fewer than three runs a system has no interval, and another seed may order them otherwise.",
    ]


def test_words_say_where_the_recurrent_networks_of_bands_stand():
    rows = [placed("RNN (A)", 0.5, 0.4, 0.6), placed("CNN", 0.75, 0.7, 0.8), placed("VAE", 0.55, 0.5, 0.6)]
    rows += [
        placed("GAN", 0.25, 0.2, 0.3),
        placed("RNN (B)", 0.9, 0.8, 1.0),
        placed("CNN", 0.95, 0.9, 1.0, profile="quick"),
    ]
    told = compare.in_words([FLOOR, CEILING, *rows])
    assert "RNN (B) 0.90 [0.80, 1.00] (night): of 3 systems that are no RNN, nearer to real music: none." in told
    above = "CNN 0.75 [0.70, 0.80] (night), VAE 0.55 [0.50, 0.60] (night)"
    low = "RNN (A) 0.50 [0.40, 0.60] (night)"
    assert f"{low}: of 3 systems that are no RNN, nearer to real music: 2, {above}; intervals apart: 1." in told
    one_run_each = compare.in_words([placed("RNN", 0.5), placed("CNN", 0.75)])
    assert "RNN 0.50 (night): of 1 systems that are no RNN, nearer to real music: 1, CNN 0.75 (night)." in one_run_each


def test_words_flag_what_is_too_good():
    [flagged] = [line for line in compare.in_words([placed("GRU", 1.25, 1.1, 1.4)]) if "too good" in line]
    assert flagged.endswith("look at what is copied: GRU 1.25 [1.10, 1.40] (night).")
    assert not [line for line in compare.in_words([placed("GRU", 1.25, 0.9, 1.6)]) if "too good" in line]


def test_without_places_there_is_nothing_to_say():
    assert compare.in_words([]) == compare.in_words([FLOOR, CEILING, placed("GRU", None)]) == []
