"""What stands before a verdict: enough seeds, and networks that beat what needs no network."""

import json

import numpy as np
import pytest

from course_lib import files, music
from course_lib.lab import claims, provenance, scoreboard
from course_lib.lab import record as records


def rule(**given):
    texts = dict.fromkeys(("id", "paper", "notebook", "claim", "published", "measure", "why"), "")
    return claims.Claim(**(texts | given))


def row(network, value, baseline, beaten=True):
    """What `Run.baseline` records; of two baselines the other is worse."""
    names = {"frequencies": baseline, "uniform": baseline + (10 if value < baseline else -10)}
    entry = {"network": network, "value": value, "best": "frequencies", "baselines": names, "beaten": beaten}
    return entry | {"figure": "NLL, nats a note"}


def runs(**values):
    """Runs of which each network has its value beside a baseline of 5; lower is better."""
    return [
        [row(network, value, 5.0, value < 5) for network, value in zip(values, column, strict=True)]
        for column in zip(*values.values(), strict=True)
    ]


# ---------------------------------------------------------------- seeds


@pytest.mark.parametrize("line", [{"above": 0.1}, {"below": 0.1}])
@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_one_seed_is_never_a_verdict(line, value):
    assert claims.verdict(rule(**line), [value]) == ("inconclusive", value, None, None, "1 of 3 seeds")


def test_two_seeds_are_none_and_three_are_one():
    assert claims.verdict(rule(above=0.0), [2.0, 2.0]) == ("inconclusive", 2, 2, 2, "2 of 3 seeds")
    assert claims.verdict(rule(above=0.0), [2.0, 2.0, 2.0]) == ("reproduced", 2, 2, 2, "")
    assert claims.verdict(rule(above=0.0, seeds=4), [2.0] * 3).reason == "3 of 4 seeds"
    assert claims.verdict(rule(above=0.0, seeds=4), [2.0] * 4).verdict == "reproduced"


def test_the_interval_over_seeds():
    # 1, 2, 3: mean 2, standard deviation 1, t = 4.30265 with two degrees of freedom: 2 +- 4.30265 / sqrt(3)
    assert claims.interval([1.0, 2.0, 3.0]) == pytest.approx((2, -0.48414, 4.48414), abs=1e-5)
    assert claims.interval([3.0, 3.0]) == (3, 3, 3)
    assert claims.interval([7.0]) == (7, None, None)


# ---------------------------------------------------------------- networks that have not learned


@pytest.mark.parametrize(
    "values, learned",
    [
        ([3.0, 2.0, 1.0], True),  # 2, 3 and 4 under the baseline: 3 +- 2.484
        ([4.0, 3.0, 2.0], False),  # each better, by 1, 2 and 3: 2 +- 2.484
        ([4.0, 4.0, 4.0], True),  # by 1, always
        ([5.0, 5.0, 5.0], False),
        ([6.0, 7.0, 8.0], False),
        ([3.0, 3.0, 7.0], False),  # by 2, 2 and -2
        ([4.0], True),  # one run has no interval, and no verdict either
        ([5.0], False),
        ([6.0], False),
    ],
)
def test_a_network_beats_its_baseline_by_more_than_the_interval_over_seeds(values, learned):
    reason = "" if learned else "GRU does not beat what needs no network (frequencies)"
    assert claims.not_learned(rule(networks=["GRU"]), runs(GRU=values)) == reason


@pytest.mark.parametrize("overlaps, learned", [([0.75, 0.75, 0.75], True), ([0.25, 0.25, 0.25], False)])
def test_of_some_figures_more_is_better(overlaps, learned):
    found = [[row("GAN", value, 0.5, value > 0.5)] for value in overlaps]
    assert (claims.not_learned(rule(networks=["GAN"]), found) == "") == learned


def test_each_run_is_set_beside_its_own_baseline():
    learned = [[row("GRU", 1.0, 2.0)], [row("GRU", 5.0, 6.0)], [row("GRU", 9.0, 10.0)]]
    assert claims.not_learned(rule(networks=["GRU"]), learned) == ""


def test_only_the_networks_of_the_claim_count():
    found = runs(GRU=[1.0] * 3, LSTM=[9.0] * 3)
    assert claims.not_learned(rule(networks=["GRU"]), found) == ""
    assert claims.not_learned(rule(), found) == claims.not_learned(rule(), [[], [], []]) == ""
    for named in (["LSTM"], ["GRU", "LSTM"], ["*"]):
        assert claims.not_learned(rule(networks=named), found).startswith("LSTM does not beat")
    assert claims.not_learned(rule(networks=["*"]), runs(GRU=[1.0] * 3, LSTM=[2.0] * 3)) == ""


def test_a_baseline_that_one_run_lacks():
    found = runs(GRU=[1.0] * 3, LSTM=[1.0] * 3)
    found[1] = [each for each in found[1] if each["network"] == "GRU"]
    assert claims.not_learned(rule(networks=["GRU"]), found) == ""
    for named in (["LSTM"], ["GRU", "LSTM"], ["*"]):
        assert claims.not_learned(rule(networks=named), found) == "no baseline was recorded for LSTM"
    assert claims.not_learned(rule(networks=["*"]), [[], [], []]) == "no baseline was recorded for its networks"


def test_a_network_that_diverged_has_not_learned():
    found = [[row("GRU", 1.0, 5.0)], [row("GRU", 1.0, 5.0) | {"value": None, "beaten": False}]]
    reason = "GRU or what needs no network gave no finite value (diverged)"
    assert claims.not_learned(rule(networks=["GRU"]), found) == reason


# ---------------------------------------------------------------- from a run to the scoreboard


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a run in a folder of its own."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.setattr(provenance, "git_commit", lambda: None)

    def start(seed=0):
        monkeypatch.setenv("COURSE_OUT", str(tmp_path / f"{seed}"))
        return records.start("03_gru_next_note", "quick", seed, "embedded")

    return start


def test_a_network_is_recorded_beside_what_needs_none(start, tmp_path):
    run = start()
    baselines = {"uniform": np.float64(4.0), "class frequencies": np.float64(2.5)}
    run.baseline("GRU", "NLL, nats a note", 3.0, baselines)
    sentence = run.baseline("GRU", "NLL, nats a note", np.float32(2.0), baselines)  # as when a cell is run again
    assert (
        sentence
        == "GRU beats the best of what needs no network, class frequencies: 2.000 against 2.500 (NLL, nats a note)."
    )
    sentence = run.baseline("GAN", "overlap, 0 to 1", 0.25, {"noise": 0.25, "draws": 0.125}, more_is_better=True)
    assert (
        sentence == "GAN does not beat the best of what needs no network, noise: 0.250 against 0.250 (overlap, 0 to 1)."
    )
    expected = [
        {
            "network": "GRU",
            "figure": "NLL, nats a note",
            "value": 2.0,
            "best": "class frequencies",
            "baselines": {"uniform": 4.0, "class frequencies": 2.5},
            "beaten": True,
        },
        {
            "network": "GAN",
            "figure": "overlap, 0 to 1",
            "value": 0.25,
            "best": "noise",
            "baselines": {"noise": 0.25, "draws": 0.125},
            "beaten": False,
        },
    ]
    assert json.loads(run.finish().read_text())["baselines"] == expected
    [read] = records.load(tmp_path)
    assert read.baselines == expected
    assert claims.not_learned(rule(networks=["GRU"]), [read.baselines]) == ""
    assert claims.not_learned(rule(networks=["*"]), [read.baselines]) == (
        "GAN does not beat what needs no network (noise)"
    )


@pytest.mark.parametrize("better", [0.3, 0.2])
def test_of_figures_where_more_is_better_the_highest_is_the_best(start, better):
    run = start()
    run.baseline("GAN", "overlap, 0 to 1", better, {"noise": 0.125, "draws": 0.25}, more_is_better=True)
    [recorded] = run.record.baselines
    assert (recorded["best"], recorded["beaten"]) == ("draws", better > 0.25)


@pytest.mark.parametrize(
    "given, seeds, network, expected",
    [
        ({"listeners": True}, 1, 9.0, "needs listeners"),
        ({"below": 1.0, "profile": "paper"}, 1, 9.0, "not run"),
        ({"below": 1.0}, 0, 9.0, "not run"),
        ({"below": 1.0}, 1, 9.0, "not learned"),
        ({"below": 1.0}, 3, 9.0, "not learned"),
        ({"below": 0.5}, 3, 9.0, "not learned"),
        ({"below": 1.0}, 3, None, "not learned"),
        ({"below": 1.0}, 3, np.nan, "not learned"),
        ({"below": 1.0}, 1, 1.0, "inconclusive"),
        ({"below": 1.0}, 2, 1.0, "inconclusive"),
        ({"below": 1.0}, 3, 1.0, "reproduced"),
        ({"below": 0.5}, 3, 1.0, "not reproduced"),
        ({"below": 0.75}, 3, 1.0, "inconclusive"),  # the three are 0.6875, 0.75 and 0.8125
    ],
)
def test_the_order_of_the_verdicts(start, tmp_path, monkeypatch, given, seeds, network, expected):
    claim = rule(id="tk-gru-rhythm", networks=["GRU"], **given)
    monkeypatch.setattr(claims, "claims", lambda: {claim.id: claim})
    for seed in range(seeds):
        run = start(seed)
        if network is not None:
            run.baseline("GRU", "NLL, nats a note", network, {"class frequencies": 5.0})
        run.claim(claim.id, 0.6875 + 0.0625 * seed)
        run.finish()
    [judged] = scoreboard.rows(records.load(tmp_path))
    assert (judged["verdict"], judged["runs"]) == (expected, seeds)
    if expected == "not learned":
        reasons = {9.0: "GRU does not beat what needs no network (class frequencies)"}
        reasons[None] = "no baseline was recorded for GRU"
        assert judged["reason"] == reasons.get(network, "GRU or what needs no network gave no finite value (diverged)")
    if seeds and expected in ("not learned", "not run"):
        assert judged["measured"] is not None, "the figure is shown all the same"


def test_listeners_need_no_baseline(start, tmp_path):
    run = start()
    run.heard("chz-rating", 1.5, 0.5, 2.5, 12)
    run.finish()
    [judged] = [each for each in scoreboard.rows(records.load(tmp_path)) if each["id"] == "chz-rating"]
    assert judged["verdict"] == "reproduced"


# ---------------------------------------------------------------- the names in claims.toml

# By notebook the code that records networks, and the names it records, as far as claims are about them. A name that
# is made in a loop is read off by hand here, with the line that makes it: a change of that line fails the test.
RECORDED = {
    "02": {"for build in builds:\n": [], "run.baseline(build,": ["*"]},
    "03": {'run.baseline("GRU",': ["GRU"]},
    "04": {'run.baseline(f"LSTM, {name}",': ["*"], 'run.baseline("GAN",': ["GAN"]},
    "05": {
        "return run.baseline(model_name,": [],
        "for name in frames:\n    print(beside_tables(name, name))": ["mozart", "haydn", "beethoven", "all"],
        'for name in ("all, no connections", "all, LSTM"):\n    print(beside_tables("all", name))': [
            "all, no connections",
            "all, LSTM",
        ],
        'jsb_builds = {"dilated": jsb_dilated, "LSTM": jsb_lstm}': [],
        "for name, row in benchmark.items():\n": [],
        'run.baseline(f"JSB, {name}",': ["JSB, dilated", "JSB, LSTM"],
    },
    "06": {
        "for previous in (10, 32):\n": [],
        'for previous in models:\n    name = f"{previous} previous steps"\n': [],
        'run.baseline(f"RNN, {name}",': ["RNN, 10 previous steps", "RNN, 32 previous steps"],
    },
    "07": {
        "return run.baseline(name,": [],
        "in enumerate(music.band.INSTRUMENTS):\n    print(beside_tables(name,": music.band.INSTRUMENTS,
        'print(beside_tables("Piano, dense layers",': ["Piano, dense layers"],
    },
    "08": {"in enumerate(music.band.INSTRUMENTS)}\n": [], "run.baseline(name,": music.band.INSTRUMENTS},
    "09": {'run.baseline("VAE, piano",': ["VAE, piano"]},
    "10": {'run.baseline("GAN",': ["GAN"]},
    "11": {'run.baseline("Transformer-XL",': ["Transformer-XL"]},
}


@pytest.mark.parametrize("number", RECORDED)
def test_the_notebooks_record_the_networks_as_read_off_here(number):
    [path] = (files.ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert [line for line in RECORDED[number] if line not in code] == []


def test_every_network_of_a_claim_is_one_that_its_notebook_records():
    recorded = {number: {name for names in lines.values() for name in names} for number, lines in RECORDED.items()}
    named = [(claim.id, claim.notebook, name) for claim in claims.claims().values() for name in claim.networks]
    assert len(named) > 40
    assert [each for each in named if each[2] not in recorded.get(each[1], ())] == []


def test_a_baseline_that_diverged_is_not_the_best_one(start):
    sentence = start().baseline("GRU", "NLL, nats a note", 2.0, {"table": float("nan"), "bigram": 2.5})
    assert "bigram: 2.000 against 2.500" in sentence


@pytest.mark.parametrize("baselines", [{}, {"table": float("inf")}])
def test_without_a_finite_baseline_one_sentence(start, baselines):
    with pytest.raises(ValueError, match="GRU has no baseline with a finite NLL: give one that needs no network"):
        start().baseline("GRU", "NLL", 2.0, baselines)
