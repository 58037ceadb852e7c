"""
Title: Residual and plain networks: what shortcuts do to gradients
Author: [The keras-residual authors](https://example.org/keras-residual)
Date created: 2026/11/28
Last modified: 2026/11/28
Description: Measure the gradients of two networks that differ in their shortcuts alone.
Accelerator: None
"""

"""
## Introduction

A residual block computes `relu(F(x) + x)`. Its control, a plain block, computes
`relu(F(x))`. Shortcuts are often said to keep gradients from vanishing. This example
measures what they do: it builds two networks that differ in their shortcuts alone,
measures their gradients before the first step, trains both, and looks at the loss
around the trained weights. It needs no download and runs in about a minute on a CPU.

It uses [keras-residual](https://example.org/keras-residual), a plug-in library for
Keras 3 on TensorFlow, JAX and PyTorch.
"""

"""shell
pip install -q "keras-residual[analysis]"
"""

"""
## Setup
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from keras_residual import (
    GradientNormCallback,
    PlainBlock,
    ResidualBlock,
    gradient_norms,
)
from keras_residual.analysis import loss_landscape, plots
from keras_residual.datasets import sinusoid_images

BLOCKS = 10
WIDTH = 12
EPOCHS = 4

"""
The images are noise with a faint wave in it. The class is the direction of the wave,
one of ten.
"""

images, labels = sinusoid_images(1200, image_size=16, strength=0.6, seed=0)
images = (images - images.mean()) / images.std()
x_train, y_train = images[:1000], labels[:1000]
x_val, y_val = images[1000:], labels[1000:]
print(x_train.shape, x_val.shape)

"""
## Two blocks that differ in the shortcut

Built with the same seed, the two blocks have the same weights.
"""

keras.utils.set_random_seed(0)
residual = ResidualBlock(WIDTH)
residual.build((None, 16, 16, WIDTH))
keras.utils.set_random_seed(0)
plain = PlainBlock(WIDTH)
plain.build((None, 16, 16, WIDTH))

pairs = zip(residual.get_weights(), plain.get_weights(), strict=True)
print("parameters:", residual.count_params(), plain.count_params())
print("equal weights:", all((a == b).all() for a, b in pairs))

"""
So do two networks made of them. Their width is constant, so every shortcut is the
identity and adds no parameters.
"""


def build_network(block, blocks=BLOCKS, batch_norm=True):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(WIDTH, 3, padding="same")(inputs)
    for number in range(blocks):
        # Keras's default for the kernels of a convolution.
        x = block(
            WIDTH,
            use_batch_norm=batch_norm,
            kernel_initializer="glorot_uniform",
            name=f"block{number + 1:02d}",
        )(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


NETS = {"plain": PlainBlock, "residual": ResidualBlock}
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}
for name, block in NETS.items():
    print(name, build_network(block).count_params(), "parameters")

"""
## Gradients before the first step

`gradient_norms` measures the gradients of one batch and changes nothing.
Backpropagation goes from the last block to the first. A line that falls toward block 1
shows vanishing gradients, a line that rises toward it shows exploding ones.
"""

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for ax, batch_norm in zip(axes, (False, True), strict=True):
    for name, block in NETS.items():
        model = build_network(block, batch_norm=batch_norm)
        norms = gradient_norms(model, x_train[:64], y_train[:64], by="block", loss=loss)
        values = [norm for key, norm in norms.items() if key.startswith("block")]
        depth = range(1, BLOCKS + 1)
        ax.semilogy(depth, values, marker="o", color=COLOURS[name], label=name)
        words = "with" if batch_norm else "without"
        ratio = values[0] / values[-1]
        print(f"{name}, {words} batch normalization: first / last = {ratio:.2g}")
    ax.set(title=f"{words} batch normalization", xlabel="block", ylabel="gradient norm")
    ax.legend()
plt.show()

"""
Without batch normalization the plain network's gradient vanishes, and the shortcuts
prevent it. With batch normalization nothing vanishes. The plain network's gradient
*grows* toward the input ([Yang et al. 2019](https://arxiv.org/abs/1902.08129)), and the
residual network's grows less
([De and Smith 2020](https://arxiv.org/abs/2002.10444)). He et al. say so themselves:
vanishing gradients do not explain why their plain networks with batch normalization are
harder to train ([2015, section 4.1](https://arxiv.org/abs/1512.03385)).

## Train both

`GradientNormCallback` records the gradients that update the weights, inside `fit`.
"""

models, records, history = {}, {}, []
for name, block in NETS.items():
    model = build_network(block)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    gradients = GradientNormCallback(by="block")
    fitted = model.fit(
        x_train,
        y_train,
        batch_size=50,
        epochs=EPOCHS,
        validation_data=(x_val, y_val),
        callbacks=[gradients],
        verbose=0,
    )
    frame = pd.DataFrame(fitted.history).assign(net=name, seed=0)
    frame["epoch"] = np.arange(1, EPOCHS + 1)
    history.append(frame)
    models[name], records[name] = model, gradients
    print(f"{name}: validation accuracy {frame['val_accuracy'].iloc[-1]:.2f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
plots.training_curves(pd.concat(history), "loss", ax=left)
for name, gradients in records.items():
    columns = [i for i, key in enumerate(gradients.names) if key.startswith("block")]
    mean = np.exp(np.log(gradients.norms[:, columns]).mean(axis=0))
    right.semilogy(depth, mean, marker="o", color=COLOURS[name], label=name)
right.set(
    title="gradient norm in training", xlabel="block", ylabel="mean over the steps"
)
right.legend()
plt.show()

"""
One seed is one draw of luck. `examples/sim4_residual.py` of the library repeats this
comparison over seeds and reports intervals and tests.

## The loss around the trained weights

`loss_landscape` moves the weights along two random directions and computes the loss at
each point of a grid ([Li et al. 2018](https://arxiv.org/abs/1712.09913)). Both figures
have the same colours.
"""

landscapes = {
    name: loss_landscape(
        model, x_val, y_val, steps=7, batch_norm="batch", batch_size=200, verbose=0
    )
    for name, model in models.items()
}
highest = max(np.nanpercentile(each.losses, 90) for each in landscapes.values())
lowest = min(np.nanmin(each.losses) for each in landscapes.values())
for name, landscape in landscapes.items():
    print(name)
    plots.loss_landscape(landscape, limits=(lowest, highest))
    plt.show()

"""
A picture of two directions out of thousands shows little. At ten blocks both surfaces
may well be smooth; Li et al. see rough ones at 56 layers without shortcuts.

## Take home

- What vanishes is the gradient of plain networks *without* batch normalization.
- With batch normalization it grows toward the input, and shortcuts keep it more even.
- A comparison needs a control that differs in one thing alone, and more than one seed.
"""
