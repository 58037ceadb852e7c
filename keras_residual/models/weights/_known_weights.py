"""Published weights by name: their addresses, their hashes and their download."""

import contextlib
import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import keras

from keras_residual._atomic_file import temporary_name
from keras_residual.models.weights._checkpoint_files import check_readable

# Depth, `groups` and `width_per_group`.
Size = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file on a server, and the start of its hash as its publisher gives it."""

    url: str
    digest: str
    algorithm: str = "sha256"

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def _named_by_digest(url: str) -> PublishedFile:
    """A file of torchvision or timm: its name ends in eight digits of its SHA-256."""
    return PublishedFile(url, url.removesuffix(".pth")[-8:])


def _size(file: str) -> Size:
    """From a name such as resnet18, resnext50_32x4d or wide_resnet101_2."""
    pattern = r"(wide_)?resnex?t(\d+)(?:_(\d+)x(\d+)d)?"
    wide, depth, groups, width = re.findall(pattern, file)[0]
    return int(depth), int(groups or 1), int(width or (128 if wide else 64))


def _torchvision(*files: str) -> dict[Size, PublishedFile]:
    start = "https://download.pytorch.org/models/"
    return {_size(file): _named_by_digest(start + file) for file in files}


def _timm(*files: str) -> dict[str, dict[Size, PublishedFile]]:
    start = (
        "https://github.com/huggingface/pytorch-image-models/releases/download/"
        "v0.1-rsb-weights/"
    )
    named = {}
    for entry in files:
        name, file = entry.split()
        named[f"timm:{name}"] = {_size(name): _named_by_digest(start + file)}
    return named


def _keras(depth: int, md5: str) -> PublishedFile:
    return PublishedFile(
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        f"resnet{depth}_weights_tf_dim_ordering_tf_kernels.h5",
        md5,
        "md5",  # Keras publishes no other
    )


_TORCHVISION_1 = _torchvision(
    "resnet18-f37072fd.pth",
    "resnet34-b627a593.pth",
    "resnet50-0676ba61.pth",
    "resnet101-63fe2227.pth",
    "resnet152-394f9c45.pth",
    "resnext50_32x4d-7cdf4587.pth",
    "resnext101_32x8d-8ba56ff5.pth",
    "wide_resnet50_2-95faca4d.pth",
    "wide_resnet101_2-32ee1156.pth",
)

# By name and variant, then by size.
KNOWN: dict[tuple[str, str], dict[Size, PublishedFile]] = {
    ("torchvision", "torchvision"): _TORCHVISION_1,
    ("torchvision:v2", "torchvision"): _torchvision(
        "resnet50-11ad3fa6.pth",
        "resnet101-cd907fc2.pth",
        "resnet152-f82ba261.pth",
        "resnext50_32x4d-1a0047aa.pth",
        "resnext101_32x8d-110c445d.pth",
        "resnext101_64x4d-173b62eb.pth",
        "wide_resnet50_2-9ba9bcbe.pth",
        "wide_resnet101_2-d733dc28.pth",
    ),
    ("imagenet", "torchvision"): _TORCHVISION_1,
    ("imagenet", "keras"): {
        (50, 1, 64): _keras(50, "2cb95161c43110f7111970584f804107"),
        (101, 1, 64): _keras(101, "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
        (152, 1, 64): _keras(152, "100835be76be38e30d865e96f2aaae62"),
    },
    **{
        (name, "torchvision"): files
        for name, files in _timm(
            "resnet18.a1_in1k resnet18_a1_0-d63eafa0.pth",
            "resnet18.a2_in1k resnet18_a2_0-b61bd467.pth",
            "resnet18.a3_in1k resnet18_a3_0-40c531c8.pth",
            "resnet34.a1_in1k resnet34_a1_0-46f8f793.pth",
            "resnet34.a2_in1k resnet34_a2_0-82d47d71.pth",
            "resnet34.a3_in1k resnet34_a3_0-a20cabb6.pth",
            "resnet50.a1_in1k resnet50_a1_0-14fe96d1.pth",
            "resnet50.a2_in1k resnet50_a2_0-a2746f79.pth",
            "resnet50.a3_in1k resnet50_a3_0-59cae1ef.pth",
            "resnet101.a1_in1k resnet101_a1_0-cdcb52a9.pth",
            "resnet101.a2_in1k resnet101_a2_0-6edb36c7.pth",
            "resnet101.a3_in1k resnet101_a3_0-1db14157.pth",
            "resnet152.a1_in1k resnet152_a1_0-2eee8a7a.pth",
            "resnet152.a2_in1k resnet152_a2_0-b4c6978f.pth",
            "resnet152.a3_in1k resnet152_a3_0-134d4688.pth",
        ).items()
    },
}


def find_source(
    argument: str,
    source: Any,
    *,
    size: Size,
    variant: str = "torchvision",
    published: bool = True,
) -> Path | PublishedFile:
    """The file that the source names, or what to download; neither is opened.

    Networks without published weights (`published=False`) have no names.
    """
    named = isinstance(source, str) and any(name == source for name, _ in KNOWN)
    if published and named:
        fitting = {v: sorted(KNOWN[n, v]) for n, v in KNOWN if n == source}
        if size not in fitting.get(variant, ()):
            choices = " or ".join(_sizes(v, sizes) for v, sizes in fitting.items())
            raise ValueError(
                f"`{argument}` {source!r} is for {choices}. "
                f"Received: {argument}={source!r}, depth={size[0]}, "
                f"variant={variant!r}{_widths(size)}"
            )
        file = KNOWN[source, variant][size]
        check_readable(Path(file.name))
        return file
    exists = False
    # Values that cannot be a path are reported below, with missing files.
    with contextlib.suppress(OSError, TypeError, ValueError):
        exists = Path(source).is_file()
    if not exists:
        names = [n for (n, v), files in KNOWN.items() if v == variant and size in files]
        raise ValueError(
            f"`{argument}` must be {'None or ' if argument == 'weights' else ''}the "
            "path of a file of weights that exists"
            + "".join(f", or {name!r}" for name in names if published)
            + f". Received: {argument}={source!r}"
        )
    check_readable(Path(source))
    return Path(source)


def _sizes(variant: str, sizes: list[Size]) -> str:
    depths = [str(size[0]) for size in sizes if not _widths(size)]
    wide = [f"depth {size[0]}{_widths(size)}" for size in sizes if _widths(size)]
    more = f" (and {'; '.join(wide)})" if wide else ""
    return f"depth {', '.join(depths)} with variant={variant!r}{more}"


def _widths(size: Size) -> str:
    _, groups, width = size
    return f", groups={groups}, width_per_group={width}" if size[1:] != (1, 64) else ""


def download(published: PublishedFile) -> Path:
    """The file in Keras's cache, downloaded if it is not there."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    # Without this folder, Keras would use a temporary one.
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    path = home / "models" / published.name
    there = ""
    if path.is_file():
        found = _digest(path, published.algorithm)
        if found.startswith(published.digest):
            return path
        there = f" The file there now is another one: its hash is {found}."
    try:
        # Under another name until its hash is checked.
        partial = Path(
            keras.utils.get_file(
                temporary_name(path),
                origin=published.url,
                cache_subdir="models",
                cache_dir=str(home),
                force_download=True,
            )
        )
    except Exception as error:
        # Keras raises a bare Exception when a download fails.
        raise ConnectionError(
            f"{published.url} could not be downloaded ({error}). Go online, or save "
            f"the file as {path}.{there}"
        ) from error
    try:
        found = _digest(partial, published.algorithm)
        if not found.startswith(published.digest):
            raise ValueError(
                f"The download of {published.url} has the {published.algorithm} "
                f"{found}, but {published.digest} is published. It was removed."
            )
        path = partial.with_name(published.name)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
