"""A machine's timeline: it runs on, stops where it is asked to, exactly, and goes back and forward in what happened."""

from collections.abc import Callable

from mklab.machine.machine import Machine, Stop
from mklab.timeline.journal import Installers
from mklab.timeline.search import Found, Search
from mklab.timeline.snapshot import Snapshot
from mklab.timeline.stops import Breakpoint, StopPoint, ValueWatch
from mklab.timeline.travel import UNITS, Cut, Travel

__all__ = ["UNITS", "Timeline"]


class Timeline(Travel):
    """The past of a machine, what is recorded of its future, and where it is to stop.

    Args:
        machine, installers, source: see :class:`mklab.timeline.travel.Travel`.

    Attributes:
        stops: where :meth:`run` stops: see :mod:`mklab.timeline.stops`.
    """

    def __init__(self, machine: Machine, installers: Installers | None = None, source: str | None = None) -> None:
        super().__init__(machine, installers, source)
        self.stops: list[StopPoint] = []
        machine.timeline = self
        machine.onlookers.append(self)

    stride, each_event = 1 << 62, False
    """As an onlooker of the machine it wants to see the ends of slices only."""

    def look(self, why: str) -> None:
        """The machine stands still: it is time for a snapshot, if a slice has ended and the last one lies far back."""
        if why == "slice":
            self._notice()
            self._kept.take_now_and_then()

    def run(self, budget: int = 5_000_000, until: Callable[[Machine], bool] | None = None) -> Stop:
        """Let the machine run on, as :meth:`mklab.machine.machine.Machine.run` does, but stop at :attr:`stops`, too.

        Inside a slice, that slice is finished first, as it was recorded. What was recorded beyond it is forgotten.
        """
        end = self.machine.time + budget
        while True:
            stop, search = self._run(end - self.machine.time, until)
            if not search.found:
                return stop
            self._notice()
            found = self._stop_at(len(self._history.slices) - 1, search)
            if found is not None:
                return found

    def _run(self, budget: int, until: Callable[[Machine], bool] | None) -> tuple[Stop, Search]:
        """Up to the end of the slice in which something to stop at was seen."""
        position, instructions, place = self.position, self.instructions, self._place()
        search = Search(self.machine, self.stops, *((-1, False) if self._end is None else self._seen(place)))
        with search:
            if self._end is not None:
                if place.added:
                    self._finish(place.slice_, search, position)
                    budget -= self.instructions - instructions
                self._forget_future()
            stop = self.machine.run(
                max(1, budget),
                lambda machine: search.look() or budget < 1 or (until is not None and until(machine)),
            )
            if not search.found:
                search.look()  # a slice that has stopped the machine for good is the last one; nobody was asked then
        if budget < 1 and not search.found:
            stop = Stop("budget", self.machine.current, "the slice in which it stood is finished")
        return stop, search

    def _seen(self, place: Cut) -> tuple[int, bool]:
        """For a search: how much of the slice is over, and whether a handler is entered next."""
        cpu = self._history.slices[place.slice_].cpu if place.slice_ < len(self._history.slices) else None
        return place.over, cpu is not None and not place.entered and self.machine.interrupt_due(cpu)

    def _finish(self, slice_: int, search: Search, position: int) -> None:
        """From inside that slice to its end; ``position`` events were seen by that search."""
        with self._going():
            self._go(Cut(slice_))
            search.restart(position)
            self._follow_slice(slice_)

    def _stop_at(self, slice_: int, search: Search) -> Stop | None:
        """At the first of what was found in that slice, the last one; None: it was nothing, and the slice is over."""
        executed = self._history.slices[slice_].executed
        with self._going():
            located = ((self._locate(slice_, found, max(0, search.after)), found) for found in search.found)
            places = [(cut, found) for cut, found in located if cut is not None]
            cut, found = min(places, key=lambda place: place[0], default=(None, search.found[0]))
            self._go(Cut(slice_))
            if cut is not None and cut.over < executed:
                self._go_into(cut)
            else:
                self._follow_slice(slice_)
        if cut is None:
            return None
        where = f"CPU {found.cpu} stands at {self.machine.registers(found.cpu).linear_rip:#x}"
        reason = "breakpoint" if isinstance(found.stop, Breakpoint) else "watchpoint"
        return Stop(reason, found.cpu, f"{found.stop}; {where}")

    def _locate(self, slice_: int, found: Found, after: int) -> Cut | None:
        """The moment at which it has happened."""
        executed = self._history.slices[slice_].executed
        if isinstance(found.stop, Breakpoint):
            # The instruction may be a handler's first one: then the handler is entered before it.
            self._go(Cut(slice_, found.over))
            return self._cut._replace(entered=self.machine.interrupt_due(found.cpu))
        if not isinstance(found.stop, ValueWatch):
            self._seek(found.event, entering=True)
            return self._cut if self._cut.slice_ == slice_ else Cut(slice_, executed)
        self._go(Cut(slice_))
        begun = self._kept.snapshots.take()
        if found.over >= 0:
            return self._locate_write(begun, Cut(slice_, found.over), found.stop, found.before)
        low, high = after, executed
        while high - low > 1:
            middle = (low + high) // 2
            self._kept.snapshots.restore(begun)
            self._go_into(Cut(slice_, middle))
            if found.stop.value(self.machine) == found.before:
                low = middle
            else:
                high = middle
        return Cut(slice_, high)

    def _locate_write(self, begun: Snapshot, seen: Cut, watch: ValueWatch, before: object) -> Cut | None:
        """The moment from ``seen`` on, where a store was seen in the slice that ``begun`` begins; None: it was another.

        A store is seen while its instruction is executed, or when an interrupt's frame is pushed.
        """
        executed = self._history.slices[seen.slice_].executed
        for over in range(seen.over, min(seen.over + 2, executed)):
            for _ in self._moments(begun, Cut(seen.slice_, over)):
                if watch.value(self.machine) != before:
                    return self._cut
        self._kept.snapshots.restore(begun)
        self._follow_slice(seen.slice_)
        return Cut(seen.slice_, executed) if watch.value(self.machine) != before else None

    def step(self) -> Stop | None:
        """Execute one instruction: what is recorded, or, where nothing is, what the schedule chooses.

        A slice that begins so is run to its end and kept as the recorded future. None where there is more to run.
        """
        before = self.instructions
        if self._end is None:
            while self.instructions == before:
                stop = self.machine.step()
                if stop is not None:
                    return stop
        with self._going():
            self._go(Cut(*self._history.slice_at(before + 1)))
        return None
