"""Masks and boxes under the patches of Cutout, held against counted pixels."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_residual import Cutout

BOXES = np.array(
    [[0, 0, 4, 4], [2, 1, 9, 6], [3.5, 2.25, 6, 8], [7, 7, 20, 20], [-1, -1, -1, -1]],
    "float32",
)
LABELS = np.array([3, 1, 4, 1, -1])


def elements(count=16):
    """Images of 9 by 11 pixels, as Keras's augmentation layers take them."""
    return {
        "images": np.ones((count, 9, 11, 3), "float32"),
        "labels": np.array(["cat"] * count),
        "segmentation_masks": np.ones((count, 9, 11, 1), "uint8"),
        "bounding_boxes": {
            "boxes": np.tile(BOXES, (count, 1, 1)),
            "labels": np.tile(LABELS, (count, 1)),
        },
    }


def visible_share(box, mask):
    """Of a box `xyxy`, counted on a grid of a quarter of a pixel."""
    visible = ~np.kron(mask, np.ones((4, 4), bool))
    left, top, right, bottom = np.clip(box * 4, 0, (44, 36, 44, 36)).astype(int)
    return visible[top:bottom, left:right].mean()


@pytest.mark.parametrize(
    "arguments", [{"size": 5}, {"size": 2, "max_size": 7, "num_holes": 3}]
)
def test_hidden_boxes_are_dropped_and_masks_filled(arguments):
    layer = Cutout(
        mask_fill=255,
        min_visible=0.6,
        bounding_box_format="xyxy",
        seed=2,
        **arguments,
    )
    inputs = elements()
    outputs = layer(inputs, training=True)
    assert outputs["labels"] is inputs["labels"]
    hidden = ops.convert_to_numpy(outputs["images"])[..., 0] == 0
    masks = ops.convert_to_numpy(outputs["segmentation_masks"])
    np.testing.assert_array_equal(masks[..., 0], np.where(hidden, 255, 1))
    assert masks.dtype == np.uint8
    dropped = 0
    boxes = {k: ops.convert_to_numpy(v) for k, v in outputs["bounding_boxes"].items()}
    for mask, kept, labels in zip(hidden, boxes["boxes"], boxes["labels"], strict=True):
        for before, label, box, now in zip(BOXES, LABELS, kept, labels, strict=True):
            if label >= 0 and visible_share(before, mask) < 0.6:
                before, label = np.full(4, -1), -1
                dropped += 1
            np.testing.assert_array_equal(box, before)
            assert now == label
    assert 3 < dropped < 48  # of 64
    # In inference nothing changes, and alone an element is as in a batch of one.
    unchanged = layer(inputs, training=False)
    np.testing.assert_array_equal(unchanged["bounding_boxes"]["labels"][0], LABELS)
    one = keras.tree.map_structure(lambda x: x[0], inputs)
    single = layer.stateless_erase(one, (2, 0))
    np.testing.assert_array_equal(single["segmentation_masks"], masks[0])
    np.testing.assert_array_equal(single["bounding_boxes"]["boxes"], boxes["boxes"][0])


@pytest.mark.parametrize(
    "box_format",
    ["yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh"],
)
def test_formats_of_boxes_are_those_of_keras(box_format):
    kept = []
    for name in ("xyxy", box_format):
        boxes = keras.utils.bounding_boxes.convert_format(
            BOXES[None, :4], source="xyxy", target=name, height=9, width=11
        )
        boxes = {"boxes": np.tile(ops.convert_to_numpy(boxes), (16, 1, 1))}
        layer = Cutout(6, min_visible=0.5, bounding_box_format=name)
        inputs = {"images": elements()["images"], "bounding_boxes": boxes}
        outputs = layer.stateless_erase(inputs, (1, 2))["bounding_boxes"]["boxes"]
        kept.append((outputs != -1).any(-1))
    np.testing.assert_array_equal(*kept)
    assert 0 < kept[0].mean() < 1


def test_channels_first_and_masks_without_channels():
    inputs = {
        "images": np.ones((4, 3, 9, 11), "float32"),
        "segmentation_masks": np.ones((4, 9, 11), "int32"),
    }
    layer = Cutout(5, mask_fill=0, data_format="channels_first", seed=1)
    outputs = layer(inputs, training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs["images"])[:, 0],
        ops.convert_to_numpy(outputs["segmentation_masks"]),
    )


def test_in_a_functional_model():
    shapes = {"images": (9, 11, 3), "segmentation_masks": (9, 11, 1)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    model = keras.Model(inputs, Cutout(5, mask_fill=0, seed=1)(inputs))
    batch = {name: np.ones((4, *shape), "float32") for name, shape in shapes.items()}
    outputs = model(batch, training=True)
    images, masks = map(ops.convert_to_numpy, outputs.values())
    assert (images == 0).any()
    np.testing.assert_array_equal(images[..., :1], masks)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"segmentation_masks": np.ones((16, 9, 9, 1))},
            r"`segmentation_masks` must have .* \(9, 11\)",
        ),
        (
            {"segmentation_masks": np.ones((16, 9, 11, 1), "int8")},
            "`mask_fill` must be integers from -128 to 127",
        ),
        (
            {
                "bounding_boxes": {
                    "boxes": BOXES[None],
                    "labels": LABELS.astype("uint8"),
                }
            },
            "`bounding_boxes` must have entries of a signed dtype.*dtype=uint8",
        ),
    ],
)
def test_bad_annotations(changed, message):
    layer = Cutout(3, mask_fill=255, min_visible=0.5, bounding_box_format="xyxy")
    with pytest.raises(ValueError, match=message):
        layer.stateless_erase({**elements(), **changed}, (0, 0))


@pytest.mark.parametrize("seed", [7, (1, 2, 3), (0.5, 1.0)])
def test_bad_seed(seed):
    with pytest.raises(
        ValueError, match=r"`seed` must be two integers.*Received: seed"
    ):
        Cutout(3).stateless_erase(np.ones((4, 4, 1)), seed)
