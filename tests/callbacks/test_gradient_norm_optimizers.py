"""Which gradient is measured, whatever the optimizer does with it."""

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback


@pytest.mark.parametrize(
    "arguments", [{"clipnorm": 0.01}, {"global_clipnorm": 0.01}, {"clipvalue": 0.01}]
)
def test_norms_are_those_before_clipping(
    linear_model, linear_replay, linear_data, arguments
):
    x, y, batches = linear_data(steps=1)
    model = linear_model(keras.optimizers.SGD(0.1, **arguments))
    expected = linear_replay(model).norms(batches)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


def test_loss_scale_factor_is_divided_out(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=3)
    model = linear_model(keras.optimizers.SGD(0.1, loss_scale_factor=128.0))
    expected = linear_replay(model).norms(batches)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


def test_dynamic_loss_scale_and_skipped_steps(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=12)
    y *= 16

    def make():
        return linear_model(
            keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1), initial_scale=2.0**127
            )
        )

    # Without the callback: which batches does the optimizer skip?
    plain = make()
    replay = linear_replay(plain)
    expected = []
    for batch in batches:
        before = int(plain.optimizer.iterations)
        plain.train_on_batch(*batch)
        if int(plain.optimizer.iterations) > before:
            expected += replay.norms([batch]).tolist()
    assert 0 < len(expected) < 12
    model = make()
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    assert callback.steps.tolist() == list(range(len(expected)))
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


def test_mixed_float16(convolutional_model, image_data, independent_norms):
    x, y = image_data(steps=1)
    single = convolutional_model()
    expected = independent_norms(single, single.get_weights(), x, y)
    keras.config.set_dtype_policy("mixed_float16")
    model = convolutional_model()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    callback = GradientNormCallback()

    fit(model, x, y, callback, batch_size=8)

    # Half precision keeps three digits; the loss scale is 32768.
    np.testing.assert_allclose(callback.norms, [expected], rtol=0.02)


@pytest.mark.parametrize("every", [1, 2])
def test_gradient_accumulation(linear_model, linear_replay, linear_data, every):
    x, y, batches = linear_data(steps=9)
    model = linear_model(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3))
    replay = linear_replay(model)
    callback = GradientNormCallback(every=every, micro_batches=True)

    fit(model, x, y, callback)

    expected, last = [], []
    for update in range(3):
        micro = [replay.gradients(*b) for b in batches[3 * update : 3 * update + 3]]
        means = [np.mean(parts, axis=0) for parts in zip(*micro, strict=True)]
        expected.append([np.linalg.norm(mean) for mean in means])
        last.append([np.linalg.norm(gradient) for gradient in micro[-1]])
        replay.apply(means)
    assert callback.steps.tolist() == list(range(0, 3, every))
    np.testing.assert_allclose(callback.norms, expected[::every], rtol=1e-5)
    np.testing.assert_allclose(callback.micro_batch_norms, last[::every], rtol=1e-5)


@pytest.mark.parametrize("frequency", [None, 2])
def test_moving_average_of_weights(linear_model, linear_replay, linear_data, frequency):
    x, y, batches = linear_data(steps=5)
    model = linear_model(
        keras.optimizers.SGD(
            0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=frequency
        )
    )
    replay = linear_replay(model)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    # The weights that train, which the average replaces every second step, if at all.
    expected = []
    average = None
    for number, batch in enumerate(batches, start=1):
        expected += replay.norms([batch]).tolist()
        weights = [replay.kernel, replay.bias]
        average = [
            np.copy(new) if number == 1 else 0.9 * old + 0.1 * new
            for old, new in zip(average or weights, weights, strict=True)
        ]
        if frequency and number % frequency == 0:
            replay.kernel, replay.bias = map(np.copy, average)
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


class SignDescent(keras.optimizers.Optimizer):
    """Moves each weight by the learning rate, whatever the size of the gradient."""

    def update_step(self, gradient, variable, learning_rate):
        rate = keras.ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * keras.ops.sign(gradient))


class Halving(keras.optimizers.SGD):
    """Changes the gradients before it applies them."""

    def apply(self, grads, trainable_variables=None):
        return super().apply([g / 2 for g in grads], trainable_variables)


@pytest.mark.parametrize("optimizer", [SignDescent, Halving])
@pytest.mark.parametrize("every", [1, 2])
def test_custom_optimizer(linear_model, linear_replay, linear_data, optimizer, every):
    x, y, batches = linear_data(steps=4)
    model = linear_model(optimizer(0.1))
    replay = linear_replay(model)
    callback = GradientNormCallback(every=every)

    fit(model, x, y, callback)

    # What the optimizer is given, not what it makes of it.
    expected = []
    for batch in batches:
        gradients = replay.gradients(*batch)
        expected.append([np.linalg.norm(g) for g in gradients])
        replay.apply(
            [np.sign(g) if optimizer is SignDescent else g / 2 for g in gradients]
        )
    np.testing.assert_allclose(callback.norms, expected[::every], rtol=1e-5)
    for weight, right in zip(
        model.get_weights(), (replay.kernel, replay.bias), strict=True
    ):
        np.testing.assert_allclose(weight, right, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="since Keras 3.15"
)
def test_several_optimizers(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=3)
    kernel, bias = keras.optimizers.SGD(0.1, momentum=1e-9), keras.optimizers.SGD(0.1)
    model = linear_model(
        keras.optimizers.MultiOptimizer(
            lambda variable: kernel if variable.name == "kernel" else bias
        )
    )
    expected = linear_replay(model).norms(batches)
    callback = GradientNormCallback(ratios=True)

    fit(model, x, y, callback)
    fit(model, x, y)

    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)
    assert callback.steps.tolist() == [0, 1, 2]
