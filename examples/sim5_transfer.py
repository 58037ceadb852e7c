"""Simulation 5: what is transfer learning worth, and with how few images?

Run it with `python examples/sim5_transfer.py --preset quick`; `--help` lists the rest.
"""

import hashlib
import io
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import _backend  # noqa: F401  before anything that imports one
import keras
import numpy as np
import pandas as pd
from _sim5_data import (
    PHOTO_SIZE,
    check_shares,
    load_data,
    split,
    warn_of_small_images,
)
from _sim5_networks import baseline, first_maps, resolve_source, transfer
from _sim5_source import WEIGHTS, train_source

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
from keras_residual.experiments.run_folder import stored_settings
from keras_residual.experiments.training import ShuffledBatches, ValidationTimer

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

Without --weights and --source, the weights of ImageNet are downloaded; where they
cannot be had, the run says so and takes the generated source. The preset quick takes
that one at once. The same command goes on where an interrupted run stopped.
"""

APPROACHES = ("scratch", "frozen", "fine-tuned")
# The modes of TransferModel; the baseline is no such model.
MODES = {"frozen": "feature_extraction", "fine-tuned": "fine_tuning"}
SMALLEST_BATCH = 8
SOURCE = "source"
PARTIAL = ".source"  # the state of the source's training
SYNTHETIC_SIZES = {"quick": 48, "default": 64}


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
    data_dir: Aside[Path | None] = None
    per_class: Positive = 500
    image_size: Positive | None = None
    strength: Share | None = None
    backbone: str = "ResNet50"
    weights: Aside[str | None] = None
    source: Aside[Literal["generated"] | None] = None
    source_images: Aside[Positive] = 20000
    source_classes: Aside[Positive] = 50
    source_image_size: Aside[Positive] = 64
    source_epochs: Aside[Positive] = 5
    seeds: Positive = 7
    shares: tuple[Share, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    epochs: tuple[Positive, Positive, Positive] = (20, 10, 12)
    batch_size: Positive = 32
    learning_rate: Rate = 0.001
    fine_tuning_rate: Rate = 0.0001

    def checked(self) -> "Settings":
        dataset = self.dataset or ("synthetic" if self.data_dir is None else "photos")
        synthetic = dataset == "synthetic"
        shares = tuple(sorted(set(self.shares)))
        file = self.weights not in (None, "imagenet")
        quick = self.preset == "quick" and self.weights is None
        for wrong, message in (
            (
                self.dataset not in (None, "synthetic")
                and not dataset.startswith("tfds:"),
                f"unknown dataset {dataset!r}: it must be synthetic or tfds:<name>; a "
                "folder of photos is given by --data-dir",
            ),
            (
                synthetic and self.data_dir is not None,
                "--data-dir is for photos, not for --dataset synthetic",
            ),
            (
                self.data_dir is not None and not self.data_dir.is_dir(),
                f"the folder --data-dir {self.data_dir} does not exist or is no folder",
            ),
            (
                not synthetic and self.strength is not None,
                "argument --strength is for --dataset synthetic, not for photos",
            ),
            (
                self.weights is not None and self.source is not None,
                "argument --source: not allowed with argument --weights",
            ),
            (
                file and not Path(str(self.weights)).is_file(),
                f"--weights must be imagenet or a file, not {self.weights!r}",
            ),
            (
                not shares or shares[0] == 0,
                "argument --shares: must be above 0, not '0'",
            ),
            (
                self.per_class < 10,  # two of each to validate and to test
                f"argument --per-class must be 10 or more, not {self.per_class}",
            ),
            (
                self.source_images < 10,  # one of them is held out
                "argument --source-images must be 10 or more, not "
                f"{self.source_images}",
            ),
            (
                not 2 <= self.source_classes <= 50,
                f"argument --source-classes must be 2 to 50, not {self.source_classes}",
            ),
        ):
            if wrong:
                raise RefusedError(message)
        super().checked()
        size = SYNTHETIC_SIZES[self.preset] if synthetic else PHOTO_SIZE
        return self.replace(
            dataset=dataset,
            shares=shares,
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
        epochs=(10, 10, 4),
        source_images=2000,
        source_classes=10,
        source_image_size=32,
        source_epochs=2,
    ),
    "default": Settings(out=Path("runs/sim5-default")),
}


def train(arguments: Mapping[str, Any], shared: Any) -> Any:
    """One training of a worker process: the source, or one approach."""
    images, labels, settings, run_folder, weights = shared
    if arguments["approach"] == SOURCE:
        return train_source(settings, run_folder / PARTIAL)
    weights = weights_of(settings, run_folder, weights)
    return train_approach(arguments, images, labels, settings, weights)


def train_approach(
    arguments: Mapping[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    settings: Mapping[str, Any],
    weights: str,
) -> Any:
    """Trains one approach with one seed and one share of the training images."""
    approach, seed = arguments["approach"], arguments["seed"]
    parts = split(labels, arguments["share"], seed)
    batch_size = batch_size_for(arguments["share"], settings["batch_size"])
    epochs = dict(zip(APPROACHES, settings["epochs"], strict=True))[approach]

    start = time.perf_counter()
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    size, num_classes = settings["image_size"], len(settings["classes"])
    if approach == "scratch":
        model = baseline(size, num_classes)
    else:
        mode = MODES[approach]
        model = transfer(mode, settings["backbone"], weights, size, num_classes)
    rate = "fine_tuning_rate" if approach == "fine-tuned" else "learning_rate"
    data = {name: (images[chosen], labels[chosen]) for name, chosen in parts.items()}
    trained, seen = model, dict(data)
    timer = ValidationTimer()
    # The curves of smaller shares are not drawn, and validation would be most of them.
    validated = arguments["share"] == max(settings["shares"])
    if approach == "frozen":
        # One pass through the backbone serves all epochs: the head trains alone.
        trained = model.head
        seen["train"] = features_of(model, data["train"])
        if validated:
            timer.on_test_begin()
            seen["validation"] = features_of(model, data["validation"])
            timer.on_test_end()
    trained.compile(
        keras.optimizers.Adam(settings[rate]),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=keras.config.backend() == "jax",
    )
    # TensorFlow traces a step twice in which the optimizer makes its variables.
    trained.optimizer.build(trained.trainable_variables)
    fitted = trained.fit(
        # In every approach without the last batch where it is not full.
        ShuffledBatches(*seen["train"], batch_size=batch_size, seed=seed),
        epochs=epochs,
        validation_data=seen["validation"] if validated else None,
        callbacks=[timer],
        verbose=0,
    )
    seconds = time.perf_counter() - start - timer.seconds
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    probabilities = model.predict(data["test"][0], batch_size=100, verbose=0)
    accuracy = accuracy_of(probabilities, data["test"][1])
    predictions = pd.DataFrame({"image": parts["test"], "label": data["test"][1]})
    for label in range(num_classes):
        predictions[f"probability_{label}"] = probabilities[:, label]
    result = {
        **arguments,
        "images": len(parts["train"]),
        "steps": int(trained.optimizer.iterations),
        "accuracy": accuracy,
        "diverged": math.isnan(accuracy),
        "epochs_to_best": (
            int(history["val_accuracy"].argmax()) + 1 if validated else None
        ),
        "parameters": model.count_params(),
        "trainable_parameters": sum(
            math.prod(weight.shape) for weight in model.trainable_weights
        ),
        "seconds": round(seconds, 3),
    }
    files: dict[str, Any] = {"history.csv": history, "predictions.csv": predictions}
    # The first layers of a fine-tuned network are those of the frozen one.
    if approach != "fine-tuned" and seed == 0 and validated:
        for name, maps in first_maps(model, data["test"][0][:1]).items():
            file = io.BytesIO()
            np.save(file, maps)
            files[f"{name}.npy"] = file.getvalue()
    return result, files


def features_of(model: Any, data: tuple[np.ndarray, np.ndarray]) -> Any:
    """What the head is given for these images, and their labels."""
    cache = model.cache_features(*data, verbose=0)
    return cache.features, cache.labels


def batch_size_for(share: float, most: int) -> int:
    """Images in a step: in proportion to the share, but not fewer than a few."""
    return max(min(SMALLEST_BATCH, most), round(most * share))


def accuracy_of(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images that are right; NaN if training diverged."""
    if not np.isfinite(probabilities).all():
        return math.nan
    return float(np.mean(probabilities.argmax(1) == labels))


def weights_of(settings: Mapping[str, Any], run_folder: Path, given: Any) -> str:
    """What the backbone loads: "imagenet", a file, or what the source has learnt."""
    generated = str(run_folder / "units" / SOURCE / WEIGHTS)
    return {"ImageNet": "imagenet", "file": given, "generated": generated}[
        settings["source"]
    ]


# Claims about the test accuracy: name, words, treatment and control, each an approach
# and a share of the training images.
CLAIMS = (
    (
        "H2a",
        "Transfer beats training from scratch (frozen features, all training images)",
        ("frozen", 1.0),
        ("scratch", 1.0),
    ),
    (
        "H2b",
        "Fine-tuning beats feature extraction (all training images)",
        ("fine-tuned", 1.0),
        ("frozen", 1.0),
    ),
    (
        "H2c",
        "Transfer with a tenth of the training images beats training from scratch "
        "with all of them",
        ("frozen", 0.1),
        ("scratch", 1.0),
    ),
)


def test_claims(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim whose shares were run, with a verdict in words."""
    pairs = results.pivot(
        index="seed", columns=["approach", "share"], values="accuracy"
    )
    done = set(pairs.columns)
    family = [
        Hypothesis(
            name,
            claim,
            pd.DataFrame({_words(w): pairs[w] for w in (treatment, control)}),
            *(_words(treatment), _words(control)),
            "percent",
        )
        for name, claim, treatment, control in CLAIMS
        if {treatment, control} <= done
    ]
    return pd.DataFrame(compare_hypotheses(family)) if family else pd.DataFrame()


def _words(way: tuple[str, float]) -> str:
    approach, share = way
    return approach if share == 1 else f"{approach} ({100 * share:g} % of the images)"


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


def identity(settings: Settings, **found: Any) -> dict[str, Any]:
    """What the numbers depend on: the settings, and what was found out."""
    values = settings.identity()
    if found["source"] == "generated":
        for name in ("images", "classes", "image_size", "epochs"):
            values[f"source_{name}"] = getattr(settings, f"source_{name}")
    elif found["source"] == "file":
        content = Path(str(settings.weights)).read_bytes()
        values["weights_sha256"] = hashlib.sha256(content).hexdigest()
    return {**values, **found}


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "sim5_transfer.py", DESCRIPTION, arguments)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    images, labels, names = load_data(settings)
    check_shares(labels, settings.shares)
    before = stored_settings(settings.out)
    if settings.weights is None and settings.source is None:
        # Whether the network can be reached must not change a run that goes on.
        if before.get("source") == "generated":
            settings = settings.replace(source="generated")
            print("The run that is there learns on generated images, and goes on so.")
        elif before.get("source") == "ImageNet":
            settings = settings.replace(weights="imagenet")
    source = resolve_source(settings, len(names))
    compared = identity(
        settings,
        source=source,
        classes=names,
        data_sha256=hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
    )
    folder = RunFolder(settings.out, compared)
    warn_of_small_images(settings, source)
    tasks = make_tasks(compared)
    state = folder.path / PARTIAL
    if not before and not settings.report_only:
        # The state of a run that was deleted, but for hidden files.
        shutil.rmtree(state, ignore_errors=True)

    def report() -> Path:
        from _sim5_report import write_sim5_report

        quick = settings.preset == "quick"
        path = write_sim5_report(folder, tasks, images, test_claims, quick)
        if not settings.report_only:
            shutil.rmtree(state, ignore_errors=True)
        return path

    shared = (images, labels, compared, folder.path.resolve(), settings.weights)
    run_experiment(settings, folder, tasks, train, shared, report)


if __name__ == "__main__":
    run_main(main, "sim5_transfer.py")
