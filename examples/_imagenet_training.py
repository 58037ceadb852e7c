"""One training of the ImageNet comparison: optimizer, epochs, checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from _imagenet_images import TOP, batches

from keras_residual import GradientNormCallback, ImageNetFolder
from keras_residual.experiments import Checkpoints, say
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.epoch_record import EpochRecord
from keras_residual.experiments.run_folder import digest

NORMS = "gradient_norms.csv"
DIVERGED = "diverged.txt"


def compile_network(model: keras.Model, settings: Mapping[str, Any]) -> None:
    """Compiles the network by the settings, with top-1 and top-5 accuracy."""
    average: dict[str, Any] = {}
    if settings["ema_epochs"]:
        span = max(1.0, settings["ema_epochs"] * settings["steps_per_epoch"])
        average = {"use_ema": True, "ema_momentum": 1 - 1 / span}
    rate, decay = make_schedule(settings), settings["weight_decay"]
    optimizer: keras.optimizers.Optimizer
    if settings["optimizer"] == "adam":
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay or None, **average)
    else:
        momentum = settings["momentum"]
        optimizer = keras.optimizers.SGD(
            rate,
            momentum=momentum,
            nesterov=settings["nesterov"],
            # Keras subtracts the decay beside the gradient step. PyTorch adds it to the
            # gradient, where momentum multiplies it by 1 / (1 - momentum).
            weight_decay=decay / (1 - momentum) or None,
            **average,
        )
    if decay and not settings["decay_all"]:
        optimizer.exclude_from_weight_decay(
            [weight for weight in model.trainable_variables if len(weight.shape) < 2]
        )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings["label_smoothing"]
        ),
        # Samples that fill up the last batch for several devices have the weight 0.
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(
                min(TOP, model.output_shape[-1]), name="top5"
            ),
        ],
    )
    # With the scale of the loss that float16 needs around it, which is a state as well.
    model.optimizer.build(model.trainable_variables)


def make_schedule(settings: Mapping[str, Any]) -> Any:
    """The learning rate: a number, or a Keras schedule over the steps."""
    rate = settings["learning_rate"]
    steps = settings["epochs"] * settings["steps_per_epoch"]
    warmup = settings["warmup_epochs"] * settings["steps_per_epoch"]
    schedules = keras.optimizers.schedules
    if settings["schedule"] == "constant":
        return rate
    if settings["schedule"] == "steps":
        rates = [rate / 10**power for power in range(3)]
        return schedules.PiecewiseConstantDecay([steps // 3, 2 * steps // 3], rates)
    if not warmup:
        return schedules.CosineDecay(rate, steps)
    return schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup
    )


def fit(
    model: keras.Model,
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    seed: int,
    state: Path,
    connection: Connection,
    tensorboard: Path | None = None,
) -> tuple[list[dict[str, Any]], str]:
    """Trains to the end, from the last checkpoint on.

    Args:
        model: The network, compiled.
        data: Images with the splits "train" and "val".
        settings: Settings of the run.
        seed: Seed of the order of the images and of the crops.
        state: Folder of this training's checkpoints.
        connection: The devices.
        tensorboard: Folder of the TensorBoard summaries, or None.

    Returns:
        One row for each epoch; and why the training ended early, if it diverged.

    Raises:
        StoppedError: If the disk is full, or the last checkpoint damaged.
    """
    checkpoints = Checkpoints(state)
    with connection.scope():
        history = checkpoints.restore(model)
    first, epochs = len(history), settings["epochs"]
    # A digest: nobody would see the one setting that differs among all.
    text = json.dumps(settings, sort_keys=True, default=str)
    shown = digest(text.encode())[:12]
    connection.agree("settings", f"settings with the digest {shown}")
    # All hosts must read the same folder, or they would train separately.
    connection.agree("checkpoint", f"of {state.name} after epoch {first}")
    if (state / DIVERGED).is_file():
        return history, (state / DIVERGED).read_text("utf-8")
    if history:
        say(f"{state.name}: continues after epoch {first}")
    if first == epochs:
        if settings["ema_epochs"]:
            # `fit` does this at its end: the average is evaluated and kept.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return history, ""
    state.mkdir(parents=True, exist_ok=True)
    norms = None
    if settings["record_every"]:
        norms = GradientNormCallback(
            every=settings["record_every"],
            by="layer",
            filepath=state / NORMS if connection.is_writer else None,
        )
    size, steps = settings["batch_size"], settings["steps_per_epoch"]
    record = EpochRecord(
        *(checkpoints, history, size),
        monitor="val_top1",
        norms=norms,
        connection=connection,
    )
    callbacks: list[Any] = [record, norms] if norms is not None else [record]
    if settings["ema_epochs"]:
        # After the record, which keeps the best network at the end of a validation.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    if tensorboard is not None and connection.is_writer:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    crop, shard = settings["crop_area"], connection.shard
    training = batches(
        *(data, settings, "train", size),
        training=True,
        seed=seed,
        first_step=first * steps,
        shard=shard,
        crop_area=(crop, 1.0) if crop else None,
    )
    validation = batches(data, settings, "val", size, shard=shard)
    try:
        with connection.scope():
            model.fit(
                one_hot(training, model),
                initial_epoch=first,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=connection.validation(
                    one_hot(validation, model), data.num_images("val"), size
                ),
                callbacks=callbacks,
                shuffle=False,  # the images come in a random order
                verbose=0,
            )
    except FloatingPointError:
        if connection.is_writer:
            # Tells the one host that measures, and the next start.
            (state / DIVERGED).write_text(record.reason(), "utf-8")
        return history, record.reason()
    return history, ""


def one_hot(batches: Any, model: keras.Model) -> Any:
    """Labels as Keras's loss with label smoothing takes them."""
    import tensorflow as tf

    num_classes = model.output_shape[-1]
    return batches.map(lambda images, labels: (images, tf.one_hot(labels, num_classes)))
