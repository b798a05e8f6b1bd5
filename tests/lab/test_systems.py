"""What a run records of its systems, and how listeners' answers come onto the scoreboard."""

import json

import msgspec
import numpy as np
import pytest
import symusic

from course_lib import music
from course_lib.lab import claims, provenance, scoreboard
from course_lib.lab import record as records


def melody(*pitches, beats=1, drum=False):
    """A score of notes one after another."""
    score = symusic.Score(480)
    score.tracks.append(symusic.Track(is_drum=drum))
    for number, pitch in enumerate(pitches):
        score.tracks[0].notes.append(symusic.Note(number * beats * 480, beats * 480, pitch, 80))
    return score


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a run in a folder of its own."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.setattr(provenance, "git_commit", lambda: None)

    def start(name="run", notebook="03_gru_next_note", profile="quick", seed=0, **parameters):
        monkeypatch.setenv("COURSE_OUT", str(tmp_path / name))
        return records.start(notebook, profile, seed, "embedded", **parameters)

    return start


def finished(run):
    return json.loads(run.finish().read_text())


# ---------------------------------------------------------------- systems


def test_a_system_is_recorded_whole(start):
    run = start()
    novelty = {"longest_copied_run": np.float32(4), "copied_share": np.nan}
    figures = {"parameters": np.int64(7), "training_seconds": np.float64(2.5), "generation_seconds": 0.5}
    figures["training_songs"] = ["bach/a"]
    run.system("GAN (Tham & Kim)", [melody(60, 62, 64), melody(60)], "band", novelty=novelty, **figures)
    record = {
        "name": "GAN (Tham & Kim)",
        "kind": "band",
        "real": False,
        "parameters": 7,
        "pieces": ["pieces/gan_tham_kim_01.mid", "pieces/gan_tham_kim_02.mid"],
        "silent": 0,
        "beats": 4.0,
        "training_seconds": 2.5,
        "generation_seconds": 0.5,
        "novelty": {"longest_copied_run": 4.0, "copied_share": None},
        "training_songs": ["bach/a"],
    }
    assert finished(run)["systems"] == [record]
    assert msgspec.to_builtins(records.load(run.folder)[0].systems) == [record]


def test_figures_left_out_are_none_and_the_kind_is_piano(start):
    run = start()
    run.system("Real music, piano", [melody(60)], real=True)
    [record] = run.record.systems
    assert (record.kind, record.real) == ("piano", True)
    for figure in ("parameters", "training_seconds", "generation_seconds", "novelty"):
        assert getattr(record, figure) is None


def test_pieces_are_written_whole(start):
    run = start()
    score = melody(60, 60, 72, beats=3)
    run.system("LSTM", [score])
    read = symusic.Score(run.folder / run.record.systems[0].pieces[0])
    assert (music.frames.from_score(read) == music.frames.from_score(score)).all() and len(
        music.frames.from_score(read)
    ) == 36
    assert (music.frames.onsets(read) == music.frames.onsets(score)).all()


def test_pieces_without_a_pitched_note_are_counted_only(start):
    run = start()
    run.system("GAN", [symusic.Score(480), melody(60, 62), melody(36, 36, 36, drum=True), melody(64)])
    [record] = run.record.systems
    assert record.pieces == ["pieces/gan_01.mid", "pieces/gan_02.mid"] and record.silent == 2
    assert record.beats == 2 + 3 + 1
    assert sorted(path.name for path in (run.folder / "pieces").iterdir()) == ["gan_01.mid", "gan_02.mid"]
    assert symusic.Score(run.folder / "pieces/gan_02.mid").tracks[0].notes[0].pitch == 64


def test_a_system_may_be_all_silence(start):
    run = start()
    run.system("GAN", [symusic.Score(480)] * 3)
    made = run.record.systems[0]
    assert (made.pieces, made.silent, made.beats) == ([], 3, 0)


def test_beats_include_the_silence_that_the_scores_lack(start):
    run = start()
    run.system("GAN", [melody(60, 62), symusic.Score(480)], beats=32)
    assert run.record.systems[0].beats == 32


def test_systems_keep_their_order_and_a_second_recording_replaces(start):
    run = start()
    run.system("B", [melody(60), melody(61)])
    run.system("A", [melody(62)])
    run.system("B", [melody(72)], parameters=9)
    assert [record.name for record in run.record.systems] == ["B", "A"]
    assert run.record.systems[0].parameters == 9 and run.record.systems[0].pieces == ["pieces/b_01.mid"]
    assert symusic.Score(run.folder / "pieces/b_01.mid").tracks[0].notes[0].pitch == 72


@pytest.mark.parametrize(
    "scores, kind, sentence",
    [([], "piano", "has 0 pieces of kind 'piano'"), ([melody(60)], "choir", "has 1 pieces of kind 'choir'")],
)
def test_no_pieces_and_unknown_kinds_are_refused(start, scores, kind, sentence):
    run = start()
    with pytest.raises(ValueError, match=f"System 'LSTM' {sentence}: give some"):
        run.system("LSTM", scores, kind)
    assert run.record.systems == [] and finished(run)["systems"] == []


def test_training_songs_are_recorded_once_each_in_order(start):
    run = start()
    run.trained_on(["haydn/b", "bach/a", "haydn/b"])
    assert finished(run)["training_songs"] == ["bach/a", "haydn/b"]
    assert finished(start("other"))["training_songs"] == []


# ---------------------------------------------------------------- what listeners said

CLAIM = claims.claims()["chz-rating"]


@pytest.fixture
def board(start, tmp_path):
    """The claim's row from a run for each dict: `heard` (interval), `value`, `listeners`, `clips`, for `start`."""

    def board(*runs):
        for number, given in enumerate(runs):
            given = {"value": 1.0, "heard": None, "seed": number, "listeners": 5, "clips": "night"} | given
            value, interval = given.pop("value"), given.pop("heard")
            people, clips = given.pop("listeners"), given.pop("clips")
            run = start(f"{number:02}", **given)
            if interval is None:
                run.claim("chz-rating", value)
            else:
                run.heard("chz-rating", value, *interval, people, clips)
            run.finish()
        [row] = [row for row in scoreboard.rows(records.load(tmp_path)) if row["id"] == "chz-rating"]
        return row

    return board


@pytest.mark.parametrize(
    "low, high, outcome",
    [
        (0.1, 2.0, "reproduced"),
        (-2.0, -0.1, "not reproduced"),
        (-2.0, 0.0, "not reproduced"),
        (0.0, 2.0, "inconclusive"),
        (-1.0, 2.0, "inconclusive"),
    ],
)
def test_listeners_decide_by_their_interval(board, low, high, outcome):
    row = board({"value": 0.7, "heard": (low, high)})
    assert (row["verdict"], row["measured"], row["low"], row["high"], row["seeds"]) == (outcome, 0.7, low, high, 1)
    assert row["unit"] == "points"
    assert row["reason"] == "5 listeners" + (": the interval spans 0" if outcome == "inconclusive" else "")
    assert (row["measure"], row["rule"]) == (CLAIM.heard, "above 0") and CLAIM.heard


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_listeners_beat_proxies(board, tmp_path, profile):
    proxies = [{"value": 5.0, "profile": profile}, {"value": 6.0, "profile": profile, "seed": 7}]
    row = board(proxies[0], {"value": -1.0, "heard": (-2.0, -0.5), "notebook": "12_listening_test"}, proxies[1])
    assert (row["verdict"], row["measured"], row["seeds"]) == ("not reproduced", -1, 1)
    assert (row["profile"], row["links"]) == ("night", [str(tmp_path / "01")]) and row["proxy"] is False


def test_without_listeners_the_proxy_stands(board):
    row = board({"value": 5.0})
    assert (row["verdict"], row["measured"], row["measure"]) == ("needs listeners", 5, CLAIM.measure)
    assert row["rule"] == CLAIM.rule and row["reason"] == scoreboard.LISTEN and row["proxy"] is True


def test_without_runs_there_is_no_proxy(board):
    assert board()["proxy"] is False


@pytest.mark.parametrize("clips, verdict", [("quick", "not run"), ("night", "reproduced"), ("paper", "reproduced")])
def test_what_was_heard_has_the_profile_of_its_clips(board, clips, verdict):
    row = board({"value": 5.0, "profile": "paper"}, {"heard": (0.5, 1.5), "clips": clips})
    assert (row["profile"], row["verdict"]) == (clips, verdict)


def test_clips_that_can_judge_win_over_more_listeners(board):
    row = board({"heard": (0.5, 1.5), "listeners": 40, "clips": "quick"}, {"heard": (-2, -1), "listeners": 5})
    assert (row["profile"], row["verdict"], row["reason"]) == ("night", "not reproduced", "5 listeners")


@pytest.mark.parametrize("order", [(6, 12, 7), (12, 6, 7), (6, 7, 12)])
def test_the_listening_test_with_most_listeners_counts_alone(board, tmp_path, order):
    row = board(*({"value": people, "heard": (people - 1, people + 1), "listeners": people} for people in order))
    assert (row["measured"], row["low"], row["high"], row["seeds"]) == (12, 11, 13, 1)
    assert row["links"] == [str(tmp_path / f"{order.index(12):02}")] and row["reason"] == "12 listeners"


def test_of_as_many_listeners_the_latest_by_time_counts(start, tmp_path):
    for folder, value in (("z", 1.0), ("a", 2.0)):
        run = start(folder, seed=int(value))
        run.heard("chz-rating", value, value - 0.5, value + 0.5, 5)
        run.finish()
    [row] = [row for row in scoreboard.rows(records.load(tmp_path)) if row["id"] == "chz-rating"]
    assert row["measured"] == 2


def test_what_was_heard_is_recorded_with_the_claim(start):
    run = start()
    run.claim("chz-rating", 9.0)
    run.heard("chz-rating", 1.5, 0.5, 2.5, 12)
    run.heard("tk-txl-good", 2, 1, 3, 9, "paper")
    by_ear = [
        {"low": 0.5, "high": 2.5, "listeners": 12, "profile": "quick"},
        {"low": 1, "high": 3, "listeners": 9, "profile": "paper"},
    ]
    assert finished(run)["claims"] == [
        {"id": "chz-rating", "value": 1.5, "detail": None, "heard": by_ear[0]},
        {"id": "tk-txl-good", "value": 2.0, "detail": None, "heard": by_ear[1]},
    ]


def test_other_claims_are_judged_as_before(start, tmp_path):
    run = start(profile="paper")
    run.heard("chz-rating", 1.5, 0.5, 2.5, 12)
    for seed in range(3):
        run.claim("tk-gan-place", 0.25)  # no claim about networks that must have learned
        run.finish()
        run = start(f"seed={seed + 1}", profile="paper", seed=seed + 1)
    rows = {row["id"]: row for row in scoreboard.rows(records.load(tmp_path))}
    row, claim = rows["tk-gan-place"], claims.claims()["tk-gan-place"]
    assert (row["verdict"], row["measure"], row["rule"]) == ("reproduced", claim.measure, claim.rule)
    assert rows["tk-txl-good"]["verdict"] == "needs listeners" and rows["tk-vae-dim-learned"]["verdict"] == "not run"


def test_a_smoke_run_records_nothing_heard(start, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    run = start()
    run.heard("chz-rating", 1.5, 0.5, 2.5, 12)
    assert finished(run)["claims"] == []
    with pytest.raises(ValueError, match="Claim 'nonsense' is not in claims.toml"):
        run.heard("nonsense", 1.5, 0.5, 2.5, 12)


@pytest.mark.parametrize("id", ["ml-plain-all-worse", "chz-rating", "tk-txl-good", "tk-order", "mi-order"])
def test_what_only_listeners_judge_says_what_their_figure_is(id):
    assert claims.claims()[id].listeners and claims.claims()[id].heard


def test_a_listening_test_counts_even_of_a_run_that_was_repeated(board):
    repeated = board(
        {"seed": 0, "heard": (-3, -2)}, {"seed": 1, "heard": (2, 3)}, {"seed": 0, "value": 0.5, "heard": (0.2, 1)}
    )
    assert repeated["measured"] == 0.5


def test_few_listeners_give_no_verdict(start, tmp_path):
    run = start()
    run.heard("chz-rating", 1.5, 0.5, 2.5, claims.FEWEST_LISTENERS - 1)
    run.finish()
    [row] = [row for row in scoreboard.rows(records.load(tmp_path)) if row["id"] == "chz-rating"]
    assert (row["verdict"], row["measured"], row["low"], row["proxy"]) == ("needs listeners", 1.5, 0.5, False)
    assert "4 have rated" in row["reason"]
