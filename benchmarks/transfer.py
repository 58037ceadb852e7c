"""How much faster does a head train on cached features than on images?

    KERAS_BACKEND=jax python benchmarks/transfer.py [--rounds 5]
    KERAS_BACKEND=jax python benchmarks/transfer.py --backbone MobileNetV2 \\
        --weights mobilenet_v2.weights.h5 --data-dir photos

Trains the head of a frozen `TransferModel` for some epochs: on images, on features
cached in memory, and on features in a file, written for it or there already. Making the
cache is part of the time. The four take turns; the first round, of one epoch, compiles
and is not counted. A round has its own seed, the same for all four.

Without `--data-dir` the images are noise, and without `--weights` the weights of the
backbone are random: enough for the times, and the accuracy is then chance. A folder
holds one folder for each class, or files named `class.number.jpg`; what is not trained
on is tested on.
"""

import argparse
import functools
import pathlib
import tempfile

import keras
import numpy as np
from _results import alternate, report

from keras_residual import TransferModel
from keras_residual.datasets import load_photos

BASELINE = "cache_features"


def noise(count, size):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, size, size, 3)).astype("uint8")
    return images, np.arange(count) % 2


def photos(folder, size):
    """All images of a folder, in an order that has nothing to do with their names."""
    images, labels, _ = load_photos(folder, image_size=size)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], labels[order]


class Contestant:
    """A model that can be trained again from the beginning without compiling again."""

    def __init__(self, arguments, num_classes, data):
        self.model = TransferModel(
            arguments.backbone, num_classes, weights=arguments.weights
        )
        self.model.compile("adam", "sparse_categorical_crossentropy")
        self.model.optimizer.build(self.model.trainable_variables)
        # In NumPy: JAX hands the memory of its arrays on from step to step.
        self.state = [
            np.array(keras.ops.convert_to_numpy(variable))
            for variable in self.model.optimizer.variables
        ]
        self.epochs = arguments.epochs
        self.data = data
        self.heads = []

    def start(self, seed):
        keras.utils.set_random_seed(seed)
        for variable, value in zip(
            self.model.optimizer.variables, self.state, strict=True
        ):
            variable.assign(value)
        for layer in self.model.head.layers[1:]:
            initializer = keras.initializers.GlorotUniform(seed)
            layer.kernel.assign(initializer(layer.kernel.shape))
            layer.bias.assign(np.zeros(layer.bias.shape))

    def train(self, *data):
        self.start(len(self.heads))
        epochs = self.epochs if self.heads else 1
        self.model.fit(*data, epochs=epochs, verbose=0)
        self.heads.append(self.model.head.get_weights())

    def on_images(self):
        self.train(*self.data)

    def on_features(self, filepath=None, new=True):
        if filepath is not None and new:
            filepath.unlink(missing_ok=True)
        self.train(self.model.cache_features(*self.data, filepath=filepath, verbose=0))

    def accuracies(self, test):
        """Of each round that counts."""
        found = []
        for head in self.heads[1:]:
            self.model.head.set_weights(head)
            outputs = self.model.head.predict(test.features, verbose=0)
            found.append(np.mean(outputs.argmax(1) == test.labels))
        return np.array(found)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="ResNet50")
    parser.add_argument("--weights", help="a file; random weights without it")
    parser.add_argument("--data-dir", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=600, help="to train on")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, pathlib.Path(folder))


def measure(arguments, folder):
    weights = "a file" if arguments.weights else "random"
    if arguments.weights is None:
        arguments.weights = folder / "random.weights.h5"
        network = getattr(keras.applications, arguments.backbone)(
            weights=None, include_top=False
        )
        network.save_weights(arguments.weights)
    count = arguments.images
    if arguments.data_dir:
        images, labels = photos(arguments.data_dir, arguments.image_size)
    else:
        images, labels = noise(count + 100, arguments.image_size)
    num_classes = int(labels.max()) + 1
    data = images[:count], labels[:count]
    make = functools.partial(Contestant, arguments, num_classes, data)
    there, new = folder / "there.h5", folder / "new.h5"
    makers = {
        "fit on images": make(),
        BASELINE: make(),
        "cache_features, new file": make(),
        "cache_features, file that is there": make(),
    }
    on_images, *others = makers.values()
    calls = [
        on_images.on_images,
        others[0].on_features,
        functools.partial(others[1].on_features, new),
        functools.partial(others[2].on_features, there, new=False),
    ]
    others[2].model.cache_features(*data, filepath=there, verbose=0)
    seconds = alternate(dict(zip(makers, calls, strict=True)), arguments.rounds)
    test = on_images.model.cache_features(images[count:], labels[count:], verbose=0)
    accuracies = {name: made.accuracies(test) for name, made in makers.items()}
    for name, values in accuracies.items():
        print(
            f"{name}: test accuracy {values.mean():.4f}, "
            f"from {values.min():.4f} to {values.max():.4f}, n = {len(values)}"
        )
    report(
        "transfer",
        seconds,
        BASELINE,
        backbone=arguments.backbone,
        weights=weights,
        data="photos" if arguments.data_dir else "noise",
        images=len(data[0]),
        image_size=arguments.image_size,
        epochs=arguments.epochs,
        test_images=len(test),
        accuracy_images=round(float(accuracies["fit on images"].mean()), 4),
        accuracy_features=round(float(accuracies[BASELINE].mean()), 4),
    )


if __name__ == "__main__":
    main()
