"""The layers of a network in the units to freeze: layers, blocks and stages."""

import dataclasses
import math
import re

import keras

from keras_residual._leaves import add_leaves, leaves

UNITS = ("layer", "conv", "block", "stage")

# A layer's name up to its block, as keras.applications, KerasHub, KerasCV and this
# library write it: conv5_block3_1_conv, block_16_project, block7a_dwconv,
# expanded_conv_3_add, convnext_tiny_stage_3_block_2_gelu, stage4_block2, block_1_0.
_BLOCK = re.compile(
    r".*?(?:block_?\d+(?:[a-z]|_\d+$)?(?![a-z])|expanded_conv(_\d+)?(?=_))"
)
# MobileNet's pairs of convolutions and NASNet's cells, whose number comes last.
_PAIR = re.compile(r"conv_(?:pad|dw|pw)_(\d+)")
_CELL = re.compile(
    r"(?:adjust|normal|reduction|separable_conv)_.*?_((?:stem_|reduce_)?\d+)$"
)
# The Inception networks name only the end of a block.
_LAST = re.compile(r"(mixed_?\d+[ab]?)$|(block\d+_\d+)_(?:mixed|conv|ac)$")
# The stage in the name of a block, where the name has one.
_STAGE = re.compile(
    r"(.*(?:stage_?|stack_?|conv)\d+)_block_?\d+|(block\d+)[a-z]|(block_\d+)_\d+"
)


@dataclasses.dataclass
class Section:
    """Consecutive layers under one name."""

    name: str
    stage: str
    layers: list


def blocks(network) -> list[Section]:
    """The network's blocks by the names of its layers, the stem first.

    Layers without a block's name belong to the block before them: what follows the
    last block is unfrozen together with it.
    """
    layers = [
        layer
        for layer in network.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    parts: dict[str, Section] = {}
    for layer, name in zip(layers, _block_names(layers), strict=True):
        part = parts.setdefault(name, Section(name, "stem", []))
        add_leaves(layer, part.layers)
    _name_stages([part for part in parts.values() if part.name != "stem"])
    return [part for part in parts.values() if part.layers]


def tail(
    network, count: int | str, unit: str, names=("unfreeze", "unfreeze_unit")
) -> list[keras.layers.Layer]:
    """The last `count` units of a network, as layers.

    The names are those of the arguments, for messages.
    """
    layers = leaves(network)
    if isinstance(count, str):  # "all"
        return layers
    starts = [
        index
        for index, layer in enumerate(layers)
        if unit == "layer" or (unit == "conv" and _is_convolution(layer))
    ]
    labels: list = []
    if unit in ("block", "stage"):
        groups = blocks(network)
        if len(groups) == 1:
            raise ValueError(
                f"`{names[1]}` must be 'layer' or 'conv' for this backbone: the layers "
                f"of {network.name} are not named by blocks. "
                f"Received: {names[1]}={unit!r}"
            )
        labels = [
            getattr(block, "name" if unit == "block" else "stage") for block in groups
        ]
        starts = list(dict.fromkeys(labels))
    if count > len(starts):
        raise ValueError(
            f"`{names[0]}` must be at most {len(starts)}, the number of units of "
            f"{network.name} with {names[1]}={unit!r}. Received: {names[0]}={count!r}"
        )
    if not labels:
        return layers[starts[-count] :]
    last = starts[-count:]
    return [
        layer
        for block, label in zip(groups, labels, strict=True)
        if label in last
        for layer in block.layers
    ]


def row(block: Section) -> dict:
    """How much of a block trains."""
    training = [layer for layer in block.layers if layer.trainable]
    return {
        "block": block.name,
        "stage": block.stage,
        "layers": len(block.layers),
        "trainable_layers": len(training),
        "parameters": _size(w for layer in block.layers for w in layer.weights),
        "trainable_parameters": _size(
            w for layer in training for w in layer.trainable_weights
        ),
    }


def _size(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def _is_convolution(layer):
    return isinstance(
        layer,
        (
            keras.layers.Conv2D,
            keras.layers.DepthwiseConv2D,
            keras.layers.SeparableConv2D,
        ),
    )


def _block_names(layers):
    """The name of every layer's block."""
    names = [layer.name for layer in layers]
    ends = [match and (match[1] or match[2]) for match in map(_LAST.match, names)]
    if any(ends):
        return _named_by_ends(layers, ends)
    found, current = [], "stem"
    for name in names:
        if match := _PAIR.match(name):
            current = f"conv_{match[1]}"
        elif match := _CELL.match(name):
            current = f"cell_{match[1]}"
        elif match := _BLOCK.match(name):
            current = match[0]
        found.append(current)
    return found


def _named_by_ends(layers, ends):
    first = next(index for index, end in enumerate(ends) if end)
    # The first block begins where the image has its size.
    shrinking = [i for i in range(first) if _shrinks(layers[i])]
    stem = shrinking[-1] + 1 if shrinking else 0
    current = next(end for end in reversed(ends) if end)
    found = []
    for end in reversed(ends[stem:]):
        current = end or current
        found.append(current)
    return ["stem"] * stem + found[::-1]


def _name_stages(parts):
    stage = None
    for part in parts:
        match = _STAGE.fullmatch(part.name)
        if match:
            stage = next(filter(None, match.groups()))
        elif stage is None or any(_shrinks(layer) for layer in part.layers):
            # No stage in the name: one begins wherever the image becomes smaller.
            stage = part.name
        part.stage = stage


def _shrinks(layer):
    if max(_pair(getattr(layer, "pool_size", 2))) == 1:
        # A pooling of one pixel is a shortcut, which follows the branch's size.
        return False
    return max(_pair(getattr(layer, "strides", 1))) > 1


def _pair(value):
    return value if isinstance(value, (tuple, list)) else (value,)
