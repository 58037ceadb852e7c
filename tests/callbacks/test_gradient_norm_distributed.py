"""Norms under data parallelism equal those of one device, on two virtual devices."""

import json
import subprocess
import sys

import keras
import pytest
from programs import devices_of_jax

# Trains the same model on one device and on several, for each optimizer that is named,
# and prints what was recorded.
PROGRAM = """
import contextlib, json, sys
import keras, numpy as np
from keras_residual import GradientNormCallback

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "clipped": lambda: keras.optimizers.Adam(global_clipnorm=0.1),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    "averaged": lambda: keras.optimizers.SGD(0.1, use_ema=True),
    "accumulating": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
}

def record(optimizer, inside=False, strategy=None):
    keras.utils.set_random_seed(1)
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    with scope:
        model = keras.Sequential([
            keras.Input((4,), dtype="int32"), keras.layers.Embedding(5, 3),
            keras.layers.Flatten(), keras.layers.Dense(3, "tanh"),
            keras.layers.Dense(1)])
        model.compile(OPTIMIZERS[optimizer](), "mse")
    callbacks = [GradientNormCallback(every, ratios=ratios)
                 for every, ratios in ((1, False), (2, True))]
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, (32, 4)), generator.normal(size=(32, 1))
    with strategy.scope() if inside else contextlib.nullcontext():
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks)
    ratios = np.nan_to_num(callbacks[1].update_ratios, posinf=0.0)
    return [callbacks[0].norms.tolist(), callbacks[1].norms.tolist(), ratios.tolist()]

chosen = sys.argv[1:]
"""
TENSORFLOW = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(2)])
assert strategy.num_replicas_in_sync == 2
print(json.dumps({name: [record(name), record(name, False, strategy),
                         record(name, True, strategy)] for name in chosen}))
"""
JAX = """
alone = {name: record(name) for name in chosen}
devices = keras.distribution.list_devices("cpu")
assert len(devices) == 2
parallel = keras.distribution.DataParallel(devices=devices)
keras.distribution.set_distribution(parallel)
print(json.dumps({name: [alone[name], record(name)] for name in chosen}))
"""
# Keras itself refuses accumulation under a MirroredStrategy.
CASES = ["sgd", "clipped", "scaled", "averaged"] + (
    ["accumulating"] if keras.backend.backend() == "jax" else []
)


@pytest.fixture(scope="module")
def recorded():
    """From the name of an optimizer to the records of one device, and of several."""
    branch = {"tensorflow": TENSORFLOW, "jax": JAX}[keras.backend.backend()]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM + branch, *CASES],
        capture_output=True,
        text=True,
        env={**devices_of_jax(2), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras has no data parallelism there"
)
@pytest.mark.parametrize("optimizer", CASES)
def test_data_parallelism(recorded, optimizer):
    alone, *distributed = recorded[optimizer]
    updates = 2 if optimizer == "accumulating" else 4
    assert [len(rows) for rows in alone] == [updates, updates // 2, updates // 2]
    # Under a MirroredStrategy Keras clips what each replica has, and only then adds up:
    # from the first update on it trains another way than one device.
    if optimizer == "clipped" and keras.backend.backend() == "tensorflow":
        alone, *distributed = [
            [norms[:1] for norms in rows[:2]] for rows in (alone, *distributed)
        ]
    for rows_of_each in distributed:
        for rows, expected in zip(rows_of_each, alone, strict=True):
            assert rows == [pytest.approx(row, rel=1e-4) for row in expected]
