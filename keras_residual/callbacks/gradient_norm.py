"""Gradient norms of a running `fit()`."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import keras

from keras_residual._innermost import innermost
from keras_residual.callbacks import _arguments as arguments
from keras_residual.callbacks import _probe as probes
from keras_residual.callbacks._output import Output
from keras_residual.callbacks._recorded_norms import RecordedNorms
from keras_residual.callbacks._recorder import GradientRecorder, Settings
from keras_residual.callbacks._records import read_file
from keras_residual.callbacks._tensorboard import check_tensorboard
from keras_residual.layers._checks import (
    as_path,
    check_choice,
    check_file,
    check_positive_integer,
)


class GradientNormCallback(RecordedNorms, keras.callbacks.Callback):
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
    a checkpoint written meanwhile. Recording continues over several calls of `fit` with
    the same trainable variables; for others use a new callback. `train_on_batch` is
    recorded within `recording(model)`.

    Args:
        every: Record updates number `0`, `every`, `2 * every`, ... The number is
            `optimizer.iterations` before the update, so the row of step `s` belongs to
            the weights after `s` updates. The updates in between compute no norm.
        by: What makes one column: each trainable `"variable"`, all variables of a
            `"layer"` together, or all of a `"block"`, the outermost layer that holds
            them (a residual block, or a layer that stands alone). Nested models are
            opened, so that the blocks of a backbone are columns of their own.
        filepath: A `.csv` file that grows while training runs, with the column `step`
            followed by one for each name, and with `ratios` by one `update_ratio/...`
            for each. It then is the record: nothing is kept in memory, and the
            attributes read the file. A killed process loses at most what the last call
            of the train step recorded. Of a file with as many columns the rows before
            the first new step stay, so that training which is resumed (with
            `BackupAndRestore`, say) appends to it; any other file is replaced.
        layers: Shell patterns (`"stage1*"`), or one, of the names or paths of the
            layers to measure, or None for all. A layer that holds others, a block or a
            nested model, stands for all of them. The others cost nothing.
        ratios: Whether to record `update_ratios` as well.
        clipped: Whether to record `clipped_norms` as well.
        micro_batches: Whether to record `micro_batch_norms` as well, for `noise_scale`.
            Only with an optimizer that has `gradient_accumulation_steps`.
        global_norm: Whether the last column is `"global_norm"`, the norm of all
            measured gradients together: the one that `global_clipnorm` compares.
        alert: True, or a pair of norms `(vanishing, exploding)`: one `UserWarning` of
            each kind in each `fit` when the gradient of a whole layer is below the
            first in two records in a row, above the second, or not finite. True stands
            for `(1e-7, 1e3)`. It is issued when records are read: every 64 steps, with
            `filepath` after each record, and at the end.
        stop: Whether an alert also ends `fit`, after the step in which it comes.
        tensorboard_dir: A folder for scalar summaries, `gradient_norm/<name>` and
            `update_ratio/<name>`. Needs the extra `tensorboard`.
        on_record: A function of a dictionary, from the name of a column to its number,
            and the step, called for each record when it is read. `mlflow.log_metrics`
            and `wandb.log` take these two.

    Attributes:
        names: Names of the columns in forward order: variable or layer paths.
        steps: Step numbers, an int64 array of shape `(n,)`.
        norms: Norms, a float32 array of shape `(n, len(names))`. NaN stands for a
            gradient that is NaN, and for a variable that the loss does not depend on;
            JAX gives such a variable a gradient of zeros, and its norm is 0.
        update_ratios: With `ratios`, the norm of the change that the optimizer made to
            the weights, after clipping, momentum, learning rate and weight decay, over
            the norm of the weights before it: a float32 array like `norms`, else None.
            For weights that were all zero it is infinity, or NaN if they stayed zero.
        clipped_norms: With `clipped`, the norms after the optimizer's clipping
            (`clipnorm`, `clipvalue`, `global_clipnorm`): a float32 array like `norms`,
            else None.

        micro_batch_norms: With `micro_batches`, the norms of the gradient of the last
            of the accumulated batches alone: a float32 array like `norms`, else None.

    Raises:
        ValueError: If an argument is out of range.
        ImportError: If `tensorboard_dir` is given and tensorboard is not installed.

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
        *,
        layers: str | Sequence[str] | None = None,
        ratios: bool = False,
        clipped: bool = False,
        micro_batches: bool = False,
        global_norm: bool = False,
        alert: bool | tuple[float, float] | None = None,
        stop: bool = False,
        tensorboard_dir: str | os.PathLike[str] | None = None,
        on_record: Callable[[dict[str, float], int], Any] | None = None,
    ) -> None:
        super().__init__()
        self.every = check_positive_integer("every", every)
        check_choice("by", by, ("variable", "layer", "block"))
        if filepath is not None:
            check_file("filepath", filepath, (".csv",))
        self.ratios = arguments.check_flag("ratios", ratios)
        self.clipped = arguments.check_flag("clipped", clipped)
        self.micro_batches = arguments.check_flag("micro_batches", micro_batches)
        self.global_norm = arguments.check_flag("global_norm", global_norm)
        self.stop = arguments.check_flag("stop", stop)
        limits = arguments.alert_limits(alert)
        if stop and limits is None:
            raise ValueError(
                "`stop` needs `alert`, which says when to stop. "
                f"Received: stop=True, alert={alert!r}"
            )
        if on_record is not None and not callable(on_record):
            raise ValueError(
                "`on_record` must be a function of a dictionary and a step. "
                f"Received: on_record={on_record!r}"
            )
        if tensorboard_dir is not None:
            as_path("tensorboard_dir", tensorboard_dir)
            check_tensorboard()
        self._settings = Settings(
            self.every, arguments.layer_patterns(layers), ratios, clipped, micro_batches
        )
        self.by = by
        self.filepath = filepath
        self.layers = layers
        self.alert = alert
        self.tensorboard_dir = tensorboard_dir
        self.on_record = on_record
        chosen = {
            "clipped_norms": clipped,
            "micro_batch_norms": micro_batches,
            "update_ratios": ratios,
        }
        self._output = Output(
            by,
            global_norm,
            [name for name, is_chosen in chosen.items() if is_chosen],
            filepath,
            limits,
            tensorboard_dir,
            on_record,
        )
        self._probe: probes.GradientProbe | None = None
        self._recorder: GradientRecorder | None = None
        self._is_recording = False
        self._network: Any = None

    @contextmanager
    def recording(self, model: keras.Model) -> Iterator["GradientNormCallback"]:
        """Records the calls of `model.train_on_batch` in a `with` block.

        Args:
            model: A compiled model.

        Example:
            ```python
            import keras
            import numpy as np
            from keras_residual import GradientNormCallback

            model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            with GradientNormCallback().recording(model) as gradient_norms:
                for _ in range(3):
                    model.train_on_batch(np.ones((16, 8)), np.ones((16, 1)))
            print(gradient_norms.steps)  # [0 1 2]
            ```
        """
        self.set_model(model)
        self.on_train_begin()
        if self._probe is not None and self._recorder is not None:
            self._probe.announce(self._recorder, lambda: self.on_train_batch_begin(0))
        try:
            yield self
        finally:
            self.on_train_end()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "GradientNormCallback":
        """Returns a callback that holds the record of a file, to be read.

        The file does not say how it was made: use a new callback to record more.

        Args:
            path: A `.csv` or `.npz` file that `save` or `filepath` wrote.
        """
        path = check_file("path", path, (".csv", ".npz"))
        names, rows = read_file(path)
        callback = cls(
            ratios="update_ratios" in rows.more,
            clipped="clipped_norms" in rows.more,
            micro_batches="micro_batch_norms" in rows.more,
        )
        callback._output.restore(names, rows)
        return callback

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        # `self.model` writes the weights back on JAX, which `train_on_batch` holds.
        self._network = model
        stale = probes.probe_of(self.model)
        # An exception ended an earlier `fit`.
        if stale is not None and not stale.is_outside_of_fit:
            stale.release()

    def on_train_begin(self, logs: Any = None) -> None:
        self._read()
        if self.model.optimizer is None:
            raise ValueError(
                "`model` must be compiled with an optimizer. Received: optimizer=None"
            )
        self._output.begin_fit()
        probe = probes.probe_for(self.model, self._probe)
        if (
            self._recorder is None
            or probe is not self._probe
            or not self._recorder.fits(self.model, self._settings)
        ):
            optimizer = innermost(self.model.optimizer)
            if self.clipped:
                arguments.check_clipping(self.model, optimizer)
            if self.micro_batches:
                arguments.check_accumulation(optimizer)
            self._recorder = GradientRecorder(self.model, optimizer, self._settings)
        self._probe = probe
        probe.join(self._recorder)
        self._is_recording = True
        try:
            self._name_columns()
        except BaseException:
            self._end()
            raise

    # Not `on_train_batch_end`, which would turn asynchronous dispatch off for all.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._probe is None or self._recorder is None or not self._is_recording:
            return
        if self._recorder.nearly_full or (
            self.filepath is not None and self._recorder.may_hold_records
        ):
            self._read()
        self._probe.arm(self._recorder)

    def on_train_end(self, logs: Any = None) -> None:
        self._end()
        if self._recorder is not None and self._recorder.is_bypassed:
            warnings.warn(
                "GradientNormCallback recorded nothing: no train step of this `fit` "
                "called `model.optimizer.apply` (or `apply_gradients`).",
                stacklevel=2,
            )

    def _end(self) -> None:
        if self._probe is not None and self._recorder is not None:
            self._probe.leave(self._recorder)
        self._read()
        self._is_recording = False

    def _name_columns(self) -> None:
        # Unknown for a model that is built in its first train step.
        if self._recorder is not None and self._recorder.variables:
            self._output.name_columns(self._network, self._recorder.variables)

    def _read(self) -> None:
        if self._recorder is None or not self._is_recording:
            return
        steps, values = self._recorder.read()
        if len(steps):
            self._name_columns()
            if self._output.append(steps, values) and self.stop:
                self._network.stop_training = True
