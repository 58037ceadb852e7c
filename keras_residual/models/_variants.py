"""The published networks as data: depths, widths, and how implementations differ."""

import dataclasses
import re

BLOCK_NAME = re.compile(r"stage(\d+)_block(\d+)")

# Blocks per stage: He et al. 2015, table 1; depth 200: He et al. 2016, section 5.
IMAGENET_DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}

# The stem: (side of the kernels, stride of the first) and whether pooling follows.
STEMS: dict[str, tuple[int, int, bool]] = {
    "imagenet": (7, 2, True),
    # Three convolutions, the first two of half the width (He et al. 2019, section 4.1).
    "deep": (3, 2, True),
    "small": (3, 1, False),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """What sets one published implementation apart from the others."""

    stem: str = "imagenet"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    # For three stages of n blocks: block type, layers for each n, other layers.
    depth_rules: tuple[tuple[str, int, int], ...] = ()
    stride_on: str = "3x3"
    preactivation: bool = False
    use_bias: bool | None = None
    batch_norm_momentum: float = 0.9
    batch_norm_epsilon: float = 1e-5
    kernel_initializer: str | dict = "he_normal"
    shortcuts: tuple[str, str] = ("auto", "auto")  # of basic and bottleneck blocks
    classifier_activation: str = "linear"
    preprocessing: str = "torch"  # the mode that its weights expect

    @property
    def image_size(self) -> int:
        return 32 if self.stem == "small" else 224

    def shortcut(self, block_type: str) -> str:
        return self.shortcuts[block_type == "bottleneck"]


# As configuration: an object would draw its seed when this module is imported.
_FAN_OUT = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}

VARIANTS = {
    "torchvision": Variant(kernel_initializer=_FAN_OUT),
    # timm, models/resnet.py: `stem_type="deep", stem_width=32, avg_down=True`.
    "resnet_d": Variant(
        stem="deep", shortcuts=("average", "average"), kernel_initializer=_FAN_OUT
    ),
    "keras": Variant(
        stride_on="1x1",
        use_bias=True,
        batch_norm_momentum=0.99,
        batch_norm_epsilon=1.001e-5,
        kernel_initializer="glorot_uniform",
        classifier_activation="softmax",
        preprocessing="caffe",
    ),
    "paper": Variant(stride_on="1x1", shortcuts=("pad", "auto"), preprocessing="caffe"),
    # He et al. 2015, section 4.2; bottlenecks as in KaimingHe/resnet-1k-layers.
    "cifar": Variant(
        stem="small",
        widths=(16, 32, 64),
        depth_rules=(("basic", 6, 2), ("bottleneck", 9, 2)),
        stride_on="1x1",
        shortcuts=("pad", "auto"),
    ),
    # Zagoruyko and Komodakis 2016, table 1; the projections count as layers.
    "wide": Variant(
        stem="small",
        widths=(16, 32, 64),
        depth_rules=(("basic", 6, 4),),
        preactivation=True,
        kernel_initializer=_FAN_OUT,
        preprocessing="cifar10",
    ),
}

# Depths that fit both rules of "cifar" and are built of bottlenecks.
_BOTTLENECK_DEPTHS = (164,)  # He et al. 2016, table 4


def find_blocks(depth: int, variant: str) -> tuple[str, tuple[int, ...]] | None:
    """Type and number of the blocks in each stage, or None for no such network."""
    settings = VARIANTS[variant]
    if not settings.depth_rules:
        return IMAGENET_DEPTHS.get(depth)
    fitting = [
        (block_type, ((depth - rest) // step,) * len(settings.widths))
        for block_type, step, rest in settings.depth_rules
        if depth > rest and (depth - rest) % step == 0
    ]
    if not fitting:
        return None
    return fitting[-1 if depth in _BOTTLENECK_DEPTHS else 0]


def find_depth(variant: str, block_type: str, counts: tuple[int, ...]) -> int | None:
    """The depth of the network that has these blocks, or None for no such network."""
    settings = VARIANTS[variant]
    if not settings.depth_rules:
        depths = (d for d, b in IMAGENET_DEPTHS.items() if b == (block_type, counts))
        return next(depths, None)
    if len(set(counts)) > 1:
        return None
    for rule_type, step, rest in settings.depth_rules:
        if rule_type == block_type:
            return step * counts[0] + rest
    return None


def depths_of(variant: str) -> str:
    """The depths of a variant in words."""
    rules = VARIANTS[variant].depth_rules
    if not rules:
        return f"one of {', '.join(map(str, IMAGENET_DEPTHS))}"
    return " or ".join(
        f"{step}n + {rest} with n >= 1 ({block_type} blocks)"
        for block_type, step, rest in rules
    )
