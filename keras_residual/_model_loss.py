"""The loss of a model as a function of its variables, without changing them."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_residual._calls import Replacement, replaced_calls


class ModelLoss:
    """The loss for given values of all variables.

    Updates in the forward pass, of moving statistics and random generators, are
    dropped.

    Args:
        model: A `keras.Model`.
        loss: A Keras loss, its name, or a function of labels and outputs. None: the
            loss that the model is compiled with. Losses that layers and regularizers
            add count in both cases.
        training: Whether layers run in training mode.
        calls: What single layers run in place of their own `call`.

    Raises:
        ValueError: If there is no loss.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        training: bool,
        calls: Sequence[tuple[keras.layers.Layer, Replacement]] = (),
    ) -> None:
        overrides = type(model).compute_loss is not keras.Model.compute_loss
        if loss is None and getattr(model, "loss", None) is None and not overrides:
            raise ValueError(
                "`loss` must be given for a model that is not compiled with one. "
                "Received: loss=None"
            )
        self._model = model
        self._loss = None if loss is None else keras.losses.get(loss)
        takes_training = "training" in inspect.signature(model.call).parameters
        self._arguments = {"training": training} if takes_training else {}
        self._calls = calls
        self.variables: list[Any] = []

    def prepare(self, x: Any, y: Any) -> None:
        """Creates variables that exist only after a first batch.

        They must not be created while the function is traced.
        """
        if not self._model.built:
            self._model(x)
        outputs = getattr(self._model, "outputs", None)
        if self._loss is None and (outputs is None or len(outputs) > 1):
            # The first time, such losses create metrics.
            with keras.StatelessScope():
                self._compute(x, y)
        self.variables = list({id(v): v for v in self._model.variables}.values())

    def values(self) -> list[Any]:
        """The values that the variables have now."""
        # Copies: TensorFlow and PyTorch change variables in place.
        return [ops.stop_gradient(ops.copy(v.value)) for v in self.variables]

    def __call__(self, values: list[Any], x: Any, y: Any) -> Any:
        """Returns the loss of a batch as a float32 scalar."""
        mapping = list(zip(self.variables, values, strict=True))
        with keras.StatelessScope(mapping, collect_losses=True):
            return self._compute(x, y)

    def _compute(self, x: Any, y: Any) -> Any:
        model = self._model
        with replaced_calls(self._calls):
            outputs = model(x, **self._arguments)
        if self._loss is None:
            value = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None)
            return ops.cast(value, "float32")
        value = ops.mean(ops.cast(self._loss(y, outputs), "float32"))
        for added in model.losses:
            value = value + ops.sum(ops.cast(added, "float32"))
        return value


def tensors(data: Any) -> Any:
    """Arrays in any structure, as `fit` passes them to a model."""

    def convert(array: Any) -> Any:
        if isinstance(array, np.ndarray) and array.dtype == "float64":
            array = array.astype(keras.config.floatx())
        return ops.convert_to_tensor(array)

    # A list of numbers is data, and not a structure of inputs.
    if isinstance(data, list) and not any(hasattr(item, "shape") for item in data):
        data = np.asarray(data)
    return keras.tree.map_structure(convert, data)
