"""torchvision's networks, as the peers that a benchmark runs beside Keras's."""

import importlib.util


def is_installed():
    return all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))


def build(name):
    """The network of that name, or None where torchvision is missing or has none."""
    if not is_installed():
        return None
    operators = None
    try:
        import torchvision
    except RuntimeError:
        # Beside another build of PyTorch its operators, which no ResNet has, cannot be
        # loaded, and its import fails unless two of them are declared.
        import torch

        operators = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            operators.define(
                f"{operator}(Tensor a, Tensor b, float threshold) -> Tensor"
            )
        import torchvision
    make = getattr(torchvision.models, name, None)
    return make and make(weights=None)
