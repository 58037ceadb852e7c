"""The settings and the command line of the ImageNet comparison."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from _imagenet_recipes import RECIPES, Recipe, complete

from keras_residual._cores import cores
from keras_residual.experiments import (
    Natural,
    Positive,
    Rate,
    RefusedError,
    Run,
    Share,
    parse_settings,
)
from keras_residual.experiments.settings import Bounds, choice

Network = Literal["plain", "resnet", "resnet-cutout"]
NETWORKS: tuple[Network, ...] = ("plain", "resnet", "resnet-cutout")
Duration = Annotated[float, Bounds(0, float("inf"), "a number, 0 or above")]

DESCRIPTION = """\
Train a plain network, a residual network and a residual network with Cutout on ImageNet
or anything smaller, over one or several seeds, and report accuracy, the gap between
training and validation, robustness under occlusion and calibration:

  plain          PlainNet: ResNet without the shortcuts
  resnet         ResNet-18, or another depth
  resnet-cutout  the same with Cutout on every training image

Recipes: source is Adam at 0.001, 32 images in a step, 20 epochs, no augmentation;
he2015 is SGD with momentum, steps and weight decay, 90 epochs; modern is SGD with
warm-up, cosine, label smoothing, an average of the weights and mixed precision, 120
epochs.

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

Without --data-dir and --dataset a tiny tree in ImageNet's format is written and used:
it shows that everything works. The same command goes on where an interrupted run
stopped. What the recipe says holds where an option of the training is None.
"""


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """The settings of the ImageNet comparison.

    Args:
        jobs: trainings at a time, one thread each; 1 is one training with all threads
        check: read every image file once, say what is wrong with them, and end
        evaluate: measure a saved network or a checkpoint (.keras) on the validation
            images, and end
        data_dir: ImageNet as Kaggle or torchvision have it, or folders of classes; with
            --dataset the folder of TensorFlow Datasets
        dataset: tfds:<name>, such as tfds:imagenet2012
        classes: how many classes, or their names (default: all)
        per_class: training images of each class (default: all)
        image_size: height and width in pixels
        center_fraction: share of the shorter side that the validation crop shows
        networks: which of the three
        depth: 18, 34, 50, 101, 152 or 200; 6n + 2 for cifar
        variant: of ResNet; cifar is for small images
        cutout_size: side of the erased square in pixels (default: half of the image's)
        occlusion: sides of the patches erased from validation images, as shares of
            theirs
        recipe: what is not given below
        seeds: number of seeds; each trains all networks
        epochs: epochs of each training
        batch_size: images in a step, over all devices and hosts
        learning_rate: peak; for SGD it grows with the batch size
        warmup_epochs: epochs in which the rate grows from 0
        momentum: of SGD
        weight_decay: of SGD as PyTorch counts it, of Adam as AdamW
        label_smoothing: share of the target for all classes
        crop_area: smallest share of a picture in a crop; 0 for no crops
        ema_epochs: time constant of the average of the weights
        nesterov: momentum that looks ahead
        decay_all: weight decay of batch normalization and biases as well
        optimizer: which one
        schedule: of the learning rate
        precision: of the computation
        record_every: steps between two records of the gradient norms; 0 for none
        tensorboard: write summaries for TensorBoard
        devices: share each step among all devices of a host (TensorFlow, JAX)
        hosts: share each step among hosts (JAX); the first is address:port of the one
            that coordinates, and all need the same run folder
        host_index: which of the hosts this one is, from 0
        host_timeout: seconds until a host that is silent counts as lost
    """

    jobs: Positive = 1
    check: bool = False
    evaluate: Path | None = None
    data_dir: Path | None = None
    dataset: str | None = None
    classes: tuple[str, ...] = ()
    per_class: Positive | None = None
    image_size: Positive = 224
    center_fraction: Share = 0.875
    networks: tuple[Network, ...] = NETWORKS
    depth: Positive = 18
    variant: Literal["torchvision", "paper", "cifar"] = "torchvision"
    cutout_size: Positive | None = None
    occlusion: tuple[Share, ...] = (0.125, 0.25, 0.375, 0.5)
    recipe: Literal["source", "he2015", "modern"] = "source"
    seeds: Positive = 1
    epochs: Positive | None = None
    batch_size: Positive | None = None
    learning_rate: Rate | None = None
    warmup_epochs: Natural | None = None
    momentum: Share | None = None
    weight_decay: Share | None = None
    label_smoothing: Share | None = None
    crop_area: Share | None = None
    ema_epochs: Duration | None = None
    nesterov: bool = False
    decay_all: bool = False
    optimizer: Literal["adam", "sgd"] | None = None
    schedule: Literal["constant", "steps", "cosine"] | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] | None = None
    record_every: Natural = 50
    tensorboard: bool = False
    devices: Literal["one", "all"] = "one"
    hosts: tuple[str, ...] = ()
    host_index: int = 0
    host_timeout: Positive = 100

    @property
    def is_tiny(self) -> bool:
        """Whether the images are generated."""
        return self.dataset is None and self.data_dir is None

    @property
    def wanted_classes(self) -> int | list[str] | None:
        """Returns the number of classes, their names, or None for all."""
        if len(self.classes) == 1 and self.classes[0].isdecimal():
            return int(self.classes[0])
        return list(self.classes) or None

    @property
    def tiny(self) -> dict[str, int]:
        """Returns how many classes and images the tiny tree has."""
        train = 50 if self.preset == "quick" else 100
        return {"num_classes": 10, "train_per_class": train, "val_per_class": 20}

    @property
    def values(self) -> Recipe:
        """Returns the recipe, with the given values in place of its own."""
        names = [field.name for field in dataclasses.fields(Recipe)]
        given = {name: getattr(self, name) for name in names}
        base = RECIPES[self.recipe]
        for name in ("nesterov", "decay_all"):
            if given[name] == getattr(base, name):
                del given[name]
        return complete(
            self.recipe,
            {name: value for name, value in given.items() if value is not None},
        )

    def checked(self) -> "Settings":
        data_dir, values = self.data_dir, self.values
        for wrong, message in (
            (
                self.dataset is not None and not self.dataset.startswith("tfds:"),
                f"unknown dataset {self.dataset!r}: it must be tfds:<name>; a folder "
                "is given by --data-dir",
            ),
            (
                data_dir is not None and not data_dir.is_dir(),
                f"the folder --data-dir {data_dir} does not exist or is no folder",
            ),
            (
                self.check and self.dataset,
                "--check is for --data-dir: TensorFlow Datasets checks what it "
                "downloads",
            ),
            (
                self.is_tiny and (self.classes or self.per_class or self.check),
                "--classes, --per-class and --check are for --data-dir or --dataset",
            ),
            (
                self.center_fraction == 0,
                "argument --center-fraction: must be above 0",
            ),
            (
                self.evaluate is not None and not self.evaluate.is_file(),
                f"the file --evaluate {self.evaluate} does not exist",
            ),
            (not self.networks, "argument --networks: at least one is needed"),
            (
                values.warmup_epochs and values.schedule != "cosine",
                "argument --warmup-epochs: is for the schedule cosine",
            ),
            (
                values.warmup_epochs >= values.epochs,
                f"argument --epochs: must be above the {values.warmup_epochs} of "
                "the warm-up (--warmup-epochs)",
            ),
            (values.momentum == 1, "argument --momentum: must be below 1"),
            (
                self.hosts and self.jobs > 1,
                "argument --hosts: one training at a time, --jobs 1",
            ),
            (
                self.hosts and self.is_tiny,
                "--hosts is for --data-dir or --dataset",
            ),
            (
                self.hosts and self.scheduler,
                "--hosts and --scheduler exclude each other",
            ),
        ):
            if wrong:
                raise RefusedError(message)
        super().checked()
        # Sizes that are equal in pixels are one size.
        pixels = {round(size * self.image_size): size for size in self.occlusion}
        return self.replace(
            cutout_size=self.cutout_size or self.image_size // 2,
            networks=tuple(name for name in NETWORKS if name in self.networks),
            occlusion=tuple(sorted(pixels[size] for size in set(pixels) - {0})),
        )


def parse_options(arguments: Sequence[str] | None = None) -> Settings:
    """Returns the settings of a command line."""
    recipe: Any = choice("--recipe", list(RECIPES), "source", arguments)
    flags = {name: getattr(RECIPES[recipe], name) for name in ("nesterov", "decay_all")}
    default = Settings(out=Path("runs/imagenet-default"), recipe=recipe, **flags)
    quick = default.replace(
        out=Path("runs/imagenet-quick"),
        jobs=cores(),
        depth=14,
        variant="cifar",
        image_size=32,
        seeds=2,
        epochs=10,
    )
    presets = {"quick": quick, "default": default}
    return parse_settings(presets, "imagenet_cutout.py", DESCRIPTION, arguments)
