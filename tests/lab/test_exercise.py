import numpy as np
import pytest

from course_lib.lab.exercise import check


@pytest.mark.parametrize(
    "answer, right",
    [(2, 2.0), (0.1 + 0.2, 0.3), ([1, 2], np.array([1, 2])), ("C4", "C4"), ({"A": 1}, {"A": 1}), (0, 0)],
)
def test_an_exact_answer_is_said_to_be(answer, right, capsys):
    check("beats", answer, right)
    assert capsys.readouterr().out == "beats: exact\n"


@pytest.mark.parametrize(
    "answer, right, sentence",
    [
        (2.05, 2, "beats: close, but not exact, by 0.05 (2.05 where 2 is right)."),
        (3, 2, "beats: off, by 1 (3 where 2 is right)."),
        (0.01, 0, "beats: close, but not exact, by 0.01 (0.01 where 0 is right)."),
        ([1, 2], [1, 2, 3], "beats: its shape is (2,), where (3,) is right."),
        ([1, 2, 4], [1, 2, 3], "beats: off, by 1 (the largest difference)."),
        ("C4", "D4", "beats: 'C4', where 'D4' is right."),
        (None, 2, "beats: off, by nan (None where 2 is right)."),
        (np.nan, 2, "beats: off, by nan (nan where 2 is right)."),
    ],
)
def test_other_answers_say_how_far_off(answer, right, sentence):
    with pytest.raises(AssertionError) as caught:
        check("beats", answer, right)
    assert str(caught.value).splitlines()[0] == sentence


def test_the_tolerance_is_a_share():
    check("beats", 102, 100, tolerance=0.02)
    with pytest.raises(AssertionError, match="close"):
        check("beats", 102, 100, tolerance=0.01)
