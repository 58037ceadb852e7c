"""Norms under data parallelism equal those of one device, on virtual devices."""

import json
import subprocess
import sys

import keras
import pytest

# Trains the same model on one device and on several, and prints the norms of both.
PROGRAM = """
import contextlib, json, os
import keras, numpy as np
from keras_residual import GradientNormCallback

def norms(inside=False, strategy=None):
    keras.utils.set_random_seed(1)
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    with scope:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"),
                                  keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    callback = GradientNormCallback(every=2)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(32, 4)), generator.normal(size=(32, 1))
    with strategy.scope() if inside else contextlib.nullcontext():
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])
    return callback.norms.tolist()
"""
TENSORFLOW = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(json.dumps([norms(), norms(False, strategy), norms(True, strategy)]))
"""
JAX = """
alone = norms()
devices = keras.distribution.list_devices("cpu")
assert len(devices) == 4
parallel = keras.distribution.DataParallel(devices=devices)
keras.distribution.set_distribution(parallel)
print(json.dumps([alone, norms()]))
"""


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras has no data parallelism there"
)
def test_data_parallelism(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    branch = {"tensorflow": TENSORFLOW, "jax": JAX}[keras.backend.backend()]

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM + branch], capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    alone, *distributed = json.loads(run.stdout.splitlines()[-1])
    assert len(alone) == 2
    for norms in distributed:
        assert norms == [pytest.approx(row, rel=1e-5) for row in alone]
