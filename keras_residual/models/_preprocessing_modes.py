"""The one table of the preprocessing that published weights expect."""

from typing import Any

# As arguments of ImagePreprocessing. The first four are the modes of
# keras.applications' `preprocess_input`.
SETTINGS: dict[str, dict[str, Any]] = {
    "raw": {},
    "tf": {"value_range": (-1.0, 1.0)},
    "torch": {
        # Mean and standard deviation of ImageNet's pixels, in RGB.
        "value_range": (0.0, 1.0),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    # The mean pixel of ImageNet on a scale of 0 to 255, in BGR.
    "caffe": {"channel_order": "bgr", "mean": (103.939, 116.779, 123.68)},
    # Of CIFAR-10's pixels, from 0 to 255 (uoguelph-mlrg/Cutout, train.py).
    "cifar10": {"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)},
}
MODES = ("raw", "tf", "torch", "caffe")

# How the accuracies of the first published weights for 224 pixels were measured:
# torchvision, `ResNet50_Weights.IMAGENET1K_V1.transforms()`, and
# KaimingHe/deep-residual-networks ("224x224 center crop from resized image with shorter
# side = 256"), whose weights were the first of keras.applications.
EVALUATION: dict[str, Any] = {"resize": 256, "crop": 224}

# ... and of other weights, by the end of their name.
EVALUATION_OF: dict[str, dict[str, Any]] = {
    # torchvision, `ResNet50_Weights.IMAGENET1K_V2.transforms()`.
    "torchvision:v2": {"resize": 232, "crop": 224},
    # timm, models/resnet.py: sizes and shares for tests, `interpolation="bicubic"`.
    "a1_in1k": {"resize": 288, "crop": 288, "interpolation": "bicubic"},
    "a2_in1k": {"resize": 288, "crop": 288, "interpolation": "bicubic"},
    "a3_in1k": {"resize": 235, "crop": 224, "interpolation": "bicubic"},
}
