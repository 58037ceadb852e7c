"""Shared parts of the experiments' trainings: batches in a stated order, and times."""

import math
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_residual.experiments._untuned import untuned_arrays, untuned_batches
from keras_residual.experiments.tasks import RefusedError

_VALIDATION_BATCH = 500


class ShuffledBatches(keras.utils.PyDataset):
    """Batches in an order that the seed and the epoch alone decide.

    All batches are full, so that a step is compiled for one shape only; each epoch
    leaves out other images.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.images = images
        self.labels = labels
        self.batch_size = min(batch_size, len(images))
        self.seed = seed
        self.begin_epoch(0)

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return self.images[chosen], self.labels[chosen]

    def on_epoch_end(self) -> None:
        self.begin_epoch(self.epoch + 1)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        generator = np.random.default_rng([self.seed, epoch])
        self.order = generator.permutation(len(self.images))


def begin_training(seed: int) -> None:
    """Clears what Keras keeps of earlier networks, and seeds what a training draws.

    `keras.utils.set_random_seed` also seeds what `tf.data` draws; it imports TensorFlow
    for that, under every backend. Keras's own draws follow from those of Python, but
    for dropout on PyTorch.
    """
    keras.utils.clear_session()
    if "tensorflow" in sys.modules:
        keras.utils.set_random_seed(seed)
    else:
        random.seed(seed)
        np.random.seed(seed)
        if keras.config.backend() == "torch":
            import torch

            torch.manual_seed(seed)


def trainable_parameters(model: keras.Model) -> int:
    """How many numbers of a network the optimizer changes."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compile_classifier(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: Any = "sparse_categorical_crossentropy",
) -> None:
    """Compiles a network of images and integer labels as short trainings want it."""
    model.compile(
        optimizer,
        loss,
        # A metric that is only named makes its variables in the first step, and so does
        # an optimizer that is not built: TensorFlow then traces that step twice.
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        # For so few steps compiling with XLA costs more than it saves; JAX needs it.
        jit_compile=keras.config.backend() == "jax",
    )
    optimizer.build(model.trainable_variables)


def fit_classifier(
    model: keras.Model,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray] | None,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    initial_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> pd.DataFrame:
    """Trains a compiled network; returns a row for each epoch, counted from 1.

    Args:
        model: The network.
        train: Images and labels, in an order that seed and epoch decide.
        validation: Those that validate, if any.
        epochs: The last epoch.
        batch_size: Images in a step; all batches are full.
        seed: Seed of the order.
        initial_epoch: How many epochs were trained before.
        callbacks: Callbacks of Keras.
    """
    batches = ShuffledBatches(*train, batch_size=batch_size, seed=seed)
    batches.begin_epoch(initial_epoch)
    for _ in range(initial_epoch):
        # Keras shuffles the batches of each epoch once more, by Python's generator.
        random.shuffle(list(range(len(batches))))
    given: Any = batches
    held_out: Any = validation
    callbacks = [EpochTimer(), *callbacks]
    if keras.config.backend() == "tensorflow":
        given = untuned_batches(batches)
        if validation is not None:
            held_out = untuned_arrays(validation, _VALIDATION_BATCH)
        # `fit` does so for a `PyDataset` alone, also before the first epoch.
        batches.on_epoch_end()
        ended = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: batches.on_epoch_end()
        )
        callbacks.append(ended)
    fitted = model.fit(
        given,
        initial_epoch=initial_epoch,
        epochs=epochs,
        validation_data=held_out,
        validation_batch_size=_VALIDATION_BATCH,
        callbacks=callbacks,
        shuffle=given is batches,  # the others are shuffled
        verbose=0,
    )
    history = pd.DataFrame(fitted.history)
    history.insert(
        0, "epoch", range(initial_epoch + 1, initial_epoch + len(history) + 1)
    )
    history.insert(1, "steps", len(batches))
    return history


class EpochTimer(keras.callbacks.Callback):
    """Adds the seconds of each epoch, its validation included, to the history."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["seconds"] = round(time.perf_counter() - self._start, 3)


class ValidationTimer(keras.callbacks.Callback):
    """Adds up the seconds that the validations within `fit` take."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        self.seconds += time.perf_counter() - self._start


def check_shares(labels: np.ndarray, shares: Sequence[float]) -> None:
    """Refuses shares of which two give the same number of training images."""
    counts = [len(stratified_split(labels, share, 0)["train"]) for share in shares]
    if len(set(counts)) < len(counts):
        raise RefusedError(
            "--shares must give different numbers of training images, but "
            f"{', '.join(map(str, shares))} give {', '.join(map(str, counts))}"
        )


def batch_size_for(share: float, most: int, least: int = 8) -> int:
    """Images in a step: in proportion to the share of the data, but not too few."""
    return max(min(least, most), round(most * share))


def cached(
    model: Any, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of a `TransferModel`, with the labels, to train its head alone."""
    cache = model.cache_features(images, labels, verbose=0)
    return cache.features, cache.labels


def predictions(
    model: keras.Model, images: np.ndarray, labels: np.ndarray, places: np.ndarray
) -> tuple[float, pd.DataFrame]:
    """Accuracy of a classifier, NaN if it diverged, and its probabilities by image.

    Args:
        model: The network, which outputs probabilities.
        images: Images that it has not seen.
        labels: Their labels.
        places: Their numbers among all images.
    """
    outputs = model.predict(images, batch_size=100, verbose=0)
    frame = pd.DataFrame({"image": places, "label": labels})
    for label, probabilities in enumerate(outputs.T):
        frame[f"probability_{label}"] = probabilities
    right = np.mean(outputs.argmax(1) == labels)
    return float(right) if np.isfinite(outputs).all() else math.nan, frame


def split(num_images: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation images, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(num_images)
    border = round(share * num_images)
    return order[:border], order[border:]


def spread(number: int, most: int) -> np.ndarray:
    """Evenly spaced places among `number`, at most `most`, from first to last."""
    return np.unique(np.linspace(0, number - 1, min(most, number)).round().astype(int))


def stratified_split(
    labels: np.ndarray, share: float, seed: int, held_out: float = 0.2
) -> dict[str, np.ndarray]:
    """Indices of the training, validation and test images, drawn by the seed.

    In each part the classes are as frequent as in the whole. A smaller share of the
    training images is a part of a larger one; validation and test stay the same.

    Args:
        labels: Labels of all images.
        share: Share of the training images to take.
        seed: Seed.
        held_out: Share of all images that validate, and share that test.

    Example:
        ```python
        import numpy as np
        from keras_residual.experiments.training import stratified_split

        parts = stratified_split(np.repeat([0, 1], 10), share=0.5, seed=0)
        print(*map(len, parts.values()))  # 6 4 4
        ```
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        order = generator.permutation(np.flatnonzero(labels == label))
        border = round(held_out * len(order))
        training = max(1, round(share * (len(order) - 2 * border)))
        parts["validation"].append(order[:border])
        parts["test"].append(order[border : 2 * border])
        parts["train"].append(order[2 * border : 2 * border + training])
    return {name: np.concatenate(indices) for name, indices in parts.items()}


def standardized(
    train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both with the channel means and deviations of the training images taken out."""
    train, validation = (part.astype(np.float32) for part in (train, validation))
    mean = train.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = train.std((0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation[deviation == 0] = 1
    return (train - mean) / deviation, (validation - mean) / deviation
