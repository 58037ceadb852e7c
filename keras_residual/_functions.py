"""Functions of tensors, compiled and differentiated, on TensorFlow, JAX and PyTorch."""

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function, compiled if the backend compiles, without gradients."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    import torch

    return torch.no_grad()(function)


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that differentiates with respect to a list of tensors.

    Args:
        function: Called with the list and other arguments; returns a scalar and
            auxiliary values.

    Returns:
        A function of the same arguments that returns the scalar, the auxiliary values
        and one gradient for each tensor: None, or zeros on JAX, for a tensor that the
        scalar does not depend on.
    """
    if keras.backend.backend() == "jax":
        import jax

        differentiated = jax.jit(jax.value_and_grad(function, has_aux=True))

        def compute(values: list[Any], *arguments: Any) -> Any:
            (scalar, more), gradients = differentiated(values, *arguments)
            return scalar, more, gradients

    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def compute(values: list[Any], *arguments: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                scalar, more = function(values, *arguments)
            gradients = tape.gradient(scalar, values)
            # A sparse gradient may hold a row several times.
            return (
                scalar,
                more,
                [None if g is None else tf.convert_to_tensor(g) for g in gradients],
            )

    else:
        import torch

        def compute(values: list[Any], *arguments: Any) -> Any:
            # Dropout of Keras draws from PyTorch's global generators.
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices), torch.enable_grad():
                leaves = [v.detach().requires_grad_() for v in values]
                scalar, more = function(leaves, *arguments)
                gradients = torch.autograd.grad(scalar, leaves, allow_unused=True)
            return scalar.detach(), more, list(gradients)

    return compute
