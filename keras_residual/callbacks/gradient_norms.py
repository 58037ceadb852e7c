"""Gradient norms of one batch, without training."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_residual._functions import with_gradients
from keras_residual._model_loss import ModelLoss, tensors
from keras_residual.callbacks import _backend
from keras_residual.callbacks._columns import (
    MISSING,
    group_norms,
    group_variables,
)
from keras_residual.layers._checks import check_choice

# Where gradients are float16, those of the loss itself vanish in its rounding.
_FLOAT16_SCALE = 2.0**15


def gradient_norms(
    model: keras.Model,
    x: Any,
    y: Any,
    by: Literal["variable", "layer", "block"] = "variable",
    *,
    loss: Any = None,
) -> dict[str, float]:
    """Measures the L2 norms of the gradients of one batch, and changes nothing.

    The gradients are those that `fit` would compute for this batch, with the layers in
    training mode: batch normalization uses the statistics of the batch, and dropout
    drops. Weights, moving statistics, random generators and optimizer do not change.

    Args:
        model: A `keras.Model`. It is built if it is not built yet.
        x: One batch of images, or of other inputs of the model.
        y: The labels of the batch.
        by: One norm for each trainable `"variable"`, `"layer"` or `"block"`, as in
            [`GradientNormCallback`][keras_residual.GradientNormCallback].
        loss: A Keras loss, its name, or a function of labels and outputs. None: the
            loss that the model is compiled with. Losses that layers and regularizers
            add count in both cases.

    Returns:
        A dictionary from the name of each column to its norm, in forward order. NaN
        stands for a variable that the loss does not depend on (0 on JAX), and for a
        gradient that is NaN.

    Raises:
        ValueError: If `by` is unknown, or there is no loss.

    Example:
        ```python
        import numpy as np
        from keras_residual import PlainNet, gradient_norms

        images = np.random.default_rng(0).normal(size=(4, 32, 32, 3))
        model = PlainNet(8, num_classes=10, variant="cifar", use_batch_norm=False)
        norms = gradient_norms(
            model, images, np.arange(4), by="block",
            loss=lambda y, logits: logits[:, 0],
        )
        for name, norm in norms.items():
            print(f"{name:20} {norm:.2g}")
        ```

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward
        neural networks", AISTATS 2010: gradients at initialization, layer by layer.
        <https://proceedings.mlr.press/v9/glorot10a.html>
    """
    check_choice("by", by, ("variable", "layer", "block"))
    objective = ModelLoss(model, loss, training=True)
    x, y = tensors(x), tensors(y)
    objective.prepare(x, y)
    trainable = model.trainable_variables
    place = {id(variable): i for i, variable in enumerate(objective.variables)}
    places = [place[id(variable)] for variable in trainable]

    def scaled(chosen: list[Any], values: list[Any], scale: Any, x: Any, y: Any) -> Any:
        values = list(values)
        for i, value in zip(places, chosen, strict=True):
            values[i] = value
        return scale * objective(values, x, y), ()

    values = objective.values()
    chosen = [values[i] for i in places]
    compute = with_gradients(scaled)
    scale = _FLOAT16_SCALE if _computes_in_float16(model) else 1.0
    while True:
        factor = ops.convert_to_tensor(scale, "float32")
        _, _, gradients = compute(chosen, values, factor, x, y)
        norms = _norms(gradients)
        if scale == 1.0 or np.isfinite(norms).all():
            break
        scale /= 8.0
    norms = np.where(norms == MISSING, MISSING, norms / scale)
    names, columns = group_variables(model, trainable, by)
    return dict(zip(names, group_norms(norms[None], columns)[0].tolist(), strict=True))


def _norms(gradients: list[Any]) -> np.ndarray:
    norms = np.full(len(gradients), MISSING, "float32")
    present = [i for i, gradient in enumerate(gradients) if gradient is not None]
    if present:
        values = _backend.l2_norms([gradients[i] for i in present])
        norms[present] = ops.convert_to_numpy(values)
    return norms


def _computes_in_float16(model: keras.Model) -> bool:
    return any(layer.compute_dtype == "float16" for layer in model.layers)
