"""The one scoreboard: rows for each data set, the run beside them, sentences, words, and the picture."""

import json
import re
import tomllib
from collections import Counter

import pytest
from PIL import Image
from run_records import beside, record

from course_lib import files
from course_lib.lab import board, claims, schema, scoreboard

TOGETHER = "tk-cnn-together"  # judged by real bands alone
STARTS = "tk-cnn-starts"  # judged by any; below 0.25
BAND = ["Piano", "Guitar", "Bass", "Strings", "Drums"]


def night(value, seed=0, id=STARTS, data="embedded", **given):
    """A record of notebook 08 whose networks have learned."""
    learned = [beside(name, 1.0, 2.0) for name in BAND]
    folder = given.pop("folder", f"{data}/{seed}")
    return record({id: value}, seed, data=data, baselines=learned, folder=folder, notebook="08_melody", **given)


def three(value, id=STARTS, data="embedded", **given):
    return [night(value, seed, id, data, **given) for seed in range(3)]


def of(rows, id=STARTS):
    return [row for row in rows if row["id"] == id]


# ---------------------------------------------------------------- a row for each data set


def test_a_claim_has_a_row_for_each_data_set_that_it_was_measured_on():
    found = [*three(0.125), *three(0.5, data="cache/lpd5-2")]
    stand_in, bands = of(scoreboard.rows(found))
    assert (stand_in["data"], stand_in["verdict"], stand_in["measured"]) == (
        "chorale band (stand-in)",
        "reproduced",
        0.125,
    )
    assert (bands["data"], bands["verdict"], bands["measured"]) == ("lpd5-2", "not reproduced", 0.5)
    assert stand_in["links"] == [f"embedded/{seed}" for seed in range(3)] and stand_in["seeds"] == bands["seeds"] == 3


def test_the_stand_in_does_not_judge_what_is_said_of_bands():
    stand_in, bands = of(scoreboard.rows([*three(0.75, TOGETHER), *three(0.75, TOGETHER, "cache/lpd5-2")]), TOGETHER)
    assert (stand_in["verdict"], bands["verdict"]) == ("not run", "reproduced")
    assert stand_in["measured"] == 0.75 and "only real bands can judge it" in stand_in["reason"]


def test_what_a_run_saw_in_words():
    runs = [record({"ml-plain-loss": 1.0, "ml-jsb-published": 1.0}, notebook="05_dilated")]
    runs.append(record({"chz-rating": 0.5}, notebook="12_listening_test"))
    rows = {row["id"]: row["data"] for row in scoreboard.rows(runs)}
    assert (rows["ml-plain-loss"], rows["ml-jsb-published"]) == ("embedded corpus", "JSB Chorales")
    assert rows["chz-rating"] == "chorale band (stand-in)", "the systems rated are of notebook 07, whoever asked"
    assert rows["tk-vae-dim-learned"] == ""


def test_seeds_are_counted_and_not_runs():
    found = [night(0.125, 0, parameters={"width": width}) for width in range(3)]
    [row] = of(scoreboard.rows(found))
    assert (row["seeds"], row["verdict"]) == (1, "inconclusive")
    assert row["reason"] == "1 of 3 seeds; the runs averaged differ in width"
    assert scoreboard.shown(row)["seeds"] == "0"


def test_runs_of_another_precision_are_not_averaged_unsaid():
    found = [night(0.125, seed, precision=name) for seed, name in enumerate(["float32", "float32", "mixed_float16"])]
    [row] = of(scoreboard.rows(found))
    assert row["reason"] == "the runs averaged differ in precision"


def test_seconds_are_compared_by_the_runs_that_had_the_machine_to_themselves():
    names = claims.claims()["ml-cnn-lstm"].networks

    def timed(seed, value, beside_it):
        learned = [beside(name, 1.0, 2.0) for name in names]
        given = {"notebook": "05_dilated", "beside": beside_it, "baselines": learned}
        return record({"ml-cnn-lstm": value}, seed, **given)

    busy = [timed(seed, 9.0, 1.0) for seed in range(2)]
    [row] = of(scoreboard.rows([*busy, *(timed(seed, 0.5, 0.0) for seed in (2, 3, 4))]), "ml-cnn-lstm")
    assert (row["verdict"], row["measured"], row["seed_numbers"]) == ("reproduced", 0.5, [2, 3, 4])
    assert "2 with other programs busy beside them left out" in row["reason"]
    [row] = of(scoreboard.rows(busy), "ml-cnn-lstm")
    assert (row["verdict"], row["measured"]) == ("not run", 9.0)


# ---------------------------------------------------------------- the run beside the committed results


def test_a_run_of_one_seed_stands_beside_them_without_a_verdict():
    [row] = of(scoreboard.rows(three(0.125), [night(0.5)]))
    assert (row["verdict"], row["measured"]) == ("reproduced", 0.125)
    assert (row["here"]["verdict"], row["here"]["measured"], row["here"]["reason"]) == ("", 0.5, "1 of 3 seeds")
    words = scoreboard.shown(row)
    assert words["verdict"] == "● reproduced"
    assert words["this run"] == "0.5 share of the starts' variety, night profile: no verdict (1 of 3 seeds)"


def test_runs_of_three_seeds_beside_them_have_their_own_verdict():
    [row] = of(scoreboard.rows(three(0.125), three(0.5)))
    assert (row["verdict"], row["here"]["verdict"]) == ("reproduced", "not reproduced")
    [row] = of(scoreboard.rows(three(0.125), three(0.5, profile="quick")))
    assert row["here"]["verdict"] == "not run", "quick judges nothing, with however many seeds"


def test_a_claim_that_no_run_beside_them_measured_has_none():
    rows = scoreboard.rows(three(0.125))
    assert {row["here"] for row in rows} == {None}
    assert "this run" not in scoreboard.shown(rows[0])


def test_data_that_only_the_run_beside_them_saw_have_a_row():
    stand_in, bands = of(scoreboard.rows(three(0.125), three(0.5, data="cache/lpd5-2")))
    assert (stand_in["verdict"], stand_in["here"]) == ("reproduced", None)
    assert (bands["verdict"], bands["seeds"], bands["here"]["verdict"]) == ("not run", 0, "not reproduced")
    assert scoreboard.shown(bands)["measured"] == "–"


def test_the_board_is_of_the_committed_results_and_takes_none_of_them_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(scoreboard.files, "ROOT", tmp_path)
    inside = three(0.125)
    for run in inside:
        run.folder = str(tmp_path / "results" / "night" / str(run.seed))
    monkeypatch.setattr(scoreboard, "committed", lambda: inside)
    [row] = of(scoreboard.board([*inside, night(0.5, folder=str(tmp_path / "runs" / "1"))]))
    assert (row["verdict"], row["here"]["seeds"]) == ("reproduced", 1)
    [row] = of(scoreboard.board(inside))
    assert row["here"] is None


# ---------------------------------------------------------------- sentences


def sentence(found):
    return scoreboard.sentences(scoreboard.rows(found))["tham-kim"]


def test_a_sentence_says_how_many_claims_hold_on_which_data_at_which_profile():
    number = sum(claim.paper == "tham-kim" and not claim.apart for claim in claims.claims().values())
    assert sentence([]) == (
        f"Tham & Kim, from GRU to VAE-NN, GAN and Transformer-XL: none of {number} claims has a verdict yet; "
        f"2 for listeners to judge, {number - 2} not yet run at the scale or on the data that they need."
    )
    found = three(0.125)
    for run in found:
        run.claims.append(schema.Measured(TOGETHER, 0.75))
    told = sentence(found)
    assert f": of {number} claims 1 are judged, 1 reproduced and 0 not; 2 for" in told
    assert told.endswith("; judged on chorale band (stand-in) in night.")
    told = sentence([*found, *three(0.25, TOGETHER, "cache/lpd5-2")])
    assert f": of {number} claims 2 are judged, 1 reproduced and 1 not; 2 for" in told
    assert told.endswith("; judged on chorale band (stand-in) in night, lpd5-2 in night.")


def test_of_several_data_sets_a_verdict_counts_and_people_before_the_stand_in():
    both = [*three(0.125), *three(0.5, data="cache/lpd5-2")]
    assert [row["data"] for row in of(scoreboard.best(scoreboard.rows(both)))] == ["lpd5-2"]
    unsure = [*three(0.125), night(0.5, data="cache/lpd5-2")]
    assert [row["data"] for row in of(scoreboard.best(scoreboard.rows(unsure)))] == ["chorale band (stand-in)"]
    assert [row["id"] for row in scoreboard.best(scoreboard.rows(both))] == list(claims.claims())


def test_what_has_not_learned_and_what_is_unsure_are_told_apart():
    lost = three(0.125, trainings={"net": "limit"})
    assert "1 not judged, as networks had not learned" in sentence(lost)
    assert "1 inconclusive" in sentence([night(0.125)])


def test_what_is_true_by_construction_is_in_no_sentence():
    found = [record({"tk-gru-rhythm": 0.0}, seed, baselines=[beside("GRU", 1.0, 2.0)]) for seed in range(3)]
    assert of(scoreboard.rows(found), "tk-gru-rhythm")[0]["verdict"] == "reproduced"
    assert sentence(found) == sentence([])
    title, apart = scoreboard.groups(scoreboard.rows(found))[-1]
    assert title == scoreboard.APART and {row["id"] for row in apart} >= {"tk-gru-rhythm", "va-overlap"}
    assert all(row["apart"] for row in apart)
    assert scoreboard.shown(of(apart, "tk-gru-rhythm")[0])["verdict"] == "● reproduced (true by construction)"


def test_every_row_stands_in_one_group_below_the_sentence_of_its_paper():
    rows = scoreboard.rows([*three(0.125), *three(0.5, data="cache/lpd5-2")])
    told = scoreboard.findings(rows)
    assert list(told) == list(claims.papers()), "a finding for each paper"
    assert not re.search(r"[{}]", "".join(text for texts in told.values() for text in texts.values()))
    written = tomllib.loads((files.ROOT / "results" / "findings.toml").read_text(encoding="utf-8"))
    named = re.findall(r"\{([\w-]+)", "".join(text for texts in written.values() for text in texts.values()))
    assert len(named) > 10 and set(named) <= set(claims.claims())
    groups = scoreboard.groups(rows)
    assert sorted(row["id"] for _, group in groups for row in group) == sorted(row["id"] for row in rows)
    assert [title for title, _ in groups] == [*scoreboard.sentences(rows).values(), scoreboard.APART]


def test_until_there_are_runs_of_a_night_the_board_says_so():
    nothing = "A verdict takes runs of the night or the paper profile, so there is none yet."
    assert scoreboard.about([]) == f"No results have been committed yet. {nothing}"
    quick = [record({}, seed, "quick") for seed in range(2)]
    assert scoreboard.about(quick) == f"Made from the committed results, 2 runs of quick. {nothing}"
    both = "Made from the committed results, 2 runs of quick and 3 runs of night."
    assert scoreboard.about([*quick, *three(0.5)]) == both


# ---------------------------------------------------------------- words and table


def test_a_row_in_words():
    found = [night(value, seed) for seed, value in enumerate([0.125, 0.1875, 0.25])]
    words = scoreboard.shown(of(scoreboard.rows(found))[0])
    assert words["measured"] == "0.188 (0.0322 to 0.343) share of the starts' variety"
    assert (words["line"], words["data"], words["profile"], words["seeds"]) == (
        *("at most 0.25", "chorale band (stand-in)", "night", "0, 1, 2"),
    )
    assert words["verdict"] == "◆ inconclusive (the interval over seeds spans the line)"
    assert scoreboard.shown(scoreboard.rows([])[0])["measured"] == "–"
    proxy = of(scoreboard.rows([record({"chz-rating": 0.5})]), "chz-rating")[0]
    assert scoreboard.shown(proxy)["measured"] == "proxy: 0.5 difference of places (noise 0, real 1)"
    assert scoreboard.shown(proxy)["line"] == "listeners decide"


def test_figures_of_three_digits():
    numbers = (0.123456, 12345.6, 7, -0.05617, None, float("nan"))
    assert [scoreboard.number(value) for value in numbers] == ["0.123", "12,346", "7", "-0.0562", "–", "–"]
    assert (
        scoreboard.interval(0.5, None, None) == "0.5" and scoreboard.interval(0.5, 0.25, 0.75) == "0.5 (0.25 to 0.75)"
    )


def test_the_table_of_a_notebook_shows_the_words():
    rows = scoreboard.rows(three(0.125), [night(0.5)])
    table = scoreboard.table(rows)
    assert list(table.data.columns) == list(scoreboard.shown(of(rows)[0]))
    assert list(table.data["this run"]).count("–") == len(rows) - 1
    assert "● reproduced" in table.to_html() and "no verdict (1 of 3 seeds)" in table.to_html()


def test_verdicts_are_told_by_shape_and_by_colour():
    kinds = scoreboard.VERDICTS.values()
    assert len({kind.mark for kind in kinds}) == len({kind.colour for kind in kinds}) == len(kinds) == 6
    assert len({kind.marker for kind in kinds}) == 5, "the circle of what was not run is hollow"


# ---------------------------------------------------------------- the picture


def drawn(rows):
    """Texts of the picture by height, and the marks in it as (x, y, marker, colour of its edge)."""
    axes = board.picture(rows).axes[0]
    texts = {}
    for text in axes.texts:
        texts.setdefault(round(text.get_position()[1], 3), []).append(text.get_text())
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1]
    points = [
        (line.get_xdata()[0], round(line.get_ydata()[0], 3), line.get_marker(), line.get_markeredgecolor())
        for line in lines
    ]
    return axes, texts, points


def test_the_picture_has_one_row_a_claim():
    rows = scoreboard.rows([*three(0.125), *three(0.5, data="cache/lpd5-2")])
    _, texts, _ = drawn(rows)
    named = [line[0] for _, line in sorted(texts.items()) if line[0] in claims.claims()]
    apart = [id for id, claim in claims.claims().items() if claim.apart]
    assert named == [id for id in claims.claims() if id not in apart] + apart
    titles = [line[0] for _, line in sorted(texts.items())]
    for title in ("Morris & Leou", "Voorhis-Allen, May & Mokobi", "Tham & Kim", "Counted apart"):
        assert title in titles


def test_the_numbers_of_the_picture_are_those_of_the_sentences():
    """Without what is counted apart, which the sentences do not count either."""
    rows = scoreboard.rows([*three(0.125), record({"tk-gru-rhythm": 0.5}, notebook="03_gru")])
    _, texts, _ = drawn(rows)
    shown = {text for line in texts.values() for text in line}
    number = Counter(row["verdict"] for row in rows if not row["apart"])
    assert {f"{number[verdict]} {verdict}" for verdict in scoreboard.VERDICTS} <= shown
    apart = [row for row in rows if row["apart"]]
    assert apart and number.total() == len(rows) - len(apart)


@pytest.mark.parametrize(
    "id, value, verdict, right",
    [(STARTS, 0.125, "reproduced", True), (STARTS, 0.5, "not reproduced", False),
     ("tk-cnn-together", 0.75, "not run", True), ("tk-cnn-together", 0.25, "not run", False)],
)  # fmt: skip
def test_the_right_of_the_line_is_where_the_claim_holds(id, value, verdict, right):
    axes, texts, points = drawn(scoreboard.rows(three(value, id)))
    [y] = [y for y, line in texts.items() if line[0] == id]
    [(x, _, marker, colour)] = [point for point in points if point[1] == y]
    kind = scoreboard.VERDICTS[verdict]
    assert (x > board.MIDDLE) == right and abs(x - board.MIDDLE) < board.HALF
    assert (marker, colour) == (kind.marker, kind.colour)
    assert texts[y][1].startswith(f"{value:g} (")


def test_an_interval_is_drawn_to_scale_around_its_line():
    found = [night(value, seed) for seed, value in enumerate([0.375, 0.5, 0.625])]
    [row] = of(scoreboard.rows(found))
    axes, texts, points = drawn(scoreboard.rows(found))
    [y] = [y for y, line in texts.items() if line[0] == STARTS]
    [(x, *_)] = [point for point in points if point[1] == y]
    [bar] = [
        line
        for line in axes.lines
        if len(line.get_xdata()) == 2 and list(line.get_ydata().round(3)) == [y, y] and line.get_linewidth() > 2
    ]
    at = [board.MIDDLE - each for each in (*bar.get_xdata(), x)]  # a claim of "at most": larger is further left
    distances = [row["low"] - 0.25, row["high"] - 0.25, row["measured"] - 0.25]
    scale = at[2] / distances[2]
    assert at == pytest.approx([scale * distance for distance in distances])


def test_a_claim_that_was_not_measured_is_an_empty_row():
    _, texts, points = drawn(scoreboard.rows([]))
    rows = [y for y, line in texts.items() if line[0] in claims.claims()]
    assert all(texts[y][1] == "–" for y in rows) and not [point for point in points if point[1] in rows]


def test_a_proxy_is_shown_and_not_set_against_a_line():
    rows = scoreboard.rows([record({"chz-rating": 0.5})], [record({"chz-rating": 0.25})])
    _, texts, points = drawn(rows)
    [y] = [y for y, line in texts.items() if line[0] == "chz-rating"]
    assert texts[y][1] == "0.5 (proxy)" and not [point for point in points if point[1] == y]
    rated = record({"chz-rating": 0.5})
    rated.claims[0].heard = schema.Heard(0.25, 0.75, 12, "night")
    _, texts, points = drawn(scoreboard.rows([rated]))
    assert texts[y][1] == "0.5 (> 0)" and [point for point in points if point[1] == y][0][0] > board.MIDDLE


def test_what_this_run_measured_is_a_stroke():
    _, texts, points = drawn(scoreboard.rows(three(0.125), [night(0.5)]))
    [y] = [y for y, line in texts.items() if line[0] == STARTS]
    marks = {point[2]: point[0] for point in points if point[1] == y}
    assert marks["|"] < board.MIDDLE < marks["o"]
    assert any("what this run measured" in line for line in texts.values())


def test_the_picture_is_readable_on_a_telephone():
    axes, _, _ = drawn(scoreboard.rows(three(0.125)))
    figure = axes.figure
    assert figure.get_size_inches()[0] * 100 == board.WIDTH == 390
    assert min(text.get_fontsize() for text in axes.texts) >= 6.5  # points, of 100 to the inch: 9 pixels
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert max(box.x1 for box in boxes) <= figure.bbox.x1 and min(box.x0 for box in boxes) >= 0
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.shrunk(0.9, 0.9).overlaps(b.shrunk(0.9, 0.9))]


def test_a_picture_says_what_it_shows(tmp_path):
    rows = scoreboard.rows(three(0.125))
    board.save(rows, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        told = picture.text["Description"]
    assert told == board.described(rows) != board.described(scoreboard.rows(three(0.5)))
    assert [each[0] for each in json.loads(told)] == list(claims.claims())
    assert re.search(r'\["tk-cnn-starts", "reproduced", 0.125, 0.125, 0.125\]', told)
