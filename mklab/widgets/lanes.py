"""Lanes of CPUs over virtual time, as data: what the picture of ownership and its chart in JupyterLab both draw.

Of many CPUs, neighbours that fared alike share a lane.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from weakref import WeakKeyDictionary

from mklab.recording import Film, Recording, Span
from mklab.widgets.boxes import SHORTEST, Box, Window, cut, looks_of, stretches
from mklab.widgets.fates import Arrival, Fates, outlook
from mklab.widgets.view import View

__all__ = ["FOLD_ABOVE", "Group", "Lane", "end_of", "groups", "lane", "plans", "state_of", "ticks"]

FOLD_ABOVE = 12
"""So many CPUs have a lane each, and so many lanes are shown at once."""


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
        whole: boxes of all that is recorded, wherever the moment is.
        past, later: boxes up to the moment, and what is recorded beyond it.
        arrivals: INITs and SIPIs that reached it.
    """

    whole: list[Box]
    past: list[Box]
    later: list[Box]
    arrivals: list[Arrival]

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


def end_of(film: Film) -> int:
    """The last time (instructions) that is recorded; 1 where nothing is."""
    looks = film.looks
    return max(film.recording.time, looks[-1].time if looks else 0, 1)


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
        return (cpu if cpu in own else None, *looks_of(standing[cpu]), *fates.outlooks(cpu, event))

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
    moment = min(max(view.time, window.start), window.end)
    whole = _boxes(view.film, group.cpus[0], window)
    past, later = cut(whole, moment, window)
    arrivals = Fates.of(view.film).arrivals(group.cpus[0], window.start, window.end, view.event)
    return Lane(group.cpus, group.now, whole, past, later, _apart(arrivals, 2 * SHORTEST * window.per_pixel))


def _boxes(film: Film, cpu: int, window: Window) -> list[Box]:
    """The boxes of ``cpu`` as long as the film is. Whoever goes to and fro in a film needs them again and again."""
    known = _KNOWN.get(film)
    if known is None or known.recording is not film.recording or known.count != film.count:
        known = _KNOWN[film] = _Known(film.recording, film.count)
    found = known.boxes.get((cpu, window))
    if found is None:
        spans = film.recording.spans[cpu]
        end, shortest = min(end_of(film), window.end), SHORTEST * window.per_pixel
        found = known.boxes[cpu, window] = stretches(spans, 0, len(spans) - 1, window.start, end, shortest)
        if len(known.boxes) > _MOST_KNOWN:
            del known.boxes[next(iter(known.boxes))]
    return found


@dataclass
class _Known:
    """What was drawn last of a recording that was as long as that: a chart and a still picture have two windows."""

    recording: Recording
    count: int
    boxes: dict[tuple[int, Window], list[Box]] = field(default_factory=dict)


_MOST_KNOWN = 8 * FOLD_ABOVE
_KNOWN: WeakKeyDictionary[Film, _Known] = WeakKeyDictionary()


def _apart(arrivals: list[Arrival], room: float) -> list[Arrival]:
    """One INIT and one SIPI of those that are too close to be told apart."""
    found: list[Arrival] = []
    last: dict[bool, float] = {}
    for one in arrivals:
        if one.time - last.get(one.is_init, -room) >= room:
            last[one.is_init] = one.time
            found.append(one)
    return found


def plans(boxes: Sequence[Box]) -> list[tuple[float, float, str]]:
    """From where to where (as drawn) which owner was planned; the host's own CPUs that it owns are left out."""
    found = []
    for planned, run in groupby(boxes, key=lambda box: _plan_of(box.span)):
        alike = list(run)
        if planned:
            found.append((alike[0].left, alike[-1].right, planned))
    return found


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
