"""What others claim about the networks of the ImageNet comparison, beside ours."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments.reporting import in_percent

SOURCE = "github.com/jnlandu/Implementation-of-ResNet-with-Cutout-Data-Augmentation"
SOURCE_EPOCH = 10
HE = "He et al. 2015, table 2, ten crops of each image"
# Top-1 accuracy on ImageNet in %, of networks of 18 layers, or how many points the
# first is ahead of the second; who claims it, and after which epoch (None: at the end).
CLAIMED: tuple[tuple[tuple[str, ...], float, str, int | None], ...] = (
    (("plain",), 11, SOURCE, SOURCE_EPOCH),
    (("resnet",), 39, SOURCE, SOURCE_EPOCH),
    (("resnet-cutout",), 46.28, SOURCE, SOURCE_EPOCH),
    (("resnet", "plain"), 28, SOURCE, SOURCE_EPOCH),
    (("plain",), 72.06, HE, None),
    (("resnet",), 72.12, HE, None),
    (("resnet", "plain"), 0.06, HE, None),
    (("resnet",), 69.758, "torchvision's weights", None),
)
# Settings of the source: the task, and the training but for its length.
TASK = {"depth": 18, "variant": "torchvision", "image_size": 224}
TRAINING = {
    **{"optimizer": "adam", "learning_rate": 0.001, "batch_size": 32},
    **{"schedule": "constant", "weight_decay": 0.0, "label_smoothing": 0.0},
    **{"ema_epochs": 0.0, "precision": "float32", "crop_area": 0.0},
}


def against_others(
    history: pd.DataFrame, results: pd.DataFrame, settings: Mapping[str, Any]
) -> list[tuple[str, str, str, str]]:
    """Rows of claim, who claims it, what was measured, verdict.

    The verdict says whether the 95 % interval over the seeds includes what is claimed.
    It is an estimate and no test: the claims contradict each other.

    Args:
        history: One row for each epoch of the trainings that did not diverge.
        results: One row for each training.
        settings: Settings of the run.
    """
    task, training = other_task(settings), _differences(settings, TRAINING)
    rows = []
    for networks, claimed, who, epoch in CLAIMED:
        if not set(networks) <= set(results["network"]):
            continue
        last = settings["epochs"]
        at = min(epoch or last, last)
        frame, column = history[history["epoch"] == at], "val_top1"
        if epoch is None:
            frame, column = results, "top1"
        seeds = frame.pivot(index="seed", columns="network", values=column)
        values = seeds.reindex(columns=list(networks)).astype(float)
        names = [network_name(network, TASK["depth"]) for network in networks]
        if len(networks) == 1:
            words, unit = f"{names[0]}: top-1 {claimed:g} %", "%"
            found = values[networks[0]].dropna()
        else:
            words = f"{' minus '.join(names)}: {claimed:+g} points of top-1"
            unit = "points"
            found = (values[networks[0]] - values[networks[1]]).dropna()
        if epoch is None:
            comparable = not task and not (len(networks) == 1 and who == HE)
        else:
            comparable = not task and not training and epoch <= last
        if not comparable:
            verdict = "not comparable: see above"
        elif len(found) < 2:
            verdict = "one seed: no verdict"
        else:
            _, low, high = mean_interval(100 * found)
            verdict = "inside" if low <= claimed <= high else "outside"
            verdict += " the 95 % interval"
        when = "trained to the end" if epoch is None else f"at epoch {epoch}"
        measured = f"{in_percent(found)} {unit} at epoch {at}"
        rows.append((f"{words}, {when}", who, measured, verdict))
    return rows


def comparability(settings: Mapping[str, Any]) -> str:
    """Says which figures of this run are comparable with which published ones."""
    task, training = other_task(settings), _differences(settings, TRAINING)
    if settings["epochs"] < SOURCE_EPOCH:
        training.append(f"{settings['epochs']} epochs, fewer than {SOURCE_EPOCH}")
    start = (
        "The source's figures and the published ones are for the 1,000 classes and "
        f"1.28 million training images of ImageNet. This run is on {settings['data']}"
    )
    if task:
        return (
            f"{start}, and differs: {'; '.join(task + training)}. Its figures must not "
            "be compared with the others: what can be compared is the order of the "
            f"networks, and guessing would be right in "
            f"{100 / len(settings['classes']):.3g} %."
        )
    ours = "where these are ImageNet's images, its figures can be compared with"
    ten = "He et al. average over ten crops of each image, which raises their accuracy."
    if training:
        return (
            f"{start}, trained otherwise than by the source: {'; '.join(training)}. "
            f"So {ours} the published ones, but not with the source's. {ten}"
        )
    return (
        f"{start}, with the source's settings: {ours} the source's. The published ones "
        f"are of longer trainings. {ten}"
    )


def other_task(settings: Mapping[str, Any]) -> list[str]:
    """How the task differs from ImageNet's, so that no figure is comparable."""
    classes = len(settings["classes"])
    task = [] if classes == 1000 else [f"{classes} classes in place of 1,000"]
    if settings.get("per_class"):
        task.append(f"{settings['per_class']} training images of each class")
    return task + _differences(settings, TASK)


def _differences(settings: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{key.replace('_', ' ')} {settings[key]} in place of {value}"
        for key, value in theirs.items()
        if settings[key] != value
    ]


def network_name(network: str, depth: Any) -> str:
    """The name of the network for readers."""
    kind = "PlainNet" if network == "plain" else "ResNet"
    cutout = " with Cutout" if network == "resnet-cutout" else ""
    return f"{kind}-{depth}{cutout}"
