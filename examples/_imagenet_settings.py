"""The settings, the recipes and the command line of the ImageNet comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from keras_residual.experiments import (
    Aside,
    Natural,
    Positive,
    Rate,
    Run,
    Share,
    parse_settings,
)
from keras_residual.experiments.devices import Cluster
from keras_residual.experiments.settings import Bounds, Folder, choice, refuse

Network = Literal["plain", "resnet", "resnet-cutout"]
NETWORKS: tuple[Network, ...] = ("plain", "resnet", "resnet-cutout")
Duration = Annotated[float, Bounds(0, float("inf"), "a number, 0 or above")]
Fraction = Annotated[float, Bounds(0, 1, "above 0, at most 1", open=True)]
Momentum = Annotated[float, Bounds(0, 0.9999, "0 or above, and below 1")]

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
written and used: it shows that everything works. The same command resumes an
interrupted run.
"""

# What differs from the defaults below, which are the options of the source's author:
# otherwise Keras's defaults, without augmentation.
RECIPES: dict[str, dict[str, Any]] = {
    "source": {},
    # He et al. 2015, section 3.4, with the steps, the epochs and the crops that give
    # torchvision's weights 69.758 % (pytorch/vision, references/classification).
    "he2015": {
        **{"optimizer": "sgd", "batch_size": 256, "epochs": 90, "schedule": "steps"},
        **{"weight_decay": 1e-4, "decay_all": True, "crop_area": 0.08},
    },
    # He, T. et al. 2019, "Bag of Tricks for Image Classification with Convolutional
    # Neural Networks", sections 3.1, 3.2 and 5; the average of weights is torchvision's
    # newer recipe's.
    "modern": {
        **{"optimizer": "sgd", "batch_size": 1024, "epochs": 120, "nesterov": True},
        **{"schedule": "cosine", "warmup_epochs": 5, "weight_decay": 1e-4},
        **{"label_smoothing": 0.1, "ema_epochs": 2.0, "precision": "mixed_bfloat16"},
        "crop_area": 0.08,
    },
}


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
        seeds: number of seeds; each trains all networks
        recipe: the defaults of the options of training, which are those below
        epochs: epochs of each training
        batch_size: images in a step, over all devices and hosts
        optimizer: which one
        learning_rate: peak (default: 0.001 for Adam; for SGD 0.1 with 256 images in a
            step, in proportion to their number)
        schedule: of the learning rate; steps is a tenth after each third of the epochs
        warmup_epochs: epochs in which the rate grows from 0, for cosine
        momentum: of SGD (default: 0.9)
        nesterov: momentum that looks ahead
        weight_decay: of SGD as PyTorch counts it, of Adam as AdamW
        decay_all: weight decay of batch normalization and biases as well
        label_smoothing: share of the target for all classes
        ema_epochs: time constant of the average of the weights, which is evaluated and
            kept, in epochs; 0 for none
        precision: of the computation
        crop_area: smallest share of a picture in a crop; 0 for no crops, no mirroring
        record_every: steps between two records of the gradient norms; 0 for none
        tensorboard: write summaries for TensorBoard
        devices: share each step among all devices of a host (TensorFlow, JAX)
        hosts: share each step among hosts (JAX); the first is address:port of the one
            that coordinates, and all need the same run folder
        host_index: which of the hosts this one is, from 0
        host_timeout: seconds until a host that is silent counts as lost
    """

    out: Path = Path("runs/imagenet-default")
    jobs: Positive = 1
    check: Aside[bool] = False
    evaluate: Aside[Path | None] = None
    data_dir: Aside[Folder | None] = None
    dataset: Aside[str | None] = None
    classes: Aside[tuple[str, ...]] = ()
    per_class: Positive | None = None
    image_size: Positive = 224
    center_fraction: Fraction = 0.875
    networks: tuple[Network, ...] = NETWORKS
    depth: Positive = 18
    variant: Literal["torchvision", "paper", "cifar"] = "torchvision"
    cutout_size: Positive | None = None
    occlusion: tuple[Share, ...] = (0.125, 0.25, 0.375, 0.5)
    seeds: Positive = 1
    recipe: Literal["source", "he2015", "modern"] = "source"
    epochs: Positive = 20
    batch_size: Positive = 32
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Rate | None = None
    schedule: Literal["constant", "steps", "cosine"] = "constant"
    warmup_epochs: Natural = 0
    momentum: Momentum | None = None
    nesterov: bool = False
    weight_decay: Share = 0.0
    decay_all: bool = False
    label_smoothing: Share = 0.0
    ema_epochs: Duration = 0.0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    crop_area: Share = 0.0
    record_every: Natural = 50
    tensorboard: Aside[bool] = False
    # On TensorFlow each device normalizes its share of a batch.
    devices: Literal["one", "all"] = "one"
    hosts: Aside[tuple[str, ...]] = ()
    host_index: Aside[int] = 0
    host_timeout: Aside[Positive] = 100

    @property
    def is_tiny(self) -> bool:
        """Whether the images are generated."""
        return self.dataset is None and self.data_dir is None

    @property
    def tiny(self) -> dict[str, int]:
        """How many classes and images the tiny tree has."""
        train = 50 if self.preset == "quick" else 100
        return {"num_classes": 10, "train_per_class": train, "val_per_class": 20}

    @property
    def cluster(self) -> Cluster:
        """The devices and hosts of one training."""
        hosts = tuple(self.hosts)
        timeout = self.host_timeout
        return Cluster(self.devices, hosts, self.host_index, heartbeat_timeout=timeout)

    def checked(self) -> "Settings":
        sgd = self.optimizer == "sgd"
        # Where the optimizer is not the recipe's, nor is its kind of momentum.
        inherited = RECIPES[self.recipe].get("nesterov", False)
        unknown = self.dataset is not None and not self.dataset.startswith("tfds:")
        own = self.classes or self.per_class or self.check or self.hosts
        refuse(
            {
                f"unknown dataset {self.dataset!r}: it must be tfds:<name>; a folder "
                "is given by --data-dir": unknown,
                "--check is for --data-dir: TensorFlow Datasets checks what it "
                "downloads": bool(self.check and self.dataset),
                "argument --hosts: one training at a time, --jobs 1": bool(
                    self.hosts and self.jobs > 1
                ),
                "--hosts and --scheduler exclude each other": bool(
                    self.hosts and self.scheduler
                ),
                "--classes, --per-class, --check and --hosts are for --data-dir or "
                "--dataset": bool(self.is_tiny and own),
                f"the file --evaluate {self.evaluate} does not exist": (
                    self.evaluate is not None and not self.evaluate.is_file()
                ),
                "argument --networks: at least one is needed": not self.networks,
                "argument --warmup-epochs: is for the schedule cosine": (
                    self.warmup_epochs > 0 and self.schedule != "cosine"
                ),
                f"argument --epochs: must be above the {self.warmup_epochs} of the "
                "warm-up (--warmup-epochs)": self.warmup_epochs >= self.epochs,
                "argument --momentum: is for the optimizer sgd, not for adam": bool(
                    self.momentum and not sgd
                ),
                "argument --nesterov: is for the optimizer sgd, not for adam": (
                    self.nesterov and not sgd and not inherited
                ),
            }
        )
        super().checked()
        # Sizes that are equal in pixels are one size.
        pixels = {round(size * self.image_size): size for size in self.occlusion}
        # Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
        rate = 0.1 * self.batch_size / 256 if sgd else 0.001
        momentum = 0.9 if self.momentum is None else self.momentum
        return self.replace(
            cutout_size=self.cutout_size or self.image_size // 2,
            networks=tuple(name for name in NETWORKS if name in self.networks),
            occlusion=tuple(sorted(pixels[size] for size in set(pixels) - {0})),
            learning_rate=self.learning_rate or rate,
            momentum=momentum if sgd else 0.0,
            nesterov=self.nesterov and sgd,
        )


def parse_options(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of a command line."""
    recipe: Any = choice("--recipe", list(RECIPES), "source", arguments)
    default = Settings(recipe=recipe, **RECIPES[recipe])
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
