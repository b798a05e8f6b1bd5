import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from course_lib import train

LESSON = textwrap.dedent("""
    import sys, pathlib, keras, numpy as np
    from course_lib import train
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
    whole = final(lesson(tmp_path / "whole", 40))
    process = lesson(tmp_path / "killed", 40)
    for _ in range(3):  # three epochs are reported, then the process dies wherever it is
        process.stdout.readline()
    process.kill()
    process.wait()
    saved = json.loads((tmp_path / "killed" / "state.json").read_text())
    assert 3 <= len(saved["history"]["loss"]) < 40
    continued = final(lesson(tmp_path / "killed", 40))
    assert continued[2] == whole[2] == 40
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


def test_a_damaged_checkpoint_is_trained_again(tmp_path, data):
    train.fit(small_model(), *data, epochs=1, folder=tmp_path, seed=0)
    (weights,) = tmp_path.glob("*.weights.h5")
    weights.write_bytes(b"not weights")
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
    assert not (tmp_path / "state.json").exists()


def test_smoke_cuts_training_and_says_so(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_SMOKE", "1")
    history = train.fit(small_model(), *data, epochs=50, folder=tmp_path, seed=0, batch_size=8)
    assert len(history["loss"]) == 1
    assert "COURSE_SMOKE=1" in capsys.readouterr().out


def test_settings_choose_the_profile_and_show_both():
    chosen = train.settings("paper", epochs=(8, 200), window=(32, 100))
    assert (chosen.epochs, chosen.window) == (200, 100)
    assert "| epochs | 8 | 200 |" in chosen._repr_markdown_()
    with pytest.raises(ValueError, match='no profile "fast"'):
        train.settings("fast", epochs=(1, 2))
