"""What the benchmarks share: alternating rounds, their ratios, and the files."""

import csv
import datetime
import importlib
import os
import pathlib
import platform
import time

import keras
import numpy as np

import keras_residual

RESULTS = pathlib.Path(__file__).parent / "results"
# Seconds of the clock, or of all threads of this process.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def alternate(contestants, rounds, steps=1, clock=time.perf_counter):
    """Returns seconds for each step by contestant, one value for each round.

    They take turns, so that a machine that slows down slows all of them, and the order
    is turned round from one round to the next. The first round compiles and is not
    counted.

    Args:
        contestants: Functions by name; a call of one runs `steps` steps. If it does
            more than that, it returns the seconds that the steps took, a float.
        rounds: How many rounds count.
        steps: How many steps one call runs.
        clock: What tells the time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):
        order = list(contestants)
        if round_number % 2:
            order.reverse()
        for name in order:
            start = clock()
            result = contestants[name]()
            elapsed = clock() - start
            if isinstance(result, float):
                elapsed = result
            if round_number:
                seconds[name].append(elapsed / steps)
        print(f"round {round_number} of {rounds}", flush=True)
    return seconds


def report(question, measured, baseline, unit="seconds", **settings):
    """Prints medians and ratios, and appends every round to a CSV file.

    Args:
        question: Name of the file.
        measured: Values by contestant, one for each round.
        baseline: The contestant that the ratios are taken to, round by round.
        unit: Of the values; the name of their column.
        **settings: What else belongs into each row.
    """
    for name, values in measured.items():
        ratios = np.array(values) / np.array(measured[baseline])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(
            f"{name}: median {np.median(values):.4g} {unit}, n = {len(values)}; "
            f"{middle:.3f} times {baseline} (quartiles {low:.3f} to {high:.3f})"
        )
    backend = keras.backend.backend()
    context = {
        "date": datetime.date.today().isoformat(),
        "backend": backend,
        "backend_version": importlib.import_module(backend).__version__,
        "keras": keras.__version__,
        "keras_residual": keras_residual.__version__,
        "python": platform.python_version(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        **settings,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{question}.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        columns = [*context, "round", "contestant", unit]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        for name, values in measured.items():
            for number, value in enumerate(values, start=1):
                row = {"round": number, "contestant": name, unit: f"{value:.6g}"}
                writer.writerow({**context, **row})
    print(f"appended to {path}")


def read(question):
    """Returns the rows of a CSV file of `report`, as dictionaries of strings."""
    with (RESULTS / f"{question}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _cpu_model():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
