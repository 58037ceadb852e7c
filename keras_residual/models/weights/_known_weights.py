"""Published weights by name: where they are, what they hash to, how to get them."""

import contextlib
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import keras

from keras_residual._atomic_file import temporary_name
from keras_residual.models.weights._checkpoint_files import check_readable


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


def _torchvision(*files: str) -> dict[int, PublishedFile]:
    start = "https://download.pytorch.org/models/"
    return {
        int(file.removeprefix("resnet").split("-")[0]): _named_by_digest(start + file)
        for file in files
    }


def _timm(*files: str) -> dict[str, dict[int, PublishedFile]]:
    start = (
        "https://github.com/huggingface/pytorch-image-models/releases/download/"
        "v0.1-rsb-weights/"
    )
    named = {}
    for entry in files:
        name, file = entry.split()
        depth = int(name.removeprefix("resnet").split(".")[0])
        named[f"timm:{name}"] = {depth: _named_by_digest(start + file)}
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
)

# By name and variant, then by depth.
KNOWN: dict[tuple[str, str], dict[int, PublishedFile]] = {
    ("torchvision", "torchvision"): _TORCHVISION_1,
    ("torchvision:v2", "torchvision"): _torchvision(
        "resnet50-11ad3fa6.pth",
        "resnet101-cd907fc2.pth",
        "resnet152-f82ba261.pth",
    ),
    ("imagenet", "torchvision"): _TORCHVISION_1,
    ("imagenet", "keras"): {
        50: _keras(50, "2cb95161c43110f7111970584f804107"),
        101: _keras(101, "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
        152: _keras(152, "100835be76be38e30d865e96f2aaae62"),
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
    argument: str, source: Any, *, depth: int, variant: str, residual: bool = True
) -> Path | PublishedFile:
    """The file that the source means, or what to download; neither is opened."""
    named = isinstance(source, str) and any(name == source for name, _ in KNOWN)
    if residual and named:
        fitting = {v: sorted(KNOWN[n, v]) for n, v in KNOWN if n == source}
        if depth not in fitting.get(variant, ()):
            choices = " or ".join(
                f"depth {', '.join(map(str, depths))} with variant={v!r}"
                for v, depths in fitting.items()
            )
            raise ValueError(
                f"`{argument}` {source!r} is for {choices}. "
                f"Received: {argument}={source!r}, depth={depth}, variant={variant!r}"
            )
        published = KNOWN[source, variant][depth]
        check_readable(Path(published.name))
        return published
    exists = False
    # What cannot be a path at all is reported with the rest, below.
    with contextlib.suppress(OSError, TypeError, ValueError):
        exists = Path(source).is_file()
    if not exists:
        names = [
            n for (n, v), files in KNOWN.items() if v == variant and depth in files
        ]
        raise ValueError(
            f"`{argument}` must be {'None or ' if argument == 'weights' else ''}the "
            "path of a file of weights that exists"
            + "".join(f", or {name!r}" for name in names if residual)
            + f". Received: {argument}={source!r}"
        )
    check_readable(Path(source))
    return Path(source)


def download(published: PublishedFile) -> Path:
    """The file in Keras's cache, downloaded if it is not there."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    # Keras takes a temporary folder where this one is missing or cannot be written.
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    path = home / "models" / published.name
    there = ""
    if path.is_file():
        found = _digest(path, published.algorithm)
        if found.startswith(published.digest):
            return path
        there = f" The file that is there now is another one: its hash is {found}."
    try:
        # Under another name until it is known to be whole.
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
            f"{published.url} could not be downloaded ({error}). Go online, or put the "
            f"file there as {path}.{there}"
        ) from error
    try:
        found = _digest(partial, published.algorithm)
        if not found.startswith(published.digest):
            raise ValueError(
                f"What {published.url} gave has the {published.algorithm} {found}, but "
                f"{published.digest} is published for it. Nothing was kept."
            )
        path = partial.with_name(published.name)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
