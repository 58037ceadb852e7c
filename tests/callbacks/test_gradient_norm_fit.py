"""What the callback does to training: nothing, however training runs or ends."""

import contextlib
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback
from keras_residual.callbacks._probe import probe_of

BACKEND = keras.backend.backend()
# TensorFlow compiles another program, and so does JAX as conftest.py sets it up.
EXACT = BACKEND == "torch" or (
    BACKEND == "jax" and "fusion_emitters=false" not in os.environ["XLA_FLAGS"]
)
COMPILER = shutil.which("g++") or shutil.which("clang++")
without_torch = pytest.mark.skipif(
    BACKEND == "torch", reason="steps_per_execution > 1 does not exist on PyTorch"
)


def traces(model):
    """All that the callback could have left on a model and its optimizers."""
    optimizers = [model.optimizer]
    while hasattr(optimizers[-1], "inner_optimizer"):
        optimizers.append(optimizers[-1].inner_optimizer)
    return {
        # Keras itself leaves the iterator there when `fit` raises.
        "model": set(vars(model)) - {"_eval_epoch_iterator"},
        "train_function": model.train_function,
        "train_step": model.train_step,
        "optimizers": [set(vars(o)) for o in optimizers],
        "variables": [[id(v) for v in o.variables] for o in optimizers],
        "config": [o.get_config() for o in optimizers],
    }


@pytest.fixture(scope="module")
def trained():
    """What is trained once for several tests."""
    return {}


@pytest.fixture
def plain(convolutional_model, image_data, trained):
    """A model trained without the callback, and its history."""
    if not trained:
        model = convolutional_model()
        history = fit(model, *image_data(steps=6), batch_size=8, epochs=2)
        trained["plain"] = model, history
    return trained["plain"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ratios": True},
        *[
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                {"every": 5},
                {"by": "block"},
                {"ratios": True, "every": 5},
                {"layers": "dense", "alert": True},
            )
        ],
    ],
)
def test_training_is_unchanged(convolutional_model, image_data, plain, arguments):
    x, y = image_data(steps=6)
    recorded = convolutional_model()
    plain, history = plain
    recorded_history = fit(
        recorded, x, y, GradientNormCallback(**arguments), batch_size=8, epochs=2
    )

    tolerance = 0 if EXACT else 1e-6
    for weight, expected in zip(
        recorded.get_weights(), plain.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=0, atol=tolerance)
    for value, expected in zip(
        recorded.optimizer.variables, plain.optimizer.variables, strict=True
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(value),
            keras.ops.convert_to_numpy(expected),
            rtol=0,
            atol=tolerance,
        )
    np.testing.assert_allclose(
        recorded_history.history["loss"], history.history["loss"], atol=tolerance
    )


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX is set up otherwise")
def test_training_is_unchanged_to_the_last_bit():
    chosen = ["-m", "", "-k", "is_unchanged and not last_bit"]
    command = [sys.executable, "-m", "pytest", __file__, *chosen]
    settings = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert " 6 passed" in done.stdout, done.stdout
    assert " failed" not in done.stdout, done.stdout


# 2026-11: torch.compile sets off warnings inside PyTorch 2.13.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize(
    "arguments", [{"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}]
)
def test_compiled_or_not(linear_model, linear_replay, linear_data, arguments):
    if BACKEND == "torch" and arguments.get("jit_compile") and not COMPILER:
        pytest.skip("torch.compile needs a C++ compiler")
    x, y, batches = linear_data(steps=4)
    model = linear_model(**arguments)
    expected = linear_replay(model).norms(batches)
    callbacks = [GradientNormCallback(every=every) for every in (1, 2)]

    fit(model, x, y, *callbacks)

    for every, callback in zip((1, 2), callbacks, strict=True):
        np.testing.assert_allclose(callback.norms, expected[::every], rtol=1e-5)


@pytest.mark.slow
def test_more_steps_than_the_step_keeps(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=300)
    model = linear_model(keras.optimizers.SGD(0.01))
    expected = linear_replay(model, 0.01).norms(batches * 2)
    callback = GradientNormCallback()

    fit(model, x, y, callback, epochs=2)

    assert callback.steps.tolist() == list(range(600))
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-4)


@without_torch
@pytest.mark.parametrize("steps_per_execution", [4, 100])
def test_steps_per_execution(
    linear_model, linear_replay, linear_data, steps_per_execution
):
    # The last execution of an epoch is shorter than the others.
    x, y, batches = linear_data(steps=130)
    model = linear_model(
        keras.optimizers.SGD(0.01), steps_per_execution=steps_per_execution
    )
    expected = linear_replay(model, 0.01).norms(batches * 3)
    callback = GradientNormCallback()

    fit(model, x, y, callback, epochs=3)

    assert callback.steps.tolist() == list(range(390))
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-4)


def test_norms_are_current_for_other_callbacks(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    callback = GradientNormCallback()
    seen = []
    reader = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(callback.norms.shape)
    )

    fit(linear_model(), x, y, reader, callback, epochs=2)

    assert seen == [(3, 2), (6, 2)]


class CustomStep(keras.Model):
    def train_step(self, *arguments):
        return super().train_step(*arguments)


def test_custom_train_step(linear_replay, linear_data):
    x, y, batches = linear_data(steps=3)
    inputs = keras.Input((3,))
    model = CustomStep(inputs, keras.layers.Dense(2)(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    expected = linear_replay(model).norms(batches)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


class HandWrittenStep(keras.Model):
    """Applies the optimizer twice to each batch, the second time with new gradients."""

    def train_step(self, *arguments):
        if BACKEND == "jax":
            return self.jax_step(*arguments)
        x, y = arguments[0]
        for _ in range(2):
            gradients = self.torch_gradients if BACKEND == "torch" else self.tape
            self.optimizer.apply(gradients(x, y), self.trainable_variables)
        return {"loss": 0.0}

    def tape(self, x, y):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x, training=True) - y) ** 2)
        return tape.gradient(loss, self.trainable_variables)

    def torch_gradients(self, x, y):
        import torch

        loss = torch.mean((self(x, training=True) - y) ** 2)
        return torch.autograd.grad(loss, [v.value for v in self.trainable_variables])

    def jax_step(self, state, data):
        import jax

        trainable, fixed, optimizer, metrics = state
        x, y = data

        def loss(weights):
            outputs, _ = self.stateless_call(weights, fixed, x, training=True)
            return keras.ops.mean((outputs - y) ** 2)

        for _ in range(2):
            trainable, optimizer = self.optimizer.stateless_apply(
                optimizer, jax.grad(loss)(trainable), trainable
            )
        return {"loss": 0.0}, (trainable, fixed, optimizer, metrics)


class OwnMethods(keras.Model):
    """Its train step updates the weights without the optimizer."""

    def train_step(self, *arguments):
        if BACKEND == "jax":
            return {"loss": 0.0}, arguments[0]
        for variable in self.trainable_variables:
            variable.assign(0.9 * variable)
        return {"loss": 0.0}

    def make_train_function(self):
        super().make_train_function()


def test_train_step_without_the_optimizer(linear_data):
    x, y, _ = linear_data(steps=3)
    inputs = keras.Input((3,))
    model = OwnMethods(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    callback = GradientNormCallback(alert=True)

    with pytest.warns(UserWarning, match=r"recorded nothing: no train step"):
        fit(model, x, y, callback)
    assert callback.norms.shape[0] == 0

    model.fit(x, y, epochs=0, verbose=0, callbacks=[GradientNormCallback()])


@pytest.mark.parametrize("every", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_hand_written_train_step(linear_replay, linear_data, every):
    x, y, batches = linear_data(steps=5)
    inputs = keras.Input((3,))
    model = HandWrittenStep(inputs, keras.layers.Dense(2)(inputs))
    # The step needs no loss of `compile`, but Keras counts it.
    model.compile(keras.optimizers.SGD(0.1), "mse")
    twice = [batch for batch in batches for _ in range(2)]
    replay = linear_replay(model)
    expected = replay.norms(twice)[::every]
    callback = GradientNormCallback(every=every, ratios=True)

    fit(model, x, y, callback)

    assert callback.steps.tolist() == list(range(0, 10, every))
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], replay.kernel, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "accumulating", "scaled"])
def test_model_that_is_built_by_its_first_batch(linear_data, optimizer):
    optimizer = {
        "sgd": lambda: keras.optimizers.SGD(0.1),
        "accumulating": lambda: keras.optimizers.SGD(
            0.1, gradient_accumulation_steps=2
        ),
        "scaled": lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1)
        ),
    }[optimizer]()
    x, y, _ = linear_data(steps=4)
    model = keras.Sequential([keras.layers.Dense(2, name="late")])
    model.compile(optimizer, "mse")
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    assert [name.split("/")[-2:] for name in callback.names] == [
        ["late", "kernel"],
        ["late", "bias"],
    ]
    assert (callback.norms > 0).all()
    assert len(callback.norms) == 4 // (optimizer.gradient_accumulation_steps or 1)


def test_several_fits_append(linear_model, linear_replay, linear_data, tmp_path):
    x, y, batches = linear_data(steps=3)
    model = linear_model()
    expected = linear_replay(model).norms(batches * 3)
    path = tmp_path / "norms.csv"
    callback = GradientNormCallback(filepath=path)

    fit(model, x, y, callback)
    fit(model, x, y)
    fit(model, x, y, callback)

    assert callback.steps.tolist() == [0, 1, 2, 6, 7, 8]
    np.testing.assert_allclose(callback.norms, expected[[0, 1, 2, 6, 7, 8]], rtol=1e-5)
    loaded = GradientNormCallback.load(path)
    assert loaded.steps.tolist() == callback.steps.tolist()
    np.testing.assert_array_equal(loaded.norms, callback.norms)


def test_model_compiled_again_between_fits(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=3)
    model = linear_model()
    replay = linear_replay(model)
    expected = replay.norms(batches).tolist()
    callback = GradientNormCallback()
    fit(model, x, y, callback)

    model.compile(keras.optimizers.SGD(0.05, clipnorm=0.1), "mse")
    fit(model, x, y, callback)

    # The new optimizer counts from zero, and goes on with the same weights.
    gradients = replay.gradients(*batches[0])
    expected.append([np.linalg.norm(g) for g in gradients])
    assert callback.steps.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(callback.norms[:4], expected, rtol=1e-5)


def test_model_compiled_again_in_the_middle_of_fit(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    plain, model = linear_model(), linear_model()
    callback = GradientNormCallback()
    messages = []

    # Keras refuses it, and the callback changes nothing about that.
    for trained, callbacks in ((plain, []), (model, [callback])):
        compiling = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, m=trained: m.compile("sgd", "mse")
        )
        with pytest.raises(TypeError, match="not callable") as caught:
            fit(trained, x, y, *callbacks, compiling, epochs=2)
        messages.append(str(caught.value))

    assert messages[0] == messages[1]
    assert callback.steps.tolist() == [0, 1, 2]
    fit(model, x, y, callback)
    assert len(callback.norms) == 6


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_train_on_batch_is_recorded_in_a_block(
    linear_model, linear_replay, linear_data, every, tmp_path
):
    x, y, batches = linear_data(steps=4)
    model = linear_model()
    expected = linear_replay(model).norms([*batches, *batches, *batches])
    callback = GradientNormCallback(every)
    other = GradientNormCallback(filepath=tmp_path / "norms.csv")

    with callback.recording(model), other.recording(model):
        for batch in batches:
            model.train_on_batch(*batch)
    fit(model, x, y)
    with contextlib.suppress(KeyError), callback.recording(model):
        for batch in batches:
            model.train_on_batch(*batch)
        raise KeyError
    model.train_on_batch(*batches[0])

    assert other.steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(other.norms, expected[:4], rtol=1e-5)
    recorded = [0, 1, 2, 3, 8, 9, 10, 11][::every]
    assert callback.steps.tolist() == recorded
    np.testing.assert_allclose(callback.norms, expected[recorded], rtol=1e-5)
    assert probe_of(model) is None


def test_more_calls_of_train_on_batch_than_the_step_keeps(linear_model, linear_data):
    _, _, batches = linear_data(steps=1)
    model = linear_model()
    with GradientNormCallback().recording(model) as callback:
        for _ in range(300):
            model.train_on_batch(*batches[0])
    assert callback.steps.tolist() == list(range(300))


def test_train_on_batch_is_not_recorded(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=2)
    model = linear_model()
    expected = linear_replay(model).norms([batches[0], *batches])[1:]
    callback = GradientNormCallback()

    model.train_on_batch(*batches[0])
    fit(model, x, y, callback)
    model.train_on_batch(*batches[0])

    assert callback.steps.tolist() == [1, 2]
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


@pytest.mark.skipif(
    BACKEND == "jax", reason="Keras cannot call train_on_batch within fit on JAX"
)
def test_train_on_batch_within_fit(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=3)
    model = linear_model()
    order = [batches[0], batches[0], batches[1], batches[0], batches[2]]
    expected = linear_replay(model).norms(order)[::2]
    callbacks = [GradientNormCallback(), GradientNormCallback(every=2)]
    between = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: model.train_on_batch(*batches[0])
    )

    fit(model, x, y, *callbacks, between)

    for callback in callbacks:
        assert callback.steps.tolist() == [0, 2, 4]
        np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)
    fit(model, x, y)
    assert [len(c.norms) for c in callbacks] == [3, 3]


@pytest.mark.slow
def test_another_set_of_variables_is_an_error(convolutional_model, image_data):
    x, y = image_data(steps=1)
    model = convolutional_model()
    callback = GradientNormCallback()
    fit(model, x, y, callback, batch_size=8)
    model.get_layer("convolution").trainable = False
    model.compile("adam", model.loss)

    with pytest.raises(ValueError, match="`model` must have the trainable variables"):
        fit(model, x, y, callback)

    assert callback.norms.shape == (1, 5)
    fit(model, x, y)


def test_two_callbacks_at_once(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=4)
    model = linear_model()
    model.fit(x, y, verbose=0, epochs=0)
    before = traces(model)
    expected = linear_replay(model).norms(batches)
    callbacks = [GradientNormCallback(), GradientNormCallback(every=2, ratios=True)]

    fit(model, x, y, *callbacks)

    for callback, rows in zip(callbacks, [expected, expected[::2]], strict=True):
        np.testing.assert_allclose(callback.norms, rows, rtol=1e-5)
    assert callbacks[1].update_ratios.shape == (2, 2)
    assert traces(model)["train_function"] is before["train_function"]


@pytest.mark.slow
def test_callbacks_that_come_and_go(linear_model, linear_replay, linear_data):
    x, y, batches = linear_data(steps=2)
    model = linear_model()
    expected = linear_replay(model).norms(batches * 6)
    first, second = GradientNormCallback(), GradientNormCallback()

    for callbacks in ([first], [first, second], [second], [first], [second, first], []):
        fit(model, x, y, *callbacks)

    assert first.steps.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    assert second.steps.tolist() == [2, 3, 4, 5, 8, 9]
    np.testing.assert_allclose(first.norms, expected[first.steps], rtol=1e-5)
    np.testing.assert_allclose(second.norms, expected[second.steps], rtol=1e-5)


def test_nothing_stays_behind(convolutional_model, image_data):
    x, y = image_data(steps=2)
    model = convolutional_model()
    fit(model, x, y)
    before = traces(model)

    fit(model, x, y, GradientNormCallback())

    assert traces(model) == before


def test_later_fit_compiles_nothing_again(convolutional_model, image_data):
    x, y = image_data(steps=2)
    model = convolutional_model()
    fit(model, x, y)
    compiled = model.train_function

    fit(model, x, y, GradientNormCallback())
    fit(model, x, y)

    assert model.train_function is compiled


@without_torch  # where every step runs the Python code
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_second_recorded_fit_compiles_nothing_again(linear_data, count):
    traces_made = []

    class Traced(keras.Model):
        def train_step(self, *arguments):
            traces_made.append(1)
            return super().train_step(*arguments)

    x, y, _ = linear_data(steps=3)
    inputs = keras.Input((3,))
    model = Traced(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    callbacks = [GradientNormCallback() for _ in range(count)]
    fit(model, x, y, *callbacks)
    first = len(traces_made)

    fit(model, x, y, *callbacks)

    assert len(traces_made) == first
    # Compiled again, the model has another train step.
    model.compile("sgd", "mae")
    fit(model, x, y, *callbacks)
    assert len(traces_made) > first
    assert [len(callback.norms) for callback in callbacks] == [9] * count


class RaiseAt(keras.callbacks.Callback):
    def __init__(self, exception, batch):
        super().__init__()
        self.exception = exception
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            raise self.exception


class RaiseBefore(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise RuntimeError("stop")


class BrokenData(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 3:
            raise RuntimeError("broken data")
        return self.x[4 * index : 4 * index + 4], self.y[4 * index : 4 * index + 4]


@pytest.mark.parametrize(
    ("position", "source"),
    [
        pytest.param("before", "callback", marks=pytest.mark.slow),
        ("after", "callback"),
        pytest.param("before", "interrupt", marks=pytest.mark.slow),
        pytest.param("after", "interrupt", marks=pytest.mark.slow),
        pytest.param(None, "data", marks=pytest.mark.slow),
    ],
)
def test_exception_in_the_middle(linear_model, linear_data, tmp_path, source, position):
    x, y, _ = linear_data(steps=4)
    model = linear_model(keras.optimizers.SGD(0.1, momentum=0.9))
    fit(model, x, y)
    model.train_on_batch(x[:4], y[:4])
    model.predict(x, verbose=0)
    before = traces(model)
    callback = GradientNormCallback()
    interrupt = KeyboardInterrupt("stop")
    exception = interrupt if source == "interrupt" else RuntimeError("stop")
    callbacks = [callback]
    arguments = {"x": x, "y": y, "batch_size": 4}
    if source == "data":
        # In its order: without a step before it, Keras on JAX loses all values, with or
        # without a callback, and Keras 3.12 reads two batches ahead.
        arguments = {"x": BrokenData(x, y), "shuffle": False}
    else:
        callbacks.insert(position == "after", RaiseAt(exception, 1))

    # TensorFlow wraps what the data raises in an error of its own.
    with pytest.raises(BaseException, match=r"stop|broken data"):
        model.fit(**arguments, verbose=0, callbacks=callbacks)

    # The optimizer is clean at once, and what was recorded is there.
    assert {**traces(model), "train_function": None} == {
        **before,
        "train_function": None,
    }
    recorded = len(callback.norms)
    assert recorded >= 1
    # The model can be used and saved.
    model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    # Training without the callback holds nothing of it.
    for trained in (model, copy):
        fit(trained, x, y)
        trained.train_on_batch(x[:4], y[:4])
    assert traces(model) == before
    for weight, expected in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert len(callback.norms) == recorded
    # And training with it goes on.
    fit(model, x, y, callback)
    assert len(callback.norms) == recorded + 4
    assert traces(model) == before


def test_train_on_batch_after_an_exception(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    model = linear_model()
    callback = GradientNormCallback()
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, x, y, RaiseAt(RuntimeError("stop"), 1), callback)

    model.train_on_batch(x, y)

    assert callback.steps.tolist() == [0, 1]


def test_exception_right_before_a_step(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    model = linear_model()
    callback = GradientNormCallback()
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, x, y, callback, RaiseBefore())

    fit(model, x, y)

    assert callback.steps.tolist() == [0, 1]


def test_another_callback_after_an_exception(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    model = linear_model()
    first, second = GradientNormCallback(), GradientNormCallback()
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, x, y, first, RaiseAt(RuntimeError("stop"), 1))

    fit(model, x, y, second)

    assert first.steps.tolist() == [0, 1]
    assert second.steps.tolist() == [2, 3, 4]


@pytest.mark.slow
def test_early_stopping_restores_weights(linear_model, linear_data):
    x, y, _ = linear_data(steps=3)
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=2, restore_best_weights=True, verbose=0
    )
    model, plain = linear_model(), linear_model()
    callback = GradientNormCallback()

    fit(model, x, y, callback, stopping, epochs=10)
    fit(plain, x, y, epochs=1)

    assert len(callback.norms) == 9
    for weight, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
