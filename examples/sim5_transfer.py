"""Simulation 5: what is transfer learning worth, and with how few images?

Run it with `python examples/sim5_transfer.py --preset quick`; `--help` lists the rest.
"""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import _backend  # noqa: F401  before anything that imports one
import keras
import numpy as np
import pandas as pd
from _sim5_networks import (
    PHOTO_SIZE,
    WEIGHTS,
    baseline,
    first_maps,
    resolve_source,
    train_source,
    transfer,
    warn_of_small_images,
)

from keras_residual import datasets
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
)
from keras_residual.experiments.hypotheses import Claim, compare_claims
from keras_residual.experiments.run_folder import digest, stored_settings
from keras_residual.experiments.settings import Bounds, Folder, refuse
from keras_residual.experiments.tasks import refusing
from keras_residual.experiments.training import (
    ValidationTimer,
    compile_classifier,
    fit_classifier,
    stratified_split,
    trainable_parameters,
)

DESCRIPTION = """\
Train a classifier of few images in three ways, over several seeds and amounts of data,
and report what transfer learning is worth:

  scratch     three convolutions (32, 64, 128), average pooling, a dense layer of 512
  frozen      a pretrained backbone, of which nothing trains, and a dense layer of 128
  fine-tuned  the same, and the last 20 layers of the backbone train

60 % of the images train, 20 % validate, 20 % test. Each seed draws its own split; the
three ways of a seed share it. A smaller amount of data is a part of the larger one.

examples:
  python examples/sim5_transfer.py --preset quick
  python examples/sim5_transfer.py --data-dir photos --backbone MobileNetV2
  python examples/sim5_transfer.py --data-dir photos --backbone MobileNetV2 \\
      --weights mobilenet_v2.weights.h5
  python examples/sim5_transfer.py --dataset tfds:cats_vs_dogs --source generated

Without --weights and --source, the weights of ImageNet are downloaded. If that fails,
the run says so and first trains the backbone on generated images, as the preset quick
does. The same command resumes an interrupted run.
"""

APPROACHES = ("scratch", "frozen", "fine-tuned")
# The modes of TransferModel; the baseline is no such model.
MODES = {"frozen": "feature_extraction", "fine-tuned": "fine_tuning"}
KEY = ("approach", "share", "seed")
SMALLEST_BATCH = 8
SOURCE = "source"
STATES = ".states"  # of the source's training
SYNTHETIC_SIZES = {"quick": 48, "default": 64}
TenOrMore = Annotated[int, Bounds(10, math.inf, "10 or more")]


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """The settings of simulation 5.

    Args:
        dataset: synthetic (the default: noise tinted warm or cold) or tfds:<name>, such
            as tfds:cats_vs_dogs
        data_dir: folder of photos: one folder per class, or files named cat.0.jpg,
            dog.0.jpg; with tfds:<name> the folder of TensorFlow Datasets
        per_class: images of each class
        image_size: height and width in pixels; if not given, 160 for photos in every
            preset, 64 for synthetic images (quick: 48)
        strength: largest share of the tint in a synthetic image, 0 to 1
        backbone: a network of keras.applications, or resnet18 and so on of this library
        weights: imagenet, or a file of the backbone's weights, with or without its top
        source: train the backbone first, on generated shapes and textures
        source_images: generated images; 90 % of them train
        source_classes: classes of shapes and textures, at most 50
        source_image_size: their height and width in pixels
        source_epochs: epochs of that training
        seeds: number of seeds
        shares: shares of the training images to train with
        epochs: epochs of each way: scratch, frozen, fine-tuned
        batch_size: images in a step with all training images; with fewer of them
            smaller in proportion, but at least 8
        learning_rate: of Adam, from scratch and with the backbone frozen
        fine_tuning_rate: of Adam, for fine-tuning
    """

    dataset: str | None = None
    data_dir: Aside[Folder | None] = None
    per_class: TenOrMore = 500  # two of each to validate and to test
    image_size: Annotated[int, Bounds(8, math.inf, "8 or more")] | None = None
    strength: Share | None = None
    backbone: str = "ResNet50"
    weights: Aside[str | None] = None
    source: Aside[Literal["generated"] | None] = None
    source_images: Aside[TenOrMore] = 20000  # a tenth is held out
    source_classes: Aside[Annotated[int, Bounds(2, 50, "2 to 50")]] = 50
    source_image_size: Aside[Positive] = 64
    source_epochs: Aside[Positive] = 5
    seeds: Positive = 7
    shares: tuple[
        Annotated[float, Bounds(0, 1, "above 0, and at most 1", open=True)], ...
    ] = (0.05, 0.1, 0.25, 0.5, 1.0)
    epochs: tuple[Positive, Positive, Positive] = (20, 10, 12)
    batch_size: Positive = 32
    learning_rate: Rate = 0.001
    fine_tuning_rate: Rate = 0.0001

    def checked(self) -> "Settings":
        dataset = self.dataset or ("synthetic" if self.data_dir is None else "photos")
        synthetic = dataset == "synthetic"
        known = synthetic or dataset.startswith("tfds:") or self.dataset is None
        refuse(
            {
                f"unknown dataset {dataset!r}: it must be synthetic or tfds:<name>; a "
                "folder of photos is given by --data-dir": not known,
                "--data-dir is for photos, not for --dataset synthetic": (
                    synthetic and self.data_dir is not None
                ),
                "argument --strength is for --dataset synthetic, not for photos": (
                    not synthetic and self.strength is not None
                ),
                "argument --source: not allowed with argument --weights": (
                    self.weights is not None and self.source is not None
                ),
                f"--weights must be imagenet or a file, not {self.weights!r}": (
                    self.weights not in (None, "imagenet")
                    and not Path(str(self.weights)).is_file()
                ),
                "argument --shares: at least one is needed": not self.shares,
            }
        )
        super().checked()
        size = SYNTHETIC_SIZES[self.preset] if synthetic else PHOTO_SIZE
        quick = self.preset == "quick" and self.weights is None
        return self.replace(
            dataset=dataset,
            shares=tuple(sorted(set(self.shares))),
            source="generated" if quick else self.source,
            image_size=self.image_size or size,
        )


PRESETS = {
    "quick": Settings(
        out=Path("runs/sim5-quick"),
        backbone="resnet18",
        per_class=150,
        seeds=3,
        shares=(0.1, 1.0),
        epochs=(10, 10, 3),
        source_images=1500,
        source_classes=10,
        source_image_size=32,
        source_epochs=2,
    ),
    "default": Settings(out=Path("runs/sim5-default")),
}


def load_data(settings: Settings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As many images as asked for, equally many of each class, always the same ones."""
    size, data_dir = settings.image_size or PHOTO_SIZE, settings.data_dir
    if settings.dataset == "synthetic":
        tint: Any = {} if settings.strength is None else {"strength": settings.strength}
        number = 2 * settings.per_class
        return *datasets.tinted_images(number, size, **tint), ["warm", "cold"]
    source: Any = settings.dataset
    if source == "photos":
        source, data_dir = data_dir, None
    with refusing():
        return datasets.load_photos(
            source, image_size=size, per_class=settings.per_class, data_dir=data_dir
        )


def check_shares(labels: np.ndarray, shares: Sequence[float]) -> None:
    counts = [len(stratified_split(labels, share, 0)["train"]) for share in shares]
    words = ", ".join(
        f"{share:g} gives {n}" for share, n in zip(shares, counts, strict=True)
    )
    reason = "--shares must give different numbers of training images, but "
    refuse({f"{reason}{words}": len(set(counts)) < len(counts)})


def train(arguments: Mapping[str, Any], shared: Any) -> Any:
    """One training of a worker process: the source, or one approach."""
    images, labels, settings, run_folder, weights = shared
    if arguments["approach"] == SOURCE:
        return train_source(settings, run_folder / STATES / SOURCE)
    start = time.perf_counter()
    approach, share, seed = (arguments[name] for name in KEY)
    parts = stratified_split(labels, share, seed)
    data = {name: (images[chosen], labels[chosen]) for name, chosen in parts.items()}
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    size, num_classes = settings["image_size"], len(settings["classes"])
    if approach == "scratch":
        model = baseline(size, num_classes)
    else:
        if settings["source"] == "generated":
            weights = str(run_folder / "units" / SOURCE / WEIGHTS)
        mode, backbone = MODES[approach], settings["backbone"]
        model = transfer(mode, backbone, weights or "imagenet", size, num_classes)
    trained, seen = model, dict(data)
    timer = ValidationTimer()
    # The curves of smaller shares are not drawn, and validation would be most of them.
    validated = share == max(settings["shares"])
    if approach == "frozen":
        # One pass through the backbone serves all epochs: the head trains alone.
        trained = model.head
        cache = model.cache_features(*data["train"], verbose=0)
        seen["train"] = cache.features, cache.labels
        if validated:
            timer.on_test_begin()
            cache = model.cache_features(*data["validation"], verbose=0)
            seen["validation"] = cache.features, cache.labels
            timer.on_test_end()
    rate = "fine_tuning_rate" if approach == "fine-tuned" else "learning_rate"
    compile_classifier(trained, keras.optimizers.Adam(settings[rate]))
    history = fit_classifier(
        trained,
        seen["train"],
        seen["validation"] if validated else None,
        epochs=settings["epochs"][APPROACHES.index(approach)],
        # In every approach without the last batch where it is not full.
        batch_size=batch_size_for(share, settings["batch_size"]),
        seed=seed,
        callbacks=[timer],
    )
    seconds = time.perf_counter() - start - timer.seconds
    probabilities = model.predict(data["test"][0], batch_size=100, verbose=0)
    accuracy = accuracy_of(probabilities, data["test"][1])
    predictions = pd.DataFrame({"image": parts["test"], "label": data["test"][1]})
    for label in range(num_classes):
        predictions[f"probability_{label}"] = probabilities[:, label]
    best = int(history["val_accuracy"].argmax()) + 1 if validated else None
    result = {
        **arguments,
        "images": len(parts["train"]),
        "steps": int(trained.optimizer.iterations),
        "accuracy": accuracy,
        "diverged": math.isnan(accuracy),
        "epochs_to_best": best,
        "parameters": model.count_params(),
        "trainable_parameters": trainable_parameters(model),
        "seconds": round(seconds, 3),
    }
    files: dict[str, Any] = {"history.csv": history, "predictions.csv": predictions}
    # The first layers of a fine-tuned network are those of the frozen one.
    if approach != "fine-tuned" and seed == 0 and validated:
        files |= first_maps(model, data["test"][0][0])
    return result, files


def batch_size_for(share: float, most: int) -> int:
    """Images in a step: in proportion to the share, but not fewer than a few."""
    return max(min(SMALLEST_BATCH, most), round(most * share))


def accuracy_of(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images that are right; NaN if training diverged."""
    if not np.isfinite(probabilities).all():
        return math.nan
    return float(np.mean(probabilities.argmax(1) == labels))


# Of the accuracy on the test images.
CLAIMS = (
    Claim(
        *("H2a", "accuracy", "frozen", "scratch", "percent"),
        "Transfer beats training from scratch (frozen features, all training images)",
    ),
    Claim(
        *("H2b", "accuracy", "fine-tuned", "frozen", "percent"),
        "Fine-tuning beats feature extraction (all training images)",
    ),
    Claim(
        *("H2c", "accuracy", "frozen (10 % of the images)", "scratch", "percent"),
        "Transfer with a tenth of the training images beats training from scratch "
        "with all of them",
    ),
)


def test_claims(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim whose shares were run, with a verdict in words."""
    ways = results["approach"].where(
        results["share"] == 1,
        results["approach"]
        + (100 * results["share"]).map(" ({:g} % of the images)".format),
    )
    done = set(ways)
    claims = [claim for claim in CLAIMS if {claim.larger, claim.smaller} <= done]
    return compare_claims(claims, results.assign(way=ways), "way")


def make_tasks(settings: Mapping[str, Any]) -> list[Task]:
    """The source, if it is trained; then all of a seed, the most images first."""
    after = SOURCE if settings["source"] == "generated" else None
    tasks = []
    # Weights are about proportional to the time that a training takes.
    if after:
        effort = settings["source_images"] * settings["source_epochs"] / 100
        effort *= (settings["source_image_size"] / settings["image_size"]) ** 2
        tasks.append(Task(SOURCE, {"approach": SOURCE}, weight=effort))
    num_images = settings["per_class"] * len(settings["classes"]) / 100
    for seed in range(settings["seeds"]):
        for share in reversed(settings["shares"]):
            for approach, epochs in zip(APPROACHES, settings["epochs"], strict=True):
                passes = 1 if approach == "frozen" else epochs * share
                tasks.append(
                    Task(
                        f"{approach}-share{100 * share:g}-seed{seed:03d}",
                        {"approach": approach, "share": share, "seed": seed},
                        weight=1 + num_images * passes,
                        after=None if approach == "scratch" else after,
                    )
                )
    return tasks


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "sim5_transfer.py", DESCRIPTION, arguments)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    images, labels, names = load_data(settings)
    check_shares(labels, settings.shares)
    before = stored_settings(settings.out)
    with refusing():
        source = resolve_source(settings, len(names), before.get("source"))
    compared = {
        **settings.identity(),
        "source": source,
        "classes": names,
        "data_sha256": digest(images, labels),
    }
    if source == "generated":
        options = vars(settings).items()
        compared |= {name: value for name, value in options if "source_" in name}
    elif source == "file":
        compared["weights_sha256"] = digest(Path(str(settings.weights)).read_bytes())
    folder = RunFolder(settings.out, compared)
    if source != "generated":
        warn_of_small_images(compared["image_size"], compared["dataset"])
    tasks = make_tasks(compared)
    states = folder.path / STATES
    if not before and not settings.report_only:
        # The states of a run that was deleted, but for hidden files.
        shutil.rmtree(states, ignore_errors=True)

    def report() -> Path:
        from _sim5_report import write_sim5_report

        path = write_sim5_report(folder, tasks, images, settings.preset == "quick")
        if not settings.report_only:
            shutil.rmtree(states, ignore_errors=True)
        return path

    shared = (images, labels, compared, folder.path.resolve(), settings.weights)
    run_experiment(settings, folder, tasks, train, shared, report)


if __name__ == "__main__":
    run_main(main, "sim5_transfer.py")
