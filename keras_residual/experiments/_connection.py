"""The devices of a training: their interface, and that of a single one."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import keras


class Connection:
    """The devices that a process trains on: here one, without any setup.

    Attributes:
        replicas: Number of devices, over all hosts; each has a share of every batch.
        hosts: Number of hosts.
        host_index: Which of them this is.
    """

    replicas = 1
    hosts = 1
    host_index = 0

    @property
    def is_writer(self) -> bool:
        """Whether this host writes files; the others only read."""
        return self.host_index == 0

    @property
    def shard(self) -> tuple[int, int]:
        """This host's part of every batch, as `ImageNetFolder.dataset` takes it.

        Pass a `tf.data.Dataset` of this part to `fit` and `evaluate`. Over hosts Keras
        joins the parts in the order of the hosts and does not divide them further. All
        batches of training must be full. `fit` needs `steps_per_epoch` or a dataset of
        known length: otherwise MirroredStrategy takes an additional, empty step at the
        end of each epoch.
        """
        return self.host_index, self.hosts

    def scope(self) -> AbstractContextManager[Any]:
        """Scope for building, compiling, loading weights, `fit` and `evaluate`.

        Raises:
            StoppedError: Out of the block, if another host was lost. On the CPU this is
                immediate if its process ended. Otherwise JAX itself ends this process
                within `heartbeat_timeout` seconds, with the reason on standard error.
        """
        return contextlib.nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        """Scope for what one host does by itself: saving, and its own models.

        Without it `model.save` on one host of several waits for the others forever.
        """
        return contextlib.nullcontext()

    def validation(self, dataset: Any, num_images: int, batch_size: int) -> Any:
        """Makes batches for `validation_data` that all devices can share.

        The last batch, and batches that this host lacks, are padded with images of
        weight 0. Losses are exact, and so are metrics compiled as `weighted_metrics`.

        Args:
            dataset: One pass over this host's part, batches of (images, labels).
            num_images: Number of images on all hosts.
            batch_size: Images in a step, over all devices and hosts.
        """
        if self.replicas == 1:
            return dataset
        steps = -(-num_images // batch_size)
        weight = steps * batch_size / num_images
        return _full_batches(dataset, batch_size // self.hosts, steps, weight)

    def local_copy(self, model: keras.Model) -> keras.Model:
        """Returns a copy on one device of this host, for work without the others.

        `predict` of the model itself fails over hosts, and on several devices of JAX
        for batches that they do not divide.
        """
        if self.replicas == 1:
            return model
        with self.alone():
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
        return copy

    def agree(self, values: Mapping[str, Any]) -> None:
        """Checks that all hosts are about to do the same.

        Args:
            values: By name what must be equal on all hosts, of types that JSON has.

        Raises:
            StoppedError: On all hosts, with the names of those that differ.
        """

    def close(self) -> None:
        """Waits for all hosts, and disconnects from them.

        Call it once no work needs the others. A copy from `local_copy` still works, so
        the writer can evaluate after the others have gone.
        """

    def describe(self) -> str:
        """One line for the facts of a run."""
        return f"one device ({keras.config.backend()})"


def _full_batches(dataset: Any, size: int, steps: int, weight: float) -> Any:
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
