"""One rule for the random state of all layers that draw."""

import keras
import numpy as np
import pytest

from keras_residual import Cutout, StochasticDepth


@pytest.mark.parametrize("layer", [Cutout, StochasticDepth])
def test_another_seed_is_not_overridden_by_a_file(layer, tmp_path):
    images = np.ones((8, 9, 9, 1), "float32")

    def network(seed):
        return keras.Sequential([keras.Input((9, 9, 1)), layer(0.5, seed=seed)])

    def draws(model):
        return keras.ops.convert_to_numpy(model(images, training=True))

    saved = network(seed=1)
    draws(saved)
    saved.save_weights(tmp_path / "saved.weights.h5")
    expected = {1: draws(saved), 7: draws(network(seed=7))}
    assert (expected[1] != expected[7]).any()
    for seed, outputs in expected.items():
        loaded = network(seed)
        loaded.load_weights(tmp_path / "saved.weights.h5")
        np.testing.assert_array_equal(draws(loaded), outputs)


@pytest.mark.slow
def test_resumed_training_ends_with_the_same_weights(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(32, 8, 8, 3)).astype("float32")
    y = generator.normal(size=(32, 2)).astype("float32")

    def train(model, epochs):
        model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
        return model.get_weights()

    def network():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((8, 8, 3)), Cutout(3), keras.layers.Flatten()]
        layers += [StochasticDepth(0.3), keras.layers.Dense(2)]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
        return model

    whole = train(network(), 2)
    half = network()
    train(half, 1)
    half.save(tmp_path / "half.keras")
    resumed = train(keras.models.load_model(tmp_path / "half.keras"), 1)
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("layer", [Cutout, StochasticDepth])
@pytest.mark.parametrize("seed", [True, -1, 1.5, "1"])
def test_bad_seed(layer, seed):
    with pytest.raises(ValueError, match=rf"`seed` must be .*seed={seed!r}"):
        layer(0.5, seed=seed)
