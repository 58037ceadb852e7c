"""Warnings of gradients that vanish, explode or are not finite."""

import re
import warnings

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback

ONES = np.ones((16, 2), "float32")


def chain(*layers, loss="mse", optimizer=None):
    """A model of dense layers, or given ones, that train without moving."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(optimizer or keras.optimizers.SGD(0.0), loss)
    return model


def dense(name, **arguments):
    return keras.layers.Dense(2, kernel_initializer="ones", name=name, **arguments)


def alerts(model, x, y, alert, **arguments):
    """The warnings of a recorded training, as text."""
    callback = GradientNormCallback(alert=alert, by="variable")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, x, y, callback, **arguments)
    return texts(caught)


def texts(caught):
    """What the callback said among all warnings."""
    ours = [w for w in caught if str(w.message).startswith("The gradient norm")]
    assert all(warning.category is UserWarning for warning in ours)
    # Keras numbers the models in the paths of their layers.
    return [re.sub(r"sequential\w*/", "", str(warning.message)) for warning in ours]


def scaled(factor):
    def loss(y_true, y_pred):
        return factor * keras.ops.sum(y_pred, axis=-1)

    return loss


def test_healthy_gradients_are_no_alert(convolutional_model, image_data):
    model = convolutional_model()
    assert alerts(model, *image_data(steps=4), True, batch_size=8) == []


def test_exploding():
    model = chain(dense("a"), dense("b"), loss=scaled(1e4))
    (message,) = alerts(model, ONES, ONES, True, epochs=3)
    assert "at step 0 is above 1000 in 2 of 2 layers" in message


def test_exploding_names_the_largest():
    model = chain(dense("a"), dense("b"), loss=scaled(1.0))
    # Gradients of kernel and bias: a 2, 2; b 2, 1: norms sqrt(24) and sqrt(18).
    (message,) = alerts(model, ONES, ONES, (0.0, 4.5), epochs=3)
    assert "at step 0 is above 4.5 in 1 of 2 layers; largest: a (4.9)" in message
    assert alerts(model, ONES, ONES, (0.0, 5.0)) == []


def test_vanishing():
    model = chain(dense("a"), dense("b"), loss=scaled(1e-9))
    (message,) = alerts(model, ONES, ONES, True, epochs=3)
    # The first of two records in a row is no alert yet.
    assert "at step 1 is below 1e-07 in two records in 2 of 2 layers" in message
    assert "smallest: b" in message


def test_vanishing_once_is_no_alert():
    last = keras.layers.Dense(2, kernel_initializer="zeros", name="last")
    model = chain(dense("first"), last, optimizer=keras.optimizers.SGD(0.1))
    callback = GradientNormCallback(by="layer")
    assert alerts(model, ONES, ONES, True) == []
    model.set_weights(
        [w * 0 if i > 1 else w for i, w in enumerate(model.get_weights())]
    )
    fit(model, ONES, ONES, callback)
    assert callback.norms[0, 0] == 0
    assert (callback.norms[1:, 0] > 0).all()


def test_a_bias_without_gradient_is_no_alert(image_data):
    """Before a batch normalization it has none, but its layer has."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3, name="convolution"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    callback = GradientNormCallback()
    x, y = image_data(steps=3)
    fit(model, x, y, callback, batch_size=8)
    assert (callback.norms[:, 1] < 1e-6).all()
    assert alerts(model, x, y, (1e-6, 1e3), batch_size=8) == []


class InfiniteSlope(keras.layers.Layer):
    """Zero in the forward pass, and not a number in the backward pass."""

    def call(self, inputs):
        return inputs + keras.ops.sqrt(inputs * 0)


def test_not_finite_names_the_layer_nearest_the_output():
    model = chain(dense("a"), dense("b"), InfiniteSlope(), dense("c"))
    (message,) = alerts(model, ONES, ONES * 0, True, epochs=2)
    assert "at step 0 is not finite in 2 of 3 layers" in message
    assert "nearest the output: b (nan)" in message


def test_loss_that_is_not_a_number():
    y = np.copy(ONES)
    y[9] = np.nan
    (message,) = alerts(chain(dense("a"), dense("b")), ONES, y, True)
    assert "at step 2 is not finite in 2 of 2 layers" in message


def test_each_kind_once_in_each_fit():
    model = chain(dense("a"), loss="mse")
    y = np.repeat([1e9, 2, 2, np.nan], 4)[:, None] * ONES
    # Predictions are 2, so that the middle of the data has no gradient at all.
    callback = GradientNormCallback(alert=True, every=1)
    weights = model.get_weights()
    for _ in range(2):
        model.set_weights(weights)
        with pytest.warns(UserWarning, match="gradient norm") as caught:
            fit(model, ONES, y, callback, epochs=2)
        kinds = ["above 1000", "below 1e-07", "not finite"]
        messages = texts(caught)
        assert len(messages) == 3
        assert all(any(k in message for message in messages) for k in kinds)


def test_warns_while_training_runs(tmp_path):
    model = chain(dense("a"), loss=scaled(1e9))
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append((batch, len(texts(caught))))

    with_file = GradientNormCallback(alert=True, filepath=tmp_path / "norms.csv")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, ONES, ONES, with_file, Watch())
    assert seen == [(0, 0), (1, 1), (2, 1), (3, 1)]


def test_a_warning_made_an_error_loses_no_record():
    model = chain(dense("a"), loss=scaled(1e9))
    callback = GradientNormCallback(alert=True)
    with pytest.raises(UserWarning, match="above 1000"):
        fit(model, ONES, ONES, callback)
    assert callback.steps.tolist() == [0, 1, 2, 3]


class Unused(keras.layers.Layer):
    def build(self, input_shape):
        self.unused = self.add_weight(shape=(2,), name="unused")

    def call(self, inputs):
        return inputs * 1


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX makes it a gradient of zeros"
)
def test_a_missing_gradient_is_no_alert():
    model = chain(Unused(name="unused"), dense("a"))
    messages = alerts(model, ONES, ONES * 0, True)
    assert messages == []


@pytest.mark.parametrize(
    "alert",
    [
        "yes",
        1.0,
        (1.0,),
        (2.0, 1.0),
        (-1.0, 1.0),
        (None, 1.0),
        (np.nan, 1.0),
        (True, 5),
    ],
)
def test_bad_alert(alert):
    with pytest.raises(ValueError, match="`alert` must be None, True or two norms"):
        GradientNormCallback(alert=alert)
