"""How long a training step takes, against keras.applications and plain PyTorch.

    KERAS_BACKEND=tensorflow python benchmarks/step_time.py [--batch 8] [--rounds 9]

Trains ResNet-50 on random 224 x 224 images. The networks take turns, a round of
`--steps` steps each, so that a machine that slows down slows all of them; the first
round compiles and is not counted. The ratio is taken round by round. Under the PyTorch
backend a ResNet-50 written in PyTorch runs beside them in eager mode.
"""

import argparse
import functools

import keras
import numpy as np
from _results import alternate, report

from keras_residual import ResNet

BASELINE = "keras.applications.ResNet50"


def keras_network(build):
    model = build()
    model.compile("sgd", "sparse_categorical_crossentropy")

    def train(images, labels, batch):
        model.fit(images, labels, batch_size=batch, verbose=0, shuffle=False)

    return train


def torch_network():
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            outputs = 4 * width
            self.branch = nn.Sequential(
                nn.Conv2d(inputs, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            projection = [
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            ]
            changes = stride > 1 or inputs != outputs
            self.shortcut = nn.Sequential(*(projection if changes else []))

        def forward(self, x):
            return nn.functional.relu(self.branch(x) + self.shortcut(x))

    layers = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)]
    model = nn.Sequential(*layers)
    if sum(p.numel() for p in model.parameters()) != 25_557_032:
        raise RuntimeError("the PyTorch reference is not ResNet-50")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def train(images, labels, batch):
        for start in range(0, len(images), batch):
            # The Keras networks pay for the same change of layout.
            x = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2)
            y = torch.from_numpy(labels[start : start + batch])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return train


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    networks = {
        BASELINE: keras_network(lambda: keras.applications.ResNet50(weights=None)),
        "ResNet(50, variant='keras')": keras_network(
            lambda: ResNet(50, variant="keras")
        ),
        "ResNet(50)": keras_network(
            lambda: ResNet(50, classifier_activation="softmax")
        ),
    }
    if keras.backend.backend() == "torch":
        networks["PyTorch ResNet-50, eager"] = torch_network()

    generator = np.random.default_rng(0)
    count = arguments.batch * arguments.steps
    images = generator.normal(size=(count, 224, 224, 3)).astype("float32")
    labels = generator.integers(0, 1000, count)
    contestants = {
        name: functools.partial(train, images, labels, arguments.batch)
        for name, train in networks.items()
    }
    seconds = alternate(contestants, arguments.rounds, arguments.steps)
    report(
        "step_time",
        seconds,
        BASELINE,
        batch=arguments.batch,
        steps=arguments.steps,
        image_size=224,
    )


if __name__ == "__main__":
    main()
