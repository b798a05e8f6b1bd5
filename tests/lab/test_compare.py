"""All systems side by side, on songs made here: no corpus is read."""

import numpy as np
import pytest
import symusic

from course_lib import measure, music
from course_lib.lab import compare, provenance, record


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
    return {row["measure"]: row["overlap"] for row in measure.sets.compare(measured(scores), measured(reference))}


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
    held_out = list(songs.values())
    found = compared({"systems": {"GRU": (held_out, {})}})
    row = row_of(found["piano"], "GRU")
    assert (found["band"], found["notes"]) == ([], [])
    assert row["overlap"] == 1 and set(row["overlaps"].values()) == {1}
    assert list(row["overlaps"]) == list(measured(held_out)[0])


def test_overlaps_are_those_of_measure_compare(songs, compared):
    made = [piano(seed, center=64) for seed in range(20, 26)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    overlaps = expected(made, songs.values())
    assert row["overlaps"] == pytest.approx(overlaps)
    assert row["overlap"] == pytest.approx(np.mean(list(overlaps.values()))) and 0 < row["overlap"] < 1


def test_songs_that_any_run_of_the_group_trained_on_are_no_reference(songs, compared):
    held_out = list(songs.values())
    songs |= {f"x{seed}": piano(30 + seed) for seed in range(6)} | {"y": piano(9)}
    first = {"systems": {"GRU": (held_out, {})}, "trained": [f"x{seed}" for seed in range(6)]}
    found = compared(first, {"notebook": "11", "systems": {"XL": (held_out, {})}, "trained": ["y"]})
    assert [row_of(found["piano"], name)["overlap"] for name in ("GRU", "XL")] == [1, 1]


@pytest.mark.parametrize("other", [{"seed": 1}, {"profile": "paper"}, {"data": "there"}])
def test_each_seed_profile_and_data_has_a_reference_of_its_own(songs, compared, other):
    made = list(songs.values())
    songs |= {f"x{seed}": piano(30 + seed) for seed in range(6)}
    first = {"systems": {"GRU": (made, {})}, "trained": [f"x{seed}" for seed in range(6)]}
    second = {"notebook": "11", "systems": {"XL": (made, {})}, **other}
    found = compared(first, second)
    assert row_of(found["piano"], "GRU")["overlap"] == 1
    assert row_of(found["piano"], "XL", other.get("profile", "quick"))["overlaps"] == pytest.approx(
        expected(made, songs.values())
    )


def test_the_data_of_each_group_are_loaded(monkeypatch, songs, compared):
    loaded, load = [], music.corpus.load
    monkeypatch.setattr(music.corpus, "load", lambda data: loaded.append(data) or load(data))
    compared(*({"systems": {"GRU": ([piano(9)], {})}, "data": data} for data in ("here", "there")))
    assert loaded == ["here", "there"]


def test_struck_again_is_told_from_held(songs, compared):
    songs.clear()
    songs |= {str(times): repeated(times) for times in (1, 2, 4, 8)}
    made = [repeated(times) for times in (1, 1, 1, 2)]
    row = row_of(compared({"systems": {"GRU": (made, {})}})["piano"], "GRU")
    assert row["overlaps"] == pytest.approx(expected(made, songs.values()), nan_ok=True)
    assert row["overlaps"]["longest_run"] == 0.5


def test_songs_of_fewer_than_16_beats_are_no_reference(songs, compared):
    for name in "def":
        songs[name] = piano(1, beats=15)
    found = compared({"systems": {"GRU": ([piano(9)], {})}})
    told = "3 songs of 16 beats or more are left on which none of them trained."
    assert found["notes"] == [f"No overlaps for the piano systems trained on here: {told}"]
    [row] = found["piano"]
    assert (row["system"], row["overlap"], row["overlaps"]) == ("GRU", None, {})


def test_four_songs_are_enough(songs, compared):
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["a", "b"]})
    assert found["notes"] == [] and row_of(found["piano"], "GRU")["overlap"] is not None
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["a", "b", "c"]})
    assert len(found["notes"]) == 1


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
    found = compared({"systems": {"short": ([short] * 6, {}), "long": ([long] * 6, {}), "cut": ([cut] * 6, {})}})[
        "piano"
    ]
    assert row_of(found, "short")["overlaps"]["empty_bar_rate"] == 0  # half of its bars are empty, none of the songs'
    assert row_of(found, "long")["overlaps"] == row_of(found, "cut")["overlaps"]


def test_the_row_of_real_music_sets_half_of_the_songs_against_the_other(songs, compared):
    for number, name in enumerate("abcdef"):
        songs[name] = piano(number, beats=32, center=60 + number)
    songs["x"] = piano(7, center=100)
    found = compared({"systems": {"GRU": ([piano(9)], {})}, "trained": ["x"]})["piano"]
    rolls = {name: music.frames.from_score(song) for name, song in songs.items()}
    parts = {name: [music.frames.to_score(part) for part in (roll[:64], roll[64:])] for name, roll in rolls.items()}
    overlaps = expected(*([part for name in half for part in parts[name]] for half in ("ace", "bdf")))
    assert [row["system"] for row in found] == [compare.REAL, "GRU"]
    row = found[0]
    assert row["overlaps"] == pytest.approx(overlaps) and 0 < row["overlap"] < 1
    assert (row["notebook"], row["profile"], row["folder"], row["piece"]) == ("", "quick", "", None)
    assert found[1]["overlaps"] == pytest.approx(
        expected([piano(9)], [part for name in "abcdef" for part in parts[name]])
    )
    assert row["parameters"] is row["training_seconds"] is row["seconds_per_minute"] is row["copied_share"] is None


# ---------------------------------------------------------------- bands


def test_bands_are_compared_on_their_own_grid(monkeypatch, compared, capsys):
    scores = {name: band(number) for number, name in enumerate("abcdxy")}
    rolls = [music.band.from_score(score, 2) for score in scores.values()]

    def load(*asked):
        print("6 of 6 songs kept.")
        return music.band_data.pack(rolls, list(scores), 2, "f") if asked == ("here", 2) else None

    monkeypatch.setattr(music.band_data, "load", load)
    held_out = [scores[name] for name in "abcd"]
    made = [band(seed) for seed in range(10, 14)]
    systems = {"CNN": (held_out, {"kind": "band"}), "VAE": (made, {"kind": "band"})}
    found = compared({"systems": systems, "trained": ["x", "y"]})
    assert (found["piano"], found["notes"], capsys.readouterr().out) == ([], [], "")
    assert [row["system"] for row in found["band"]] == [compare.REAL, "CNN", "VAE"]
    assert row_of(found["band"], "CNN")["overlap"] == 1
    of = [[measure.band.measures(music.band.from_score(score, 2), 2) for score in part] for part in (made, held_out)]
    overlaps = {row["measure"]: row["overlap"] for row in measure.sets.compare(*of)}
    assert row_of(found["band"], "VAE")["overlaps"] == pytest.approx(overlaps)


def test_a_silent_band_counts(monkeypatch, compared):
    scores = [band(number) for number in range(4)]
    rolls = [music.band.from_score(score, 2) for score in scores]
    monkeypatch.setattr(music.band_data, "load", lambda data, steps: music.band_data.pack(rolls, list("abcd"), 2, "f"))
    found = compared({"systems": {"CNN": ([*scores, *[symusic.Score(480)] * 4], {"kind": "band"})}})
    assert row_of(found["band"], "CNN")["overlaps"]["empty_bar_rate"] == 0.5


def test_kinds_stay_apart_and_real_systems_are_no_rows(monkeypatch, songs, compared):
    rolls = [music.band.from_score(band(number), 2) for number in range(4)]
    monkeypatch.setattr(music.band_data, "load", lambda data, steps: music.band_data.pack(rolls, list("abcd"), 2, "f"))
    systems = {"GRU": ([piano(9)], {}), "CNN": ([band(9)], {"kind": "band"})}
    systems |= {"Real music, piano": ([piano(8)], {"real": True})}
    systems |= {"Real music, band": ([band(8)], {"kind": "band", "real": True})}
    found = compared({"systems": systems})
    assert [row["system"] for row in found["piano"]] == [compare.REAL, "GRU"]
    assert [row["system"] for row in found["band"]] == [compare.REAL, "CNN"]
    heard = [found[kind][0]["piece"].name for kind in ("piano", "band")]  # to be played beside the others
    assert heard == ["real_music_piano_01.mid", "real_music_band_01.mid"]
    assert "drum_pattern_rate" in row_of(found["band"], "CNN")["overlaps"]


# ---------------------------------------------------------------- pieces


def test_a_silent_piece_counts_as_one_of_empty_bars(songs, compared):
    made = list(songs.values())
    found = compared({"systems": {"all": (made, {}), "half": ([*made, *[symusic.Score(480)] * 6], {})}})["piano"]
    whole, half = row_of(found, "all"), row_of(found, "half")
    assert half["overlaps"]["empty_bar_rate"] == 0.5 and half["overlaps"]["notes_per_step"] < 1
    assert half["overlaps"]["pitch_range"] == 1  # which silence does not have
    assert whole["overlap"] == 1 and half["overlap"] < 1


def test_a_system_of_silence_alone_has_nothing_in_common_with_music(songs, compared):
    row = row_of(
        compared({"systems": {"GAN": ([symusic.Score(480)] * 3, {"generation_seconds": 1.0})}})["piano"], "GAN"
    )
    assert (row["overlap"], row["piece"], row["seconds_per_minute"]) == (0, None, None)
    assert row["overlaps"].pop("empty_bar_rate") == row["overlaps"].pop("notes_per_step") == 0
    assert set(row["overlaps"].values()) == {None}


def test_a_measure_that_no_piece_has_counts_as_no_overlap(songs, compared):
    held = np.zeros((64, 128), bool)
    held[:, 60] = True  # one note, so that no interval lies between two
    row = row_of(compared({"systems": {"GAN": ([music.frames.to_score(held)] * 3, {})}})["piano"], "GAN")
    assert row["overlaps"]["ioi_entropy"] is None and row["overlaps"]["empty_bar_rate"] == 1
    assert row["overlap"] == pytest.approx(np.mean([overlap or 0 for overlap in row["overlaps"].values()]))


def test_a_damaged_piece_is_left_out_and_without_one_there_are_no_overlaps(songs, compared, tmp_path):
    made = list(songs.values())
    folder = compared.run({"GRU": ([piano(80, center=90), *made], {})})
    damaged, second = (folder / f"pieces/gru_{number:02}.mid" for number in (1, 2))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.warns(UserWarning, match=r"gru_01\.mid is left out of the comparison: cut off in track") as warned:
        row = row_of(compared()["piano"], "GRU")
    assert len(warned) == 1
    assert (row["overlap"], row["piece"]) == (1, damaged)
    damaged.unlink()
    row = row_of(compared()["piano"], "GRU")
    assert (row["overlap"], row["overlaps"], row["piece"]) == (None, {}, second)


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
    each = [expected([piano(seed)] * 2, songs.values()) for seed in (0, 1)]
    assert row["overlaps"] == pytest.approx({name: np.mean([one[name] for one in each]) for name in each[0]})
    assert row["overlap"] == pytest.approx(np.mean([list(one.values()) for one in each]))
    paper = row_of(found, "GRU", "paper")
    assert (paper["runs"], paper["parameters"], paper["training_seconds"]) == (1, None, 60)
    assert (row_of(found, compare.REAL)["runs"], row_of(found, compare.REAL, "paper")["runs"]) == (2, 1)


def test_runs_with_changed_settings_are_rows_of_their_own(songs, compared):
    run = {"systems": {"GRU": ([piano(9)], {})}}
    found = compared(run, run | {"seed": 1}, run | {"changed": {"epochs": 3, "units": 8}})["piano"]
    named = {(row["system"], row["runs"]) for row in found if row["system"] != compare.REAL}
    assert named == {("GRU", 2), ("GRU (epochs = 3, units = 8)", 1)}


def test_a_row_names_its_first_run(songs, compared, tmp_path):
    run = {"systems": {"GRU, width 8": ([piano(9)], {})}, "notebook": "04_lstm_vs_gan"}
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
    assert note.startswith(f"No overlaps for the {kind} systems trained on {gone}: There is no folder {gone}: ")
    row = row_of(found[kind], "A")
    assert (row["overlap"], row["overlaps"], row["parameters"]) == (None, {}, 5) and row["piece"].is_file()
    assert row_of(found[kind], "B")["overlap"] > 0
    assert row_of(found[kind], compare.REAL)["runs"] == 1


def test_runs_without_systems_are_passed_over(songs, compared):
    assert compare.systems([]) == {"piano": [], "band": [], "notes": []}
    assert compared({"systems": {}, "notebook": "13"}) == {"piano": [], "band": [], "notes": []}
