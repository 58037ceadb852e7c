"""The report of a check of ImageNet's images."""

import dataclasses
import warnings
from collections.abc import Iterable

import keras

from keras_residual.datasets._image_examination import KINDS, UNUSABLE
from keras_residual.datasets._imagenet_selection import Selection

_SHOWN = 5
_MEANINGS = {
    "missing classes": "classes listed, without a folder of training images",
    "no images by their suffix": "files left out, without the suffix of an image",
    "classes without images": "classes without images",
    "validation images of other classes": "validation images of other classes",
    "images without label": "validation images without a label",
    "labels without image": "labels without their validation image",
    "unreadable": "unreadable: no image",
    "truncated": "truncated: cut off or damaged",
    "unsupported": "unsupported: in a format or of a size that cannot be read",
    "CMYK": "CMYK",
    "grayscale": "grayscale",
    "other format": "in another format than the suffix says",
}


@dataclasses.dataclass(frozen=True)
class ImageNetReport:
    """What a check found; `print(report)` shows it.

    Attributes:
        num_images: Number of images that were checked, by split.
        num_classes: Number of their classes.
        files: Names of images by kind: "unreadable", "truncated" and "unsupported"
            images cannot be used; "CMYK", "grayscale" and "other format" (than the
            suffix) are converted.
        tree: Names by kind: classes without folder or images, images without label and
            the reverse, files that are no images by their suffix.
        without_val: Why there is no split "val", "" if there is one.

    Example:
        ```python
        from keras_residual.datasets import ImageNetReport

        files = {"unreadable": ["empty.jpg"], "truncated": [], "unsupported": []}
        report = ImageNetReport({"train": 30}, 3, files, tree={}, without_val="")
        print(report.unusable)  # ['empty.jpg']
        ```
    """

    num_images: dict[str, int]
    num_classes: int
    files: dict[str, list[str]]
    tree: dict[str, list[str]]
    without_val: str

    @property
    def unusable(self) -> list[str]:
        """Names of the images that cannot be decoded."""
        return [name for kind in UNUSABLE for name in self.files[kind]]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind, in files and tree."""
        return {kind: len(names) for kind, names in (self.tree | self.files).items()}

    def __str__(self) -> str:
        images = ", ".join(f"{n:,} in {split}" for split, n in self.num_images.items())
        lines = [f"{self.num_classes:,} classes; images checked: {images}"]
        if self.without_val:
            lines.append(f"No split 'val': {self.without_val}.")
        sections = {
            "In the tree": self.tree,
            "Cannot be used": {kind: self.files[kind] for kind in UNUSABLE},
            "Converted to RGB": {
                kind: names
                for kind, names in self.files.items()
                if kind not in UNUSABLE
            },
        }
        for title, kinds in sections.items():
            lines += [f"{title}:"] if any(kinds.values()) else []
            for kind, names in kinds.items():
                if names:
                    more = len(names) - _SHOWN
                    shown = ", ".join(names[:_SHOWN])
                    shown += f" and {more:,} more" if more > 0 else ""
                    lines.append(f"  {len(names):,} {_MEANINGS[kind]}: {shown}")
        if not any(self.counts.values()):
            lines.append("Nothing to report: every file is an RGB image.")
        # File names may be bytes that `print` cannot write.
        return "\n".join(lines).encode(errors="replace").decode()


def check_images(
    selection: Selection, splits: Iterable[str], verbose: int
) -> ImageNetReport:
    places = {split: selection.places(split) for split in splits}
    total = sum(map(len, places.values()))
    bar = keras.utils.Progbar(total, unit_name="image") if verbose else None
    source = selection.source
    files: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for split, chosen in places.items():
        names = source.names(split)
        with warnings.catch_warnings():
            # Warnings of damaged EXIF data, for example, which do not matter here.
            warnings.filterwarnings("ignore", module="PIL")
            found = source.check(split, chosen, bar.add if bar else lambda done: None)
        for kind, bit in KINDS.items():
            files[kind] += [names[place] for place in chosen[(found & bit) > 0]]
    return ImageNetReport(
        num_images={split: len(chosen) for split, chosen in places.items()},
        num_classes=len(selection.classes),
        files=files,
        tree=source.findings,
        without_val=source.without_val,
    )
