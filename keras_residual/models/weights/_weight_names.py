"""How each library names and lays out the tensors of a residual network."""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

from keras_residual.models._variants import BLOCK_NAME

HEAD = ("classifier/kernel", "classifier/bias")

_TORCH_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# The convolutions of the branches; with the stem and the classifier they are the depth.
_BRANCH_CONVOLUTIONS = (
    re.compile(r"layer\d+\.\d+\.conv\d\.weight"),
    re.compile(r"conv\d_block\d+_[123]_conv/kernel"),
    re.compile(r"stage\d+_block\d+/conv\d/kernel"),
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A library's names and layout. `variant` None: this library's own, of any."""

    variant: str | None
    head: str = "classifier"
    shortcut: str = ""
    shortcut_parts: tuple[int, int] = (0, 1)  # of its convolution and its norm
    stem: tuple[tuple[str, str], ...] = (("stem_conv", "conv1"), ("stem_bn", "bn1"))

    def name(self, key: str) -> str:
        """The file's name for a key of `Network.variables`."""
        if self.variant is None:
            return key
        *layers, variable = key.split("/")
        block = BLOCK_NAME.fullmatch(layers[0])
        if self.variant == "keras":
            if block:
                number = "0" if "projection" in layers[1] else layers[1][-1]
                kind = "bn" if "bn" in layers[1] else "conv"
                stage = int(block[1]) + 1
                layer = f"conv{stage}_block{block[2]}_{number}_{kind}"
            else:
                outside = {**dict(self.stem), "classifier": self.head}
                layer = outside.get(layers[0], layers[0])
            return f"{layer}/{variable}"
        if block:
            convolution, norm = self.shortcut_parts
            shortcut = {
                "projection": f"{self.shortcut}.{convolution}",
                "projection_bn": f"{self.shortcut}.{norm}",
            }
            part = shortcut.get(layers[1], ".".join(layers[1:]))
            layer = f"layer{block[1]}.{int(block[2]) - 1}.{part}"
        else:
            outside = {**dict(self.stem), "classifier": self.head}
            layer = outside.get(layers[0], layers[0])
        return f"{layer}.{_TORCH_VARIABLES[variable]}"

    def to_keras(self, array: np.ndarray) -> np.ndarray:
        """From (out, in, height, width) and (out, in), where that is the layout."""
        if self.variant in (None, "keras") or array.ndim not in (2, 4):
            return array
        return array.transpose((2, 3, 1, 0) if array.ndim == 4 else (1, 0))

    def from_keras(self, array: np.ndarray) -> np.ndarray:
        if self.variant in (None, "keras") or array.ndim not in (2, 4):
            return array
        return array.transpose((3, 2, 0, 1) if array.ndim == 4 else (1, 0))

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.from_keras(np.broadcast_to(0, shape)).shape  # without memory


TORCHVISION = Layout("torchvision", head="fc", shortcut="downsample")
# timm: stem and shortcut are sequences of layers; the first of a shortcut pools.
RESNET_D = Layout(
    "resnet_d",
    head="fc",
    shortcut="downsample",
    shortcut_parts=(1, 2),
    stem=(
        ("stem_conv", "conv1.0"),
        ("stem_bn", "conv1.1"),
        ("stem_conv2", "conv1.3"),
        ("stem_bn2", "conv1.4"),
        ("stem_conv3", "conv1.6"),
        ("stem_bn3", "bn1"),
    ),
)
# akamaster/pytorch_resnet_cifar10; `shortcut` is its option B.
CIFAR = Layout("cifar", head="linear", shortcut="shortcut")


def without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without the prefix that PyTorch's data parallelism adds."""
    stripped = {}
    for name, array in tensors.items():
        short = re.sub(r"^(module\.)+", "", name)
        if short in stripped:
            raise ValueError(f"the tensor {short!r} with and without 'module.'")
        stripped[short] = array
    return stripped


def find_layout(tensors: dict[str, np.ndarray]) -> Layout | None:
    if "conv1.0.weight" in tensors:
        return RESNET_D
    if "conv1.weight" in tensors:
        layout = CIFAR if tensors["conv1.weight"].shape[2:] == (3, 3) else TORCHVISION
        # Other repositories mix the two ways.
        heads = [h for h in ("fc", "linear") if f"{h}.weight" in tensors]
        shortcuts = [
            s for s in ("downsample", "shortcut") if any(f".{s}." in n for n in tensors)
        ]
        return dataclasses.replace(
            layout,
            head=(heads or [layout.head])[0],
            shortcut=(shortcuts or [layout.shortcut])[0],
        )
    if "conv1_conv/kernel" in tensors:
        # Files of 2019 call the classifier "probs".
        head = "probs" if "probs/kernel" in tensors else "predictions"
        stem = (("stem_conv", "conv1_conv"), ("stem_bn", "conv1_bn"))
        return Layout("keras", head=head, stem=stem)
    if "stem_conv/kernel" in tensors:
        return Layout(None)
    return None


def depth_of(names: Iterable[str]) -> int:
    """The depth of the network that has these tensors."""
    branch = sum(any(p.fullmatch(n) for p in _BRANCH_CONVOLUTIONS) for n in names)
    return branch + 2
