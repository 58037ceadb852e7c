"""Residual networks and their plain twins, and weights for them."""

from keras_residual.models.plain_net import PlainNet as PlainNet
from keras_residual.models.pretrained import export_torch as export_torch
from keras_residual.models.pretrained import load_pretrained as load_pretrained
from keras_residual.models.resnet import ResNet as ResNet

__all__ = ["PlainNet", "ResNet", "export_torch", "load_pretrained"]
