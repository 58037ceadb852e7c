"""What holds for every public object, found by reflection over `__all__`."""

import inspect
import json
import os
import re

import keras
import numpy as np
import pytest
from code_blocks import python_blocks, run_blocks

import keras_residual
from keras_residual import analysis, datasets, experiments

PUBLIC = {name: getattr(keras_residual, name) for name in keras_residual.__all__}
LAYERS = {
    name: public
    for name, public in PUBLIC.items()
    if isinstance(public, type) and issubclass(public, keras.layers.Layer)
    if not issubclass(public, keras.Model)
}

# What is imported by name.
MODULES = [
    datasets,
    analysis,
    analysis.statistics,
    analysis.plots,
    analysis.report,
    experiments,
]
FUNCTIONS = {
    f"{module.__name__.split('.')[-1]}.{name}": function
    for module in MODULES
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and not name.startswith("_")
    # A module of re-exports lists them; any other exports what it defines.
    and name in getattr(module, "__all__", [name])
    and (hasattr(module, "__all__") or function.__module__ == module.__name__)
}
# What functions return, and the classes of experiments.
CLASSES = {
    f"{module.__name__.split('.')[-1]}.{name}": public
    for module in (datasets, analysis, experiments)
    for name, public in ((name, getattr(module, name)) for name in module.__all__)
    if inspect.isclass(public) and public not in PUBLIC.values()
    if not issubclass(public, Exception)
}

# A value other than the default for every argument of every layer.
BRANCH = {
    "filters": 4,
    "strides": 2,
    "block_type": "bottleneck",
    "preactivation": True,
    "stride_on": "1x1",
    "groups": 2,
    "width_per_group": 32,
    "dilation": 2,
    "use_batch_norm": False,
    "normalization": "batch",  # the other needs `use_batch_norm`
    "use_bias": False,
    "activation": "tanh",
    "batch_norm_momentum": 0.5,
    "batch_norm_epsilon": 1e-3,
    "kernel_initializer": "glorot_uniform",
    "kernel_regularizer": "l2",
    "zero_init": True,
    "squeeze_excitation": 2,
    "dropout": 0.25,
    "data_format": "channels_first",
}
ARGUMENTS = {
    "Cutout": {
        "size": (3, 0.5),
        "num_holes": 2,
        "max_size": (5, 0.75),
        "probability": 0.5,
        "border": "inside",
        "fill": (0.1, 0.2, 0.3),
        "value_range": (0, 1),
        "seed": 7,
        "mask_fill": 255.0,
        "min_visible": 0.25,
        "bounding_box_format": "rel_xyxy",
        "data_format": "channels_first",
    },
    "ImagePreprocessing": {
        "mean": (103.9, 116.8, 123.7),
        "std": (58.0, 57.0, 56.0),
        "value_range": (-1.0, 1.0),
        "channel_order": "bgr",
        "resize": 8,
        "crop": (6, 7),
        "interpolation": "bicubic",
        "data_format": "channels_first",
    },
    "PlainBlock": BRANCH,
    "ResidualBlock": {**BRANCH, "shortcut": "pad", "drop_path": 0.25, "seed": 7},
    "StochasticDepth": {"rate": 0.5, "seed": 7},
}
REQUIRED = {
    "Cutout": {"size": 3},
    "ImagePreprocessing": {},
    "PlainBlock": {"filters": 4},
    "ResidualBlock": {"filters": 4},
    "StochasticDepth": {"rate": 0.5},
}


def signature_names(function):
    """Argument names as a docstring lists them: with stars, without `self`."""
    stars = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    return [
        stars.get(parameter.kind, "") + parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]


def documented_names(documented):
    text = inspect.getdoc(documented)
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    return re.findall(r"^ {4}(\*{0,2}\w+):", section[1], re.M) if section else []


def public_methods():
    for name, public in PUBLIC.items():
        if isinstance(public, type):
            for method_name, method in inspect.getmembers(public):
                function = getattr(method, "__func__", method)
                if (
                    inspect.isfunction(function)
                    and function.__module__.startswith("keras_residual.")
                    and not method_name.startswith("_")
                    and function.__doc__
                ):
                    yield pytest.param(method, id=f"{name}.{method_name}")


def test_every_export_is_in_all():
    exported = {
        name
        for name, value in vars(keras_residual).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exported <= set(PUBLIC)
    assert len(PUBLIC) == len(keras_residual.__all__)


@pytest.mark.parametrize("name", [*PUBLIC, *FUNCTIONS])
def test_documented_arguments_are_the_arguments(name):
    public = (PUBLIC | FUNCTIONS)[name]
    assert documented_names(public) == signature_names(public)


@pytest.mark.parametrize("method", list(public_methods()))
def test_documented_arguments_of_methods_are_the_arguments(method):
    if inspect.ismethod(method):  # a class method: `cls` is bound already
        assert documented_names(method) == signature_names(method)
    else:
        documented = documented_names(method)
        assert documented == signature_names(method) or (
            # A hook of Keras: its arguments are Keras's.
            not documented and hasattr(keras.callbacks.Callback, method.__name__)
        )


# Whose examples take longest; that of `describe` builds big networks and computes
# nothing with them.
MARKS = {
    "describe": pytest.mark.once,
    "load_pretrained": pytest.mark.slow,
    "preprocessing_for": pytest.mark.slow,
    "accelerate": pytest.mark.slow,
    "ImageNetFolder": pytest.mark.slow,
    "fold_batch_norm": pytest.mark.slow,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, ())) for name in PUBLIC]
)
def test_docstring_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(inspect.getdoc(PUBLIC[name]))
    assert blocks, f"{name} has no example"
    namespace = run_blocks(blocks, name)
    assert namespace[name] is PUBLIC[name]


# These start worker processes.
STARTING = {"experiments.run_tasks", "experiments.run_experiment"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.once])
        if name in STARTING
        else name
        for name in [*FUNCTIONS, *CLASSES]
    ],
)
def test_docstring_example_of_what_is_imported_by_name_runs(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {**os.environ})  # `run_main` sets variables
    blocks = python_blocks(inspect.getdoc((FUNCTIONS | CLASSES)[name]))
    # The one whose data have to be downloaded.
    assert blocks or name == "datasets.load_tfds", f"{name} has no example"
    run_blocks(blocks, name)


@pytest.mark.parametrize("name", LAYERS)
def test_values_here_differ_from_every_default(name):
    parameters = inspect.signature(LAYERS[name]).parameters
    assert set(ARGUMENTS[name]) == set(parameters) - {"kwargs"}
    for argument, value in ARGUMENTS[name].items():
        assert value != parameters[argument].default or argument == "normalization"


@pytest.mark.parametrize("name", LAYERS)
def test_config_has_the_arguments_of_the_constructor(name):
    layer = LAYERS[name](**ARGUMENTS[name])
    own = set(layer.get_config()) - set(keras.layers.Layer().get_config())
    assert own == set(signature_names(LAYERS[name])) - {"**kwargs"}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("arguments", [REQUIRED, ARGUMENTS], ids=["defaults", "all"])
def test_config_round_trip(name, arguments):
    layer = LAYERS[name](**arguments[name], name="given", dtype="mixed_bfloat16")
    config = layer.get_config()
    restored = LAYERS[name].from_config(json.loads(json.dumps(config)))
    assert restored.get_config() == config
    assert restored.name == "given"
    assert restored.compute_dtype == "bfloat16"


@pytest.mark.parametrize("name", LAYERS)
def test_every_argument_reaches_the_config(name):
    config = LAYERS[name](**ARGUMENTS[name]).get_config()
    for argument, value in ARGUMENTS[name].items():
        stored = config[argument]
        if isinstance(stored, dict):  # an initializer or a regularizer, by its class
            assert stored["class_name"].lower() == value.replace("_", "")
        else:
            assert stored == value


@pytest.mark.parametrize("name", LAYERS)
def test_saved_model_gives_the_same_output(name, tmp_path):
    model = keras.Sequential([keras.Input((6, 8, 4)), LAYERS[name](**REQUIRED[name])])
    generator = np.random.default_rng(0)
    # Random everywhere, also the moving statistics, so that each variable matters.
    model.set_weights(
        [generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()]
    )
    images = generator.normal(size=(2, 6, 8, 4)).astype("float32")
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored.predict(images, verbose=0), expected)
    for weight, original in zip(
        restored.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(weight, original)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_registered_under_the_package(name):
    registered = keras.saving.get_registered_name(LAYERS[name])
    assert registered == f"keras_residual>{name}"
