"""Keras layers of deep image networks."""

from keras_residual.layers.cutout import Cutout as Cutout
from keras_residual.layers.image_preprocessing import (
    ImagePreprocessing as ImagePreprocessing,
)
from keras_residual.layers.plain_block import PlainBlock as PlainBlock
from keras_residual.layers.residual_block import ResidualBlock as ResidualBlock
from keras_residual.layers.stochastic_depth import StochasticDepth as StochasticDepth

__all__ = [
    "Cutout",
    "ImagePreprocessing",
    "PlainBlock",
    "ResidualBlock",
    "StochasticDepth",
]
