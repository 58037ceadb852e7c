"""The norms of one train step: of its gradients, and of what these change."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_residual.callbacks import _backend
from keras_residual.callbacks._columns import MISSING


class Measurement:
    """Measures the gradients of one call of `optimizer.apply`, before it uses them.

    Args:
        optimizer: The optimizer, which gets the gradients unscaled.
        due: Whether to measure at all: True, or a boolean tensor.
        gradients: What arrived; None where a variable got no gradient.
        variables: Their variables.
    """

    def __init__(
        self, optimizer: Any, due: Any, gradients: list[Any], variables: list[Any]
    ) -> None:
        self._optimizer = optimizer
        self._due = due
        # If their numbers differ, Keras raises the error.
        pairs = zip(gradients, variables, strict=False)
        self._arrived = {id(v): (g, v) for g, v in pairs if g is not None}

    def norms(
        self, wanted: list[Any], form: Callable[[Any, Any], Any] | None = None
    ) -> Any:
        """Norms of the gradients of the wanted variables, in their order.

        Each gradient is the one to be applied, or the result of `form(gradient,
        variable)`.
        """
        make = form or self._applied
        present = [self._arrived[id(v)] for v in wanted if id(v) in self._arrived]
        values = [ops.full((1,), MISSING, "float32")]
        if present:
            values.append(
                _backend.summed_norms(
                    self._due,
                    len(present),
                    lambda: [make(gradient, v) for gradient, v in present],
                )
            )
        if len(present) == len(wanted):
            return values[1]
        place = {id(v): number for number, (_, v) in enumerate(present, start=1)}
        columns = [place.get(id(v), 0) for v in wanted]
        return ops.take(ops.concatenate(values), columns)

    def micro_batch_norms(self, wanted: list[Any]) -> Any:
        """Norms of the gradients of this batch alone, one of those accumulated."""
        return self.norms(wanted, self._unscaled)

    def clipped_norms(self, wanted: list[Any], norms: Any, trainable: list[Any]) -> Any:
        """`norms` after the clipping that the optimizer is about to do.

        Args:
            wanted: The variables that `norms` are of.
            norms: Norms before the clipping.
            trainable: All variables that train, for `global_clipnorm`.
        """
        optimizer = self._optimizer
        if optimizer.clipnorm:
            return ops.minimum(norms, optimizer.clipnorm)
        if optimizer.global_clipnorm:
            is_all = len(wanted) == len(trainable)
            everything = norms if is_all else self.norms(trainable)
            # Missing gradients have negative norms.
            total = _backend.l2_norms([ops.maximum(everything, 0.0)])[0]
            limit = optimizer.global_clipnorm
            share = limit / ops.maximum(total, limit)
            return ops.where(norms < 0, norms, norms * share)
        if optimizer.clipvalue:
            largest = optimizer.clipvalue

            def clipped(gradient: Any, variable: Any) -> Any:
                return ops.clip(self._applied(gradient, variable), -largest, largest)

            return self.norms(wanted, clipped)
        return norms

    def _unscaled(self, gradient: Any, variable: Any) -> Any:
        scale = self._optimizer.loss_scale_factor
        return gradient / scale if scale else gradient

    def _applied(self, gradient: Any, variable: Any) -> Any:
        """The gradient as the optimizer will use it, before clipping."""
        optimizer = self._optimizer
        gradient = self._unscaled(gradient, variable)
        if optimizer.gradient_accumulation_steps:
            # What was accumulated so far is not public.
            sums = optimizer._accumulated_gradients
            accumulated = sums[optimizer._get_variable_index(variable)]
            gradient = (gradient + accumulated) / optimizer.gradient_accumulation_steps
        return gradient


def change_norms(before: list[Any], after: list[Any]) -> list[Any]:
    """Norms of the updates from `before` to `after`, and of `before` itself."""
    if not before:
        return []
    before = [ops.cast(value, "float32") for value in before]
    after = [ops.cast(value, "float32") for value in after]
    updates = [new - old for new, old in zip(after, before, strict=True)]
    return [_backend.l2_norms(updates), _backend.l2_norms(before)]
