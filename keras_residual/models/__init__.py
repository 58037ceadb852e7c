"""Residual networks, their plain twins, and transfer learning."""

from keras_residual.models.plain_net import PlainNet as PlainNet
from keras_residual.models.resnet import ResNet as ResNet
from keras_residual.models.transfer_model import TransferModel as TransferModel

__all__ = ["PlainNet", "ResNet", "TransferModel"]
