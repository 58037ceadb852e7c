"""Simulation 4: do skip connections keep gradients stronger, and does it pay?

Run it with `python examples/sim4_residual.py --preset quick`; `--help` lists the rest.
"""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import _backend  # noqa: F401  before anything that imports one
import keras
import numpy as np
import pandas as pd
from _sim4_data import IMAGE_SIZE, check_source, load_data
from _sim4_norms import CONDITION, KEY, measure_new_networks

from keras_residual import GradientNormCallback, PlainBlock, ResidualBlock
from keras_residual.experiments import (
    Aside,
    Hypothesis,
    Positive,
    Rate,
    RefusedError,
    Run,
    RunFolder,
    Share,
    Task,
    compare_hypotheses,
    parse_settings,
    run_experiment,
    run_main,
)
from keras_residual.experiments.training import (
    EpochTimer,
    ShuffledBatches,
    split,
    standardized,
)

DESCRIPTION = """\
Train a plain and a residual network that differ in the shortcuts alone, over several
seeds, and report whether shortcuts keep gradients stronger and raise the accuracy.

Both have a 3x3 convolution of stride 2 (which keeps the blocks at 16 x 16 pixels and
the price at a quarter), N blocks of two 3x3 convolutions at constant width, average
pooling and a dense layer: with 10 blocks about 60,000 parameters each, equal to each
other, and for one seed the same initial weights, data, split and order.

examples:
  python examples/sim4_residual.py --preset quick
  python examples/sim4_residual.py --blocks 2 5 10 20 --batch-norm both --out runs/depth
  python examples/sim4_residual.py --dataset cifar10 --data-dir ../shared/data/cifar10

The same command goes on where an interrupted run stopped. Presets: quick is 4 blocks,
4 epochs, 5 seeds; default is 10 blocks, 15 epochs, 10 seeds; full is the default with
2, 5, 10 and 20 blocks, with and without batch normalization.
"""

NETS = ("plain", "residual")
TRAINING_SHARE = 0.8
INITIAL_SEEDS = 3  # of the gradients before the first step


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """The settings of simulation 4.

    Args:
        dataset: synthetic, cifar10, tfds:<name>, or a folder: a local copy of CIFAR-10
            or one folder of 32x32 images per class
        data_dir: local copy for cifar10, or the folder of TensorFlow Datasets
        images: images used; 80 % of them train, 20 % validate
        strength: largest share of the pattern in a synthetic image, 0 to 1; 0.3 if
            not given
        blocks: blocks of each net; several numbers sweep the depth
        batch_norm: whether blocks have batch normalization
        seeds: number of seeds; each trains both nets
        epochs: epochs of each training
        width: channels of every block
        batch_size: images in a step
        record_every: steps between two records of the gradient norms
        learning_rate: of Adam
        threshold: accuracy that H4 counts the epochs to
        initial_blocks: blocks of the nets whose gradients are measured before any
            training
    """

    dataset: str = "synthetic"
    data_dir: Aside[Path | None] = None
    images: Positive = 2000
    strength: Share | None = None
    blocks: tuple[Positive, ...] = (10,)
    batch_norm: Literal["on", "off", "both"] = "on"
    seeds: Positive = 10
    epochs: Positive = 15
    width: Positive = 18
    batch_size: Positive = 32
    record_every: Positive = 10
    learning_rate: Rate = 0.001
    threshold: Share = 0.5
    initial_blocks: tuple[Positive, ...] = (10, 27)

    def checked(self) -> "Settings":
        if self.images < 10:
            raise RefusedError(
                f"argument --images must be 10 or more, not {self.images}"
            )
        if not self.blocks:
            raise RefusedError("argument --blocks: at least one number is needed")
        check_source(self.dataset, self.data_dir)
        if self.dataset != "synthetic" and self.strength is not None:
            raise RefusedError(
                f"argument --strength is for --dataset synthetic, not {self.dataset}"
            )
        super().checked()
        strength = 0.3 if self.strength is None else self.strength
        return self.replace(
            blocks=tuple(sorted(set(self.blocks))),
            strength=strength if self.dataset == "synthetic" else None,
        )


PRESETS = {
    "quick": Settings(
        out=Path("runs/sim4-quick"),
        blocks=(4,),
        seeds=5,
        epochs=4,
        images=800,
        initial_blocks=(27,),
    ),
    "default": Settings(out=Path("runs/sim4-default")),
    "full": Settings(
        out=Path("runs/sim4-full"), blocks=(2, 5, 10, 20), batch_norm="both"
    ),
}


def build_network(
    net: str, blocks: int, width: int, batch_norm: bool, num_classes: int
) -> keras.Model:
    """Blocks of constant width: every shortcut is an identity, so both nets are equal
    in parameters and, for one seed, in initial weights."""
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


def train(arguments: Mapping[str, Any], shared: Any) -> Any:
    """Trains one net with one seed, in a worker process."""
    seed = arguments["seed"]
    if "net" not in arguments:
        return measure_new_networks(build_network, NETS, seed, shared)
    start = time.perf_counter()
    images, labels, num_classes, settings = shared
    chosen, held_out = split(len(images), TRAINING_SHARE, seed)
    train_images, validation_images = standardized(images[chosen], images[held_out])

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_network(
        arguments["net"],
        arguments["blocks"],
        settings.width,
        arguments["batch_norm"] == "on",
        num_classes,
    )
    model.compile(
        keras.optimizers.Adam(settings.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # For so few steps compiling with XLA costs more than it saves; JAX needs it.
        jit_compile=keras.config.backend() == "jax",
    )
    # TensorFlow traces a step twice in which the optimizer makes its variables.
    model.optimizer.build(model.trainable_variables)
    gradients = GradientNormCallback(every=settings.record_every)
    batches = ShuffledBatches(
        train_images, labels[chosen], batch_size=settings.batch_size, seed=seed
    )
    fitted = model.fit(
        batches,
        epochs=settings.epochs,
        validation_data=(validation_images, labels[held_out]),
        validation_batch_size=500,
        callbacks=[EpochTimer(), gradients],
        verbose=0,
    )
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    history.insert(1, "steps", len(batches))
    diverged = not np.isfinite(history[["loss", "val_loss"]].iloc[-1]).all()
    accuracy = history["val_accuracy"]
    reached = history["epoch"][accuracy >= settings.threshold]
    result = {
        **arguments,
        "accuracy": math.nan if diverged else float(accuracy.iloc[-1]),
        "best_accuracy": math.nan if diverged else float(accuracy.max()),
        "epochs_to_threshold": int(reached.iloc[0]) if len(reached) else None,
        "diverged": diverged,
        "parameters": sum(
            math.prod(weight.shape) for weight in model.trainable_weights
        ),
        "seconds": round(time.perf_counter() - start, 3),
    }
    norms = gradients.to_frame().reset_index()
    return result, {"history.csv": history, "gradient_norms.csv": norms}


def make_tasks(settings: Settings) -> list[Task]:
    """Both nets of a seed follow each other, so that a report can start early."""
    measured = [
        Task(f"initialization-seed{seed:03d}", {"seed": seed})
        for seed in range(min(INITIAL_SEEDS, settings.seeds))
        if settings.initial_blocks
    ]
    conditions = (
        ["on", "off"] if settings.batch_norm == "both" else [settings.batch_norm]
    )
    return measured + [
        Task(
            f"{net}-blocks{blocks:03d}-bn_{batch_norm}-seed{seed:03d}",
            {"net": net, "blocks": blocks, "batch_norm": batch_norm, "seed": seed},
            weight=blocks + 1,
        )
        for seed in range(settings.seeds)
        for batch_norm in conditions
        for blocks in settings.blocks
        for net in NETS
    ]


# Name, claim, measure, the net whose measure is claimed to be larger, and the unit.
CLAIMS = (
    (
        "H1a",
        "The gradient at the first block is larger in the residual net",
        *("log_first", "residual", "factor"),
    ),
    (
        "H1b",
        "Without shortcuts the gradient changes more over the depth of the blocks",
        *("drift", "plain", "factor"),
    ),
    (
        "H2",
        "The residual net ends with the higher validation accuracy",
        *("accuracy", "residual", "percent"),
    ),
    (
        "H4",
        "The plain net needs more epochs to the stated accuracy",
        *("rank", "plain", "rank"),
    ),
    (
        "H5",
        "The validation loss of the plain net fluctuates more from epoch to epoch",
        *("log_fluctuation", "plain", "factor"),
    ),
)


def test_claims(
    results: pd.DataFrame, scales: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """One row for each condition and claim, with a verdict in words.

    Args:
        results: One row for each training.
        scales: Its gradient norms at both ends of the blocks: `gradient_scales`.
        history: One row for each training and epoch.
    """
    # Of a loss that falls steadily all changes are alike: it does not fluctuate.
    changes = history.groupby(KEY)["val_loss"].agg(lambda loss: loss.diff().std())
    frame = results.merge(scales, on=KEY)
    frame = frame.merge(changes.rename("fluctuation").reset_index(), on=KEY)
    with np.errstate(divide="ignore"):
        frame["log_fluctuation"] = np.log10(frame["fluctuation"])
    frame["log_first"] = np.log10(frame["first_kernel"])
    frame["drift"] = np.log10(frame["first_kernel"] / frame["last_kernel"]).abs()
    frame["late"] = frame["epochs_to_threshold"].fillna(math.inf)
    rows: list[dict[str, Any]] = []
    for (blocks, batch_norm), group in frame.groupby(CONDITION, sort=False):
        # A net that never arrives is later than all others; one that diverged has no
        # outcome at all.
        rank = group["late"].rank().where(group["accuracy"].notna())
        group = group.assign(rank=rank)
        family = []
        for name, claim, measure, larger, unit in CLAIMS:
            pairs = group.pivot(index="seed", columns="net", values=measure)
            (smaller,) = set(NETS) - {larger}
            pairs = pairs.reindex(columns=NETS)  # an unfinished run may lack one
            shown = unit == "rank" and (epochs(group, larger), epochs(group, smaller))
            family.append(
                Hypothesis(name, claim, pairs, larger, smaller, unit, shown or None)
            )
        condition = {"blocks": blocks, "batch_norm": batch_norm}
        rows += [{**condition, **row} for row in compare_hypotheses(family)]
    return pd.DataFrame(rows)


def epochs(group: pd.DataFrame, net: str) -> str:
    """The median of the epochs to the threshold, in words."""
    median = group.loc[group["net"] == net, "late"].median()
    return f"{median:g} epochs" if math.isfinite(median) else "never"


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "sim4_residual.py", DESCRIPTION, arguments)
    images, labels, names = load_data(settings)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    found = {"classes": names, "data_sha256": digest}
    folder = RunFolder(settings.out, {**settings.identity(), **found})
    tasks = make_tasks(settings)

    def report() -> Path:
        from _sim4_report import write_sim4_report

        quick = settings.preset == "quick"
        return write_sim4_report(folder, tasks, test_claims, quick)

    shared = (images, labels, len(names), settings)
    run_experiment(settings, folder, tasks, train, shared, report)


if __name__ == "__main__":
    run_main(main, "sim4_residual.py")
