"""Data for the experiments: seeded generators and readers of image data sets."""

from keras_residual.datasets._imagenet_report import ImageNetReport as ImageNetReport
from keras_residual.datasets.imagenet import ImageNetFolder as ImageNetFolder
from keras_residual.datasets.images import load_cifar10 as load_cifar10
from keras_residual.datasets.images import load_class_folders as load_class_folders
from keras_residual.datasets.images import load_images as load_images
from keras_residual.datasets.images import load_tfds as load_tfds
from keras_residual.datasets.photo_folder import Photos as Photos
from keras_residual.datasets.photo_folder import read_photos as read_photos
from keras_residual.datasets.photos import load_photos as load_photos
from keras_residual.datasets.synthetic import (
    shape_texture_images as shape_texture_images,
)
from keras_residual.datasets.synthetic import sinusoid_images as sinusoid_images
from keras_residual.datasets.synthetic import tinted_images as tinted_images
from keras_residual.datasets.tiny_imagenet import (
    make_tiny_imagenet_tree as make_tiny_imagenet_tree,
)

__all__ = [
    "ImageNetFolder",
    "ImageNetReport",
    "Photos",
    "load_cifar10",
    "load_class_folders",
    "load_images",
    "load_photos",
    "load_tfds",
    "make_tiny_imagenet_tree",
    "read_photos",
    "shape_texture_images",
    "sinusoid_images",
    "tinted_images",
]
