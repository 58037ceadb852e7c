"""Each thing that others do not promise is still as docs/private.md says.

A failure means that the other side changed: the row of its name says what for.
"""

import io
import pickletools
import platform
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


def compiled(optimizer="sgd", **arguments):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", **arguments)
    return model


def fit(model, **arguments):
    model.fit(np.ones((4, 3)), np.ones((4, 2)), batch_size=2, verbose=0, **arguments)


def test_apply():
    model, calls = compiled(), []
    apply = model.optimizer.apply

    def counted(*arguments, **keywords):
        calls.append(arguments)
        return apply(*arguments, **keywords)

    vars(model.optimizer)["apply"] = counted
    fit(model)
    assert calls


def test_train_function():
    model = compiled()
    fit(model)
    before = model.train_function
    model.make_train_function()
    assert model.train_function is before
    model.train_function = None
    model.make_train_function()
    assert model.train_function is not before
    calls, compiled_function = [], model.train_function

    def counted(*arguments):
        calls.append(arguments)
        return compiled_function(*arguments)

    model.train_function = counted
    fit(model)
    assert len(calls) == 2


def test_other_functions():
    model = compiled()
    for kind in ("test", "predict"):
        make, name = getattr(model, f"make_{kind}_function"), f"{kind}_function"
        make()
        before = getattr(model, name)
        make()
        assert getattr(model, name) is before
        setattr(model, name, None)
        make()
        assert getattr(model, name) not in (None, before)


@pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
def test_train_step():
    model, calls = compiled(), []
    step = model.train_step

    def counted(state, data):
        calls.append(data)
        return step(state, data)

    vars(model)["train_step"] = counted
    fit(model)
    assert calls


@pytest.mark.skipif(BACKEND != "jax", reason="the state of JAX's trainer")
def test_jax_state():
    model, states = compiled("adam"), []
    model.make_train_function()
    step = model.train_function

    def looking(state, iterator):
        states.append([[tuple(value.shape) for value in part] for part in state])
        return step(state, iterator)

    model.train_function = looking
    fit(model)
    parts = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    assert states[0] == [[tuple(v.shape) for v in part] for part in parts]


def test_track_variable():
    optimizer = compiled().optimizer
    variable = keras.Variable(np.zeros(3))
    optimizer._track_variable(variable)
    assert optimizer.variables[-1] is variable
    optimizer._untrack_variable(variable)
    assert all(v is not variable for v in optimizer.variables)


def test_trainable_variables():
    model = compiled()
    model.optimizer.build(model.trainable_variables)
    ids = list(map(id, model.optimizer._trainable_variables))
    assert ids == list(map(id, model.trainable_variables))


def test_iterations():
    model = compiled(keras.optimizers.SGD(gradient_accumulation_steps=2))
    fit(model)
    assert int(model.optimizer._iterations) == 2
    assert int(model.optimizer.iterations) == 1


def test_accumulated_gradients():
    model = compiled(keras.optimizers.SGD(gradient_accumulation_steps=4))
    fit(model)
    bias = model.layers[0].bias
    index = model.optimizer._get_variable_index(bias)
    sums = model.optimizer._accumulated_gradients[index]
    assert np.abs(keras.ops.convert_to_numpy(sums)).max() > 0


@pytest.mark.parametrize(
    "name", ["_apply_weight_decay", "_backend_update_step", "update_step"]
)
def test_update_steps(name):
    # PyTorch updates all variables at once, but for ScheduleFreeAdamW's.
    newest = getattr(keras.optimizers, "ScheduleFreeAdamW", None)
    if name == "update_step" and newest is None:
        pytest.skip("used for ScheduleFreeAdamW alone, which came with Keras 3.15")
    optimizer = (newest or keras.optimizers.AdamW)(weight_decay=0.1)
    model, calls = compiled(optimizer), []
    model.optimizer.build(model.trainable_variables)
    step = getattr(model.optimizer, name)

    def counted(*arguments, **keywords):
        calls.append(arguments)
        return step(*arguments, **keywords)

    vars(model.optimizer)[name] = counted
    fit(model)
    assert calls
    first, second = model.trainable_variables
    assert model.optimizer._var_key(first) != model.optimizer._var_key(second)


def test_weight_decay_exclusions():
    optimizer = keras.optimizers.SGD(weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert {
        "_exclude_from_weight_decay",
        "_exclude_from_weight_decay_pattern",
    } <= set(vars(optimizer))
    assert not optimizer._use_weight_decay(compiled().layers[0].bias)


def test_cached_evaluation():
    class Model(keras.Sequential):
        given = ()

        def evaluate(self, *arguments, **keywords):
            self.given = keywords
            return super().evaluate(*arguments, **keywords)

    model = Model([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    fit(model, validation_data=(np.ones((2, 3)), np.ones((2, 2))))
    assert model.given["_use_cached_eval_dataset"] is True


def test_initial_epoch(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = compiled()
    fit(model, callbacks=[backup])
    fit(model, callbacks=[backup])
    assert model._initial_epoch == 1
    model._initial_epoch = None
    fit(model)
    assert model.history.epoch == [0]


def test_variable_order(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="convolution"),
            keras.layers.BatchNormalization(name="normalization"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="classifier"),
        ]
    )
    for number, weight in enumerate(model.weights):
        weight.assign(np.full(weight.shape, float(number)))
    model.save_weights(tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        for layer in model.layers:
            if not layer.weights:
                continue
            (group,) = [
                node["vars"]
                for node in file["layers"].values()
                if node["vars"].attrs.get("name") == layer.name
            ]
            assert list(group) == [str(i) for i in range(len(layer.weights))]
            names = [weight.name for weight in layer.weights]
            known = ["kernel", "bias"]
            if layer.name == "normalization":
                known = ["gamma", "beta", "moving_mean", "moving_variance"]
            assert names == known
            for place, weight in enumerate(layer.weights):
                value = keras.ops.convert_to_numpy(weight)
                np.testing.assert_array_equal(group[str(place)], value)


def test_dataset_graphs():
    tf = pytest.importorskip("tensorflow")
    names = []
    tf.data.Dataset.range(2).map(lambda x: names.append(x.graph.name) or x)
    tf.function(lambda x: names.append(x.graph.name) or x)(tf.constant(1))
    assert [bool(re.match("Dataset_", name)) for name in names] == [True, False]


def test_grain_frames():
    import sys

    grain = pytest.importorskip("grain")
    callers = []

    def look(x):
        frame = sys._getframe()
        while frame is not None:
            callers.append(frame.f_globals.get("__name__", ""))
            frame = frame.f_back
        return x

    list(grain.MapDataset.source([1]).map(look))
    assert any(name.startswith("grain.") for name in callers)


def test_variable_handle():
    tf = pytest.importorskip("tensorflow")
    calls = tf.Variable(5, dtype="int64")
    for number in (5, 6):
        count = tf.raw_ops.ResourceCountUpTo(resource=calls.handle, limit=9, T="int64")
        assert int(count) == number


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_distribute_strategy():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        assert compiled().distribute_strategy is strategy
    assert compiled().distribute_strategy is tf.distribute.get_strategy()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_merge_call():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        found = tf.__internal__.distribute.strategy_supports_no_merge_call()
    assert isinstance(found, bool)


def test_convolution_op():
    class Twice(keras.layers.Conv2D):
        def convolution_op(self, inputs, kernel):
            return 2.0 * super().convolution_op(inputs, kernel)

    layer = Twice(1, 1, kernel_initializer="ones", bias_initializer="ones")
    outputs = layer(np.ones((1, 1, 1, 1), "float32"))
    assert keras.ops.convert_to_numpy(outputs).item() == 3.0


def test_native_batch_norm():
    torch = pytest.importorskip("torch")
    _, mean, inverse = torch.native_batch_norm(
        torch.tensor([[1.0], [3.0]]), None, None, None, None, True, 0.0, 0.25
    )
    assert mean.item() == 2.0
    assert inverse.item() == pytest.approx((1.0 + 0.25) ** -0.5)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is an option there")
def test_one_dnn(monkeypatch, capsys):
    """On a CPU, TensorFlow's own kernel is left to Keras's operations."""
    program = (
        "import tensorflow as tf\n"
        "from keras_residual.layers import _fused_normalization as fused\n"
        "tf.function(lambda: print(fused.has_fused_normalization()))()"
    )
    exec(program, {})  # with oneDNN, as tests/conftest.py asks for
    assert capsys.readouterr().out == "True\n"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert run.stdout == "False\n", run.stderr


def test_graph_config():
    inputs = keras.Input((3,), name="inputs")
    outputs = keras.layers.Add(name="sum")([inputs, inputs])
    config = keras.Model(inputs, outputs).get_config()
    (node,) = config["layers"][1]["inbound_nodes"]
    for tensor in node["args"][0]:
        assert tensor["class_name"] == "__keras_tensor__"
        assert tensor["config"]["keras_history"] == ["inputs", 0, 0]
        assert tuple(tensor["config"]["shape"]) == (None, 3)
    assert node["kwargs"] == {}
    assert "sum" in np.ravel(config["output_layers"])
    names = [operation.name for operation in keras.Model(inputs, outputs).operations]
    assert names == [layer["name"] for layer in config["layers"]] == ["inputs", "sum"]


def test_layer_call():
    model = compiled()
    layer = model.layers[0]
    vars(layer)["call"] = lambda inputs, **_: inputs * 0 + 7
    np.testing.assert_array_equal(model(np.ones((1, 3))), np.full((1, 3), 7))
    del vars(layer)["call"]
    assert model(np.ones((1, 3))).shape == (1, 2)


@pytest.mark.parametrize(
    "layer", [keras.layers.Dense(2), keras.layers.Activation(None)]
)
def test_layer_activation(layer):
    layer.build((1, 2))
    before = keras.ops.convert_to_numpy(layer(np.ones((1, 2))))
    vars(layer)["activation"] = lambda outputs: outputs * 3
    after = keras.ops.convert_to_numpy(layer(np.ones((1, 2))))
    np.testing.assert_allclose(after, before * 3, rtol=1e-6)


def test_legacy_pickles():
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    state = {"weight": torch.arange(5.0)}
    torch.save(state, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    for _ in range(5):
        assert list(pickletools.genops(file))[-1][0].name == "STOP"
    # The storage: its length, and five numbers.
    assert len(file.read()) == 8 + 5 * 4


def test_the_page_lists_what_is_tested(root):
    page = (root / "docs/private.md").read_text()
    rows = re.findall(r"^\| (\w+) \| ", page, re.M)[1:]
    tests = {name[5:] for name in globals() if name.startswith("test_")}
    assert set(rows) == tests - {"the_page_lists_what_is_tested"}
