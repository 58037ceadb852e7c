"""Figures, tables and the report of own_photos.py."""

import json

import keras
import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_residual.analysis import grad_cam, overlay, plots
from keras_residual.analysis.report import Section, write_report

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the training photos, for the learning curve
DRAWS = 5  # of each share
WORST = 12  # photos that are shown


def draw_inputs(model, photos, places, file):
    """Training photos, cut and augmented as the network sees them."""
    images = photos.images[places].astype("float32")
    for layer in model.augmentation:
        images = layer(images, training=True)
    images = np.clip(keras.ops.convert_to_numpy(images), 0, 255).astype("uint8")
    _, axes = plt.subplots(3, 3, figsize=(6, 6.5))
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, label in zip(axes.flat, images, photos.labels[places], strict=False):
        ax.imshow(image)
        ax.set_title(photos.names[label], fontsize=9)
    _save(file)


def draw_learning_rate(found, file):
    """The search of the head's learning rate."""
    plots.learning_rate_range(found)
    _save(file)


def write_photo_report(model, photos, folds, probabilities, options, exported):
    """Writes report.md and report.html; returns the accuracy with its interval."""
    test = np.concatenate([fold[2] for fold in folds])
    truth = photos.labels[test]
    correct = probabilities.argmax(1) == truth
    answer = _share(correct.sum(), len(test))
    common = np.bincount(truth).max() / len(truth)
    sections = [
        _classes(photos, truth, probabilities, options.out),
        _most_wrong(model, photos, test, truth, probabilities, options.out),
        _reliability(correct, probabilities, options.out),
        _more_photos(photos, folds[0], options),
        _training(photos, folds, options, exported),
    ]
    if photos.left_out:
        table = pd.DataFrame(photos.left_out, columns=["file", "reason"])
        sections.append(Section("Files left out", tables=[(table, "Not used")]))
    write_report(
        options.out,
        f"{options.photos.resolve().name}: {', '.join(photos.names)}",
        f"{answer} of {len(test)} test photos are classified correctly, with the 95 % "
        f"interval in parentheses. Naming the most common class alone: {common:.1%}.",
        sections,
    )
    return answer


def _classes(photos, truth, probabilities, out):
    names, numbers = photos.names, range(len(photos.names))
    predicted = probabilities.argmax(1)
    counts = confusion_matrix(truth, predicted, labels=numbers)
    figure = ConfusionMatrixDisplay(counts, display_labels=names)
    figure.plot(xticks_rotation="vertical", colorbar=False, cmap="Blues")
    _save(out / "figures/confusion_matrix.png")
    right, called, of_class = counts.diagonal(), counts.sum(0), counts.sum(1)
    table = pd.DataFrame(
        {
            "class": names,
            "test photos": of_class,
            "precision": list(map(_share, right, called)),
            "recall": list(map(_share, right, of_class)),
        }
    )
    return Section(
        "Each class",
        "Precision: the share of the photos called by this name that are of the class. "
        "Recall: the share of the class that is found. Both with 95 % intervals.",
        [("figures/confusion_matrix.png", "Confusion matrix of the test photos")],
        [(table, "Test photos by class")],
    )


def _most_wrong(model, photos, test, truth, probabilities, out):
    of_truth = probabilities[np.arange(len(test)), truth].astype(float)
    worst = np.argsort(of_truth, kind="stable")[:WORST]
    shown = np.clip(probabilities[worst], 0, 1)
    plots.photo_grid(photos.images[test[worst]], truth[worst], shown, photos.names)
    _save(out / "figures/most_wrong.png")
    predicted = probabilities[worst].argmax(1)
    images = photos.images[test[worst]]
    maps = grad_cam(model, images, class_index=predicted)
    looked = overlay(images, maps)
    plots.photo_grid(looked, truth[worst], shown, photos.names)
    _save(out / "figures/grad_cam.png")
    table = pd.DataFrame(
        {
            "photo": [photos.files[place] for place in test[worst]],
            "class": [photos.names[label] for label in truth[worst]],
            "predicted": [photos.names[label] for label in predicted],
            "probability of its class": of_truth[worst],
        }
    )
    return Section(
        "Photos that are most wrong",
        "Look at them first: some may be labelled wrongly.",
        [
            ("figures/most_wrong.png", "Test photos, least probable true class first"),
            ("figures/grad_cam.png", "Where model.keras looked (Grad-CAM)"),
        ],
        [(table, "The same photos by file")],
    )


def _reliability(correct, probabilities, out):
    confidence = np.clip(probabilities.max(1).astype(float), 0, 1)
    places = np.arange(len(correct))
    frame = {"approach": "model", "seed": 0, "image": places, "confidence": confidence}
    frame = pd.DataFrame({**frame, "correct": correct})
    plots.reliability_diagram(frame, by="approach", bins=10)
    _save(out / "figures/reliability.png")
    return Section(
        "Can the probabilities be trusted?",
        "On the diagonal a confidence of 80 % is right in 80 % of the cases.",
        [("figures/reliability.png", "Accuracy against confidence on the test photos")],
    )


def _more_photos(photos, fold, options):
    """Test accuracy of a classifier of the features, by number of training photos."""
    training, _, test = fold
    head = keras.saving.load_model(options.out / "folds/0/head.keras")
    features = head.cache_features(None, filepath=options.out / "features.h5")
    rows = []
    for draw in range(DRAWS):
        order = np.random.default_rng([options.seed, draw]).permutation(training)
        for share in SHARES:
            some = features.part(order[: max(2, round(share * len(order)))])
            if len(set(some.labels.tolist())) < 2:
                continue  # a few photos may be of one class
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
            classifier.fit(some.features, some.labels)
            held_out = features.part(test)
            accuracy = classifier.score(held_out.features, held_out.labels)
            rows.append(("frozen", len(some), draw, accuracy))
    curve = pd.DataFrame(rows, columns=["approach", "images", "seed", "accuracy"])
    plots.accuracy_by_images(curve)
    _save(options.out / "figures/learning_curve.png")
    half, whole = curve.groupby("images")["accuracy"].mean().iloc[-2:]
    return Section(
        "Would more photos help?",
        f"From half of the training photos to all, the accuracy changes by "
        f"{100 * (whole - half):+.1f} percentage points. The curve is that of a "
        f"logistic regression of the backbone's features, with {DRAWS} draws of each "
        "number of photos.",
        [("figures/learning_curve.png", "Test accuracy against training photos")],
    )


def _training(photos, folds, options, exported):
    chosen = [
        json.loads((options.out / f"folds/{number}/chosen.json").read_text())
        for number in range(len(folds))
    ]
    kept = sum(choice["fine_tuned"] for choice in chosen)
    parts = ", ".join(str(len(part)) for part in folds[0])
    return Section(
        "How it was trained",
        f"- {len(photos)} photos of {len(photos.names)} classes; training, validation "
        f"and test part: {parts}\n"
        f"- {options.backbone}, {options.image_size} pixels, seed {options.seed}\n"
        f"- fine-tuning lowered the validation loss in {kept} of {len(folds)} "
        f"trainings; elsewhere the head alone was kept\n- export: {exported}",
        [
            ("figures/inputs.png", "Training photos, augmented for fine-tuning"),
            ("figures/learning_rate.png", "Search of the head's learning rate"),
        ],
        [(pd.DataFrame(chosen), "Trainings: loss and accuracy on validation photos")],
    )


def _share(count, number):
    """A share with its 95 % interval (Wilson), as text."""
    if not number:
        return "no photo"
    low, high = binomtest(int(count), int(number)).proportion_ci(method="wilson")
    return f"{count / number:.1%} ({low:.1%} to {high:.1%})"


def _save(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    plt.gcf().savefig(file, dpi=100, bbox_inches="tight")
    plt.close("all")
