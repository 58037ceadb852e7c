"""How images become batches: the arguments of `ImageNetFolder.dataset`, checked."""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any

from keras_residual.layers._checks import (
    check_positive_integer,
    check_seed,
    check_share,
    checked_data_format,
    is_number,
)


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """Arguments that `ImageNetFolder.dataset` documents.

    Raises:
        ValueError: If one is outside its range.
    """

    image_size: int = 224
    batch_size: int = 32
    training: bool = False
    seed: int = 0
    first_step: int | None = None
    shard: tuple[int, int] = (0, 1)
    crop_area: tuple[float, float] | None = (0.08, 1.0)
    flip: bool = True
    center_fraction: float = 0.875
    augmentation: Callable[[Any], Any] | None = None
    balanced: bool = False
    data_format: str | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        image_size = check_positive_integer("image_size", self.image_size)
        batch_size = check_positive_integer("batch_size", self.batch_size)
        _check_first_step(self.first_step)
        index, count = _checked_shard(self.shard, batch_size)
        area = None if self.crop_area is None else _checked_area(self.crop_area)
        check_share("center_fraction", self.center_fraction)
        if self.augmentation is not None and not callable(self.augmentation):
            raise ValueError(
                "`augmentation` must be a layer or function of a batch of images. "
                f"Received: augmentation={self.augmentation!r}"
            )
        if self.balanced and not self.training:
            raise ValueError(
                "`balanced` must be False without `training`: it draws images. "
                f"Received: balanced={self.balanced!r}"
            )
        data_format = checked_data_format(self.data_format)
        # Python types, which TensorFlow's operations take, in place of NumPy's.
        vars(self).update(
            image_size=image_size,
            batch_size=batch_size,
            training=bool(self.training),
            seed=int(self.seed),
            shard=(index, count),
            crop_area=area,
            flip=bool(self.flip),
            center_fraction=float(self.center_fraction),
            balanced=bool(self.balanced),
            data_format=data_format,
        )


def _check_first_step(first_step: Any) -> None:
    try:
        valid = first_step is None or operator.index(first_step) >= 0
    except TypeError:
        valid = False
    if not valid or isinstance(first_step, bool):
        raise ValueError(
            "`first_step` must be None or an integer of 0 or greater. "
            f"Received: first_step={first_step!r}"
        )


def _checked_shard(shard: Any, batch_size: int) -> tuple[int, int]:
    try:
        index, count = map(operator.index, shard)
    except (TypeError, ValueError):
        index, count = 0, 0
    if not 0 <= index < count:
        raise ValueError(
            "`shard` must be (index, count), integers with 0 <= index < count. "
            f"Received: shard={shard!r}"
        )
    if batch_size % count:
        raise ValueError(
            f"`batch_size` must be a multiple of the {count} readers of `shard`. "
            f"Received: batch_size={batch_size!r}"
        )
    return index, count


def _checked_area(crop_area: Any) -> tuple[float, float]:
    try:
        low, high = crop_area
    except (TypeError, ValueError):
        low = high = math.nan
    if not is_number(low) or not is_number(high) or not 0 < low <= high <= 1:
        raise ValueError(
            "`crop_area` must be (smallest, largest), 0 < smallest <= largest <= 1, or "
            "None. "
            f"Received: crop_area={crop_area!r}"
        )
    return float(low), float(high)
