"""Measures gradient norms inside a train step, and keeps them until they are read."""

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_residual.callbacks import _backend

# Stands for the norm of a gradient that does not exist; no norm is negative.
MISSING = -1.0
_MINIMUM_CAPACITY = 256
# A custom train step may apply the optimizer this often before a record is lost.
_APPLIES_PER_STEP = 4


class NormRecorder:
    """A ring of gradient norms, written in the train step and read on the host.

    Args:
        model: The model that trains.
        optimizer: The optimizer whose `apply` gets the unscaled gradients.
        every: Record the updates whose number is a multiple of this.
    """

    def __init__(self, model: keras.Model, optimizer: Any, every: int) -> None:
        self.variables: list[Any] = []
        self.buffers: list[Any] = []
        self._model = model
        self._optimizer = optimizer
        self._every = every
        self._capacity = max(
            _MINIMUM_CAPACITY, _APPLIES_PER_STEP * model.steps_per_execution
        )
        self._read_until = 0
        self._steps_since_read = 0

    @property
    def nearly_full(self) -> bool:
        """Whether the next train steps could overwrite what was not read yet."""
        return self._steps_since_read >= self._capacity // _APPLIES_PER_STEP

    @property
    def may_hold_records(self) -> bool:
        """Whether so many train steps ran that one of them was due."""
        return self._steps_since_read >= self._every

    def count_steps(self, steps: int) -> None:
        """Tells how many train steps are about to run."""
        self._steps_since_read += steps

    def create_buffers(self) -> None:
        """Makes empty buffers for the variables that the model trains now."""
        self.variables = list(self._model.trainable_variables)
        self._read_until = 0
        shapes = {
            "count": (),
            "steps": (self._capacity,),
            "norms": (self._capacity, len(self.variables)),
        }
        with _backend.variable_creation(self._model):
            self.buffers = [
                keras.Variable(
                    initializer="zeros",
                    shape=shape,
                    # "int" is the type of `optimizer.iterations` on each backend.
                    dtype="float32" if name == "norms" else "int",
                    trainable=False,
                    aggregation="only_first_replica",
                    name=f"gradient_norm_{name}",
                )
                for name, shape in shapes.items()
            ]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the step numbers `(n,)` and norms `(n, variables)` since last time.

        A variable that got no gradient has the norm `MISSING`.
        """
        self._steps_since_read = 0
        if not self.buffers:
            return np.zeros(0, "int64"), np.zeros((0, 0), "float32")
        count, steps, norms = map(ops.convert_to_numpy, self.buffers)
        first = max(self._read_until, int(count) - self._capacity)
        if first > self._read_until:
            warnings.warn(
                f"{first - self._read_until} gradient norms were lost: the train step "
                f"applied the optimizer more than {_APPLIES_PER_STEP} times.",
                stacklevel=2,
            )
        rows = np.arange(first, int(count)) % self._capacity
        self._read_until = int(count)
        return steps[rows].astype("int64"), norms[rows]

    def record(self, gradients: list[Any], variables: list[Any] | None) -> None:
        """Takes the arguments of `optimizer.apply`, before it runs."""
        if not self.buffers:
            self.create_buffers()
        if variables is None:
            # The order that `apply(gradients)` means is not public.
            variables = self._optimizer._trainable_variables
        gradients = _backend.sum_over_replicas(gradients)
        count, steps, norms = self.buffers
        step = ops.convert_to_tensor(self._optimizer.iterations)
        slot = ops.equal(
            ops.arange(self._capacity, dtype=count.dtype),
            ops.mod(count, self._capacity),
        )
        due = self._is_due(step)
        if due is None:
            row = self._row(gradients, variables)
            count.assign_add(1)
        else:
            row = ops.cond(
                due,
                lambda: self._row(gradients, variables),
                lambda: ops.zeros((len(self.variables),), "float32"),
            )
            slot = ops.logical_and(slot, due)
            count.assign_add(ops.cast(due, count.dtype))
        norms.assign(ops.where(slot[:, None], row[None, :], norms.value))
        steps.assign(ops.where(slot, ops.cast(step, steps.dtype), steps.value))

    def _is_due(self, step: Any) -> Any:
        """A boolean tensor, or None for always."""
        due = None if self._every == 1 else ops.equal(ops.mod(step, self._every), 0)
        accumulation = self._optimizer.gradient_accumulation_steps
        if not accumulation:
            return due
        # `iterations` counts whole updates; the count of micro-batches is not public.
        micro_step = ops.convert_to_tensor(self._optimizer._iterations)
        is_update = ops.equal(ops.mod(micro_step + 1, accumulation), 0)
        return is_update if due is None else ops.logical_and(due, is_update)

    def _row(self, gradients: list[Any], variables: list[Any]) -> Any:
        """Norms in the order of `self.variables`."""
        index = {
            id(variable): i
            for i, variable in enumerate(variables)
            if gradients[i] is not None
        }
        order = [index[id(v)] for v in self.variables if id(v) in index]
        values = [ops.full((1,), MISSING, "float32")]
        if order:
            values.append(
                _backend.l2_norms(
                    [self._applied(gradients[i], variables[i]) for i in order]
                )
            )
        if len(order) == len(self.variables):
            return values[1]
        position = {i: number for number, i in enumerate(order, start=1)}
        columns = [position.get(index.get(id(v), -1), 0) for v in self.variables]
        return ops.take(ops.concatenate(values), columns)

    def _applied(self, gradient: Any, variable: Any) -> Any:
        """The gradient as the optimizer will use it, but before clipping."""
        optimizer = self._optimizer
        if optimizer.loss_scale_factor:
            gradient = gradient / optimizer.loss_scale_factor
        if optimizer.gradient_accumulation_steps:
            if not optimizer.built:
                optimizer.build(self.variables)
            # What was accumulated so far is not public.
            sums = optimizer._accumulated_gradients
            accumulated = sums[optimizer._get_variable_index(variable)]
            gradient = gradient + accumulated
            gradient = gradient / optimizer.gradient_accumulation_steps
        return gradient
