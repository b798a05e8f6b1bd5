"""The analysis of a listening test: figures known by hand, effects that were planted, rates that theory gives."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from lessons import definitions
from scipy import stats

from course_lib.listening import analysis, sessions

mixed_model, bradley_terry, agreement, self_agreement, rating_means, beside_published = definitions(
    "12", "mixed_model", "bradley_terry", "agreement", "self_agreement", "rating_means", "beside_published"
).values()

pytestmark = pytest.mark.filterwarnings("error")  # no model may warn in a notebook

SYSTEMS = ("RNN (Chen et al.)", "2D CNN", "Real music, band")
DILATED = ("dilated, mozart", "dilated, haydn", "dilated, beethoven", "dilated, all")


def a_test(systems=SYSTEMS, form="rating", clips_each=2):
    """A test whose clips are named by system and number, as "2D CNN/0"."""
    clips = [
        {"id": f"{name}/{i}".replace(" ", "_"), "system": name, "kind": "band", "real": name.startswith("Real")}
        for name in systems
        for i in range(clips_each)
    ]
    return {"id": "0badcafe", "form": form, "clips": clips}


def answer(listener, item, clips, given, repeat=False):
    return {"listener": listener, "item": item, "clips": clips, "repeat": repeat, "answer": given}


def rated(test, values, repeats=()):
    """Answers to all clips in order from {listener: ratings}; `repeats` holds (listener, clip number, rating)."""
    ids = [clip["id"] for clip in test["clips"]]
    found = [answer(who, i, [ids[i]], {"rating": x}) for who, row in values.items() for i, x in enumerate(row)]
    return found + [answer(who, 99, [ids[i]], {"rating": x}, True) for who, i, x in repeats]


def scaled(test, values):
    """Answers on five scales to one clip a system from {listener: {system number: five values}}."""
    names = tuple(sessions.SCALES)
    return [
        answer(who, i, [test["clips"][i]["id"]], dict(zip(names, five, strict=True)))
        for who, rows in values.items()
        for i, five in rows.items()
    ]


def preferred(test, results):
    """Answers from (listener, winner, loser, times) by number of clip, sides in turn."""
    ids = [clip["id"] for clip in test["clips"]]
    found = []
    for who, winner, loser, times in results:
        for _ in range(times):
            sides = [ids[winner], ids[loser]][:: 1 if len(found) % 2 else -1]
            found.append(answer(who, len(found), sides, {"preferred": ids[winner]}))
    return found


TEST = a_test()
#                     RNN   CNN   real
ANSWERS = rated(TEST, {"a": [2, 4, 6, 6, 9, 9], "b": [5, 5, 6, 8, 10, 8]}, repeats=[("a", 0, 8), ("b", 2, 6)])


def planted(listeners=20, clips=5, merits=(4, 5, 7), listener_sd=1.0, clip_sd=0.5, residual_sd=1.0, seed=0):
    """A frame of ratings with known variances, not rounded."""
    rng = np.random.default_rng(seed)
    level, quality = rng.normal(0, listener_sd, listeners), rng.normal(0, clip_sd, (len(merits), clips))
    return pd.DataFrame(
        [
            {"listener": f"l{who}", "clip": f"{s}/{c}", "system": f"s{s}, (x)", "kind": "band", "real": False,
             "scale": "rating", "repeat": False,
             "value": merit + level[who] + quality[s, c] + rng.normal(0, residual_sd)}
            for s, merit in enumerate(merits) for c in range(clips) for who in range(listeners)
        ]
    )  # fmt: skip


# --- tables ------------------------------------------------------------------------------------------------


def test_table_of_ratings():
    frame = analysis.table(TEST, ANSWERS)
    assert len(frame) == 14
    assert frame.iloc[4].to_dict() == {
        "listener": "a", "item": 4, "clip": "Real_music,_band/0", "system": "Real music, band", "kind": "band",
        "real": True, "scale": "rating", "value": 9.0, "repeat": False,
    }  # fmt: skip
    assert frame["repeat"].sum() == 2


def test_table_of_scales_has_a_row_for_each_scale():
    test = a_test(DILATED, "scales", 1)
    frame = analysis.table(test, scaled(test, {"a": {1: (1, 2, 3, 4, 5)}}))
    assert list(zip(frame["scale"], frame["value"], strict=True)) == [
        ("Flow", 1), ("Rhythm", 2), ("Classical", 3), ("Repetitive", 4), ("Correct", 5)
    ]  # fmt: skip
    assert set(frame["system"]) == {"dilated, haydn"}


def test_table_of_pairs():
    test = a_test(("A", "B"), "pairs", 1)
    frame = analysis.table(test, [answer("a", 3, ["B/0", "A/0"], {"preferred": "A/0"})])
    assert frame.iloc[0].to_dict() == {
        "listener": "a", "item": 3, "pair": "A/0 B/0", "preferred": "A/0", "first": "B", "second": "A",
        "winner": "A", "repeat": False,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["rating", "scales", "pairs"])
def test_no_answers_give_empty_tables(form):
    test = a_test(form=form)
    frame = analysis.table(test, [])
    assert frame.empty and "listener" in frame
    assert self_agreement(frame).empty
    alpha, why = agreement(frame)
    assert math.isnan(alpha) and "two listeners" in why
    assert analysis.heard(test, []) == {}
    if form == "pairs":
        assert list(bradley_terry(frame).columns)[:3] == ["group", "system", "strength"]
        assert bradley_terry(frame).empty
    else:
        found = rating_means(frame)
        assert found.empty and {"system", "scale", "mean", "low", "high"} <= set(found)
        assert mixed_model(frame).empty
        tables = beside_published(found)
        assert tables["morris-leou"]["published"].sum() == pytest.approx(44.7)
        assert tables["chen-horg-zhuo"]["measured"].isna().all()


# --- means -------------------------------------------------------------------------------------------------


def test_means_by_hand():
    found = rating_means(analysis.table(TEST, ANSWERS)).set_index("system")
    assert list(found.index) == ["Real music, band", "2D CNN", "RNN (Chen et al.)"]  # the best first
    assert found["mean"].to_list() == [9, 6.5, 4]  # the repeats (8 and 6) are left out
    assert found.loc["2D CNN", ["answers", "listeners", "clips"]].to_list() == [4, 2, 2]
    # two listeners: from the mean of the one to the mean of the other
    assert found.loc["RNN (Chen et al.)", ["low", "high"]].to_list() == [3, 5]


def test_means_resample_listeners_and_not_answers():
    """Listeners who differ in level alone: their interval is that of their levels, however many their answers."""
    frame = planted(listeners=9, clips=50, merits=(5,), clip_sd=0, residual_sd=1e-6)
    found = rating_means(frame).iloc[0]
    levels = frame.groupby("listener")["value"].mean()
    margin = stats.t.ppf(0.975, 8) * levels.std() / 3
    assert found["high"] - found["low"] == pytest.approx(2 * margin, rel=0.2)


def test_means_weigh_answers_alike_where_listeners_stopped_early():
    found = rating_means(analysis.table(TEST, rated(TEST, {"a": [2, 4], "b": [9]}))).iloc[0]
    assert found["mean"] == 5
    assert (found["low"], found["high"]) == (3, 9)


def test_means_of_one_listener_have_no_interval():
    found = rating_means(analysis.table(TEST, rated(TEST, {"a": [2, 4]}))).iloc[0]
    assert found["mean"] == 3 and math.isnan(found["low"]) and math.isnan(found["high"])
    assert found["note"] == "one listener: no interval"


def test_means_keep_the_scales_in_the_order_of_the_form():
    test = a_test(DILATED, "scales", 1)
    found = rating_means(analysis.table(test, scaled(test, {"a": {0: (1, 1, 5, 1, 1), 1: (2, 0, 4, 0, 5)}})))
    assert list(found["scale"]) == [scale for scale in tuple(sessions.SCALES) for _ in range(2)]
    assert list(found["system"][:2]) == ["dilated, haydn", "dilated, mozart"]


@pytest.mark.parametrize("listeners", [5, 20])
def test_interval_covers_the_mean_as_often_as_it_says(listeners):
    """Plain percentiles would cover it in 84 % of the tests with 5 listeners."""
    samples = np.random.default_rng(2).normal(size=(800, listeners))
    intervals = [analysis.bootstrap_interval(np.mean, x) for x in samples]
    assert 0.90 < np.mean([low <= 0 <= high for low, high in intervals]) < 0.98


# --- models ------------------------------------------------------------------------------------------------


def test_mixed_model_finds_what_was_planted():
    model = mixed_model(planted(listeners=40, clips=30, clip_sd=0.8, residual_sd=1.2))
    assert model["system"].to_list() == ["s2, (x)", "s1, (x)", "s0, (x)"]
    for merit, row in zip((7, 5, 4), model.itertuples(), strict=True):
        assert row.low < merit < row.high and row.high - row.low < 1.5
    assert set(model["note"]) == {""}


def test_mixed_model_equals_the_analysis_of_variance_where_nothing_is_missing():
    frame = planted(listeners=12, clips=6, merits=(4, 6))
    model = mixed_model(frame)
    cells = frame.pivot_table("value", "listener", "clip").to_numpy()  # clips of the first system come first
    systems = cells.reshape(12, 2, 6)
    rest = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
    residual = (rest**2).sum() / (11 * 11)
    listener = (12 * cells.mean(1).var(ddof=1) - residual) / 12  # 12 clips each
    clip = (12 * systems.mean(0).var(axis=1, ddof=1).mean() - residual) / 12
    margin = 1.96 * math.sqrt(listener / 12 + clip / 6 + residual / 72)
    for mean, row in zip(systems.mean((0, 2))[::-1], model.itertuples(), strict=True):
        assert (row.estimate, row.low, row.high) == pytest.approx((mean, mean - margin, mean + margin), rel=0.01)


def test_mixed_model_without_spread_of_clips_or_listeners_is_fitted_in_silence():
    for spread in ({"clip_sd": 0}, {"clip_sd": 0, "listener_sd": 0}):
        for seed in range(3):
            model = mixed_model(planted(12, 2, seed=seed, **spread))
            assert set(model["note"]) == {""}
            assert model["low"].notna().all()


def test_mixed_model_of_one_clip_a_system_says_so():
    model = mixed_model(planted(clips=1))
    assert model.loc[0, "note"] == "one clip a system: the luck of a clip counts as the system's merit"
    assert model["low"].notna().all()


def test_mixed_model_of_one_listener_falls_back():
    frame = analysis.table(TEST, rated(TEST, {"a": [2, 4, 6, 7, 9, 10]}))
    model = mixed_model(frame)
    assert model.loc[0, "note"].startswith("one listener: means by least squares")
    assert model["system"].to_list() == ["Real music, band", "2D CNN", "RNN (Chen et al.)"]
    assert model["estimate"].to_list() == pytest.approx([9.5, 6.5, 3])
    margin = stats.t.ppf(0.975, 3) * math.sqrt((2 + 0.5 + 0.5) / 3 / 2)  # pooled variance, 3 degrees of freedom
    assert model["high"].to_list() == pytest.approx([9.5 + margin, 6.5 + margin, 3 + margin])


def test_mixed_model_says_that_a_fit_failed(monkeypatch):
    """All answers alike leave nothing to fit; a search that stops early is no result either."""
    for row in ([5] * 6, [2, 2, 6, 6, 9, 9]):
        model = mixed_model(analysis.table(TEST, rated(TEST, dict.fromkeys("abcdefgh", row))))
        assert model.loc[0, "note"].endswith("means by least squares, all answers taken as independent")
        assert model["estimate"].to_list() == pytest.approx(sorted(row[::2], reverse=True))

    from statsmodels.regression.mixed_linear_model import MixedLM

    whole = MixedLM.fit
    monkeypatch.setattr(MixedLM, "fit", lambda self, **_: whole(self, method=["bfgs"], maxiter=1))
    model = mixed_model(planted())
    assert model.loc[0, "note"].startswith("the mixed model did not converge: means by least squares")


def test_mixed_model_of_a_single_answer_a_system_has_no_interval():
    model = mixed_model(analysis.table(TEST, rated(TEST, {"a": [3]})))
    assert model["estimate"].to_list() == pytest.approx([3])
    assert model["low"].isna().all()


def test_bradley_terry_of_two_systems_has_a_closed_form():
    test = a_test(("A", "B"), "pairs", 1)
    found = bradley_terry(analysis.table(test, preferred(test, [("a", 0, 1, 7), ("b", 1, 0, 3)])))
    strength = math.log(7 / 3)
    margin = 1.959964 * math.sqrt(1 / 7 + 1 / 3)
    assert found["system"].to_list() == ["A", "B"]
    assert found["strength"].to_list() == pytest.approx([strength / 2, -strength / 2])
    assert (found["high"] - found["low"]).to_list() == pytest.approx([margin, margin])
    assert found["wins"].to_list() == [7, 3] and found["comparisons"].to_list() == [10, 10]
    assert set(found["note"]) == {""}


def test_bradley_terry_finds_what_was_planted():
    strengths = np.array([-1, -0.2, 0.2, 1.0])
    test, rng = a_test("ABCD", "pairs", 1), np.random.default_rng(0)
    results = []
    for i, j in combinations(range(4), 2):
        won = int(rng.binomial(400, 1 / (1 + np.exp(strengths[j] - strengths[i]))))
        results += [("a", i, j, won), ("b", j, i, 400 - won)]
    found = bradley_terry(analysis.table(test, preferred(test, results)))
    assert found["system"].to_list() == ["D", "C", "B", "A"]
    assert found["strength"].to_list() == pytest.approx(strengths[::-1], abs=0.15)
    assert found["strength"].sum() == pytest.approx(0, abs=1e-9)
    assert (found["low"] < strengths[::-1]).all() and (strengths[::-1] < found["high"]).all()


def test_bradley_terry_of_a_system_that_always_wins_is_finite():
    test = a_test("ABC", "pairs", 1)
    results = [("a", 0, 1, 6), ("a", 0, 2, 6), ("a", 1, 2, 3), ("a", 2, 1, 3)]
    found = bradley_terry(analysis.table(test, preferred(test, results))).set_index("system")
    # A against either: 6.5 to 0.5; B and C even
    assert found.loc["A", "strength"] == pytest.approx(2 / 3 * math.log(13))
    assert found["strength"].idxmax() == "A" and np.isfinite(found[["low", "high"]]).all(axis=None)
    assert set(found["note"]) == {"half a win added either way"}
    # A and C never met, and no win is made up between them
    found = bradley_terry(analysis.table(test, preferred(test, [("a", 0, 1, 6), ("a", 1, 2, 6)])))
    assert found["strength"].to_list() == pytest.approx([math.log(13), 0, -math.log(13)])


def test_bradley_terry_keeps_systems_apart_that_never_met():
    test = a_test("ABCD", "pairs", 1)
    results = [("a", 0, 1, 3), ("a", 1, 0, 1), ("a", 3, 2, 2)]
    found = bradley_terry(analysis.table(test, preferred(test, results)))
    assert found[["group", "system"]].to_numpy().tolist() == [[0, "A"], [0, "B"], [1, "D"], [1, "C"]]
    assert found["strength"].to_list() == pytest.approx(
        [math.log(3) / 2, -math.log(3) / 2, math.log(5) / 2, -math.log(5) / 2]
    )
    assert found["note"].to_list() == ["", ""] + ["half a win added either way"] * 2


def test_models_leave_repeats_out():
    more = rated(TEST, {}, repeats=[("a", 0, 10)])
    frames = [analysis.table(TEST, answers) for answers in (ANSWERS[:12], ANSWERS[:12] + more)]
    first, second = (mixed_model(frame) for frame in frames)
    pd.testing.assert_frame_equal(first, second)
    test = a_test("AB", "pairs", 1)
    answers = preferred(test, [("a", 0, 1, 3), ("a", 1, 0, 1)])
    again = [*answers, answer("a", 9, ["B/0", "A/0"], {"preferred": "B/0"}, True)]
    assert bradley_terry(analysis.table(test, again))["comparisons"].to_list() == [4, 4]


# --- agreement ---------------------------------------------------------------------------------------------


def test_alpha_of_krippendorffs_example():
    """Four observers, twelve units (Krippendorff 2011): ordinal .815, nominal .743, interval .849."""
    given = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
    rows = [
        {"listener": who, "clip": clip, "scale": "rating", "repeat": False, "value": float(value)}
        for who, line in enumerate(given)
        for clip, value in enumerate(line.split())
        if value != "."
    ]
    rows += [row | {"scale": "Flow", "value": 1.0} for row in rows]
    rows += [row | {"repeat": True, "value": 9.0} for row in rows[:5]]
    alpha, why = agreement(pd.DataFrame(rows))
    assert alpha == pytest.approx(0.815, abs=5e-4) and why == ""
    alpha, why = agreement(pd.DataFrame(rows), "Flow")
    assert math.isnan(alpha) and "one and the same value" in why


def test_alpha_is_1_where_all_agree_and_undefined_for_one():
    frame = analysis.table(TEST, rated(TEST, {"a": range(1, 7), "b": range(1, 7)}))
    assert agreement(frame) == (1, "")
    alpha, why = agreement(frame[frame["listener"] == "a"])
    assert math.isnan(alpha) and why == "no clip was judged by two listeners"


def test_alpha_of_pairs_does_not_depend_on_sides_or_names():
    test = a_test("ABC", "pairs", 1)
    alike = [("a", 0, 1, 1), ("b", 0, 1, 1), ("a", 0, 2, 1), ("b", 0, 2, 1)]  # A, first by name, always wins
    assert agreement(analysis.table(test, preferred(test, alike))) == (1, "")
    # Two pairs of clips, one agreed: of 8 values, 4 of each label, 2 of 4 units are mixed.
    # alpha = 1 - (n - 1) observed / expected = 1 - 7 * 4 / (2 * 4 * 4)
    mixed = [("a", 0, 1, 1), ("b", 0, 1, 1), ("a", 0, 2, 1), ("b", 2, 0, 1)]
    assert agreement(analysis.table(test, preferred(test, mixed)))[0] == pytest.approx(1 - 28 / 32)


def test_self_agreement_by_hand():
    found = self_agreement(analysis.table(TEST, ANSWERS))
    assert found.to_numpy().tolist() == [["rating", 2, 3.0, 0.5]]  # 2 then 8, and 6 then 6


def test_self_agreement_of_pairs_holds_where_sides_are_swapped():
    test = a_test("AB", "pairs", 1)
    answers = [answer(who, 0, ["A/0", "B/0"], {"preferred": "A/0"}) for who in "abc"]
    answers += [answer(who, 1, ["B/0", "A/0"], {"preferred": f"{won}/0"}, True) for who, won in ("aA", "bB")]
    found = self_agreement(analysis.table(test, answers)).iloc[0]
    assert (found["scale"], found["listeners"], found["identical"]) == ("preferred", 2, 0.5)
    assert math.isnan(found["difference"])


# --- papers and claims -------------------------------------------------------------------------------------


def test_beside_published():
    found = beside_published(rating_means(analysis.table(TEST, rated(TEST, {"a": [2, 4], "b": [5, 5]}))))
    chen = found["chen-horg-zhuo"]
    assert chen["system"].to_list() == list(SYSTEMS)
    assert chen["published"].to_list() == [5.80, 7.08, 9.3]
    assert chen.loc[0, ["measured", "low", "high", "listeners"]].to_list() == [4, 3, 5, 2]
    assert chen.loc[1:, "measured"].isna().all()
    morris = found["morris-leou"]
    assert morris["system"].unique().tolist() == list(DILATED)
    assert morris.pivot(index="system", columns="scale", values="published").loc["dilated, all"].to_dict() == {
        "Flow": 2.6, "Rhythm": 2.2, "Classical": 2.9, "Repetitive": 0.9, "Correct": 1.7
    }  # fmt: skip


def test_heard_takes_the_smaller_contrast_and_the_wider_interval():
    # CNN - RNN: a 3, b 2; real - CNN: a 3, b 2; c did not hear real music, and does not count
    chz = analysis.heard(TEST, [*ANSWERS, *rated(TEST, {"c": [10, 10, 1, 1]})])["chz-rating"]
    assert (chz.value, chz.listeners) == (2.5, 2)
    rnn, cnn, real = [3.5, 4.5], [6, 7], [9.5, 8.5]  # mean of each clip over a and b
    over_clips = [stats.ttest_ind(*pair, equal_var=False).confidence_interval() for pair in ((cnn, rnn), (real, cnn))]
    assert chz.low == pytest.approx(min(each.low for each in over_clips)) and chz.low < 2
    assert chz.high == pytest.approx(max(3, min(each.high for each in over_clips)))


def test_heard_where_clips_fare_alike_keeps_the_interval_over_listeners():
    # real - CNN is the smaller for the mean, yet CNN - RNN in the draws of b alone
    answers = rated(TEST, {"a": [1, 1, 6, 6, 5, 5], "b": [6, 6, 5, 5, 10, 10]})
    assert analysis.heard(TEST, answers)["chz-rating"] == (2.0, -1.0, -1.0 + 3, 2)


def test_heard_needs_two_listeners_and_two_clips_a_side():
    assert analysis.heard(TEST, [given for given in ANSWERS if given["listener"] == "a"]) == {}
    test = a_test(clips_each=1)
    assert analysis.heard(test, rated(test, {"a": [2, 6, 9], "b": [3, 7, 9]})) == {}


def test_heard_of_all_composers():
    test = a_test(DILATED, "scales", 2)
    first = {0: (5, 0, 0, 5, 5), 1: (3, 0, 0, 3, 3), 2: (1, 0, 0, 1, 1), 3: (2, 5, 5, 1, 0)}  # 3 against 1
    second = {0: (4, 0, 0, 4, 4), 1: (4, 0, 0, 4, 4), 2: (4, 0, 0, 4, 4), 3: (5, 5, 5, 5, 5)}  # 4 against 5
    twice = [{2 * i + j: five for i, five in rows.items() for j in (0, 1)} for rows in (first, second)]
    found = analysis.heard(test, scaled(test, dict(zip("ab", twice, strict=True))))
    assert list(found) == ["ml-plain-all-worse"]
    value, low, high, listeners = found["ml-plain-all-worse"]
    assert (value, listeners) == (0.5, 2) and low <= -1 and high >= 2


def test_heard_of_transformer_xl_is_against_the_generated_systems_of_its_kind():
    names = ("LSTM next note", "Transformer-XL", "GRU next note", "Real music, piano", "2D CNN")
    test = a_test(names, clips_each=2)
    for clip in test["clips"]:
        clip["kind"] = "band" if clip["system"] == "2D CNN" else "piano"
    given = {"a": [2, 2, 6, 6, 4, 4, 10, 10, 9, 9], "b": [5, 5, 6, 6, 3, 3, 10, 10, 1, 1]}
    found = analysis.heard(test, rated(test, given))
    value, low, high, listeners = found["tk-txl-good"]
    assert (value, low, listeners) == (pytest.approx(2.5), pytest.approx(2), 2) and high >= 3
    alone = a_test(("Transformer-XL", "Real music, piano"))
    assert analysis.heard(alone, rated(alone, {"a": [6, 6, 10, 10], "b": [6, 6, 10, 10]})) == {}
    pairs = a_test(names, "pairs")
    assert analysis.heard(pairs, []) == {}


def test_heard_of_the_order_of_three_architectures_is_its_smaller_step():
    test = a_test(("VAE-NN", "MelodyCNN + HarmonyCNNs", "RNN (Tham & Kim)"))
    given = {"a": [9, 9, 6, 6, 2, 2], "b": [8, 8, 7, 7, 4, 4]}  # steps of 3 and 4, of 1 and 3
    found = analysis.heard(test, rated(test, given))
    assert list(found) == ["tk-order"]
    value, low, high, listeners = found["tk-order"]
    assert (value, listeners) == (2, 2) and low <= 1 and high >= 3
    two = a_test(("VAE-NN", "MelodyCNN + HarmonyCNNs"))
    assert analysis.heard(two, rated(two, {"a": [9, 9, 6, 6], "b": [8, 8, 7, 7]})) == {}


def test_heard_of_the_gan_against_the_lstm():
    test = a_test(("GAN (Mischler)", "LSTM (Mischler)"))
    value, low, high, listeners = analysis.heard(test, rated(test, {"a": [2, 2, 6, 6], "b": [4, 4, 6, 6]}))["mi-order"]
    assert (value, listeners) == (-3, 2) and low <= -4 and high >= -2


def test_heard_leaves_repeats_out():
    assert analysis.heard(TEST, ANSWERS) == analysis.heard(TEST, ANSWERS[:12])


def test_figures_are_the_same_every_time():
    frame = analysis.table(TEST, ANSWERS)
    pd.testing.assert_frame_equal(rating_means(frame), rating_means(frame))
