"""The time that is left, in words."""

import time


class TimeLeft:
    """How long the rest of a run takes, from how long its tasks took so far.

    Args:
        weights: How long each task takes, compared with the others, in their order.
        processes: How many of them run at a time.
    """

    def __init__(self, weights: list[float], processes: int) -> None:
        self._weights = weights
        self._processes = processes
        self._count = 0
        self._start = time.monotonic()

    def after_one(self) -> str:
        """The time left once another task is done, in words."""
        self._count += 1
        # Those that run at the moment are half done, on average.
        running = self._weights[self._count : self._count + self._processes]
        computed = sum(self._weights[: self._count]) + sum(running) / 2
        elapsed = time.monotonic() - self._start
        return duration(elapsed * (sum(self._weights) - computed) / computed)


def duration(seconds: float) -> str:
    """A time in words, such as "about 10 min"."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
