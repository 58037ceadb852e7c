"""Training on two virtual devices is training on one."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from programs import devices_of_jax

from keras_residual.models.transfer._first_batch import as_array

PROGRAM = """
import contextlib
import keras, numpy as np
from keras_residual import ResNet, TransferModel

images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("float32")
labels = np.arange(16) % 2

def train(scope, divided=lambda images, labels: {
    "x": images, "y": labels, "batch_size": 8}):
    keras.utils.set_random_seed(1)
    with scope:
        backbone = ResNet(8, variant="cifar", include_top=False)
        model = TransferModel(backbone, 2, preprocessing="torch", hidden_units=4)
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    cache = model.cache_features(images, labels, batch_size=8, verbose=0)
    model.fit(cache, batch_size=8, shuffle=False, verbose=0)
    model.unfreeze(1, "block")
    given = divided(images, labels)
    model.fit(**given, shuffle=False, verbose=0)
    model.evaluate(given.pop("x"), **given, verbose=0)
    return [cache.features, cache.labels, *model.get_weights()]

alone = train(contextlib.nullcontext())
"""
TENSORFLOW = """
import tensorflow as tf
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
together = train(strategy.scope())

def distributed(images, labels):
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    return {"x": strategy.experimental_distribute_dataset(dataset)}

for one, two in zip(together, train(strategy.scope(), distributed), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
"""
JAX = """
devices = keras.distribution.list_devices("cpu")
assert len(devices) == 2
parallel = keras.distribution.DataParallel(devices=devices)
keras.distribution.set_distribution(parallel)
together = train(contextlib.nullcontext())
"""
DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
COMPARE = """
for one, two in zip(alone, together, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
"""


of_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="strategies of TensorFlow"
)


@of_tensorflow
def test_a_batch_of_replicas_is_joined():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.range(5)
    )
    np.testing.assert_array_equal(as_array(values), range(5))


@of_tensorflow
def test_features_of_a_distributed_dataset(make_model, images, labels):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    with strategy.scope():
        model = make_model()
    found = model.cache_features(
        strategy.experimental_distribute_dataset(dataset), verbose=0
    )
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras has no data parallelism there"
)
def test_data_parallelism():
    tensorflow = keras.backend.backend() == "tensorflow"
    branch = DEVICES + PROGRAM + TENSORFLOW if tensorflow else PROGRAM + JAX
    run = subprocess.run(
        [sys.executable, "-c", branch + COMPARE],
        capture_output=True,
        text=True,
        env=devices_of_jax(2),
    )
    assert run.returncode == 0, run.stderr
