"""What notebook 06 defines: the loss of a band, rules from probabilities to notes, loop, clashes, tonal space."""

import json
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from lessons import NOTEBOOKS, definitions

from course_lib import measure
from course_lib.learn import sample
from course_lib.learn.losses import roll_loss

lesson = SimpleNamespace(
    **definitions(
        "06", "roll_loss", "weighted", "gru_step", "draw_in_turn", "fixed_numbers", "one_draw", "chance", "threshold",
        "surest", "generate", "clashing", "held", "direction", "TONAL_SPACE",
    )
)  # fmt: skip
COUNTS = (3, 1, 1, 2, 2)


def probabilities(*shape, seed=0):
    return np.random.default_rng(seed).random((*shape, 128, 5)) ** 8


def edited(wanted, changes, **given):
    """The code cells of the notebook that define `wanted`, run after a student's `changes` of their text."""
    (path,) = NOTEBOOKS.glob("06*.ipynb")
    cells = ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    namespace = {"np": np, "keras": keras, "ops": keras.ops, "layers": keras.layers, "partial": partial, **given}
    namespace["expit"] = lambda x: 1 / (1 + np.exp(-x))
    for name in wanted:
        [cell] = [cell for cell in cells if f"def {name}(" in cell]
        for old, new in changes.items():
            cell = cell.replace(old, new)
        exec(cell.partition("\n\n\nprint(")[0], namespace)
    return namespace


@pytest.mark.parametrize("weight", [1, 4])
def test_the_loss_on_the_page_is_that_of_the_package(weight):
    rng = np.random.default_rng(0)
    targets = (rng.random((3, 2, 128, 5)) < 0.1).astype("float32")
    logits = (4 * rng.normal(size=targets.shape)).astype("float32")
    wanted = float(roll_loss(weight)(targets, logits))
    assert float(lesson.weighted(weight)(targets, logits)) == pytest.approx(wanted, rel=1e-6)
    if weight == 1:
        assert float(lesson.roll_loss(targets, logits)) == wanted


def test_the_cell_by_hand_is_that_of_keras():
    keras.utils.set_random_seed(0)
    layer = keras.layers.GRU(5, bias_initializer="glorot_uniform")
    steps = np.random.default_rng(1).normal(size=(1, 7, 4)).astype("float32")
    wanted, state = np.asarray(layer(steps))[0], np.zeros(5)
    for step in steps[0]:
        state = lesson.gru_step(step, state, *layer.get_weights())
    np.testing.assert_allclose(state, wanted, atol=1e-5)


def test_the_rules_on_the_page_are_those_of_the_package():
    chances = probabilities(4, 2)
    mine = [np.random.default_rng(seed) for seed in range(3)]
    theirs = [np.random.default_rng(seed) for seed in range(3)]
    pairs = [
        (lesson.one_draw(chances, 9, mine[0]), sample.notes_rule(9, theirs[0])(chances)),
        (lesson.fixed_numbers(chances, COUNTS, mine[1]), sample.notes_rule(COUNTS, theirs[1])(chances)),
        (lesson.chance(chances, mine[2]), sample.chance_rule(theirs[2])(chances)),
        (lesson.threshold(chances), sample.threshold_rule(0.5)(chances)),
    ]
    for here, there in pairs:
        np.testing.assert_array_equal(here, there)


def test_the_surest_cells_are_the_likeliest_of_each_instrument():
    chances = probabilities(2)
    notes = lesson.surest(chances, COUNTS)
    assert (notes.sum(axis=1) == COUNTS).all()
    for channel in range(5):
        kept, left = chances[0, notes[0, :, channel], channel], chances[0, ~notes[0, :, channel], channel]
        assert kept.min() > left.max()


def test_no_place_is_drawn_twice():
    drawn = lesson.draw_in_turn(np.array([9.0, 0.0, 0.0]), 3, np.random.default_rng(0))
    assert sorted(drawn) == [0, 1, 2]


@pytest.mark.parametrize("block", [1, 3])
def test_the_loop_is_that_of_the_package(block):
    prompts = probabilities(2, 4) > 0.9

    def predict(rolls):
        assert rolls.shape == (2, 4, 128, 5)
        return np.repeat(4 * rolls[:, -1:] - 2, block, axis=1)

    made = [
        loop(predict, prompts, 8, sample.chance_rule(np.random.default_rng(0)))
        for loop in (lesson.generate, sample.generate_blocks)
    ]
    assert made[0].shape == (2, 8, 128, 5)
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    "first, second, clash",
    [((0, 60), (1, 61), 1), ((0, 61), (1, 36), 1), ((0, 60), (0, 61), 0), ((0, 60), (4, 61), 0), ((0, 60), (1, 62), 0)],
)
def test_a_clash_is_a_semitone_between_two_pitched_instruments(first, second, clash):
    roll = np.zeros((2, 128, 5), bool)
    for channel, pitch in (first, second):
        roll[0, pitch, channel] = True
    assert lesson.clashing(roll) == clash / 2


def test_what_is_held():
    pieces = np.zeros((1, 3, 128, 5), bool)
    pieces[0, :, 60, 0] = pieces[0, 1, 64, 1] = pieces[0, :, 38, 4] = True  # the drums do not count
    assert lesson.held(pieces) == pytest.approx(2 / 3)


def test_the_tonal_space_on_the_page_is_that_of_the_package():
    page = lesson.TONAL_SPACE  # (12, circles, sine and cosine)
    np.testing.assert_allclose(np.concatenate([page[..., 0], page[..., 1]], axis=1), measure.band.TONAL_SPACE)
    c, a, d = (lesson.direction(chord) for chord in ([60, 64, 67], [57, 60, 64], [62, 65, 69]))
    assert (1 - c @ a, 1 - c @ d) == pytest.approx((0.30, 1.11), abs=0.005)


def test_a_student_who_changes_the_loss_changes_what_is_trained():
    settings = SimpleNamespace(units=3, dropout=0.0, learning_rate=0.1)
    rng = np.random.default_rng(0)
    past, step = ((rng.random((2, steps, 128, 5)) < 0.1).astype("float32") for steps in (10, 1))
    losses, after = [], []
    for changes in ({}, {"nats = ops.softplus(logits)": "nats = 2 * ops.softplus(logits)"}):
        page = edited(["roll_loss", "rnn", "compiled"], changes, settings=settings)
        keras.utils.set_random_seed(0)
        model = page["compiled"](page["rnn"](10))
        losses.append(float(model.train_on_batch(past, step)))
        after.append(model.get_weights()[-1])
    assert losses[1] > 1.01 * losses[0]
    assert not np.allclose(*after)


def test_a_student_who_changes_a_rule_changes_what_is_heard():
    heard = []
    for changes in ({}, {"rng.gumbel(size=logits.shape)": "0 * logits"}):
        page = edited(["fixed_numbers", "surest", "rules_with", "generate"], changes, notes=np.array(COUNTS, float))
        rule = page["rules_with"](np.random.default_rng(0))["fixed numbers"]
        logits = np.random.default_rng(1).normal(size=(1, 1, 128, 5))
        heard.append(page["generate"](lambda _, logits=logits: logits, np.zeros((1, 2, 128, 5)), 4, rule))
    assert (heard[0] != heard[0][:, :1]).any(), "dice differ from step to step"
    assert (heard[1] == heard[1][:, :1]).all(), "without them the same answer gives the same notes"
