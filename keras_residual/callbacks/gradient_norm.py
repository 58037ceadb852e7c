"""Gradient norms of a running `fit()`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from keras_residual.callbacks._gradient_probe import GradientProbe, remove_stale_probes
from keras_residual.callbacks._norm_files import (
    append_rows,
    read_record,
    start_rows,
    write_record,
)
from keras_residual.callbacks._variable_groups import group_norms, group_variables
from keras_residual.layers._checks import check_positive_integer

if TYPE_CHECKING:
    import pandas


class GradientNormCallback(keras.callbacks.Callback):
    """Records the L2 norms of the gradients that update the weights in `fit()`.

    The norms are computed inside the compiled train step from the gradients that the
    optimizer receives there: there is no second backward pass, and what is recorded is
    the gradient of the batch, dropout mask and weights of that very update. A norm is

    - *unscaled*: loss scaling (`mixed_float16`, `loss_scale_factor`) is divided out,
      and steps that a `LossScaleOptimizer` skips because of overflow are not recorded;
    - *before clipping* (`clipnorm`, `clipvalue`, `global_clipnorm`) and without
      decoupled weight decay; losses that layers or regularizers add are part of it;
    - with `gradient_accumulation_steps`, of the mean over the accumulated batches, once
      for each update;
    - with several replicas, of the gradient of the whole batch.

    Training is unchanged, and nothing stays behind on the model, in its optimizer or in
    a checkpoint written meanwhile. Recording goes on over several calls of `fit` with
    the same trainable variables; for others use a new callback.

    Args:
        every: Record updates number `0`, `every`, `2 * every`, ... The number is
            `optimizer.iterations` before the update, so the row of step `s` belongs to
            the weights after `s` updates. The updates in between compute no norm.
        by: What makes one column: each trainable `"variable"`, all variables of a
            `"layer"` together, or all of a `"block"`, the outermost layer that holds
            them (a residual block, or a layer that stands alone). Nested models are
            opened, so that the blocks of a backbone are columns of their own.
        filepath: A `.csv` file that grows while training runs, with the column `step`
            followed by one for each name. A killed process loses at most what the last
            call of the train step recorded. Of a file with as many columns the rows
            before the first new step stay, so that training which is resumed (with
            `BackupAndRestore`, say) goes on in it; any other file is replaced.

    Attributes:
        names: Names of the columns in forward order: variable or layer paths.
        steps: Step numbers, an int64 array of shape `(n,)`.
        norms: Norms, a float32 array of shape `(n, len(names))`. NaN stands for a
            gradient that is NaN, and for a variable that the loss does not depend on;
            JAX gives such a variable a gradient of zeros, and its norm is 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    ```python
    import keras
    import numpy as np
    from keras_residual.callbacks import GradientNormCallback

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    gradient_norms = GradientNormCallback(every=2)
    x, y = np.ones((64, 8), "float32"), np.ones((64, 1), "float32")
    model.fit(x, y, batch_size=16, callbacks=[gradient_norms], verbose=0)
    print(gradient_norms.names)  # two paths, ending in "kernel" and "bias"
    print(gradient_norms.steps)  # [0 2]
    print(gradient_norms.norms.shape)  # (2, 2)
    ```
    """

    def __init__(
        self,
        every: int = 1,
        by: Literal["variable", "layer", "block"] = "variable",
        filepath: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        every = check_positive_integer("every", every)
        if by not in ("variable", "layer", "block"):
            raise ValueError(
                '`by` must be "variable", "layer" or "block". ' + f"Received: by={by!r}"
            )
        if filepath is not None:
            _check_path(Path(filepath), "filepath", (".csv",))
        self.every = every
        self.by = by
        self.filepath = filepath
        self.names: list[str] = []
        self._steps = np.zeros(0, "int64")
        self._norms = np.zeros((0, 0), "float32")
        self._fresh: list[tuple[np.ndarray, np.ndarray]] = []
        self._columns: list[int] | None = None
        self._probe: GradientProbe | None = None
        self._is_recording = False
        self._owns_file = False

    @property
    def steps(self) -> np.ndarray:
        """Step numbers of all records up to now."""
        self._collect()
        return self._steps

    @property
    def norms(self) -> np.ndarray:
        """Norms of all records up to now."""
        self._collect()
        return self._norms

    def to_frame(self) -> "pandas.DataFrame":
        """Returns a pandas table: one row for each step, one column for each name."""
        import pandas

        index = pandas.Index(self.steps, name="step")
        return pandas.DataFrame(self.norms, index=index, columns=self.names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the record to a `.csv` or `.npz` file.

        Args:
            path: Where to; a file that exists is replaced in one move.
        """
        path = Path(path)
        _check_path(path, "path", (".csv", ".npz"))
        write_record(path, self.names, self.steps, self.norms)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "GradientNormCallback":
        """Returns a callback that holds the record of a file.

        Args:
            path: A `.csv` or `.npz` file that `save` or `filepath` wrote.
        """
        path = Path(path)
        _check_path(path, "path", (".csv", ".npz"))
        callback = cls()
        callback.names, callback._steps, callback._norms = read_record(path)
        return callback

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        remove_stale_probes(self.model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._collect()
        if self.model.optimizer is None:
            raise ValueError(
                "`model` must be compiled with an optimizer. Received: optimizer=None"
            )
        self._columns = None
        if self._probe is None or not self._probe.fits(self.model, self.every):
            self._probe = GradientProbe(self.model, self.every)
        self._probe.install()
        self._is_recording = True
        try:
            self._name_columns()
        except BaseException:
            self._end()
            raise

    # Not `on_train_batch_end`, which would turn asynchronous dispatch off for all.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._probe is None or not self._is_recording:
            return
        recorder = self._probe.recorder
        if recorder.nearly_full or (
            self.filepath is not None and recorder.may_hold_records
        ):
            self._read()
        self._probe.arm()

    def on_train_end(self, logs: Any = None) -> None:
        self._end()

    def _end(self) -> None:
        if self._probe is not None:
            self._probe.release()
        self._collect()
        self._is_recording = False

    def _name_columns(self) -> None:
        """Fixes the columns, as soon as the variables are known."""
        variables = self._probe.recorder.variables if self._probe else []
        if self._columns is not None or not variables:
            return
        names, columns = group_variables(self.model, variables, self.by)
        if not len(self._steps):
            self._norms = np.zeros((0, len(names)), "float32")
        elif names != self.names:
            raise ValueError(
                "`model` must have the trainable variables of the earlier fit, or a "
                f"new callback. Received: names={names!r}, expected {self.names!r}"
            )
        self.names, self._columns = names, columns

    def _read(self) -> None:
        """Moves records from the train step's memory to the host."""
        if self._probe is None or not self._is_recording:
            return
        steps, norms = self._probe.recorder.read()
        if not len(steps):
            return
        self._name_columns()
        norms = group_norms(norms, self._columns or [])
        self._fresh.append((steps, norms))
        if self.filepath is not None:
            path = Path(self.filepath)
            if not self._owns_file:
                start_rows(path, self.names, before=int(steps[0]))
                self._owns_file = True
            append_rows(path, steps, norms)

    def _collect(self) -> None:
        """Brings the arrays up to date."""
        self._read()
        if self._fresh:
            steps, norms = zip(*self._fresh, strict=True)
            self._steps = np.concatenate([self._steps, *steps])
            self._norms = np.concatenate([self._norms, *norms])
            self._fresh = []


def _check_path(path: Path, argument: str, suffixes: tuple[str, ...]) -> None:
    received = f"Received: {argument}={str(path)!r}"
    if path.suffix not in suffixes:
        raise ValueError(
            f"`{argument}` must end in {' or '.join(suffixes)}. {received}"
        )
    if path.is_dir():
        raise ValueError(f"`{argument}` must be a file, not a folder. {received}")
    if not path.parent.is_dir():
        raise ValueError(f"`{argument}` must be in a folder that exists. {received}")
