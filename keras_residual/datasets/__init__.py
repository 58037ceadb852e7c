"""Data for the experiments: seeded generators and readers of image data sets."""

from keras_residual.datasets.images import load_cifar10 as load_cifar10
from keras_residual.datasets.images import load_class_folders as load_class_folders
from keras_residual.datasets.images import load_images as load_images
from keras_residual.datasets.images import load_tfds as load_tfds
from keras_residual.datasets.synthetic import sinusoid_images as sinusoid_images

__all__ = [
    "load_cifar10",
    "load_class_folders",
    "load_images",
    "load_tfds",
    "sinusoid_images",
]
