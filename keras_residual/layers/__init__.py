"""Keras layers of deep image networks."""

from keras_residual.layers.batch_normalization import (
    BatchNormalization as BatchNormalization,
)
from keras_residual.layers.conv2d import Conv2D as Conv2D
from keras_residual.layers.cutout import Cutout as Cutout
from keras_residual.layers.depthwise_conv2d import DepthwiseConv2D as DepthwiseConv2D
from keras_residual.layers.image_preprocessing import (
    ImagePreprocessing as ImagePreprocessing,
)
from keras_residual.layers.max_pooling2d import MaxPooling2D as MaxPooling2D
from keras_residual.layers.plain_block import PlainBlock as PlainBlock
from keras_residual.layers.residual_block import ResidualBlock as ResidualBlock
from keras_residual.layers.squeeze_excitation import (
    SqueezeExcitation as SqueezeExcitation,
)
from keras_residual.layers.stochastic_depth import StochasticDepth as StochasticDepth

__all__ = [
    "BatchNormalization",
    "Conv2D",
    "Cutout",
    "DepthwiseConv2D",
    "ImagePreprocessing",
    "MaxPooling2D",
    "PlainBlock",
    "ResidualBlock",
    "SqueezeExcitation",
    "StochasticDepth",
]
