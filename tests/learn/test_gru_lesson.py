"""What notebook 03 defines: the cell by hand, the loss, the rule that draws a note, and the measures of its clinic."""

import keras
import numpy as np
import pytest
from lessons import definitions

from course_lib.learn import sample

lesson = definitions(
    "03", "gru_step", "gru_parameters", "next_note_loss", "probabilities", "repeats", "looping", "goes_on", "eights"
)
LOGITS = np.random.default_rng(0).normal(size=(20, 30)) * 2


def test_the_cell_by_hand_is_that_of_keras():
    keras.utils.set_random_seed(0)
    layer = keras.layers.GRU(5, bias_initializer="glorot_uniform")
    notes = np.random.default_rng(1).normal(size=(1, 7, 4)).astype("float32")
    wanted = np.asarray(layer(notes))[0]
    state = np.zeros(5)
    for note in notes[0]:
        state = lesson["gru_step"](note, state, *layer.get_weights())
    np.testing.assert_allclose(state, wanted, atol=1e-5)
    assert lesson["gru_parameters"](4, 5) == layer.count_params()


def test_the_paper_s_layer_has_55872_weights():
    assert lesson["gru_parameters"](96, 96) == 55872


def test_the_loss_is_the_cross_entropy_in_nats():
    targets = np.random.default_rng(2).integers(30, size=20)
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(targets, LOGITS)
    assert float(lesson["next_note_loss"](targets, LOGITS)) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("temperature", [0, 0.5, 1, 1.5])
@pytest.mark.parametrize("top_k", [None, 1, 7, 100])
@pytest.mark.parametrize("top_p", [0.05, 0.6, 1.0])
def test_the_rule_is_that_of_the_package(temperature, top_k, top_p):
    rule = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    by_hand = np.stack([lesson["probabilities"](logits, **rule) for logits in LOGITS])
    np.testing.assert_allclose(by_hand, sample.probabilities(LOGITS, **rule), atol=1e-12)


def test_top_k_is_cut_before_top_p():
    logits = np.log([0.5, 0.25, 0.15, 0.1])
    np.testing.assert_allclose(lesson["probabilities"](logits, top_k=2, top_p=0.6), [1, 0, 0, 0])  # 0.5 of 0.75


@pytest.mark.parametrize(
    "piece, same, loop",
    [("AAAAAAAA", 1, 1), ("ABABABAB", 0, 1), ("ABCDABCD", 0, 1), ("AABBAABB", 4 / 7, 1), ("ABCDEFGH", 0, 0)],
)
def test_repeats_and_loops(piece, same, loop):
    integers = [ord(letter) for letter in piece]
    assert lesson["repeats"](integers) == pytest.approx(same)
    assert lesson["looping"](integers, longest=4) == pytest.approx(loop)


def test_how_many_runs_went_on():
    song = np.array([1, 1, 2] * 20 + [3])  # 20 runs of two and 21 of one
    shares = lesson["goes_on"]([song], longest=3)
    assert shares[0] == pytest.approx(20 / 41)
    assert shares[1] == 0 and np.isnan(shares[2]), "20 runs got to two and none on; none to three"


def test_runs_of_eight():
    assert lesson["eights"](list(range(9))) == [tuple(range(8)), tuple(range(1, 9))]
    assert lesson["eights"](list(range(7))) == []
