"""Starting programs, and reading what they say and write."""

import csv
import json
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


def numbers(folder):
    """All tables and results that a run has computed, without the times."""
    tables = {
        str(path.relative_to(folder)): table(path)
        for path in sorted(folder.rglob("*.csv"))
    }
    for path in sorted(folder.rglob("result.json")):
        tables[str(path.relative_to(folder))] = [json.loads(path.read_text())]
    for rows in tables.values():
        for row in rows:
            for time in ("seconds", "images_per_second"):
                row.pop(time, None)
    return tables
