"""What the tests of networks share."""

import numpy as np
import pytest


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
