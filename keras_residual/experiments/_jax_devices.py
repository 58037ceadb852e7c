"""Data parallelism of JAX, over the devices of one host or of several."""

import contextlib
import hashlib
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
        # First the names: what is gathered must have one shape on all hosts.
        others, _ = self._others([json.dumps(list(texts))])
        if others:
            raise StoppedError(
                "the hosts must run the same version of the program: "
                f"{_named(others)} has other settings than host 0"
            )
        others, places = self._others([*texts.values()])
        if others:
            pairs = [*texts.items()]
            here = "; ".join(
                f"{pairs[place][0]} is {textwrap.shorten(pairs[place][1], 80)} here"
                for place in places
            )
            raise StoppedError(
                f"the hosts must have the same settings and data: {_named(others)} "
                f"differs from host 0: {here}"
            )

    def _others(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Hosts with other texts than host 0, and the places of these texts."""
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        rows = np.array([np.frombuffer(digest, np.uint8) for digest in digests])
        with self._loss_said():
            gathered = np.asarray(multihost_utils.process_allgather(rows))
        other = (gathered != gathered[0]).any(-1)
        return (
            np.flatnonzero(other.any(1)).tolist(),
            np.flatnonzero(other.any(0)).tolist(),
        )

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


def _named(hosts: Sequence[int]) -> str:
    return f"host {', '.join(map(str, hosts))}"


def join_hosts(
    hosts: Sequence[str], index: int, connect_timeout: int, heartbeat_timeout: int
) -> None:
    """Waits for the other hosts, and connects JAX with their devices."""
    count = len(hosts)
    try:
        meet(hosts[0], count, index, connect_timeout)
    except OSError as error:
        raise StoppedError(
            f"the {count} hosts did not come together at {hosts[0]} within "
            f"{connect_timeout} s: {error}"
        ) from error
    try:
        jax.distributed.initialize(
            hosts[0],
            count,
            index,
            cluster_detection_method="deactivate",
            initialization_timeout=connect_timeout,
            heartbeat_timeout_seconds=heartbeat_timeout,
            shutdown_timeout_seconds=heartbeat_timeout,
        )
    except RuntimeError as error:
        raise StoppedError(
            f"JAX cannot connect the {count} hosts: {first_line(error)}"
        ) from error
