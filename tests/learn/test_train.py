import gc
import json
import subprocess
import sys
import textwrap
import weakref

import keras
import numpy as np
import pytest

from course_lib import music
from course_lib.learn import train
from course_lib.learn.batches import Arrays, Batches, Epochs
from course_lib.learn.losses import roll_loss

LESSON = textwrap.dedent("""
    import sys, pathlib, keras, numpy as np
    from course_lib.learn import train
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 9, (600, 8)), rng.integers(0, 9, 600)
    model = keras.Sequential([keras.Input((8,), dtype="int32"), keras.layers.Embedding(9, 8),
                              keras.layers.LSTM(16), keras.layers.Dropout(0.3), keras.layers.Dense(9)])
    model.compile("rmsprop", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = train.fit(model, inputs, targets, epochs=int(sys.argv[2]), folder=pathlib.Path(sys.argv[1]),
                        seed=3, batch_size=20, held_out={"test": (inputs[:50], targets[:50])})
    print("FINAL", repr(history["loss"][-1]), repr(history["test loss"][-1]), len(history["loss"]))
""")


def lesson(folder, epochs):
    return subprocess.Popen([sys.executable, "-c", LESSON, str(folder), str(epochs)], stdout=subprocess.PIPE, text=True)


def final(process):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return [float(figure) for figure in output.split("FINAL")[1].split()]


def test_a_killed_training_continues_to_the_same_loss(tmp_path):
    whole = final(lesson(tmp_path / "whole", 12))
    process = lesson(tmp_path / "killed", 12)
    for _ in range(3):  # three epochs are reported, then the process dies wherever it is
        process.stdout.readline()
    process.kill()
    process.wait()
    with np.load(tmp_path / "killed" / "checkpoint.npz") as saved:
        assert 3 <= len(saved["history loss"]) < 12
    continued = final(lesson(tmp_path / "killed", 12))
    assert continued[2] == whole[2] == 12
    assert continued[:2] == pytest.approx(whole[:2], rel=1e-6)


def small_model(units=4):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(64, 3)).astype("float32"), rng.integers(0, 2, 64)


def test_a_changed_model_seed_or_data_starts_anew(tmp_path, data, capsys):
    inputs, targets = data
    run = {"epochs": 2, "folder": tmp_path, "seed": 0}
    train.fit(small_model(), inputs, targets, **run)
    capsys.readouterr()
    train.fit(small_model(), inputs, targets, **run)
    assert "continuing after epoch 2 of 2" in capsys.readouterr().out
    for model, x, changed in [
        (small_model(5), inputs, run),
        (small_model(), inputs + 1, run),
        (small_model(), inputs, run | {"seed": 1}),
    ]:
        history = train.fit(model, x, targets, **changed)
        printed = capsys.readouterr().out
        assert "continuing" not in printed and printed.count("epoch") == 2
        assert len(history["loss"]) == 2


def test_more_epochs_continue_from_the_finished_run(tmp_path, data):
    first = train.fit(small_model(), *data, epochs=2, folder=tmp_path, seed=0)
    more = train.fit(small_model(), *data, epochs=4, folder=tmp_path, seed=0)
    assert more["loss"][:2] == first["loss"] and len(more["loss"]) == 4


def test_a_trained_network_keeps_no_compiled_training(tmp_path, data):
    model, compiled = small_model(), []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: compiled.extend(map(weakref.ref, (model.train_function, model.test_function)))
    )
    train.fit(model, *data, epochs=1, folder=tmp_path, seed=0, held_out={"test": data}, callbacks=[watch])
    gc.collect()
    assert len(compiled) == 2 and not any(each() for each in compiled)


def test_an_edited_loss_starts_anew(tmp_path, data, capsys):
    """Which has its old name, as a student who edits a cell leaves it."""

    def with_loss(factor, edited=False):
        if edited:

            def loss(targets, logits):
                return factor * keras.ops.mean(keras.ops.square(logits))

        else:

            def loss(targets, logits):
                return factor * keras.ops.mean(keras.ops.abs(logits))

        model = small_model()
        model.compile("adam", loss)
        return train.fit(model, *data, epochs=2, folder=tmp_path, seed=0)

    for given in ((1.0,), (2.0,), (1.0, True)):
        with_loss(*given)
        assert "epoch 1/2" in capsys.readouterr().out
        with_loss(*given)
        assert "epoch 1/2" not in capsys.readouterr().out, "the same loss goes on"


def test_a_damaged_checkpoint_is_trained_again(tmp_path, data):
    train.fit(small_model(), *data, epochs=1, folder=tmp_path, seed=0)
    (tmp_path / "checkpoint.npz").write_bytes(b"not weights")
    assert len(train.fit(small_model(), *data, epochs=1, folder=tmp_path, seed=0)["loss"]) == 1


def test_training_learns(tmp_path, data):
    inputs, _ = data
    history = train.fit(
        small_model(),
        inputs,
        (inputs[:, 0] > 0).astype(int),
        epochs=30,
        folder=tmp_path,
        seed=0,
        batch_size=8,
    )
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path, data):
    inputs, targets = data
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        train.fit(small_model(), inputs * np.nan, targets, epochs=3, folder=tmp_path, seed=0)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_smoke_cuts_training_and_says_so(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    history = train.fit(small_model(), *data, epochs=50, folder=tmp_path, seed=0, batch_size=8)
    assert len(history["loss"]) == 1
    assert "COURSE_SMOKE=1" in capsys.readouterr().out


def test_a_model_without_weights_is_refused(tmp_path, data):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"begin it with keras\.Input"):
        train.fit(model, *data, epochs=1, folder=tmp_path, seed=0)


# ---------------------------------------------------------------- the loss of rolls


def logits_and_targets(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, shape).astype("float32"), (rng.random(shape) < 0.2).astype("float32")


@pytest.mark.parametrize("shape", [(2, 3, 128, 5), (4, 3, 7), (2, 1, 16, 4, 5)])
@pytest.mark.parametrize("positive_weight", [1, 20, 0.5])
def test_roll_loss_is_cross_entropy_weighted(shape, positive_weight):
    logits, targets = logits_and_targets(*shape)
    truth = 1 / (1 + np.exp(-np.where(targets, logits, -logits).astype("float64")))  # probability given to it
    nats = -np.log(truth) * np.where(targets, positive_weight, 1)
    expected = nats.reshape(shape[0], shape[1], -1).sum(-1).mean()
    found = roll_loss(positive_weight)(targets, logits)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(roll_loss(positive_weight)(targets.astype(bool), logits)) == float(found)


def test_roll_loss_of_sure_networks_is_a_number():
    targets = np.array([[[0, 1, 0, 1]]], "float32")
    right, wrong = (float(roll_loss(3)(targets, sure * (2 * targets - 1))) for sure in (1e4, -1e4))
    assert right == 0
    assert wrong == pytest.approx(1e4 * (1 + 3 + 1 + 3))


# ---------------------------------------------------------------- batches of windows


def numbered(*lengths):
    """Bands in which every step has a number of its own, written in binary over the piano's pitches."""
    total = sum(lengths)
    roll = np.zeros((total, 128, 5), bool)
    roll[:, :16, 0] = np.arange(total)[:, None] >> np.arange(16) & 1
    songs = np.split(roll, np.cumsum(lengths)[:-1])
    return music.band_data.pack(songs, [str(length) for length in lengths], 2, "numbered")


def numbers(rolls):
    """The number of each step of windows: (windows, length)"""
    return (rolls[:, :, :16, 0] * 2 ** np.arange(16)).sum(-1).astype(int)


def same(rolls):
    return rolls[:, :-1], rolls[:, -1:]


def epoch_of(batches):
    """The first steps of all windows of an epoch, in order."""
    return [int(number) for place in range(len(batches)) for number in numbers(batches[place][0])[:, 0]]


def test_an_epoch_takes_every_window_once():
    bands = numbered(10, 3, 9)
    batches = Batches(bands, 4, same, hop=2, batch_size=3)
    starts = [0, 2, 4, 6, 13, 15, 17]  # of the second song no window fits
    assert len(batches) == 3
    for epoch in range(3):
        batches.shuffle(0, epoch)
        assert sorted(epoch_of(batches)) == starts
        assert [len(batches[number][0]) for number in range(3)] == [3, 3, 1]


def test_a_batch_is_split_into_inputs_and_targets():
    batches = Batches(numbered(20), 4, same, hop=4, batch_size=2)
    inputs, targets = batches[0]
    assert inputs.shape == (2, 3, 128, 5) and targets.shape == (2, 1, 128, 5) and inputs.dtype == "float32"
    whole = numbers(np.concatenate([inputs, targets], axis=1))
    assert (np.diff(whole) == 1).all() and (whole[:, 0] % 4 == 0).all()


def test_with_a_limit_each_epoch_takes_other_windows():
    batches = Batches(numbered(400), 4, same, hop=4, batch_size=7, limit=20)
    assert len(batches) == 3
    epochs = []
    for epoch in range(30):
        batches.shuffle(5, epoch)
        epochs.append(epoch_of(batches))
        assert len(set(epochs[-1])) == 20
    assert len(set(map(tuple, epochs))) == 30
    assert len({start for starts in epochs for start in starts}) > 95, "of 100 windows, all get their turn"


def test_the_order_follows_seed_and_epoch_alone():
    batches, other = (Batches(numbered(100), 4, same, hop=2, batch_size=8) for _ in range(2))
    orders = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        batches.shuffle(seed, epoch)
        orders[seed, epoch] = epoch_of(batches)
    assert len(set(map(tuple, orders.values()))) == 4
    assert epoch_of(other) == orders[0, 0], "as it begins"
    other.shuffle(1, 0)
    assert epoch_of(other) == orders[1, 0]


def test_a_limit_above_the_number_of_windows_changes_nothing():
    plain, limited = (Batches(numbered(30), 4, same, hop=2, batch_size=8, **limit) for limit in ({}, {"limit": 10**6}))
    assert epoch_of(plain) == epoch_of(limited) and limited.limit == 14


# ---------------------------------------------------------------- epochs of a number of updates


def test_epochs_of_updates_are_passes_one_after_another():
    """Ten examples in batches of four are three batches; epochs of two of them take the passes in turn."""

    def examples(epochs):
        taken = []
        for epochs.epoch in range(3):
            taken += [epochs[batch][0].tolist() for batch in range(len(epochs))]
        return taken

    numbered_examples = np.arange(10)
    passes = examples(Epochs(Arrays(numbered_examples, numbered_examples, 4), seed=7))
    assert len(passes) == 9
    for start in (0, 3, 6):
        assert sorted(sum(passes[start : start + 3], [])) == list(range(10))
    assert passes[:3] != passes[3:6]
    assert examples(Epochs(Arrays(numbered_examples, numbered_examples, 4), seed=7, updates=2)) == passes[:6]
    longer = Epochs(Arrays(numbered_examples, numbered_examples, 4), seed=7, updates=4)
    assert examples(longer)[:9] == passes


@pytest.mark.parametrize("updates", [2, 7])
def test_updates_are_counted_and_resume_in_the_middle_of_a_pass(updates, tmp_path, data):
    """64 examples in batches of 16: a pass is four updates."""
    options = {"seed": 0, "batch_size": 16, "updates": updates}
    whole_model, model = small_model(), small_model()
    whole = train.fit(whole_model, *data, epochs=5, folder=tmp_path / "whole", **options)
    assert int(whole_model.optimizer.iterations) == 5 * updates
    train.fit(model, *data, epochs=3, folder=tmp_path / "parts", **options)
    again = train.fit(small_model(), *data, epochs=5, folder=tmp_path / "parts", **options)
    assert again["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    other = train.fit(small_model(), *data, epochs=1, folder=tmp_path / "parts", **options | {"updates": 3})
    assert len(other["loss"]) == 1, "another number of updates starts anew"


# ---------------------------------------------------------------- patience, callbacks and what is written


def too_fast():
    model = small_model()
    model.optimizer.learning_rate = 2.0
    return model


def watched(folder, data, model=None, **changed):
    options = {"epochs": 60, "seed": 0, "batch_size": 16, "keep_best": "test loss", "patience": 3} | changed
    return train.fit(model or too_fast(), *data, folder=folder, held_out={"test": data}, **options)


def ending(folder):
    return json.loads((folder / "training.json").read_text())


def test_patience_stops_where_nothing_improves_and_keeps_the_best(tmp_path, data, capsys):
    model = too_fast()
    history = watched(tmp_path, data, model)
    best = int(np.argmin(history["test loss"]))
    assert len(history["loss"]) == best + 1 + 3 < 60
    assert model.evaluate(*data, verbose=0) == pytest.approx(history["test loss"][best], rel=1e-5)
    assert ending(tmp_path) == {
        "best_epoch": best + 1, "epochs": best + 4, "stopped": "patience", "watched": "test loss",
        "seconds": pytest.approx(sum(history["seconds"])), "best": history["test loss"][best],
    }  # fmt: skip
    capsys.readouterr()
    again = watched(tmp_path, data)
    printed = capsys.readouterr().out
    assert again == history and printed.count("\n") == 1 and printed.startswith("continuing")
    assert len(watched(tmp_path, data, patience=5)["loss"]) >= len(history["loss"]), "more patience goes on"


def test_what_is_better_by_too_little_does_not_count_for_patience(tmp_path, data):
    options = {"epochs": 8, "patience": 3}
    better = watched(tmp_path / "any", data, small_model(), **options)["test loss"]
    assert len(better) == 8 and np.argmin(better) > 3
    history = watched(tmp_path / "much", data, small_model(), min_delta=100.0, **options)
    assert history["test loss"] == better[:4], "after the first epoch none is better by so much"
    assert ending(tmp_path / "much")["best_epoch"] == 4 and ending(tmp_path / "much")["stopped"] == "patience"


def test_without_a_figure_to_watch_the_last_epoch_is_kept_and_the_limit_ends_it(tmp_path, data):
    history = watched(tmp_path, data, epochs=2, keep_best="", patience=None)
    summary = ending(tmp_path)
    assert (summary["best_epoch"], summary["epochs"], summary["stopped"]) == (2, 2, "limit")
    assert summary["watched"] == "" and summary["best"] is None
    assert summary["seconds"] == pytest.approx(sum(history["seconds"]))


def test_a_figure_that_is_not_there_is_refused(tmp_path, data):
    with pytest.raises(ValueError, match='name one, as in keep_best="validation loss"'):
        watched(tmp_path, data, keep_best="")
    with pytest.raises(ValueError, match='no figure "validation loss" to watch: choose from loss, seconds, test loss'):
        watched(tmp_path, data, keep_best="validation loss")


def test_best_weights_that_are_gone_are_said_to_be(tmp_path, data):
    watched(tmp_path, data, epochs=2)
    (tmp_path / "best.npz").unlink()
    with pytest.raises(ValueError, match="best weights in .* are missing or damaged: delete that folder"):
        watched(tmp_path, data, epochs=2)


def test_callbacks_see_held_out_figures_and_may_stop(tmp_path, data):
    seen = []

    class Callback(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(logs["test loss"])
            self.model.stop_training = epoch == 2

    history = watched(tmp_path, data, patience=None, callbacks=[Callback()])
    assert seen == history["test loss"] and len(seen) == 3


# ---------------------------------------------------------------- training on batches


def few_pitches(rolls):
    """Half of a window, and the other half, of ten pitches of the piano."""
    return rolls[:, :4, :10, 0], rolls[:, 4:, :10, 0]


def later_pitches(rolls):
    return rolls[:, :4, 1:11, 0], rolls[:, 4:, 1:11, 0]


def batches_of(*lengths, split=few_pitches, **options):
    return Batches(numbered(*lengths), 8, split, **{"hop": 2, "batch_size": 16} | options)


def roll_model():
    keras.utils.set_random_seed(0)
    parts = [keras.layers.Dense(12, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((4, 10)), *parts])
    # run eagerly, as compiling takes longer than these few steps
    model.compile(keras.optimizers.Adam(0.01), roll_loss(), metrics=["mae"], run_eagerly=True)
    return model


def test_batches_resume_to_the_same_loss_as_uninterrupted(tmp_path, capsys):
    options = {"held_out": {"test": batches_of(40), "validation": batches_of(30)}, "seed": 3}
    whole = train.fit(roll_model(), batches_of(90, limit=30), folder=tmp_path / "whole", epochs=4, **options)
    train.fit(roll_model(), batches_of(90, limit=30), folder=tmp_path / "parts", epochs=2, **options)
    capsys.readouterr()
    again = train.fit(roll_model(), batches_of(90, limit=30), folder=tmp_path / "parts", epochs=4, **options)
    assert "continuing after epoch 2 of 4" in capsys.readouterr().out
    assert set(whole) == {
        "loss", "mae", "test loss", "test mae", "validation loss", "validation mae", "seconds",
    }  # fmt: skip
    for name in set(whole) - {"seconds"}:
        assert again[name] == pytest.approx(whole[name], rel=1e-5) and len(again[name]) == 4, name
    assert whole["loss"][-1] < whole["loss"][0]


def test_the_figures_of_held_out_batches_are_those_of_all_their_windows(tmp_path):
    model, held_out = roll_model(), batches_of(40, batch_size=7)
    history = train.fit(model, batches_of(60), folder=tmp_path, seed=0, epochs=1, held_out={"test": held_out})
    inputs, targets = held_out.split(held_out.bands.cut(held_out.windows, 8).astype("float32"))
    expected = float(roll_loss()(targets, model(inputs)))
    assert history["test loss"] == [pytest.approx(expected, rel=1e-5)]


def test_arrays_and_batches_may_be_mixed(tmp_path):
    held_out = batches_of(40)
    arrays = few_pitches(held_out.bands.cut(held_out.windows, 8).astype("float32"))
    options = {"seed": 0, "epochs": 1, "held_out": {"batches": held_out, "arrays": arrays}}
    for folder, training in (("a", (batches_of(60),)), ("b", arrays)):
        history = train.fit(roll_model(), *training, folder=tmp_path / folder, **options)
        assert history["batches loss"] == pytest.approx(history["arrays loss"], rel=1e-5)


def test_the_same_batches_continue_whatever_order_an_earlier_training_left(tmp_path, capsys):
    used = batches_of(90)
    for batches in (used, used, batches_of(90)):
        train.fit(roll_model(), batches, folder=tmp_path, seed=5, epochs=2)
    assert capsys.readouterr().out.count("continuing after epoch 2 of 2") == 2


@pytest.mark.parametrize(
    ("lengths", "changed"),
    [([90], {"limit": 30}), ([90], {"split": later_pitches}), ([90], {"batch_size": 15}), ([80, 10], {})],
)
def test_other_batches_start_anew(lengths, changed, tmp_path, capsys):
    run = {"folder": tmp_path, "seed": 0, "epochs": 1}
    train.fit(roll_model(), batches_of(90), **run)
    train.fit(roll_model(), batches_of(*lengths, **changed), **run)
    assert "continuing" not in capsys.readouterr().out


def test_the_best_epoch_is_kept(tmp_path):
    """On targets turned upside down, training makes the loss rise; also when called again with nothing left to do."""

    def upside_down(rolls):
        inputs, targets = few_pitches(rolls)
        return inputs, 1 - targets

    options = {"folder": tmp_path, "seed": 1, "epochs": 3, "keep_best": "test loss"}
    held_out = batches_of(40, split=upside_down)
    for _ in range(2):
        model = roll_model()
        history = train.fit(model, batches_of(60), held_out={"test": held_out}, **options)
        assert len(history["loss"]) == 3
        assert min(history["test loss"]) < 0.99 * history["test loss"][-1], "else nothing is shown"
        now = model.evaluate(held_out, verbose=0, return_dict=True)["loss"]
        assert now == pytest.approx(min(history["test loss"]), rel=1e-5)
    last = roll_model()
    options |= {"folder": tmp_path / "last", "keep_best": ""}
    history = train.fit(last, batches_of(60), held_out={"test": held_out}, **options)
    now = last.evaluate(held_out, verbose=0, return_dict=True)["loss"]
    assert now == pytest.approx(history["test loss"][-1], rel=1e-5)


def test_smoke_cuts_batches_to_two(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    seen = []

    def watched(rolls):
        seen.append(len(rolls))
        return few_pitches(rolls)

    training, held_out = (batches_of(900, batch_size=16, split=watched, limit=400) for _ in range(2))
    history = train.fit(
        roll_model(), training, folder=tmp_path, seed=0, epochs=50, held_out={"test": held_out}, batch_size=999
    )
    assert len(history["loss"]) == len(history["test loss"]) == 1
    assert "COURSE_SMOKE=1: training is cut to 2 batches of 16, and means nothing." in capsys.readouterr().out
    assert set(seen) == {16} and len(seen) <= 12  # two and one of 25, and what Keras looks at ahead
    assert training.limit == held_out.limit == 400, "what was given is left as it was"


def test_batches_learn(tmp_path):
    """The numbers of steps count on, so the second half of a window is a sum of the first."""
    options = {"folder": tmp_path, "seed": 0, "epochs": 5}
    history = train.fit(roll_model(), batches_of(150, batch_size=8), **options)
    assert history["loss"][-1] < 0.9 * history["loss"][0]
