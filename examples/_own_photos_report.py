"""Figures, tables and the report of own_photos.py."""

import json

import keras
import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_residual.analysis import (
    confusion_matrix,
    grad_cam,
    most_wrong,
    overlay,
    plots,
)
from keras_residual.analysis.report import Section, write_report
from keras_residual.experiments.figures import panel, save_figure

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the training photos, for the learning curve
DRAWS = 5  # of each share
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # behind text
SHOWN = 12  # photos that are most wrong, at most; the maps show half as many


def draw(out, name, function, *arguments, **how):
    """Saves a figure of `plots`; returns its path in the folder of the results."""
    return save_figure(out, f"{name}.png", panel(function, *arguments, **how))


def draw_inputs(model, photos, places, out):
    """Training photos, cut and augmented as the network sees them."""
    images = photos.images[places].astype("float32")
    for layer in model.augmentation:
        images = layer(images, training=True)
    images = np.clip(keras.ops.convert_to_numpy(images), 0, 255).astype("uint8")
    names = [photos.names[label] for label in photos.labels[places]]
    size = images.shape[1]

    def drawn(ax):
        for place, (image, name) in enumerate(zip(images, names, strict=True)):
            left, top = size * (place % 3), size * (place // 3)
            ax.imshow(image, extent=(left, left + size, top + size, top))
            ax.text(left + 5, top + 5, name, va="top", bbox=WHITE)
        ax.set(xlim=(0, 3 * size), ylim=(size * -(-len(images) // 3), 0))
        ax.axis("off")
        return ax

    save_figure(out, "inputs.png", drawn)


def write_photo_report(photos, folds, probabilities, options, exported):
    """Writes report.md and report.html; returns the accuracy with its interval.

    The probabilities are of the test photos of each fold, by the network of the fold.
    """
    correct_by_fold = [
        (part.argmax(1) == photos.labels[fold[2]]).mean()
        for part, fold in zip(probabilities, folds, strict=True)
    ]
    probabilities = np.clip(np.concatenate(probabilities), 0, 1)
    test = np.concatenate([fold[2] for fold in folds])
    truth = photos.labels[test]
    correct = probabilities.argmax(1) == truth
    answer = _share(correct.sum(), len(test), unit=" %")
    common = np.bincount(truth).max() / len(truth)
    sections = [
        _classes(photos, truth, probabilities, options.out),
        _most_wrong(photos, folds, truth, probabilities, options.out),
        _reliability(correct, probabilities, options.out),
        _more_photos(folds, options),
        _training(photos, folds, correct_by_fold, options, exported),
    ]
    if photos.left_out:
        table = pd.DataFrame(photos.left_out, columns=["file", "reason"])
        sections.append(Section("Files left out", tables=[(table, "Not used")]))
    write_report(
        options.out,
        f"{options.photos.resolve().name}: {', '.join(photos.names)}",
        f"{answer} of {len(test)} test photos are classified correctly, with the 95 % "
        "interval in parentheses. Naming the most common class alone: "
        f"{100 * common:.1f} %.",
        sections,
    )
    return answer


def _classes(photos, truth, probabilities, out):
    names = photos.names
    counts = confusion_matrix(truth, probabilities)
    figure = draw(out, "confusion_matrix", plots.confusion_matrix, counts, names)
    right, called, of_class = counts.diagonal(), counts.sum(0), counts.sum(1)
    table = pd.DataFrame(
        {
            "class": names,
            "test photos": of_class,
            "precision (%)": list(map(_share, right, called)),
            "recall (%)": list(map(_share, right, of_class)),
        }
    )
    return Section(
        "Each class",
        "Precision: the share of the photos called by this name that are of the class. "
        "Recall: the share of the class that is found. Both with 95 % intervals.",
        [(figure, "Confusion matrix of the test photos")],
        [(table, "Test photos by class")],
    )


def _most_wrong(photos, folds, truth, probabilities, out):
    test = np.concatenate([fold[2] for fold in folds])
    images, names = photos.images[test], photos.names
    predicted = probabilities.argmax(1)
    wrong = most_wrong(truth, probabilities, SHOWN)
    right = np.flatnonzero(predicted == truth)
    # Right ones of all classes and folds: evenly from among them.
    some = np.linspace(0, len(right) - 1, min(SHOWN // 2, len(right))).astype(int)
    figures, tables = [], []
    if len(wrong):
        shown = (plots.most_wrong, images, truth, probabilities, names)
        caption = "Wrong test photos, least probable true class first"
        figures.append((draw(out, "most_wrong", *shown, number=SHOWN), caption))
        table = {
            "photo": [photos.files[place] for place in test[wrong]],
            "class": [names[label] for label in truth[wrong]],
            "predicted": [names[label] for label in predicted[wrong]],
            "probability of its class": probabilities[wrong, truth[wrong]],
        }
        tables.append((pd.DataFrame(table), "The same photos by file"))
    chosen = np.concatenate([wrong[: SHOWN // 2], right[some]])
    looked = overlay(images[chosen], _maps(images, folds, chosen, predicted, out))
    maps = (plots.photo_grid, looked, truth[chosen], probabilities[chosen], names)
    caption = "Where the network looked for its answer (Grad-CAM): wrong, then right"
    return Section(
        "Photos that are most wrong",
        f"{len(truth) - len(right)} of {len(truth)} test photos are wrong. Look at "
        "them: some may be labelled wrongly.",
        [*figures, (draw(out, "grad_cam", *maps), caption)],
        tables,
    )


def _maps(images, folds, shown, predicted, out):
    """Grad-CAM of the test photos that are shown, each by the network of its fold."""
    fold_of = np.repeat(np.arange(len(folds)), [len(fold[2]) for fold in folds])[shown]
    maps: dict[int, np.ndarray] = {}
    for number in np.unique(fold_of):
        model = keras.saving.load_model(out / f"folds/{number}/model.keras")
        places = shown[fold_of == number]
        found = grad_cam(model, images[places], class_index=predicted[places])
        maps.update(zip(places.tolist(), found, strict=True))
    return np.stack([maps[place] for place in shown.tolist()])


def _reliability(correct, probabilities, out):
    frame = pd.DataFrame({"correct": correct, "confidence": probabilities.max(1)})
    frame = frame.assign(approach="model", seed=0, image=np.arange(len(frame)))
    shown = (plots.reliability_diagram, frame)
    figure = draw(out, "reliability", *shown, by="approach", bins=10)
    return Section(
        "Can the probabilities be trusted?",
        "On the diagonal a confidence of 80 % is right in 80 % of the cases.",
        [(figure, "Accuracy against confidence on the test photos")],
    )


def _more_photos(folds, options):
    """Test accuracy of a classifier of the features, by number of training photos."""
    head = keras.saving.load_model(options.out / "folds/0/head.keras")
    features = head.cache_features(None, filepath=options.out / "features.h5")
    smallest = min(len(training) for training, _, _ in folds)
    sizes = sorted({max(2, round(share * smallest)) for share in SHARES})
    draws = folds * -(-DRAWS // len(folds))
    rows = []
    for seed, (training, _, test) in enumerate(draws):
        held_out = features.part(test)
        order = np.random.default_rng([options.seed, seed]).permutation(training)
        for some in (features.part(order[:size]) for size in sizes):
            if len(set(some.labels.tolist())) < 2:
                continue  # a few photos may be of one class
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
            classifier.fit(some.features, some.labels)
            accuracy = classifier.score(held_out.features, held_out.labels)
            rows.append(("logistic regression", len(some), seed, accuracy))
    curve = pd.DataFrame(rows, columns=["approach", "images", "seed", "accuracy"])
    figure = draw(options.out, "learning_curve", plots.accuracy_by_images, curve)
    half, whole = curve.groupby("images")["accuracy"].mean().iloc[-2:]
    return Section(
        "Would more photos help?",
        f"From half of the training photos to all, the accuracy changes by "
        f"{100 * (whole - half):+.1f} percentage points. The curve is that of a "
        f"logistic regression of the backbone's features, with {len(draws)} draws of "
        "each number of photos.",
        [(figure, "Test accuracy against training photos")],
    )


def _training(photos, folds, correct_by_fold, options, exported):
    chosen = [
        json.loads((options.out / f"folds/{number}/chosen.json").read_text())
        for number in range(len(folds))
    ]
    table = pd.DataFrame(chosen)
    table["test_accuracy"] = correct_by_fold
    # A row for each measure: there are more of them than trainings, mostly.
    table = table.rename(columns=lambda name: name.replace("_", " ")).T
    table.columns = [f"training {number + 1}" for number in table.columns]
    table = table.rename_axis("measure")
    kept = sum(choice["fine_tuned"] for choice in chosen)
    parts = ", ".join(str(len(part)) for part in folds[0])
    return Section(
        "How it was trained",
        f"- {len(photos)} photos of {len(photos.names)} classes; training, validation "
        f"and test part: {parts}\n"
        f"- {options.backbone}, {options.image_size} pixels, seed {options.seed}\n"
        f"- fine-tuning lowered the validation loss in {kept} of {len(folds)} "
        f"trainings; elsewhere the head alone was kept\n- export: {exported}"
        + "\n- model.keras and its export are the network of the first training, and "
        "each test photo is judged by the one training that did not see it"
        * (len(folds) > 1),
        [
            ("figures/inputs.png", "Training photos, augmented for fine-tuning"),
            ("figures/learning_rate.png", "Search of the head's learning rate"),
        ],
        [(table, "Trainings: loss and accuracy on validation and test photos")],
    )


def _share(count, number, unit=""):
    """A share in percent with its 95 % interval (Wilson), as text."""
    if not number:
        return "no photo"
    interval = binomtest(int(count), int(number)).proportion_ci(method="wilson")
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{100 * count / number:.1f}{unit} ({low} to {high}{unit})"
