"""Weights in a small file: what comes back, and what is refused."""

import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from course_lib import files
from course_lib.learn import weights

COMMITTED = sorted((files.ROOT / "results" / "weights").rglob("*.npz"))


def network(units=8, activation="tanh", seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(20, 6),
            keras.layers.GRU(units, return_sequences=True),
            keras.layers.Dense(20, activation=activation),
        ]
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights" / "gru.npz"
    weights.save(path, network(), notebook="03_gru", profile="night", seed=4, vocabulary=["C4", "é"], history=[1.5])
    return path


def test_a_network_of_the_same_layers_gets_the_weights_rounded(saved):
    other = network(seed=1)
    weights.load(saved, other)
    for mine, theirs in zip(other.get_weights(), network().get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2**-8, atol=1e-7)
        assert (mine == mine.astype("float16")).all()
    notes = np.arange(10)[None]
    np.testing.assert_allclose(other(notes), network()(notes), atol=2e-3)
    assert [path.name for path in saved.parent.iterdir()] == ["gru.npz"]


def test_a_file_takes_a_byte_and_a_half_a_weight(tmp_path):
    model = network(units=64)
    weights.save(tmp_path / "weights.npz", model)
    assert (tmp_path / "weights.npz").stat().st_size < 1.5 * model.count_params() + 2_500


def test_what_was_said_of_it_comes_back(saved):
    about = {"notebook": "03_gru", "profile": "night", "seed": 4, "vocabulary": ["C4", "é"], "history": [1.5]}
    assert weights.about(saved) == about


@pytest.mark.parametrize("other", [{"units": 9}, {"activation": "relu"}])
def test_another_network_is_refused_and_keeps_its_weights(saved, other):
    another = network(**other)
    before = another.get_weights()
    with pytest.raises(ValueError, match="another network.*notebook 03_gru, profile night, seed 4.*build it with"):
        weights.load(saved, another)
    assert all(map(np.array_equal, before, another.get_weights()))


def test_a_missing_and_a_damaged_file_are_named_in_one_sentence(saved, tmp_path):
    with pytest.raises(ValueError, match="There are no weights in .*none.npz: run the notebook with --profile night"):
        weights.load(tmp_path / "none.npz", network())
    whole = saved.read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2], whole[:2000] + bytes(200) + whole[2200:]):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match="gru.npz are damaged"):
            weights.load(saved, network())


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "bad.npz", about=np.array([{"a": 1}], dtype=object), network=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="damaged"):
        weights.about(tmp_path / "bad.npz")


@pytest.mark.parametrize("value", [7e4, np.nan, -np.inf])
def test_what_float16_cannot_hold_is_not_written(tmp_path, value):
    model = network()
    model.layers[-1].bias.assign(np.full(20, value))
    with pytest.raises(ValueError, match="bias has values that float16 cannot hold"):
        weights.save(tmp_path / "weights.npz", model)
    assert not list(tmp_path.iterdir())


def test_the_hash_is_the_same_in_another_process_under_other_names_and_in_16_bits(saved):
    """As of layers inside others, whose names count on, too."""
    code = """
        import sys, keras
        sys.path[:0] = sys.argv[1:]
        from learn.test_weights import network
        from course_lib.learn import device, weights
        [network() for _ in range(3)]
        print(weights.network_hash(keras.Sequential([network()])))
        in_16_bits = network()
        device.use_precision(in_16_bits)
        print(in_16_bits.layers[0].compute_dtype, weights.network_hash(in_16_bits))
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    tests = str(files.ROOT / "tests")
    environment = os.environ | {"PYTHONHASHSEED": "7", "COURSE_PRECISION": "mixed_bfloat16"}
    done = subprocess.run([sys.executable, "-c", code, tests], capture_output=True, text=True, env=environment)
    here = weights.network_hash(network())
    assert done.stdout.split() == [here, "bfloat16", here], done.stderr


@pytest.mark.skipif(not COMMITTED, reason="no weights of a night are committed")
def test_the_committed_weights_are_small_and_the_pages_play_them():
    sizes = {path: path.stat().st_size for path in COMMITTED}
    assert max(sizes.values()) < 6e6 and sum(sizes.values()) < 25e6, sizes
    for path in COMMITTED:
        about = weights.about(path)
        assert (about["notebook"], about["name"], about["profile"]) == (path.parent.name, path.stem, "night")
        assert about["data"]["name"] == "embedded" and "dirty" not in about["commit"]
        cells = json.loads((files.ROOT / "notebooks" / f"{path.parent.name}.ipynb").read_text(encoding="utf-8"))[
            "cells"
        ]
        shown = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
        assert re.search(rf"\(epochs: [^)]*{path.stem} {len(about['history']['loss'])}\b", shown)
