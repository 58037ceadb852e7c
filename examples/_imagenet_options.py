"""The command line of the ImageNet comparison. It imports no backend."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from _experiment import RefusedError, check_output_path, cores
from _imagenet_recipes import RECIPES, Recipe, complete
from _options import Parser, duration, natural, positive, rate, share

NETWORKS = ("plain", "resnet", "resnet-cutout")

# A preset only sets defaults: every option can be given as well.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "depth": 14,
        "variant": "cifar",
        "image_size": 32,
        "seeds": 3,
        "epochs": 10,
        "tiny": {"num_classes": 10, "train_per_class": 50, "val_per_class": 20},
    },
    "default": {
        "depth": 18,
        "variant": "torchvision",
        "image_size": 224,
        "seeds": 1,
        "tiny": {"num_classes": 10, "train_per_class": 100, "val_per_class": 20},
    },
}

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
"""

EXAMPLES = """\
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
stopped.
"""


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the run, checked as far as that goes without reading the data."""
    parser = Parser(prog="imagenet_cutout.py", description=DESCRIPTION, epilog=EXAMPLES)
    _add_run(parser.add_argument_group("the run"))
    _add_data(parser.add_argument_group("data"))
    _add_networks(parser.add_argument_group("networks"))
    _add_training(parser.add_argument_group("training"))
    _add_machines(parser.add_argument_group("devices and hosts"))

    preset = parser.parse_known_args(arguments)[0].preset
    parser.set_defaults(**PRESETS[preset], out=Path(f"runs/imagenet-{preset}"))
    options = parser.parse_args(arguments)
    _complete(parser, options)
    check_output_path(options.out)
    return options


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--preset", choices=PRESETS, default="default", help="size")
    group.add_argument(
        "--out",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="run folder (default: runs/imagenet-PRESET)",
    )
    group.add_argument(
        "--jobs",
        type=positive,
        default=None,
        metavar="N",
        help="trainings at a time, one thread each; 1 is one training with all threads "
        "(default: as many as cores for the preset quick, otherwise 1)",
    )
    group.add_argument(
        "--check",
        action="store_true",
        help="read every image file once, say what is wrong with them, and end",
    )
    group.add_argument(
        "--evaluate",
        type=Path,
        default=None,
        metavar="FILE",
        help="measure a saved network or a checkpoint (.keras) on the validation "
        "images, and end",
    )


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data-dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="ImageNet as Kaggle or torchvision have it, or folders of classes; with "
        "--dataset the folder of TensorFlow Datasets",
    )
    group.add_argument(
        "--dataset",
        default=None,
        metavar="NAME",
        help="tfds:<name>, such as tfds:imagenet2012",
    )
    group.add_argument(
        "--classes",
        nargs="+",
        default=None,
        metavar="C",
        help="how many classes, or their names (default: all)",
    )
    group.add_argument(
        "--per-class",
        type=positive,
        default=None,
        metavar="N",
        help="training images of each class (default: all)",
    )
    group.add_argument(
        "--image-size",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="height and width in pixels (default: the preset's)",
    )
    group.add_argument(
        "--center-fraction",
        type=share,
        default=0.875,
        metavar="S",
        help="share of the shorter side that the validation crop shows",
    )


def _add_networks(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--networks",
        nargs="+",
        choices=NETWORKS,
        default=list(NETWORKS),
        metavar="NAME",
        help="which of the three",
    )
    group.add_argument(
        "--depth",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="18, 34, 50, 101, 152 or 200; 6n + 2 for cifar (default: the preset's)",
    )
    group.add_argument(
        "--variant",
        choices=("torchvision", "paper", "cifar"),
        default=argparse.SUPPRESS,
        help="of ResNet; cifar is for small images (default: the preset's)",
    )
    group.add_argument(
        "--cutout-size",
        type=positive,
        default=None,
        metavar="N",
        help="side of the erased square in pixels (default: half of the image's)",
    )
    group.add_argument(
        "--occlusion",
        type=share,
        nargs="+",
        default=[0.125, 0.25, 0.375, 0.5],
        metavar="S",
        help="sides of the patches erased from validation images, as shares of theirs",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recipe", choices=RECIPES, default="source", help="what is not given below"
    )
    group.add_argument(
        "--seeds",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="number of seeds; each trains all networks (default: the preset's)",
    )
    for name, kind, text in (
        ("--epochs", positive, "epochs of each training"),
        ("--batch-size", positive, "images in a step, over all devices and hosts"),
        ("--learning-rate", rate, "peak; for SGD it grows with the batch size"),
        ("--warmup-epochs", natural, "epochs in which the rate grows from 0"),
        ("--momentum", share, "of SGD"),
        ("--weight-decay", share, "of SGD as PyTorch counts it, of Adam as AdamW"),
        ("--label-smoothing", share, "share of the target for all classes"),
        ("--crop-area", share, "smallest share of a picture in a crop; 0: no crops"),
        ("--ema-epochs", duration, "time constant of the average of the weights"),
    ):
        group.add_argument(
            name,
            type=kind,
            default=argparse.SUPPRESS,
            metavar="N" if kind in (positive, natural) else "R",
            help=f"{text} (default: the recipe's)",
        )
    for name, text in (
        ("--nesterov", "momentum that looks ahead"),
        ("--decay-all", "weight decay of batch normalization and biases as well"),
    ):
        group.add_argument(
            name,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=f"{text} (default: the recipe's)",
        )
    for name, choices in (
        ("--optimizer", ("adam", "sgd")),
        ("--schedule", ("constant", "steps", "cosine")),
    ):
        group.add_argument(
            name,
            choices=choices,
            default=argparse.SUPPRESS,
            help="(default: the recipe's)",
        )
    group.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default=argparse.SUPPRESS,
        help="(default: the recipe's)",
    )
    group.add_argument(
        "--record-every",
        type=natural,
        default=50,
        metavar="N",
        help="steps between two records of the gradient norms; 0 for none",
    )
    group.add_argument(
        "--tensorboard", action="store_true", help="write summaries for TensorBoard"
    )


def _add_machines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--devices",
        choices=("one", "all"),
        default="one",
        help="share each step among all devices of a host (TensorFlow, JAX)",
    )
    group.add_argument(
        "--hosts",
        nargs="+",
        default=[],
        metavar="HOST",
        help="share each step among hosts (JAX); the first is address:port of the one "
        "that coordinates, and all need the same run folder",
    )
    group.add_argument(
        "--host-index",
        type=int,
        default=0,
        metavar="I",
        help="which of the hosts this one is, from 0",
    )
    group.add_argument(
        "--host-timeout",
        type=positive,
        default=100,
        metavar="N",
        help="seconds until a host that is silent counts as lost",
    )


def _complete(parser: Parser, options: argparse.Namespace) -> None:
    if options.dataset is not None and not options.dataset.startswith("tfds:"):
        raise RefusedError(
            f"unknown dataset {options.dataset!r}: it must be tfds:<name>; a folder is "
            "given by --data-dir"
        )
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise RefusedError(
            f"the folder --data-dir {options.data_dir} does not exist or is no folder"
        )
    options.is_tiny = options.dataset is None and options.data_dir is None
    if options.check and options.dataset:
        raise RefusedError(
            "--check is for --data-dir: TensorFlow Datasets checks what it downloads"
        )
    if options.is_tiny and (options.classes or options.per_class or options.check):
        raise RefusedError(
            "--classes, --per-class and --check are for --data-dir or --dataset"
        )
    if options.classes and len(options.classes) == 1 and options.classes[0].isdecimal():
        options.classes = int(options.classes[0])
    if options.center_fraction == 0:
        parser.error("argument --center-fraction: must be above 0")
    if options.evaluate is not None and not options.evaluate.is_file():
        raise RefusedError(f"the file --evaluate {options.evaluate} does not exist")
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: getattr(options, name) for name in names if name in options}
    options.values = complete(options.recipe, given)
    if options.values.warmup_epochs and options.values.schedule != "cosine":
        parser.error("argument --warmup-epochs: is for the schedule cosine")
    if options.values.warmup_epochs >= options.values.epochs:
        parser.error(
            f"argument --epochs: must be above the {options.values.warmup_epochs} of "
            "the warm-up (--warmup-epochs)"
        )
    if options.values.momentum == 1:
        parser.error("argument --momentum: must be below 1")
    if options.cutout_size is None:
        options.cutout_size = options.image_size // 2
    options.networks = [name for name in NETWORKS if name in options.networks]
    # Sizes that are equal in pixels are one size.
    pixels = {round(size * options.image_size): size for size in options.occlusion}
    options.occlusion = sorted(pixels[size] for size in set(pixels) - {0})
    if options.jobs is None:
        options.jobs = cores() if options.preset == "quick" else 1
    if options.hosts and options.jobs > 1:
        parser.error("argument --hosts: one training at a time, --jobs 1")
    if options.hosts and options.is_tiny:
        raise RefusedError("--hosts is for --data-dir or --dataset")
