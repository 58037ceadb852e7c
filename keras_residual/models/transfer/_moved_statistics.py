"""Whether a pass in training mode moves the statistics of a network."""

import keras
import numpy as np

from keras_residual.models._leaves import batch_norms


def moved_statistics(model, network, images) -> list[str]:
    """Names of a network's batch normalizations that a pass in training mode changes.

    The model is left as it was.
    """
    norms = batch_norms(network)
    # Seeds of dropout advance as well.
    state = [(v, _value(v)) for v in model.non_trainable_variables]
    before = [[_value(w) for w in norm.weights] for norm in norms]
    model(images, training=True)
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
