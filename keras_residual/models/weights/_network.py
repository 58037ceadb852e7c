"""A built network of this library, recognised, with its variables by name."""

import dataclasses
import re

import keras
import numpy as np

from keras_residual.layers.plain_block import PlainBlock
from keras_residual.models._variants import BLOCK_NAME
from keras_residual.models.weights._recognition import Known, recognise
from keras_residual.models.weights._structure import read_structure

_OTHER_NAMES = re.compile(r"stem_(conv|bn)\d?|post_bn|classifier")


@dataclasses.dataclass(frozen=True)
class Network:
    """A model of ResNet or PlainNet, for files of weights.

    The keys of `variables` are `stem_conv/kernel`, `stage1_block1/bn1/gamma`,
    `stage2_block1/projection_bn/moving_mean`, `classifier/bias` and so on.
    """

    name: str
    known: Known
    channels: int
    variables: dict[str, keras.Variable]

    @property
    def residual(self) -> bool:
        return self.known.function == "ResNet"

    @property
    def variant(self) -> str:
        """The published network that computes the same as these layers.

        It need not be the argument of ResNet: a network of 18 layers with projections
        is torchvision's, whether `variant` was "paper" or "torchvision".
        """
        return self.known.variants[0]

    def __str__(self) -> str:
        known = self.known
        return (
            f"{known.function}({known.depth}, variant={self.variant!r}"
            f"{known.arguments})"
        )

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
        if BLOCK_NAME.fullmatch(layer.name) or _OTHER_NAMES.fullmatch(layer.name)
    }
    variables = {}
    for name, layer in layers.items():
        for key, part in _parts(name, layer):
            variables.update({f"{key}/{v.name}": v for v in part.weights})
    own = {id(variable) for variable in variables.values()}
    known = None
    if "stem_conv" in layers and own == {id(variable) for variable in model.weights}:
        known = recognise(read_structure(model))
    if known is None:
        raise ValueError(
            "`model` must be what ResNet or PlainNet returns, with all its stages, not "
            "a model around it (`model.get_layer(name)` is the network inside). "
            f"Received: model={model!r}"
        )
    return Network(
        name=model.name,
        known=known,
        channels=layers["stem_conv"].kernel.shape[2],
        variables=variables,
    )


def _parts(name, layer):
    if not isinstance(layer, PlainBlock):
        return [(name, layer)]
    parts = [part for pair in layer.convolutions() for part in pair if part is not None]
    found = [(f"{name}/{part.name}", part) for part in parts]
    if layer.excitation is not None:
        for part in (layer.excitation.fc1, layer.excitation.fc2):
            found.append((f"{name}/se/{part.name}", part))
    return found
