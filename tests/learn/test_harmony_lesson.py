"""What notebook 08 defines: the loss of blocks, the networks, batch normalisation, and the loop over blocks."""

import json
from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from lessons import NOTEBOOKS
from scipy.special import expit

from course_lib.learn.losses import roll_loss

INSTRUMENTS = ("Piano", "Guitar", "Bass", "Strings", "Drums")
STEPS = 32


def page(wanted, changes=(), **given):
    """The code cells of the notebook that define `wanted`, run after a student's `changes` of their text."""
    (path,) = NOTEBOOKS.glob("08*.ipynb")
    cells = ["".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    settings = SimpleNamespace(block=STEPS, filters=(2, 3, 4), dense=(5, 6), steps_a_beat=2)
    namespace = {"np": np, "keras": keras, "ops": keras.ops, "layers": keras.layers, "pairwise": pairwise}
    namespace |= {"expit": expit, "INSTRUMENTS": INSTRUMENTS, "settings": settings, "last": slice(0, STEPS), **given}
    assert all(any(old in cell for cell in cells) for old, _ in changes)
    for name in wanted:
        [cell] = [cell for cell in cells if f"def {name}(" in cell or f"class {name}(" in cell]
        for old, new in changes:
            cell = cell.replace(old, new)
        exec(cell, namespace)
    return SimpleNamespace(**namespace)


@pytest.mark.parametrize("weight", [1, 4])
def test_the_loss_on_the_page_is_that_of_the_package(weight):
    rng = np.random.default_rng(0)
    targets = (rng.random((3, 2, 128, 1)) < 0.1).astype("float32")
    logits = (4 * rng.normal(size=targets.shape)).astype("float32")
    here, there = page(["roll_loss"]).roll_loss(weight), roll_loss(weight)
    assert float(here(targets, logits)) == float(there(targets, logits))
    assert here.__name__ == there.__name__  # so that checkpoints go on


NETWORK = ["shrink", "grow", "PitchBias", "network", "derived"]


@pytest.mark.parametrize("filters, dense", [((2, 3, 4), (5, 6)), ((4, 2, 3), (7,))])
def test_a_changed_network_still_answers_a_block_and_has_the_weights_derived(filters, dense):
    settings = SimpleNamespace(block=STEPS, filters=filters, dense=dense)
    lesson = page(NETWORK, settings=settings)
    for inputs in (1, 2):
        model = lesson.network(inputs)
        assert model.count_params() == lesson.derived(inputs)
        assert model.output.shape == (None, STEPS, 128, 1)


def test_without_dense_layers_a_bar_reaches_its_own_bar_only():
    keras.utils.set_random_seed(0)
    lesson = page(
        [*NETWORK, "bars_reached"], settings=SimpleNamespace(block=32, filters=(8, 8, 8), dense=(16,), steps_a_beat=2)
    )
    block = keras.Input((STEPS, 128, 1))
    picture = keras.layers.Reshape(lesson.small_shape())(lesson.shrink(block))
    assert lesson.bars_reached(keras.Model(block, lesson.grow(picture)), 3) == [3]
    assert len(lesson.bars_reached(lesson.network(1), 3)) == 4


class Echo:
    """A network that remembers what it was given; sure that a cell sounds where its last input has it."""

    def predict_on_batch(self, given):
        self.given = given
        return 10 * (given if isinstance(given, np.ndarray) else given[-1]) - 5


def start():
    return (np.random.default_rng(0).random((2, STEPS, 128, 5)) < 0.05).astype("float32")


def test_the_others_hear_what_was_decided_of_the_piano():
    models = {name: Echo() for name in INSTRUMENTS}
    lesson = page(["next_block"], models=models, thresholds=dict.fromkeys(INSTRUMENTS, 0.5))
    before = start()
    block, logits = lesson.next_block(before, lambda logits, channel: logits > (np.inf if channel == 0 else 0))
    assert not block[..., 0].any() and (block[..., 1:] == before[..., 1:]).all() and logits.shape == before.shape
    for channel, name in enumerate(INSTRUMENTS[1:], 1):
        piano, own = models[name].given
        assert not piano.any() and (own == before[..., channel : channel + 1]).all()


def test_a_changed_step_is_what_is_heard():
    models = {name: Echo() for name in INSTRUMENTS}
    thresholds = dict.fromkeys(INSTRUMENTS, 0.5)
    plain = page(["next_block", "generate"], models=models, thresholds=thresholds)
    before = start()
    assert (plain.generate(before, 3, plain.by_threshold) == np.tile(before, (1, 3, 1, 1))).all()
    deaf = page(
        ["next_block", "generate"],
        [("given = (new[0],", "given = (0 * new[0],"), ("written[-1], decide", "np.roll(written[-1], 1, 2), decide")],
        models=models, thresholds=thresholds,
    )  # fmt: skip
    assert (deaf.generate(before, 2, deaf.by_threshold)[:, -STEPS:] == np.roll(before, 2, axis=2)).all()
    assert not models["Drums"].given[0].any()
