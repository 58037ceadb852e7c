"""How many cores there are to use."""

import os


def cores() -> int:
    """Number of cores that this process may use, fewer than the machine's at times."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
