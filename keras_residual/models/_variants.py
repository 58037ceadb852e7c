"""The published networks as data: blocks per stage, and how implementations differ."""

import dataclasses

# Blocks per stage: He et al. 2015, table 1; depth 200: He et al. 2016, section 5.
IMAGENET_DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """What sets one published implementation apart from the others."""

    image_size: int = 224
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stride_on: str = "3x3"
    use_bias: bool | None = None
    batch_norm_momentum: float = 0.9
    batch_norm_epsilon: float = 1e-5
    kernel_initializer: str | dict = "he_normal"
    shortcuts: tuple[str, str] = ("auto", "auto")  # of basic and bottleneck blocks
    classifier_activation: str = "linear"


VARIANTS = {
    "torchvision": Variant(
        # As configuration: an object would draw its seed when this module is imported.
        kernel_initializer={
            "class_name": "VarianceScaling",
            "config": {
                "scale": 2.0,
                "mode": "fan_out",
                "distribution": "untruncated_normal",
            },
        },
    ),
    "keras": Variant(
        stride_on="1x1",
        use_bias=True,
        batch_norm_momentum=0.99,
        batch_norm_epsilon=1.001e-5,
        kernel_initializer="glorot_uniform",
        classifier_activation="softmax",
    ),
    "paper": Variant(stride_on="1x1", shortcuts=("pad", "auto")),
    "cifar": Variant(image_size=32, widths=(16, 32, 64), shortcuts=("pad", "pad")),
}
