"""Every layer under Keras's own harness: config, file, shapes, counts, training."""

import pytest
from keras.src import testing

from keras_residual import Cutout, PlainBlock, ResidualBlock, StochasticDepth
from keras_residual.layers import (
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    MaxPooling2D,
    SqueezeExcitation,
)

UNTRAINED = {
    "call_kwargs": {"training": True},
    "expected_num_seed_generators": 1,
    "expected_num_losses": 0,
    "supports_masking": True,
}
# Layer and arguments, shapes of inputs and outputs, numbers of trainable and other
# weights, and what else the harness is told.
CASES = {
    "Conv2D": (
        (Conv2D, {"filters": 4, "kernel_size": 3, "strides": 2}),
        ((2, 9, 7, 3), (2, 4, 3, 4)),
        (2, 0),
        {},
    ),
    "DepthwiseConv2D": (
        (DepthwiseConv2D, {"kernel_size": 3, "strides": 2}),
        ((2, 9, 7, 3), (2, 4, 3, 3)),
        (2, 0),
        {},
    ),
    "MaxPooling2D": (
        (MaxPooling2D, {"pool_size": 3, "strides": 2}),
        ((2, 9, 7, 3), (2, 4, 3, 3)),
        (0, 0),
        {},
    ),
    "BatchNormalization": (
        (BatchNormalization, {"momentum": 0.9}),
        ((3, 4, 2, 3), (3, 4, 2, 3)),
        (2, 2),
        {"call_kwargs": {"training": True}, "supports_masking": True},
    ),
    "SqueezeExcitation": (
        (SqueezeExcitation, {"reduction": 2}),
        ((2, 5, 6, 4), (2, 5, 6, 4)),
        (4, 0),
        {"expected_num_seed_generators": 0, "expected_num_losses": 0},
    ),
    "PlainBlock": (
        (PlainBlock, {"filters": 4, "strides": 2}),
        ((2, 9, 6, 3), (2, 5, 3, 4)),
        (6, 4),
        {"expected_num_seed_generators": 0, "expected_num_losses": 0},
    ),
    "PlainBlock, bottleneck": (
        (
            PlainBlock,
            {
                "filters": 2,
                "block_type": "bottleneck",
                "preactivation": True,
                "kernel_regularizer": "l2",
            },
        ),
        ((2, 4, 6, 3), (2, 4, 6, 8)),
        (9, 6),
        {"expected_num_losses": 3},
    ),
    "ResidualBlock, identity": (
        (ResidualBlock, {"filters": 3}),
        ((2, 5, 6, 3), (2, 5, 6, 3)),
        (6, 4),
        {"expected_num_seed_generators": 0, "expected_num_losses": 0},
    ),
    "ResidualBlock, projection and drop path": (
        (
            ResidualBlock,
            {
                "filters": 2,
                "strides": 2,
                "block_type": "bottleneck",
                "drop_path": 0.2,
                "kernel_regularizer": "l2",
            },
        ),
        ((2, 9, 6, 3), (2, 5, 3, 8)),
        (12, 8),
        {"expected_num_seed_generators": 1, "expected_num_losses": 4},
    ),
    "ResidualBlock, padding": (
        (ResidualBlock, {"filters": 6, "strides": 2, "shortcut": "pad"}),
        ((2, 9, 6, 3), (2, 5, 3, 6)),
        (6, 4),
        {"expected_num_losses": 0},
    ),
    "StochasticDepth": (
        (StochasticDepth, {"rate": 0.4}),
        ((2, 3, 5, 4), (2, 3, 5, 4)),
        (0, 0),
        UNTRAINED,
    ),
    "Cutout": (
        (Cutout, {"size": 3}),
        ((2, 6, 5, 4), (2, 6, 5, 4)),
        (0, 0),
        # The dtype of the images is kept whatever the policy is.
        {**UNTRAINED, "run_mixed_precision_check": False},
    ),
}
SLOW = ("ResidualBlock, padding",)


@pytest.fixture
def assert_contract():
    harness = testing.TestCase()
    harness.setUp()
    yield harness.run_layer_test
    harness.tearDown()
    harness.doCleanups()


# The harness itself fits on a generator with `shuffle` on.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize(
    ("layer", "shapes", "weights", "told"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW))
        for name, case in CASES.items()
    ],
)
def test_keras_layer_contract(assert_contract, layer, shapes, weights, told):
    assert_contract(
        layer[0],
        init_kwargs=layer[1],
        input_shape=shapes[0],
        expected_output_shape=shapes[1],
        expected_num_trainable_weights=weights[0],
        expected_num_non_trainable_weights=weights[1],
        **{"supports_masking": False, **told},
    )
