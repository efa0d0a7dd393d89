"""Before the search: where interleavings are enumerated, and what CPUs share in a few plain runs."""

from collections.abc import Sequence

from mklab.errors import require
from mklab.timeline.explore.expand import Partition
from mklab.timeline.explore.search import Points
from mklab.timeline.explore.workers import InProcess

__all__ = ["EVERYWHERE", "At", "chosen_points", "pilot"]

At = Sequence[str | tuple[int, int]]
EVERYWHERE: At = ("memory", "interrupts")


def chosen_points(at: At) -> Points:
    """Where interleavings are enumerated.

    Raises:
        ValueError: one of ``at`` is no such place.
    """
    ranges = []
    for one in at:
        if isinstance(one, tuple) and len(one) == 2:
            require("the start of a range of at", one[0], 0, one[1])
            ranges.append(one)
        elif one not in EVERYWHERE:
            raise ValueError(f"each of at must be 'memory', 'interrupts' or a range of addresses, not {one!r}")
    if "memory" in at:
        return Points(True, "interrupts" in at)
    return Points(tuple(ranges), "interrupts" in at)


def pilot(here: InProcess, points: Points, known: Sequence[tuple[int, int]] = ()) -> tuple[set[int], list[int]]:
    """What CPUs share in a few plain runs, beside the ranges ``known``, and how many transitions each makes."""
    for start, end in known:
        require("the start of a range of shared", start, 0, end)
    here.begin(Partition(forget=False))
    shared = {word for start, end in known for word in range(start >> 3, -(-end >> 3))}
    lengths: list[int] = []
    if not shared:
        shared, lengths = here.pilot()
    if shared:
        memory = tuple(sorted(word for word in shared if word >= 0))
        others = tuple(sorted((word for word in shared if word < 0), reverse=True))
        here.begin(Partition(memory, others, points.chosen(shared)))
        more, lengths = here.pilot()
        shared |= more
    return shared, lengths
