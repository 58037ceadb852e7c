"""What the benchmarks share: ratios of alternating rounds, and where they are kept."""

import csv
import datetime
import importlib.metadata
import os
import pathlib
import platform

import keras
import numpy as np

RESULTS = pathlib.Path(__file__).parent / "results"


def summarize_pairs(seconds, baseline):
    """One row per contestant: medians, and the ratio to the baseline round by round."""
    rows = []
    for name, values in seconds.items():
        ratios = np.array(values) / np.array(seconds[baseline])
        low, high = np.quantile(ratios, [0.25, 0.75])
        rows.append(
            {
                "contestant": name,
                "n": len(values),
                "median_ms": round(1000 * float(np.median(values)), 3),
                "min_ms": round(1000 * min(values), 3),
                "ratio_to": baseline,
                "ratio_median": round(float(np.median(ratios)), 4),
                "ratio_quartiles": f"{low:.4f}-{high:.4f}",
            }
        )
    return rows


def append_results(question, rows, **settings):
    """Prints the rows and appends them, with hardware and versions, to a CSV file."""
    backend = keras.backend.backend()
    context = {
        "date": datetime.date.today().isoformat(),
        "backend": backend,
        "backend_version": importlib.metadata.version(backend),
        "keras": keras.__version__,
        "python": platform.python_version(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        **settings,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{question}.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*context, *rows[0]])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({**context, **row})
            print("  ".join(f"{key}={value}" for key, value in row.items()))
    print(f"appended to {path}")


def _cpu_model():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
