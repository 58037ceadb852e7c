"""Residual networks and their plain twins, and weights for them."""

from keras_residual.models.describe import describe as describe
from keras_residual.models.fold_batch_norm import fold_batch_norm as fold_batch_norm
from keras_residual.models.plain_net import PlainNet as PlainNet
from keras_residual.models.preprocessing_for import (
    preprocessing_for as preprocessing_for,
)
from keras_residual.models.pretrained import export_torch as export_torch
from keras_residual.models.pretrained import load_pretrained as load_pretrained
from keras_residual.models.resnet import ResNet as ResNet

__all__ = [
    "PlainNet",
    "ResNet",
    "describe",
    "export_torch",
    "fold_batch_norm",
    "load_pretrained",
    "preprocessing_for",
]
