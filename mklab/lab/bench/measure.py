"""Timing: pairs side by side, so that what else the computer does hits both alike; the median of several."""

import gc
import statistics
import time
from collections.abc import Callable

__all__ = ["median", "ratio", "seconds"]


def seconds(act: Callable[[], object]) -> float:
    """How long ``act`` takes."""
    gc.collect()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def ratio(ours: Callable[[], float], other: Callable[[], float], pairs: int) -> tuple[float, float, float]:
    """Medians over ``pairs`` pairs: of ``ours() / other()``, of ``ours()`` and of ``other()`` (speeds)."""
    both = [(ours(), other()) for _ in range(pairs)]
    return (
        statistics.median(one / two for one, two in both),
        statistics.median(one for one, _ in both),
        statistics.median(two for _, two in both),
    )


def median(measure: Callable[[], float], times: int) -> float:
    """The median of ``times`` measurements."""
    return statistics.median(measure() for _ in range(times))
