import keras
import numpy as np
import pytest

from keras_residual import StochasticDepth


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_of_dropped_samples(rate, dtype):
    count = 20_000
    layer = StochasticDepth(rate, seed=3, dtype=dtype)
    outputs = layer(np.ones((count, 2, 3), "float32"), training=True)
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
    assert (outputs == outputs[:, :1, :1]).all()
    dropped = (outputs[:, 0, 0] == 0).mean()
    # Five standard deviations of a binomial share.
    assert abs(dropped - rate) < 5 * np.sqrt(rate * (1 - rate) / count)
    kept = outputs[outputs > 0]
    tolerance = {"float32": 1e-6, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=tolerance)


def test_identity_in_inference_and_at_rate_zero():
    inputs = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    outputs = StochasticDepth(0.9)(inputs, training=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), inputs)
    outputs = StochasticDepth(0.0)(inputs, training=True)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(outputs), inputs)


def test_seed_fixes_the_draws_and_calls_differ():
    inputs = np.ones((64, 1), "float32")
    first, second = StochasticDepth(0.5, seed=1), StochasticDepth(0.5, seed=1)
    draws = [
        keras.ops.convert_to_numpy(layer(inputs, training=True))
        for layer in (first, second, first)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_dropped_samples_hide_infinite_values():
    inputs = np.full((64, 1), np.inf, "float32")
    outputs = StochasticDepth(0.5, seed=0)(inputs, training=True)
    assert not np.isnan(keras.ops.convert_to_numpy(outputs)).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2, float("nan"), "0.5", None, True])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\)"):
        StochasticDepth(rate)
