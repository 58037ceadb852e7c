"""What all tests share: a fixed seed, untouched Keras settings, and the real data."""

import os
import sys
from pathlib import Path

# Before the first import of matplotlib: tests have no display.
os.environ.setdefault("MPLBACKEND", "Agg")

import keras
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def same_keras_settings():
    """A test that changes a global setting of Keras cannot change the next test."""
    policy = keras.config.dtype_policy()
    data_format = keras.config.image_data_format()
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    # matplotlib warns once twenty figures are open.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def root():
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """A function from a name such as "cifar10" to its folder of real data, or a skip.

    The project works without these files: they are not part of it.
    """
    folder = Path(os.environ.get("KERAS_RESIDUAL_DATA", ROOT.parent / "shared/data"))

    def find(name):
        path = folder / name
        if not path.exists():
            pytest.skip(
                f"real data needed: {path} does not exist "
                "(KERAS_RESIDUAL_DATA names the folder to look in)"
            )
        return path

    return find


@pytest.fixture
def random_statistics():
    """Gives batch normalization and biases values as different as training's.

    Its scales keep the outputs of a deep network of the order of one.
    """

    def apply(model):
        generator = np.random.default_rng(0)
        ranges = {
            "gamma": (0.2, 0.6),
            "beta": (-0.5, 0.5),
            "moving_mean": (-0.5, 0.5),
            "moving_variance": (0.5, 1.5),
            "bias": (-0.5, 0.5),
        }
        for weight in model.weights:
            name = weight.path.split("/")[-1]
            if name in ranges:
                weight.assign(generator.uniform(*ranges[name], weight.shape))
        return model

    return apply
