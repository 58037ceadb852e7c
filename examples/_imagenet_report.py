"""The report of the ImageNet comparison, written from the finished trainings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_training import PICTURES

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.classifier_panels import (
    LABELS,
    accuracy_panels,
    prediction_panels,
)
from keras_residual.experiments.figures import panel, save_figures
from keras_residual.experiments.gradients import kernels_by_depth
from keras_residual.experiments.hypotheses import (
    Claim,
    about_groups,
    compare_claims,
)
from keras_residual.experiments.long_training import NORMS
from keras_residual.experiments.measuring import with_outcomes
from keras_residual.experiments.reporting import (
    Story,
    claim_panels,
    count,
    in_percent,
    write_story,
)
from keras_residual.experiments.tables import by_group, under_occlusion
from keras_residual.experiments.trainings import Trainings

KEY = ["network", "seed"]
# A diverged training has none of these.
OUTCOMES = ["top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"]
NUMBERS = ["parameters", "seconds", "images_per_second"]
# The networks for readers, with their depth; and how they look. In the order shown.
NAMES = {
    "plain": "PlainNet-{}",
    "resnet": "ResNet-{}",
    "resnet-cutout": "ResNet-{} with Cutout",
}
STYLES = dict(zip(NAMES, plots.STYLES, strict=False))
# The panels that make up the picture on top.
LEADING = ("val_top1", "accuracy", "gap", "occlusion")
# Figures: name, panels, caption.
FIGURES = (
    ("curves", ("val_top1", "val_top5", "loss"), "Accuracy and loss by epoch."),
    ("accuracy", ("accuracy", "H3a", "H3b"), "Final top-1 accuracy, and differences."),
    ("gap", ("gap", "H3c"), "Accuracy on training and validation images, and the gap."),
    ("occlusion", ("occlusion",), "Top-1 accuracy against the erased share of pixels."),
    ("reliability", ("reliability", "H3e"), "Accuracy against confidence."),
    ("gradient_norms", ("gradient_norms",), "Gradient norms of the kernels by depth."),
    *(
        (f"pictures-{name}", (f"pictures-{name}",), f"Images as {name} sees them.")
        for name in STYLES
    ),
)
QUESTION = (
    "Do shortcuts and Cutout raise the accuracy on ImageNet or something smaller, and "
    "what else does Cutout change? {}, with each of {}."
)
METHOD = """\
- plain: the network without shortcuts.
- resnet: the same convolutions with shortcuts.
- resnet-cutout: the same network; Cutout erases a square at a random place of each
training image.

The networks of a seed see the same images in the same order. Top-1 and top-5 are shares
of the validation images, on the centre crop, after the last epoch."""
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
for every network. A recipe with label smoothing makes a network less sure by design."""


def write_imagenet_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    claims: Sequence[Claim],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        claims: What is claimed about the networks.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    tasks = sorted(tasks, key=lambda task: [*STYLES].index(task.arguments["network"]))
    trainings = Trainings(folder, tasks, KEY, NUMBERS, OUTCOMES)
    columns = [*KEY, "epoch", "val_top1"]
    history = trainings.read("history.csv", columns=columns)
    occlusion = trainings.read("occlusion.csv", diverged=False)
    results = with_outcomes(trainings.results, occlusion, KEY)
    there = about_groups(claims, results["network"])
    tested = compare_claims(there, results, "network")
    folder.write_tables(
        results=results, history=history, occlusion=occlusion, hypotheses=tested
    )
    pictures = None
    if files := [one for unit in trainings.units if (one := unit / PICTURES).is_file()]:
        with np.load(files[0], allow_pickle=False) as file:
            pictures = dict(file)
    predictions = trainings.read("predictions.csv", diverged=False)
    norms = trainings.read(NORMS, columns=KEY)
    # Those that differ only in the shortcuts.
    norms = norms[norms["network"] != "resnet-cutout"]
    classes = settings["classes"]
    looks: dict[str, Any] = {"by": "network", "styles": STYLES}
    panels = {
        **accuracy_panels(results, history, occlusion, len(classes), **looks),
        **claim_panels(claims, tested, results, "network", LABELS),
        **prediction_panels(predictions, classes, pictures, **looks),
    }
    if len(norms):
        kernels = kernels_by_depth(norms, "network")
        panels["gradient_norms"] = panel(plots.gradient_norm_by_depth, kernels, **looks)
    depth = settings["depth"]
    *others, last = [NAMES[name].format(depth) for name in settings["networks"]]
    names = f"{', '.join(others)} and {last}" if others else last
    story = Story(
        title=f"{names} on {settings['data']}",
        question=QUESTION.format(
            count(len(settings["networks"]), "network"),
            count(results["seed"].nunique(), "seed"),
        ),
        tested=tested,
        panels=[panels[name] for name in LEADING if name in panels],
        others=against_others(
            trainings.read("history.csv", diverged=False, columns=columns),
            *(results, settings),
        ),
        others_note=comparability(settings),
        limits=LIMITS,
        method=METHOD,
    )

    def draw(*names: str) -> list[tuple[str, str]]:
        figures = [figure for figure in FIGURES if figure[0] in names]
        return save_figures(folder.path, panels, figures)

    sections = make_sections(draw, results, occlusion)
    return write_story(
        folder,
        story,
        [section for section in sections if section.figures or section.tables],
        incomplete=trainings.incomplete,
        quick=quick,
    )


def make_sections(
    draw: Callable[..., Any], results: pd.DataFrame, occlusion: pd.DataFrame
) -> list[Section]:
    """The sections of the report; those that have nothing to show are empty.

    Args:
        draw: From names of `FIGURES` to figures.
        results: One row for each training.
        occlusion: One row for each training and size of the patch.
    """
    table = partial(by_group, results, "network", "top1")
    means = "Means over the seeds that did not diverge, 95 % t intervals."
    accuracy = {"top-1 (%)": "top1", "top-5 (%)": "top5"}
    accuracy["best epoch's top-1 (%)"] = "best_top1"
    gap = {
        "training images, top-1 (%)": "train_top1",
        "validation images, top-1 (%)": "top1",
        "gap (points)": "gap",
    }
    erased, errors = [], []
    if len(occlusion):
        caption = (
            "Mean top-1 accuracy over the seeds in %, and what of it is lost against "
            "the same images without a patch."
        )
        erased = [(under_occlusion(occlusion, "network"), caption)]
    if results["ece"].notna().any():
        errors = [(table({"calibration error (points)": "ece"}, "loss"), means)]
    return [
        Section(
            "Accuracy",
            "",
            draw("curves", "accuracy"),
            [
                (table(accuracy, "best_epoch"), f"Validation images. {means}"),
                (table({}, *NUMBERS), "Means of one training."),
            ],
        ),
        Section(
            "Training minus validation: what Cutout is for",
            "The accuracy on training images is that of about as many images as "
            "validate, measured in the same way: after the last epoch, on the centre "
            "crop, without Cutout. Cutout keeps a network from leaning on a few "
            "pixels, so it should memorize fewer training images: a smaller gap at the "
            "same or a higher validation accuracy. A network that has learnt little "
            "has a small gap as well.",
            draw("gap"),
            [(table(gap), means)],
        ),
        Section(
            "Accuracy under occlusion",
            "Validation images with a square erased at a random place inside, the same "
            "for every network. A network that was wrong before has little to lose: "
            "read the accuracy that is left together with what was lost.",
            draw("occlusion"),
            erased,
        ),
        Section(
            "Calibration: how sure, and how often right",
            "Below the diagonal a network is right less often than it claims.",
            draw("reliability"),
            errors,
        ),
        Section(
            "Gradient norms",
            "Of the gradients that updated the weights; the convolutions of the "
            "projection shortcuts, which the plain network lacks, are left out.",
            draw("gradient_norms"),
        ),
        Section(
            "Pictures",
            "",
            draw(*(f"pictures-{name}" for name in STYLES)),
        ),
    ]


# --- What others claim

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
ABOUT = (
    "The source's figures and the published ones are for the 1,000 classes and 1.28 "
    "million training images of ImageNet. This run is on {},"
)
OTHER_TASK = (
    "{about} and differs: {differs}. Its figures must not be compared with the others: "
    "what can be compared is the order of the networks, and guessing would be right in "
    "{chance:.3g} %."
)
OTHER_TRAINING = (
    "{about} trained otherwise than by the source: {differs}. So where these are "
    "ImageNet's images, its figures can be compared with the published ones, but not "
    "with the source's. {crops}"
)
SAME = (
    "{about} with the source's settings: where these are ImageNet's images, its "
    "figures can be compared with the source's. The published ones are of longer "
    "trainings. {crops}"
)
CROPS = "He et al. average over ten crops of each image, which raises their accuracy."


def comparability(settings: Mapping[str, Any]) -> str:
    """Says which figures of this run are comparable with which published ones."""
    task, training = differences(settings)
    if settings["epochs"] < SOURCE_EPOCH:
        training.append(f"{settings['epochs']} epochs, fewer than {SOURCE_EPOCH}")
    words = OTHER_TASK if task else OTHER_TRAINING if training else SAME
    return words.format(
        about=ABOUT.format(settings["data"]),
        differs="; ".join(task + training),
        chance=100 / len(settings["classes"]),
        crops=CROPS,
    )


def differences(settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """How the task differs from ImageNet's, and the training from the source's.

    With another task no figure is comparable.
    """
    classes, per_class = len(settings["classes"]), settings.get("per_class")
    task = [] if classes == 1000 else [f"{classes} classes in place of 1,000"]
    if per_class:
        task.append(f"{per_class} training images of each class")
    others, training = (
        [
            f"{key.replace('_', ' ')} {settings[key]} in place of {value}"
            for key, value in theirs.items()
            if settings[key] != value
        ]
        for theirs in (TASK, TRAINING)
    )
    return task + others, training


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
    (task, training), last = differences(settings), settings["epochs"]
    rows = []
    for networks, claimed, who, epoch in CLAIMED:
        if not set(networks) <= set(results["network"]):
            continue
        at = min(epoch or last, last)
        frame, column = history[history["epoch"] == at], "val_top1"
        if epoch is None:
            frame, column = results, "top1"
        seeds = frame.pivot(index="seed", columns="network", values=column)
        seeds = seeds.reindex(columns=list(networks)).astype(float)
        names = [NAMES[network].format(TASK["depth"]) for network in networks]
        words, unit, found = f"{names[0]}: top-1 {claimed:g} %", "%", seeds[networks[0]]
        if len(networks) == 2:
            words = f"{' minus '.join(names)}: {claimed:+g} points of top-1"
            unit, found = "points", found - seeds[networks[1]]
        found = found.dropna()
        # Ten crops raise an accuracy, and hardly a difference of two.
        comparable = len(networks) == 2 or who != HE
        if epoch is not None:
            comparable = not training and epoch <= last
        if task or not comparable:
            verdict = "not comparable: see above"
        elif len(found) < 2:
            verdict = "one seed: no verdict"
        else:
            _, low, high = mean_interval(100 * found)
            inside = "inside" if low <= claimed <= high else "outside"
            verdict = f"{inside} the 95 % interval"
        when = "trained to the end" if epoch is None else f"at epoch {epoch}"
        measured = f"{in_percent(found)} {unit} at epoch {at}"
        rows.append((f"{words}, {when}", who, measured, verdict))
    return rows
