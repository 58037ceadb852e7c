"""The command line of simulation 5. It imports no backend, so it answers at once."""

import argparse
from pathlib import Path
from typing import Any

from _experiment import RefusedError, check_output_path, cores
from _options import Parser, positive, rate, share

# A preset only sets defaults: every option can be given as well.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "backbone": "resnet18",
        "per_class": 150,
        "image_size": 48,
        "seeds": 3,
        "shares": [0.1, 1.0],
        "epochs": [10, 10, 4],
        "source_images": 4000,
        "source_classes": 20,
        "source_image_size": 32,
        "source_epochs": 3,
    },
    "default": {
        "backbone": "ResNet50",
        "per_class": 500,
        "seeds": 7,
        "shares": [0.05, 0.1, 0.25, 0.5, 1.0],
        "epochs": [20, 10, 12],
        "source_images": 20000,
        "source_classes": 50,
        "source_image_size": 64,
        "source_epochs": 5,
    },
}
# Photos need some size to be told; the synthetic images do not.
IMAGE_SIZES = {"synthetic": 64, "photos": 160}

DESCRIPTION = """\
Train a classifier of few images in three ways, over several seeds and amounts of data,
and report what transfer learning is worth:

  scratch     three convolutions (32, 64, 128), average pooling, a dense layer of 512
  frozen      a pretrained backbone, of which nothing trains, and a dense layer of 128
  fine-tuned  the same, and the last 20 layers of the backbone train

60 % of the images train, 20 % validate, 20 % test. Each seed draws its own split; the
three ways of a seed share it. A smaller amount of data is a part of the larger one.
"""

EXAMPLES = """\
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


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the run, checked as far as that goes without reading the data."""
    parser = Parser(prog="sim5_transfer.py", description=DESCRIPTION, epilog=EXAMPLES)
    run = parser.add_argument_group("the run")
    run.add_argument("--preset", choices=PRESETS, default="default", help="size")
    run.add_argument(
        "--out",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="run folder (default: runs/sim5-PRESET)",
    )
    run.add_argument(
        "--jobs",
        type=positive,
        default=min(cores(), 8),
        metavar="N",
        help="trainings at a time, one thread each; they change no number",
    )
    _add_data(parser.add_argument_group("data"))
    _add_source(parser.add_argument_group("backbone and its weights"))
    _add_training(parser.add_argument_group("training"))

    preset = parser.parse_known_args(arguments)[0].preset
    parser.set_defaults(
        **{"image_size": None, **PRESETS[preset]}, out=Path(f"runs/sim5-{preset}")
    )
    options = parser.parse_args(arguments)
    _complete(parser, options)
    check_output_path(options.out)
    return options


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset",
        default=None,
        metavar="NAME",
        help="synthetic (the default: noise tinted warm or cold) or tfds:<name>, such "
        "as tfds:cats_vs_dogs",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of photos: one folder per class, or files named cat.0.jpg, "
        "dog.0.jpg; with tfds:<name> the folder of TensorFlow Datasets",
    )
    group.add_argument(
        "--per-class",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="images of each class (default: the preset's)",
    )
    group.add_argument(
        "--image-size",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="height and width in pixels (default: the preset's; 64 for synthetic "
        "images, 160 for photos)",
    )
    group.add_argument(
        "--strength",
        type=share,
        default=argparse.SUPPRESS,
        metavar="S",
        help="largest share of the tint in a synthetic image, 0 to 1",
    )


def _add_source(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--backbone",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="a network of keras.applications, or resnet18 and so on of this library "
        "(default: the preset's)",
    )
    group.add_argument(
        "--weights",
        default=None,
        metavar="FILE",
        help="imagenet, or a file of the backbone's weights, with or without its top",
    )
    group.add_argument(
        "--source",
        choices=("generated",),
        default=None,
        help="train the backbone first, on generated shapes and textures",
    )
    for name, text in (
        ("--source-images", "generated images; 90 %% of them train"),
        ("--source-classes", "classes of shapes and textures, at most 50"),
        ("--source-image-size", "their height and width in pixels"),
        ("--source-epochs", "epochs of that training"),
    ):
        group.add_argument(
            name,
            type=positive,
            default=argparse.SUPPRESS,
            metavar="N",
            help=f"{text} (default: the preset's)",
        )


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seeds",
        type=positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="number of seeds (default: the preset's)",
    )
    group.add_argument(
        "--shares",
        type=share,
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="S",
        help="shares of the training images to train with (default: the preset's)",
    )
    group.add_argument(
        "--epochs",
        type=positive,
        nargs=3,
        default=argparse.SUPPRESS,
        metavar=("SCRATCH", "FROZEN", "TUNED"),
        help="epochs of each way (default: the preset's)",
    )
    group.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="images in a step with all training images; with fewer of them smaller "
        "in proportion, but at least 8",
    )
    group.add_argument(
        "--learning-rate",
        type=rate,
        default=0.001,
        metavar="R",
        help="of Adam, from scratch and with the backbone frozen",
    )
    group.add_argument(
        "--fine-tuning-rate",
        type=rate,
        default=0.0001,
        metavar="R",
        help="of Adam, for fine-tuning",
    )


def _complete(parser: Parser, options: argparse.Namespace) -> None:
    if options.dataset is None:
        options.dataset = "synthetic" if options.data_dir is None else "photos"
    elif options.dataset != "synthetic" and not options.dataset.startswith("tfds:"):
        raise RefusedError(
            f"unknown dataset {options.dataset!r}: it must be synthetic or "
            "tfds:<name>; a folder of photos is given by --data-dir"
        )
    synthetic = options.dataset == "synthetic"
    if synthetic and options.data_dir is not None:
        raise RefusedError("--data-dir is for photos, not for --dataset synthetic")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise RefusedError(
            f"the folder --data-dir {options.data_dir} does not exist or is no folder"
        )
    if not synthetic and "strength" in options:
        parser.error("argument --strength is for --dataset synthetic, not for photos")
    if options.weights is not None and options.source is not None:
        parser.error("argument --source: not allowed with argument --weights")
    file = options.weights
    if file not in (None, "imagenet") and not Path(file).is_file():
        raise RefusedError(f"--weights must be imagenet or a file, not {file!r}")
    if options.weights is None and options.source is None and options.preset == "quick":
        options.source = "generated"
    if options.image_size is None:
        options.image_size = IMAGE_SIZES["synthetic" if synthetic else "photos"]
    options.shares = sorted(set(options.shares))
    if options.shares[0] == 0:
        parser.error("argument --shares: must be above 0, not '0'")
    if options.per_class < 10:  # two of each to validate and to test
        parser.error(
            f"argument --per-class must be 10 or more, not {options.per_class}"
        )
    if options.source_images < 10:  # one of them is held out
        parser.error(
            f"argument --source-images must be 10 or more, not {options.source_images}"
        )
    if not 2 <= options.source_classes <= 50:
        parser.error(
            f"argument --source-classes must be 2 to 50, not {options.source_classes}"
        )
