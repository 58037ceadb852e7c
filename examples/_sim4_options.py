"""The command line of simulation 4. It imports no backend, so it answers at once."""

import argparse
from pathlib import Path
from typing import Any

from _experiment import RefusedError, check_output_path, cores
from _options import Parser, positive, rate, share

# A preset only sets defaults: every option can be given as well.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"blocks": [4], "seeds": 7, "epochs": 4, "batch_norm": "on"},
    "default": {"blocks": [10], "seeds": 10, "epochs": 15, "batch_norm": "on"},
    "full": {"blocks": [2, 5, 10, 20], "seeds": 10, "epochs": 15, "batch_norm": "both"},
}

DESCRIPTION = """\
Train a plain and a residual network that differ in the shortcuts alone, over several
seeds, and report whether shortcuts keep gradients stronger and raise the accuracy.

Both have a 3x3 convolution of stride 2 (which keeps the blocks at 16 x 16 pixels and
the price at a quarter), N blocks of two 3x3 convolutions at constant width, average
pooling and a dense layer: with 10 blocks about 60,000 parameters each, equal to each
other, and for one seed the same initial weights, data, split and order.
"""

EXAMPLES = """\
examples:
  python examples/sim4_residual.py --preset quick
  python examples/sim4_residual.py --blocks 2 5 10 20 --batch-norm both --out runs/depth
  python examples/sim4_residual.py --dataset cifar10 --data-dir ../shared/data/cifar10

The same command goes on where an interrupted run stopped. Presets: quick is 4 blocks,
4 epochs, 7 seeds; default is 10 blocks, 15 epochs, 10 seeds; full is the default with
2, 5, 10 and 20 blocks, with and without batch normalization.
"""


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the run, checked as far as that goes without reading the data."""
    parser = Parser(
        prog="sim4_residual.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--preset", choices=PRESETS, default="default", help="size")
    run.add_argument(
        "--out",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="run folder (default: runs/sim4-PRESET)",
    )
    run.add_argument(
        "--jobs",
        type=positive,
        default=min(cores(), 8),
        metavar="N",
        help="trainings at a time, one thread each; they change no number",
    )
    _add_data(parser.add_argument_group("data"))
    _add_training(parser.add_argument_group("networks and training"))

    preset = parser.parse_known_args(arguments)[0].preset
    parser.set_defaults(
        **PRESETS[preset], out=Path(f"runs/sim4-{preset}"), data_dir=None
    )
    options = parser.parse_args(arguments)
    if options.images < 10:
        parser.error(f"argument --images must be 10 or more, not {options.images}")
    options.blocks = sorted(set(options.blocks))
    _check_source(options.dataset, options.data_dir)
    if options.dataset == "synthetic":
        options.strength = getattr(options, "strength", 0.3)
    elif "strength" in options:
        parser.error(
            f"argument --strength is for --dataset synthetic, not {options.dataset}"
        )
    check_output_path(options.out)
    return options


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset",
        default="synthetic",
        metavar="NAME",
        help="synthetic, cifar10, tfds:<name>, or a folder: a local copy of CIFAR-10 "
        "or one folder of 32x32 images per class",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="local copy for cifar10, or the folder of TensorFlow Datasets",
    )
    group.add_argument(
        "--images",
        type=positive,
        default=2000,
        metavar="N",
        help="images used; 80 %% of them train, 20 %% validate",
    )
    group.add_argument(
        "--strength",
        type=share,
        default=argparse.SUPPRESS,
        metavar="S",
        help="largest share of the pattern in a synthetic image, 0 to 1 (default: 0.3)",
    )


def _add_training(group: argparse._ArgumentGroup) -> None:
    for name, text in (
        ("--blocks", "blocks of each net; several numbers sweep the depth"),
        ("--seeds", "number of seeds; each trains both nets"),
        ("--epochs", "epochs of each training"),
    ):
        group.add_argument(
            name,
            type=positive,
            nargs="+" if name == "--blocks" else None,
            default=argparse.SUPPRESS,  # the preset's
            metavar="N",
            help=f"{text} (default: the preset's)",
        )
    group.add_argument(
        "--batch-norm",
        choices=("on", "off", "both"),
        default=argparse.SUPPRESS,
        help="whether blocks have batch normalization (default: the preset's)",
    )
    for name, default, text in (
        ("--width", 18, "channels of every block"),
        ("--batch-size", 32, "images in a step"),
        ("--record-every", 10, "steps between two records of the gradient norms"),
    ):
        group.add_argument(name, type=positive, default=default, metavar="N", help=text)
    group.add_argument(
        "--learning-rate", type=rate, default=0.001, metavar="R", help="of Adam"
    )
    group.add_argument(
        "--threshold",
        type=share,
        default=0.5,
        metavar="A",
        help="accuracy for the figure of the epochs to reach it",
    )


def _check_source(dataset: str, data_dir: Path | None) -> None:
    stored = dataset == "cifar10" or dataset.startswith("tfds:")
    named = stored or dataset == "synthetic"
    for folder in (None if named else Path(dataset), data_dir):
        if folder is None or folder.is_dir():
            continue
        if folder.exists():
            raise RefusedError(f"{folder} is a file; a folder of images is needed")
        if folder == data_dir:
            raise RefusedError(f"the folder --data-dir {folder} does not exist")
        raise RefusedError(
            f"unknown dataset {dataset!r}: it must be synthetic, cifar10, "
            "tfds:<name> or an existing folder"
        )
    if data_dir is not None and not stored:
        raise RefusedError(
            f"--data-dir is for cifar10 and tfds:<name>, not for --dataset {dataset}"
        )
