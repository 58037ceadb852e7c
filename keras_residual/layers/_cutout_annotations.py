"""What patches of Cutout do to segmentation masks and bounding boxes.

Arrays are NumPy's, the backend's, or TensorFlow's inside `tf.data`. `ops` is a
namespace of array functions with the signatures of `keras.ops`.
"""

from typing import Any

import keras

from keras_residual.layers import _cutout_backend as backend
from keras_residual.layers._cutout_checks import check_dtype
from keras_residual.layers._cutout_patches import Rule


def affected(rule: Rule, elements: dict) -> dict:
    """The entries that are erased or follow what is erased."""
    if "images" not in elements:
        raise ValueError(
            '`inputs` must have the key "images" if it is a dict. '
            f"Received: keys={list(elements)!r}"
        )
    names = ["images"]
    if rule.mask_fill is not None and "segmentation_masks" in elements:
        names.append("segmentation_masks")
    if rule.min_visible is not None and "bounding_boxes" in elements:
        names.append("bounding_boxes")
    return {name: elements[name] for name in names}


def images_of(inputs: Any) -> Any:
    """The images of a dict, or the images that are given."""
    return inputs["images"] if isinstance(inputs, dict) else inputs


def erase(rule: Rule, state: Any, inputs: Any) -> Any:
    """Erases in a single image or a batch, or in the `affected` entries of a dict."""
    images = images_of(inputs)
    if len(images.shape) == 3:
        batch = keras.tree.map_structure(lambda x: x[None], inputs)
        return keras.tree.map_structure(lambda x: x[0], erase(rule, state, batch))
    erased = backend.erase(rule, state, images)
    if not isinstance(inputs, dict):
        return erased
    outputs = {**inputs, "images": erased}
    if rule.mask_fill is not None and "segmentation_masks" in inputs:
        masks = inputs["segmentation_masks"]
        _check_masks(rule, masks, images)
        outputs["segmentation_masks"] = _fill(rule, rule.mask_fill, state, masks)
    if rule.min_visible is not None and "bounding_boxes" in inputs:
        hidden = _hidden_pixels(rule, state, images)
        boxes = inputs["bounding_boxes"]
        outputs["bounding_boxes"] = _drop_boxes(rule, rule.min_visible, boxes, hidden)
    return outputs


def _fill(rule: Rule, fill: float, state: Any, masks: Any) -> Any:
    """Fills masks `(batch, height, width)`, with or without channels.

    The state draws the same patches as for images of this height and width.
    """
    rule = rule._replace(fill=fill, value_range=None)
    if len(masks.shape) == 4:
        return backend.erase(rule, state, masks)
    rule = rule._replace(data_format="channels_last")
    return backend.erase(rule, state, masks[..., None])[..., 0]


def _check_masks(rule: Rule, masks: Any, images: Any) -> None:
    first = 1 if rule.data_format == "channels_last" else 2
    size = tuple(images.shape[first : first + 2])
    first = first if len(masks.shape) == 4 else 1
    same = all(
        None in (own, other) or own == other
        for own, other in zip(masks.shape[first : first + 2], size, strict=True)
    )
    if len(masks.shape) not in (3, 4) or not same:
        raise ValueError(
            "`segmentation_masks` must have the height and width of the images, "
            f"{size}. Received: shape={tuple(masks.shape)}"
        )
    check_dtype(
        rule.mask_fill, None, keras.backend.standardize_dtype(masks.dtype), "mask_fill"
    )


def _hidden_pixels(rule: Rule, state: Any, images: Any) -> Any:
    """Ones `(batch, height, width)` of float32 where a patch lies, otherwise zeros."""
    last = rule.data_format == "channels_last"
    one_channel = images[..., 0] if last else images[:, 0]
    ops = backend.ops_for(images)
    nothing = ops.cast(ops.zeros_like(one_channel), "float32")
    return _fill(rule, 1.0, state, nothing)


def _drop_boxes(
    rule: Rule, min_visible: float, bounding_boxes: dict, hidden: Any
) -> dict:
    """The boxes, with -1 everywhere in those of which too little can be seen.

    As in Keras, boxes of -1 with the label -1 are none.

    Args:
        rule: The format of the boxes.
        min_visible: Smallest share of a box's area in the image that must be visible.
        bounding_boxes: `"boxes"` of shape `(batch, boxes, 4)`, and one value a box in
            each other entry.
        hidden: What `_hidden_pixels` returns.
    """
    boxes = bounding_boxes["boxes"]
    ops = backend.ops_for(boxes)
    height, width = ops.shape(hidden)[1:]
    top, bottom, left, right = _corners(ops, boxes, rule, height, width)
    # How much of each row and column of pixels a box covers, from 0 to 1.
    rows = _covered(ops, top, bottom, height)
    columns = _covered(ops, left, right, width)
    area = ops.sum(rows, -1) * ops.sum(columns, -1)
    hidden_area = ops.sum(ops.matmul(rows, hidden) * columns, -1)
    keep = hidden_area <= (1 - min_visible) * area
    return {
        name: _where(ops, keep[..., None] if name == "boxes" else keep, value)
        for name, value in bounding_boxes.items()
    }


def _corners(ops: Any, boxes: Any, rule: Rule, height: Any, width: Any) -> tuple:
    """Top, bottom, left and right `(batch, boxes)` in pixels."""
    box_format = str(rule.bounding_box_format)
    boxes = ops.cast(boxes, "float32")
    first, second = boxes[..., :2], boxes[..., 2:]
    if box_format.endswith(("wh", "hw")):
        first = first - second / 2 if "center" in box_format else first
        second = first + second
    y, x = (0, 1) if box_format.endswith(("yxyx", "yxhw")) else (1, 0)
    corners = first[..., y], second[..., y], first[..., x], second[..., x]
    if not box_format.startswith("rel_"):
        return corners
    rows, columns = ops.cast(height, "float32"), ops.cast(width, "float32")
    top, bottom, left, right = corners
    return top * rows, bottom * rows, left * columns, right * columns


def _covered(ops: Any, begin: Any, end: Any, extent: Any) -> Any:
    pixel = ops.cast(ops.arange(extent, dtype="int32"), "float32")
    overlap = ops.minimum(end[..., None], pixel + 1) - ops.maximum(
        begin[..., None], pixel
    )
    return ops.maximum(overlap, ops.zeros_like(overlap))


def _where(ops: Any, keep: Any, value: Any) -> Any:
    dtype = keras.backend.standardize_dtype(value.dtype)
    if dtype.startswith("uint"):
        raise ValueError(
            "`bounding_boxes` must have entries of a signed dtype: boxes that are "
            f"dropped get the label -1. Received: dtype={dtype}"
        )
    return ops.where(keep, value, ops.cast(-1, dtype))
