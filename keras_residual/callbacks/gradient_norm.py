"""Gradient norms of a running `fit()`."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, Literal

import keras

from keras_residual._innermost import innermost
from keras_residual.callbacks import _arguments as arguments
from keras_residual.callbacks import _probe as probes
from keras_residual.callbacks._output import Output
from keras_residual.callbacks._recorded_norms import RecordedNorms
from keras_residual.callbacks._recorder import GradientRecorder, Settings
from keras_residual.callbacks._records import PREFIXES, read_file
from keras_residual.layers._checks import (
    check_choice,
    check_file,
    check_positive_integer,
)


class GradientNormCallback(RecordedNorms, keras.callbacks.Callback):
    """Records the L2 norms of the gradients that update the weights in `fit()`.

    The norms are computed inside the compiled train step, from the gradients that the
    optimizer receives there, without a second backward pass. A norm is

    - *unscaled*: loss scaling (`mixed_float16`, `loss_scale_factor`) is divided out,
      and steps that a `LossScaleOptimizer` skips because of overflow are not recorded;
    - *before clipping* (`clipnorm`, `clipvalue`, `global_clipnorm`) and without
      decoupled weight decay; losses that layers or regularizers add are part of it;
    - with `gradient_accumulation_steps`, of the mean over the accumulated batches, once
      for each update;
    - with several replicas, of the gradient of the whole batch.

    The callback does not change training, and leaves nothing on the model, in its
    optimizer or in a checkpoint. It records several calls of `fit` with the same
    trainable variables. `recording(model)` records `train_on_batch`.

    Args:
        every: Positive integer. Record updates number `0`, `every`, `2 * every`, ...
            The number is `optimizer.iterations` before the update: row `s` belongs to
            the weights after `s` updates. The updates in between compute no norm.
        by: One column for each trainable `"variable"`, `"layer"` (all its variables
            together) or `"block"`: the outermost layer around variables, such as a
            residual block or a single layer. The blocks of a nested model are columns
            of their own.
        filepath: A `.csv` file that grows while training runs, with the columns of
            `to_frame`; the attributes read it, and nothing stays in memory. A killed
            process loses at most the records of the last call of the train step. In a
            file with as many columns, the rows before the first new step stay, so
            resumed training appends to it; any other file is replaced.
        layers: A shell pattern (`"stage1*"`) or several, for the names or paths of the
            layers to measure; None measures all. A pattern that matches a block or a
            nested model selects every layer in it. Other layers cost nothing.
        ratios: Whether to record `update_ratios` as well.
        clipped: Whether to record `clipped_norms` as well.
        micro_batches: Whether to record `micro_batch_norms` as well, for `noise_scale`.
            The optimizer must have `gradient_accumulation_steps`.
        global_norm: Whether the last column is `"global_norm"`, the norm of all
            measured gradients together, to which `global_clipnorm` applies.
        alert: True, or a pair of norms `(vanishing, exploding)`: one `UserWarning` of
            each kind in each `fit` when the gradient of a whole layer is below the
            first in two records in a row, above the second, or not finite. True stands
            for `(1e-7, 1e3)`. The warning is issued when records are read: every 64
            steps, with `filepath` after each record, and at the end.
        stop: Whether an alert also ends `fit`.
        tensorboard_dir: A folder for scalar summaries: `gradient_norm/<name>`, and the
            other columns of `to_frame`. Needs the extra `tensorboard`.
        on_record: A function called with each record, a dictionary from columns to
            numbers, and its step, when the record is read. `mlflow.log_metrics` and
            `wandb.log` are such functions.

    Attributes:
        names: Names of the columns in forward order: variable or layer paths.
        steps: Step numbers, an int64 array of shape `(n,)`.
        norms: Norms, a float32 array of shape `(n, len(names))`. NaN stands for a
            gradient that is NaN, and for a variable that the loss does not depend on
            (0 on JAX, which gives it a gradient of zeros).
        update_ratios: With `ratios`, an array like `norms`, else None: the norm of the
            whole update (with clipping, momentum, learning rate and weight decay) over
            the norm of the weights before it. Infinity for weights that were all zero,
            NaN if they stayed zero.
        clipped_norms: With `clipped`, an array like `norms`, else None: the norms after
            the optimizer's clipping.
        micro_batch_norms: With `micro_batches`, an array like `norms`, else None: the
            norms of the gradient of the last accumulated batch alone.

    Raises:
        ValueError: If an argument is outside its range; at the start of `fit`, if the
            model has no optimizer, other variables than in the last `fit` or no layer
            that `layers` matches, or `clipped` or `micro_batches` does not suit it.
        ImportError: If `tensorboard_dir` is given and tensorboard is not installed.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_residual import GradientNormCallback

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
        limits = arguments.alert_limits(alert, stop)
        arguments.check_outputs(tensorboard_dir, on_record)
        self._settings = Settings(
            self.every, arguments.layer_patterns(layers), ratios, clipped, micro_batches
        )
        self.by = by
        self.filepath = filepath
        self.layers = layers
        self.alert = alert
        self.tensorboard_dir = tensorboard_dir
        self.on_record = on_record
        self._output = Output(
            by,
            global_norm,
            list(compress(PREFIXES, (clipped, micro_batches, ratios))),
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

        Returns:
            A context manager that gives this callback.

        Raises:
            ValueError: As at the start of `fit`.

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
        """Returns a callback with the record of a file, to read it.

        The file does not store the settings: to record more, make a new callback.

        Args:
            path: A `.csv` or `.npz` file that `save` or `filepath` wrote.

        Raises:
            ValueError: If it is another kind of file.
            FileNotFoundError: If there is no such file.
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
        # On JAX `self.model` writes back the weights, which `train_on_batch` holds.
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
