"""The result file of a run, the claims file, and the verdicts."""

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import symusic
from PIL import Image

from course_lib import cli, files
from course_lib.hear import listen
from course_lib.lab import board, claims, provenance, report, schema, scoreboard
from course_lib.lab import record as records
from course_lib.music import corpus, midi

IDS = {
    "morris-leou": "ml-plain-loss ml-plain-texture ml-plain-all-worse ml-connections ml-cnn-lstm ml-jsb-published "
    "ml-jsb-lstm",
    "voorhis-allen": "va-train va-test-end va-variance-all va-epochs va-overlap",
    "chen-horg-zhuo": "chz-rating chz-faster-epoch chz-length-kept chz-dense-equal chz-together chz-diversity chz-loss",
    "tham-kim": "tk-gru-rhythm tk-rnn-together tk-cnn-together tk-cnn-starts tk-vae-dim-learned tk-vae-continuous "
    "tk-vae-complete tk-vae-noise-one tk-vae-variety tk-vae-together tk-style-nearer tk-order tk-gan-alike "
    "tk-gan-place tk-txl-good tk-txl-recurrence tk-txl-relative",
    "mischler": "mi-lstm-flat mi-lstm-simple mi-gan-place mi-gan-contest mi-gan-improves mi-gan-drums-contest mi-order",
}


CLAIMS = claims.claims()


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The run folder, as a headless run sets it."""
    monkeypatch.setenv("COURSE_OUT", str(tmp_path / "run"))
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    return tmp_path / "run"


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Writes the result of one whole run that measured some claims, in a folder of its own."""
    monkeypatch.delenv("COURSE_SMOKE", raising=False)
    monkeypatch.setattr(provenance, "git_commit", lambda: None)

    def write(name, profile="night", seed=0, fingerprint="f", parameters=None, changed=None, **values):
        """`values` by claim, its "-" as "_"; the one network of the run has learned."""
        monkeypatch.setenv("COURSE_OUT", str(tmp_path / name))
        monkeypatch.setenv("COURSE_SETTINGS", json.dumps(changed or {}))
        run = records.start("02_lstm_next_note", profile, seed, "embedded", **(parameters or {}))
        run.settings(epochs=(2, 20), widths=((8, 4), (64, 32)), rate=(0.5, 0.25))
        run.data(fingerprint)
        run.baseline("LSTM", "NLL, nats a note", 1.0, {"class frequencies": 2.0})
        for id, value in values.items():
            run.claim(id.replace("_", "-"), value)
        return run.finish()

    return write


def rows(folder):
    return {row["id"]: row for row in scoreboard.rows(records.load(folder))}


def rule(**given):
    texts = dict.fromkeys(("id", "paper", "notebook", "claim", "published", "measure", "unit", "why"), "")
    return claims.Claim(**(texts | given))


# ---------------------------------------------------------------- the claims file


def entries():
    return tomllib.loads(Path(files.__file__).with_name("claims.toml").read_text(encoding="utf-8"))["claim"]


def test_every_claim_is_there_once_under_its_paper():
    found = [(entry["paper"], entry["id"]) for entry in entries()]
    assert found == [(paper, id) for paper, ids in IDS.items() for id in ids.split()]
    assert list(claims.claims()) == [id for _, id in found]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["id"])
def test_each_claim_has_one_rule_and_every_text(entry):
    rules = [key for key in ("above", "below", "listeners") if key in entry]
    assert len(rules) == 1
    line = entry[rules[0]]
    assert line is True if rules == ["listeners"] else isinstance(line, float) and math.isfinite(line)
    assert all(entry[key].strip() for key in ("claim", "published", "measure", "unit", "why"))
    assert entry["paper"] in claims.papers()
    assert list((files.ROOT / "notebooks").glob(f"{entry['notebook']}_*.ipynb"))
    assert entry.get("profile", "paper") == "paper" and entry.get("data", "bands") == "bands"
    assert entry.get("seeds", 3) >= 3, "fewer runs are no verdict"
    assert ("heard" in entry) == (rules == ["listeners"])


def test_rules_in_words():
    assert claims.claims()["va-train"].rule == "at most 0.05"
    assert claims.claims()["va-overlap"].rule == "above 0.05"
    assert claims.claims()["chz-rating"].rule == "listeners decide"


def test_retired_claims_are_listed_with_what_came_in_their_place():
    """Each retired id is in no rule, and what replaced it is."""
    text = (files.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Retired claims")
    listed = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+) \|$", section.partition("\n## ")[0], re.MULTILINE)
    assert len(listed) > 20
    for old, new, why in listed:
        assert old not in CLAIMS, old
        assert why.strip()
        assert new == "none" or all(id in CLAIMS for id in re.findall("`(.+?)`", new)), new


# ---------------------------------------------------------------- verdicts, worked by hand


@pytest.mark.parametrize(
    "line, value, expected",
    [
        ({"above": 0.1}, 0.2, "reproduced"),
        ({"above": 0.1}, 0.1, "not reproduced"),
        ({"above": 0.1}, -3.0, "not reproduced"),
        ({"below": 0.1}, 0.1, "reproduced"),
        ({"below": 0.1}, 0.2, "not reproduced"),
        ({"above": 0.0}, 0.0, "not reproduced"),
        ({"below": -0.85}, -0.9, "reproduced"),
    ],
)
def test_one_run_is_judged_by_its_side(line, value, expected):
    assert claims.verdict(rule(seeds=1, **line), [value]) == (expected, value, None, None, "")


def test_three_runs_are_judged_by_the_t_interval():
    # 1, 2, 3: mean 2, standard deviation 1, t = 4.30265 with two degrees of freedom: 2 +- 4.30265 / sqrt(3)
    judged = claims.verdict(rule(above=-0.5), [1.0, 2.0, 3.0])
    assert judged.measured == 2
    assert judged.low == pytest.approx(-0.48414, abs=1e-5)
    assert judged.high == pytest.approx(4.48414, abs=1e-5)
    assert (judged.verdict, judged.reason) == ("reproduced", "")


@pytest.mark.parametrize(
    "line, expected",
    [
        ({"above": -0.48}, "inconclusive"),  # the low end is -0.484
        ({"above": 4.48}, "inconclusive"),
        ({"above": 4.49}, "not reproduced"),  # the high end is 4.484
        ({"below": 4.49}, "reproduced"),
        ({"below": 4.48}, "inconclusive"),
        ({"below": -0.49}, "not reproduced"),
    ],
)
def test_the_whole_interval_must_be_on_one_side(line, expected):
    judged = claims.verdict(rule(**line), [3.0, 1.0, 2.0])
    assert judged.verdict == expected
    assert judged.reason == ("the interval over seeds spans the line" if expected == "inconclusive" else "")


def test_equal_runs_have_an_interval_of_no_width():
    assert claims.verdict(rule(above=2.5), [3.0, 3.0, 3.0]) == ("reproduced", 3, 3, 3, "")


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf, None])
def test_a_diverged_run_is_inconclusive(lost):
    judged = claims.verdict(rule(above=0.0), [1.0, lost])
    assert judged == ("inconclusive", 1, None, None, "1 of 2 runs gave no finite value (diverged)")
    judged = claims.verdict(rule(below=0.0), [lost])
    assert judged == ("inconclusive", None, None, None, "1 of 1 runs gave no finite value (diverged)")
    assert claims.verdict(rule(listeners=True), [lost]).verdict == "needs listeners"


def test_nothing_measured_is_not_run():
    for line in ({"above": 0.0}, {"below": 0.0, "profile": "paper"}, {"below": 0.0, "data": "bands"}):
        assert claims.verdict(rule(**line), []) == ("not run", None, None, None, "no run has measured it")
    assert claims.verdict(rule(listeners=True), []) == ("needs listeners", None, None, None, "")


def test_listeners_decide_and_the_proxy_is_shown():
    assert claims.verdict(rule(listeners=True), [0.4]) == ("needs listeners", 0.4, None, None, "")


def test_a_claim_at_the_papers_scale_is_not_judged_by_quick_runs():
    claim = rule(below=0.1, profile="paper")
    judged = claims.verdict(claim, [0.0625] * 3, "quick")
    assert (judged.verdict, judged.measured) == ("not run", 0.0625)
    assert judged.reason == "judged from paper on; the figure is of the quick profile"
    assert claims.verdict(claim, [0.0625] * 3, "paper").verdict == "reproduced"


# ---------------------------------------------------------------- the scoreboard


def test_without_results_every_claim_is_not_run(tmp_path):
    found = scoreboard.rows(records.load(tmp_path / "nowhere"))
    assert [row["id"] for row in found] == list(claims.claims())
    assert {row["verdict"] for row in found if not row["listeners"]} == {"not run"}
    assert {row["verdict"] for row in found if row["listeners"]} == {"needs listeners"}
    assert found[0]["links"] == [] and found[0]["seeds"] == 0 and found[0]["profile"] == found[0]["data"] == ""


def test_seeds_are_averaged(record, tmp_path):
    for seed, value in enumerate([0.21, 0.22, 0.23]):
        record(f"seed={seed}", seed=seed, va_overlap=value)
    row = rows(tmp_path)["va-overlap"]
    assert (row["verdict"], row["seeds"], row["profile"], row["reason"]) == ("reproduced", 3, "night", "")
    assert row["measured"] == pytest.approx(0.22)
    assert row["low"] < 0.21 and row["high"] > 0.23
    assert row["links"] == [str(tmp_path / f"seed={seed}") for seed in range(3)]
    assert row["device"] == json.loads((tmp_path / "seed=0" / "result.json").read_text())["device"]


@pytest.mark.parametrize("small, large", [("quick", "night"), ("night", "paper"), ("quick", "paper")])
def test_runs_of_a_larger_profile_win(record, tmp_path, small, large):
    record("a", profile=small, va_overlap=0.01, va_train=0.01)
    record("b", profile=large, va_overlap=0.3)
    found = rows(tmp_path)
    assert (found["va-overlap"]["measured"], found["va-overlap"]["profile"]) == (0.3, large)
    reason = f"judged from paper on; the figure is of the {small} profile"
    assert (found["va-train"]["verdict"], found["va-train"]["reason"]) == ("not run", reason)
    assert (found["va-train"]["measured"], found["va-train"]["profile"]) == (0.01, small)


def test_runs_with_changed_settings_never_count(record, tmp_path):
    for seed in range(3):
        record(f"a{seed}", seed=seed, va_overlap=0.25)
    record("b", changed={"epochs": 3}, va_overlap=-1.0, ml_connections=0.5)
    found = rows(tmp_path)
    row = found["va-overlap"]
    assert (row["seeds"], row["measured"], row["verdict"]) == (3, 0.25, "reproduced")
    assert row["reason"] == "1 with changed settings left out"
    assert (found["ml-connections"]["verdict"], found["ml-connections"]["measured"]) == ("not run", None)
    assert found["ml-connections"]["reason"] == "no run has measured it; 1 with changed settings left out"


def test_runs_of_different_code_are_not_averaged_without_saying_so(record, tmp_path):
    for seed in range(3):
        record(f"{seed}", seed=seed, va_overlap=0.3)
    assert rows(tmp_path)["va-overlap"]["reason"] == ""
    path = tmp_path / "1" / "result.json"
    content = json.loads(path.read_text())
    for name in ("package", "notebook"):
        other = content | {"code": content["code"] | {name: "0123"}}
        path.write_text(json.dumps(other))
        assert rows(tmp_path)["va-overlap"]["reason"] == "the runs averaged differ in code"


def test_the_last_cell_of_a_notebook_shows_its_own_claims(out):
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    run.claim("va-overlap", 0.25)
    run.finish()
    shown = scoreboard.of_run(run).data
    own = [claim.id for claim in claims.claims().values() if claim.notebook == "02"]
    assert list(shown["id"]) == own and list(shown["measured"]).count("0.25 accuracy") == 1


def test_the_same_run_made_again_counts_once(record, tmp_path):
    record("monday/run", va_overlap=0.3)
    record("again/run", va_overlap=0.2)  # sorts first, and is later
    row = rows(tmp_path)["va-overlap"]
    assert (row["seeds"], row["measured"], row["low"]) == (1, 0.2, None)


def test_of_several_folders_each_run_is_loaded_once(record, tmp_path):
    record("a/run")
    record("b/run", seed=1)
    assert [run.seed for run in records.load(tmp_path / "b", tmp_path / "a", tmp_path)] == [0, 1]
    assert [run.seed for run in records.load(tmp_path / "b")] == [1]


def test_runs_that_differ_in_more_than_the_seed_are_flagged(record, tmp_path):
    record("a", seed=0, va_overlap=0.3)
    record("b", seed=1, va_overlap=0.3, fingerprint="other", parameters={"architecture": "gru"})
    record("c", seed=2, va_overlap=0.3)
    assert rows(tmp_path)["va-overlap"]["reason"] == "the runs averaged differ in architecture, data"


def test_the_newest_runs_are_where_latest_leads(tmp_path):
    assert files.latest_run(tmp_path) == tmp_path / "latest", "nothing there yet: a name to complain of"
    (tmp_path / "monday").mkdir()
    (tmp_path / "latest").write_text("monday\n")
    assert files.latest_run(tmp_path) == tmp_path / "monday"
    (tmp_path / "latest").unlink()
    try:
        (tmp_path / "latest").symlink_to("monday")
    except OSError:
        pytest.skip("links are refused here")
    assert files.latest_run(tmp_path) == tmp_path / "monday"


def test_different_data_are_told_for_each_notebook_and_profile(record, tmp_path):
    record("a", seed=0)
    record("b", seed=1)
    record("c", profile="paper", fingerprint="other")
    record("d", seed=2, fingerprint="")
    assert scoreboard.different_data(records.load(tmp_path)) == []
    record("e", seed=3, fingerprint="third")
    assert scoreboard.different_data(records.load(tmp_path)) == [
        "runs of 02_lstm_next_note in the night profile saw different data, "
        f"{tmp_path / 'a'} (fingerprint f) and {tmp_path / 'e'} (fingerprint third)"
    ]


def test_what_only_listeners_can_judge_says_how_to_ask_them(record, tmp_path):
    record("a", chz_rating=0.4)
    found = rows(tmp_path)
    assert (found["chz-rating"]["verdict"], found["chz-rating"]["reason"]) == ("needs listeners", scoreboard.LISTEN)
    assert (found["tk-txl-good"]["verdict"], found["tk-txl-good"]["reason"]) == ("needs listeners", scoreboard.LISTEN)
    assert found["ml-plain-loss"]["reason"] == "no run has measured it"


def test_a_diverged_run_shows_on_the_scoreboard(record, tmp_path):
    record("a", va_overlap=math.nan)
    row = rows(tmp_path)["va-overlap"]
    assert (row["verdict"], row["measured"], row["seeds"]) == ("inconclusive", None, 1)
    assert "diverged" in row["reason"]


SYSTEM = {"name": "GAN", "kind": "piano", "real": False, "pieces": [], "beats": 4.0}
HEARD = {"low": 0.0, "high": 1.0, "listeners": 5, "profile": "quick"}
CLAIM = {"id": "chz-rating", "value": 0.5, "detail": None, "heard": HEARD}


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


def test_damaged_files_are_named_and_skipped(record, tmp_path):
    good = record("good", va_overlap=0.3)
    whole = json.loads(good.read_text()) | {"systems": [SYSTEM], "claims": [CLAIM]}
    good.write_text(json.dumps(whole))
    damaged = {
        "cut": good.read_text()[:100],
        "list": "[]",
        "keyless": json.dumps(without(whole, "device")),
        "words": json.dumps(whole | {"claims": [{"id": "ml-connections", "value": "much", "detail": None}]}),
        "binary": "\0",
        "no systems": json.dumps(whole | {"systems": None}),
        "kindless": json.dumps(whole | {"systems": [without(SYSTEM, "kind")]}),
        "choir": json.dumps(whole | {"systems": [SYSTEM | {"kind": "choir"}]}),
        "unheard": json.dumps(whole | {"claims": [CLAIM | {"heard": HEARD | {"low": None}}]}),
        "clipless": json.dumps(whole | {"claims": [CLAIM | {"heard": without(HEARD, "profile")}]}),
        "formless": json.dumps(whole | {"form": "new"}),
        "old": json.dumps(without(whole, "form")),
    }
    for name, text in damaged.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    with pytest.warns(UserWarning) as caught:
        found = records.load(tmp_path)
    assert [result.folder for result in found] == [str(good.parent)]
    assert (found[0].systems[0].name, found[0].claims[0].heard.listeners) == ("GAN", 5)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == len(damaged)
    for name in damaged:
        assert any(f"{tmp_path / name / 'result.json'} is damaged and was skipped" in text for text in messages)
        assert records.find(tmp_path / name) is None


def test_a_record_of_a_later_form_is_named_and_left_out(record, tmp_path):
    path = record("later")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"form": schema.FORM + 1}))
    with pytest.warns(UserWarning, match="later/result.json was made by a later version of this course"):
        assert records.load(tmp_path) == []


OLD = {
    "notebook": "12_listening_test", "status": "complete", "smoke": False, "backend": None, "device": "CPU: one",
    "parameters": {"profile": "quick", "seed": 3, "data": "songs", "runs": ""}, "versions": {"python": "3.11"},
    "git_commit": "abc", "data_fingerprint": "f", "started": "2026-01-01T00:00:00+00:00", "seconds": 1.5,
    "peak_memory_mib": 100.0, "measures": {"a": 1}, "comparison": [], "music": [],
    "claims": [
        {"id": "ml-connections", "value": 0.25, "detail": [1]},
        {"id": "chz-rating", "value": 1.5, "detail": {"listeners": 12, "profile": "quick"}, "heard": [0.5, 2.5]},
    ],
}  # fmt: skip


def test_records_of_the_first_form_are_read(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(OLD))
    [result] = records.load(tmp_path)
    assert (result.notebook, result.profile, result.seed, result.commit) == ("12_listening_test", "quick", 3, "abc")
    assert result.data == schema.Data("songs", "f") and result.code == schema.Code() and result.changed == {}
    assert result.claims == [
        schema.Measured("ml-connections", 0.25, [1]),
        schema.Measured("chz-rating", 1.5, heard=schema.Heard(0.5, 2.5, 12, "quick")),
    ]
    assert (result.systems, result.training_songs, result.folder) == ([], [], str(tmp_path))


# ---------------------------------------------------------------- the scoreboard in README and docs

MAKE = "python -m course_lib report results --readme"


def test_readme_and_docs_show_the_committed_results():
    base, results = files.ROOT, files.ROOT / "results"
    readme = (base / "README.md").read_text(encoding="utf-8")
    _, _, rest = readme.partition(report.MARKERS[0])
    block, end, _ = rest.partition(report.MARKERS[1])
    counted = scoreboard.committed()
    expected = report.markdown("readme.md.j2", counted, base, results)
    assert end and block.strip() == expected.strip(), f"the scoreboard of README.md is old: {MAKE}"
    page = base / report.PAGE
    expected = report.markdown("scoreboard.md.j2", counted, page.parent, results)
    assert page.read_text(encoding="utf-8").strip() == expected.strip(), f"{report.PAGE} is old: {MAKE}"
    with Image.open(results / report.PICTURES[0]) as picture:
        shown = picture.text["Description"]
    assert shown == board.described(scoreboard.rows(counted)), f"the picture of the scoreboard is old: {MAKE}"
    pictures = re.findall(r'<img src="([^"]+)"', readme)
    assert pictures == [f"results/{name}" for name in reversed(report.PICTURES)]
    assert all((base / name).is_file() for name in pictures)


def test_without_results_readme_says_so_and_the_page_lists_every_claim(tmp_path):
    short, page = (
        report.markdown(name, [], tmp_path, tmp_path / "results") for name in ("readme.md.j2", "scoreboard.md.j2")
    )
    judged = sum(not claim.apart for claim in CLAIMS.values())
    for text in (short, page):
        assert "No results have been committed yet. A verdict takes runs of the night" in text
        assert f"**All five papers: none of {judged} claims has a verdict yet; " in text
    for paper, sentence in scoreboard.sentences(scoreboard.rows([])).items():
        assert page.count(sentence) == 1
        [counts] = re.findall(rf"^\| {re.escape(sentence.split(': ')[0])} \|([ \d|]+) \| \|$", short, re.MULTILINE)
        of_paper = [claim for claim in CLAIMS.values() if claim.paper == paper and not claim.apart]
        assert [int(count) for count in counts.split("|")] == [
            *(0, 0, 0, 0),
            sum(claim.listeners for claim in of_paper),
            sum(not claim.listeners for claim in of_paper),
        ]
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert sorted(line.split("`")[1] for line in table) == sorted(CLAIMS)
    assert all("| ○ not run (no run has measured it" in line or "| ▲ needs listeners" in line for line in table)
    for claim in CLAIMS.values():
        assert f"- `{claim.id}` (notebook {claim.notebook}): {claim.measure}. {claim.why}\n" in page
    assert MAKE in page and "results/scoreboard.png" in page
    assert short.index("- **Morris & Leou") < short.index("results/scoreboard.png") and "`ml-" not in short


def test_the_readme_block_is_replaced_and_all_else_kept(record, tmp_path, monkeypatch, capsys):
    for seed, value in enumerate([0.21, 0.22, 0.23]):
        record(f"results/night/seed={seed}", seed=seed, va_overlap=value, chz_rating=0.4, va_train=0.1)
    readme = tmp_path / "README.md"
    readme.write_text("# A | B\n<!-- scoreboard -->\nof before\n<!-- /scoreboard -->\n## End\n")
    texts = {"claim": "A | b", "published": "text", "measure": "m", "unit": "u", "why": "w"}
    claim = claims.Claim("va-overlap", "voorhis-allen", "02", above=0.1, **texts)
    monkeypatch.setattr(claims, "claims", lambda: {**CLAIMS, "va-overlap": claim})
    for _ in range(2):
        assert cli.main(["report", f"{tmp_path}/results", "--readme", str(readme)]) == 0
    assert capsys.readouterr().out == f"Scoreboard  {tmp_path}/docs/scoreboard.md\nIn short    {readme}\n" * 2
    text = readme.read_text()
    assert text.startswith("# A | B\n<!-- scoreboard -->\n\n## The papers, and what came out\n")
    assert text.endswith("\n<!-- /scoreboard -->\n## End\n") and "of before" not in text
    assert "Made from the committed results, 3 runs of night." in text
    text = (tmp_path / "docs" / "scoreboard.md").read_text()
    assert text.startswith("# Scoreboard\n") and "](../results/scoreboard.png)" in text
    measured = "0.22 (0.195 to 0.245) u; embedded corpus, night, seeds 0, 1, 2 | above 0.1 | ● reproduced |"
    assert f"| `va-overlap` A \\| b | text | {measured}" in text
    judged = f"listeners decide | ▲ needs listeners ({scoreboard.LISTEN}) |"
    proxy = "proxy: 0.4 (0.4 to 0.4) difference of places (noise 0, real 1)"
    assert f"| {proxy}; chorale band (stand-in), night, seeds 0, 1, 2 | {judged}" in text
    assert "| ○ not run (judged from paper on; the figure is of the night profile) |" in text
    assert "Made from the committed results, 3 runs of night." in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "docs", "results"]
    assert [path.name for path in (tmp_path / "results").glob("*.png")] == ["scoreboard.png"], "no piece, no roll"


def test_the_readme_mixes_no_data_unless_told_to(record, tmp_path, capsys):
    record("results/a", va_overlap=0.3)
    record("results/b", seed=1, fingerprint="other", va_overlap=0.3)
    record("results/c", seed=2, va_overlap=0.3)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- scoreboard --><!-- /scoreboard -->")
    command = ["report", f"{tmp_path}/results", "--readme", str(readme)]
    assert cli.main(command) == 2
    assert "--mix-data" in capsys.readouterr().err and readme.read_text() == "<!-- scoreboard --><!-- /scoreboard -->"
    assert cli.main([*command, "--mix-data"]) == 0
    text = (tmp_path / "docs" / "scoreboard.md").read_text()
    assert "Runs that saw different data are mixed" in text and "(the runs averaged differ in data; our own" in text
    assert "Runs that saw different data are mixed" in readme.read_text()
    assert str(tmp_path) not in text + readme.read_text()


# ---------------------------------------------------------------- one run


def test_the_file_of_a_run(out):
    run = records.start("02_lstm_next_note", "quick", 7, Path("songs"), window=100)
    assert run.folder == out and out.is_dir() and not run.record.smoke
    run.data("abc", 40)
    run.note("accuracy", {"train": np.float32(0.5), "test": [np.int64(1), np.nan, math.inf], 2: np.bool_(True)})
    run.note("curve", np.array([[1.0, -np.inf]]))
    run.comparison([{"measure": "in_scale_rate", "generated": 0.9, "overlap": np.nan}])
    run.claim("va-overlap", np.float32(0.25), {"gaps": (0.25, 0.5)})
    run.claim("ml-connections", math.nan)
    path = run.finish()

    assert path == out / "result.json" and [entry.name for entry in out.iterdir()] == ["result.json"]
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text
    result = json.loads(text)
    assert list(result)[:4] == ["form", "notebook", "status", "smoke"] and "folder" not in result
    assert text.startswith('{\n "form": 2,\n "notebook": "02_lstm_next_note",\n')
    assert (result["form"], result["status"], result["smoke"]) == (schema.FORM, "complete", False)
    assert result["parameters"] == {"profile": "quick", "seed": 7, "data": "songs", "window": 100}
    assert result["data"]["name"] == "songs" and result["data"]["source"] == corpus.state("songs")
    assert (result["data"]["fingerprint"], result["data"]["songs"]) == ("abc", 40)
    accuracy = {"train": 0.5, "test": [1, None, None], "2": True}
    assert result["measures"] == {"accuracy": accuracy, "curve": [[1.0, None]]}
    assert result["comparison"] == [{"measure": "in_scale_rate", "generated": 0.9, "overlap": None}]
    assert result["claims"] == [
        {"id": "va-overlap", "value": 0.25, "detail": {"gaps": [0.25, 0.5]}, "heard": None},
        {"id": "ml-connections", "value": None, "detail": None, "heard": None},
    ]
    assert result["music"] == [] and result["seconds"] >= 0
    assert result["versions"].keys() >= {"python", "numpy", "music21", "symusic"}
    assert result["device"].partition(": ")[2]
    if sys.platform != "win32":
        assert 10 < result["peak_memory_mib"] < 100_000
    [read] = records.load(out)
    assert read.measures == result["measures"] and read.code.package == provenance.package_hash(*provenance.FIGURES)
    assert read.code.notebook == provenance.notebook_hash(files.ROOT / "notebooks" / "02_lstm_next_note.ipynb") != ""


def test_pieces_say_what_data_they_are(out):
    pieces = [midi.Piece(name, "", symusic.Score(480), ("4/4",)) for name in "ab"]
    run = records.start("02_lstm_next_note", "quick", 7, "songs")
    run.data(pieces)
    assert run.record.data.fingerprint == midi.fingerprint(pieces) and run.record.data.songs == 2


TABLE = {"epochs": (2, 20), "widths": ((8, 4), (64, 32)), "rate": (0.5, 0.25)}


def test_settings_from_outside_are_recorded(out, monkeypatch):
    monkeypatch.setenv("COURSE_SETTINGS", '{"widths": [16, 8], "rate": 1}')
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    settings = run.settings(**TABLE)
    assert (settings.epochs, settings.widths, settings.rate) == (2, (16, 8), 1.0)
    run.finish()
    [result] = records.load(out)
    assert result.settings == {"epochs": 2, "widths": [16, 8], "rate": 1.0}
    assert result.changed == {"widths": [16, 8], "rate": 1.0}


@pytest.mark.parametrize("profile, epochs", [("quick", 2), ("night", 20), ("paper", 20)])
def test_settings_of_each_profile(out, monkeypatch, profile, epochs):
    monkeypatch.delenv("COURSE_SETTINGS", raising=False)
    run = records.start("02_lstm_next_note", profile, 0, "embedded")
    assert run.settings(**TABLE).epochs == epochs and run.record.changed == {}


def test_a_setting_that_is_none_is_named(out, monkeypatch):
    monkeypatch.setenv("COURSE_SETTINGS", '{"epoch": 1}')
    with pytest.raises(ValueError, match="epoch"):
        records.start("02_lstm_next_note", "quick", 0, "embedded").settings(**TABLE)


TRAINING = {"best_epoch": 3, "epochs": 5, "stopped": "patience", "seconds": 1.5, "watched": "loss", "best": None}


def test_trainings_of_this_run_are_collected(out):
    for name in ("old", "Piano", "deep/GRU"):
        (out / "checkpoints" / name).mkdir(parents=True)
    (out / "checkpoints/old/training.json").write_text(json.dumps(TRAINING))
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    for name in ("Piano", "deep/GRU"):
        (out / "checkpoints" / name / "training.json").write_text(json.dumps(TRAINING))
    run.finish()
    [result] = records.load(out)
    assert result.trainings == dict.fromkeys(("Piano", "deep/GRU"), schema.Training(**TRAINING))


def test_music_is_saved_and_described(out, monkeypatch):
    def save(score, stem):
        score.dump_midi(stem.with_suffix(".mid"))
        return stem.with_suffix(".mid"), None if stem.name == "silent" else stem.with_suffix(".ogg")

    monkeypatch.setattr(listen, "save", save)
    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 120))
    score.tracks.append(symusic.Track())
    score.tracks[0].notes.append(symusic.Note(0, 960, 60, 80))
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    assert run.music("argmax", score, "Before.") == out / "argmax"
    run.music("argmax", score, "Always the likeliest note.")  # as when a cell is run again
    run.music("silent", score, "No sound library.")
    with pytest.raises(ValueError, match="names its files"):
        run.music("../argmax", score, "")
    assert json.loads(run.finish().read_text())["music"] == [
        {
            "name": "argmax",
            "midi": "argmax.mid",
            "ogg": "argmax.ogg",
            "caption": "Always the likeliest note.",
            "real": False,
            "seconds": 1.0,
            "first": False,
        },
        {
            "name": "silent",
            "midi": "silent.mid",
            "ogg": None,
            "caption": "No sound library.",
            "real": False,
            "seconds": 1.0,
            "first": False,
        },
    ]
    assert (out / "argmax.mid").exists()


def test_a_smoke_run_records_no_claim_and_does_not_count(out, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    assert run.record.smoke
    run.claim("va-overlap", 0.5)
    with pytest.raises(ValueError, match="va-overlaps"):
        run.claim("va-overlaps", 0.5)
    result = json.loads(run.finish().read_text())
    assert result["smoke"] is True and result["claims"] == []
    assert records.load(out) == [] and records.find(out).smoke


def test_a_stale_result_goes_at_the_start(out):
    records.start("02_lstm_next_note", "quick", 0, "embedded").finish()
    records.start("02_lstm_next_note", "quick", 0, "embedded")
    assert list(out.iterdir()) == []


def test_an_interactive_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_OUT", raising=False)
    monkeypatch.setattr(files, "ROOT", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = records.start("00_start_here", "quick", 0, "embedded")
    assert run.folder == tmp_path / "elsewhere" / "runs" / "interactive" / "00_start_here"
    (tmp_path / "checkout" / "pyproject.toml").touch()
    run = records.start("00_start_here", "quick", 0, "embedded")
    assert run.folder == tmp_path / "checkout" / "runs" / "interactive" / "00_start_here"


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", True, None])
def test_a_seed_that_is_no_seed(out, seed):
    with pytest.raises(ValueError, match="must be a whole number from 0"):
        records.start("02_lstm_next_note", "quick", seed, "embedded")


def test_an_unknown_profile_leaves_nothing(out):
    with pytest.raises(ValueError, match="Profile 'fast' is unknown: use quick, night, paper"):
        records.start("02_lstm_next_note", "fast", 0, "embedded")
    assert not out.exists()


def test_what_cannot_be_recorded_is_named(out):
    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    with pytest.raises(ValueError, match="model cannot be recorded"):
        run.note("model", object())
    with pytest.raises(ValueError, match="'ml-connectionss' is not in claims.toml"):
        run.claim("ml-connectionss", 0.5)
    for value in ([0.1, 0.2], "much", None):
        with pytest.raises(ValueError, match="'ml-connections' needs one number"):
            run.claim("ml-connections", value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit")
def test_a_full_disk_leaves_no_file(out, monkeypatch):
    import resource

    run = records.start("02_lstm_next_note", "quick", 0, "embedded")
    run.note("long", "x" * 5000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # every write past it fails, as on a full disk
    try:
        with pytest.raises(ValueError, match="could not be written") as caught:
            run.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(out / "result.json") in str(caught.value) and "\n" not in str(caught.value)
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_OUT", str(tmp_path / "file" / "run"))
    with pytest.raises(ValueError, match="cannot be written"):
        records.start("02_lstm_next_note", "quick", 0, "embedded")


# ---------------------------------------------------------------- provenance


def test_the_hash_of_a_notebook_is_that_of_its_code(tmp_path):
    path = tmp_path / "02_good.ipynb"

    def hashed(*cells):
        path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": text} for kind, text in cells]}))
        return provenance.notebook_hash(path)

    first = hashed(("markdown", "A"), ("code", "x = 1"))
    assert first == hashed(("code", ["x = ", "1"]), ("markdown", "B")) and len(first) == 12
    assert first != hashed(("code", "x = 2")) != hashed(("code", "x"), ("code", "= 2"))
    path.write_text("no notebook")
    assert provenance.notebook_hash(path) == provenance.notebook_hash(tmp_path / "none.ipynb") == ""


def test_the_hash_of_the_package_is_that_of_its_modules_and_data(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    (tmp_path / "room").mkdir()
    seen = {provenance.package_hash()}
    for name, text in [("files.py", ""), ("room/a.py", ""), ("room/a.py", "1"), ("claims.toml", ""), ("b.py", "1")]:
        (tmp_path / name).write_text(text)
        seen.add(provenance.package_hash())
    assert len(seen) == 6
    (tmp_path / "room" / "page.html.j2").write_text("")
    assert provenance.package_hash() in seen
    of_room = provenance.package_hash("room")
    (tmp_path / "b.py").write_text("2")
    assert provenance.package_hash() not in seen and provenance.package_hash("room") == of_room


def test_backend_and_device_are_those_keras_uses(out, monkeypatch):
    def keras(placed):
        zeros = SimpleNamespace(zeros=lambda shape: SimpleNamespace(device=placed))
        return SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax"), ops=zeros)

    monkeypatch.setenv("COURSE_PRECISION", "mixed_float16")
    monkeypatch.setattr(provenance, "git_commit", lambda: None)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(__version__="0.7.1"))
    monkeypatch.setitem(sys.modules, "keras", keras("TFRT_CPU_0"))
    found = provenance.of_process()
    assert found["versions"]["jax"] == "0.7.1"
    assert found["backend"] == "jax" and found["device"].startswith("CPU: ")
    assert found["precision"] == "mixed_float16"

    monkeypatch.setitem(sys.modules, "keras", keras("cuda:0"))
    monkeypatch.setattr(provenance, "_output", lambda *command: "NVIDIA H200\nNVIDIA H200")
    assert provenance.of_process()["device"] == "GPU: NVIDIA H200"
    monkeypatch.setattr(provenance, "_output", lambda *command: None)
    assert provenance.of_process()["device"] == "GPU: cuda:0"

    monkeypatch.delitem(sys.modules, "keras")
    assert provenance.of_process()["backend"] is None


def test_without_resource_there_is_no_peak_memory(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows: importing it fails
    assert provenance.of_process()["peak_memory_mib"] is None


def test_the_git_commit_and_whether_files_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    assert provenance.git_commit() is None

    for name in filter(lambda name: name.startswith("GIT_"), list(os.environ)):  # as a git hook sets them
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def git(*words):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=n@example.org", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init")
    except OSError:
        pytest.skip("git is not installed")
    assert provenance.git_commit() is None  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "v1")
    commit = git("rev-parse", "HEAD")
    assert provenance.git_commit() == commit
    (tmp_path / "untracked").touch()
    assert provenance.git_commit() == commit
    (tmp_path / "file").write_text("2")
    assert provenance.git_commit() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() is None
