"""What notebook 10 decides a collapse by: blocks of equal density, and the clusters among them."""

import numpy as np
import pytest
from lessons import definitions

as_dense_as, effective_clusters, mean_of_pairs = definitions(
    "10", "as_dense_as", "effective_clusters", "mean_of_pairs"
).values()


def between(places):
    """Distances of points on a line."""
    return abs(np.subtract.outer(places, places)).astype(float)


@pytest.mark.parametrize(
    ("places", "clusters"),
    [
        ([5, 5, 5, 5], 1),  # one piece, over and over
        ([0, 10, 20, 30], 4),  # four that have nothing in common
        ([0, 0, 10, 10], 2),
        ([0, 0, 0, 10], np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))),
        ([0] * 97 + [10, 20, 30], np.exp(-0.97 * np.log(0.97) - 0.03 * np.log(0.01))),  # 1.18: hardly four kinds
        ([0, 0.75, 1.5], 1),  # the ends are apart, and both near to the middle
        ([0, 1, 2], 3),  # as far as the line is not nearer than it
    ],
)
def test_effective_clusters_by_hand(places, clusters):
    assert effective_clusters(between(places), near=1) == pytest.approx(clusters)


def test_mean_of_pairs_counts_each_once_and_none_with_itself():
    assert mean_of_pairs(between([0, 1, 3])) == pytest.approx((1 + 3 + 2) / 3)


def test_each_instrument_has_as_many_cells_as_in_real_blocks():
    rng = np.random.default_rng(1)
    real = rng.random((7, 8, 16, 5)) < [0.02, 0.1, 0.0, 0.3, 1.0]
    probability = rng.random((7, 8, 16, 5)).astype("float32")
    made = as_dense_as(real, probability)
    assert made.sum((0, 1, 2)).tolist() == real.sum((0, 1, 2)).tolist()
    for channel in (0, 1, 3):
        sounding = made[..., channel]
        assert probability[..., channel][sounding].min() > probability[..., channel][~sounding].max()


def test_a_generator_that_is_sure_of_too_many_cells_has_the_surplus_drawn_among_them():
    real = np.zeros((50, 4, 10, 5), bool)
    real[:, :, 0] = True  # a tenth of all cells
    probability = np.zeros(real.shape, "float32")
    probability[:, :, :3] = 1  # three times as many, all alike
    made = as_dense_as(real, probability)
    assert made.sum((0, 1, 2)).tolist() == [200] * 5
    assert not made[:, :, 3:].any()
    assert made.any((1, 2, 3)).mean() > 0.9, "not the first blocks alone"


def test_a_generator_that_gives_one_number_everywhere():
    real = np.zeros((4, 4, 10, 5), bool)
    real[:2] = True
    assert as_dense_as(real, np.full(real.shape, 0.3, "float32")).sum() == real.sum()
