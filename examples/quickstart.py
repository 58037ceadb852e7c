"""Train a plain and a residual network alike and compare their true gradient norms.

Run it with `python examples/quickstart.py`: generated images, well under a minute.
"""

import keras

from keras_residual import GradientNormCallback, PlainNet, ResNet
from keras_residual.datasets import sinusoid_images

images, labels = sinusoid_images(256, strength=0.3, seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for network in (PlainNet, ResNet):
    keras.utils.set_random_seed(0)  # the same initial weights, the same order
    model = network(20, num_classes=10, variant="cifar")
    gradients = GradientNormCallback()
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(images, labels, batch_size=32, verbose=0, callbacks=[gradients])
    first = gradients.names[0]
    print(f"{model.name}, {first}, each step:", gradients.norms[:, 0].round(2))
