"""Training on all devices of a host, and of several hosts.

The engines are those that Keras has: `tf.distribute.MirroredStrategy` on TensorFlow,
`keras.distribution.DataParallel` on JAX, and under it `jax.distributed` over hosts. The
order of calls:

1. `check_cluster` in the parent process, before anything is computed or written.
2. `connect`, in the process that trains, before the first model or tensor. With hosts
   one process trains one network, and each host has one such process at a time.
3. `with connection.scope():` around building, compiling, loading weights, `fit` and
   `evaluate`.
4. `with connection.alone():` around all that the writer does by itself meanwhile, such
   as saving from a callback.
5. `local_copy` for `predict`, and `close` in every host's process.

**With hosts all of them must do the same, in the same order**: set the same seed, build
the same model with the same callbacks, load the same weights, and leave `fit` after the
same step. Each of these compares or adds up values over all hosts, and waits until all
have come. A callback that adds variables, such as `GradientNormCallback`, belongs on
all hosts, and its file on the writer only.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from _experiment import RefusedError
from _full_batches import full_batches
from _meeting import meet
from _workers import StoppedError

# What gloo, NCCL and JAX's distributed service say when a process is not there anymore.
_LOST = (
    "closed by peer",
    "connection reset",
    "coordination",
    "distributed service",
    "gloo",
    "heartbeat",
    "nccl",
    "socket closed",
)


@dataclass(frozen=True)
class Cluster:
    """What a network is trained on.

    Args:
        devices: "one", or "all" for all accelerators (without any: all CPU devices) of
            each host.
        hosts: One name for each host; the first is "address:port" of the first host,
            where the others find it. Empty for this host alone.
        host_index: Which of them this one is. The first one writes.
        connect_timeout: Seconds to wait for the other hosts at the start.
        heartbeat_timeout: Seconds until a silent host counts as lost.
    """

    devices: str = "one"
    hosts: tuple[str, ...] = ()
    host_index: int = 0
    connect_timeout: int = 300
    heartbeat_timeout: int = 100


def check_cluster(cluster: Cluster, batch_size: int) -> None:
    """Refuses what cannot work, without touching a device.

    Args:
        cluster: What the user asked for.
        batch_size: Images in a step, over all devices and hosts.

    Raises:
        RefusedError: With one line for the user, which names what works.
    """
    backend = keras.config.backend()
    if cluster.devices not in ("one", "all"):
        raise RefusedError(
            f"the devices must be 'one' or 'all', not {cluster.devices!r}"
        )
    if cluster.devices == "all" and backend not in ("jax", "tensorflow"):
        raise RefusedError(
            f"Keras trains on one device under the {backend} backend; for all devices "
            "set KERAS_BACKEND=jax or KERAS_BACKEND=tensorflow"
        )
    if not cluster.hosts:
        if cluster.host_index:
            raise RefusedError(
                f"the host index is {cluster.host_index}, but no hosts were named"
            )
        return
    if backend != "jax":
        raise RefusedError(
            f"several hosts need KERAS_BACKEND=jax: Keras {keras.__version__} cannot "
            f"train over hosts under the {backend} backend"
        )
    count = len(cluster.hosts)
    if count < 2:
        raise RefusedError("several hosts means at least two; leave one alone unnamed")
    address, _, port = cluster.hosts[0].rpartition(":")
    if not address or not port.isdecimal() or not 0 < int(port) < 65536:
        raise RefusedError(
            "the first host must be address:port, where the others find it, not "
            f"{cluster.hosts[0]!r}"
        )
    if not 0 <= cluster.host_index < count:
        raise RefusedError(
            f"the host index must be from 0 to {count - 1}, not {cluster.host_index}"
        )
    if min(cluster.connect_timeout, cluster.heartbeat_timeout) < 1:
        raise RefusedError("the timeouts of hosts must be at least 1 second")
    if batch_size % count:
        raise RefusedError(_not_divisible(batch_size, count, "hosts"))


def connect(cluster: Cluster, batch_size: int | None = None) -> "Connection":
    """Takes the devices, and waits for the other hosts.

    Call it before the first model or tensor. With several hosts it can be called once
    in a process.

    Args:
        cluster: One that passed `check_cluster`.
        batch_size: Images in a step, over all devices and hosts, to be checked against
            the number of devices.

    Raises:
        StoppedError: If the devices do not divide the batch, or the hosts did not come
            together within `connect_timeout` seconds.
    """
    if cluster.hosts:
        _join_hosts(cluster)
        connection: Connection = _DataParallel(cluster)
    elif cluster.devices == "one":
        connection = Connection()
    elif keras.config.backend() == "jax":
        connection = _DataParallel(cluster)
    else:
        connection = _Mirrored()
    if batch_size is not None and batch_size % connection.replicas:
        raise StoppedError(_not_divisible(batch_size, connection.replicas, "devices"))
    return connection


class Connection:
    """The devices that a process trains on: here one, with nothing to set up.

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

        Give `fit` and `evaluate` a `tf.data.Dataset` of this part. Over hosts Keras
        joins the parts in the order of the hosts; it does not divide them any further.
        All batches of training must be full. `fit` needs `steps_per_epoch`, or a
        dataset of known length: without either MirroredStrategy takes an empty step
        more at the end of each epoch.
        """
        return self.host_index, self.hosts

    def scope(self) -> AbstractContextManager[Any]:
        """To be entered for building, compiling, loading weights, `fit`, `evaluate`.

        Raises:
            StoppedError: Out of the block, if another host was lost. On the CPU that is
                at once if its process ended, otherwise within `heartbeat_timeout`
                seconds; in the latter case JAX itself ends this process, and says why
                on its standard error.
        """
        return contextlib.nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        """To be entered for what one host does by itself: saving, models of its own.

        Without it `model.save` on one host of several waits for the others forever.
        """
        return contextlib.nullcontext()

    def validation(self, dataset: Any, num_images: int, batch_size: int) -> Any:
        """Makes batches for `validation_data` that all devices can share.

        The last batch, and batches that this host lacks, are filled up with images of
        weight 0. Losses are exact, and so are those metrics that were compiled as
        `weighted_metrics`.

        Args:
            dataset: One pass over this host's part, batches of (images, labels).
            num_images: Number of images on all hosts.
            batch_size: Images in a step, over all devices and hosts.
        """
        if self.replicas == 1:
            return dataset
        if batch_size % self.replicas:
            raise StoppedError(_not_divisible(batch_size, self.replicas, "devices"))
        steps = -(-num_images // batch_size)
        weight = steps * batch_size / num_images
        return full_batches(dataset, batch_size // self.hosts, steps, weight)

    def local_copy(self, model: keras.Model) -> keras.Model:
        """A copy on one device of this host, with which it can work by itself.

        Over hosts `predict` fails on the model itself, and on several devices of JAX
        with batches that they do not divide.
        """
        if self.replicas == 1:
            return model
        with self.alone():
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
        return copy

    def from_writer(self, content: bytes) -> bytes:
        """The writer's content on all hosts, such as a checkpoint that it alone has."""
        return content

    def agree(self, name: str, value: str) -> None:
        """Makes sure that all hosts are about to do the same.

        Raises:
            StoppedError: On all hosts, if the value is not the same on all of them.
        """

    def close(self) -> None:
        """Waits until all hosts have come here, and parts from them.

        To be called once nothing is left that needs them. A copy from `local_copy` goes
        on working, so that the writer can evaluate while the others have gone.
        """

    def describe(self) -> str:
        """One line for the facts of a run."""
        return f"one device ({keras.config.backend()})"


class _Mirrored(Connection):
    """TensorFlow: each device has the variables and a share of the batch."""

    def __init__(self) -> None:
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU")
        devices = devices or tf.config.list_logical_devices("CPU")
        self._strategy = tf.distribute.MirroredStrategy(
            [device.name for device in devices]
        )
        self.replicas = self._strategy.num_replicas_in_sync
        self._kind = devices[0].device_type

    def scope(self) -> AbstractContextManager[Any]:
        return self._strategy.scope()

    def describe(self) -> str:
        return (
            f"{self.replicas} {self._kind} devices of one host "
            "(tf.distribute.MirroredStrategy); batch normalization and random layers "
            "see each device's share of a batch"
        )


class _DataParallel(Connection):
    """JAX: the batch is divided, everything else is as on one device."""

    def __init__(self, cluster: Cluster) -> None:
        import jax

        devices = jax.devices()
        if cluster.devices == "one":
            first = {device.process_index: device for device in reversed(devices)}
            devices = [first[index] for index in sorted(first)]
        self._kind = devices[0].platform.upper()
        self._timeout = cluster.heartbeat_timeout
        self._distribution = keras.distribution.DataParallel(
            devices=[f"{device.platform}:{device.id}" for device in devices],
            auto_shard_dataset=False,
        )
        self.replicas = len(devices)
        self.hosts = jax.process_count()
        self.host_index = jax.process_index()

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        with self._distribution.scope(), self._loss_said():
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        before = keras.distribution.distribution()
        # Saving makes optimizers to compare with, whose variables would be shared.
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def from_writer(self, content: bytes) -> bytes:
        if self.hosts == 1:
            return content
        from jax.experimental.multihost_utils import broadcast_one_to_all

        with self._loss_said():
            # In bytes: JAX would round numbers of 64 bits.
            length = np.frombuffer(len(content).to_bytes(8, "big"), np.uint8)
            length = np.asarray(broadcast_one_to_all(length))
            data = np.zeros(int.from_bytes(length.tobytes(), "big"), np.uint8)
            if self.is_writer:
                data = np.frombuffer(content, np.uint8)
            return np.asarray(broadcast_one_to_all(data)).tobytes()

    def agree(self, name: str, value: str) -> None:
        if self.hosts == 1:
            return
        from jax.experimental.multihost_utils import process_allgather

        digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)
        with self._loss_said():
            digests = np.asarray(process_allgather(digest))
        others = [
            str(host) for host, row in enumerate(digests) if (row != digests[0]).any()
        ]
        if others:
            raise StoppedError(
                f"the hosts must have the same {name}: those of host 0 and of host "
                f"{', '.join(others)} differ; here it is {value}"
            )

    def close(self) -> None:
        if self.hosts == 1:
            return
        import jax
        from jax.experimental.multihost_utils import sync_global_devices

        with self._loss_said():
            sync_global_devices("close")
        jax.distributed.shutdown()

    def describe(self) -> str:
        hosts = (
            f"{self.hosts} hosts (jax.distributed)" if self.hosts > 1 else "one host"
        )
        return (
            f"{self.replicas} {self._kind} devices of {hosts} "
            "(keras.distribution.DataParallel)"
        )

    @contextlib.contextmanager
    def _loss_said(self) -> Iterator[None]:
        try:
            yield
        except StoppedError:
            raise
        except AssertionError as error:
            if "not the same on each process" not in str(error):
                raise
            raise StoppedError(
                "the hosts do not hold the same values; do all of them run the same "
                "command, and read the same checkpoint?"
            ) from error
        except Exception as error:
            # It may be of any class: a collective's failure comes as a ValueError.
            text = str(error).lower()
            if self.hosts == 1 or not any(words in text for words in _LOST):
                raise
            raise StoppedError(
                f"host {self.host_index} of {self.hosts} lost another host: "
                f"{str(error).splitlines()[0]}. Its own output says why it ended. "
                "Start all hosts again: the training goes on from the last checkpoint"
            ) from error


def _join_hosts(cluster: Cluster) -> None:
    import jax

    count = len(cluster.hosts)
    try:
        meet(cluster.hosts[0], count, cluster.host_index, cluster.connect_timeout)
    except OSError as error:
        raise StoppedError(
            f"the {count} hosts did not come together at {cluster.hosts[0]} within "
            f"{cluster.connect_timeout} s: {error}"
        ) from error
    try:
        jax.distributed.initialize(
            cluster.hosts[0],
            count,
            cluster.host_index,
            cluster_detection_method="deactivate",
            initialization_timeout=cluster.connect_timeout,
            heartbeat_timeout_seconds=cluster.heartbeat_timeout,
            shutdown_timeout_seconds=cluster.heartbeat_timeout,
        )
    except RuntimeError as error:
        raise StoppedError(
            f"JAX cannot connect the {count} hosts: {str(error).splitlines()[0]}"
        ) from error


def _not_divisible(batch_size: int, parts: int, name: str) -> str:
    lower = batch_size // parts * parts
    sizes = f"{lower} or {lower + parts}" if lower else f"{parts}"
    return (
        f"the batch of {batch_size} images cannot be divided among {parts} {name}; "
        f"a batch size of {sizes} can"
    )
