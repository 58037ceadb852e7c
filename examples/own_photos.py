"""From a folder of your own photos to a model, an export and a report.

    python examples/own_photos.py photos --out pets --backbone MobileNetV2
    python examples/own_photos.py predict pets/model.keras new/*.jpg

The folder has one folder of photos per class. Three fifths of the photos train. A fifth
validates: it decides when to stop and whether to keep fine-tuning. A fifth tests: it
decides nothing and gives the accuracy in pets/report.html. The same command resumes a
run that was stopped.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_residual import TransferModel

# isort: split
# Keras after keras_residual, which makes the level hold for what Keras imports.
import keras
import numpy as np
from _own_photos_report import draw, draw_inputs, write_photo_report
from sklearn.model_selection import StratifiedGroupKFold

from keras_residual.analysis import plots
from keras_residual.datasets import read_photos
from keras_residual.experiments import RefusedError, run_main
from keras_residual.experiments.tasks import refusing

PARTS = 5  # one part tests, one validates, the others train
HEAD_EPOCHS = 50  # at most: the head stops when the validation loss rises
TUNING_RATE = 0.01  # share of the head's learning rate


# --- Command line


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def parse_options(arguments):
    parser = argparse.ArgumentParser(
        prog="own_photos.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("photos", type=Path, help="folder with one folder of photos per class")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--backbone", default="MobileNetV2", metavar="NAME", help="pretrained network")
    add("--weights", metavar="FILE", help="its weights (default: downloaded, ImageNet)")
    for name, default, words in (
        ("--image-size", 160, "pixels of a side"),
        ("--batch-size", 32, "photos in a step"),
        ("--unfreeze", 20, "layers to fine-tune"),
    ):
        add(name, type=positive, default=default, metavar="N", help=words)
    add("--tuning-epochs", type=int, default=3, metavar="N", help="0: no fine-tuning")
    add("--seed", type=int, default=0, metavar="N", help="of split and training")
    words = "keeps photos together whose paths contain the same match, such as "
    words += r"'series\d+' or 'cat/(.*)_\d+': several photos of one animal or day"
    add("--group-by", type=re.compile, metavar="REGEX", help=words)
    words = "for few photos: train N times, so that each photo tests once"
    add("--folds", type=int, metavar="N", help=words)
    options = parser.parse_args(arguments)
    if options.folds is not None and not 3 <= options.folds <= 20:
        parser.error("argument --folds: must be 3 to 20")
    if options.out.resolve().is_relative_to(options.photos.resolve()):
        parser.error("argument --out: a folder of the photos would become a class")
    return options


# --- Photos and their split


def split(photos, options):
    """Training, validation and test photos of each fold, as arrays of indices."""
    groups = np.arange(len(photos))
    if options.group_by:
        found = [options.group_by.search(file) for file in photos.files]
        texts = [
            (match[1] if match.re.groups else match[0]) if match else file
            for match, file in zip(found, photos.files, strict=True)
        ]
        groups = np.unique(texts, return_inverse=True)[1]
    number = options.folds or PARTS
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=options.seed)
    try:
        found = splitter.split(photos.labels, photos.labels, groups)
        parts = [test for _, test in found]
    except ValueError as error:
        raise RefusedError(
            f"{number} parts cannot be made of the photos: {error}"
        ) from error
    classes = set(photos.labels.tolist())
    if any(set(photos.labels[part].tolist()) != classes for part in parts):
        raise RefusedError(
            "a part would have no photo of some class: there are too few photos or "
            "groups of it. Give more photos or fewer --folds"
        )
    folds, generator = [], np.random.default_rng(options.seed)
    for fold in range(options.folds or 1):
        validation = (fold + 1) % number
        rest = [i for i in range(number) if i not in (fold, validation)]
        training = generator.permutation(np.concatenate([parts[i] for i in rest]))
        folds.append((training, parts[validation], parts[fold]))
    return folds


# --- The network


def make_model(photos, options):
    keras.utils.set_random_seed(options.seed)
    model = TransferModel(
        options.backbone,
        class_names=photos.names,
        weights=options.weights or "imagenet",
        augmentation=[
            keras.layers.RandomFlip("horizontal", seed=options.seed),
            keras.layers.RandomTranslation(0.1, 0.1, seed=options.seed),
        ],
        dropout=0.2,
        input_shape=(options.image_size, options.image_size, 3),
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train_head(photos, fold, options, folder):
    """Features once, a learning rate, and the head until validation gets worse."""
    training, validation, _ = fold
    with refusing():
        try:
            model = make_model(photos, options)
        except ConnectionError as error:
            raise ConnectionError(
                f"no weights of {options.backbone}: give --weights FILE. On a machine "
                'with a network: python -c "import keras; keras.applications.'
                f"{options.backbone}().save_weights('{options.backbone}.weights.h5')\""
            ) from error
    is_first = folder.name == "0"
    if is_first:
        draw_inputs(model, photos, training[:9], options.out)
    print(f"The features of {len(photos)} photos, once:", flush=True)
    features = model.cache_features(
        photos.images, photos.labels, filepath=options.out / "features.h5"
    )
    found = model.find_learning_rate(features.part(training))
    if is_first:
        draw(options.out, "learning_rate", plots.learning_rate_range, found)
    rate = min(found.suggestion or 1e-3, 1e-2)
    model.optimizer.learning_rate = rate
    stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    history = model.fit(
        features.part(training),
        validation_data=features.part(validation),
        batch_size=options.batch_size,
        epochs=HEAD_EPOCHS,
        callbacks=[stop],
        verbose=0,
    )
    epochs = len(history.epoch)
    print(f"The head: {epochs} epochs at a learning rate of {rate:.2g}.")
    write_json(folder / "head.json", {"learning_rate": rate, "epochs": epochs})
    save(model, folder / "head.keras")


def fine_tune(photos, fold, options, folder):
    """The better of head and fine-tuned network, by the loss on validation photos."""
    training, validation, _ = fold
    model = keras.saving.load_model(folder / "head.keras")
    held_out = (photos.images[validation], photos.labels[validation])
    chosen = json.loads((folder / "head.json").read_text())
    chosen["head_loss"], chosen["head_accuracy"] = model.evaluate(*held_out, verbose=0)
    chosen["fine_tuned"], why = False, ""
    if options.tuning_epochs:
        with refusing():
            model.unfreeze(options.unfreeze)
        model.optimizer.learning_rate = TUNING_RATE * chosen["learning_rate"]
        print(f"Fine-tuning the last {options.unfreeze} layers:", flush=True)
        model.fit(
            photos.images[training],
            photos.labels[training],
            batch_size=options.batch_size,
            epochs=options.tuning_epochs,
            callbacks=[keras.callbacks.BackupAndRestore(folder / "backup")],
            verbose=2,
        )
        loss, accuracy = model.evaluate(*held_out, verbose=0)
        chosen.update(tuned_loss=loss, tuned_accuracy=accuracy)
        chosen["fine_tuned"] = loss < chosen["head_loss"]
        why = f": validation loss {chosen['head_loss']:.3f} before, {loss:.3f} after"
    if not chosen["fine_tuned"]:
        model = keras.saving.load_model(folder / "head.keras")
    print(f"Fine-tuning is {'kept' if chosen['fine_tuned'] else 'not kept'}{why}.")
    write_json(folder / "chosen.json", chosen)
    save(model, folder / "model.keras")


def run_fold(photos, fold, options, folder):
    """Trains what is not trained yet; returns the probabilities of the test photos."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "head.keras").exists():
        train_head(photos, fold, options, folder)
    if not (folder / "model.keras").exists():
        fine_tune(photos, fold, options, folder)
    model = keras.saving.load_model(folder / "model.keras")
    return model.predict(photos.images[fold[2]], verbose=0)


def export(model, out):
    """What runs without Keras: ONNX on PyTorch, a SavedModel elsewhere."""
    torch = keras.backend.backend() == "torch"
    path = out / ("model.onnx" if torch else "saved_model")
    if not path.exists():
        temporary = out / f".{path.name}"
        try:
            kind = "onnx" if torch else "tf_saved_model"
            model.export(temporary, format=kind, verbose=False)
        except ImportError as error:
            return f"none, {error}"
        os.replace(temporary, path)
    return path.name


# --- The program


def write_json(file, content):
    file.write_text(json.dumps(content, indent=1))


def save(model, file):
    """Writes a file that is whole or not there: the program may be killed."""
    temporary = file.with_name(f".{file.name}")
    model.save(temporary)
    os.replace(temporary, file)


def check_folder(photos, options):
    """Results of other photos or options must not be taken for these."""
    settings = {name: str(value) for name, value in vars(options).items()}
    del settings["photos"], settings["out"]
    content = photos.images.tobytes() + repr((photos.files, photos.names)).encode()
    settings["photos_sha256"] = hashlib.sha256(content).hexdigest()
    file = options.out / "settings.json"
    trained = any(options.out.glob("folds/*/head.keras"))
    if trained and json.loads(file.read_text()) != settings:
        raise RefusedError(
            f"{options.out} holds a training of other photos or options. Give another "
            "--out, or delete it"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def train(options):
    start = time.monotonic()
    with refusing():
        photos = read_photos(
            options.photos, image_size=options.image_size, min_per_class=PARTS
        )
    for file, reason in photos.left_out:
        print(f"left out: {file} ({reason})")
    folds = split(photos, options)
    check_folder(photos, options)
    print(f"{len(photos)} photos: {', '.join(photos.names)}")
    probabilities = [
        run_fold(photos, fold, options, options.out / "folds" / str(number))
        for number, fold in enumerate(folds)
    ]
    model = keras.saving.load_model(options.out / "folds/0/model.keras")
    save(model, options.out / "model.keras")
    model.predict(photos.images[:1], verbose=0)  # PyTorch exports what was called
    exported = export(model, options.out)
    answer = write_photo_report(photos, folds, probabilities, options, exported)
    print(f"Right: {answer} of the test photos, in {time.monotonic() - start:.0f} s.")
    print(f"Report: {options.out / 'report.html'}")
    model = options.out / "model.keras"
    print(f"Next: python examples/own_photos.py predict {model} PHOTO.jpg")


def predict(arguments):
    parser = argparse.ArgumentParser(
        prog="own_photos.py predict", description="Print the classes of photos."
    )
    parser.add_argument("model", type=Path, help="model.keras of a finished run")
    parser.add_argument("photos", nargs="+", type=Path, help="files of photos")
    options = parser.parse_args(arguments)
    with refusing():
        model = keras.saving.load_model(options.model)
        ranked = model.classify(options.photos)
    for file, row in zip(options.photos, ranked, strict=True):
        print(f"{file}: {', '.join(f'{name} {100 * p:.1f} %' for name, p in row[:5])}")


def main():
    if sys.argv[1:2] == ["predict"]:
        predict(sys.argv[2:])
    else:
        train(parse_options(sys.argv[1:]))


if __name__ == "__main__":
    run_main(main, "own_photos.py")
