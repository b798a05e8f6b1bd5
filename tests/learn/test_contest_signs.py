"""The four signs of a GAN's contest (notebook 04), on curves drawn by hand."""

import numpy as np
import pytest
from lessons import definitions

contest_signs = definitions("04", "contest_signs")["contest_signs"]
SIGNS = ("the discriminator leads", "the lead turns", "in this order", "both settle")
LN2 = np.log(2)


def curve(*corners):
    """A line through corners (share of training, loss), at 2,000 steps."""
    share, loss = zip(*corners, strict=True)
    return np.interp(np.linspace(0, 1, 2000), share, loss)


def held(discriminator_loss, generator_loss):
    found = contest_signs(discriminator_loss, generator_loss)
    shown = [found[sign] for sign in SIGNS]
    assert found["signs"] == sum(shown)
    assert shown == sorted(shown, reverse=True), "in turn: none counts after one that fails"
    return sum(shown)


LEADS = curve((0, 0.7), (0.2, 0.3), (0.3, 0.3), (0.6, 0.55), (1, 0.55))  # falls, and rises again
FOLLOWS = curve((0, 0.7), (0.2, 2.0), (0.3, 2.0), (0.6, 0.9), (1, 0.9))
FLAT = curve((0, LN2), (1, LN2))


def test_the_papers_contest_shows_all_four():
    assert held(LEADS, FOLLOWS) == 4
    assert 0.2 * 2000 <= contest_signs(LEADS, FOLLOWS)["the lead is widest at step"] <= 0.35 * 2000


def test_a_stall_at_ln_2_is_never_all_four():
    noise = 0.002 * np.random.default_rng(0).standard_normal((2, 2000))
    assert held(FLAT, FLAT) == 0
    assert held(FLAT + noise[0], FLAT + 0.005 + noise[1]) <= 3
    # ... even where the contest that went before was the paper's
    assert held(curve((0, 0.7), (0.2, 0.3), (0.6, LN2), (1, LN2)), FOLLOWS) == 3


def test_one_of_the_two_near_ln_2_is_a_stall_and_a_visit_is_none():
    inside, outside = 1.015 * LN2, 1.03 * LN2
    to = [curve((0, 0.7), (0.2, 0.3), (0.3, 0.3), (0.6, end), (1, end)) for end in (inside, outside)]
    assert [held(losses, FOLLOWS) for losses in to] == [3, 4]
    visits = curve((0, 0.7), (0.2, 0.3), (0.3, 0.3), (0.9, LN2), (1, 0.65))
    assert not contest_signs(visits, FOLLOWS)["stalled at ln 2"]


def test_a_lead_that_comes_after_the_crossing_has_no_turn():
    # the generator leads first; its loss falls and the other rises before the discriminator leads, never after
    assert held(curve((0, 0.5), (0.2, 1.5), (0.5, 1.5), (1, 0.2)), curve((0, 0.9), (0.2, 0.5), (0.5, 0.5), (1, 2))) == 1


def test_without_a_lead_nothing_counts():
    assert held(FOLLOWS, LEADS) == 0


def test_a_lead_shorter_than_a_tenth_is_none():
    for end, signs in ((0.08, 0), (0.3, 1)):
        below = curve((0, 1.0), (0.3, 1.0), (0.301, 0.4), (0.3 + end, 0.4), (0.301 + end, 1.0), (1, 1.0))
        found = contest_signs(below, curve((0, 0.8), (1, 0.8)))
        assert found["the discriminator leads"] == bool(signs)


@pytest.mark.parametrize(("fall", "signs"), [(0.03, 1), (0.08, 3)])
def test_a_turn_is_more_than_a_twentieth_of_the_range(fall, signs):
    # the generator's loss ranges over 1: it rises by 1, and then falls by `fall`, in a line that does not settle
    g = curve((0, 0.5), (0.5, 1.5), (1, 1.5 - fall))
    d = curve((0, 0.6), (0.5, 0.1), (0.7, 0.1), (0.74, 0.1), (1, 0.45))
    assert held(d, g) == signs


def test_a_turn_within_the_first_tenth_of_the_lead_is_out_of_order():
    g = curve((0, 0.6), (0.2, 0.6), (0.25, 1.6), (0.28, 1.2), (1, 1.6))
    assert held(curve((0, 1.0), (0.2, 1.0), (0.25, 0.2), (0.28, 0.4), (1, 0.2)), g) == 2


def test_curves_that_move_to_the_end_do_not_settle():
    assert held(LEADS, curve((0, 0.7), (0.2, 2.0), (0.7, 2.0), (1, 0.8))) == 3


def test_a_training_of_four_steps():
    assert contest_signs(np.array([0.7, 0.7, 0.7, 0.7]), np.array([0.7, 0.7, 0.7, 0.7]))["signs"] == 0
