"""What single layers compute in a forward pass, seen or replaced for a while."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

# A function of the layer's own `call` that returns what runs in its place.
Replacement = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def replaced_call(
    layer: keras.layers.Layer, replacement: Replacement
) -> Iterator[None]:
    """Scope in which a layer runs something else, wherever it stands in a model.

    A functional model of other outputs would reach only the layers at its top: not
    those inside a block, a nested model or a `TransferModel`.
    """
    # Written past `__setattr__`, which would track the function.
    attributes = vars(layer)
    outer = attributes.get("call")
    attributes["call"] = replacement(layer.call)
    try:
        yield
    finally:
        if outer is None:
            del attributes["call"]
        else:
            attributes["call"] = outer


@contextmanager
def replaced_calls(
    replacements: Sequence[tuple[keras.layers.Layer, Replacement]],
) -> Iterator[None]:
    """Scope of several replaced calls; of one layer the last is the outermost."""
    with ExitStack() as stack:
        for layer, replacement in replacements:
            stack.enter_context(replaced_call(layer, replacement))
        yield
