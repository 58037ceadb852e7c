"""Residual blocks, their exact controls and honest training diagnostics for Keras 3."""

import importlib.util
import os

from keras_residual._quiet import quiet_tensorflow as _quiet_tensorflow

try:
    _quiet_tensorflow()
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    _other_backends = [
        name for name in ("jax", "torch") if importlib.util.find_spec(name)
    ]
    if (
        error.name == "tensorflow"
        and "KERAS_BACKEND" not in os.environ
        and _other_backends
    ):
        _choices = " or ".join(f"KERAS_BACKEND={name}" for name in _other_backends)
        raise ImportError(
            "The default backend of Keras is TensorFlow, which is not installed. Set "
            f"the environment variable {_choices} before Python starts, or install "
            "tensorflow."
        ) from error
    raise

from keras_residual.callbacks.gradient_norm import (
    GradientNormCallback as GradientNormCallback,
)
from keras_residual.callbacks.gradient_norms import gradient_norms as gradient_norms
from keras_residual.datasets.imagenet import ImageNetFolder as ImageNetFolder
from keras_residual.datasets.tiny_imagenet import (
    make_tiny_imagenet_tree as make_tiny_imagenet_tree,
)
from keras_residual.layers.cutout import Cutout as Cutout
from keras_residual.layers.image_preprocessing import (
    ImagePreprocessing as ImagePreprocessing,
)
from keras_residual.layers.plain_block import PlainBlock as PlainBlock
from keras_residual.layers.residual_block import ResidualBlock as ResidualBlock
from keras_residual.layers.stochastic_depth import StochasticDepth as StochasticDepth
from keras_residual.models.networks.plain_net import PlainNet as PlainNet
from keras_residual.models.networks.resnet import ResNet as ResNet
from keras_residual.models.transfer.transfer_model import TransferModel as TransferModel
from keras_residual.models.weights.accelerate import accelerate as accelerate
from keras_residual.models.weights.describe import describe as describe
from keras_residual.models.weights.fold_batch_norm import (
    fold_batch_norm as fold_batch_norm,
)
from keras_residual.models.weights.preprocessing_for import (
    preprocessing_for as preprocessing_for,
)
from keras_residual.models.weights.pretrained import export_torch as export_torch
from keras_residual.models.weights.pretrained import load_pretrained as load_pretrained

__version__ = "0.1.0"

__all__ = [
    "Cutout",
    "GradientNormCallback",
    "ImageNetFolder",
    "ImagePreprocessing",
    "PlainBlock",
    "PlainNet",
    "ResNet",
    "ResidualBlock",
    "StochasticDepth",
    "TransferModel",
    "accelerate",
    "describe",
    "export_torch",
    "fold_batch_norm",
    "gradient_norms",
    "load_pretrained",
    "make_tiny_imagenet_tree",
    "preprocessing_for",
]
