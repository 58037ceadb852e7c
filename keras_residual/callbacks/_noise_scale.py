"""The gradient noise scale from gradient norms of two batch sizes."""

import math

import numpy as np


def noise_scale(
    large: np.ndarray, small: np.ndarray, large_size: int, small_size: int
) -> float:
    """The ratio of the variance of gradients to the square of their mean.

    Args:
        large: Norms `(n, variables)` of gradients of batches of `large_size` examples.
        small: Norms of `small_size` of the examples of each of them.
        large_size: More than `small_size`.
        small_size: Number of examples.
    """
    squares = []
    for norms in (large, small):
        values = norms.astype("float64")
        # The loss does not depend on such a variable.
        values[:, np.isnan(values).all(axis=0)] = 0
        squares.append((values**2).sum(axis=1).mean())
    of_large, of_small = squares
    # Appendix A.1: the squared norm for a batch of b is on average that of the mean
    # gradient plus the variance over b. A mean of ratios would be biased.
    variance = (of_small - of_large) / (1 / small_size - 1 / large_size)
    mean = (large_size * of_large - small_size * of_small) / (large_size - small_size)
    return float(variance / mean) if mean > 0 else math.inf
