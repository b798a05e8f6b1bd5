"""Every verdict that the board shows follows from its rule: computed a second time here, from the records alone."""

import math
import statistics
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_records import beside, record
from scipy import stats

from course_lib.lab import claims, schema, scoreboard

ORDER = ("quick", "night", "paper")


def interval(values):
    """Ends of the 95 % interval of the mean, by another way than the package's; of one value, the value twice."""
    if len(values) < 2:
        return values[0], values[0]
    error = statistics.stdev(values) / len(values) ** 0.5
    low, high = (statistics.mean(values) + error * stats.t(len(values) - 1).ppf(share) for share in (0.025, 0.975))
    return low, high


def learned(claim, runs):
    """Whether every network beats its baseline beyond the interval, and improved no more where it was trained."""
    rows = [(run, row) for run in runs for row in run.baselines]
    names = {row["network"] for _, row in rows} if claim.networks == ["*"] else set(claim.networks)
    if claim.networks and not names:
        return False
    for name in names:
        own = [(run, row) for run, row in rows if row["network"] == name]
        if len(own) != len(runs) or any(row["value"] is None for _, row in own):
            return False
        gains = [abs(row["value"] - row["baselines"][row["best"]]) * (1 if row["beaten"] else -1) for _, row in own]
        if interval(gains)[0] <= 0:
            return False
        for run, row in own:
            ended = run.trainings.get(row["training"])
            late = ended and ended.stopped == "limit" and 10 * (ended.epochs - ended.best_epoch) < ended.epochs
            if row["training"] and (ended is None or late):
                return False
    return True


def enough(claim, profile):
    return ORDER.index(profile) >= ORDER.index(claim.profile)


def expected(claim, runs):
    """The verdict by design.md's order, from the runs that measured a claim on one data set."""
    runs = [run for run in runs if not run.changed]
    measured = {id(run): entry for run in runs for entry in run.claims if entry.id == claim.id}
    tests = [(entry.heard, entry.value) for entry in measured.values() if entry.heard]
    if tests:
        heard = sorted(tests, key=lambda test: (enough(claim, test[0].profile), test[0].listeners))[-1][0]
        if heard.listeners < 5:
            return "needs listeners"
        if not enough(claim, heard.profile):
            return "not run"
        return "reproduced" if heard.low > 0 else "not reproduced" if heard.high <= 0 else "inconclusive"
    if claim.listeners:
        return "needs listeners"
    runs = [run for run in runs if id(run) in measured]
    largest = max((ORDER.index(run.profile) for run in runs), default=-1)
    runs = [run for run in runs if ORDER.index(run.profile) == largest]
    if claim.timed:  # where some had the machine to themselves, they alone count
        fair = [run for run in runs if run.beside is not None and run.beside <= 0.25]
        runs, in_company = fair or runs, not fair
    values = [measured[id(run)].value for run in runs]
    if largest < ORDER.index(claim.profile) or (claim.data == "bands" and runs[0].data.name == "embedded"):
        return "not run"
    if claim.timed and in_company:
        return "not run"
    if not learned(claim, runs):
        return "not learned"
    if len({run.seed for run in runs}) < claim.seeds or any(
        value is None or not math.isfinite(value) for value in values
    ):
        return "inconclusive"
    low, high = interval(values)
    mean = statistics.mean(values)
    if not math.isnan(claim.suspect) and (mean < claim.suspect if math.isnan(claim.above) else mean > claim.suspect):
        return "inconclusive"
    holds = [value > claim.above if math.isnan(claim.below) else value <= claim.below for value in (low, high)]
    return {(True, True): "reproduced", (False, False): "not reproduced"}.get(tuple(holds), "inconclusive")


def agree(records):
    """Compare the board of some records with what is computed here; return its verdicts."""
    counted = {}
    for run in sorted(records, key=lambda run: run.started):
        key = repr((run.notebook, run.parameters, run.changed, run.data.fingerprint))
        counted.pop(key, None)  # so that the latest stands last
        counted[key] = run
    verdicts = []
    for row in scoreboard.rows(records):
        claim = claims.claims()[row["id"]]
        of_data = defaultdict(list)
        for run in counted.values():
            if any(entry.id == claim.id for entry in run.claims):
                of_data["JSB Chorales" if "jsb" in claim.id else run.data.name.split("/")[-1]].append(run)
        shown = {"chorale band (stand-in)": "embedded", "embedded corpus": "embedded"}.get(row["data"], row["data"])
        assert row["verdict"] == expected(claim, of_data[shown]), (row["id"], row["reason"])
        verdicts.append(row["verdict"])
    return verdicts


# ---------------------------------------------------------------- any records

WORDS = {name: "" for name in ("paper", "claim", "published", "measure", "unit", "why")}
values = st.sampled_from([None, -1.0, 0.0, 0.25, 0.5, 0.75, 1.0])
suspects = st.sampled_from([math.nan, 0.0625, 0.625])
lines = st.one_of(
    st.fixed_dictionaries({"above": st.sampled_from([0.0, 0.5]), "suspect": suspects}),
    st.fixed_dictionaries({"below": st.sampled_from([0.25, 0.5]), "suspect": suspects}),
    st.just({"listeners": True}),
)
rules = st.builds(
    lambda line, **given: claims.Claim(id="a", notebook="07", **WORDS, **line, **given),
    line=lines,
    profile=st.sampled_from(ORDER),
    data=st.sampled_from(["any", "bands"]),
    networks=st.sampled_from([[], ["GRU"], ["GRU", "LSTM"], ["*"]]),
    seeds=st.sampled_from([3, 5]),
    timed=st.booleans(),
)
rows = st.lists(
    st.builds(
        lambda network, value, training: beside(network, value, 0.5, value is not None and value < 0.5, training),
        st.sampled_from(["GRU", "LSTM"]),
        st.sampled_from([0.125, 0.25, 0.375, None, 0.75]),
        st.sampled_from(["", "net"]),
    ),
    max_size=2,
    unique_by=lambda row: row["network"],
)
hearings = st.builds(
    lambda low, width, listeners, profile: schema.Heard(low, low + width, listeners, profile),
    *(st.sampled_from([-2.0, -0.5, 0.0, 0.5]), st.sampled_from([0.5, 1.0])),
    *(st.sampled_from([3, 5, 12]), st.sampled_from(ORDER)),
)


@st.composite
def boards(draw):
    """A rule, and records that measured it: as one would find them, mostly alike, or of all kinds."""
    claim, alike, middle, spread = draw(rules), draw(st.booleans()), draw(values), draw(st.sampled_from([0.0, 0.0625]))
    twice = draw(st.sampled_from([1, 2]))  # runs of each seed, with other parameters
    common = {"profile": draw(st.sampled_from(ORDER)), "baselines": draw(rows)}
    found = []
    for number in range(draw(st.integers(0, 6) | st.just(5))):
        run = common if alike else {"profile": draw(st.sampled_from(ORDER)), "baselines": draw(rows)}
        made = record(
            {"a": draw(values) if not alike or middle is None else middle + spread * (number % 3 - 1)},
            data="x/lpd5-2" if alike else draw(st.sampled_from(["embedded", "x/lpd5-2"])),
            seed=number // twice if alike else draw(st.integers(0, 3)),
            parameters={"width": number % 2},
            trainings={"net": draw(st.sampled_from(["patience"] * 7 + ["level", "limit"]))},
            changed={} if draw(st.integers(0, 5)) else {"epochs": 3},
            folder=str(number),
            started=f"2026-01-01T00:00:{number:02}",
            beside=draw(st.sampled_from([0.0] * 7 + [0.25, 0.5, None])),
            **run,
        )
        if claim.listeners and draw(st.booleans()):
            made.claims[0].heard = draw(hearings)
        found.append(made)
    return claim, found


SEEN = set()


@settings(max_examples=1000)
@given(boards())
def test_the_board_says_what_follows_from_rule_and_records(board):
    claim, found = board
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "claims", lambda: {"a": claim})
        SEEN.update(agree(found))


def test_the_records_made_here_gave_every_verdict():
    assert not SEEN or set(scoreboard.VERDICTS) == SEEN


# ---------------------------------------------------------------- the committed results


def test_every_verdict_of_the_committed_results_follows_from_its_rule():
    verdicts = agree(scoreboard.committed())
    assert len(verdicts) >= len(claims.claims())


def test_the_verdicts_of_the_board_are_those_of_its_rows_without_the_run_beside_them():
    ids = ("verdict", "measured", "low", "high", "seeds", "profile")
    found = [record({"tk-gan-place": 0.25}, seed=seed, notebook="10_gan") for seed in range(5)]
    alone = {(row["id"], row["data"]): row for row in scoreboard.board()}
    for row in scoreboard.board(found):
        other = alone.get((row["id"], row["data"]))
        assert other is None or [row[name] for name in ids] == [other[name] for name in ids]
