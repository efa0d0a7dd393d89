"""A stretch of virtual time in words: who owned what in it."""

from itertools import groupby

from mklab.widgets.boxes import Box, index_at, stretches
from mklab.widgets.lanes import state_of
from mklab.widgets.view import View

__all__ = ["Story", "stories"]

Story = tuple[list[int], list[Box]]
"""CPUs that fared alike, and what the first one was, in turn."""


def stories(view: View, start: float, end: float) -> list[Story]:
    """What became of each CPU between ``start`` and ``end`` (instructions), up to the moment.

    Neighbours of which the same is told are told of together. What took less than a hundredth of the time is told of
    with what surrounds it.
    """
    recording = view.film.recording
    found = []
    for cpu, spans in enumerate(recording.spans):
        last = min(end, view.time)
        boxes = stretches(spans, 0, index_at(spans, view.event), start, last, (end - start) / 100)
        found.append((cpu, boxes))
    same = groupby(found, key=lambda pair: [(box.span.owner, state_of(box.span)) for box in pair[1]])
    told = [list(group) for _, group in same]
    return [([cpu for cpu, _ in group], group[0][1]) for group in told]
