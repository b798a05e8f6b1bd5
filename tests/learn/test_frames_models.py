"""What notebook 05 defines: padded songs, their loss, generation a column at a time; and the best epoch of training."""

import keras
import numpy as np
import pytest
from keras import layers
from lessons import definitions

from course_lib import measure
from course_lib.learn import sample, train
from course_lib.learn.stepper import Stepper

padded, frame_loss, generate_frames = definitions("05", "padded", "frame_loss", "generate_frames").values()


def songs(*lengths, pitches=12):
    rng = np.random.default_rng(0)
    return [rng.random((length, pitches)) < 0.3 for length in lengths]


def dilated(levels, pitches=12, channels=6):
    keras.utils.set_random_seed(1)
    song = keras.Input((None, pitches))
    x, skips = layers.Dense(channels)(song), []
    for dilation in [2**i for i in range(levels)]:
        what = layers.Conv1D(channels, 2, dilation_rate=dilation, padding="causal", activation="tanh")(x)
        gate = layers.Conv1D(channels, 2, dilation_rate=dilation, padding="causal", activation="sigmoid")(x)
        gated = layers.Dropout(0.2)(layers.Multiply()([what, gate]))
        skips.append(layers.Dense(channels)(gated))
        x = layers.Add()([x, layers.Dense(channels)(gated)])
    return keras.Model(song, layers.Dense(pitches)(layers.Activation("relu")(layers.Add()(skips))))


def test_padded_songs_predict_every_frame_but_the_first_once():
    data = songs(7, 3, 1)
    inputs, targets = padded(data, 4)
    assert inputs.shape == targets.shape == (3, 4, 12)  # 6 predictions, 2, and none
    assert np.array_equal(inputs[0], data[0][:4]) and np.array_equal(targets[0], data[0][1:5])
    assert np.array_equal(targets[1][:2], data[0][5:7]) and (targets[1][2:] == -1).all()
    assert np.array_equal(targets[2][:2], data[1][1:3]) and (targets[2][2:] == -1).all()
    with pytest.raises(ValueError, match="two frames"):
        padded(songs(1, 0), 4)


def test_the_loss_is_the_nll_of_the_benchmark_and_leaves_padding_out():
    data = songs(9, 4)
    inputs, targets = padded(data, 8)
    logits = dilated(2).predict_on_batch(inputs)
    loss = float(frame_loss(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits)))
    assert loss == pytest.approx(measure.baselines.frame_nll([logits[0][:8], logits[1][:3]], data), rel=1e-5)
    logits[1][3:] = 50  # where nothing is to be predicted
    again = float(frame_loss(keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits)))
    assert again == pytest.approx(loss, rel=1e-6)


def test_training_ends_with_the_best_epoch(tmp_path):
    inputs, targets = padded(songs(40), 8)
    held_out = {"validation": padded(songs(30, 20), 8)}

    def trained(epochs):
        model = dilated(2)
        model.compile(keras.optimizers.Adam(0.2), frame_loss)  # too fast: it gets worse after a while
        history = train.fit(
            model, inputs, targets, epochs=epochs, folder=tmp_path, seed=0, batch_size=2,
            held_out=held_out, keep_best="validation loss",
        )  # fmt: skip
        return model, history["validation loss"]

    model, losses = trained(15)
    assert np.argmin(losses) < 14
    x, y = held_out["validation"]
    assert model.evaluate(x, y, batch_size=1024, verbose=0) == pytest.approx(min(losses), rel=1e-5)
    model, _ = trained(15)  # continued from its end, it is the same model
    assert model.evaluate(x, y, batch_size=1024, verbose=0) == pytest.approx(min(losses), rel=1e-5)


def test_a_column_a_step_gives_what_the_whole_field_gives():
    model = dilated(8)  # a receptive field of 256 frames
    song = songs(300)[0].astype("float32")[None]
    whole = model.predict_on_batch(song)
    stepper = Stepper(model)
    steps = [stepper.step(song[:, t]) for t in range(song.shape[1])]
    assert np.abs(np.stack(steps, axis=1) - whole).max() < 1e-4


def test_frames_follow_their_rule(capsys):
    model = dilated(3)
    prompts = np.stack(songs(5, 5))
    stepper = Stepper(model, batch=2)
    made = generate_frames(stepper, prompts, 6, sample.threshold_rule(0.5))
    sequence = prompts.astype("float32")
    for step in range(6):  # the same, the whole field computed each time
        frame = model.predict_on_batch(sequence)[:, -1:] > 0
        assert np.array_equal(frame[:, 0], made[:, step])
        sequence = np.concatenate([sequence, frame], axis=1)

    drawn = [
        generate_frames(stepper, prompts, 6, sample.chance_rule(np.random.default_rng(seed))) for seed in (0, 0, 1)
    ]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert capsys.readouterr().out == ""

    assert not generate_frames(stepper, prompts, 6, sample.threshold_rule(1.0)).any()
    assert "lower the threshold" in capsys.readouterr().out
