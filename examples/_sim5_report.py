"""The report of simulation 5: reads the finished trainings and draws conclusions."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sim5_transfer import CLAIMS, GENERATED, KEY, SOURCE

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.experiments import RunFolder, Task, reporting
from keras_residual.experiments.figures import Draw, panel, save_figure, save_figures
from keras_residual.experiments.hypotheses import about_groups, compare_claims
from keras_residual.experiments.reporting import count
from keras_residual.experiments.tables import by_group
from keras_residual.experiments.training import spread
from keras_residual.experiments.trainings import Trainings, read_result

APPROACHES = {
    "scratch": plots.STYLES[0],
    "frozen": plots.STYLES[2],
    "fine-tuned": plots.STYLES[1],
}
PHOTOS = 12
# The panels that make up the picture on top.
LEADING = ("accuracy", "images", "H2a", "parameters")
# Figures: name, panels, caption.
ALL_IMAGES = (
    ("accuracy", ("accuracy",), "Test accuracy by seed."),
    ("differences", ("H2a", "H2b"), "Differences by seed."),
    ("parameters", ("parameters",), "What trains."),
    ("curves", ("curves", "loss"), "Validation accuracy and training loss by epoch."),
)
AMOUNTS = (
    ("images", ("images",), "Test accuracy against the number of training images."),
    ("time", ("time",), "Test accuracy against the seconds of one training."),
)
PHOTO_CAPTION = "Test images and what they were taken for: {}, seed 0."
# Names of `first_maps` in words.
PLACES = {"first": "first convolution", "quarter": "at a quarter of the size"}
MAPS_CAPTION = (
    "What the first layers make of the first test image: {}. The eight channels that "
    "vary most, of the first convolution and at a quarter of the image's size."
)
METHOD = """\
- scratch: three convolutions of 32, 64 and 128 channels, each with max pooling, then
average pooling and a dense layer of 512.
- frozen: the backbone, of which nothing trains, and a dense layer of 128. The features
are computed once.
- fine-tuned: the same, and the last 20 layers of the backbone train at a lower learning
rate. Batch normalization stays in inference mode.

All three use Adam, no augmentation, and the same number of images in each epoch: a last
batch that is not full is left out. Each seed draws another split (60 % training, 20 %
validation, 20 % test, all classes alike), order and initial weights. A smaller share is
a part of a larger one, and the test images stay the same."""
LIMITS = """\
- The results hold for these images, this size, this backbone and these weights. The
outcome is the accuracy after the last epoch on test images that chose nothing; the
interval over seeds covers split, order and initial weights, not other data.

- A small share also means fewer steps: its batches are smaller in proportion, but hold
at least 8 images. Longer training may help small shares, from scratch most of all.

- The baseline is a small network. A larger one, augmentation or a longer training would
do better from scratch, and augmentation might help the other two.

- Weights of ImageNet have seen cats, dogs and many other things, though not these
photographs: that transfer works there says nothing about images unlike ImageNet's.

- Seconds are wall time of one thread, from building the network to the end of training,
without validation. Loading the backbone's weights counts, learning them does not."""


def write_sim5_report(
    folder: RunFolder, tasks: Sequence[Task], images: np.ndarray, quick: bool = False
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        images: The images of the run.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    # All but the source.
    approaches = [task for task in tasks if "seed" in task.arguments]
    numbers = ["accuracy", "epochs_to_best"]
    trainings = Trainings(folder, approaches, KEY, numbers)
    results, history = trainings.results, trainings.read("history.csv")
    tested = test_claims(results)
    folder.write_tables(results=results, history=history, hypotheses=tested)

    most = results["share"].max()
    whole = results[results["share"] == most]
    panels = make_panels(results, history[history["share"] == most], settings, tested)
    first = {
        row.approach: unit
        for row, unit in zip(results.itertuples(), trainings.units, strict=True)
        if row.share == most and row.seed == 0 and math.isfinite(row.accuracy)
    }
    absent = [name for name in APPROACHES if name not in first]
    missing = f"None of {', '.join(absent)}: no result of seed 0." if absent else ""
    draw = partial(save_figures, folder.path, panels)
    sections = [
        Section(
            f"With {whole['images'].max()} training images",
            figures=draw(ALL_IMAGES),
            tables=[means(whole, "epochs_to_best", "seconds")],
        ),
        Section(
            "Accuracy against the amount of data",
            figures=draw(AMOUNTS),
            tables=[means(results.sort_values("images", kind="stable"), "seconds")],
        ),
        Section("Pictures", missing, pictures(folder, first, images)),
    ]
    facts = {
        "epochs": "scratch {}, frozen {}, fine-tuned {}".format(*settings["epochs"])
    }
    if (folder.units / SOURCE).is_dir():  # a training from scratch may end before it
        source = read_result(folder.units / SOURCE)
        facts["accuracy of the source"] = (
            f"{100 * source['accuracy']:.1f} % on the tenth of its images that was "
            f"held out, after {source['seconds']:.0f} s"
        )
    story = reporting.Story(
        title=title(settings),
        question="What is transfer learning worth, and with how few images? A small "
        "network from scratch, frozen features of a pretrained network and its "
        f"fine-tuning, with each of {count(settings['seeds'], 'seed')}.",
        tested=tested,
        panels=[panels[name] for name in LEADING if name in panels],
        others=reporting.of_course_project(against_claims(results, whole, tested)),
        others_note=reporting.COURSE_PROJECT_NOTE,
        limits=LIMITS,
        method=METHOD,
        facts=facts,
    )
    return reporting.write_story(
        folder, story, sections, incomplete=trainings.incomplete, quick=quick
    )


def test_claims(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim whose shares were run, with a verdict in words."""
    share = (100 * results["share"]).map(" ({:g} % of the images)".format)
    ways = results["approach"] + share.where(results["share"] < 1, "")
    return compare_claims(about_groups(CLAIMS, ways), results.assign(way=ways), "way")


def title(settings: Mapping[str, Any]) -> str:
    """Title that names the source of the weights and the data."""
    source, data = settings["source"], settings["dataset"]
    source = {"file": "a weights file", GENERATED: "generated images"}.get(
        source, source
    )
    photos = f"photos ({', '.join(settings['classes'])})"
    data = {"synthetic": "synthetic tinted images", "photos": photos}.get(data, data)
    return f"Simulation 5: {settings['backbone']}, from {source} to {data}"


def make_panels(
    results: pd.DataFrame,
    history: pd.DataFrame,
    settings: Mapping[str, Any],
    tested: pd.DataFrame,
) -> dict[str, Draw]:
    """The panels by name; the curves are those of the history."""
    looks: Any = {"by": "approach", "styles": APPROACHES}
    chance: Any = {"chance": 1 / len(settings["classes"]), **looks}
    whole = results[results["share"] == results["share"].max()]
    panels = {
        "accuracy": panel(plots.accuracy_by_seed, whole, **chance),
        "parameters": panel(plots.trainable_parameters, whole, **looks),
        "time": panel(plots.accuracy_by_time, results, **chance),
        "curves": panel(plots.training_curves, history, **looks),
        "loss": panel(plots.training_curves, history, "loss", **looks),
        **reporting.claim_panels(CLAIMS, tested, whole, "approach"),
    }
    if results["images"].nunique() > 1:
        panels["images"] = panel(
            *(plots.accuracy_by_images, results),
            reference="scratch",
            finding="; ".join(fewest_in_words(results).values()),
            **chance,
        )
    return panels


def fewest_images(results: pd.DataFrame) -> dict[str, int | None]:
    """From how few images on an approach reaches scratch with all images, on average.

    "On" means at that amount and all larger ones. None if it never does.
    """
    means = results.groupby(["approach", "images"])["accuracy"].mean()
    reference = means.get(("scratch", results["images"].max()), math.nan)
    fewest: dict[str, int | None] = {}
    for approach in ("frozen", "fine-tuned"):
        if approach in means and math.isfinite(reference):
            # A run that is not finished, or diverged, lacks them.
            reached = means[approach].sort_index(ascending=False) >= reference
            enough = reached[reached.cummin()].index
            fewest[approach] = int(enough.min()) if len(enough) else None
    return fewest


def fewest_in_words(results: pd.DataFrame) -> dict[str, str]:
    """From how few images on an approach is as good as scratch with all of them."""
    of = results["images"].max()
    return {
        approach: f"{approach} never reaches scratch"
        if images is None
        else f"{approach} reaches scratch with {images} of {of} images"
        for approach, images in fewest_images(results).items()
    }


def against_claims(
    results: pd.DataFrame, whole: pd.DataFrame, tested: pd.DataFrame
) -> list[tuple[str, str, str]]:
    """What is said elsewhere, what was measured here, and the verdict."""
    if set(APPROACHES) != set(whole["approach"]):
        return []
    means = whole.groupby("approach").mean(numeric_only=True)
    untested = "not tested: needs all images, and a tenth"

    def judged(*names: str) -> str:
        return reporting.verdicts(tested, *names) or untested

    accuracy = [f"{100 * means['accuracy'][name]:.1f} %" for name in APPROACHES]
    trained, own = means["trainable_parameters"], means["parameters"]["frozen"]
    fewer = 100 * (1 - trained["frozen"] / trained["scratch"])
    words = f"{fewer:.0f} % fewer" if fewer >= 0 else f"{-fewer:.0f} % more"
    best = means["epochs_to_best"]
    halved = best["frozen"] <= best["scratch"] / 2
    frozen = fewest_images(results)["frozen"]
    enough = frozen is not None and 10 * frozen <= results["images"].max()
    return [
        (
            "Accuracy 65.7 % from scratch, 84.3 % with frozen features, 89.1 % "
            "fine-tuned",
            "{}, {} and {}".format(*accuracy),
            judged("H2a", "H2b"),
        ),
        (
            "97 % fewer trainable parameters",
            f"{words} than the baseline, {100 * (1 - trained['frozen'] / own):.1f} % "
            "fewer than the network has",
            "depends on what it is compared with",
        ),
        (
            "Half of the epochs",
            f"best validation accuracy after {best['frozen']:.1f} epochs (frozen) and "
            f"{best['scratch']:.1f} (scratch)",
            f"{'so' if halved else 'not so'} on average; untested",
        ),
        (
            "Ten times fewer images are enough",
            f"{fewest_in_words(results)['frozen']}, by the means",
            f"{'so' if enough else 'not so'}; {judged('H2c')}",
        ),
    ]


def means(results: pd.DataFrame, *numbers: str) -> tuple[pd.DataFrame, str]:
    """A table of means over the seeds that did not diverge, with its caption."""
    shares = {"test accuracy (%)": "accuracy"}
    by, numbers = ["approach", "images"], ("trainable_parameters", *numbers)
    table = by_group(results, by, "accuracy", shares, *numbers)
    table = table.rename(columns={"images": "training images"})
    return table, "Means over the seeds, 95 % t intervals."


def pictures(
    folder: RunFolder, first: Mapping[str, Path], images: np.ndarray
) -> list[tuple[str, str]]:
    """Figures of what the networks of the first seed make of test images.

    Args:
        folder: The run folder.
        first: The folder of the training of each approach.
        images: The images of the run.
    """
    photos, layers = [], []
    for approach, unit in first.items():
        rows = pd.read_csv(unit / "predictions.csv")
        # The classes follow each other in the file: take some of each.
        rows = rows.iloc[spread(len(rows), PHOTOS)]
        grid = panel(
            *(plots.photo_grid, images[rows["image"]], rows["label"].to_numpy()),
            rows.filter(like="probability_").to_numpy(),
            folder.settings["classes"],
            about=f"{approach}:",
        )
        file = save_figure(folder.path, f"photos-{approach}.png", grid)
        photos.append((file, PHOTO_CAPTION.format(approach)))
        maps = [
            panel(
                *(plots.feature_maps, np.load(file, allow_pickle=False)),
                about=f"{approach}:",
                finding=PLACES.get(file.stem, file.stem),
            )
            for file in sorted(unit.glob("*.npy"))
        ]
        if maps:  # the fine-tuned network has those of the frozen one
            file = save_figure(folder.path, f"maps-{approach}.png", *maps)
            layers.append((file, MAPS_CAPTION.format(approach)))
    return photos + layers
