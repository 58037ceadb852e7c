"""Where Cutout is called, and the state of its random numbers there.

Inside a model that is the layer's seed generator. The functions of `tf.data` and Grain
count their calls on their own.
"""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import keras
import numpy as np


class TensorFlowState:
    """Seed and number of the call, in the functions of `tf.data`."""

    @staticmethod
    def is_for(x: Any) -> bool:
        """Whether this is a tensor that comes from a `tf.data` pipeline."""
        if not is_symbolic(x):
            return False
        graph = x.graph
        while graph is not None:
            if getattr(graph, "name", "").startswith("Dataset_"):
                return True
            graph = getattr(graph, "outer_graph", None)
        # Keras itself passes none of these tensors on another backend.
        return keras.backend.backend() != "tensorflow"

    def __init__(self, generator: keras.random.SeedGenerator) -> None:
        import tensorflow as tf

        # The map function of a data set is traced in a graph of its own.
        with tf.init_scope():
            self._seed, first = keras.ops.convert_to_numpy(generator.state).tolist()
        # In a thread of its own it is one variable, also where this one is in the scope
        # of a strategy, which would make one for each device.
        with ThreadPoolExecutor(1) as thread:
            self._calls = thread.submit(
                tf.Variable, first, dtype="int64", trainable=False
            ).result()

    def next(self) -> Any:
        """The state of this call."""
        import tensorflow as tf

        # Reads and counts in one operation: `tf.data` makes several calls at once, and
        # with `assign_add` some of them would get the same number.
        call = tf.raw_ops.ResourceCountUpTo(
            resource=self._calls.handle, limit=2**62, T="int64"
        )
        return tf.stack([tf.constant(self._seed, "int64"), call])


class NumpyState:
    """Seed and number of the call, on the NumPy arrays of a Grain pipeline."""

    @staticmethod
    def is_for(x: Any) -> bool:
        """Whether this is an array that comes from a Grain pipeline."""
        if not isinstance(x, np.ndarray) or "grain" not in sys.modules:
            return False
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("grain."):
                return True
            frame = frame.f_back
        return False

    def __init__(self, generator: keras.random.SeedGenerator) -> None:
        self._seed, first = keras.ops.convert_to_numpy(generator.state).tolist()
        # `next` of a count is atomic: Grain reads in several threads.
        self._calls = itertools.count(first)

    def next(self) -> np.ndarray:
        """The state of this call."""
        return np.asarray([self._seed, next(self._calls)])


def pipeline_of(x: Any) -> type[TensorFlowState] | type[NumpyState] | None:
    """The state to use for an array of a data pipeline."""
    for kind in (TensorFlowState, NumpyState):
        if kind.is_for(x):
            return kind
    return None


def is_foreign(x: Any) -> bool:
    """Whether Keras would turn this array of a pipeline into one of its backend."""
    if keras.backend.backend() == "tensorflow":
        return NumpyState.is_for(x)
    return pipeline_of(x) is not None


def is_symbolic(x: Any) -> bool:
    tf = sys.modules.get("tensorflow")
    return tf is not None and tf.is_symbolic_tensor(x)


def next_state(generator: keras.random.SeedGenerator) -> Any:
    """The state of this call, inside the backend."""
    state = generator.next()
    if keras.backend.backend() != "tensorflow":
        return state
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return state
    # The replicas hold the same state, but other images of the batch.
    replica = tf.cast(context.replica_id_in_sync_group, state.dtype)
    return state + tf.stack([tf.zeros_like(replica), replica * 2**24])


def as_state(seed: Any) -> Any:
    """Two integers that were given for a state, as an array or a tensor."""
    if isinstance(seed, tuple | list) and any(map(is_symbolic, seed)):
        import tensorflow as tf

        seed = tf.stack([tf.cast(number, "int64") for number in seed])
    elif isinstance(seed, tuple | list) and any(map(keras.ops.is_tensor, seed)):
        seed = keras.ops.stack(seed)
    elif isinstance(seed, tuple | list):
        seed = np.asarray(seed)
    shape = getattr(seed, "shape", None)
    dtype = "" if shape is None else keras.backend.standardize_dtype(seed.dtype)
    if shape is None or tuple(shape) != (2,) or "int" not in dtype:
        raise ValueError(
            f"`seed` must be two integers, of shape (2,). Received: seed={seed!r}"
        )
    return seed.astype("int32") if isinstance(seed, np.ndarray) else seed
