"""Simulation 4: do skip connections keep gradients stronger, and does it pay?

Train a plain and a residual network that differ in the shortcuts alone, over several
seeds, and report whether shortcuts keep gradients stronger and raise the accuracy.

Both have a 3x3 convolution of stride 2 (which keeps the blocks at 16 x 16 pixels and
the price at a quarter), N blocks of two 3x3 convolutions at constant width, average
pooling and a dense layer: with 10 blocks about 60,000 parameters each, equal to each
other, and for one seed the same initial weights, data, split and order.

examples:
  python examples/sim4_residual.py --preset quick
  python examples/sim4_residual.py --blocks 2 5 10 20 --batch-norm both --out runs/depth
  python examples/sim4_residual.py --dataset cifar10 --seeds 30

The same command resumes an interrupted run. Presets: quick is 4 blocks, 4 epochs, 5
seeds; default is 10 blocks, 15 epochs, 10 seeds; full is the default with 2, 5, 10 and
20 blocks, with and without batch normalization.
"""

import itertools
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

# Holds for what Keras imports, because keras_residual is imported before Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_residual import (
    GradientNormCallback,
    PlainBlock,
    ResidualBlock,
    datasets,
    gradient_norms,
)
from keras_residual.experiments import (
    Aside,
    Positive,
    Rate,
    Run,
    RunFolder,
    Share,
    Task,
    parse_settings,
    run_experiment,
    run_main,
    training,
)
from keras_residual.experiments.hypotheses import Claim, compare_claims
from keras_residual.experiments.run_folder import digest
from keras_residual.experiments.settings import Bounds, Folder, refuse
from keras_residual.experiments.tasks import refusing

# isort: split
import keras
import numpy as np
import pandas as pd

BLOCKS = {"plain": PlainBlock, "residual": ResidualBlock}
NETS = tuple(BLOCKS)
# What makes one condition, and one training: columns of the tables.
CONDITION = ["blocks", "batch_norm"]
KEY = ["net", *CONDITION, "seed"]
IMAGE_SIZE = 32
TRAINING_SHARE = 0.8
INITIAL_SEEDS, INITIAL_IMAGES = 3, 32  # of the gradients before the first step


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """The settings of simulation 4; the comments are the help of the command line."""

    # synthetic, cifar10, tfds:<name>, or a folder: a local copy of CIFAR-10 or one
    # folder of 32x32 images per class
    dataset: str = "synthetic"
    # local copy for cifar10, or the folder of TensorFlow Datasets
    data_dir: Aside[Folder | None] = None
    # images used; 80 % of them train, 20 % validate
    images: Annotated[int, Bounds(10, math.inf, "10 or more")] = 2000
    # largest share of the pattern in a synthetic image; 0.3 if not given
    strength: Share | None = None
    # blocks of each net; several numbers sweep the depth
    blocks: tuple[Positive, ...] = (10,)
    # whether blocks have batch normalization
    batch_norm: Literal["on", "off", "both"] = "on"
    seeds: Positive = 10  # number of seeds; each trains both nets
    epochs: Positive = 15  # epochs of each training
    width: Positive = 18  # channels of every block
    batch_size: Positive = 32  # images in a step
    record_every: Positive = 10  # steps between two records of the gradient norms
    learning_rate: Rate = 0.001  # of Adam
    threshold: Share = 0.5  # accuracy to which H4 counts the epochs, from 0 to 1
    # blocks of the nets that are measured before any training
    initial_blocks: tuple[Positive, ...] = (10, 27)

    def checked(self) -> "Settings":
        data, synthetic = self.dataset, self.dataset == "synthetic"
        stored = data == "cifar10" or data.startswith("tfds:")
        refuse(
            {
                f"unknown dataset {data!r}: it must be synthetic, cifar10, tfds:<name> "
                "or an existing folder": not (
                    synthetic or stored or Path(data).is_dir()
                ),
                "--data-dir is for cifar10 and tfds:<name>, not for --dataset "
                f"{data}": self.data_dir is not None and not stored,
                f"argument --strength is for --dataset synthetic, not {data}": (
                    not synthetic and self.strength is not None
                ),
                "argument --blocks: at least one number is needed": not self.blocks,
            }
        )
        super().checked()
        strength = 0.3 if synthetic and self.strength is None else self.strength
        return self.replace(blocks=tuple(sorted(set(self.blocks))), strength=strength)


PRESETS = {
    "quick": Settings(
        out=Path("runs/sim4-quick"),
        blocks=(4,),
        seeds=5,
        epochs=4,
        images=640,
        initial_blocks=(27,),
    ),
    "default": Settings(out=Path("runs/sim4-default")),
    "full": Settings(
        out=Path("runs/sim4-full"), blocks=(2, 5, 10, 20), batch_norm="both"
    ),
}


def load_data(settings: Settings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As many images as asked for: all classes alike, always the same ones."""
    if settings.dataset == "synthetic":
        images, labels = datasets.sinusoid_images(
            settings.images, image_size=IMAGE_SIZE, strength=settings.strength or 0.0
        )
        return images, labels, [f"class {label}" for label in range(10)]
    with refusing():
        return datasets.load_images(
            settings.dataset,
            data_dir=settings.data_dir,
            image_size=IMAGE_SIZE,
            number=settings.images,
        )


def build_network(
    net: str, blocks: int, width: int, batch_norm: bool, num_classes: int
) -> keras.Model:
    """Blocks of constant width: every shortcut is an identity, so both nets are equal
    in parameters and, for one seed, in initial weights."""
    block = BLOCKS[net]
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


def loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(arguments: Mapping[str, Any], shared: Any) -> Any:
    """Trains one net with one seed, in a worker process."""
    if "net" not in arguments:
        return measure_new_networks(arguments["seed"], shared)
    start = time.perf_counter()
    net, blocks, batch_norm, seed = (arguments[name] for name in KEY)
    images, labels, num_classes, settings = shared
    chosen, held_out = training.split(len(images), TRAINING_SHARE, seed)
    train_images, validation_images = training.standardized(
        images[chosen], images[held_out]
    )

    training.begin_training(seed)
    model = build_network(net, blocks, settings.width, batch_norm == "on", num_classes)
    training.compile_classifier(
        model, keras.optimizers.Adam(settings.learning_rate), loss()
    )
    gradients = GradientNormCallback(every=settings.record_every)
    history = training.fit_classifier(
        model,
        (train_images, labels[chosen]),
        (validation_images, labels[held_out]),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=seed,
        callbacks=[gradients],
    )
    diverged = not np.isfinite(history[["loss", "val_loss"]].iloc[-1]).all()
    accuracy = history["val_accuracy"]
    reached = history["epoch"][accuracy >= settings.threshold]
    result = {
        **arguments,
        "accuracy": math.nan if diverged else float(accuracy.iloc[-1]),
        "best_accuracy": math.nan if diverged else float(accuracy.max()),
        "epochs_to_threshold": int(reached.iloc[0]) if len(reached) else None,
        "diverged": diverged,
        "parameters": training.trainable_parameters(model),
        "seconds": round(time.perf_counter() - start, 3),
    }
    norms = gradients.to_frame().reset_index()
    return result, {"history.csv": history, "gradient_norms.csv": norms}


def measure_new_networks(seed: int, shared: Any) -> Any:
    """The gradient norms of one batch before the first step: nothing is trained."""
    start = time.perf_counter()
    images, labels, num_classes, settings = shared
    batch, _ = training.standardized(images[:INITIAL_IMAGES], images[:1])
    rows = []
    for net, blocks, batch_norm in itertools.product(
        NETS, settings.initial_blocks, ("on", "off")
    ):
        training.begin_training(seed)
        with_bn = batch_norm == "on"
        model = build_network(net, blocks, settings.width, with_bn, num_classes)
        norms = gradient_norms(model, batch, labels[: len(batch)], loss=loss())
        rows += [(net, blocks, batch_norm, *pair) for pair in norms.items()]
    norms = pd.DataFrame(rows, columns=["net", *CONDITION, "path", "norm"])
    result = {"seed": seed, "seconds": round(time.perf_counter() - start, 3)}
    return result, {"initial_norms.csv": norms}


def make_tasks(settings: Settings) -> list[Task]:
    """Both nets of a seed follow each other, so that a report can start early."""
    measured = [
        Task(f"initialization-seed{seed:03d}", {"seed": seed})
        for seed in range(min(INITIAL_SEEDS, settings.seeds))
        if settings.initial_blocks
    ]
    norms = {"both": ("on", "off")}.get(settings.batch_norm, (settings.batch_norm,))
    trained = [
        Task(
            f"{net}-blocks{blocks:03d}-bn_{batch_norm}-seed{seed:03d}",
            {"net": net, "blocks": blocks, "batch_norm": batch_norm, "seed": seed},
            weight=blocks + 1,
        )
        for seed in range(settings.seeds)
        for batch_norm in norms
        for blocks in settings.blocks
        for net in NETS
    ]
    # On JAX, those that are measured later find their networks compiled.
    return [*measured[:1], *trained, *measured[1:]]


CLAIMS = (
    Claim(
        *("H1a", "log_first", "residual", "plain", "factor"),
        "The gradient at the first block is larger in the residual net",
    ),
    Claim(
        *("H1b", "drift", "plain", "residual", "factor"),
        "Without shortcuts the gradient changes more over the depth of the blocks",
    ),
    Claim(
        *("H2", "accuracy", "residual", "plain", "percent"),
        "The residual net ends with the higher validation accuracy",
    ),
    Claim(
        *("H4", "rank", "plain", "residual", "rank"),
        "The plain net needs more epochs to the stated accuracy",
    ),
    Claim(
        *("H5", "log_fluctuation", "plain", "residual", "factor"),
        "The validation loss of the plain net fluctuates more from epoch to epoch",
    ),
)


def test_claims(
    results: pd.DataFrame, scales: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """One row for each condition and claim; `gradient_scales` gives the scales."""
    # Of a loss that falls steadily all changes are alike: it does not fluctuate.
    changes = history.groupby(KEY)["val_loss"].agg(lambda loss: loss.diff().std())
    frame = results.merge(scales, on=KEY).set_index(KEY)
    with np.errstate(divide="ignore"):
        frame["log_fluctuation"] = np.log10(changes)
    frame["log_first"] = np.log10(frame["first_kernel"])
    frame["drift"] = np.log10(frame["first_kernel"] / frame["last_kernel"]).abs()
    frame["late"] = frame["epochs_to_threshold"].fillna(math.inf)
    tested = []
    for condition, group in frame.reset_index().groupby(CONDITION, sort=False):
        # A net that never arrives is later than all others; one that diverged has no
        # outcome at all.
        rank = group["late"].rank().where(group["accuracy"].notna())
        late = group.groupby("net")["late"].median().reindex(NETS, fill_value=math.inf)
        words = late.map("{:g} epochs".format).where(late < math.inf, "never")
        shown = {"H4": words.to_dict()}
        rows = compare_claims(CLAIMS, group.assign(rank=rank), "net", shown)
        key = dict(zip(CONDITION, condition, strict=True))
        tested.append(pd.DataFrame({**key, **rows}))
    return pd.concat(tested, ignore_index=True)


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "sim4_residual.py", str(__doc__), arguments)
    images, labels, names = load_data(settings)
    found = {"classes": names, "data_sha256": digest(images, labels)}
    folder = RunFolder(settings.out, {**settings.identity(), **found})
    tasks = make_tasks(settings)

    def report() -> Path:
        from _sim4_report import write_sim4_report

        return write_sim4_report(folder, tasks, settings.preset == "quick")

    shared = (images, labels, len(names), settings)
    run_experiment(settings, folder, tasks, train, shared, report)


if __name__ == "__main__":
    run_main(main, "sim4_residual.py")
