"""Records in files: while training runs, after it, and after a kill."""

import csv

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


def test_load_ignores_a_row_cut_short_by_a_kill(tmp_path):
    path = tmp_path / "norms.csv"
    path.write_text("step,a,b\n0,1.5,nan\n1,2.")
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


def test_bad_path(tmp_path):
    callback = GradientNormCallback()
    with pytest.raises(ValueError, match="`path` must end in"):
        callback.save(tmp_path / "norms.pickle")
    with pytest.raises(ValueError, match="`path` must end in"):
        GradientNormCallback.load(tmp_path / "norms.pickle")
