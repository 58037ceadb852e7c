"""What a built network is: its variant, its depth, and its variables by name."""

import dataclasses
import re

import keras
import numpy as np

from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.residual_block import ResidualBlock

_BLOCK_NAME = re.compile(r"stage\d+_block\d+")


@dataclasses.dataclass(frozen=True)
class Network:
    """A model of ResNet or PlainNet, as files of weights see it.

    The keys of `variables` are `stem_conv/kernel`, `stage1_block1/bn1/gamma`,
    `stage2_block1/projection_bn/moving_mean`, `classifier/bias` and so on.
    """

    name: str
    depth: int
    variant: str
    residual: bool
    use_batch_norm: bool
    channels: int
    variables: dict[str, keras.Variable]

    def __str__(self) -> str:
        function = "ResNet" if self.residual else "PlainNet"
        return f"{function}({self.depth}, variant={self.variant!r})"

    @property
    def has_more_projections(self) -> bool:
        """Whether a shortcut is projected where torchvision's is the identity."""
        bottleneck = any("/conv3/" in key for key in self.variables)
        for key in self.variables:
            if key.endswith("/projection/kernel") and self.variant == "torchvision":
                stage, block = key.split("/")[0].split("_")
                if block != "block1" or (stage == "stage1" and not bottleneck):
                    return True
        return False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(variable.shape) for key, variable in self.variables.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """The values, as float32 whatever the variables are stored in."""
        return {
            key: keras.ops.convert_to_numpy(variable.value).astype("float32")
            for key, variable in self.variables.items()
        }


def read_network(model: keras.Model) -> Network:
    layers = {
        layer.name: layer
        for layer in getattr(model, "layers", [])
        if _BLOCK_NAME.fullmatch(layer.name)
        or layer.name in ("stem_conv", "stem_bn", "classifier")
    }
    blocks = [layer for layer in layers.values() if isinstance(layer, PlainBlock)]
    variables = {}
    for name, layer in layers.items():
        for key, part in _parts(name, layer):
            variables.update({f"{key}/{v.name}": v for v in part.weights})
    own = {id(variable) for variable in variables.values()}
    if (
        "stem_conv" not in layers
        or not blocks
        or own != {id(variable) for variable in model.weights}
    ):
        raise ValueError(
            "`model` must be what ResNet or PlainNet returns, not a model around it "
            "(`model.get_layer(name)` is the network inside). "
            f"Received: model={model!r}"
        )
    stem = layers["stem_conv"]
    per_block = 3 if blocks[0].block_type == "bottleneck" else 2
    return Network(
        name=model.name,
        depth=per_block * len(blocks) + 2,
        variant=_variant(stem, blocks),
        residual=isinstance(blocks[0], ResidualBlock),
        use_batch_norm="stem_bn" in layers,
        channels=stem.kernel.shape[2],
        variables=variables,
    )


def _parts(name, layer):
    if not isinstance(layer, PlainBlock):
        return [(name, layer)]
    parts = []
    for number in (1, 2, 3):
        parts += [f"conv{number}", f"bn{number}"]
    found = [(f"{name}/{part}", getattr(layer, part, None)) for part in parts]
    found += [
        (f"{name}/projection", getattr(layer, "projection", None)),
        (f"{name}/projection_bn", getattr(layer, "projection_norm", None)),
    ]
    return [(key, part) for key, part in found if part]


def _variant(stem, blocks):
    """The published network whose outputs these layers compute.

    Not what ResNet was called with: a network of 18 layers with projections is
    torchvision's, whether `variant` was "paper" or "torchvision".
    """
    if stem.kernel_size == (3, 3):
        return "cifar"
    if blocks[0].use_batch_norm and stem.use_bias:
        return "keras"
    bottleneck = blocks[0].block_type == "bottleneck"
    if bottleneck and blocks[0].stride_on == "1x1":
        return "paper"
    if any(getattr(block, "shortcut", None) == "pad" for block in blocks):
        return "paper"
    return "torchvision"
