"""What the gradient probe does differently on TensorFlow, JAX and PyTorch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import keras
from keras import ops

from keras_residual._calls import replaced_function

# The smallest normal float32: XLA flushes smaller numbers to zero.
_TINY = 1.1754944e-38
# Above this sum, squares flushed to zero change a sum of ten million of them by less
# than the rounding of float32.
_SAFE_SUM = 1e-23


def is_stateless() -> bool:
    """Whether a train step takes and returns the variables that it writes."""
    return keras.backend.backend() == "jax"


def variable_creation(model: keras.Model) -> AbstractContextManager[Any]:
    """Scope for variables that a train step writes, even while it is traced."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    stack = ExitStack()
    stack.enter_context(tf.init_scope())
    stack.enter_context(model.distribute_strategy.scope())
    return stack


def clips_each_replica(model: keras.Model) -> bool:
    """Whether the optimizer clips the gradients of single replicas."""
    if keras.backend.backend() != "tensorflow":
        return False
    return model.distribute_strategy.num_replicas_in_sync > 1


def untraced_train_step(model: keras.Model) -> AbstractContextManager[None]:
    """Scope in which `make_train_function` compiles a train step never seen before.

    `jax.jit` shares its traces between equal bound methods, so `model.train_step` could
    bring back the trace of an earlier `fit`, with another `every`.
    """
    if keras.backend.backend() != "jax":
        return nullcontext()
    return replaced_function(
        model, "train_step", lambda step: lambda state, data: step(state, data)
    )


def steps_are_python() -> bool:
    """Whether the code of a train step runs at each step instead of being traced."""
    return keras.backend.backend() == "torch"


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps a function that counts in Python out of `torch.compile`."""
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)


def snapshot(variables: list[Any]) -> list[Any]:
    """The values that the variables have now, whatever is assigned to them later."""
    if keras.backend.backend() == "torch":
        return [variable.value.detach().clone() for variable in variables]
    if keras.backend.backend() == "tensorflow":
        # Keras's conversion gives back the variable itself.
        return [variable.value.read_value() for variable in variables]
    return [variable.value for variable in variables]


def when(due: Any, compute: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """`ops.cond` that traces no second branch where `due` is simply True."""
    return compute() if due is True else ops.cond(due, compute, otherwise)


def summed_norms(due: Any, count: int, gradients: Callable[[], list[Any]]) -> Any:
    """Norms of the gradients of the whole batch, or zeros where they are not due.

    Args:
        due: True, or a boolean tensor.
        count: How many gradients there are.
        gradients: Called under the condition. On TensorFlow a train step has those of
            one replica, to be added up.
    """

    def nothing() -> Any:
        return ops.zeros((count,), "float32")

    if keras.backend.backend() != "tensorflow":
        return when(due, lambda: l2_norms(gradients()), nothing)
    import tensorflow as tf

    def dense() -> list[Any]:
        # A sparse gradient may hold a row several times, to be added before squaring.
        return [tf.convert_to_tensor(gradient) for gradient in gradients()]

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return when(due, lambda: l2_norms(dense()), nothing)
    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, dense())
        return when(due, lambda: l2_norms(summed), nothing)

    def over_replicas(strategy: Any, due: Any, *tensors: Any) -> Any:
        replicas = strategy.experimental_local_results
        return when(
            due if due is True else replicas(due)[0],
            lambda: l2_norms([tf.add_n(replicas(tensor)) for tensor in tensors]),
            nothing,
        )

    # A replica cannot add up gradients under a condition, the strategy can.
    return context.merge_call(over_replicas, args=(due, *dense()))


def l2_norms(tensors: list[Any]) -> Any:
    """L2 norms of tensors of any shape and float type, as a float32 vector.

    Squares of numbers below 1e-19, as in the vanishing gradients of deep networks,
    leave the range of float32: their norms take float64 or scaled numbers.
    """
    if keras.backend.backend() == "torch" and tensors[0].device.type != "mps":
        # Eager PyTorch pays by the operation, so this is one for each gradient.
        import torch

        return torch.stack(
            [torch.linalg.vector_norm(t, dtype=torch.float64) for t in tensors]
        ).to(torch.float32)
    tensors = [ops.cast(tensor, "float32") for tensor in tensors]
    sums = ops.stack([ops.sum(ops.square(tensor)) for tensor in tensors])
    in_range = ops.logical_and(sums > _SAFE_SUM, ops.isfinite(sums))
    # Scaling costs a second pass and a kernel for each tensor, 5 % of a step of
    # ResNet-20 on JAX, so it is kept for the steps that need it.
    return ops.cond(
        ops.all(in_range), lambda: ops.sqrt(sums), lambda: _scaled_norms(tensors)
    )


def _scaled_norms(tensors: list[Any]) -> Any:
    largest = ops.stack([ops.max(ops.abs(tensor)) for tensor in tensors])
    usable = ops.logical_and(ops.isfinite(largest), largest >= _TINY)
    scale = ops.where(usable, largest, ops.ones_like(largest))
    sums = [ops.sum(ops.square(t / scale[i])) for i, t in enumerate(tensors)]
    return scale * ops.sqrt(ops.stack(sums))
