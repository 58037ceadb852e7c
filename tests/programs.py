"""Starting programs, and reading what they say and write."""

import csv
import os


def devices_of_jax(number):
    """The environment of a process whose JAX sees a CPU as so many devices."""
    count = f"--xla_force_host_platform_device_count={number}"
    return {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {count}"}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())
