"""Functions of single objects, such as a layer's `call`, replaced for a while."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

# A function of an object's own function that returns what runs in its place.
Replacement = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def replaced_function(
    owner: Any, name: str, replacement: Replacement
) -> Iterator[None]:
    """Scope in which an object runs something else under this name."""
    # Set past `__setattr__`, with which Keras would track the function.
    attributes = vars(owner)
    outer = attributes.get(name)
    attributes[name] = replacement(getattr(owner, name))
    try:
        yield
    finally:
        if outer is None:
            attributes.pop(name, None)
        else:
            attributes[name] = outer


@contextmanager
def replaced_calls(
    replacements: Sequence[tuple[keras.layers.Layer, Replacement]],
) -> Iterator[None]:
    """Scope in which layers run something else, wherever they are in a model.

    A functional model of other outputs would reach only the layers at its top: not
    those inside a block, a nested model or a `TransferModel`. Of several replacements
    of one layer the last is the outermost.
    """
    with ExitStack() as stack:
        for layer, replacement in replacements:
            stack.enter_context(replaced_function(layer, "call", replacement))
        yield
