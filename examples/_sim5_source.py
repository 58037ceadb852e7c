"""The generated source task of simulation 5: a backbone learns shapes and textures."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_residual import TransferModel
from keras_residual.datasets import shape_texture_images
from keras_residual.experiments import Checkpoints, StoppedError, say
from keras_residual.experiments.training import ShuffledBatches

WEIGHTS = "backbone.weights.h5"
TRAINING_SHARE = 0.9
BATCH_SIZE = 32
LEARNING_RATE = 0.001
# keras.applications sets up to 0.999, for trainings a hundred times as long: here the
# moving statistics would end far from those of the batches.
BATCH_NORM_MOMENTUM = 0.9


def train_source(settings: Mapping[str, Any], partial: Path) -> Any:
    """Trains the backbone; the weights are among the files of the output.

    Args:
        settings: Those of the run.
        partial: Folder for the state after each epoch, from which a training that was
            killed goes on.
    """
    images, labels = shape_texture_images(
        settings["source_images"],
        settings["source_classes"],
        settings["source_image_size"],
    )
    border = round(TRAINING_SHARE * len(images))
    batches = ShuffledBatches(images[:border], labels[:border], BATCH_SIZE, seed=0)
    epochs = settings["source_epochs"]

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = _make_model(settings, steps=epochs * len(batches))
    checkpoints = Checkpoints(partial)
    history = checkpoints.restore(model)
    for epoch in range(len(history), epochs):
        epoch_start = time.perf_counter()
        batches.begin_epoch(epoch)
        _begin_dropout(model, epoch)
        fitted = model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=(images[border:], labels[border:]),
            verbose=0,
        )
        logs = {name: values[0] for name, values in fitted.history.items()}
        seconds = time.perf_counter() - epoch_start
        history.append({"epoch": epoch + 1, **logs, "seconds": round(seconds, 3)})
        if not np.isfinite(logs["loss"]):
            raise StoppedError(
                f"the loss is not finite in epoch {epoch + 1}: without a source there "
                "is no transfer. Try another --backbone or more --source-images"
            )
        checkpoints.save(model, history)
        say(
            f"source: epoch {epoch + 1} of {epochs}, accuracy "
            f"{logs['val_accuracy']:.3f}, {seconds:.0f} s; about "
            f"{seconds * (epochs - epoch - 1) / 60:.0f} min left"
        )
    accuracy = history[-1]["val_accuracy"]
    # Those of a process that was killed as well.
    seconds = sum(row["seconds"] for row in history)
    with tempfile.TemporaryDirectory() as folder:
        model.backbone.save_weights(Path(folder) / WEIGHTS)
        weights = (Path(folder) / WEIGHTS).read_bytes()
    result = {"approach": "source", "accuracy": accuracy, "seconds": round(seconds, 3)}
    return result, {"history.csv": pd.DataFrame(history), WEIGHTS: weights}


def _make_model(settings, steps):
    size = settings["source_image_size"]
    model = TransferModel(
        settings["backbone"],
        settings["source_classes"],
        mode="scratch",
        hidden_units=None,
        input_shape=(size, size, 3),
    )
    for layer in model.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=keras.config.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _begin_dropout(model, epoch):
    """Random numbers by the epoch alone: no file keeps how many were drawn."""
    for index, layer in enumerate(model.backbone.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([index, epoch])
