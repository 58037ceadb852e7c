"""Filled batches have one size, and give the metrics of the images alone."""

import keras
import numpy as np
import pytest

from keras_residual.experiments._connection import _full_batches

tf = pytest.importorskip("tensorflow")


@pytest.mark.parametrize(("images", "steps"), [(7, 2), (8, 2), (5, 3)])
def test_metrics_are_those_of_the_images(images, steps):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(images, 3)).astype("float32")
    y = generator.integers(0, 3, images)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)

    filled = _full_batches(dataset, 4, steps, 4 * steps / images)

    assert [batch[0].shape for batch in filled] == [(4, 3)] * steps
    np.testing.assert_array_equal(
        np.concatenate([batch[0] for batch in filled])[:images], x
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Softmax()])
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    probabilities = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    result = model.evaluate(filled, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(
        -np.log(probabilities[np.arange(images), y]).mean(), rel=1e-5
    )
    assert result["accuracy"] == pytest.approx((x.argmax(1) == y).mean())
