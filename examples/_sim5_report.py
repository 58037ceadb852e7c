"""The report of simulation 5: reads the finished trainings and draws conclusions."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section, write_report
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.reporting import (
    count,
    facts_table,
    finished_units,
    read_result,
    read_results,
    read_with_keys,
    save_figure,
)

APPROACHES = {
    "scratch": plots.STYLES[0],
    "frozen": plots.STYLES[2],
    "fine-tuned": plots.STYLES[1],
}
PHOTOS = 12

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
    folder: RunFolder,
    tasks: Sequence[Task],
    images: np.ndarray,
    test: Callable[[pd.DataFrame], pd.DataFrame],
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        images: The images of the run.
        test: From the results to the tested claims.
    """
    settings = folder.settings
    # All but the source.
    approaches = [task for task in tasks if "seed" in task.arguments]
    units, incomplete = finished_units(folder, approaches)
    results = read_results(units, ["accuracy", "epochs_to_best"])
    keys = results[["approach", "share", "seed"]].to_dict("records")
    history = read_with_keys(
        units, keys, lambda unit: pd.read_csv(unit / "history.csv")
    )
    hypotheses = test(results)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("hypotheses.csv", hypotheses),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    most = results["share"].max()
    largest = {
        (row.approach, row.seed): unit
        for row, unit in zip(results.itertuples(), units, strict=True)
        if row.share == most and math.isfinite(row.accuracy)
    }
    history = history[history["share"] == most]
    sections = [
        _method(folder, results, settings),
        _all_images(folder.path, results, history, most, hypotheses),
        _amounts(folder.path, results),
        _pictures(folder.path, largest, settings, images),
        Section("What this does not show", LIMITS),
    ]
    return write_report(
        folder.path,
        title(settings),
        incomplete + _summary(results, hypotheses),
        sections,
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


def _summary(results: pd.DataFrame, hypotheses: pd.DataFrame) -> str:
    parts = [f"- {row.hypothesis}. {row.words}" for row in hypotheses.itertuples()]
    for row in fewest_images(results):
        reference = (
            f"the mean accuracy of training from scratch with {row['of']} images, "
            f"{row['reference']:.3f}"
        )
        if row["images"] is None:
            words = f"does not reach {reference}, with as many"
        elif row["images"] == row["of"]:
            words = f"reaches {reference}, only with as many"
        else:
            times = row["of"] / row["images"]
            words = (
                f"reaches {reference}, with {row['images']} images: "
                f"{times:.3g} times fewer"
            )
        parts.append(f"- How few images are enough: {row['approach']} {words}.")
    return "\n".join(parts)


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


def _method(
    folder: RunFolder, results: pd.DataFrame, settings: dict[str, Any]
) -> Section:
    text = (
        "The hypotheses were stated before the runs. Each is tested by the sign-flip "
        "test (exact up to 20 seeds; beyond, from 99,999 sampled sign patterns), "
        "paired by seed, two-sided at level 0.05; the p-values are corrected together "
        "(Holm).\n\n"
        "scratch: three convolutions of 32, 64 and 128 channels, each with max "
        "pooling, then average pooling and a dense layer of 512. frozen: the backbone, "
        "of which nothing trains, and a dense layer of 128; the features are computed "
        "once. fine-tuned: the same with the last 20 layers of the backbone trained, "
        "at a lower learning rate; batch normalization stays in inference mode. Adam, "
        "no augmentation.\n\n"
        "Each seed draws another split (60 % training, 20 % validation, 20 % test, all "
        "classes alike), order and initial weights; what is smaller is a part of what "
        "is larger, and the test images stay the same."
    )
    facts = {
        "dataset": f"{settings['dataset']}: {settings['per_class']} images of each of "
        f"{', '.join(settings['classes'])}, {settings['image_size']} pixels",
        "backbone": settings["backbone"],
        "weights": _weights(folder, settings),
        "epochs": "scratch {}, frozen {}, fine-tuned {}".format(*settings["epochs"]),
        "training": f"batch size {settings['batch_size']}, learning rate "
        f"{settings['learning_rate']:g}, fine-tuning {settings['fine_tuning_rate']:g}",
        "seeds": str(settings["seeds"]),
    }
    if settings["strength"] is not None:
        facts["strength"] = f"{settings['strength']:g}"
    return Section(
        "What was done",
        text,
        tables=[(facts_table(folder, facts), "Settings, versions and hardware.")],
    )


def _weights(folder: RunFolder, settings: dict[str, Any]) -> str:
    if settings["source"] == "ImageNet":
        return "ImageNet, as keras.applications or the library gives them"
    if settings["source"] == "file":
        return f"a file, SHA-256 {settings['weights_sha256'][:16]}..."
    source = read_result(folder.units / "source")
    return (
        f"trained on {settings['source_images']} generated images of "
        f"{settings['source_image_size']} pixels, {settings['source_classes']} classes "
        f"of shapes and textures, {count(settings['source_epochs'], 'epoch')}, "
        f"{source['seconds']:.0f} s: accuracy {source['accuracy']:.3f} on the tenth "
        "that was held out"
    )


def _all_images(
    folder: Path,
    results: pd.DataFrame,
    history: pd.DataFrame,
    most: float,
    hypotheses: pd.DataFrame,
) -> Section:
    results = results[results["share"] == most]
    there = set(results["approach"])
    corrected = {
        row.hypothesis: row.p_holm
        for row in hypotheses.itertuples()
        if math.isfinite(getattr(row, "p_holm", math.nan))
    }
    paired = [
        functools.partial(
            plots.paired_difference,
            results,
            treatment=treatment,
            control=control,
            by="approach",
            p_value=corrected.get(claim) if most == 1 else None,
        )
        for claim, treatment, control in (
            ("H2a", "frozen", "scratch"),
            ("H2b", "fine-tuned", "frozen"),
        )
        if {treatment, control} <= there
    ]
    figures = [
        (
            save_figure(
                folder,
                "accuracy.png",
                functools.partial(
                    plots.accuracy_by_seed, results, by="approach", styles=APPROACHES
                ),
            ),
            "Test accuracy by seed.",
        ),
        (
            save_figure(
                folder,
                "parameters.png",
                functools.partial(
                    plots.trainable_parameters, results, styles=APPROACHES
                ),
            ),
            "What trains.",
        ),
        (
            save_figure(
                folder,
                "curves.png",
                functools.partial(
                    plots.training_curves, history, by="approach", styles=APPROACHES
                ),
                functools.partial(
                    plots.training_curves,
                    history,
                    "loss",
                    by="approach",
                    styles=APPROACHES,
                ),
            ),
            "Validation accuracy and training loss over the epochs.",
        ),
    ]
    if paired:
        figures.insert(
            1,
            (save_figure(folder, "differences.png", *paired), "Differences by seed."),
        )
    return Section(
        f"With {results['images'].max()} training images",
        figures=figures,
        tables=[
            (
                _means(results),
                "Means over the seeds that did not diverge, and their 95 % t interval.",
            )
        ],
    )


def _means(results: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (approach, number), group in results.groupby(
        ["approach", "images"], sort=False
    ):
        finite = group["accuracy"].dropna()
        mean, low, high = mean_interval(finite) if len(finite) else [math.nan] * 3
        rows.append(
            {
                "approach": approach,
                "training images": number,
                "seeds": len(finite),
                "test accuracy": mean,
                "from": low,
                "to": high,
                "trainable parameters": group["trainable_parameters"].iloc[0],
                "epochs to best": group["epochs_to_best"].mean(),
                "seconds": group["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _amounts(folder: Path, results: pd.DataFrame) -> Section:
    figures = []
    if results["images"].nunique() > 1:
        name = save_figure(
            folder,
            "images.png",
            functools.partial(
                plots.accuracy_by_images,
                results,
                styles=APPROACHES,
                reference="scratch",
            ),
        )
        caption = "Test accuracy against the number of training images."
        figures.append((name, caption))
    name = save_figure(
        folder,
        "time.png",
        functools.partial(plots.accuracy_by_time, results, styles=APPROACHES),
    )
    figures.append((name, "Test accuracy against the seconds of one training."))
    means = _means(results.sort_values("images", kind="stable"))
    return Section(
        "Accuracy against the amount of data",
        figures=figures,
        tables=[(means.drop(columns="epochs to best"), "Means over the seeds.")],
    )


def _pictures(
    folder: Path,
    largest: dict[tuple[str, int], Path],
    settings: dict[str, Any],
    images: np.ndarray,
) -> Section:
    classes = settings["classes"]
    figures = []
    diverged = [name for name in APPROACHES if (name, 0) not in largest]
    for approach in APPROACHES:
        if approach in diverged:
            continue
        rows = pd.read_csv(largest[approach, 0] / "predictions.csv")
        # The classes follow each other in the file: take some of each.
        chosen = np.linspace(0, len(rows) - 1, min(PHOTOS, len(rows)))
        rows = rows.iloc[chosen.round().astype(int)]
        draw = functools.partial(
            plots.photo_grid,
            images[rows["image"]],
            rows["label"].to_numpy(),
            rows[[f"probability_{i}" for i in range(len(classes))]].to_numpy(),
            classes,
        )
        name = save_figure(folder, f"photos-{approach}.png", draw, size=(9, 4.5))
        caption = f"Test images and what they were taken for: {approach}, seed 0."
        figures.append((name, caption))
    for approach in ("scratch", "frozen"):
        if approach in diverged:
            continue
        maps = [
            functools.partial(plots.feature_maps, np.load(file, allow_pickle=False))
            for file in sorted(largest[approach, 0].glob("*.npy"))
        ]
        name = save_figure(folder, f"maps-{approach}.png", *maps)
        caption = (
            f"What the first layers make of the first test image: {approach}; left "
            "behind the first convolution, right behind the last layer at a quarter "
            "of the image's size. The eight channels that vary most."
        )
        figures.append((name, caption))
    text = f"None of {', '.join(diverged)}: seed 0 diverged." if diverged else ""
    return Section("Pictures", text, figures=figures)
