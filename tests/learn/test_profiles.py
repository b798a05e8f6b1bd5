import pytest

from course_lib.learn import profiles


@pytest.mark.parametrize(("profile", "expected"), [("quick", (8, 32)), ("night", (20, 100)), ("paper", (200, 100))])
def test_settings_choose_the_profile(profile, expected):
    chosen = profiles.settings(profile, epochs=(8, 20, 200), window=(32, 100))
    assert (chosen.epochs, chosen.window) == expected
    assert chosen.values == {"epochs": expected[0], "window": expected[1]} and chosen.changed == {}


def test_settings_show_all_profiles_and_what_was_changed():
    chosen = profiles.settings("night", {"epochs": 30}, epochs=(8, 20, 200), window=(32, 100))
    assert (chosen.epochs, chosen.changed) == (30, {"epochs": 30}) and chosen.values == {"epochs": 30, "window": 100}
    assert chosen._repr_markdown_().splitlines() == [
        "| setting | quick | **night** (this run) | paper |",
        "| --- | --- | --- | --- |",
        "| epochs | 8 | **30** (changed from 20) | 200 |",
        "| window | 32 | 100 | 100 |",
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"profile": "fast"}, 'no profile "fast": choose "quick", "night" or "paper"'),
        ({"changed": {"epoch": 3}}, "no setting epoch: choose from epochs"),
        ({"changed": {"epochs": "many"}}, "epochs is 'many': it takes a whole number, as in 1"),
        ({"epochs": (1, 2, 3, 4)}, r"epochs has 4 values: give \(quick, paper\) or \(quick, night, paper\)"),
    ],
)
def test_bad_settings_are_one_sentence(asked, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        profiles.settings(**{"profile": "quick", "epochs": (1, 2)} | asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (3, (1, 2), 3),
        (3, (0.5, 1.0), 3.0),
        (3, (0, 0.1), 3),
        (0.3, (0, 0.1), 0.3),
        (True, (False, True), True),
        ("all", ("highest", "all"), "all"),
        (None, (None, 0.9), None),
        (1, (None, 0.9), 1.0),
        ([8, 4], ((64, 32), (512,)), (8, 4)),
        ([[1, 2], [3]], (((1, 2),), ((3, 4), (5, 6))), ((1, 2), (3,))),
    ],
)
def test_values_from_outside_become_of_a_kind(value, options, expected):
    found = profiles.as_kind("it", value, options)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "options", "wanted"),
    [
        (True, (1, 2), "a whole number"),
        (1, (True, False), "true or false"),
        (1.5, (1, 2), "a whole number"),
        (None, (1.0, 2.0), "a number"),
        ("x", (None, 0.9), "a number or null"),
        (5, ((64,), (512,)), "a list"),
        ([1, "x"], ((64,), (512,)), "a whole number"),
        ({"a": 1}, ("a", "b"), "text"),
    ],
)
def test_values_of_another_kind_are_refused(value, options, wanted):
    with pytest.raises(ValueError, match=f"^it is .*: it takes {wanted}, as in "):
        profiles.as_kind("it", value, options)
