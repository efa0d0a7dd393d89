"""Which rows and which lanes of the sequence diagram have room, and where each lane stands."""

import bisect
from dataclasses import dataclass
from typing import NamedTuple

from mklab.recording import Film, Ipi
from mklab.widgets.flow import Entry, Flow
from mklab.widgets.messages import Row, row
from mklab.widgets.view import View

__all__ = ["FOLD_ABOVE", "MOST_ROWS", "Lane", "Window", "owner_at", "window"]

FOLD_ABOVE = 12
"""More CPUs than these share a lane for each kernel."""
MOST_ROWS = 16
_CPU = (56, 88)
_SLOT = (44, 60)
"""The least and the most pixels of a lane."""
_WORDS = (170, 300)
"""The least pixels of the words beside the lanes, and those from which on lanes may grow."""
_NARROW = 560
"""Below this many pixels the times stand with the words, not in a column."""
_DIGIT = 6.8
"""Pixels of a digit in a column of times, 11 pixels high."""
_HEAD = 34
"""Pixels of the word above that column."""


class Lane(NamedTuple):
    """What has a lane: ``cpu`` and its index, ``slot`` and its address, ``kernel`` and its name (None: nobody)."""

    kind: str
    what: int | str | None


@dataclass(frozen=True)
class Window:
    """What is shown.

    Attributes:
        rows: the rows.
        earlier, later: how many there are before and after them.
        lanes: the x of the middle of each lane, in pixels.
        sizes: how wide each lane is.
        targets: for each slot, the CPU whose it is.
        unfolded: the CPUs that have lanes of their own; None: all.
        left: where the lanes begin; zero where times have no column.
        words: where the words begin.
    """

    rows: list[Row]
    earlier: int
    later: int
    lanes: dict[Lane, int]
    sizes: dict[Lane, int]
    targets: dict[int, int]
    unfolded: frozenset[int] | None
    left: int
    words: int

    def lane(self, film: Film, cpu: int, event: int) -> Lane:
        """Where ``cpu`` is at ``event``: its lane or, past a dozen CPUs, that of the kernel it belongs to."""
        return _lane(film, cpu, event, self.unfolded)


def window(view: View, width: int) -> Window:
    """The newest rows that have room in ``width`` pixels; around the selected one, where that is older."""
    flow = Flow.of(view.film)
    end = flow.upto(view.event)
    chosen = flow.entry_of(view.selected) if view.selected is not None and view.selected <= view.event else None
    left = max(int(len(f"{view.time:,}") * _DIGIT), _HEAD) + 16 if width >= _NARROW else 8
    room = width - left - _WORDS[0] - 16
    first, last, unfolded = end, end, _unfolded(view, chosen if chosen is not None else end - 1)
    if end:
        first, last = _newest(view, end - 1, end, room, unfolded)
        if chosen is not None and not first <= chosen < last:
            first, last = _newest(view, chosen, end, room, unfolded, around=True)
    rows = [row(view, flow.entries[place]) for place in range(first, last)]
    lanes, targets = _lanes(view.film, rows, unfolded)
    sizes, x, places = _sizes(lanes, width - left - _WORDS[1] - 16), left, {}
    for one in lanes:
        places[one] = x + sizes[one] // 2
        x += sizes[one]
    return Window(rows, first, end - last, places, sizes, targets, unfolded, left, x + 16)


def owner_at(film: Film, cpu: int, event: int) -> str | None:
    """Whose ``cpu`` was after event number ``event``."""
    spans = film.recording.spans[cpu]
    return spans[max(0, bisect.bisect_right(spans, event, key=lambda span: span.start.event) - 1)].owner


def _unfolded(view: View, place: int) -> frozenset[int] | None:
    """The CPUs of the selected row, past a dozen; by default of the newest one."""
    if len(view.film.recording.apic_ids) <= FOLD_ABOVE:
        return None
    flow = Flow.of(view.film)
    if place < 0:
        return frozenset()
    concerned = [flow.recording.ipis[one] for one in flow.entries[place].places]
    found = {concerned[0].sender} | {ipi.target for ipi in concerned if ipi.target is not None}
    # What concerns everybody unfolds nobody.
    return frozenset(found if len(found) <= 3 else {concerned[0].sender})


def _newest(
    view: View, begin: int, end: int, room: int, unfolded: frozenset[int] | None, *, around: bool = False
) -> tuple[int, int]:
    """The first entry, and the one behind the last, of those that have room together with entry ``begin``."""
    flow, lanes = Flow.of(view.film), set[Lane]()

    def fits(place: int) -> bool:
        more = lanes | _lanes_of(view.film, flow.entries[place], unfolded)
        if sum(_least(one) for one in more) > room:
            return False
        lanes.update(more)
        return True

    lanes |= _lanes_of(view.film, flow.entries[begin], unfolded)
    first, last = begin, begin + 1
    while around and last < end and last - first < MOST_ROWS // 2 and fits(last):
        last += 1
    while first > 0 and last - first < MOST_ROWS and fits(first - 1):
        first -= 1
    return first, last


def _lanes_of(film: Film, entry: Entry, unfolded: frozenset[int] | None) -> set[Lane]:
    found = set()
    for place in entry.places:
        ipi = film.recording.ipis[place]
        concerned = [ipi.sender] if entry.kind == "sent" else []
        concerned += [ipi.target] if ipi.target is not None else []
        found |= {_lane(film, cpu, entry.event, unfolded) for cpu in concerned}
        if slot := _slot(ipi, unfolded):
            found.add(slot)
    return found


def _lane(film: Film, cpu: int, event: int, unfolded: frozenset[int] | None) -> Lane:
    own = unfolded is None or cpu in unfolded
    return Lane("cpu", cpu) if own else Lane("kernel", owner_at(film, cpu, event))


def _slot(ipi: Ipi, unfolded: frozenset[int] | None) -> Lane | None:
    shown = ipi.slot is not None and (unfolded is None or ipi.target in unfolded)
    return Lane("slot", ipi.slot.address) if shown and ipi.slot else None


def _lanes(film: Film, rows: list[Row], unfolded: frozenset[int] | None) -> tuple[list[Lane], dict[int, int]]:
    """The lanes of ``rows`` from left to right, each slot left of the CPU whose it is, kernels first; whose slots."""
    found = set[Lane]().union(*(_lanes_of(film, one.entry, unfolded) for one in rows))
    targets: dict[int, int] = {}
    for one in rows:
        for ipi in one.ipis:
            if ipi.slot and ipi.target is not None and Lane("slot", ipi.slot.address) in found:
                targets[ipi.slot.address] = ipi.target
    # A message may be delivered after its sender and its slot have left the window: the CPU has a lane all the same.
    found |= {_lane(film, cpu, rows[-1].entry.event, unfolded) for cpu in targets.values()}
    kernels = sorted((one for one in found if one.kind == "kernel"), key=_kernel_order)
    ordered = list(kernels)
    for cpu in sorted(int(one.what or 0) for one in found if one.kind == "cpu"):
        ordered += [Lane("slot", address) for address in sorted(targets) if targets[address] == cpu]
        ordered.append(Lane("cpu", cpu))
    return ordered, targets


def _kernel_order(lane: Lane) -> tuple[int, int, str]:
    """The host, kernels by number, nobody."""
    words = str(lane.what or "")
    return (0 if words == "host" else 2 if lane.what is None else 1, len(words), words)


def _least(lane: Lane) -> int:
    return (_SLOT if lane.kind == "slot" else _CPU)[0]


def _sizes(lanes: list[Lane], room: int) -> dict[Lane, int]:
    """How wide the lanes are: between their least and their most, as ``room`` allows."""
    least = sum(_least(one) for one in lanes)
    most = sum((_SLOT if one.kind == "slot" else _CPU)[1] for one in lanes)
    part = 0.0 if most == least else min(1.0, max(0.0, (room - least) / (most - least)))
    sizes = {}
    for one in lanes:
        small, large = _SLOT if one.kind == "slot" else _CPU
        sizes[one] = int(small + part * (large - small))
    return sizes
