"""Batches of one size, for several devices."""

from typing import Any


def full_batches(dataset: Any, size: int, steps: int, weight: float) -> Any:
    """Exactly `steps` batches of (images, labels, weights) with `size` images each.

    Missing images are zeros with the weight 0. Keras divides the loss by the number of
    all images, for which the `weight` of the others compensates.

    Args:
        dataset: `tf.data.Dataset` of batches of (images, labels), of at most this size.
        size: Images in a batch.
        steps: Number of batches.
        weight: Weight of a real image: the number of places over that of real images.
    """
    import tensorflow as tf

    def fill(tensor: Any) -> Any:
        missing = size - tf.shape(tensor)[0]
        around = [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1)
        return tf.ensure_shape(tf.pad(tensor, around), [size, *tensor.shape[1:]])

    def complete(images: Any, labels: Any) -> tuple[Any, Any, Any]:
        weights = tf.fill(tf.shape(labels)[:1], tf.constant(weight, tf.float32))
        return fill(images), fill(labels), fill(weights)

    filled = dataset.map(complete, num_parallel_calls=tf.data.AUTOTUNE)
    empty = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), filled.element_spec
    )
    nothing = tf.data.Dataset.from_tensors(empty).repeat()
    batches = filled.concatenate(nothing).take(steps)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))
