"""Boxes of a lane: what is drawn of a CPU's spans. However long a run is, there are few of them.

Stretches too short to be seen apart are one box.
"""

import bisect
from collections import defaultdict
from dataclasses import dataclass, replace

from mklab.recording import Span
from mklab.widgets.fates import outlook

__all__ = ["SHORTEST", "Box", "Window", "cut", "index_at", "looks_of", "stretches"]

SHORTEST = 4
"""Pixels of the shortest box."""
_DENSE = 16
"""Spans in that stretch above which a box is made longer at once; a CPU that starts goes through fewer."""
_SAMPLE = 8
"""Spans that are looked at to tell what a box of many looks like."""


@dataclass(frozen=True)
class Window:
    """The stretch of time that is drawn, and how wide.

    Attributes:
        start, end: instructions.
        width: pixels.
    """

    start: float
    end: float
    width: float

    @property
    def per_pixel(self) -> float:
        """Instructions in a pixel."""
        return max(self.end - self.start, 1) / max(self.width, 1)

    def x(self, time: float) -> float:
        """Pixels from the left edge to ``time``."""
        return (time - self.start) / self.per_pixel


@dataclass(frozen=True)
class Box:
    """A stretch of a lane that looks alike.

    Attributes:
        left, right: from where to where it is drawn, in instructions; a short one is drawn longer than it lasts.
        span: the span whose look it has.
        start, end: instructions.
        count: how many spans it stands for.
    """

    left: float
    right: float
    span: Span
    start: int
    end: int
    count: int = 1

    @property
    def alike(self) -> tuple[object, ...]:
        """What tells it from its neighbours."""
        return looks_of(self.span), self.count > 1


def index_at(spans: list[Span], event: int) -> int:
    """The place in ``spans`` of the one that lasted after event number ``event``."""
    return bisect.bisect_right(spans, event, key=lambda span: span.start.event) - 1


def stretches(spans: list[Span], first: int, last: int, start: float, end: float, shortest: float) -> list[Box]:
    """What is drawn of ``spans[first]`` to ``spans[last]`` between ``start`` and ``end`` (instructions).

    A span that took no time is not drawn. One shorter than ``shortest`` is drawn that long, together with those that
    follow it within that time.
    """
    boxes: list[Box] = []
    at = max(bisect.bisect_right(spans, start, first, last + 1, key=_start) - 1, first)
    while at <= last and (begin := max(spans[at].start.time, start)) < end:
        after = at + 1
        if _end(spans, at, last, end) - begin < shortest:
            reach = begin + shortest
            after = bisect.bisect_right(spans, reach, at + 1, last + 1, key=_start)
            if after - at > _DENSE:
                reach += 2 * shortest
                after = bisect.bisect_right(spans, reach, after, last + 1, key=_start)
            # The last of them may go on for longer, and is then a box of its own.
            if after - 1 > at and _end(spans, after - 1, last, end) - spans[after - 1].start.time >= shortest:
                after -= 1
        finish = _end(spans, after - 1, last, end)
        if finish > begin:
            span, count = _common(spans, at, after, begin, finish)
            _append(boxes, Box(begin, finish, span, round(begin), round(finish), count), shortest)
        at = after
    if boxes and boxes[-1].right > end:
        _end_at(boxes, end, max(end - shortest, start))
    return boxes


def _end_at(boxes: list[Box], end: float, left: float) -> None:
    """Let the last box end at ``end`` and begin at ``left`` at the latest: it takes room of those before it."""
    last = boxes.pop()
    left = min(last.left, left)
    # Short ones were drawn longer than they last, so that several may be in its way.
    while boxes and boxes[-1].left >= left:
        boxes.pop()
    if boxes:
        boxes[-1] = replace(boxes[-1], right=min(boxes[-1].right, left))
    boxes.append(replace(last, left=left, right=end))


def _start(span: Span) -> int:
    return span.start.time


def _append(boxes: list[Box], box: Box, shortest: float) -> None:
    """Draw ``box`` after ``boxes``, or make the last one longer where nothing tells them apart."""
    left = max(box.left, boxes[-1].right) if boxes else box.left
    right = max(box.right, left + shortest)
    if boxes and boxes[-1].alike == box.alike:
        before = boxes.pop()
        # What looked alike all along is one stretch, however many spans it took.
        count = before.count + box.count if box.count > 1 else 1
        boxes.append(Box(before.left, right, before.span, before.start, box.end, count))
    else:
        boxes.append(Box(left, right, box.span, box.start, box.end, box.count))


def _end(spans: list[Span], at: int, last: int, end: float) -> float:
    """When a span ends, if it does so before ``end``."""
    own = spans[at].end
    return end if at == last or own is None else min(own.time, end)


def _common(spans: list[Span], first: int, after: int, start: float, end: float) -> tuple[Span, int]:
    """A span that stands for ``spans[first]`` up to ``spans[after]``, and how many of these took time.

    The owner who had the CPU longest, and the longest of what it did. A CPU that runs and halts by turns is shown as
    running, so that its stretches make one box.
    """
    if after - first == 1:
        return spans[first], 1
    # An odd step, lest of two states in turn only one be seen.
    step = (after - first) // _SAMPLE | 1
    owned: dict[str | None, float] = defaultdict(float)
    lasted: dict[tuple[object, ...], float] = defaultdict(float)
    example: dict[tuple[object, ...], Span] = {}
    count = 0
    for span in spans[first:after:step]:
        time = min(span.end.time if span.end else end, end) - max(span.start.time, start)
        if time > 0:
            count += 1
            look = (span.owner, span.state, span.mode, span.planned)
            owned[span.owner] += time
            lasted[look] += time
            example.setdefault(look, span)
    if not owned:
        return spans[first], after - first
    owner = max(owned, key=lambda one: owned[one])
    looks = [look for look in lasted if look[0] == owner]
    longest = max(looks, key=lambda look: (look[1] == "running", lasted[look]))
    return example[longest], 1 if len(lasted) == 1 else count * step


def cut(boxes: list[Box], moment: float, window: Window) -> tuple[list[Box], list[Box]]:
    """What of ``boxes`` lies before ``moment`` (instructions), and what after it."""
    shortest = SHORTEST * window.per_pixel
    middle = bisect.bisect_right(boxes, moment, key=lambda box: box.end)
    past, later = boxes[:middle], boxes[middle:]
    if later and later[0].start < moment:
        box = later[0]
        # How many stretches of a box lie on either side is about as much as there is of it.
        before = (moment - box.start) / (box.end - box.start)
        counts = [max(round(box.count * part), 2) if box.count > 1 else 1 for part in (before, 1 - before)]
        past.append(replace(box, right=moment, end=round(moment), count=counts[0]))
        later[0] = replace(box, left=moment, start=round(moment), count=counts[1])
    if past:
        _end_at(past, moment, max(moment - shortest, window.start))
    if later:
        left = max(later[0].left, moment)
        later[0] = replace(later[0], left=left, right=max(later[0].right, min(left + shortest, window.end)))
    return past, later


def looks_of(span: Span) -> tuple[object, ...]:
    """What is seen of a span."""
    return (*outlook(span), span.planned)
