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

import typing
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import keras

from keras_residual.experiments._connection import Connection as Connection
from keras_residual.experiments._connection import not_divisible
from keras_residual.experiments.run_folder import versions
from keras_residual.experiments.settings import (
    Aside,
    Positive,
    Run,
    refuse,
    shown_default,
)
from keras_residual.experiments.tasks import RefusedError, StoppedError


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


@dataclass(frozen=True, kw_only=True)
class Devices(Run):
    """The options of devices and hosts. Subclass it for the settings of an experiment.

    Args:
        devices: share each step among all devices of a host (TensorFlow, JAX)
        hosts: share each step among hosts (JAX); the first is address:port of the one
            that coordinates, and all need the same run folder
        host_index: which of the hosts this one is, from 0
        host_timeout: seconds until a host that is silent counts as lost
    """

    # On TensorFlow each device normalizes its share of a batch.
    devices: Literal["one", "all"] = "one"
    hosts: Annotated[Aside[tuple[str, ...]], shown_default("none")] = ()
    host_index: Aside[int] = 0
    host_timeout: Aside[Positive] = 100

    @property
    def cluster(self) -> Cluster:
        """The devices and hosts of one training."""
        hosts, timeout = tuple(self.hosts), self.host_timeout
        return Cluster(self.devices, hosts, self.host_index, heartbeat_timeout=timeout)

    def checked(self) -> typing.Self:
        several = bool(self.hosts)
        refuse(
            {
                "argument --hosts: one training at a time, --jobs 1": (
                    several and self.jobs > 1
                ),
                "--hosts and --scheduler exclude each other": (
                    several and bool(self.scheduler)
                ),
            }
        )
        return super().checked()


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
        raise RefusedError(not_divisible(batch_size, count, "hosts"))


def connect(
    cluster: Cluster,
    batch_size: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Connection:
    """Takes the devices, and waits for the other hosts.

    Call it before the first model or tensor. With several hosts it can be called once
    in a process.

    Args:
        cluster: One that passed `check_cluster`.
        batch_size: Images in a step, over all devices and hosts, to be checked against
            the number of devices.
        settings: What must be equal on all hosts, such as the settings and a digest of
            the data. The versions of the packages are compared as well.

    Raises:
        StoppedError: If the devices do not divide the batch, or the hosts did not come
            together within `connect_timeout` seconds, or differ.
    """
    if cluster.hosts or (cluster.devices == "all" and keras.config.backend() == "jax"):
        # JAX is there under its own backend only.
        from keras_residual.experiments._jax_devices import DataParallel, join_hosts

        if cluster.hosts:
            join_hosts(
                cluster.hosts,
                cluster.host_index,
                cluster.connect_timeout,
                cluster.heartbeat_timeout,
            )
        connection: Connection = DataParallel(cluster.devices)
    elif cluster.devices == "all":
        connection = _Mirrored()
    else:
        connection = Connection()
    # Before what one host alone may refuse, and before the others wait for it.
    connection.agree({**versions(), **(settings or {})})
    if batch_size is not None and batch_size % connection.replicas:
        raise StoppedError(not_divisible(batch_size, connection.replicas, "devices"))
    return connection


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
