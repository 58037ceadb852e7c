"""What all tests share: a fixed seed, untouched Keras settings, and the real data."""

import gc
import os
import sys
from pathlib import Path

# Before the first import of matplotlib: tests have no display.
os.environ.setdefault("MPLBACKEND", "Agg")
# Before the first import of a backend. pytest-xdist keeps the cores busy: threads
# of one worker would wait for those of another, at twice the time for all.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# TensorFlow with a single thread writes beyond its memory in operations of oneDNN
# (2.21.0, on CPUs without AVX512_VNNI): the process aborts, later and elsewhere.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# TensorFlow convolves channels_first images on a CPU through oneDNN alone, and turns
# that on by itself only where the CPU has AVX512_VNNI, AVX512_BF16 or AMX.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# On JAX most of a test's time is compilation; code that runs once need not be fast.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
)

import hypothesis
import numpy as np
import pytest

# Keras is imported where it is used: the process that hands the tests out to workers
# does without a backend.

ROOT = Path(__file__).resolve().parents[1]

# Neither a draw nor a busy machine decides whether a test passes. The scheduled
# workflow looks further, with fresh draws.
hypothesis.settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.register_profile(
    "fresh",
    hypothesis.settings.get_profile("fixed"),
    derandomize=False,
    max_examples=500,
    print_blob=True,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_configure(config):
    # Most of what a test makes lives as long as the test: looking for cycles after
    # each 700 objects, as Python does, takes a tenth of all the time.
    gc.set_threshold(50_000, 20, 100)
    if config.getoption("numprocesses", 0) and not hasattr(config, "workerinput"):
        return  # this process hands the tests out
    backend = _backend()
    if backend == "jax":
        _keep_programs(config.rootpath / ".pytest_cache" / "jax")
    elif backend == "tensorflow":
        _stop_tuning()


def pytest_collection_modifyitems(config, items):
    """Leaves tests that do not depend on the backend to the run on PyTorch.

    They take least time there. Where no backend is asked for, they run as well.
    """
    backend = os.environ.get("KERAS_BACKEND", "torch")
    if backend == "torch" or "once" in config.option.markexpr:
        return
    once = [item for item in items if item.get_closest_marker("once")]
    config.hook.pytest_deselected(items=once)
    items[:] = [item for item in items if not item.get_closest_marker("once")]


def _backend():
    import keras

    return keras.backend.backend()


def _keep_programs(folder):
    """Programs are compiled once, also where memory is released between modules."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _stop_tuning():
    """The end of data sets that are given options, as Keras does, then does not wait.

    The end of an epoch sometimes waits for the thread that tunes a data set, which
    sleeps for 10 ms, then twice as long each time (TensorFlow 2.21.0, 2026-11-28).
    """
    import tensorflow as tf

    with_options = tf.data.Dataset.with_options

    def without_autotuning(dataset, options, name=None):
        options.autotune.enabled = False
        return with_options(dataset, options, name)

    tf.data.Dataset.with_options = without_autotuning


@pytest.fixture(autouse=True, scope="module")
def released_memory():
    """What a module compiled does not stay in the memory of its worker."""
    import keras

    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
    keras.utils.clear_session()  # and collects garbage
    # What is left are imports: collecting looks at a million of their objects else.
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """What tests share has the same weights whichever test or worker needs it first."""
    if fixturedef.scope != "function":
        import keras

        keras.utils.set_random_seed(0)
    return (yield)


@pytest.fixture(autouse=True)
def fixed_seed():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def same_keras_settings():
    """A test that changes a global setting of Keras cannot change the next test."""
    import keras

    policy = keras.config.dtype_policy()
    data_format = keras.config.image_data_format()
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    # matplotlib warns once twenty figures are open.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def root():
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """A function from a name such as "cifar10" to its folder of real data, or a skip.

    The project works without these files: they are not part of it.
    """
    folder = Path(os.environ.get("KERAS_RESIDUAL_DATA", ROOT.parent / "shared/data"))

    def find(name):
        path = folder / name
        if not path.exists():
            pytest.skip(
                f"real data needed: {path} does not exist "
                "(KERAS_RESIDUAL_DATA names the folder to look in)"
            )
        return path

    return find


@pytest.fixture
def random_statistics():
    """Gives batch normalization and biases values as different as training's.

    Its scales keep the outputs of a deep network of the order of one.
    """

    def apply(model):
        generator = np.random.default_rng(0)
        ranges = {
            "gamma": (0.2, 0.6),
            "beta": (-0.5, 0.5),
            "moving_mean": (-0.5, 0.5),
            "moving_variance": (0.5, 1.5),
            "bias": (-0.5, 0.5),
        }
        for weight in model.weights:
            name = weight.path.split("/")[-1]
            if name in ranges:
                weight.assign(generator.uniform(*ranges[name], weight.shape))
        return model

    return apply
