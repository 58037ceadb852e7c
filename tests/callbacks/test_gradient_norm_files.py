"""Records in files: while training runs, after it, and after a kill."""

import csv
import importlib
import os
import signal
import subprocess
import sys
import tracemalloc
import types

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback


def test_filepath_grows_while_training_runs(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=5)
    path = tmp_path / "norms.csv"
    path.write_text("from an earlier run\n")
    callback = GradientNormCallback(every=2, filepath=path)
    rows_seen = []

    class Reader(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rows_seen.append(len(path.read_text().splitlines()) - 1)

    model = linear_model()
    model.fit(
        x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[callback, Reader()]
    )

    # A record is on disk before the next one is taken.
    assert rows_seen == [0, 0, 1, 1, 2]
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", *callback.names]
    assert [int(row[0]) for row in rows] == [0, 2, 4]
    values = np.array([row[1:] for row in rows], "float32")
    np.testing.assert_array_equal(values, callback.norms)


@pytest.mark.slow
def test_resumed_training_goes_on_in_the_file(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=4)
    path, complete = tmp_path / "norms.csv", tmp_path / "complete.csv"
    fit(linear_model(), x, y, GradientNormCallback(filepath=complete), epochs=2)

    class Killed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                raise KeyboardInterrupt

    def arguments():
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return GradientNormCallback(filepath=path), backup

    with pytest.raises(KeyboardInterrupt):
        fit(linear_model(), x, y, *arguments(), Killed(), epochs=2)
    fit(linear_model(), x, y, *arguments(), epochs=2)

    rows, expected = (file.read_text().splitlines() for file in (path, complete))
    assert rows[1:] == expected[1:]
    assert len(rows) == 9


@pytest.mark.slow
def test_a_new_training_replaces_the_file(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=2)
    path = tmp_path / "norms.csv"
    for earlier in (None, b"\xff\x00", b"step,another\n0,2.0\n", b""):
        if earlier is not None:
            path.write_bytes(earlier)
        callback = GradientNormCallback(filepath=path)
        fit(linear_model(), x, y, callback)
        assert GradientNormCallback.load(path).steps.tolist() == [0, 1]
        assert GradientNormCallback.load(path).names == callback.names


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_save_and_load(linear_model, linear_data, tmp_path, suffix):
    x, y, _ = linear_data(steps=4)
    model = linear_model()
    callback = GradientNormCallback(every=2)
    fit(model, x, y, callback)
    path = tmp_path / f"norms{suffix}"

    callback.save(path)
    callback.save(path)
    loaded = GradientNormCallback.load(path)

    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert loaded.names == callback.names
    np.testing.assert_array_equal(loaded.steps, callback.steps)
    np.testing.assert_array_equal(loaded.norms, callback.norms)
    assert (loaded.steps.dtype, loaded.norms.dtype) == ("int64", "float32")
    # A loaded record can go on where it ended.
    fit(model, x, y, loaded)
    assert loaded.steps.tolist() == [0, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_empty_record_can_be_saved(tmp_path, suffix):
    path = tmp_path / f"norms{suffix}"
    GradientNormCallback().save(path)
    loaded = GradientNormCallback.load(path)
    assert (loaded.names, loaded.steps.shape, loaded.norms.shape) == ([], (0,), (0, 0))


@pytest.mark.parametrize("cut", ["", "1", "1,2.", "1,2.5,1"])
def test_load_ignores_a_row_cut_short_by_a_kill(tmp_path, cut):
    path = tmp_path / "norms.csv"
    path.write_text(f"step,a,b\n0,1.5,nan\n{cut}")
    loaded = GradientNormCallback.load(path)
    assert loaded.steps.tolist() == [0]
    np.testing.assert_array_equal(loaded.norms, [[1.5, np.nan]])


def test_to_frame(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    callback = GradientNormCallback(every=2)
    fit(linear_model(), x, y, callback)

    frame = callback.to_frame()

    assert frame.index.name == "step"
    assert frame.index.tolist() == [0, 2]
    assert frame.columns.tolist() == callback.names
    np.testing.assert_array_equal(frame.to_numpy(), callback.norms)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("norms.txt", "must end in .csv"),
        ("norms.npz", "must end in .csv"),
        ("missing/norms.csv", "must be in a folder that exists"),
        ("folder.csv", "must be a file, not a folder"),
    ],
)
def test_bad_filepath(tmp_path, name, problem):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=f"`filepath` {problem}.*Received: filepath="):
        GradientNormCallback(filepath=tmp_path / name)


@pytest.mark.parametrize("argument", ["filepath", "tensorboard_dir"])
def test_what_is_no_path(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be a path. Received: "):
        GradientNormCallback(**{argument: 3})


def test_bad_path(tmp_path):
    callback = GradientNormCallback()
    with pytest.raises(ValueError, match="`path` must end in"):
        callback.save(tmp_path / "norms.pickle")
    with pytest.raises(ValueError, match="`path` must end in"):
        GradientNormCallback.load(tmp_path / "norms.pickle")


def test_load_refuses_another_file(tmp_path):
    files = [tmp_path / name for name in ("empty.csv", "history.csv", "a.npz", "b.npz")]
    for file in files:
        file.write_text("epoch,loss\n0,1.5\n" if file.stem == "history" else "")
    np.savez(files[-1], loss=1.5)
    for file in files:
        with pytest.raises(ValueError, match="`path` must be a file with a gradient"):
            GradientNormCallback.load(file)


KILLED = """
import os, signal, sys
import keras, numpy as np
from keras_residual import GradientNormCallback

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 20:
            os.kill(os.getpid(), signal.SIGKILL)

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
norms = GradientNormCallback(filepath=sys.argv[1], tensorboard_dir=sys.argv[2])
model.fit(np.ones((120, 3)), np.ones((120, 2)), batch_size=4, verbose=0,
          callbacks=[norms, Kill()])
"""


@pytest.mark.slow
def test_killed_process_loses_at_most_the_last_record(tmp_path):
    path, folder = tmp_path / "norms.csv", tmp_path / "logs"
    run = subprocess.run([sys.executable, "-c", KILLED, path, folder])
    assert run.returncode == -signal.SIGKILL
    # Steps 0 to 20 ran.
    assert GradientNormCallback.load(path).steps.tolist() == list(range(20))
    assert len(scalars(folder)["gradient_norm/sequential/dense/bias"]) == 20


def held_bytes(output, steps):
    """How much memory records of so many steps leave behind."""
    generator = np.random.default_rng(0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for first in range(0, steps, 64):
        numbers = np.arange(first, first + 64)
        output.append(numbers, generator.random((64, 1, 10), "float32"))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


@pytest.mark.once
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(linear_data, tmp_path):
    """Of the part behind the train step, whose own buffers have a fixed size."""
    x, y, _ = linear_data(steps=1)
    layers = [keras.layers.Dense(2) for _ in range(5)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("sgd", "mse")
    arguments = {"alert": (0.0, 1e9), "tensorboard_dir": tmp_path}
    in_memory = GradientNormCallback(**arguments)
    in_file = GradientNormCallback(filepath=tmp_path / "norms.csv", **arguments)
    fit(model, x, y, in_memory, in_file)
    held_bytes(in_file._output, 64)

    few, many = (held_bytes(in_file._output, steps) for steps in (64, 1280))

    # Ten float32 and a step number each: this many bytes if they were kept.
    kept = 1280 * 48
    assert held_bytes(in_memory._output, 1280) > kept
    assert many - few < kept / 10
    assert len(in_file.steps) == 1 + 64 + 64 + 1280


def test_attributes_read_the_file(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=3)
    callback = GradientNormCallback(filepath=tmp_path / "norms.csv")
    assert callback.steps.shape == (0,)
    seen = []
    reader = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(callback.norms.shape)
    )
    fit(linear_model(), x, y, callback, reader, epochs=2)
    assert seen == [(3, 2), (6, 2)]
    loaded = GradientNormCallback.load(callback.filepath)
    np.testing.assert_array_equal(callback.norms, loaded.norms)
    assert (callback.steps.dtype, callback.norms.dtype) == ("int64", "float32")


def scalars(folder):
    """What TensorBoard's own reader finds: lists of steps and values by tag."""
    # Without this module the reader imports TensorFlow, which it does not need.
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("notf"))
    reader = importlib.import_module(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(os.fspath(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def test_tensorboard(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=4)
    folder = tmp_path / "new" / "logs"
    callback = GradientNormCallback(every=2, ratios=True, tensorboard_dir=folder)
    model = linear_model()

    for _ in range(2):
        fit(model, x, y, callback)

    found = scalars(folder)
    for kind, values in {
        "gradient_norm": callback.norms,
        "update_ratio": callback.update_ratios,
    }.items():
        for name, column in zip(callback.names, values.T, strict=True):
            expected = list(zip([0, 2, 4, 6], column.tolist(), strict=True))
            assert found.pop(f"{kind}/{name}") == expected
    assert found == {}


def test_two_callbacks_write_to_one_folder(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=2)
    callbacks = [GradientNormCallback(tensorboard_dir=tmp_path) for _ in range(2)]
    fit(linear_model(), x, y, *callbacks)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2


def test_tensorboard_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"`tensorboard_dir` needs.*pip install"):
        GradientNormCallback(tensorboard_dir=tmp_path)
