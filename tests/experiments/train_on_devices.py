"""Trains a small network on the devices that the arguments name, for test_devices.py.

    python train_on_devices.py '{"folder": ..., "options": {...}, ...}'

Prints what it computed as one line of JSON. It goes on from the checkpoint that it
finds in the folder.
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from keras_residual import Cutout, GradientNormCallback
from keras_residual.experiments import RefusedError, StoppedError
from keras_residual.experiments.devices import Devices, check_devices, connect

BATCH, TRAIN, VALIDATION, EPOCHS = 8, 32, 13, 3


def batches(images, labels, shard):
    """This host's part of each batch, as arrays in a `tf.data.Dataset`."""
    import tensorflow as tf

    index, count = shard
    own = BATCH // count
    whole = [
        np.arange(start, min(start + BATCH, len(images)))[index * own :][:own]
        for start in range(0, len(images), BATCH)
    ]
    parts = [(images[part], labels[part]) for part in whole if len(part)]
    spec = tf.TensorSpec((None, 6, 6, 3)), tf.TensorSpec((None,), tf.int64)
    dataset = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(parts)))


class Save(keras.callbacks.Callback):
    def __init__(self, connection, path):
        super().__init__()
        self.connection = connection
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        if self.connection.is_writer:
            with self.connection.alone():
                self.model.save(self.path)
            self.path.with_suffix(".epoch").write_text(str(epoch + 1))


class Killed(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def refusal(function, *arguments):
    """What it says that cannot work."""
    try:
        function(*arguments)
    except StoppedError as error:
        return str(error)
    return None


def main(folder, options, logical=1, end=None, refused_batch=None, setting=None):
    if logical > 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * logical,
        )
    options = Devices(**options)
    check_devices(options, BATCH)
    refused = refused_batch and refusal(connect, options, {"batch_size": refused_batch})
    connection = connect(options, {"batch_size": BATCH})
    if end == "silent":
        os.kill(os.getpid(), signal.SIGSTOP)
    connection.agree({"what all have": "the same"})
    if setting:
        refused = refusal(connection.agree, {"other": "equal", "setting": setting})
        print(refused, file=sys.stderr, flush=True)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(TRAIN + VALIDATION, 6, 6, 3)).astype("float32")
    labels = generator.integers(0, 3, TRAIN + VALIDATION)
    path = Path(folder) / "last.keras"
    resumes = path.exists()
    epoch = int(path.with_suffix(".epoch").read_text()) if resumes else 0
    with connection.scope():
        keras.utils.set_random_seed(1)
        # Under a MirroredStrategy each device normalizes and erases for itself.
        exact = keras.backend.backend() == "jax"
        model = keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.Conv2D(4, 3),
                *[Cutout(2), keras.layers.BatchNormalization()] * exact,
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=["accuracy"],
        )
        if resumes:
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
        norms = GradientNormCallback()
        validation = batches(images[TRAIN:], labels[TRAIN:], connection.shard)
        history = model.fit(
            batches(images[:TRAIN], labels[:TRAIN], connection.shard),
            epochs=EPOCHS,
            initial_epoch=epoch,
            shuffle=False,
            verbose=0,
            validation_data=connection.validation(validation, VALIDATION, BATCH),
            callbacks=[
                norms,
                Save(connection, path),
                *([Killed()] if end == "killed" else []),
            ],
        ).history
    local = connection.local_copy(model)
    connection.close()
    print(
        json.dumps(
            {
                "history": history,
                "norms": norms.norms.tolist(),
                "outputs": local.predict(images[TRAIN:], verbose=0).tolist(),
                "replicas": connection.replicas,
                "describe": connection.describe(),
                "refused": refused,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    try:
        main(**json.loads(sys.argv[1]))
    except (RefusedError, StoppedError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        # At the usual end JAX would wait for the host that was lost.
        os._exit(1)
