"""Looks, while a machine runs at full speed, whether a slice held something at which it is to stop."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from mklab.machine.engine.accesses import Accesses
from mklab.machine.machine import Machine
from mklab.timeline.stops import Breakpoint, StopPoint, ValueWatch
from mklab.timeline.watched import Watched
from mklab.trace import Event, Slice

__all__ = ["Found", "Search"]


@dataclass(frozen=True)
class Found:
    """Something to stop at happened in a slice.

    Attributes:
        stop: what was asked for.
        cpu: the CPU that ran.
        over: how many instructions of the slice precede it, of a value: the moment at which it is changed; -1: unknown.
        event: for an event, its number.
        before: for a value, what it was.
    """

    stop: StopPoint
    cpu: int
    over: int = -1
    event: int = 0
    before: object = None


class Search:
    """Within its ``with``, finds out in which slice something to stop at happens.

    Args:
        machine: the machine.
        stops: what to look for.
        after: so many instructions of the first slice are over already, and what lies at them was seen; -1: none.
        due: but the next instruction was not: an interrupt comes before it, and it is the first one of the handler.

    Attributes:
        found: what was found in the last slice looked at.
        after: as above, for that slice.
    """

    def __init__(self, machine: Machine, stops: Sequence[StopPoint], after: int, due: bool) -> None:
        self._machine = machine
        self._stops = list(stops)
        self._watched = {stop: Watched(machine, stop) for stop in stops if isinstance(stop, ValueWatch)}
        self._entered = ExitStack()
        # What is executed again up to here, where a slice is finished, was seen.
        self._seen_until = machine.now
        self._reached: list[tuple[int, int, int]] = []
        self._seen = machine.trace.count
        self.found: list[Found] = []
        self.after, self._due = after, due

    def __enter__(self) -> "Search":
        """Let the engine tell of breakpoints, and of stores to memory whose contents are watched."""
        hull = [watched.memory for watched in self._watched.values() if watched.memory is not None]
        if hull:
            written = (min(first for first, _ in hull), max(last for _, last in hull))
            self._entered.enter_context(Accesses(self._machine.engine, self._on_access, written))
            self._machine.memory.witness = self._on_access
        addresses = frozenset(stop.address for stop in self._stops if isinstance(stop, Breakpoint))
        self._machine.engine.set_breakpoints(addresses, self._on_breakpoint)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """It need not any more."""
        self._machine.memory.witness = None
        self._entered.close()
        self._machine.engine.set_breakpoints(frozenset(), self._on_breakpoint)

    def _on_breakpoint(self, address: int, executed: int) -> None:
        self._reached.append((self._machine.current, address, self._machine.time + executed))

    def _on_access(self, paddr: int, size: int, write: bool) -> None:
        """By guest code, or by the machine for it, as when it pushes an interrupt's frame."""
        if not write or self._machine.now <= self._seen_until:
            return
        memory = self._machine.memory
        witness, memory.witness = memory.witness, None
        try:
            for watched in self._watched.values():
                watched.about_to_store(paddr, size)
        finally:
            memory.witness = witness

    def restart(self, count: int) -> None:
        """Look at the events from number ``count`` on."""
        self._seen = count
        self._reached.clear()

    def look(self) -> bool:
        """Between two slices: whether the last one held something to stop at."""
        trace = self._machine.trace
        new = trace.events[len(trace.events) - (trace.count - self._seen) :] if trace.count > self._seen else []
        last = new[-1] if new else None
        if isinstance(last, Slice) and last.cpu is not None:
            self.found = [found for stop in self._stops for found in self._in(last, last.cpu, new, stop)]
            if self.found:
                return True
            self.after, self._due = -1, False
        self._seen = trace.count
        self._reached.clear()
        return False

    def _in(self, last: Slice, cpu: int, new: list[Event], stop: StopPoint) -> list[Found]:
        begun = last.time - last.executed
        if isinstance(stop, Breakpoint):
            for where, address, time in self._reached:
                if address == stop.address and stop.cpu in (None, where) and time - begun > self.after - self._due:
                    return [Found(stop, cpu, over=time - begun)]
        elif isinstance(stop, ValueWatch):
            watched = self._watched[stop]
            before, value = watched.before, watched.compare()
            changed = -1 if watched.changed is None else watched.changed - begun
            watched.begin(value)
            if stop.cpu in (None, cpu) and (changed >= 0 or value != before):
                return [Found(stop, cpu, changed, before=before)]
        else:
            for event in new:
                if stop.matches(event) and (self.after < 0 or event.time - begun >= self.after):
                    return [Found(stop, cpu, event=event.seq)]
        return []
