"""Measures gradient norms inside a train step, and keeps them until they are read."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_residual.callbacks import _backend
from keras_residual.callbacks._columns import select_variables
from keras_residual.callbacks._measurement import Measurement, change_norms

_MINIMUM_CAPACITY = 256
# A custom train step may apply the optimizer this often before a record is lost.
_APPLIES_PER_STEP = 4


class Settings(NamedTuple):
    """What to measure, and when.

    Args:
        every: Record the updates whose number is a multiple of this.
        layers: Shell patterns of the layers to measure, or None for all.
        ratios: Whether to measure the updates and the weights as well.
        clipped: Whether to measure the gradients after clipping as well.
        micro_batches: Whether to measure the gradient of the last accumulated batch.
    """

    every: int
    layers: Sequence[str] | None
    ratios: bool
    clipped: bool
    micro_batches: bool


class GradientRecorder:
    """A ring of norms, written in the train step and read on the host.

    Args:
        model: The model that trains.
        optimizer: The optimizer whose `apply` gets the unscaled gradients.
        settings: What to measure, and when.
    """

    def __init__(self, model: keras.Model, optimizer: Any, settings: Settings) -> None:
        self.trainable: list[Any] = []
        self.variables: list[Any] = []
        self.buffers: list[Any] = []
        self._model = model
        self._optimizer = optimizer
        self._settings = settings
        self._kinds = (
            1 + settings.clipped + settings.micro_batches + 2 * settings.ratios
        )
        self._capacity = max(
            _MINIMUM_CAPACITY, _APPLIES_PER_STEP * model.steps_per_execution
        )
        self._read_until = 0
        self._steps_since_read = 0
        self._has_run = self._is_reached = False
        self._host_iterations: int | None = None
        self._decide = _backend.uncompiled(self._decide_on_host)

    def fits(self, model: keras.Model, settings: Settings) -> bool:
        """Whether it serves a `fit` of this model with these settings."""
        return settings == self._settings and list(
            map(id, model.trainable_variables)
        ) == list(map(id, self.trainable))

    @property
    def nearly_full(self) -> bool:
        """Whether the next train steps could overwrite what was not read yet."""
        return self._steps_since_read >= self._capacity // _APPLIES_PER_STEP

    @property
    def may_hold_records(self) -> bool:
        """Whether enough train steps ran for a record."""
        return self._steps_since_read >= self._settings.every

    @property
    def is_bypassed(self) -> bool:
        """Whether train steps ran, and none of them called `optimizer.apply`."""
        return self._has_run and not self._is_reached

    def count_steps(self, steps: int) -> None:
        """Counts train steps that are about to run."""
        self._steps_since_read += steps
        self._has_run = True

    def expect_other_training(self) -> None:
        """Prepares for updates that the recorder did not see."""
        self._host_iterations = None

    def create_buffers(self) -> None:
        """Makes empty buffers for the variables that the model trains now."""
        trainable = list(self._model.trainable_variables)
        patterns = self._settings.layers
        self.variables = (
            trainable
            if patterns is None
            else select_variables(self._model, trainable, patterns)
        )
        self.trainable = trainable
        self._read_until = 0
        shapes = {
            "count": (),
            "steps": (self._capacity,),
            "norms": (self._capacity, self._kinds * len(self.variables)),
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
        """Returns step numbers `(n,)` and norms `(n, kinds, variables)`, new ones only.

        The first kind are gradients, where a variable that got none has the norm
        `MISSING`; then, where they are measured, gradients after clipping, gradients of
        the last accumulated batch, updates, and weights.
        """
        self._steps_since_read = 0
        # The user may have set the optimizer's counter.
        self._host_iterations = None
        if not self.buffers:
            return np.zeros(0, "int64"), np.zeros((0, self._kinds, 0), "float32")
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
        shape = (len(rows), self._kinds, len(self.variables))
        return steps[rows].astype("int64"), norms[rows].reshape(shape)

    def record(
        self,
        gradients: list[Any],
        variables: list[Any] | None,
        apply: Callable[[], Any],
    ) -> Any:
        """Calls `apply`, and measures its gradients and what it changes."""
        self._is_reached = True
        if not self.buffers:
            self.create_buffers()
        due = self._is_due()
        if due is False:
            return apply()
        if self._accumulation and not self._optimizer.built:
            self._optimizer.build(self.trainable)
        if variables is None:
            # The order that `apply(gradients)` means is not public.
            variables = self._optimizer._trainable_variables
        step = self._update_number(ops.convert_to_tensor(self._optimizer._iterations))
        measurement = Measurement(self._optimizer, due, gradients, variables)
        wanted = self.variables
        measured = [measurement.norms(wanted)]
        if self._settings.clipped:
            measured.append(
                measurement.clipped_norms(wanted, measured[0], self.trainable)
            )
        if self._settings.micro_batches:
            measured.append(measurement.micro_batch_norms(wanted))
        weights = _backend.snapshot(wanted) if self._settings.ratios else []
        result = apply()

        def written() -> list[Any]:
            changed = _backend.snapshot(wanted) if weights else []
            return self._written(step, measured + change_norms(weights, changed))

        values = _backend.when(due, written, lambda: [b.value for b in self.buffers])
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer.assign(value)
        return result

    def _is_due(self) -> Any:
        """A boolean, or a boolean tensor where the train step is traced."""
        if self._settings.every == 1 and not self._accumulation:
            return True
        if _backend.steps_are_python():
            return self._decide()
        # `iterations` counts whole updates; the count of micro-batches is not public.
        return self._is_recorded(ops.convert_to_tensor(self._optimizer._iterations))

    def _decide_on_host(self) -> bool:
        # Asking the device at each step would make the host wait for it.
        if self._host_iterations is None:
            self._host_iterations = int(self._optimizer._iterations)
        due = self._is_recorded(self._host_iterations)
        self._host_iterations += 1
        return due

    @property
    def _accumulation(self) -> int:
        return self._optimizer.gradient_accumulation_steps or 0

    def _update_number(self, iterations: Any) -> Any:
        return iterations // max(1, self._accumulation)

    def _is_recorded(self, iterations: Any) -> Any:
        is_update = (iterations + 1) % max(1, self._accumulation) == 0
        return is_update & (self._update_number(iterations) % self._settings.every == 0)

    def _written(self, step: Any, measured: list[Any]) -> list[Any]:
        """The buffers with one more row."""
        count, steps, norms = (buffer.value for buffer in self.buffers)
        slot = ops.equal(
            ops.arange(self._capacity, dtype=count.dtype),
            ops.mod(count, self._capacity),
        )
        row = ops.concatenate(measured)
        return [
            count + 1,
            ops.where(slot, ops.cast(step, steps.dtype), steps),
            ops.where(slot[:, None], row[None, :], norms),
        ]
