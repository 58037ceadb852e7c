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
keeps what it has. `--table` prints what the file holds, as the guide shows it.
"""

import argparse
import contextlib
import functools
import itertools
import unittest.mock

import _torchvision
import keras
import numpy as np
from _results import alternate, read, report

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
    with unittest.mock.patch.multiple(
        "keras_residual.layers._convolutions",
        Conv2D=keras.layers.Conv2D,
        BatchNormalization=keras.layers.BatchNormalization,
    ):
        yield


def keras_network(model, jit_compile):
    logits = model.layers[-1].activation is keras.activations.linear
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    model.compile("sgd", loss, jit_compile=jit_compile)

    def train(images, labels, batch):
        model.fit(images, labels, batch_size=batch, verbose=0, shuffle=False)

    return train


def torch_network(model, memory_format, mixed, compiled):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device, memory_format=memory_format)
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
    ours, of_keras, of_torchvision, *_ = NETWORKS[name]
    found = {}
    if ours:
        with layers_of_keras():
            found["layers of Keras"] = keras_network(ours(), jit_compile)
        found["keras_residual"] = keras_network(ours(), jit_compile)
    if of_keras:
        model = of_keras(weights=None)
        found["keras.applications"] = keras_network(model, jit_compile)
        found["accelerated"] = keras_network(accelerate(model), jit_compile)
    if BACKEND == "torch" and of_torchvision and _torchvision.is_installed():
        import torch

        formats = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
        for suffix, memory_format in formats.items():
            for compiled in (False, True)[: 1 + torch.cuda.is_available()]:
                label = f"torchvision{suffix}{', compiled' if compiled else ''}"
                model = _torchvision.build(of_torchvision)
                found[label] = torch_network(model, memory_format, mixed, compiled)
    return found


def table(rows):
    """Medians of the recorded rounds, in Markdown."""
    lines = [
        "| network | backend | layers | ms per image | ratio (quartiles) |",
        "|---|---|---|---|---|",
    ]
    groups = itertools.groupby(
        rows,
        lambda row: tuple(
            row[name]
            for name in (
                "network",
                "precision",
                "jit_compile",
                "backend",
                "cpu",
                "date",
            )
        ),
    )
    for (network, precision, jit_compile, *_), group in groups:
        if precision != "float32":
            network += f", {precision}"
        if jit_compile != "auto":
            network += f", XLA {jit_compile}"
        seconds: dict[str, list[float]] = {}
        for row in group:
            seconds.setdefault(row["contestant"], []).append(float(row["seconds"]))
        baseline = next(iter(seconds.values()))
        for contestant, values in seconds.items():
            low, middle, high = np.quantile(
                np.divide(values, baseline), [0.25, 0.5, 0.75]
            )
            lines.append(
                f"| {network} | {row['backend']} | {contestant} | "
                f"{1000 * np.median(values) / int(row['batch']):.1f} | "
                f"{middle:.2f} ({low:.2f} to {high:.2f}) |"
            )
    return "\n".join(lines)


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
    parser.add_argument("--table", action="store_true", help="print the results, only")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read("step_time")))
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
    networks = contestants(name, jit_compile, precision == "mixed_bfloat16")
    generator = np.random.default_rng(0)
    count = batch * arguments.steps
    images = generator.normal(size=(count, size, size, 3)).astype("float32")
    labels = generator.integers(0, 10, count)
    print(f"{name}, {precision}, jit_compile={jit}")
    seconds = alternate(
        {
            label: functools.partial(train, images, labels, batch)
            for label, train in networks.items()
        },
        arguments.rounds,
        arguments.steps,
    )
    report(
        "step_time",
        seconds,
        next(iter(networks)),
        network=name,
        precision=precision,
        jit_compile=jit,
        batch=batch,
        steps=arguments.steps,
        image_size=size,
    )


if __name__ == "__main__":
    main()
