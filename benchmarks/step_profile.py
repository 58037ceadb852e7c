"""Where a training step on PyTorch spends its time: this library and torchvision.

    KERAS_BACKEND=torch python benchmarks/step_profile.py [--rounds 7]

Trains ResNet-50 on 16 random images in one thread, this library's and torchvision's in
the memory format `channels_last`, in turns, and adds up the processor time of PyTorch's
operations by kind. The first step is not counted. "the rest" is the time of the step
less these kinds: optimizer, loss, views and Python, and the cost of measuring each
operation. `--table` prints what the file holds, as the guide shows it.
"""

import argparse
import collections
import time

import keras
import numpy as np
from _results import read, report
from step_time import contestants

OURS, PEER = "keras_residual", "torchvision, channels_last"
REST = "the rest"
BATCH = 16
# Beginnings of the names of operations; the first kind that fits counts.
KINDS = {
    "convolution": ("convolution",),
    "batch normalization": ("native_batch_norm",),
    "ReLU": ("relu", "threshold"),
    "max pooling and padding": ("max_pool2d", "constant_pad_nd"),
    "sums of branches and of their gradients": ("add.", "add_."),
    "copies of kernels and their gradients": ("clone", "copy_", "new_empty_strided"),
}


def kind_of(name, shape):
    for kind, beginnings in KINDS.items():
        if name.startswith(beginnings):
            # Optimizers and moving averages add as well, but not images.
            images = len(shape) == 4 and shape[0] == BATCH
            return kind if images or not name.startswith("add") else REST
    return REST


def measure_step(step):
    """Seconds of processor time by kind."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    seconds = dict.fromkeys((*KINDS, REST), 0.0)

    class Clock(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            start = time.process_time()
            result = operation(*args, **(kwargs or {}))
            elapsed = time.process_time() - start
            shape = next((x.shape for x in args if isinstance(x, torch.Tensor)), ())
            seconds[kind_of(operation.__name__, shape)] += elapsed
            return result

    start = time.process_time()
    with Clock():
        step()
    total = time.process_time() - start
    seconds[REST] = total - sum(seconds.values()) + seconds[REST]
    return seconds


def table(rows):
    """Medians of the recorded rounds in Markdown, the largest difference first."""
    found: collections.defaultdict = collections.defaultdict(list)
    for row in rows:
        found[row["kind"], row["contestant"]].append(float(row["seconds"]))
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    ours, peer = (
        {kind: np.median(found[kind, label]) for kind in kinds}
        for label in (OURS, PEER)
    )
    whole = sum(peer.values())
    lines = [
        "| operations | keras_residual, ms | torchvision, ms | difference, of a step |",
        "|---|---|---|---|",
    ]
    kinds.sort(key=lambda kind: peer[kind] - ours[kind])
    figures = [(kind, ours[kind], peer[kind]) for kind in kinds]
    for kind, one, other in [*figures, ("a step", sum(ours.values()), whole)]:
        lines.append(
            f"| {kind} | {1000 * one:.0f} | {1000 * other:.0f} | "
            f"{(one - other) / whole:+.1%} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--table", action="store_true", help="print the results, only")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read("step_profile")))
        return
    if keras.backend.backend() != "torch":
        parser.error("it measures PyTorch: set KERAS_BACKEND=torch")
    import torch

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(BATCH, 224, 224, 3)).astype("float32")
    labels = generator.integers(0, 10, BATCH)
    builders = contestants("resnet50", "auto", False)
    train = {label: builders[label]() for label in (OURS, PEER)}
    measured: dict[str, dict[str, list[float]]] = {
        kind: {OURS: [], PEER: []} for kind in (*KINDS, REST)
    }
    for number in range(arguments.rounds + 1):
        for label in (OURS, PEER)[:: -1 if number % 2 else 1]:
            found = measure_step(lambda step=train[label]: step(images, labels, BATCH))
            for kind, seconds in found.items():
                if number:
                    measured[kind][label].append(seconds)
        print(f"round {number} of {arguments.rounds}", flush=True)
    for kind, seconds in measured.items():
        print(kind)
        report("step_profile", seconds, PEER, network="resnet50", kind=kind)


if __name__ == "__main__":
    main()
