"""What Cutout costs, against its peers and one pass over the images.

    KERAS_BACKEND=tensorflow python benchmarks/cutout.py [--rounds 15] [--batch 128]

Erases a patch of half the side from each image of a batch, float32 and uint8, in each
mode of a backend: `tf.data`, `tf.function` and XLA on TensorFlow, `jax.jit`, eager
PyTorch. The contestants take turns, in an order that changes from round to round:

- `x * 2`: one elementwise pass, the least that returns new images;
- `Cutout` of this library;
- `keras.layers.RandomErasing`, set to erase every image;
- KerasCV's `RandomCutout` (TensorFlow only), where it is installed;
- albumentations' `CoarseDropout`, image by image in NumPy, where it is installed
  (`pip install albumentations`), and beside it a plain loop.
"""

import argparse
import functools
from collections.abc import Callable

import keras
import numpy as np
from _results import alternate, report

from keras_residual import Cutout

BASELINE = "x * 2"


def layers(side):
    """Layers that erase a patch of half the side from every image, by name."""
    contestants: dict[str, keras.layers.Layer] = {
        "Cutout": Cutout(side // 2, border="inside"),
        "RandomErasing": keras.layers.RandomErasing(
            factor=(1.0, 1.0), scale=(0.25, 0.25), fill_value=0.0
        ),
    }
    if keras.backend.backend() == "tensorflow":
        try:
            import keras_cv
        except ImportError:
            print("KerasCV is not installed")
        else:
            contestants["KerasCV RandomCutout"] = keras_cv.layers.RandomCutout(0.5, 0.5)
    return contestants


def numpy_loops(images):
    """Calls that erase a NumPy batch image by image, by name."""
    side = images.shape[1] // 2
    generator = np.random.default_rng(0)

    def plain():
        output = images.copy()
        for image, (top, left) in zip(
            output, generator.integers(0, side + 1, (len(images), 2)), strict=True
        ):
            image[top : top + side, left : left + side] = 0
        return output

    calls = {"NumPy loop": plain}
    try:
        import albumentations
    except ImportError:
        print("albumentations is not installed")
    else:
        lengths = (side, side)
        dropout = albumentations.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=lengths,
            hole_width_range=lengths,
            fill=0,
            p=1.0,
        )
        calls["albumentations CoarseDropout"] = lambda: np.stack(
            [dropout(image=image)["image"] for image in images]
        )
    return calls


def modes(images):
    """Calls that erase the batch and wait for the result, by mode and name."""
    named: dict[str, Callable]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        named = {
            "tf.data": tf_data,
            "tf.function": tf_function,
            "XLA": functools.partial(tf_function, jit_compile=True),
        }
    elif backend == "jax":
        named = {"jax.jit": jax_jit}
    else:
        named = {"eager": eager}
    for mode, prepare in named.items():
        contestants = layers(images.shape[1])
        calls = {name: prepare(layer, images) for name, layer in contestants.items()}
        yield mode, {BASELINE: prepare(None, images), **calls}


def apply(layer, images):
    return images * 2 if layer is None else layer(images, training=True)


def tf_data(layer, images):
    import tensorflow as tf

    # The same batch again and again: what is timed is the map and not the source.
    dataset = tf.data.Dataset.from_tensors(images).repeat()
    options = tf.data.Options()
    # Nothing is to be computed while another contestant has its turn.
    options.experimental_optimization.inject_prefetch = False
    options.autotune.enabled = False
    dataset = dataset.map(lambda x: apply(layer, x)).with_options(options)
    iterator = iter(dataset)
    return lambda: next(iterator)


def tf_function(layer, images, jit_compile=False):
    import tensorflow as tf

    tensor = tf.constant(images)
    compiled = tf.function(lambda x: apply(layer, x), jit_compile=jit_compile)
    # The tensor that comes back may still be computed.
    return lambda: tf.reshape(compiled(tensor), (-1,))[0].numpy()


def jax_jit(layer, images):
    import jax

    tensor = jax.numpy.asarray(images)
    if layer is None:
        double = jax.jit(lambda x: x * 2)
        return lambda: jax.block_until_ready(double(tensor))
    if not layer.built:
        layer.build(images.shape)
    state = [variable.value for variable in layer.non_trainable_variables]
    compiled = jax.jit(lambda s, x: layer.stateless_call([], s, x, training=True))

    def call():
        nonlocal state
        output, state = compiled(state, tensor)
        jax.block_until_ready(output)

    return call


def eager(layer, images):
    tensor = keras.ops.convert_to_tensor(images)
    return lambda: apply(layer, tensor)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", type=int, default=224, help="height and width")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    shape = (arguments.batch, arguments.side, arguments.side, 3)
    images = generator.integers(0, 256, shape, dtype="uint8")
    for dtype in ("float32", "uint8"):
        batch = images.astype(dtype)
        for mode, calls in modes(batch):
            calls.update(numpy_loops(batch))
            print(f"{mode}, {dtype}")
            seconds = alternate(calls, arguments.rounds)
            report(
                "cutout", seconds, BASELINE, mode=mode, dtype=dtype, **vars(arguments)
            )


if __name__ == "__main__":
    main()
