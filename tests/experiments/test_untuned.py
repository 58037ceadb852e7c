"""Batches that no thread tunes are those that Keras gives, in each epoch."""

import keras
import numpy as np
import pytest

from keras_residual.experiments import training

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(20, 4, 4, 1)).astype("float32")
LABELS = GENERATOR.integers(0, 3, 20)
HELD_OUT = IMAGES[:7], LABELS[:7]


def begin():
    training.begin_training(5)
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    training.compile_classifier(model, keras.optimizers.SGD(0.5))
    return model


def fit(model, epochs, initial_epoch=0):
    how = {"epochs": epochs, "batch_size": 6, "seed": 1, "initial_epoch": initial_epoch}
    return training.fit_classifier(model, (IMAGES, LABELS), HELD_OUT, **how)


def test_trains_as_keras_does_with_the_same_batches():
    model = begin()
    batches = training.ShuffledBatches(IMAGES, LABELS, batch_size=6, seed=1)
    fitted = model.fit(batches, epochs=3, validation_data=HELD_OUT, verbose=0)
    other = begin()
    history = fit(other, 3)

    for name, values in fitted.history.items():
        assert history[name].tolist() == values
    assert (other.get_weights()[0] == model.get_weights()[0]).all()


def test_a_training_that_goes_on_has_the_batches_of_one_that_was_not_stopped():
    whole = begin()
    history = fit(whole, 4)
    stopped = begin()
    fit(stopped, 2)
    other = begin()
    other.set_weights(stopped.get_weights())
    rest = fit(other, 4, initial_epoch=2)

    assert rest["loss"].tolist() == pytest.approx(history["loss"].tolist()[2:])
    for one, expected in zip(other.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, expected)
