"""Puts a recorder of gradient norms into the train step of a running `fit()`.

Every Keras trainer ends its train step in `optimizer.apply(gradients, ...)`, and what
is assigned there to a variable becomes part of the compiled step. The probe puts its
own function in front of `apply`, but only while a train step runs: before and after
each call of `model.train_function` the optimizer is the user's own, so whatever is
saved, loaded or raised between two steps never meets the probe.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from keras_residual.callbacks import _backend
from keras_residual.callbacks._norm_recorder import NormRecorder, Settings


class GradientProbe:
    """Connects a `NormRecorder` with the `fit` of a model.

    Args:
        model: A compiled `keras.Model` about to run its first training batch.
        settings: What to measure, and when.
    """

    def __init__(self, model: keras.Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings
        self._optimizer = _innermost_optimizer(model)
        self.recorder = NormRecorder(model, self._optimizer, settings)
        self._armed = False
        self._released = True
        self._shared = False
        self._history: Any = None
        self._original: Any = None
        self._hooked: Any = None
        # One object for all accesses, so that `is` recognises it on the model.
        self._train_function = self._run_train_function

    def fits(self, model: keras.Model, settings: Settings) -> bool:
        """Whether what was compiled for an earlier `fit` serves this one too."""
        return (
            model is self._model
            and settings == self._settings
            and not self._shared
            # Compiling the model again, or its train function, puts another one here.
            and model.train_function is self._original
            and _innermost_optimizer(model) is self._optimizer
            and list(map(id, model.trainable_variables))
            == list(map(id, self.recorder.trainable))
        )

    def install(self) -> None:
        """Takes the place of the model's train function."""
        self.recorder.expect_other_training()
        # TensorFlow builds some models only while the first step is traced.
        if self._model.built and not self.recorder.buffers:
            self.recorder.create_buffers()
        self._original = self._model.train_function
        below = _probe_behind(self._original)
        if below is not None:
            with self._attached():
                below._share()
            self._hooked = self._original
            self._shared = True
        elif self._hooked is None:
            self._compile()
        self._armed = False
        self._released = False
        self._model.train_function = self._train_function

    def release(self) -> None:
        """Gives the model its own train function back."""
        self._released = True
        owner = _probe_behind(self._model.train_function)
        while owner is not None and owner._released:
            self._model.train_function = owner._original
            owner = _probe_behind(self._model.train_function)

    def _compile(self) -> None:
        # What was compiled before holds no probe, and stays as it is for the next
        # `fit` without one.
        installed = self._model.train_function
        with self._attached(), _backend.untraced_train_step(self._model):
            # Not `force=True`, which a model's own method need not know.
            self._model.train_function = None
            self._model.make_train_function()
        self._hooked = self._model.train_function
        self._model.train_function = installed

    def _share(self) -> None:
        """Makes room in the compiled step for another probe of the same `fit`."""
        self._shared = True
        below = _probe_behind(self._original)
        if below is None:
            self._compile()
        else:
            with self._attached():
                below._share()

    def arm(self) -> None:
        """Announces that the next train step belongs to the probe's own `fit`."""
        if self._released:
            # Another callback of this `fit` called `train_on_batch`.
            self.install()
        self._armed = True
        # Each `fit` has a history of its own.
        self._history = getattr(self._model, "history", None)

    def _run_train_function(self, *arguments: Any) -> Any:
        is_own_fit = self._history is getattr(self._model, "history", None)
        if not (self._armed and is_own_fit):
            # This call is of `train_on_batch`, or of training after an exception that
            # ended the probe's `fit` without `on_train_end`: neither may hold anything
            # of the probe.
            self.release()
            return self._model.train_function(*arguments)
        self._armed = False
        self.recorder.count_steps(self._model.steps_per_execution)
        with self._attached():
            if _backend.is_stateless():
                return self._run_stateless(*arguments)
            return self._hooked(*arguments)

    def _run_stateless(self, state: Any, iterator: Any) -> Any:
        trainable, non_trainable, optimizer, metrics = state
        values = [buffer.value for buffer in self.recorder.buffers]
        # A MultiOptimizer lists the variables of its optimizers after its own.
        buffers = {id(buffer): buffer for buffer in self.recorder.buffers}
        tracked = [buffers.get(id(v)) for v in self._model.optimizer.variables]
        own = iter(optimizer)
        optimizer = [next(own) if b is None else b.value for b in tracked]
        state = (trainable, non_trainable, optimizer, metrics)
        try:
            logs, state = self._hooked(state, iterator)
        except BaseException:
            if any(value.is_deleted() for value in values):
                # The failed step had already consumed the donated buffers.
                self.recorder.create_buffers()
            raise
        trainable, non_trainable, optimizer, metrics = state
        left = []
        for buffer, value in zip(tracked, optimizer, strict=True):
            if buffer is None:
                left.append(value)
            else:
                buffer.assign(value)
        return logs, (trainable, non_trainable, left, metrics)

    @contextmanager
    def _attached(self) -> Iterator[None]:
        optimizer = self._optimizer
        # Written past `__setattr__`, which would track the function.
        attributes = vars(optimizer)
        outer = attributes.get("apply")
        apply = optimizer.apply

        def record_and_apply(grads: Any, trainable_variables: Any = None) -> Any:
            grads = list(grads)
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
            if not grads:
                return apply(grads, trainable_variables)
            return self.recorder.record(
                grads, trainable_variables, lambda: apply(grads, trainable_variables)
            )

        tracked = self.recorder.buffers if _backend.is_stateless() else []
        try:
            attributes["apply"] = record_and_apply
            for buffer in tracked:
                # As state of the optimizer the buffers travel through the step. No
                # public method takes a variable out again.
                optimizer._track_variable(buffer)
            yield
        finally:
            for buffer in tracked:
                optimizer._untrack_variable(buffer)
            if outer is None:
                attributes.pop("apply", None)
            else:
                attributes["apply"] = outer


def remove_stale_probes(model: keras.Model) -> None:
    """Releases what an exception left on the model, before a new `fit` begins."""
    owner = _probe_behind(getattr(model, "train_function", None))
    while owner is not None:
        owner.release()
        owner = _probe_behind(model.train_function)


def _probe_behind(function: Any) -> GradientProbe | None:
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, GradientProbe) else None


def _innermost_optimizer(model: keras.Model) -> Any:
    optimizer = model.optimizer
    # Inside a LossScaleOptimizer gradients arrive unscaled, and steps that it skips
    # because of overflow do not arrive at all.
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer
