"""Simulation 4: do skip connections keep gradients stronger, and does it pay?

Run it with `python examples/sim4_residual.py --preset quick`; `--help` lists the rest.
"""

import hashlib
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from _experiment import RefusedError, RunFolder, run_main, run_tasks
from _sim4_options import parse_options
from _workers import Output, Task, quiet_import

# Backends take seconds to import: whoever asks for help shall not wait for them.
if TYPE_CHECKING:
    import argparse

    import keras
    import numpy as np

NETS = ("plain", "residual")
IMAGE_SIZE = 32
TRAINING_SHARE = 0.8


def build_network(
    net: str, blocks: int, width: int, batch_norm: bool, num_classes: int
) -> "keras.Model":
    """Blocks of constant width: every shortcut is an identity, so both nets are equal
    in parameters and, for one seed, in initial weights."""
    import keras

    from keras_residual import PlainBlock, ResidualBlock

    block = {"plain": PlainBlock, "residual": ResidualBlock}[net]
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="images")
    x = keras.layers.Conv2D(
        width,
        3,
        strides=2,
        padding="same",
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name="stem",
    )(inputs)
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    for index in range(blocks):
        x = block(width, use_batch_norm=batch_norm, name=f"block{index + 1:02d}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, logits, name=net)


def train(arguments: Mapping[str, Any], shared: Any) -> Output:
    """Trains one net with one seed, in a worker process."""
    import keras
    import pandas as pd
    from _training import EpochTimer, ShuffledBatches, split, standardized

    from keras_residual import GradientNormCallback

    start = time.perf_counter()
    images, labels, num_classes, settings = shared
    seed = arguments["seed"]
    chosen, held_out = split(len(images), TRAINING_SHARE, seed)
    train_images, validation_images = standardized(images[chosen], images[held_out])

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_network(
        arguments["net"],
        arguments["blocks"],
        settings["width"],
        arguments["batch_norm"] == "on",
        num_classes,
    )
    model.compile(
        keras.optimizers.Adam(settings["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # For so few steps compiling with XLA costs more than it saves; JAX needs it.
        jit_compile=keras.config.backend() == "jax",
    )
    gradients = GradientNormCallback(every=settings["record_every"])
    fitted = model.fit(
        ShuffledBatches(
            train_images, labels[chosen], batch_size=settings["batch_size"], seed=seed
        ),
        epochs=settings["epochs"],
        validation_data=(validation_images, labels[held_out]),
        validation_batch_size=500,
        callbacks=[EpochTimer(), gradients],
        verbose=0,
    )
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    accuracy = history["val_accuracy"]
    reached = history["epoch"][accuracy >= settings["threshold"]]
    result = {
        **arguments,
        "accuracy": float(accuracy.iloc[-1]),
        "best_accuracy": float(accuracy.max()),
        "epochs_to_threshold": int(reached.iloc[0]) if len(reached) else None,
        "parameters": sum(
            math.prod(weight.shape) for weight in model.trainable_weights
        ),
        "seconds": round(time.perf_counter() - start, 3),
    }
    norms = gradients.to_frame().reset_index()
    return result, {"history.csv": history, "gradient_norms.csv": norms}


def load_data(
    options: "argparse.Namespace",
) -> tuple["np.ndarray", "np.ndarray", list[str]]:
    """As many images as asked for: all classes alike, always the same ones."""
    from keras_residual import datasets

    if options.dataset == "synthetic":
        images, labels = datasets.sinusoid_images(
            options.images, image_size=IMAGE_SIZE, strength=options.strength
        )
        return images, labels, [f"class {label}" for label in range(10)]
    try:
        images, labels, names = datasets.load_images(
            options.dataset, data_dir=options.data_dir, image_size=IMAGE_SIZE
        )
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from error
    if options.images > len(images):
        raise RefusedError(
            f"{options.dataset} has {len(images)} images, fewer than the "
            f"{options.images} of --images"
        )
    chosen = balanced_choice(labels, len(names), options.images)
    return images[chosen], labels[chosen], names


def balanced_choice(
    labels: "np.ndarray", num_classes: int, num_images: int
) -> "np.ndarray":
    """Indices of images in a fixed random order in which the classes take turns."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(order), np.int64)
    for label in range(num_classes):
        places = np.flatnonzero(labels[order] == label)
        turn[places] = np.arange(len(places))
    return order[np.argsort(turn, kind="stable")][:num_images]


def make_tasks(options: "argparse.Namespace") -> list[Task]:
    """Both nets of a seed follow each other, so that a report can start early."""
    conditions = {"both": ["on", "off"]}.get(options.batch_norm, [options.batch_norm])
    return [
        Task(
            f"{net}-blocks{blocks:03d}-bn_{batch_norm}-seed{seed:03d}",
            {"net": net, "blocks": blocks, "batch_norm": batch_norm, "seed": seed},
            weight=blocks + 1,
        )
        for seed in range(options.seeds)
        for batch_norm in conditions
        for blocks in options.blocks
        for net in NETS
    ]


def main() -> None:
    options = parse_options()
    with quiet_import():
        import keras  # noqa: F401
    images, labels, names = load_data(options)
    tasks = make_tasks(options)
    settings = {
        "dataset": options.dataset,
        "data_sha256": hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
        "images": options.images,
        "classes": names,
        "strength": getattr(options, "strength", None),
        "blocks": options.blocks,
        "batch_norm": options.batch_norm,
        "seeds": list(range(options.seeds)),
        "epochs": options.epochs,
        "width": options.width,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "record_every": options.record_every,
        "threshold": options.threshold,
    }
    folder = RunFolder(options.out, settings)
    shared = (images, labels, len(names), settings)
    with folder.locked():
        folder.create(options.jobs)
        run_tasks(folder, tasks, train, shared, options.jobs)
        from _sim4_report import write_sim4_report

        print(f"Report: {write_sim4_report(folder, tasks, settings)}")


if __name__ == "__main__":
    run_main(main, "sim4_residual.py")
