"""Lanes of CPUs over virtual time, as data: what the picture of ownership and its chart in JupyterLab both draw.

However long a run is, a lane has few boxes: stretches too short to be seen apart are one box.
"""

import bisect
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby

from mklab.recording import Span
from mklab.widgets.fates import Arrival, Fates, outlook
from mklab.widgets.view import View

__all__ = [
    "FOLD_ABOVE",
    "Box",
    "Group",
    "Lane",
    "Window",
    "end_of",
    "groups",
    "index_at",
    "lane",
    "state_of",
    "stretches",
    "ticks",
]

FOLD_ABOVE = 12
"""So many CPUs have a lane each, and so many lanes are shown at once."""
_SHORTEST = 4
"""Pixels of the shortest box."""
_DENSE = 4
"""Spans in that stretch above which a box is made longer at once."""
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
        return _looks(self.span), self.count > 1


@dataclass(frozen=True)
class Group:
    """One CPU, or neighbours that fared alike.

    Attributes:
        cpus: their indexes.
        now: how the first one stands at the moment.
    """

    cpus: list[int]
    now: Span

    @property
    def name(self) -> str:
        """``CPU 2`` or ``CPU 4-63``."""
        return f"CPU {self.cpus[0]}" if len(self.cpus) == 1 else f"CPU {self.cpus[0]}-{self.cpus[-1]}"

    @property
    def has_trouble(self) -> bool:
        """Whether it is shut down or breaks its plan."""
        return self.now.against_plan or self.now.state == "shut down"


@dataclass(frozen=True)
class Lane(Group):
    """The history of a group's first CPU.

    Attributes:
        past, later: boxes up to the moment, and what is recorded beyond it.
        arrivals: INITs and SIPIs that reached it.
    """

    past: list[Box]
    later: list[Box]
    arrivals: list[Arrival]

    def plans(self) -> list[tuple[float, float, str]]:
        """From where to where (as drawn) which owner was planned; the host's own CPUs that it owns are left out."""
        found = []
        for planned, run in groupby(self.past, key=lambda box: _plan_of(box.span)):
            boxes = list(run)
            if planned:
                found.append((boxes[0].left, boxes[-1].right, planned))
        return found

    def broken_plans(self) -> list[tuple[float, float]]:
        """From where to where (as drawn) the CPU belonged to another kernel than the one it was meant for."""
        found = []
        for broken, run in groupby(self.past, key=lambda box: box.span.against_plan):
            boxes = list(run)
            if broken:
                found.append((boxes[0].left, boxes[-1].right))
        return found


def state_of(span: Span) -> str:
    """The state in one word: the mode of a CPU that runs, else its state."""
    return outlook(span)[1]


def end_of(view: View) -> int:
    """The last time (instructions) that is recorded; 1 where nothing is."""
    looks = view.film.looks
    return max(view.film.recording.time, looks[-1].time if looks else 0, 1)


def groups(view: View) -> tuple[list[Group], list[Group]]:
    """The groups of CPUs that have a lane, and those that are left out.

    Up to a dozen CPUs have a lane each. Of more, neighbours that stand alike and have looked alike in turn share one;
    a CPU that is selected has its own. Where that makes more than a dozen, those with trouble and small groups come
    first.
    """
    event, recording = view.event, view.film.recording
    standing = [recording.span_at(cpu, event) for cpu in range(len(recording.apic_ids))]
    if len(standing) <= FOLD_ABOVE:
        return [Group([cpu], now) for cpu, now in enumerate(standing)], []
    fates, own = Fates.of(view.film), _selected(view)

    def fate(cpu: int) -> tuple[object, ...]:
        return (cpu if cpu in own else None, *_looks(standing[cpu]), *fates.outlooks(cpu, event))

    found = [list(cpus) for _, cpus in groupby(range(len(standing)), key=fate)]
    made = [Group(cpus, standing[cpus[0]]) for cpus in found]
    if len(made) <= FOLD_ABOVE:
        return made, []
    ranked = sorted(made, key=lambda one: (one.cpus[0] not in own, not one.has_trouble, len(one.cpus)))
    return ranked[:FOLD_ABOVE], sorted(ranked[FOLD_ABOVE:], key=lambda one: one.cpus)


def _selected(view: View) -> set[int]:
    """The CPUs that are selected, by themselves or with an event."""
    chosen = {view.cpu}
    if view.selected is not None:
        chosen.add(view.film.events[view.selected].cpu)
    return {cpu for cpu in chosen if cpu is not None}


def lane(view: View, group: Group, window: Window) -> Lane:
    """The lane of ``group``."""
    first, recording = group.cpus[0], view.film.recording
    spans, here = recording.spans[first], index_at(recording.spans[first], view.event)
    middle, end = min(max(view.time, window.start), window.end), min(end_of(view), window.end)
    shortest = _SHORTEST * window.per_pixel
    past = stretches(spans, 0, here, window.start, middle, shortest)
    later = stretches(spans, here, len(spans) - 1, middle, end, shortest)
    arrivals = Fates.of(view.film).arrivals(first, window.start, window.end, view.event)
    return Lane(group.cpus, group.now, past, later, _apart(arrivals, 2 * shortest))


def _apart(arrivals: list[Arrival], room: float) -> list[Arrival]:
    """One INIT and one SIPI of those that are too close to be told apart."""
    found: list[Arrival] = []
    last: dict[bool, float] = {}
    for one in arrivals:
        if one.time - last.get(one.is_init, -room) >= room:
            last[one.is_init] = one.time
            found.append(one)
    return found


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
        # There is no room behind the last one: it takes some of what is before it.
        left = max(end - shortest, start)
        boxes[-1] = replace(boxes[-1], left=min(boxes[-1].left, left), right=end)
        if len(boxes) > 1:
            boxes[-2] = replace(boxes[-2], right=min(boxes[-2].right, boxes[-1].left))
    return boxes


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


def _looks(span: Span) -> tuple[object, ...]:
    """What is seen of a span."""
    return (*outlook(span), span.planned)


def _plan_of(span: Span) -> str | None:
    return None if span.planned == span.owner == "host" else span.planned


def ticks(start: float, end: float, about: float = 8) -> list[int]:
    """Round times from ``start`` to ``end`` in steps of 1, 2 or 5 times a power of ten, at most ``about`` steps."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step * about >= end - start:
                return list(range(-int(-start // step) * step, int(end) + 1, step))
        power *= 10
