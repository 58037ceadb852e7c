"""Simulation 5: what is transfer learning worth, and with how few images?

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
  python examples/sim5_transfer.py --data-dir photos --weights resnet50.weights.h5
  python examples/sim5_transfer.py --dataset tfds:cats_vs_dogs --source generated

Without --weights and --source, the weights of ImageNet are downloaded. If that fails,
the run says so and first trains the backbone on generated images, as the preset quick
does. The same command resumes an interrupted run.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

# Holds for what Keras imports, because keras_residual is imported before Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_residual import TransferModel, datasets
from keras_residual.analysis import first_maps
from keras_residual.experiments import (
    Aside,
    Positive,
    Rate,
    Run,
    RunFolder,
    Share,
    Task,
    parse_settings,
    pretraining,
    run_experiment,
    run_main,
    training,
)
from keras_residual.experiments.hypotheses import Claim
from keras_residual.experiments.run_folder import digest, stored_settings
from keras_residual.experiments.settings import Bounds, Folder, refuse
from keras_residual.experiments.tasks import refusing

# isort: split
import keras
import numpy as np

APPROACHES = ("scratch", "frozen", "fine-tuned")
KEY = ("approach", "share", "seed")
SOURCE, GENERATED = "source", pretraining.GENERATED
UNFREEZE = 20  # layers of the backbone that fine-tuning trains
PHOTO_SIZE = 160  # in every preset: photos need some size to be told
TenOrMore = Annotated[int, Bounds(10, math.inf, "10 or more")]
Part = Annotated[float, Bounds(0, 1, "above 0, and at most 1", open=True)]


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """The settings of simulation 5; the comments are the help of the command line."""

    # synthetic (the default: noise tinted warm or cold) or tfds:<name>, such as
    # tfds:cats_vs_dogs
    dataset: str | None = None
    # folder of photos: one folder per class, or files named cat.0.jpg, dog.0.jpg; with
    # tfds:<name> the folder of TensorFlow Datasets
    data_dir: Aside[Folder | None] = None
    per_class: TenOrMore = 500  # images of each class
    # height and width in pixels; if not given, 160 for photos in every preset, 64 for
    # synthetic images (quick: 48)
    image_size: Annotated[int, Bounds(8, math.inf, "8 or more")] | None = None
    # largest share of the tint in a synthetic image, 0 to 1
    strength: Share | None = None
    # a network of keras.applications, or resnet18 and so on of this library
    backbone: str = "ResNet50"
    # imagenet, or a file of the backbone's weights, with or without its top
    weights: Aside[str | None] = None
    # train the backbone first, on generated shapes and textures
    source: Aside[Literal["generated"] | None] = None
    source_images: Aside[TenOrMore] = 20000  # generated images; 90 % of them train
    # classes of shapes and textures, at most 50
    source_classes: Aside[Annotated[int, Bounds(2, 50, "2 to 50")]] = 50
    source_image_size: Aside[Positive] = 64  # their height and width in pixels
    source_epochs: Aside[Positive] = 5  # epochs of that training
    seeds: Positive = 7  # number of seeds
    # shares of the training images to train with
    shares: tuple[Part, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    # epochs of each way: scratch, frozen, fine-tuned
    epochs: tuple[Positive, Positive, Positive] = (20, 10, 12)
    # images in a step with all training images; with fewer of them smaller in
    # proportion, but at least 8
    batch_size: Positive = 32
    learning_rate: Rate = 0.001  # of Adam, from scratch and with the backbone frozen
    fine_tuning_rate: Rate = 0.0001  # of Adam, for fine-tuning

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
        size = {"quick": 48}.get(self.preset, 64) if synthetic else PHOTO_SIZE
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
    size: Any = settings.image_size
    if settings.dataset == "synthetic":
        tint: Any = {} if settings.strength is None else {"strength": settings.strength}
        images, labels = datasets.tinted_images(2 * settings.per_class, size, **tint)
        return images, labels, ["warm", "cold"]
    how: Any = {"image_size": size, "per_class": settings.per_class}
    with refusing():
        if settings.dataset == "photos":
            return datasets.load_photos(str(settings.data_dir), **how)
        source = str(settings.dataset)
        return datasets.load_photos(source, data_dir=settings.data_dir, **how)


def baseline(image_size: int, num_classes: int) -> keras.Model:
    """Three convolutions of 32, 64 and 128 channels, and a dense layer of 512."""
    layers = keras.layers
    stack = [keras.Input((image_size, image_size, 3)), layers.Rescaling(1 / 255)]
    for index, filters in enumerate((32, 64, 128), start=1):
        how: Any = {"padding": "same", "activation": "relu", "name": f"conv{index}"}
        stack += [layers.Conv2D(filters, 3, **how), layers.MaxPooling2D()]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(512, "relu")]
    stack += [layers.Dense(num_classes, "softmax")]
    return keras.Sequential(stack, name="baseline")


def transfer(
    mode: str, settings: Settings, weights: str | None, size: int, num_classes: int
) -> TransferModel:
    """A backbone with a new head; with "fine_tuning" its last layers train as well."""
    how: Any = {"mode": mode, "hidden_units": 128, "input_shape": (size, size, 3)}
    how |= {"weights": weights, "unfreeze": UNFREEZE}
    return TransferModel(settings.backbone, num_classes, **how)


def find_source(settings: Settings, num_classes: int, before: str | None) -> str:
    """Where the weights come from, and `before` in a run that goes on; see the help."""
    size = settings.image_size or PHOTO_SIZE
    # What it refuses is refused before anything is downloaded.
    transfer("scratch", settings, None, size, num_classes).unfreeze(UNFREEZE)
    source = settings.source or pretraining.find_weights(
        lambda weights: transfer("fine_tuning", settings, weights, size, num_classes),
        settings.weights,
        before,
    )
    if source == GENERATED:
        transfer("scratch", settings, None, settings.source_image_size, num_classes)
    return source


def train(arguments: Mapping[str, Any], shared: Any) -> Any:
    """One training of a worker process: the source, or one approach."""
    images, labels, num_classes, settings, weights, states = shared
    if arguments["approach"] == SOURCE:
        images, labels = datasets.shape_texture_images(
            settings.source_images, settings.source_classes, settings.source_image_size
        )
        how = {"num_classes": settings.source_classes, "epochs": settings.source_epochs}
        output = pretraining.pretrain_backbone(
            settings.backbone, images, labels, states / SOURCE, **how
        )
        return {"approach": SOURCE, **output[0]}, output[1]
    start = time.perf_counter()
    approach, share, seed = (arguments[name] for name in KEY)
    fine_tuned = approach == "fine-tuned"
    parts = training.stratified_split(labels, share, seed)
    data = {name: (images[chosen], labels[chosen]) for name, chosen in parts.items()}
    training.begin_training(seed)
    if approach == "scratch":
        model = baseline(settings.image_size, num_classes)
    else:
        mode = "fine_tuning" if fine_tuned else "feature_extraction"
        model = transfer(mode, settings, weights, settings.image_size, num_classes)
    trained, seen, timer = model, dict(data), training.ValidationTimer()
    # The curves of smaller shares are not drawn, and validation would be most of them.
    validated = share == max(settings.shares)
    if approach == "frozen":
        # One pass through the backbone serves all epochs: the head trains alone.
        trained = model.head
        seen["train"] = training.cached(model, *data["train"])
        if validated:
            timer.on_test_begin()
            seen["validation"] = training.cached(model, *data["validation"])
            timer.on_test_end()
    rate = settings.fine_tuning_rate if fine_tuned else settings.learning_rate
    training.compile_classifier(trained, keras.optimizers.Adam(rate))
    history = training.fit_classifier(
        trained,
        seen["train"],
        seen["validation"] if validated else None,
        epochs=settings.epochs[APPROACHES.index(approach)],
        # In every approach without the last batch where it is not full.
        batch_size=training.batch_size_for(share, settings.batch_size),
        seed=seed,
        callbacks=[timer],
    )
    seconds = time.perf_counter() - start - timer.seconds
    accuracy, predictions = training.predictions(model, *data["test"], parts["test"])
    best = int(history["val_accuracy"].argmax()) + 1 if validated else None
    result = {
        **arguments,
        "images": len(parts["train"]),
        "steps": int(trained.optimizer.iterations),
        "accuracy": accuracy,
        "diverged": math.isnan(accuracy),
        "epochs_to_best": best,
        "parameters": model.count_params(),
        "trainable_parameters": training.trainable_parameters(model),
        "seconds": round(seconds, 3),
    }
    files: dict[str, Any] = {"history.csv": history, "predictions.csv": predictions}
    # The first layers of a fine-tuned network are those of the frozen one.
    if not fine_tuned and seed == 0 and validated:
        maps = first_maps(model, data["test"][0][0])
        files |= {f"{name}.npy": found for name, found in maps.items()}
    return result, files


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


def make_tasks(settings: Settings, num_classes: int, source: str) -> list[Task]:
    """The source, if it is trained; then all of a seed, the most images first."""
    tasks: list[Task] = []
    after = SOURCE if source == GENERATED else None
    # Weights are about proportional to the time that a training takes.
    if after:
        effort = settings.source_images * settings.source_epochs / 100
        effort *= (settings.source_image_size / (settings.image_size or 1)) ** 2
        tasks.append(Task(SOURCE, {"approach": SOURCE}, weight=effort))
    num_images = settings.per_class * num_classes / 100
    return tasks + [
        Task(
            f"{approach}-share{100 * share:g}-seed{seed:03d}",
            {"approach": approach, "share": share, "seed": seed},
            weight=1 + num_images * (1 if approach == "frozen" else epochs * share),
            after=None if approach == "scratch" else after,
        )
        for seed in range(settings.seeds)
        for share in reversed(settings.shares)
        for approach, epochs in zip(APPROACHES, settings.epochs, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "sim5_transfer.py", str(__doc__), arguments)
    images, labels, names = load_data(settings)
    training.check_shares(labels, settings.shares)
    before = stored_settings(settings.out).get("source")
    with refusing():
        source = find_source(settings, len(names), before)
    found = {"source": source, "classes": names, "data_sha256": digest(images, labels)}
    weights = settings.weights or "imagenet"
    if source == GENERATED:
        options = vars(settings).items()
        found |= {name: value for name, value in options if "source_" in name}
    elif source == "file":
        found["weights_sha256"] = digest(Path(weights).read_bytes())
    folder = RunFolder(settings.out, {**settings.identity(), **found})
    if source == GENERATED:
        weights = str((folder.units / SOURCE / pretraining.WEIGHTS).resolve())
    elif settings.dataset != "synthetic":
        pretraining.note_small_images(settings.image_size or PHOTO_SIZE, PHOTO_SIZE)
    tasks = make_tasks(settings, len(names), source)

    def report() -> Path:
        from _sim5_report import write_sim5_report

        return write_sim5_report(folder, tasks, images, settings.preset == "quick")

    shared = (images, labels, len(names), settings, weights, folder.states.resolve())
    run_experiment(settings, folder, tasks, train, shared, report)


if __name__ == "__main__":
    run_main(main, "sim5_transfer.py")
