"""Small networks to transfer from."""

import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("uint8")


@pytest.fixture
def labels():
    return np.arange(16) % 2


@pytest.fixture
def mobile_net():
    """A keras.applications network, small, with new weights."""
    return keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
    )


@pytest.fixture
def make_model():
    """A compiled TransferModel on a small residual network."""

    def make(backbone=None, **arguments):
        if backbone is None:
            backbone = ResNet(
                8, variant="cifar", include_top=False, shortcut="projection"
            )
        arguments = {"hidden_units": 8, "preprocessing": "torch", **arguments}
        model = TransferModel(backbone, 2, **arguments)
        model.compile(
            keras.optimizers.Adam(1e-2),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    return make
