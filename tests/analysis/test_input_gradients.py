"""Correlations of gradients that are known by hand."""

import keras
import numpy as np
import pytest

from keras_residual.analysis import input_gradients


def test_gradients_of_a_linear_network_are_parallel():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    result = input_gradients(model, np.random.default_rng(0).normal(size=(3, 3)), 5)
    np.testing.assert_array_equal(result.distances, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(result.correlations, 1, rtol=1e-5)


def absolute_value(activation=None):
    """|x| as a sum of two ReLUs: the gradient turns round at zero."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(2, activation="relu", use_bias=False),
            keras.layers.Dense(2, use_bias=False, activation=activation),
        ]
    )
    model.set_weights([np.array([[1.0, -1.0]]), np.array([[1.0, 0], [1, 0]])])
    return model


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_gradients_that_turn_round_half_way(activation):
    model = absolute_value(activation)
    # Six inputs from -1 to 1: at a lag of k < 4, k of the 6 - k pairs cross zero.
    result = input_gradients(model, np.array([[-1.0], [1.0]]), 6, batch_size=4)
    expected = [1, 3 / 5, 0, -1, -1, -1]
    np.testing.assert_allclose(result.correlations, expected, atol=1e-6)


def test_mean_over_lines_and_inputs_without_gradient():
    model = absolute_value()
    # The second line stays on one side: no pair there turns round.
    result = input_gradients(model, np.array([[-1.0], [1.0], [2.0]]), 2)
    np.testing.assert_allclose(result.correlations, [1, 0], atol=1e-6)
    # Class 1 depends on nothing.
    result = input_gradients(model, np.array([[-1.0], [1.0]]), 2, class_index=1)
    assert np.isnan(result.correlations).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1}, "`steps` must be at least 2"),
        ({"images": np.zeros((1, 1))}, "`images` must be at least two"),
        ({"class_index": 2}, "`class_index` must be an integer from 0 to 1"),
        ({"class_index": True}, "`class_index` must be an integer from 0 to 1"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"images": np.zeros((2, 1)), "steps": 2} | change
    with pytest.raises(ValueError, match=message):
        input_gradients(absolute_value(), **arguments)
