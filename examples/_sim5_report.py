"""The report of simulation 5: reads the finished trainings and draws conclusions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _course_project import SOURCE, SOURCE_NOTE
from sim5_transfer import CLAIMS, KEY, test_claims

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.figures import (
    Draw,
    panel,
    photo_panel,
    save_figures,
    spread,
)
from keras_residual.experiments.reporting import (
    Story,
    Trainings,
    corrected,
    count,
    findings,
    in_percent,
    read_result,
    verdicts,
    write_story,
)

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
    (
        *("curves", ("val_accuracy", "loss")),
        "Validation accuracy and training loss over the epochs.",
    ),
)
AMOUNTS = (
    (
        *("images", ("images",)),
        "Test accuracy against the number of training images.",
    ),
    ("time", ("time",), "Test accuracy against the seconds of one training."),
)
PHOTO_CAPTION = "Test images and what they were taken for: {}, seed 0."
MAPS_CAPTION = (
    "What the first layers make of the first test image: {}; left behind the first "
    "convolution, right behind the last layer at a quarter of the image's size. The "
    "eight channels that vary most."
)
METHOD = (
    "scratch: three convolutions of 32, 64 and 128 channels, each with max pooling, "
    "then average pooling and a dense layer of 512. frozen: the backbone, of which "
    "nothing trains, and a dense layer of 128; the features are computed once. "
    "fine-tuned: the same with the last 20 layers of the backbone trained, at a lower "
    "learning rate; batch normalization stays in inference mode. Adam, no "
    "augmentation. In each epoch all three see the same number of images: a last batch "
    "that is not full is left out.\n\n"
    "Each seed draws another split (60 % training, 20 % validation, 20 % test, all "
    "classes alike), order and initial weights; what is smaller is a part of what is "
    "larger, and the test images stay the same."
)


LIMITS = """\
- What holds here holds for these images, this size, this backbone and these weights.
The outcome is the accuracy after the last epoch on test images that chose nothing;
the interval over seeds covers split, order and initial weights, not other data.

- The images of a small share are few steps: with fewer images the batches are smaller
in proportion, but at least 8, so that a small share also means fewer steps.
Training longer may help the small shares, the one from scratch most of all.

- The baseline is a small network. A larger one, augmentation or a longer training would
do better from scratch, and augmentation might help the other two.

- Weights of ImageNet have seen cats, dogs and many other things, though not these
photographs: that transfer works there says nothing about images unlike ImageNet's.

- Seconds are wall time of one thread, from building the network to the end of training
without the validations; loading the backbone's weights counts, learning them does
not."""


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
    trainings = Trainings(folder, approaches, KEY, ["accuracy", "epochs_to_best"])
    results, history = trainings.results, trainings.read("history.csv")
    hypotheses = test_claims(results)
    folder.write_tables(results=results, history=history, hypotheses=hypotheses)

    most = results["share"].max()
    whole = results[results["share"] == most]
    fewest = fewest_images(results)
    panels = make_panels(
        results, whole, history[history["share"] == most], settings, hypotheses, fewest
    )
    first = {
        row.approach: unit
        for row, unit in zip(results.itertuples(), trainings.units, strict=True)
        if row.share == most and row.seed == 0 and math.isfinite(row.accuracy)
    }
    seen, drawn = pictures(first, settings, images)
    diverged = [name for name in APPROACHES if name not in first]
    missing = f"None of {', '.join(diverged)}: seed 0 diverged." if diverged else ""
    sections = [
        Section(
            f"With {whole['images'].max()} training images",
            figures=save_figures(folder.path, panels, ALL_IMAGES),
            tables=[(means(whole), "Means over the seeds, 95 % t intervals.")],
        ),
        Section(
            "Accuracy against the amount of data",
            figures=save_figures(folder.path, panels, AMOUNTS),
            tables=[
                (
                    means(results.sort_values("images", kind="stable")).drop(
                        columns="epochs to best"
                    ),
                    "Means over the seeds, 95 % t intervals.",
                )
            ],
        ),
        Section("Pictures", missing, figures=save_figures(folder.path, seen, drawn)),
    ]
    story = Story(
        title=title(settings),
        question="What is transfer learning worth, and with how few images? A small "
        "network from scratch, frozen features of a pretrained network and its "
        f"fine-tuning, with each of {count(settings['seeds'], 'seed')}.",
        tested=hypotheses,
        panels=[panels[name] for name in LEADING if name in panels],
        others=[
            (claim, SOURCE, found, verdict)
            for claim, found, verdict in against_claims(whole, hypotheses, fewest)
        ],
        others_note=SOURCE_NOTE,
        limits=LIMITS,
        method=METHOD,
        facts={
            "weights": weights_in_words(folder),
            "epochs": "scratch {}, frozen {}, fine-tuned {}".format(
                *settings["epochs"]
            ),
        },
    )
    return write_story(
        folder, story, sections, incomplete=trainings.incomplete, quick=quick
    )


def title(settings: dict[str, Any]) -> str:
    """Title that names the source of the weights and the data."""
    source = {
        "ImageNet": "ImageNet",
        "file": "a weights file",
        "generated": "generated images",
    }[settings["source"]]
    data = {
        "synthetic": "synthetic tinted images",
        "photos": f"photos ({', '.join(settings['classes'])})",
    }.get(settings["dataset"], settings["dataset"])
    return f"Simulation 5: {settings['backbone']}, from {source} to {data}"


def fewest_images(results: pd.DataFrame) -> list[dict[str, Any]]:
    """From how few images on an approach reaches scratch with all images, on average.

    "On" means at that amount and all larger ones. None if it never does.
    """
    means = results.groupby(["approach", "images"])["accuracy"].mean()
    all_images = int(results["images"].max())
    reference = means.get(("scratch", all_images), math.nan)
    rows: list[dict[str, Any]] = []
    for approach in ("frozen", "fine-tuned"):
        if approach not in means or math.isnan(reference):
            continue  # the run is not finished, or diverged
        reached = means[approach].sort_index(ascending=False) >= reference
        enough = reached[reached.cummin()].index
        rows.append(
            {
                "approach": approach,
                "reference": reference,
                "images": int(enough.min()) if len(enough) else None,
                "of": all_images,
            }
        )
    return rows


def weights_in_words(folder: RunFolder) -> str:
    """Where the weights of the backbone come from, and how good their source was."""
    settings = folder.settings
    if settings["source"] == "ImageNet":
        return "ImageNet, as keras.applications or the library gives them"
    if settings["source"] == "file":
        return f"a file, SHA-256 {settings['weights_sha256'][:16]}..."
    source = read_result(folder.units / "source")
    return (
        f"trained on {settings['source_images']} generated images of "
        f"{settings['source_image_size']} pixels, {settings['source_classes']} classes "
        f"of shapes and textures, {count(settings['source_epochs'], 'epoch')}, "
        f"{source['seconds']:.0f} s: accuracy {100 * source['accuracy']:.1f} % on the "
        "tenth that was held out"
    )


def make_panels(
    results: pd.DataFrame,
    whole: pd.DataFrame,
    history: pd.DataFrame,
    settings: dict[str, Any],
    hypotheses: pd.DataFrame,
    fewest: list[dict[str, Any]],
) -> dict[str, Draw]:
    """The figures of accuracy by name, with what they show as their titles."""
    looks: dict[str, Any] = {"by": "approach", "styles": APPROACHES}
    chance = 1 / len(settings["classes"])
    groups = whole.groupby("approach")
    means = groups.agg(
        accuracy=("accuracy", "mean"),
        trained=("trainable_parameters", "first"),
        seconds=("seconds", "mean"),
    )
    means = means.reindex([name for name in APPROACHES if name in means.index])

    def each(words: str) -> str:
        rows = means.reset_index().to_dict("records")
        return "; ".join(words.format(**row) for row in rows)

    panels = {
        "accuracy": panel(
            each("{approach}: {accuracy:.1%}").replace("%", " %"),
            *(plots.accuracy_by_seed, whole),
            chance=chance,
            **looks,
        ),
        "parameters": panel(
            each("{approach} trains {trained:,}"),
            *(plots.trainable_parameters, whole),
            styles=APPROACHES,
        ),
        "time": panel(
            f"One training: {each('{approach} {seconds:.2g} s')}",
            *(plots.accuracy_by_time, results),
            chance=chance,
            styles=APPROACHES,
        ),
        **{
            metric: panel("", plots.training_curves, history, metric, **looks)
            for metric in ("val_accuracy", "loss")
        },
    }
    if results["images"].nunique() > 1:
        panels["images"] = panel(
            "; ".join(map(fewest_in_words, fewest)),
            *(plots.accuracy_by_images, results),
            chance=chance,
            styles=APPROACHES,
            reference="scratch",
        )
    found, p_values = findings(hypotheses), corrected(hypotheses)
    for claim in CLAIMS[:2]:
        if {claim.larger, claim.smaller} <= set(means.index):
            panels[claim.name] = panel(
                found.get(claim.name, ""),
                *(plots.paired_difference, whole),
                treatment=claim.larger,
                control=claim.smaller,
                by="approach",
                p_value=p_values.get(claim.name),
            )
    return panels


def fewest_in_words(row: dict[str, Any]) -> str:
    """From how few images on an approach is as good as scratch with all of them."""
    if row["images"] is None:
        return f"{row['approach']} never reaches scratch"
    return (
        f"{row['approach']} reaches scratch with {row['images']} of {row['of']} images"
    )


def against_claims(
    whole: pd.DataFrame, hypotheses: pd.DataFrame, fewest: list[dict[str, Any]]
) -> list[tuple[str, str, str]]:
    """What is said elsewhere, what was measured here, and the verdict."""
    if set(APPROACHES) != set(whole["approach"]):
        return []
    means = whole.groupby("approach").mean(numeric_only=True)

    def judged(*names: str) -> str:
        return (
            verdicts(hypotheses, *names) or "not tested: needs all images, and a tenth"
        )

    accuracy = [f"{100 * means['accuracy'][name]:.1f} %" for name in APPROACHES]
    trained, own = means["trainable_parameters"], means["parameters"]["frozen"]
    fewer = 100 * (1 - trained["frozen"] / trained["scratch"])
    words = f"{fewer:.0f} % fewer" if fewer >= 0 else f"{-fewer:.0f} % more"
    best = means["epochs_to_best"]
    halved = best["frozen"] <= best["scratch"] / 2
    (frozen,) = (row for row in fewest if row["approach"] == "frozen")
    enough = frozen["images"] is not None and 10 * frozen["images"] <= frozen["of"]
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
            f"{fewest_in_words(frozen)}, by the means",
            f"{'so' if enough else 'not so'}; {judged('H2c')}",
        ),
    ]


def means(results: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds that did not diverge."""
    rows = [
        {
            "approach": approach,
            "training images": number,
            "seeds": group["accuracy"].notna().sum(),
            "test accuracy (%)": in_percent(group["accuracy"]),
            "trainable parameters": group["trainable_parameters"].iloc[0],
            "epochs to best": group["epochs_to_best"].mean(),
            "seconds": group["seconds"].mean(),
        }
        for (approach, number), group in results.groupby(
            ["approach", "images"], sort=False
        )
    ]
    return pd.DataFrame(rows)


def pictures(
    first: dict[str, Path], settings: dict[str, Any], images: np.ndarray
) -> tuple[dict[str, Draw], list[tuple[str, Sequence[str], str]]]:
    """Panels and figures of what the networks of the first seed make of test images."""
    panels: dict[str, Draw] = {}
    figures: list[tuple[str, Sequence[str], str]] = []
    for approach, unit in first.items():
        rows = pd.read_csv(unit / "predictions.csv")
        # The classes follow each other in the file: take some of each.
        rows = rows.iloc[spread(len(rows), PHOTOS)]
        name = f"photos-{approach}"
        panels[name] = photo_panel(
            approach,
            images[rows["image"]],
            rows["label"].to_numpy(),
            rows.filter(like="probability_").to_numpy(),
            settings["classes"],
        )
        figures.append((name, [name], PHOTO_CAPTION.format(approach)))
    for approach, unit in first.items():
        names = []
        for file in sorted(unit.glob("*.npy")):
            names.append(f"{approach} {file.stem}")
            maps = np.load(file, allow_pickle=False)
            panels[names[-1]] = panel("", plots.feature_maps, maps)
        if names:  # the fine-tuned network has those of the frozen one
            figures.append((f"maps-{approach}", names, MAPS_CAPTION.format(approach)))
    return panels, figures
