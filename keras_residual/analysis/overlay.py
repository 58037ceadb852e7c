"""Heat maps on top of their images."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_residual.layers._checks import check_probability


def overlay(
    images: ArrayLike, maps: ArrayLike, strength: float = 0.6
) -> NDArray[np.uint8]:
    """Lays heat maps over images, as colours that are denser where the map is higher.

    It takes the colours from matplotlib, of the extra `analysis`.

    Args:
        images: Images `(n, height, width, 3)`, values 0 to 255.
        maps: Heat maps `(n, height, width)` from 0 to 1, as
            [`grad_cam`][keras_residual.analysis.grad_cam] returns them.
        strength: Float in `[0, 1]`. Share of the image that the colour hides where the
            map is 1.

    Returns:
        Images `(n, height, width, 3)`, uint8.

    Raises:
        ValueError: If a shape or a value is wrong.
        ImportError: If matplotlib is not installed.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import overlay

        maps = np.linspace(0, 1, 32) * np.ones((1, 32, 1))
        print(overlay(np.full((1, 32, 32, 3), 128), maps).shape)  # (1, 32, 32, 3)
        ```
    """
    check_probability("strength", strength)
    photos = np.asarray(images, dtype=np.float64)
    heat = np.asarray(maps, dtype=np.float64)
    if (
        photos.ndim != 4
        or photos.shape[3] != 3
        or not ((photos >= 0) & (photos <= 255)).all()
    ):
        raise ValueError(
            "`images` must have the shape (n, height, width, 3) and values from 0 to "
            f"255. Received: shape {photos.shape}"
        )
    if heat.shape != photos.shape[:3] or not ((heat >= 0) & (heat <= 1)).all():
        raise ValueError(
            f"`maps` must have the shape {photos.shape[:3]} and values from 0 to 1. "
            f"Received: shape {heat.shape}"
        )
    from matplotlib import colormaps

    colours = 255 * colormaps["inferno"](heat)[..., :3]
    share = strength * heat[..., None]
    return np.round((1 - share) * photos + share * colours).astype(np.uint8)
