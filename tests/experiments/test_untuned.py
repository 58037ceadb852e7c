"""Batches that no thread tunes are those that Keras gives."""

import keras
import numpy as np

from keras_residual.experiments import training


def test_trains_as_keras_does_with_the_same_batches():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(20, 4, 4, 1)).astype("float32")
    labels = generator.integers(0, 3, 20)
    held_out = images[:7], labels[:7]

    def begin():
        training.begin_training(5)
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
        training.compile_classifier(model, keras.optimizers.SGD(0.5))
        return model

    model = begin()
    batches = training.ShuffledBatches(images, labels, batch_size=6, seed=1)
    fitted = model.fit(batches, epochs=3, validation_data=held_out, verbose=0)
    other = begin()
    history = training.fit_classifier(
        *(other, (images, labels), held_out), epochs=3, batch_size=6, seed=1
    )

    for name, values in fitted.history.items():
        assert history[name].tolist() == values
    assert (other.get_weights()[0] == model.get_weights()[0]).all()
