"""Snapshots of a whole machine, cheap enough to be kept by the thousand, and restored in any order.

Of RAM a snapshot holds the pages in which it differs from how the RAM was when the first one was taken; pages with the
same contents are the same object. It serves the machine and the process that it was taken in; for a file there is
:mod:`mklab.machine.state`.
"""

import pickle
from dataclasses import dataclass
from typing import Any

from mklab.machine.machine import Machine, Stop
from mklab.machine.memory import PAGE
from mklab.machine.ownership import Image
from mklab.machine.process import Call
from mklab.machine.schedule import Schedule
from mklab.timeline.comparison import filled
from mklab.timeline.pages import ChangedPages
from mklab.trace import Event

__all__ = ["Snapshot", "Snapshots"]

_ZEROS = bytes(PAGE)


class _Node:
    """A snapshot's place in the tree of all: what happened, and which pages changed, since its parent."""

    __slots__ = ("count", "depth", "events", "pages", "parent")

    def __init__(self, parent: "_Node | None", count: int, events: list[Event], pages: list[int]) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.count = count
        self.events = events
        self.pages = pages


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A moment of a machine.

    Attributes:
        pages: page address to contents, of pages that are not as in the golden base.
        contexts: each CPU's registers, opaque.
        plain: everything else that changes.
        count, sha256, time: the trace's number of events and digest, and virtual time.
        node: its place among the others.
    """

    pages: dict[int, bytes]
    contexts: tuple[bytes, ...]
    plain: "_Plain"
    count: int
    sha256: str
    time: int
    node: _Node


@dataclass(frozen=True, slots=True, eq=False)
class _Plain:
    """What is plain data. A call under way and a schedule are the same objects after a restore: others hold them."""

    current: int
    cpus: list[dict[str, Any]]
    board: dict[str, Any]
    schedule: Schedule
    schedule_state: dict[str, Any]
    images: list[Image]
    calls: list[tuple[Call, bytes]]
    installed: list[str]
    stopped: Stop | None

    @classmethod
    def of(cls, machine: Machine) -> "_Plain":
        return cls(
            machine.current,
            [dict(vars(cpu)) for cpu in machine.cpus],
            machine.board.state(),
            machine.schedule,
            machine.schedule.state(),
            list(machine.images.values()),
            [(call, pickle.dumps(vars(call))) for call in machine.calls],
            list(machine.installed),
            machine.stopped,
        )

    def restore(self, machine: Machine) -> None:
        machine.current = self.current
        for cpu, values in zip(machine.cpus, self.cpus, strict=True):
            vars(cpu).update(values)
        machine.board.restore(self.board)
        machine.restore_schedule(self.schedule, self.schedule_state)
        machine.images.clear()
        machine.images.update({image.name: image for image in self.images})
        machine.calls[:] = [call for call, _ in self.calls]
        for call, data in self.calls:
            vars(call).update(pickle.loads(data))  # noqa: S301 - made by this process, never read from a file
        machine.installed[:] = self.installed
        machine.stopped = self.stopped


class Snapshots:
    """Takes snapshots of a machine, and restores them.

    Args:
        machine: between two slices, now and whenever one is taken or restored.
        source: how changed pages are found: one of :data:`mklab.timeline.pages.SOURCES`; by default the best.

    Attributes:
        source: the name of that.

    Raises:
        ValueError: there is no such source, or this host does not offer it.
    """

    def __init__(self, machine: Machine, source: str | None = None) -> None:
        self._machine = machine
        self._changed = ChangedPages(machine.memory, source)
        self.source = self._changed.source
        self._base = {address: machine.memory.read(address, PAGE) for address in filled(machine.memory)}
        trace = machine.trace
        node = _Node(None, trace.count, [], [])
        contexts = tuple(map(machine.engine.save_context, range(len(machine.cpus))))
        # Written by the last restore: after that, a comparison knows nothing of them.
        self._restored: set[int] = set()
        self._last = Snapshot({}, contexts, _Plain.of(machine), trace.count, trace.sha256, machine.time, node)

    def take(self) -> Snapshot:
        """The machine as it is now."""
        machine, last, trace = self._machine, self._last, self._machine.trace
        pages = last.pages
        changed: list[int] = []
        for address in self._written():
            offset, buffer = machine.memory.find(address, PAGE)
            page = buffer[offset : offset + PAGE]
            if page != pages.get(address, self._base.get(address, _ZEROS)):
                if not changed:
                    pages = dict(pages)
                pages[address] = page
                changed.append(address)
        new = trace.events[len(trace.events) - (trace.count - last.count) :] if trace.count > last.count else []
        node = _Node(last.node, trace.count, new, changed)
        contexts = []
        for cpu, before in enumerate(last.contexts):
            context = machine.engine.save_context(cpu)
            contexts.append(before if context == before else context)
        plain = _Plain.of(machine)
        self._last = Snapshot(pages, tuple(contexts), plain, trace.count, trace.sha256, machine.time, node)
        return self._last

    def _written(self) -> set[int]:
        """The pages that may be other ones than in the last snapshot taken or restored."""
        pages = self._restored.union(self._changed.changed())
        self._restored.clear()
        return pages

    def restore(self, snapshot: Snapshot) -> None:
        """Make the machine what it was when ``snapshot`` was taken, its trace too."""
        machine, here = self._machine, self._last
        common, changed, events = _way(here.node, snapshot.node)
        changed.update(self._written())
        self._last = snapshot
        for address in changed:
            page = snapshot.pages.get(address) or self._base.get(address, _ZEROS)
            offset, buffer = machine.memory.find(address, PAGE)
            if buffer[offset : offset + PAGE] != page:
                buffer[offset : offset + PAGE] = page
                self._restored.add(address)
                machine.memory.on_write(address, address + PAGE)
        for cpu, context in enumerate(snapshot.contexts):
            machine.engine.load_context(cpu, context)
        snapshot.plain.restore(machine)
        machine.time = snapshot.time
        trace = machine.trace
        del trace.events[max(0, len(trace.events) - (trace.count - common.count)) :]
        trace.events += events
        trace.count, trace.sha256 = snapshot.count, snapshot.sha256


def _way(here: _Node, there: _Node) -> tuple[_Node, set[int], list[Event]]:
    """The last node that both have in common, the pages changed since on either side, and the events to ``there``."""
    pages: set[int] = set()
    new: list[list[Event]] = []
    while here is not there:
        if here.depth >= there.depth and here.parent is not None:
            pages.update(here.pages)
            here = here.parent
        else:
            pages.update(there.pages)
            new.append(there.events)
            assert there.parent is not None, "the snapshot is one of another machine's"
            there = there.parent
    return here, pages, [event for events in reversed(new) for event in events]
