"""Residual networks, their plain twins, weights for them, and transfer learning."""

from keras_residual.models.accelerate import accelerate as accelerate
from keras_residual.models.describe import describe as describe
from keras_residual.models.fold_batch_norm import fold_batch_norm as fold_batch_norm
from keras_residual.models.plain_net import PlainNet as PlainNet
from keras_residual.models.preprocessing_for import (
    preprocessing_for as preprocessing_for,
)
from keras_residual.models.pretrained import export_torch as export_torch
from keras_residual.models.pretrained import load_pretrained as load_pretrained
from keras_residual.models.resnet import ResNet as ResNet
from keras_residual.models.transfer_model import TransferModel as TransferModel

__all__ = [
    "PlainNet",
    "ResNet",
    "TransferModel",
    "accelerate",
    "describe",
    "export_torch",
    "fold_batch_norm",
    "load_pretrained",
    "preprocessing_for",
]
