"""What does `import keras_residual` cost on top of `import keras`?

    KERAS_BACKEND=jax python benchmarks/import_time.py [--rounds 10]

Each round is a new process that imports one after the other and takes both times. The
first round fills the file cache and is not counted.
"""

import argparse
import json
import subprocess
import sys

from _results import report

CODE = """
import json, time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import keras_residual
print(json.dumps([middle - start, time.perf_counter() - middle]))
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"keras": [], "keras_residual after keras": []}
    for number in range(rounds + 1):
        run = subprocess.run(
            [sys.executable, "-c", CODE], check=True, capture_output=True, text=True
        )
        if number:
            times = json.loads(run.stdout.splitlines()[-1])
            for values, value in zip(seconds.values(), times, strict=True):
                values.append(value)
    report("import_time", seconds, "keras")


if __name__ == "__main__":
    main()
