"""Puts recorders of gradient norms into the train step of a running `fit()`.

Every Keras trainer ends its train step in `optimizer.apply(gradients, ...)`, and what
is assigned there to a variable becomes part of the compiled step. The probe puts its
own function in front of `apply`, but only while a train step runs: before and after
each call of `model.train_function` the optimizer is the user's own, so whatever is
saved, loaded or raised between two steps never meets the probe.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from keras_residual._calls import replaced_function
from keras_residual._innermost import innermost
from keras_residual.callbacks import _backend
from keras_residual.callbacks._recorder import GradientRecorder


class GradientProbe:
    """Connects `GradientRecorder`s with the `fit` of a model.

    All callbacks of one `fit` share a probe, so that one compiled step holds all of
    their recorders.

    Args:
        model: A compiled `keras.Model` about to run its first training batch.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._optimizer = innermost(model.optimizer)
        self._recorders: list[GradientRecorder] = []
        # What the compiled step holds.
        self._compiled_for: list[GradientRecorder] = []
        self._compiled: Any = None
        self._original: Any = model.train_function
        self._armed = self._installed = False
        # Called before each step outside of `fit`, where callbacks are not called.
        self._before_step: dict[int, Callable[[], None]] = {}
        self._history: Any = None
        # One object for all accesses, so that `is` recognises it on the model.
        self._train_function = self._run_train_function

    def fits(self, model: keras.Model) -> bool:
        """Whether what was compiled for an earlier `fit` serves this one too."""
        return (
            model is self._model
            # Compiling the model again, or its train function, puts another one here.
            and model.train_function is self._original
            and innermost(model.optimizer) is self._optimizer
        )

    def join(self, recorder: GradientRecorder) -> None:
        """Adds a recorder at the beginning of its `fit`."""
        if not self._installed:
            # Those of a `fit` that an exception ended did not leave.
            self._recorders = []
        self._install(recorder)

    @property
    def is_outside_of_fit(self) -> bool:
        """Whether a block records the steps that run in it."""
        return bool(self._before_step)

    def announce(self, recorder: GradientRecorder, before_step: Callable) -> None:
        """Calls a function before each train step, until the recorder leaves."""
        self._before_step[id(recorder)] = before_step

    def leave(self, recorder: GradientRecorder) -> None:
        """Takes a recorder out; the last one gives the model its own function back."""
        self._before_step.pop(id(recorder), None)
        self._recorders = [r for r in self._recorders if r is not recorder]
        if not self._recorders:
            self.release()

    def release(self) -> None:
        """Gives the model its own train function back."""
        self._installed = False
        if probe_of(self._model) is self:
            self._model.train_function = self._original

    def arm(self, recorder: GradientRecorder) -> None:
        """Announces that the next train step belongs to the recorder's own `fit`."""
        # Released when another callback of this `fit` called `train_on_batch`.
        if not self._installed or recorder not in self._recorders:
            self._install(recorder)
        if self._recorders != self._compiled_for:
            self._compile()
        self._armed = True
        # Each `fit` has a history of its own.
        self._history = getattr(self._model, "history", None)

    def _install(self, recorder: GradientRecorder) -> None:
        # TensorFlow builds some models only while the first step is traced.
        if self._model.built and not recorder.buffers:
            recorder.create_buffers()
        if recorder not in self._recorders:
            self._recorders = [*self._recorders, recorder]
        # Steps without a recorder may have run before.
        for stale in [recorder] if self._installed else self._recorders:
            stale.expect_other_training()
        if not self._installed:
            self._original = self._model.train_function
            self._model.train_function = self._train_function
            self._armed, self._installed = False, True

    def _compile(self) -> None:
        # The function compiled before holds no recorder and stays for the next `fit`
        # without one.
        installed = self._model.train_function
        with self._attached(), _backend.untraced_train_step(self._model):
            # Not `force=True`, which a model's own method need not know.
            self._model.train_function = None
            self._model.make_train_function()
        self._compiled = self._model.train_function
        self._compiled_for = self._recorders
        self._model.train_function = installed

    def _run_train_function(self, *arguments: Any) -> Any:
        for before_step in self._before_step.values():
            before_step()
        is_own_fit = self._history is getattr(self._model, "history", None)
        if not (self._armed and is_own_fit):
            # `train_on_batch` calls, or training after an exception ended the probe's
            # `fit` without `on_train_end`. Neither may run anything of the probe.
            self.release()
            return self._model.train_function(*arguments)
        self._armed = False
        for recorder in self._recorders:
            recorder.count_steps(self._model.steps_per_execution)
        with self._attached():
            if _backend.is_stateless():
                return self._run_stateless(*arguments)
            return self._compiled(*arguments)

    def _run_stateless(self, state: Any, iterator: Any) -> Any:
        trainable, non_trainable, optimizer, metrics = state
        # A MultiOptimizer lists the variables of its optimizers after its own.
        buffers = {id(buffer): buffer for buffer in self._buffers()}
        tracked = [buffers.get(id(v)) for v in self._model.optimizer.variables]
        own = iter(optimizer)
        optimizer = [next(own) if b is None else b.value for b in tracked]
        state = (trainable, non_trainable, optimizer, metrics)
        try:
            logs, state = self._compiled(state, iterator)
        except BaseException:
            for recorder in self._recorders:
                if any(buffer.value.is_deleted() for buffer in recorder.buffers):
                    # JAX had donated the buffers to the failed step.
                    recorder.create_buffers()
            raise
        trainable, non_trainable, optimizer, metrics = state
        left = []
        for buffer, value in zip(tracked, optimizer, strict=True):
            if buffer is None:
                left.append(value)
            else:
                buffer.assign(value)
        return logs, (trainable, non_trainable, left, metrics)

    def _buffers(self) -> list[Any]:
        return [buffer for r in self._recorders for buffer in r.buffers]

    @contextmanager
    def _attached(self) -> Iterator[None]:
        def recording(apply: Callable[..., Any]) -> Callable[..., Any]:
            def record_and_apply(grads: Any, trainable_variables: Any = None) -> Any:
                grads = list(grads)
                if trainable_variables is not None:
                    trainable_variables = list(trainable_variables)
                arguments = grads, trainable_variables
                result: Callable[[], Any] = partial(apply, *arguments)
                for recorder in self._recorders if grads else ():
                    result = partial(recorder.record, *arguments, result)
                return result()

            return record_and_apply

        optimizer = self._optimizer
        tracked = self._buffers() if _backend.is_stateless() else []
        with replaced_function(optimizer, "apply", recording):
            try:
                for buffer in tracked:
                    # As state of the optimizer the buffers travel through the step. No
                    # public method takes a variable out again.
                    optimizer._track_variable(buffer)
                yield
            finally:
                for buffer in tracked:
                    optimizer._untrack_variable(buffer)


def probe_for(model: keras.Model, earlier: GradientProbe | None) -> GradientProbe:
    """The probe of a `fit`: the installed one, the earlier one, or a new one."""
    installed = probe_of(model)
    if installed is not None:
        return installed
    if earlier is not None and earlier.fits(model):
        return earlier
    return GradientProbe(model)


def probe_of(model: keras.Model) -> GradientProbe | None:
    """The probe that is installed on a model."""
    owner = getattr(getattr(model, "train_function", None), "__self__", None)
    return owner if isinstance(owner, GradientProbe) else None
