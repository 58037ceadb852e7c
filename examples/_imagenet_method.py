"""The ImageNet report on the run itself: title, method, settings, limits."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from _imagenet_tables import NETWORKS, network_name

from keras_residual.experiments.reporting import count

LIMITS = """\
- What holds here holds for these images, this size, this recipe and this number of
epochs. The source stops early: a network that learns faster is ahead then, and need not
stay ahead. He et al. find almost no difference between 18 layers with and without
shortcuts once both are trained to the end.

- The outcome is the accuracy after the last epoch on the validation images, which chose
nothing. The best epoch is chosen by them and stands there only for information.

- All seeds share the images; they differ in the initial weights, the order, the crops
and the patches. The interval over seeds says nothing about other images.

- Occlusion means erased squares at random places, and Cutout trains with such squares:
the accuracy under them promises nothing for objects that hide each other, for noise or
for blur.

- The calibration error depends on the number of bins and, with few images, is too large
for every network. A recipe with label smoothing makes a network less sure by design.

- Trainings that diverged have no outcome and are left out of the means and the tests,
which flatters the network that diverges; their number stands in the tables."""


def title(settings: dict[str, Any]) -> str:
    """Title that names networks and data."""
    names = [
        network_name(name, settings)
        for name in NETWORKS
        if name in settings["networks"]
    ]
    together = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{together} on {settings['data']}"


METHOD = (
    "plain: the network without shortcuts. resnet: the same convolutions with "
    "shortcuts. resnet-cutout: the same network, trained on images of which Cutout "
    "erases a square at a random place. The networks of a seed see the same images in "
    "the same order. Top-1 and top-5 are shares of the validation images, on the "
    "centre crop, after the last epoch."
)


def facts(results: pd.DataFrame, settings: dict[str, Any]) -> dict[str, str]:
    """Every setting, those that belong together in one line."""
    known = {
        "data": settings["data"],
        "classes": _shortened(settings["classes"]),
        "networks": f"{', '.join(settings['networks'])}; depth {settings['depth']}, "
        f"variant {settings['variant']}",
        "training": f"recipe {settings['recipe']}, "
        f"{count(settings['epochs'], 'epoch')}, batch size {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']:g}",
        "input": f"{settings['image_size']} pixels; Cutout erases squares of "
        f"{settings['cutout_size']}",
        "seeds": str(results["seed"].nunique()),
    }
    told = {
        *("data", "classes", "networks", "depth", "variant", "recipe", "epochs"),
        *("batch_size", "learning_rate", "image_size", "cutout_size", "seeds"),
    }
    return known | {
        name.replace("_", " "): textwrap.shorten(
            value if isinstance(value, str) else json.dumps(value), 200
        )
        for name, value in settings.items()
        if name not in told and value is not None
    }


def _shortened(classes: Sequence[str], most: int = 20) -> str:
    named = ", ".join(classes[:most])
    more = f", and {len(classes) - most} more" if len(classes) > most else ""
    return f"{len(classes)}: {named}{more}"
