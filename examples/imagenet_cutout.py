"""ImageNet: a plain network, ResNet-18, and ResNet-18 with Cutout.

Run it with `python examples/imagenet_cutout.py --preset quick`; see `--help`.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

# Holds for what Keras imports, because keras_residual is imported before Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_residual import Cutout, ImageNetFolder, ImagePreprocessing, PlainNet, ResNet

# isort: split
import keras
import pandas as pd
from _imagenet_training import (
    DEVIATION,
    MEAN,
    PICTURES,
    fit,
    images_to_compare,
    measure,
)

from keras_residual.experiments import (
    Aside,
    Positive,
    Run,
    RunFolder,
    Share,
    Task,
    parse_settings,
    run_main,
)
from keras_residual.experiments.checkpoints import BEST, without_optimizer
from keras_residual.experiments.devices import Devices, check_devices, connect
from keras_residual.experiments.hypotheses import Claim
from keras_residual.experiments.images import (
    Images,
    batches,
    check_images,
    decoder,
    image_identity,
    open_data,
    open_source,
)
from keras_residual.experiments.long_training import DEVICES, NORMS, summary
from keras_residual.experiments.measuring import measure_file
from keras_residual.experiments.recipes import PUBLISHED, Recipe, compile_by_recipe
from keras_residual.experiments.run import run_on_devices
from keras_residual.experiments.settings import choice, refuse, shown_default
from keras_residual.experiments.tasks import refusing

DESCRIPTION = """\
Train a plain network, a residual network and a residual network with Cutout on ImageNet
or anything smaller, over one or several seeds, and report accuracy, the gap between
training and validation, robustness under occlusion and calibration:

  plain          PlainNet: ResNet without the shortcuts
  resnet         ResNet-18, or another depth
  resnet-cutout  the same with Cutout on every training image

Recipes set the defaults of the options of training: source is Adam at 0.001, 32 images
in a step, 20 epochs, no augmentation; he2015 is SGD with momentum, steps and weight
decay, 90 epochs; modern is SGD with warm-up, cosine, label smoothing, an average of the
weights and mixed precision, 120 epochs.

examples:
  python examples/imagenet_cutout.py --preset quick
  python examples/imagenet_cutout.py --data-dir /data/imagenet --recipe he2015
  python examples/imagenet_cutout.py --data-dir /data/imagenet --recipe modern \\
      --devices all --networks resnet resnet-cutout
  python examples/imagenet_cutout.py --dataset tfds:imagenet2012 --classes 10 \\
      --per-class 500 --image-size 128
  python examples/imagenet_cutout.py --data-dir /data/imagenet --check
  python examples/imagenet_cutout.py --data-dir /data/imagenet \\
      --evaluate runs/imagenet-default/units/resnet-seed000/model.keras

Without --data-dir and --dataset, a tiny tree of drawn pictures in ImageNet's format is
written and used, as a demonstration. The same command resumes an interrupted run.
"""

Network = Literal["plain", "resnet", "resnet-cutout"]
NETWORKS: tuple[Network, ...] = ("plain", "resnet", "resnet-cutout")


@dataclass(frozen=True, kw_only=True)
class Settings(Devices, Recipe, Images):
    """The settings of the comparison; the comments are the help of the options.

    Args:
        jobs: trainings at a time, one thread each; 1 is one training with all threads
    """

    out: Path = Path("runs/imagenet-default")
    jobs: Positive = 1
    # measure a saved network or a checkpoint (.keras) on the validation images, and end
    evaluate: Aside[Path | None] = None
    networks: tuple[Network, ...] = NETWORKS  # which of the three
    depth: Positive = 18  # 18, 34, 50, 101, 152 or 200; 6n + 2 for cifar
    # of ResNet; cifar is for small images
    variant: Literal["torchvision", "paper", "cifar"] = "torchvision"
    # side of the erased square in pixels
    cutout_size: Annotated[Positive | None, shown_default("half of the image's")] = None
    # sides of the patches erased from validation images, as shares of theirs
    occlusion: tuple[Share, ...] = (0.125, 0.25, 0.375, 0.5)
    seeds: Positive = 1  # number of seeds; each trains all networks
    # the defaults of the options of training, which are those below
    recipe: Literal["source", "he2015", "modern"] = "source"

    def checked(self) -> "Settings":
        settings = super().checked()
        own = self.classes or self.per_class or self.check or self.hosts
        refuse(
            {
                "--classes, --per-class, --check and --hosts are for --data-dir or "
                "--dataset": bool(self.is_tiny and own),
                f"the file --evaluate {self.evaluate} does not exist": (
                    self.evaluate is not None and not self.evaluate.is_file()
                ),
                "argument --networks: at least one is needed": not self.networks,
            }
        )
        # Sizes that are equal in pixels are one size.
        pixels = {round(size * self.image_size): size for size in self.occlusion}
        return settings.replace(
            cutout_size=self.cutout_size or self.image_size // 2,
            networks=tuple(name for name in NETWORKS if name in self.networks),
            occlusion=tuple(sorted(pixels[size] for size in set(pixels) - {0})),
        )


def parse_options(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of a command line."""
    recipe: Any = choice("--recipe", ["source", *PUBLISHED], "source", arguments)
    default = Settings(recipe=recipe, **PUBLISHED.get(recipe, {}))
    quick = default.replace(
        out=Path("runs/imagenet-quick"),
        jobs=Run().jobs,
        depth=14,
        variant="cifar",
        image_size=32,
        seeds=2,
        epochs=10,
    )
    presets = {"quick": quick, "default": default}
    return parse_settings(presets, "imagenet_cutout.py", DESCRIPTION, arguments)


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


@dataclass(frozen=True)
class Job:
    """What all trainings of a run share."""

    source: str
    settings: Mapping[str, Any]
    folder: Path
    states: Path
    options: Settings

    def open_data(self, per_class: int | None) -> ImageNetFolder:
        """The images of the run."""
        classes, data_dir = self.settings["class_ids"], self.options.data_dir
        return open_data(self.source, classes, per_class, data_dir)


def train(arguments: Mapping[str, Any], job: Job) -> Any:
    """Trains and measures one network with one seed, in a worker process."""
    network, seed, settings = arguments["network"], arguments["seed"], job.settings
    name = task_name(network, seed)
    state = job.states / name
    # Before anything else: JAX must not have started when hosts come together.
    connection = connect(job.options, settings)
    data = job.open_data(settings["per_class"])
    keras.utils.clear_session()
    keras.config.set_dtype_policy(settings["precision"])
    with connection.scope():
        model = build_network(network, settings, seed)
        compile_by_recipe(model, settings)
    board = job.folder / "tensorboard" / name if job.options.tensorboard else None
    history, diverged = fit(model, data, settings, seed, state, connection, board)
    connection.close()
    result = {
        **arguments,
        "parameters": model.count_params(),
        "devices": (state / DEVICES).read_text("utf-8"),
        **summary(history, diverged),
    }
    files: dict[str, Any] = {"history.csv": pd.DataFrame(history)} if history else {}
    if (state / NORMS).is_file():
        files[NORMS] = (state / NORMS).read_bytes()
    if diverged or job.options.hosts:  # one host measures, alone
        return result, files
    model = connection.local_copy(model)
    few = job.open_data(images_to_compare(data))
    measures, measured = measure(model, data, few, settings)
    if name != make_tasks(settings)[0].name:
        del measured[PICTURES]  # all networks of all seeds are shown the same ones
    without_optimizer(model).save(state / "model.keras")
    files |= {**measured, "model.keras": (state / "model.keras").read_bytes()}
    if result["best_epoch"] < len(history):
        files[BEST] = (state / BEST).read_bytes()
    return {**result, **measures}, files


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


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options(arguments)
    check_devices(options, options.batch_size)
    # The tiny tree is made elsewhere until it is known to be needed.
    with tempfile.TemporaryDirectory() as temporary:
        source, data = open_source(options, Path(temporary))
        settings = {
            **options.identity(),
            # Sums over threads depend on how many there are.
            "threads": "one" if options.jobs > 1 else "all",
            **image_identity(options, source, data),
            "steps_per_epoch": data.num_images("train") // options.batch_size,
        }
        if options.check:
            return
        if options.evaluate is not None:
            shape = (options.image_size, options.image_size, 3)
            images = batches(data, settings)
            print(measure_file(options.evaluate, shape, data.num_classes, images))
            return
        check_images(settings, data)
        with refusing():
            for network in settings["networks"]:
                build_network(network, settings, seed=0)
        folder = RunFolder(options.out, settings, decoder())
    tasks = make_tasks(settings)

    def prepare(options: Settings) -> Job:
        path = folder.path.resolve()
        place = open_source(options, path)[0] if options.is_tiny else source
        return Job(place, settings, path, folder.states.resolve(), options)

    def report() -> Path:
        from _imagenet_report import write_imagenet_report

        return write_imagenet_report(folder, tasks, CLAIMS, options.preset == "quick")

    run_on_devices(options, folder, tasks, train, prepare, report, measure="top1")


if __name__ == "__main__":
    run_main(main, "imagenet_cutout.py")
