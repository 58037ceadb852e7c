"""Data parallelism of JAX, over the devices of one host or of several."""

import contextlib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from keras_residual._first_line import first_line
from keras_residual.experiments._connection import Connection
from keras_residual.experiments._meeting import meet
from keras_residual.experiments.tasks import StoppedError

_CONNECT = 300  # seconds to wait for the other hosts at the start
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


class DataParallel(Connection):
    """The devices share each batch; everything else is as on one device."""

    def __init__(self, devices: str) -> None:
        """Uses "one" or "all" devices of each host."""
        found = jax.devices()
        if devices == "one":
            first = {device.process_index: device for device in reversed(found)}
            found = [first[index] for index in sorted(first)]
        self._kind = found[0].platform.upper()
        self._distribution = keras.distribution.DataParallel(
            devices=[f"{device.platform}:{device.id}" for device in found],
            auto_shard_dataset=False,
        )
        self.replicas = len(found)
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

    def agree(self, values: Mapping[str, Any]) -> None:
        if self.hosts == 1:
            return
        texts = {
            name: json.dumps(value, sort_keys=True, default=str)
            for name, value in values.items()
        }
        first, *others = map(json.loads, self._gathered(json.dumps(texts)))
        for host, other in enumerate(others, 1):
            different = [
                f"{name} is {_short(first.get(name))} on host 0 and "
                f"{_short(other.get(name))} on host {host}"
                for name in {**first, **other}
                if first.get(name) != other.get(name)
            ]
            if different:
                raise StoppedError(
                    "the hosts must have the same program, settings and data: "
                    + "; ".join(different)
                )

    def _gathered(self, text: str) -> list[str]:
        """The texts of all hosts."""
        own = np.frombuffer(text.encode(), np.uint8)
        with self._loss_said():
            sizes = multihost_utils.process_allgather(np.array([own.size])).ravel()
            # What is gathered must have one shape on all hosts.
            padded = np.pad(own, (0, int(max(sizes)) - own.size))
            rows = np.asarray(multihost_utils.process_allgather(padded))
        pairs = zip(rows, sizes, strict=True)
        return [row[:size].tobytes().decode() for row, size in pairs]

    def close(self) -> None:
        if self.hosts == 1:
            return
        with self._loss_said():
            multihost_utils.sync_global_devices("close")
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
                f"{first_line(error)}. Its own output says why it ended. "
                "Start all hosts again: the training continues from the last checkpoint"
            ) from error


def _short(text: str | None) -> str:
    return textwrap.shorten(text or "missing", 80)


def join_hosts(hosts: Sequence[str], index: int, heartbeat_timeout: int) -> None:
    """Waits for the other hosts, and connects JAX with their devices."""
    count = len(hosts)
    try:
        meet(hosts[0], count, index, _CONNECT)
    except OSError as error:
        raise StoppedError(
            f"the {count} hosts did not come together at {hosts[0]} within "
            f"{_CONNECT} s: {error}"
        ) from error
    try:
        jax.distributed.initialize(
            hosts[0],
            count,
            index,
            cluster_detection_method="deactivate",
            initialization_timeout=_CONNECT,
            heartbeat_timeout_seconds=heartbeat_timeout,
            shutdown_timeout_seconds=heartbeat_timeout,
        )
    except RuntimeError as error:
        raise StoppedError(
            f"JAX cannot connect the {count} hosts: {first_line(error)}"
        ) from error
