"""ImageNet: a plain network, ResNet-18, and ResNet-18 with Cutout.

Run it with `python examples/imagenet_cutout.py --preset quick`; see `--help`.
"""

import contextlib
import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _backend  # noqa: F401  before anything that imports one
import keras
import numpy as np
import pandas as pd
from _imagenet_data import fingerprint, open_data, write_tiny_tree
from _imagenet_settings import Settings, parse_options

from keras_residual import ImageNetFolder
from keras_residual.experiments import (
    RefusedError,
    RunFolder,
    Task,
    run_main,
    run_tasks,
)
from keras_residual.experiments.devices import Cluster, check_cluster

STATES = ".states"  # checkpoints of trainings that are not finished


@dataclasses.dataclass(frozen=True)
class Job:
    """The data and settings that all trainings of a run share."""

    source: str
    settings: Mapping[str, Any]
    folder: Path
    devices: str
    hosts: tuple[str, ...]
    host_index: int
    host_timeout: int
    tensorboard: bool


def train(arguments: Mapping[str, Any], job: Job) -> Any:
    """Trains and measures one network with one seed, in a worker process."""
    from _imagenet_training import NORMS, Diverged, train_network

    from keras_residual.experiments.checkpoints import BEST, without_optimizer
    from keras_residual.experiments.devices import connect

    network, seed = arguments["network"], arguments["seed"]
    name = task_name(network, seed)
    state = job.folder / STATES / name
    start = time.perf_counter()
    # Before anything else: JAX must not have started when hosts come together.
    cluster = Cluster(
        job.devices,
        job.hosts,
        job.host_index,
        heartbeat_timeout=job.host_timeout,
    )
    connection = connect(cluster, job.settings["batch_size"])
    data = open_data(job.source, job.settings, job.settings["per_class"])
    try:
        model, history = train_network(
            network,
            seed,
            job.settings,
            data,
            state,
            connection,
            job.folder / "tensorboard" / name if job.tensorboard else None,
        )
    except Diverged as error:
        if job.hosts:
            connection.close()
        return diverged(arguments, error, state, connection.describe())
    best = max(history, key=lambda row: row["val_top1"])
    result = {
        **arguments,
        "best_top1": best["val_top1"],
        "best_epoch": best["epoch"],
        "top1": history[-1]["val_top1"],
        "parameters": model.count_params(),
        "devices": connection.describe(),
        "images_per_second": statistics.median(
            row["images_per_second"] for row in history
        ),
    }
    if job.hosts:
        # One host measures, alone: see `main`.
        connection.close()
        return {**result, "seconds": round(time.perf_counter() - start, 3)}, {}
    model = connection.local_copy(model)

    from _imagenet_evaluation import PICTURE_INDICES, PICTURES, evaluate

    few = open_data(job.source, job.settings, images_to_compare(data))
    measured, files = evaluate(model, data, few, job.settings)
    if name != make_tasks(job.settings)[0].name:
        # All networks of all seeds are shown the same ones.
        del files[PICTURES], files[PICTURE_INDICES]
    without_optimizer(model).save(state / "model.keras")
    files["model.keras"] = (state / "model.keras").read_bytes()
    if best["epoch"] < len(history):
        files[BEST] = (state / BEST).read_bytes()
    if (state / NORMS).is_file():
        files[NORMS] = (state / NORMS).read_bytes()
    files["history.csv"] = pd.DataFrame(history)
    # Those of a process that was killed as well.
    seconds = sum(row["seconds"] for row in history)
    keras.utils.clear_session()
    return {**result, **measured, "seconds": round(seconds, 3)}, files


def diverged(
    arguments: Mapping[str, Any], error: Any, state: Path, devices: str
) -> Any:
    """Returns the result of a training whose loss was not finite."""
    from _imagenet_training import NORMS

    history = pd.DataFrame(error.history)
    result = {
        **arguments,
        "diverged": True,
        "reason": str(error),
        "top1": None,
        "devices": devices,
        "seconds": float(history["seconds"].sum()) if len(history) else 0.0,
    }
    files: dict[str, Any] = {"history.csv": history} if len(history) else {}
    if (state / NORMS).is_file():
        files[NORMS] = (state / NORMS).read_bytes()
    return result, files


def images_to_compare(data: ImageNetFolder) -> int:
    """Returns how many training images per class match the validation images."""
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


def open_source(options: Settings, tree: Path) -> tuple[str, ImageNetFolder]:
    """Returns the place of the images, and the images that can be decoded."""
    try:
        if options.is_tiny:
            source = str(write_tiny_tree(tree, **options.tiny))
        else:
            source = options.dataset or str(Path(options.data_dir or "").resolve())
        wanted = {
            "class_ids": options.wanted_classes,
            "data_dir": data_dir_of(options),
        }
        data = open_data(source, wanted, options.per_class, said=not options.is_tiny)
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from error
    missing = {"train", "val"} - set(data.splits)
    if missing:
        raise RefusedError(
            f"{source} has no split {' and '.join(sorted(missing))}: "
            "trainings need both train and val"
        )
    return source, data


def data_dir_of(options: Settings) -> str | None:
    """Returns the folder of TensorFlow Datasets, if it was given."""
    return str(options.data_dir) if options.dataset and options.data_dir else None


def make_settings(
    options: Settings, data: ImageNetFolder, digest: str | None = None
) -> dict[str, Any]:
    """Returns the settings that the numbers depend on."""
    names = (
        *("image_size", "center_fraction", "networks", "depth", "variant"),
        *("cutout_size", "occlusion", "seeds", "record_every", "per_class"),
        # On TensorFlow each device normalizes its share of a batch.
        "devices",
    )
    settings: dict[str, Any] = {name: getattr(options, name) for name in names}
    images = {split: data.num_images(split) for split in ("train", "val")}
    return {
        **settings,
        # Sums over threads depend on how many there are.
        "threads": "one" if options.jobs > 1 else "all",
        "recipe": options.recipe,
        **dataclasses.asdict(options.values),
        "data": describe_data(options),
        "data_dir": data_dir_of(options),
        "classes": list(data.class_names),
        "class_ids": list(data.class_ids),
        "images": images,
        "images_sha256": digest,
        "steps_per_epoch": images["train"] // options.values.batch_size,
    }


def describe_data(options: Settings) -> str:
    if options.is_tiny:
        return "a tiny generated tree"
    return options.dataset or Path(options.data_dir or "").resolve().name


def check_settings(settings: Mapping[str, Any], data: ImageNetFolder) -> None:
    """Refuses what would fail in the first training, or after it."""
    from _imagenet_networks import build_network

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
    try:
        for network in settings["networks"]:
            build_network(network, settings, seed=0)
    except ValueError as error:
        raise RefusedError(str(error).splitlines()[0]) from error


def evaluate_file(
    file: Path, data: ImageNetFolder, settings: Mapping[str, Any]
) -> None:
    """Prints how well a saved network does on the validation images."""
    from _imagenet_evaluation import accuracies_of
    from _imagenet_networks import load_network

    try:
        model = load_network(file)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(
            f"{file} cannot be read: {str(error).splitlines()[0]}"
        ) from error
    size = settings["image_size"]
    for name, theirs, ours in (
        ("images of shape", model.input_shape[1:], (size, size, 3)),
        ("classes", model.output_shape[1:], (data.num_classes,)),
    ):
        if tuple(theirs) != ours:
            raise RefusedError(
                f"{file} is for {name} {', '.join(map(str, theirs))}, not "
                f"{', '.join(map(str, ours))}"
            )
    found = accuracies_of(model, data, settings)
    print(
        f"{file}: top-1 {found['top1']:.4f}, top-5 {found['top5']:.4f}, "
        f"loss {found['loss']:.4f} on {data.num_images('val')} images"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    hosts, host_index = tuple(options.hosts), options.host_index
    check_cluster(
        Cluster(options.devices, hosts, host_index), options.values.batch_size
    )
    with contextlib.ExitStack() as stack:
        # The tiny tree is made elsewhere until it is known to be needed.
        tree = options.out
        if options.is_tiny:
            tree = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source, data = open_source(options, tree)
        settings = make_settings(options, data, fingerprint(source, data))
        if options.check:
            return
        if options.evaluate is not None:
            evaluate_file(options.evaluate, data, settings)
            return
        check_settings(settings, data)
        folder = RunFolder(options.out, settings, decoder())
    tasks = make_tasks(settings)

    def report() -> Path:
        from _imagenet_report import write_imagenet_report

        return write_imagenet_report(folder, tasks, settings, options.preset == "quick")

    if options.report_only:
        print(f"Report: {report()}")
        return
    job = Job(
        source,
        settings,
        folder.path.resolve(),
        options.devices,
        hosts,
        host_index,
        options.host_timeout,
        options.tensorboard,
    )
    coordinates = options.host_index == 0
    with folder.locked(options.jobs) if coordinates else contextlib.nullcontext():
        if options.is_tiny:
            source = str(write_tiny_tree(folder.path.resolve(), **options.tiny))
            open_data(source, settings, options.per_class, said=True)
            job = dataclasses.replace(job, source=source)
        if options.hosts:
            # All hosts train together; what comes of it are checkpoints, which one
            # host alone then measures.
            run(folder, tasks, job, options, writes=False)
            job = dataclasses.replace(job, hosts=(), host_index=0)
        if not coordinates:
            return
        run(folder, tasks, job, options)
        print(f"Report: {report()}")
        # They are what a report that failed could not be made again without.
        shutil.rmtree(folder.path / STATES, ignore_errors=True)


def decoder() -> dict[str, str]:
    """Names the decoder of the images, the same on every backend."""
    if keras.config.backend() == "tensorflow":
        return {}
    return {"images decoded by": f"tensorflow {version('tensorflow')}"}


def run(
    folder: RunFolder,
    tasks: list[Task],
    job: Job,
    options: Settings,
    writes: bool = True,
) -> None:
    run_tasks(
        folder,
        tasks,
        train,
        job,
        options.jobs,
        scheduler=options.scheduler,
        measure="top1",
        # One training alone has the machine for itself.
        one_thread=options.jobs > 1,
        # A host whose process died cannot go on without the others.
        deaths=1 if job.hosts else 3,
        writes=writes,
    )


if __name__ == "__main__":
    run_main(main, "imagenet_cutout.py")
