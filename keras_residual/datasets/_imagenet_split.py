"""Draws validation images from the training images, for data without them."""

import numpy as np

from keras_residual.layers._checks import is_number


def check_validation_split(share: float) -> None:
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(
            "`validation_split` must be None or a number in (0, 1). "
            f"Received: validation_split={share!r}"
        )


def drawn(
    labels: np.ndarray, class_ids: list[str], share: float, seed: int
) -> np.ndarray:
    """Which images validate, True or False for each."""
    counts = np.bincount(labels, minlength=len(class_ids))
    few = [class_ids[label] for label in np.flatnonzero(counts == 1)]
    if few:
        raise ValueError(
            "`validation_split` needs at least two images of each class, but there is "
            f"one of {', '.join(few[:5])}. Received: validation_split={share!r}"
        )
    validates = np.zeros(len(labels), bool)
    # Sorted once: a search for each of a thousand classes is slow.
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for label, members in enumerate(by_class):
        number = min(max(round(share * len(members)), 1), len(members) - 1)
        # A generator for each class makes the classes independent of each other.
        order = np.random.default_rng([seed, label, 1]).permutation(len(members))
        validates[members[order[: max(number, 0)]]] = True
    return validates
