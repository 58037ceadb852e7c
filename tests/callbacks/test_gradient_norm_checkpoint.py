"""Checkpoints written during a recorded fit, read where this library is not known."""

import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_residual.callbacks import GradientNormCallback

BATCH, STEPS, EPOCHS = 4, 6, 2
# Two thirds of the way through the first epoch.
SAVED_AFTER = 4

MODEL = """
import os
import sys
import warnings

import keras
import numpy as np


def build(policy):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2), name="image"),
            keras.layers.Conv2D(3, 3, name="convolution"),
            keras.layers.BatchNormalization(name="normalization"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(2, dtype="float32", name="dense"),
        ],
        name="net",
    )
    model.compile(keras.optimizers.Adam(0.01, name="adam"), "mse")
    return model


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 5, 5, 2)).astype("float32")
    return x, generator.normal(size=(24, 2)).astype("float32")


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]
"""

CONTINUE = """
# A state that is not loaded as a whole is a warning of Keras.
warnings.simplefilter("error", UserWarning)
saved_after = int(sys.argv[1])
x, y = data()
rest = slice(4 * saved_after, None)
fit = {"batch_size": 4, "shuffle": False, "verbose": 0}


def go_on(folder, policy):
    # Keras wraps the optimizer for loss scaling only where the policy is set.
    keras.config.set_dtype_policy(policy)
    whole = keras.saving.load_model(f"{folder}/whole.keras")
    weights = build(policy)
    weights.optimizer.build(weights.trainable_variables)
    weights.load_weights(f"{folder}/only.weights.h5")
    restored = build(policy)
    for model in (whole, weights):
        model.fit(x[rest], y[rest], **fit)
        model.fit(x, y, **fit)
    backup = keras.callbacks.BackupAndRestore(
        f"{folder}/backup", delete_checkpoint=False
    )
    history = restored.fit(x, y, epochs=2, callbacks=[backup], **fit)
    assert len(history.history["loss"]) == 1
    for name, model in {"whole": whole, "only": weights, "backup": restored}.items():
        np.savez(f"{folder}/{name}.npz", *state(model))


for folder in sys.argv[2:]:
    go_on(folder, os.path.basename(folder))
assert "keras_residual" not in sys.modules
"""

namespace: dict = {}
exec(MODEL, namespace)


class SaveOnce(keras.callbacks.Callback):
    """Saves the whole model in the middle of the first epoch."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == SAVED_AFTER and not self.path.exists():
            self.model.save(self.path)


class StopAtEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("killed")


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """Two trainings that were killed, and went on where this library is not known.

    From a policy to the states that they ended with, and that of a training which
    nobody recorded or killed.
    """
    x, y = namespace["data"]()
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "epochs": EPOCHS}
    root = tmp_path_factory.mktemp("checkpoints")
    expected, before = {}, keras.config.dtype_policy()
    for policy, recorder_first in (("float32", True), ("mixed_float16", False)):
        folder = root / policy
        folder.mkdir()
        uninterrupted = namespace["build"](policy)
        uninterrupted.fit(x, y, **arguments)
        expected[policy] = namespace["state"](uninterrupted)
        model = namespace["build"](policy)
        recorder = GradientNormCallback(filepath=folder / "norms.csv")
        others = [
            SaveOnce(folder / "whole.keras"),
            keras.callbacks.ModelCheckpoint(
                folder / "only.weights.h5",
                save_weights_only=True,
                save_freq=SAVED_AFTER,
            ),
            keras.callbacks.BackupAndRestore(folder / "backup"),
            StopAtEpoch(),
        ]
        callbacks = [recorder, *others] if recorder_first else [*others, recorder]
        with pytest.raises(RuntimeError, match="killed"):
            model.fit(x, y, callbacks=callbacks, **arguments)
        # In half precision some steps overflow and update nothing.
        records = len(recorder.steps)
        assert records == STEPS if policy == "float32" else 0 < records <= STEPS
    keras.config.set_dtype_policy(before)
    script = root / "continue.py"
    script.write_text(MODEL + CONTINUE)
    subprocess.run(
        [sys.executable, script, str(SAVED_AFTER), *(root / name for name in expected)],
        env={**os.environ, "PYTHONPATH": ""},
        cwd=root,
        check=True,
    )

    def states(policy, name):
        with np.load(root / policy / f"{name}.npz") as file:
            return [file[f"arr_{i}"] for i in range(len(file))], expected[policy]

    return states


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "only", "backup"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_checkpoints_continue_elsewhere(continued, policy, name):
    values, expected = continued(policy, name)
    assert len(values) == len(expected)
    for value, right in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, right, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_files_equal_those_of_a_fit_without_the_callback(tmp_path):
    x, y = namespace["data"]()
    paths = {}
    for name, recorders in {"plain": [], "recorded": [GradientNormCallback()]}.items():
        paths[name] = tmp_path / f"{name}.keras"
        namespace["build"]("float32").fit(
            x,
            y,
            batch_size=BATCH,
            verbose=0,
            callbacks=[*recorders, SaveOnce(paths[name])],
        )
    configs = {}
    for name, path in paths.items():
        with zipfile.ZipFile(path) as file:
            config = file.read("config.json")
        # The only part that differs between two runs: addresses in memory.
        configs[name] = re.sub(rb'"shared_object_id": \d+', b"", config)
    assert configs["recorded"] == configs["plain"]
    assert b"keras_residual" not in configs["recorded"]


@pytest.mark.slow
def test_restoring_a_backup_into_a_recorded_fit(tmp_path):
    x, y = namespace["data"]()
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "epochs": EPOCHS}
    uninterrupted = namespace["build"]("float32")
    expected = GradientNormCallback()
    uninterrupted.fit(x, y, callbacks=[expected], **arguments)
    with pytest.raises(RuntimeError, match="killed"):
        namespace["build"]("float32").fit(
            x,
            y,
            callbacks=[
                keras.callbacks.BackupAndRestore(tmp_path / "backup"),
                StopAtEpoch(),
            ],
            **arguments,
        )
    recorder = GradientNormCallback()

    namespace["build"]("float32").fit(
        x,
        y,
        callbacks=[recorder, keras.callbacks.BackupAndRestore(tmp_path / "backup")],
        **arguments,
    )

    assert recorder.steps.tolist() == list(range(STEPS, STEPS * EPOCHS))
    np.testing.assert_allclose(
        recorder.norms, expected.norms[STEPS:], rtol=1e-4, atol=1e-6
    )
