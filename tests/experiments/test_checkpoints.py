"""Checkpoints: whole or not there, checked before they are read, the older one kept."""

import errno
import json

import keras
import numpy as np
import pytest

import keras_residual
from keras_residual.experiments import Checkpoints, StoppedError


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "state")


def make_model(seed, policy="float32"):
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = keras_residual.Cutout(4, seed=3)(inputs)
    x = keras.layers.Dense(1)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    keras.config.set_dtype_policy("float32")
    return model


def train(model):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 8, 8, 3)), generator.normal(size=(8, 1))
    model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)


def kernel(model):
    return keras.ops.convert_to_numpy(model.layers[-1].kernel)


def test_a_training_goes_on_as_if_it_had_not_ended(checkpoints):
    whole = make_model(0)
    train(whole)
    checkpoints.save(whole, [{"epoch": 1}])
    train(whole)
    resumed = make_model(1)
    assert checkpoints.restore(resumed) == [{"epoch": 1}]
    # Momentum and the patches of Cutout go on too: without either it would differ.
    train(resumed)
    np.testing.assert_array_equal(kernel(resumed), kernel(whole))


def test_the_scale_of_the_loss_goes_on(checkpoints):
    model = make_model(0, "mixed_float16")
    scale = model.optimizer.dynamic_scale
    scale.assign(1024.0)
    checkpoints.save(model, [{"epoch": 1}])
    resumed = make_model(1, "mixed_float16")
    checkpoints.restore(resumed)
    assert float(resumed.optimizer.dynamic_scale) == 1024


def test_an_optimizer_that_would_be_left_out_is_refused(checkpoints):
    checkpoints.save(make_model(0), [{"epoch": 1}])
    other = make_model(0)
    other.compile("adam", "mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(StoppedError, match="does not fit"):
        checkpoints.restore(other)


def test_nothing_there_is_a_training_that_begins(checkpoints):
    assert checkpoints.restore(make_model(0)) == []


def test_keeps_the_last_two_and_the_best(checkpoints):
    model = make_model(0)
    for epoch in range(1, 5):
        checkpoints.save(model, [{"epoch": number + 1} for number in range(epoch)])
    checkpoints.save_best(model)
    assert sorted(file.name for file in checkpoints.folder.iterdir()) == [
        "best.keras",
        *("epoch-00003.json", "epoch-00003.keras"),
        *("epoch-00004.json", "epoch-00004.keras"),
    ]
    best = keras.saving.load_model(checkpoints.folder / "best.keras")
    assert not hasattr(best, "optimizer")
    np.testing.assert_array_equal(kernel(best), kernel(model))


@pytest.mark.parametrize("damage", ["a byte", "cut", "gone", "json"])
def test_a_damaged_checkpoint_is_named_and_the_older_one_serves(checkpoints, damage):
    model = make_model(0)
    checkpoints.save(model, [{"epoch": 1}])
    checkpoints.save(model, [{"epoch": 1}, {"epoch": 2}])
    file = checkpoints.folder / "epoch-00002.keras"
    content = bytearray(file.read_bytes())
    if damage == "a byte":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "gone":
        file.unlink()
    else:
        file.with_suffix(".json").write_text("{")
    with pytest.raises(StoppedError, match=r"00002\.keras is damaged.*00001\.keras"):
        checkpoints.restore(model)
    # What the message says to do.
    file.with_suffix(".json").unlink()
    assert checkpoints.restore(model) == [{"epoch": 1}]


@pytest.mark.parametrize("before", [0, 1])
def test_a_full_disk_leaves_the_older_one(checkpoints, monkeypatch, before):
    model = make_model(0)
    if before:
        checkpoints.save(model, [{"epoch": 1}])

    def full(path, **keywords):
        path.write_bytes(b"some of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model, "save", full)
    expected = r"00001\.keras, is intact" if before else "there is none before it"
    with pytest.raises(StoppedError, match=f"no space left on the disk; .*{expected}"):
        checkpoints.save(model, [{"epoch": number} for number in range(before + 1)])
    monkeypatch.undo()
    assert len(checkpoints.restore(model)) == before
    assert not list(checkpoints.folder.glob(".*"))


def test_a_kill_between_its_two_files_leaves_the_one_before(checkpoints):
    model = make_model(0)
    checkpoints.save(model, [{"epoch": 1}])
    (checkpoints.folder / "epoch-00002.keras").write_bytes(b"whole, perhaps")
    (checkpoints.folder / ".unfinished.epoch-00003.keras").write_bytes(b"not whole")
    assert checkpoints.restore(model) == [{"epoch": 1}]


def test_another_network_is_refused(checkpoints):
    checkpoints.save(make_model(0), [{"epoch": 1}])
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(StoppedError, match="does not fit"):
        checkpoints.restore(other)


def test_the_history_is_readable(checkpoints):
    checkpoints.save(make_model(0), [{"epoch": 1, "loss": 0.5}])
    content = json.loads((checkpoints.folder / "epoch-00001.json").read_text())
    assert content["history"] == [{"epoch": 1, "loss": 0.5}]
