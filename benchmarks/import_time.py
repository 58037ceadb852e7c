"""What does `import keras_residual` cost on top of `import keras`?

Runs both in new processes, alternating, so that a slow moment of the machine meets
both; prints the medians and their difference, and appends all times to
`benchmarks/results/import_time.csv`. `KERAS_BACKEND` chooses the backend.
"""

import argparse
import csv
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras

import keras_residual

RESULTS = Path(__file__).parent / "results/import_time.csv"
CODE = {
    "keras": "import keras",
    "keras_residual": "import keras; import keras_residual",
}


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def measure(pairs):
    """Return one dictionary of seconds per pair."""
    for code in CODE.values():
        seconds(code)  # fills the file cache and writes the byte code
    times = []
    for number in range(pairs):
        order = list(CODE) if number % 2 == 0 else list(CODE)[::-1]
        times.append({name: seconds(CODE[name]) for name in order})
    return times


def append(times):
    constant = {
        "date": datetime.date.today().isoformat(),
        "backend": keras.backend.backend(),
        "keras_version": keras.__version__,
        "keras_residual_version": keras_residual.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*constant, "pair", *CODE], lineterminator="\n")
        if is_new:
            writer.writeheader()
        for pair, row in enumerate(times):
            rounded = {name: round(value, 4) for name, value in row.items()}
            writer.writerow({**constant, "pair": pair, **rounded})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10, help="number of pairs")
    times = measure(parser.parse_args().pairs)
    append(times)
    for name in CODE:
        median = statistics.median(row[name] for row in times)
        print(f"{CODE[name]}: median {median:.3f} s, n={len(times)}")
    difference = statistics.median(
        row["keras_residual"] - row["keras"] for row in times
    )
    print(f"median difference within a pair: {difference:+.3f} s")


if __name__ == "__main__":
    main()
