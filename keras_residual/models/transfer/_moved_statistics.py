"""Whether a pass in training mode moves the statistics of the backbone."""

import keras
import numpy as np

from keras_residual._leaves import batch_norms


def check_batch_norm(self) -> list[str]:
    """Finds batch normalizations of the backbone whose statistics change in training.

    Random images go through the model in training mode, and the statistics before and
    after are compared bit by bit. Everything is restored afterwards.

    Returns:
        The names of these layers: an empty list unless the model trains from scratch or
        with `train_batch_norm=True`.
    """
    sizes = [size or 64 for size in self.input_shape[1:]]
    high = 1 if self.value_range == (0, 1) else 255
    images = np.random.default_rng(0).uniform(0, high, (4, *sizes)).astype("float32")
    norms = batch_norms(self.backbone)
    # Seeds of dropout advance as well.
    state = [(v, _value(v)) for v in self.non_trainable_variables]
    before = [[_value(w) for w in norm.weights] for norm in norms]
    self(images, training=True)
    moved = [
        norm.name
        for norm, values in zip(norms, before, strict=True)
        if any(
            not np.array_equal(value, _value(weight))
            for value, weight in zip(values, norm.weights, strict=True)
        )
    ]
    for variable, value in state:
        variable.assign(value)
    return moved


def _value(variable):
    # A copy: on the CPU a backend may hand out its own memory.
    return np.array(keras.ops.convert_to_numpy(variable))
