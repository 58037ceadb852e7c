"""Simulation 5: what is transfer learning worth, and with how few images?

Run it with `python examples/sim5_transfer.py --preset quick`; `--help` lists the rest.
"""

import hashlib
import io
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _experiment import (
    RefusedError,
    RunFolder,
    run_main,
    run_tasks,
    stored_settings,
)
from _sim5_options import parse_options
from _workers import Output, Task, quiet_import

# Backends take seconds to import: whoever asks for help shall not wait for them.
if TYPE_CHECKING:
    import argparse

    import numpy as np

APPROACHES = ("scratch", "frozen", "fine-tuned")
# The modes of TransferModel; the baseline is no such model.
MODES = {"frozen": "feature_extraction", "fine-tuned": "fine_tuning"}
VALIDATION_SHARE = TEST_SHARE = 0.2
SMALLEST_BATCH = 8
SOURCE = "source"
PARTIAL = ".source"  # the state of the source's training


def train(arguments: Mapping[str, Any], shared: Any) -> Output:
    """One training of a worker process: the source, or one approach."""
    images, labels, settings, run_folder, weights = shared
    if arguments["approach"] == SOURCE:
        from _sim5_source import train_source

        return train_source(settings, run_folder / PARTIAL)
    weights = weights_of(settings, run_folder, weights)
    return train_approach(arguments, images, labels, settings, weights)


def train_approach(
    arguments: Mapping[str, Any],
    images: "np.ndarray",
    labels: "np.ndarray",
    settings: Mapping[str, Any],
    weights: str,
) -> Output:
    """Trains one approach with one seed and one share of the training images."""
    import keras
    import numpy as np
    import pandas as pd
    from _sim5_networks import baseline, first_maps, transfer
    from _training import ShuffledBatches, ValidationTimer

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
    model.compile(
        keras.optimizers.Adam(settings[rate]),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=keras.config.backend() == "jax",
    )
    data = {name: (images[chosen], labels[chosen]) for name, chosen in parts.items()}
    if approach == "frozen":
        # One pass through the backbone serves all epochs.
        training = model.cache_features(*data["train"], verbose=0)
    else:
        training = ShuffledBatches(*data["train"], batch_size=batch_size, seed=seed)
    # The curves of smaller shares are not drawn, and validation would be most of them.
    validated = arguments["share"] == max(settings["shares"])
    timer = ValidationTimer()
    fitted = model.fit(
        training,
        epochs=epochs,
        validation_data=data["validation"] if validated else None,
        callbacks=[timer],
        verbose=0,
        **({"batch_size": batch_size} if approach == "frozen" else {}),
    )
    seconds = time.perf_counter() - start - timer.seconds
    history = pd.DataFrame(fitted.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    probabilities = model.predict(data["test"][0], batch_size=100, verbose=0)
    predictions = pd.DataFrame({"image": parts["test"], "label": data["test"][1]})
    for label in range(num_classes):
        predictions[f"probability_{label}"] = probabilities[:, label]
    result = {
        **arguments,
        "images": len(parts["train"]),
        "accuracy": accuracy_of(probabilities, data["test"][1]),
        "epochs_to_best": (
            int(history["val_accuracy"].argmax()) + 1 if validated else None
        ),
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


def batch_size_for(share: float, most: int) -> int:
    """Images in a step: in proportion to the share, but not fewer than a few."""
    return max(min(SMALLEST_BATCH, most), round(most * share))


def accuracy_of(probabilities: "np.ndarray", labels: "np.ndarray") -> float:
    """Share of the images that are right; NaN if training diverged."""
    import numpy as np

    if not np.isfinite(probabilities).all():
        return math.nan
    return float(np.mean(probabilities.argmax(1) == labels))


def split(labels: "np.ndarray", share: float, seed: int) -> dict[str, "np.ndarray"]:
    """Indices of the training, validation and test images, drawn by the seed.

    In each part the classes are as frequent as in the whole. A smaller share of the
    training images is a part of a larger one; validation and test stay the same.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    parts: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        order = generator.permutation(np.flatnonzero(labels == label))
        validation = round(VALIDATION_SHARE * len(order))
        test = validation + round(TEST_SHARE * len(order))
        training = max(1, round(share * (len(order) - test)))
        parts["validation"].append(order[:validation])
        parts["test"].append(order[validation:test])
        parts["train"].append(order[test : test + training])
    return {name: np.concatenate(indices) for name, indices in parts.items()}


def weights_of(settings: Mapping[str, Any], run_folder: Path, given: Any) -> str:
    """What the backbone loads: "imagenet", a file, or what the source has learnt."""
    from _sim5_source import WEIGHTS

    generated = str(run_folder / "units" / SOURCE / WEIGHTS)
    return {"ImageNet": "imagenet", "file": given, "generated": generated}[
        settings["source"]
    ]


def load_data(
    options: "argparse.Namespace",
) -> tuple["np.ndarray", "np.ndarray", list[str]]:
    """As many images as asked for, equally many of each class, always the same ones."""
    from keras_residual import datasets

    if options.dataset == "synthetic":
        strength = {"strength": options.strength} if "strength" in options else {}
        images, labels = datasets.tinted_images(
            2 * options.per_class, options.image_size, **strength
        )
        return images, labels, ["warm", "cold"]
    source, data_dir = options.dataset, options.data_dir
    if source == "photos":
        source, data_dir = options.data_dir, None
    try:
        return datasets.load_photos(
            source,
            image_size=options.image_size,
            per_class=options.per_class,
            data_dir=data_dir,
        )
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from error


def resolve_source(options: "argparse.Namespace", num_classes: int) -> str:
    """Where the backbone's weights come from: "ImageNet", "file" or "generated".

    Whatever is wrong with the backbone, its weights or the image size is found here.
    """
    from _sim5_networks import UNFREEZE, baseline, transfer

    def attempt(mode: str, weights: str | None, size: int = options.image_size) -> Any:
        return transfer(mode, options.backbone, weights, size, num_classes)

    try:
        baseline(options.image_size, num_classes)
        attempt("scratch", None).unfreeze(UNFREEZE)
        if options.source != "generated":
            try:
                attempt("fine_tuning", options.weights or "imagenet")
                return "ImageNet" if options.weights in (None, "imagenet") else "file"
            except (ConnectionError, ImportError, ValueError) as error:
                # No network, no reader of the file, or no such weights.
                if options.weights is not None:
                    raise
                print(f"{error}\nInstead, the backbone learns on generated images.")
        attempt("scratch", None, options.source_image_size)
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error).splitlines()[0]) from error
    return "generated"


def check_shares(labels: "np.ndarray", shares: list[float]) -> None:
    counts = [len(split(labels, share, seed=0)["train"]) for share in shares]
    if len(set(counts)) < len(counts):
        raise RefusedError(
            f"--shares must give different numbers of training images, but "
            f"{', '.join(f'{share:g}' for share in shares)} give "
            f"{', '.join(map(str, counts))}: fewer shares or more images are needed"
        )


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


def make_settings(options: "argparse.Namespace", **found: Any) -> dict[str, Any]:
    """What the numbers depend on: the options, and what was found out."""
    names = (
        *("dataset", "per_class", "image_size", "backbone", "seeds", "shares"),
        *("epochs", "batch_size", "learning_rate", "fine_tuning_rate"),
    )
    settings: dict[str, Any] = {name: getattr(options, name) for name in names}
    settings["strength"] = getattr(options, "strength", None)
    if found["source"] == "generated":
        for name in ("images", "classes", "image_size", "epochs"):
            settings[f"source_{name}"] = getattr(options, f"source_{name}")
    elif found["source"] == "file":
        content = Path(options.weights).read_bytes()
        settings["weights_sha256"] = hashlib.sha256(content).hexdigest()
    return {**settings, **found}


def main() -> None:
    options = parse_options()
    with quiet_import():
        import keras
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    images, labels, names = load_data(options)
    check_shares(labels, options.shares)
    if options.weights is None and options.source is None:
        # Whether the network can be reached must not change a run that goes on.
        before = stored_settings(options.out).get("source")
        if before == "generated":
            options.source = before
            print("The run that is there learns on generated images, and goes on so.")
        options.weights = "imagenet" if before == "ImageNet" else None
    settings = make_settings(
        options,
        source=resolve_source(options, len(names)),
        classes=names,
        data_sha256=hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest(),
    )
    folder = RunFolder(options.out, settings)
    tasks = make_tasks(settings)
    shared = (images, labels, settings, folder.path, options.weights)
    with folder.locked():
        if not stored_settings(options.out):
            # The state of a run that was deleted, but for hidden files.
            shutil.rmtree(folder.path / PARTIAL, ignore_errors=True)
        folder.create(options.jobs)
        run_tasks(folder, tasks, train, shared, options.jobs)
        shutil.rmtree(folder.path / PARTIAL, ignore_errors=True)
        from _sim5_report import write_sim5_report

        print(f"Report: {write_sim5_report(folder, tasks, settings, images)}")


if __name__ == "__main__":
    run_main(main, "sim5_transfer.py")
