"""Warns of gradients that vanish, explode or are not finite."""

import warnings
from collections.abc import Sequence

import numpy as np

from keras_residual.callbacks._columns import group_norms, group_presence

# Smaller steps are lost in the rounding of float32 when they are added to weights of
# size one. The limit is also the epsilon of Keras's Adam.
VANISHING = 1e-7
# With a learning rate of 0.001 such a step moves a layer by one, which is the norm of
# all weights of many layers.
EXPLODING = 1e3


class Alert:
    """Looks at the norms of whole layers, and warns once of each kind.

    Whole layers, because a single variable may have no gradient by design: the bias of
    a convolution before a batch normalization has none.

    Args:
        limits: The norms below and above which a layer is reported.
        layers: Names of the layers in forward order.
        columns: The layer of each variable.
    """

    def __init__(
        self,
        limits: tuple[float, float],
        layers: Sequence[str],
        columns: Sequence[int],
    ) -> None:
        self._vanishing, self._exploding = limits
        self._layers = layers
        self._columns = columns
        self._was_low = np.zeros(len(layers), "bool")
        self._warned: set[str] = set()

    def check(self, steps: np.ndarray, norms: np.ndarray) -> bool:
        """Takes step numbers `(n,)` and norms of variables `(n, variables)`.

        Returns:
            Whether there is an alert, even if its kind was reported before.
        """
        present = group_presence(norms, self._columns)
        values = group_norms(norms, self._columns)
        low = present & (values < self._vanishing)
        # In the first step only, a block whose last scale starts at zero has gradients
        # of zero.
        before = np.concatenate([self._was_low[None], low[:-1]])
        self._was_low = low[-1]
        finite = np.isfinite(values)
        found = {
            "not finite": present & ~finite,
            f"above {self._exploding:g}": finite & (values > self._exploding),
            f"below {self._vanishing:g} in two records": low & before,
        }
        for kind, places in found.items():
            rows = np.flatnonzero(places.any(axis=1))
            if len(rows) and kind not in self._warned:
                self._warned.add(kind)
                row = rows[0]
                self._warn(kind, steps[row], values[row], np.flatnonzero(places[row]))
        return any(places.any() for places in found.values())

    def _warn(
        self, kind: str, step: int, values: np.ndarray, places: np.ndarray
    ) -> None:
        if kind == "not finite":
            # Backward from the loss, all layers after the first bad one are bad too.
            worst, which = places[-1], "nearest the output"
        elif kind.startswith("above"):
            worst, which = places[values[places].argmax()], "largest"
        else:
            worst, which = places[values[places].argmin()], "smallest"
        warnings.warn(
            f"The gradient norm at step {step} is {kind} in {len(places)} of "
            f"{len(self._layers)} layers; {which}: {self._layers[worst]} "
            f"({values[worst]:.3g}).",
            stacklevel=2,
        )
