"""Which known network a structure is: the one place that tells variants apart."""

import dataclasses

from keras_residual.models._variants import STEMS, VARIANTS, find_depth
from keras_residual.models.weights._structure import Structure


@dataclasses.dataclass(frozen=True)
class Known:
    """The nearest known network, and how the model differs from it.

    Several variants are equally near if the model has none of the parts in which they
    differ.
    """

    function: str  # ResNet or PlainNet
    depth: int
    variants: tuple[str, ...]
    groups: int
    width_per_group: int
    widen_factor: int
    shortcuts: frozenset[str]  # of all blocks
    differences: dict[str, str]  # by their subject, in words

    @property
    def size(self) -> tuple[int, int, int]:
        """What distinguishes the published weights of one variant."""
        return self.depth, self.groups, self.width_per_group

    @property
    def arguments(self) -> str:
        """The widths as arguments of the function, except for defaults."""
        values = {
            "groups": (self.groups, 1),
            "width_per_group": (self.width_per_group, 64),
            "widen_factor": (self.widen_factor, 1),
        }
        return "".join(
            f", {name}={value}"
            for name, (value, default) in values.items()
            if value != default
        )

    def __str__(self) -> str:
        wide = f" ({self.arguments[2:]})" if self.arguments else ""
        return f"{self.function}-{self.depth}{wide}"


def recognise(structure: Structure) -> Known | None:
    """Returns the nearest known network, or None.

    The number of classes, the activation of the classifier and dilation in place of
    strides do not count as differences.
    """
    blocks = structure.blocks
    if not blocks or structure.stem is None:
        return None
    kinds = {
        (b.block_type, b.shortcut is None, b.groups, b.width_per_group) for b in blocks
    }
    if len(kinds) > 1:
        return None
    ((block_type, plain, groups, width_per_group),) = kinds
    if block_type is None:
        return None
    widths = tuple(width for width, _ in structure.stages)
    counts = tuple(count for _, count in structure.stages)
    candidates = []
    for variant, settings in VARIANTS.items():
        factor = widths[0] // settings.widths[0]
        if widths != tuple(factor * width for width in settings.widths):
            continue
        depth = find_depth(variant, block_type, counts)
        if depth is None:
            continue
        differences = dict(_differences(structure, settings, block_type))
        candidates.append((len(differences), variant, factor, depth, differences))
    if not candidates:
        return None
    _, _, factor, depth, differences = min(candidates, key=lambda found: found[0])
    return Known(
        function="PlainNet" if plain else "ResNet",
        depth=depth,
        variants=tuple(found[1] for found in candidates if found[-1] == differences),
        groups=groups,
        width_per_group=width_per_group,
        widen_factor=factor,
        shortcuts=frozenset(b.shortcut for b in blocks if b.shortcut is not None),
        differences=differences,
    )


def _differences(structure, settings, block_type):
    blocks, stem = structure.blocks, structure.stem
    side, stride, pools = STEMS[settings.stem]
    convolutions = 3 if settings.stem == "deep" else 1
    shape = (stem.kernel_size[0], stem.strides[0], structure.pooled_after)
    if shape != (side, stride, convolutions if pools else 0):
        yield "stem", "another stem"
    stride_on = {block.stride_on for block in blocks} - {None}
    known = settings.stride_on if block_type == "bottleneck" else "3x3"
    if stride_on - {known}:
        yield "stride", f"stride on {_words(stride_on)} in place of {known}"
    if structure.paddings - {"symmetric"}:
        words = f"padding {_words(structure.paddings)} in place of symmetric"
        yield "padding", words
    if any(block.preactivation != settings.preactivation for block in blocks):
        missing = "no preactivated blocks"
        yield (
            "preactivation",
            missing if settings.preactivation else "preactivated blocks",
        )
    shortcuts = {block.shortcut for block in blocks} - {None}
    resizing = settings.shortcut(block_type)
    resizing = {"auto": "projection"}.get(resizing, resizing)
    pairs = zip([None, *blocks], blocks, strict=False)
    within = {b.shortcut for a, b in pairs if a is not None and a.width == b.width}
    if shortcuts - {"identity", resizing} or within - {"identity", None}:
        words = f"shortcuts {_words(shortcuts)} in place of identity, {resizing}"
        yield "shortcuts", words
    if any(block.squeeze_excitation for block in blocks):
        yield "squeeze_excitation", "squeeze-and-excitation"
    yield from _norm_differences(structure, settings)


def _norm_differences(structure, settings):
    if structure.group_norms:
        yield "normalization", "group normalization"
    elif not structure.norms:
        yield "normalization", "no batch normalization"
    for index, name in enumerate(("momentum", "epsilon")):
        values = {setting[index] for setting in structure.norm_settings}
        value = getattr(settings, f"batch_norm_{name}")
        if values - {value}:
            words = f"batch normalization {name} {_words(values)} in place of {value}"
            yield name, words
    use_bias = settings.use_bias
    if use_bias is None:
        use_bias = not structure.norms and not structure.group_norms
    if structure.biases != {use_bias}:
        words = "convolutions without biases" if use_bias else "convolution biases"
        yield "biases", words


def _words(values):
    return ", ".join(str(value) for value in sorted(values, key=str))
