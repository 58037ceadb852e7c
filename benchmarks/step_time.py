"""How long a training step takes: fused layers, Keras's own, and torchvision's.

    KERAS_BACKEND=torch python benchmarks/step_time.py [resnet50 ...] [--batch 16]

Trains each network on random images in several ways, in the same run:

- with the layers of Keras, and with those of this library (`ResNet` has them already,
  and `accelerate` puts them into any network);
- where Keras has a network of that name, that one, as it is and accelerated;
- under the PyTorch backend torchvision's, in both memory formats, on a GPU compiled
  as well.

They take turns, a round of `--steps` steps each, so that a machine that slows down
slows all of them; the first round compiles and is not counted. The ratio is taken round
by round. The CSV file grows after each network and precision: a run that is cut off
keeps what it has. `--memory` measures the most memory that two steps take, each in a
process of its own. `--table` prints what the files hold, as the guide shows it.
"""

import argparse
import contextlib
import functools
import resource
import subprocess
import sys
import unittest.mock

import _torchvision
import keras
import numpy as np
from _results import CLOCKS, alternate, read, report

from keras_residual import ResNet, accelerate

BACKEND = keras.backend.backend()
APPLICATIONS = keras.applications
# Name: (this library's, keras.applications', torchvision's, image size, batch).
NETWORKS = {
    "resnet50": (lambda: ResNet(50), APPLICATIONS.ResNet50, "resnet50", 224, 16),
    "resnet18": (lambda: ResNet(18), None, "resnet18", 224, 16),
    "resnet20": (lambda: ResNet(20, 10, variant="cifar"), None, None, 32, 128),
    "mobilenetv2": (None, APPLICATIONS.MobileNetV2, "mobilenet_v2", 224, 16),
    "efficientnetb0": (None, APPLICATIONS.EfficientNetB0, "efficientnet_b0", 224, 16),
}


@contextlib.contextmanager
def layers_of_keras():
    """Within it, the networks of this library are built of Keras's own layers."""
    stock = keras.layers
    with (
        unittest.mock.patch.multiple(
            "keras_residual.layers._convolutions",
            Conv2D=stock.Conv2D,
            BatchNormalization=stock.BatchNormalization,
        ),
        unittest.mock.patch.multiple(
            "keras_residual.models.networks._builder", MaxPooling2D=stock.MaxPooling2D
        ),
    ):
        yield


def keras_network(model, jit_compile):
    logits = model.layers[-1].activation is keras.activations.linear
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile("sgd", loss, jit_compile=jit_compile)

    def train(images, labels, batch):
        if BACKEND == "tensorflow":
            data = without_autotuning(images, labels, batch)
            model.fit(data, verbose=0)
        else:
            model.fit(images, labels, batch_size=batch, verbose=0, shuffle=False)

    return train


def without_autotuning(images, labels, batch):
    """The batches as a data set whose end does not wait.

    The thread that tunes a data set sleeps for 10 ms, then twice as long each time, and
    in TensorFlow 2.21 the end of an epoch sometimes waits until it wakes up. A `fit` of
    3 s then lasts 5.1 s, whatever it computes.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)
    return data.with_options(options)


def torch_network(name, memory_format, mixed, compiled):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _torchvision.build(name).to(device, memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    forward = torch.compile(model) if compiled else model

    def train(images, labels, batch):
        for start in range(0, len(images), batch):
            # The Keras networks pay for the same change of layout.
            x = torch.from_numpy(images[start : start + batch]).to(device)
            x = x.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            y = torch.from_numpy(labels[start : start + batch]).to(device)
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=mixed):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for a GPU

    return train


def contestants(name, jit_compile, mixed):
    """A function by label; each builds a network and returns how it is trained."""
    ours, of_keras, of_torchvision, *_ = NETWORKS[name]
    found = {}
    if ours:

        def stock():
            with layers_of_keras():
                return keras_network(ours(), jit_compile)

        found["layers of Keras"] = stock
        found["keras_residual"] = lambda: keras_network(ours(), jit_compile)
    if of_keras:
        found["keras.applications"] = lambda: keras_network(
            of_keras(weights=None), jit_compile
        )
        found["accelerated"] = lambda: keras_network(
            accelerate(of_keras(weights=None)), jit_compile
        )
    if BACKEND == "torch" and of_torchvision and _torchvision.is_installed():
        import torch

        formats = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
        for suffix, memory_format in formats.items():
            for compiled in (False, True)[: 1 + torch.cuda.is_available()]:
                label = f"torchvision{suffix}{', compiled' if compiled else ''}"
                found[label] = functools.partial(
                    torch_network, of_torchvision, memory_format, mixed, compiled
                )
    return found


def table(times, memory):
    """Medians of the recorded rounds, and ratios taken round by round, in Markdown."""
    lines = [
        "| network | backend | layers | compared with | ms per image "
        "| ratio (quartiles) | memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    megabytes = {key: values for key, _, values in _groups(memory, "megabytes")}
    for key, batch, seconds in _groups(times, "seconds"):
        for fast, slow in _pairs(seconds):
            ratios = np.divide(seconds[fast], seconds[slow])
            low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            milliseconds = [
                f"{1000 * np.median(seconds[label]) / batch:.1f}"
                for label in (fast, slow)
            ]
            peak = [
                f"{megabytes[key][label][0]:.0f}"
                for label in (fast, slow)
                if label in megabytes.get(key, {})
            ]
            lines.append(
                f"| {' | '.join(key)} | {fast} | {slow} | {' / '.join(milliseconds)} | "
                f"{middle:.2f} ({low:.2f} to {high:.2f}) | {' / '.join(peak)} |"
            )
    return "\n".join(lines)


def _groups(rows, unit):
    """Yields (network, backend), the batch, and the values of each contestant."""
    groups: dict[tuple[str, str], tuple[int, dict[str, list[float]]]] = {}
    for row in rows:
        name = row["network"]
        if row["precision"] != "float32":
            name += f", {row['precision']}"
        if row["jit_compile"] != "auto":
            name += f", XLA {row['jit_compile']}"
        if row.get("clock", "wall") != "wall":
            name += f", {row['clock']} time"
        key = (name, row["backend"])
        _, values = groups.setdefault(key, (int(row["batch"]), {}))
        values.setdefault(row["contestant"], []).append(float(row[unit]))
    for key, (batch, values) in groups.items():
        yield key, batch, values


def _pairs(labels):
    """Yields which contestant is compared with which."""
    fast = "keras_residual" if "keras_residual" in labels else "accelerated"
    for label in labels:
        if label == "keras.applications" and fast != "accelerated":
            yield "accelerated", label
        if label not in ("keras_residual", "accelerated"):
            yield fast, label


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks", nargs="*", choices=[*NETWORKS, []], default=[],
        metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; without one, all",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, help="images in a step")
    parser.add_argument("--steps", type=int, default=2, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--precisions", nargs="+", default=["float32"], metavar="POLICY",
        help="such as float32 mixed_bfloat16",
    )  # fmt: skip
    parser.add_argument(
        "--jit", nargs="+", default=["auto"], choices=["auto", "on", "off"],
        help="Keras's jit_compile",
    )  # fmt: skip
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--memory", action="store_true", help="not time but memory")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="print the results, only")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read("step_time"), read("step_memory")))
        return

    for precision in arguments.precisions:
        keras.config.set_dtype_policy(precision)
        for jit in arguments.jit:
            for name in arguments.networks or NETWORKS:
                measure(name, precision, jit, arguments)
                keras.utils.clear_session()


def measure(name, precision, jit, arguments):
    *_, size, batch = NETWORKS[name]
    batch = arguments.batch or batch
    jit_compile = {"auto": "auto", "on": True, "off": False}[jit]
    builders = contestants(name, jit_compile, precision == "mixed_bfloat16")
    generator = np.random.default_rng(0)
    count = batch * arguments.steps
    images = generator.normal(size=(count, size, size, 3)).astype("float32")
    labels = generator.integers(0, 10, count)
    if arguments.only:
        builders[arguments.only]()(images, labels, batch)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print(f"{name}, {precision}, jit_compile={jit}")
    settings = {
        "network": name,
        "precision": precision,
        "jit_compile": jit,
        "batch": batch,
        "steps": arguments.steps,
        "image_size": size,
    }
    baseline = next(iter(builders))
    if arguments.memory:
        options = ["--batch", batch, "--steps", arguments.steps, "--jit", jit]
        options += ["--precisions", precision]
        command = [sys.executable, __file__, name, *map(str, options), "--only"]
        megabytes = {}
        for label in builders:
            output = subprocess.run(
                [*command, label], check=True, stdout=subprocess.PIPE, text=True
            )
            megabytes[label] = [float(output.stdout.split()[-1])]
        report("step_memory", megabytes, baseline, unit="megabytes", **settings)
        return
    turns = {
        label: functools.partial(build(), images, labels, batch)
        for label, build in builders.items()
    }
    clock = CLOCKS[arguments.clock]
    seconds = alternate(turns, arguments.rounds, arguments.steps, clock)
    report("step_time", seconds, baseline, **settings, clock=arguments.clock)


if __name__ == "__main__":
    main()
