"""Residual networks, their plain twins, weights for them, and transfer learning."""

from keras_residual.models.networks.plain_net import PlainNet as PlainNet
from keras_residual.models.networks.resnet import ResNet as ResNet
from keras_residual.models.transfer._cached_features import (
    CachedFeatures as CachedFeatures,
)
from keras_residual.models.transfer._learning_rate_range import (
    LearningRateRange as LearningRateRange,
)
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

__all__ = [
    "CachedFeatures",
    "LearningRateRange",
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
