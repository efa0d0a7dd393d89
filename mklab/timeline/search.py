"""Looks, while a machine runs at full speed, whether a slice held something at which it is to stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from mklab.machine.machine import Machine
from mklab.timeline.stops import Breakpoint, StopPoint, ValueWatch
from mklab.trace import Event, Slice

__all__ = ["Found", "Search"]


@dataclass(frozen=True)
class Found:
    """Something to stop at happened in a slice.

    Attributes:
        stop: what was asked for.
        cpu: the CPU that ran.
        over: for a breakpoint, how many instructions of the slice precede it.
        event: for an event, its number.
        before: for a value, what it was.
    """

    stop: StopPoint
    cpu: int
    over: int = 0
    event: int = 0
    before: object = None


class Search:
    """Within its ``with``, finds out in which slice something to stop at happens.

    Args:
        machine: the machine.
        stops: what to look for.
        after: so many instructions of the first slice are over already, and what lies at them was seen; -1: none.

    Attributes:
        found: what was found in the last slice looked at.
        after: as above, for that slice.
    """

    def __init__(self, machine: Machine, stops: Sequence[StopPoint], after: int) -> None:
        self._machine = machine
        self._stops = list(stops)
        self._values = {stop: stop.value(machine) for stop in stops if isinstance(stop, ValueWatch)}
        self._reached: list[tuple[int, int, int]] = []
        self._seen = machine.trace.count
        self.found: list[Found] = []
        self.after = after

    def __enter__(self) -> "Search":
        """Let the engine tell of breakpoints."""
        addresses = frozenset(stop.address for stop in self._stops if isinstance(stop, Breakpoint))
        self._machine.engine.set_breakpoints(addresses, self._on_breakpoint)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """It need not any more."""
        self._machine.engine.set_breakpoints(frozenset(), self._on_breakpoint)

    def _on_breakpoint(self, address: int, executed: int) -> None:
        self._reached.append((self._machine.current, address, self._machine.time + executed))

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
            self.after = -1
        self._seen = trace.count
        self._reached.clear()
        return False

    def _in(self, last: Slice, cpu: int, new: list[Event], stop: StopPoint) -> list[Found]:
        begun = last.time - last.executed
        if isinstance(stop, Breakpoint):
            for where, address, time in self._reached:
                if address == stop.address and stop.cpu in (None, where) and time - begun > self.after:
                    return [Found(stop, cpu, over=time - begun)]
        elif isinstance(stop, ValueWatch):
            if stop.cpu in (None, cpu) and stop.value(self._machine) != self._values[stop]:
                return [Found(stop, cpu, before=self._values[stop])]
            self._values[stop] = stop.value(self._machine)
        else:
            for event in new:
                if stop.matches(event) and (self.after < 0 or event.time - begun >= self.after):
                    return [Found(stop, cpu, event=event.seq)]
        return []
