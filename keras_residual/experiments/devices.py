"""Training on all devices of a host, and of several hosts.

The engines are those that Keras has: `tf.distribute.MirroredStrategy` on TensorFlow,
`keras.distribution.DataParallel` on JAX, and under it `jax.distributed` over hosts. The
order of calls:

1. `check_devices` in the parent process, before anything is computed or written.
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

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import keras

from keras_residual.experiments._connection import Connection as Connection
from keras_residual.experiments.run_folder import versions
from keras_residual.experiments.settings import (
    Aside,
    Positive,
    Run,
    refuse,
    shown_default,
)
from keras_residual.experiments.tasks import StoppedError


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


def check_devices(options: Devices, batch_size: int) -> None:
    """Refuses what cannot work, without touching a device.

    Args:
        options: What the user asked for.
        batch_size: Images in a step, over all devices and hosts.

    Raises:
        RefusedError: With one line for the user, which names what works.
    """
    backend = keras.config.backend()
    hosts, index, count = options.hosts, options.host_index, len(options.hosts)
    refuse(
        {
            f"the devices must be 'one' or 'all', not {options.devices!r}": (
                options.devices not in ("one", "all")
            ),
            f"Keras trains on one device under the {backend} backend; for all devices "
            "set KERAS_BACKEND=jax or KERAS_BACKEND=tensorflow": (
                options.devices == "all" and backend not in ("jax", "tensorflow")
            ),
            f"the host index is {index}, but no hosts were named": (
                not hosts and index != 0
            ),
        }
    )
    if not hosts:
        return
    address, _, port = hosts[0].rpartition(":")
    is_port = port.isdecimal() and 0 < int(port) < 65536
    refuse(
        {
            "argument --hosts: one training at a time, --jobs 1": options.jobs > 1,
            "--hosts and --scheduler exclude each other": bool(options.scheduler),
            f"several hosts need KERAS_BACKEND=jax: Keras {keras.__version__} cannot "
            f"train over hosts under the {backend} backend": backend != "jax",
            "several hosts means at least two; leave one alone unnamed": count < 2,
            "the first host must be address:port, where the others find it, not "
            f"{hosts[0]!r}": not address or not is_port,
            f"the host index must be from 0 to {count - 1}, not {index}": (
                not 0 <= index < count
            ),
            "the timeout of hosts must be at least 1 second": options.host_timeout < 1,
            _not_divisible(batch_size, count, "hosts"): batch_size % count != 0,
        }
    )


def connect(options: Devices, settings: Mapping[str, Any]) -> Connection:
    """Takes the devices, and waits for the other hosts.

    Call it before the first model or tensor. With several hosts it can be called once
    in a process.

    Args:
        options: What passed `check_devices`.
        settings: What must be equal on all hosts, such as a digest of the data. The
            versions of the packages are compared as well. The devices must divide its
            "batch_size", the images in a step over all of them.

    Raises:
        StoppedError: If the devices do not divide the batch, or the hosts did not come
            together within five minutes, or differ.
    """
    if options.hosts or (options.devices == "all" and keras.config.backend() == "jax"):
        # JAX is there under its own backend only.
        from keras_residual.experiments._jax_devices import DataParallel, join_hosts

        if options.hosts:
            join_hosts(options.hosts, options.host_index, options.host_timeout)
        connection: Connection = DataParallel(options.devices)
    elif options.devices == "all":
        connection = _Mirrored()
    else:
        connection = Connection()
    # Before what one host alone may refuse, and before the others wait for it.
    connection.agree({**versions(), **settings})
    batch_size = settings["batch_size"]
    if batch_size % connection.replicas:
        raise StoppedError(_not_divisible(batch_size, connection.replicas, "devices"))
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


def _not_divisible(batch_size: int, parts: int, name: str) -> str:
    lower = batch_size // parts * parts
    sizes = f"{lower} or {lower + parts}" if lower else f"{parts}"
    return (
        f"the batch of {batch_size} images cannot be divided among {parts} {name}; "
        f"a batch size of {sizes} can"
    )
