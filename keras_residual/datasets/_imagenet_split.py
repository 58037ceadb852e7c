"""A part of the training images that validates, for trees that have no such part."""

import dataclasses

import numpy as np

from keras_residual.datasets._imagenet_index import Listing
from keras_residual.layers._checks import is_number


def check_validation_split(share: float) -> None:
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(
            "`validation_split` must be None or a number in (0, 1). "
            f"Received: validation_split={share!r}"
        )


def with_validation(listing: Listing, share: float, seed: int) -> Listing:
    """The same images, of which a share of each class is the split "val"."""
    if "val" in listing.names:
        raise ValueError(
            "`validation_split` must be None for a folder that has validation images. "
            f"Received: validation_split={share!r}"
        )
    labels = listing.labels["train"]
    counts = np.bincount(labels, minlength=len(listing.class_ids))
    few = [listing.class_ids[label] for label in np.flatnonzero(counts == 1)]
    if few:
        raise ValueError(
            "`validation_split` needs two images or more of each class, but there is "
            f"one of {', '.join(few[:5])}. Received: validation_split={share!r}"
        )
    validates = np.zeros(len(labels), bool)
    # Sorted by class once: a search for each of a thousand classes takes long.
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for label, members in enumerate(by_class):
        number = min(max(round(share * len(members)), 1), len(members) - 1)
        # A generator for each class, so that the classes do not depend on each other.
        order = np.random.default_rng([seed, label, 1]).permutation(len(members))
        validates[members[order[: max(number, 0)]]] = True
    names = listing.names["train"]
    val = np.flatnonzero(validates).tolist()
    # As in a tree with validation images: in the order of the file names.
    val.sort(key=lambda place: (names[place].rsplit("/")[-1], names[place]))
    train = np.flatnonzero(~validates)
    return dataclasses.replace(
        listing,
        names={
            split: [names[p] for p in ps]
            for split, ps in (("train", train), ("val", val))
        },
        labels={"train": labels[train], "val": labels[val]},
        without_val="",
    )
