"""ImageNet: a plain network, ResNet-18, and ResNet-18 with Cutout.

Run it with `python examples/imagenet_cutout.py --preset quick`; see `--help`.
"""

import contextlib
import dataclasses
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_residual import (
    Cutout,
    ImageNetFolder,
    ImagePreprocessing,
    PlainNet,
    ResNet,
    make_tiny_imagenet_tree,
)

# isort: split
# Keras after keras_residual, which makes the level hold for what Keras imports.
import keras
import numpy as np
import pandas as pd
from _imagenet_images import (
    DEVIATION,
    MEAN,
    PICTURES,
    fingerprint,
    measure,
    measure_file,
    open_data,
)
from _imagenet_settings import Settings, parse_options
from _imagenet_training import NORMS, compile_network, fit

from keras_residual.experiments import (
    RefusedError,
    RunFolder,
    Task,
    run_main,
    run_tasks,
)
from keras_residual.experiments.checkpoints import BEST, without_optimizer
from keras_residual.experiments.devices import Cluster, check_cluster, connect
from keras_residual.experiments.hypotheses import Claim
from keras_residual.experiments.tasks import refusing

STATES = ".states"  # checkpoints of trainings that are not finished


# --- The networks


def build_network(network: str, settings: Mapping[str, Any], seed: int) -> keras.Model:
    """Builds a network from uint8 images to logits.

    Args:
        network: "plain", "resnet" or "resnet-cutout".
        settings: Settings of the run.
        seed: Seed of the initial weights and of Cutout.
    """
    shape = (settings["image_size"], settings["image_size"], 3)
    images = keras.Input(shape, dtype="uint8", name="images")
    x = ImagePreprocessing(
        mean=MEAN, std=DEVIATION, value_range=(0, 1), name="preprocessing"
    )(images)
    if network == "resnet-cutout":
        # After the means are taken out, so that a patch of zeros is the mean colour
        # (DeVries & Taylor 2017, section 3.2).
        x = Cutout(settings["cutout_size"], seed=seed, name="cutout")(x)

    def make(kind: Any) -> keras.Model:
        return kind(
            settings["depth"],
            len(settings["classes"]),
            variant=settings["variant"],
            input_shape=shape,
            classifier_activation="linear",
            name="body",
        )

    keras.utils.set_random_seed(seed)
    body = make(PlainNet)
    if network != "plain":
        # With the same seed alone the two would differ after the first projection,
        # which draws random numbers that the plain network does not draw.
        weights = {weight.path: weight for weight in body.weights}
        body = make(ResNet)
        for weight in body.weights:
            if weight.path in weights:
                weight.assign(weights[weight.path])
    # The softmax of half-precision logits would be coarse.
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(body(x))
    return keras.Model(images, logits, name=network.replace("-", "_"))


# --- One training


@dataclasses.dataclass(frozen=True)
class Job:
    """What all trainings of a run share."""

    source: str
    settings: Mapping[str, Any]
    folder: Path
    data_dir: Path | None
    cluster: Cluster
    tensorboard: bool

    def open_data(self, per_class: int | None) -> ImageNetFolder:
        """The images of the run."""
        classes = self.settings["class_ids"]
        return open_data(self.source, classes, per_class, self.data_dir)


def train(arguments: Mapping[str, Any], job: Job) -> Any:
    """Trains and measures one network with one seed, in a worker process."""
    network, seed, settings = arguments["network"], arguments["seed"], job.settings
    name = task_name(network, seed)
    state = job.folder / STATES / name
    # Before anything else: JAX must not have started when hosts come together.
    connection = connect(job.cluster, settings["batch_size"])
    data = job.open_data(settings["per_class"])
    keras.utils.clear_session()
    keras.config.set_dtype_policy(settings["precision"])
    with connection.scope():
        model = build_network(network, settings, seed)
        compile_network(model, settings)
    board = job.folder / "tensorboard" / name if job.tensorboard else None
    history, diverged = fit(model, data, settings, seed, state, connection, board)
    connection.close()
    result = {
        **arguments,
        "parameters": model.count_params(),
        "devices": connection.describe(),
        # Those of a process that was killed as well.
        "seconds": round(sum(row["seconds"] for row in history), 3),
    }
    files: dict[str, Any] = {"history.csv": pd.DataFrame(history)} if history else {}
    if (state / NORMS).is_file():
        files[NORMS] = (state / NORMS).read_bytes()
    if diverged:
        return {**result, "diverged": True, "reason": diverged, "top1": None}, files
    best = max(history, key=lambda row: row["val_top1"])
    speed = statistics.median(row["images_per_second"] for row in history)
    result |= {
        "top1": history[-1]["val_top1"],
        "best_top1": best["val_top1"],
        "best_epoch": best["epoch"],
        "images_per_second": speed,
    }
    if job.cluster.hosts:
        return result, {}  # one host measures, alone: see `main`
    model = connection.local_copy(model)
    few = job.open_data(images_to_compare(data))
    measures, measured = measure(model, data, few, settings)
    if name != make_tasks(settings)[0].name:
        del measured[PICTURES]  # all networks of all seeds are shown the same ones
    without_optimizer(model).save(state / "model.keras")
    files |= {**measured, "model.keras": (state / "model.keras").read_bytes()}
    if best["epoch"] < len(history):
        files[BEST] = (state / BEST).read_bytes()
    return {**result, **measures}, files


def images_to_compare(data: ImageNetFolder) -> int:
    """How many training images of each class are as many as the validation images."""
    there = np.bincount(data.labels("train"), minlength=data.num_classes).min()
    return min(int(there), max(1, round(data.num_images("val") / data.num_classes)))


def task_name(network: str, seed: int) -> str:
    return f"{network}-seed{seed:03d}"


def make_tasks(settings: Mapping[str, Any]) -> list[Task]:
    return [
        Task(task_name(network, seed), {"network": network, "seed": seed})
        for seed in range(settings["seeds"])
        for network in settings["networks"]
    ]


# --- What is claimed

CLAIMS = (
    Claim(
        *("H3a", "top1", "resnet", "plain", "percent"),
        "The residual network has a higher top-1 accuracy than the plain one",
    ),
    Claim(
        *("H3b", "top1", "resnet-cutout", "resnet", "percent"),
        "Cutout raises the top-1 accuracy",
    ),
    Claim(
        *("H3c", "gap", "resnet", "resnet-cutout", "percent"),
        "Cutout narrows the gap between training and validation accuracy (gap without "
        "against with Cutout)",
    ),
    Claim(
        *("H3d", "occluded_top1", "resnet-cutout", "resnet", "percent"),
        "Cutout raises the accuracy under occlusion (mean top-1 over the sizes of the "
        "erased patch)",
    ),
    Claim(
        *("H3e", "ece", "resnet", "resnet-cutout", "percent"),
        "Cutout lowers the calibration error (ECE without against with Cutout)",
    ),
)


# --- The program


def open_source(options: Settings, folder: Path) -> tuple[str, ImageNetFolder]:
    """The place of the images, in this folder if they are generated, and the images.

    Raises:
        RefusedError: If they cannot be read.
    """
    classes: Any = list(options.classes) or None
    if len(options.classes) == 1 and options.classes[0].isdecimal():
        classes = int(options.classes[0])
    source = options.dataset or str(Path(options.data_dir or "").resolve())
    with refusing():
        if options.is_tiny:
            sizes: dict[str, Any] = options.tiny
            # Hidden: a run folder may hold it before it holds a run.
            tree = folder / f".tiny-imagenet-{'x'.join(map(str, sizes.values()))}"
            if not tree.is_dir():
                make_tiny_imagenet_tree(tree, **sizes)
            source = str(tree)
        said = not options.is_tiny
        data = open_data(source, classes, options.per_class, options.data_dir, said)
    if missing := {"train", "val"} - set(data.splits):
        raise RefusedError(
            f"{source} has no split {' and '.join(sorted(missing))}: "
            "trainings need both train and val"
        )
    return source, data


def identity(
    options: Settings, data: ImageNetFolder, digest: str | None
) -> dict[str, Any]:
    """What the numbers depend on: the settings, and what was found out."""
    images = {split: data.num_images(split) for split in ("train", "val")}
    folder = Path(options.data_dir or "").resolve().name
    return {
        **options.identity(),
        # Sums over threads depend on how many there are.
        "threads": "one" if options.jobs > 1 else "all",
        "data": "a tiny generated tree"
        if options.is_tiny
        else options.dataset or folder,
        "classes": list(data.class_names),
        "class_ids": list(data.class_ids),
        "images": images,
        "images_sha256": digest,
        "steps_per_epoch": images["train"] // options.batch_size,
    }


def check_settings(settings: Mapping[str, Any], data: ImageNetFolder) -> None:
    """Refuses what would fail in the first training, or after it."""
    labels = set(data.labels("train").tolist())
    empty = [name for label, name in enumerate(data.class_ids) if label not in labels]
    if empty:
        raise RefusedError(
            f"no training image of {', '.join(empty[:5])} can be used; leave these "
            "classes out (--classes)"
        )
    if settings["steps_per_epoch"] < 1:
        raise RefusedError(
            f"--batch-size {settings['batch_size']} is more than the "
            f"{settings['images']['train']} training images"
        )
    with refusing():
        for network in settings["networks"]:
            build_network(network, settings, seed=0)


def decoder() -> dict[str, str]:
    """Names the decoder of the images, the same on every backend."""
    if keras.config.backend() == "tensorflow":
        return {}
    return {"images decoded by": f"tensorflow {version('tensorflow')}"}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    check_cluster(options.cluster, options.batch_size)
    # The tiny tree is made elsewhere until it is known to be needed.
    with tempfile.TemporaryDirectory() as temporary:
        source, data = open_source(options, Path(temporary))
        settings = identity(options, data, fingerprint(source, data))
        if options.check:
            return
        if options.evaluate is not None:
            print(measure_file(options.evaluate, data, settings))
            return
        check_settings(settings, data)
        folder = RunFolder(options.out, settings, decoder())
    tasks = make_tasks(settings)

    def report() -> None:
        from _imagenet_report import write_imagenet_report

        quick = options.preset == "quick"
        path = write_imagenet_report(folder, tasks, CLAIMS, quick)
        print(f"Report: {path.with_suffix('.html')}", flush=True)

    def run(job: Job, writes: bool = True) -> None:
        run_tasks(
            *(folder, tasks, train, job, options.jobs),
            scheduler=options.scheduler,
            measure="top1",
            # One training alone has the machine for itself.
            one_thread=options.jobs > 1,
            # A host whose process died cannot go on without the others.
            deaths=1 if job.cluster.hosts else 3,
            writes=writes,
        )

    if options.report_only:
        report()
        return
    path, cluster = folder.path.resolve(), options.cluster
    coordinates = cluster.host_index == 0
    with folder.locked(options.jobs) if coordinates else contextlib.nullcontext():
        if options.is_tiny:
            source, _ = open_source(options, path)
        job = Job(
            *(source, settings, path, options.data_dir, cluster, options.tensorboard)
        )
        if cluster.hosts:
            # All hosts train together; what comes of it are checkpoints, which one
            # host alone then measures.
            run(job, writes=False)
            alone = dataclasses.replace(cluster, hosts=(), host_index=0)
            job = dataclasses.replace(job, cluster=alone)
        if coordinates:
            run(job)
            report()
            # They are what a report that failed could not be made again without.
            shutil.rmtree(path / STATES, ignore_errors=True)


if __name__ == "__main__":
    run_main(main, "imagenet_cutout.py")
