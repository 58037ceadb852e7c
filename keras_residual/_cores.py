"""The number of cores to use."""

import os


def cores() -> int:
    """Number of cores that this process may use, at most the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
