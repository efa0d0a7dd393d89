"""A machine's timeline: back and forward in what has happened, instruction by instruction.

While a machine runs, snapshots are taken now and then. To go to a moment, the last snapshot before it is restored, and
the recorded choices and acts are made again up to there. A moment inside a slice is that slice cut short: a run as it
could have been, with another schedule. What was recorded beyond it is kept, until somebody acts there: runs the
machine, writes to its memory, calls its kernels.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mklab.errors import require
from mklab.machine import state
from mklab.machine.machine import Machine, Stop
from mklab.machine.schedule import schedule_of
from mklab.timeline.history import History
from mklab.timeline.journal import Installers, follow
from mklab.timeline.replay import power_on
from mklab.timeline.search import Found, Search
from mklab.timeline.snapshot import Snapshot, Snapshots
from mklab.timeline.stops import Breakpoint, StopPoint, ValueWatch

__all__ = ["UNITS", "Timeline"]

UNITS = ("instruction", "event", "slice")
_BETWEEN, _SHARE = 0.02, 5
"""Seconds of the host's time between two snapshots: at least so many, and so many times what the last one took."""
_MOST = 256
"""Snapshots kept; then every other one of the older half goes."""


class Timeline:
    """The past of a machine, and what is recorded of its future.

    Args:
        machine: the machine, from now on; what it has done before can be gone back to, if its trace is complete.
        installers: who makes kernel functions known, by name: needed for what was recorded in another process.
        source: how changed pages are found; see :class:`mklab.timeline.snapshot.Snapshots`.

    Attributes:
        machine: the machine.
        stops: where :meth:`run` stops: see :mod:`mklab.timeline.stops`.
        source: the name of what finds changed pages.
    """

    def __init__(self, machine: Machine, installers: Installers | None = None, source: str | None = None) -> None:
        self.machine = machine
        self.stops: list[StopPoint] = []
        self._installers = installers or {}
        self._source = source
        self._begin()
        machine.timeline = self
        machine.onlookers.append(self)

    def _begin(self) -> None:
        self._snapshots = Snapshots(self.machine, self._source)
        self._list = self.machine.trace.events
        self._history = History(self.machine.trace.count - len(self._list))
        self._kept = [self._snapshots.take()]
        self._last_taken = time.perf_counter()
        self._took = 0.0
        # Where the machine stands, if it is not at the end of what is recorded: the end; the digest and time that tell
        # whether somebody has acted; how many of the recorded events had happened when the slice began that it stands
        # in, the number of that slice, and how many of its instructions are over.
        self._end: Snapshot | None = None
        self._here = ("", 0)
        self._boundary, self._cut = 0, (0, 0)

    @property
    def source(self) -> str:
        """The name of what finds changed pages."""
        return self._snapshots.source

    # Where the machine stands

    def _notice(self) -> None:
        """Find out what was done to the machine since the timeline last looked."""
        trace = self.machine.trace
        if trace.events is not self._list:
            self._begin()  # it was restored from a state, or its events were taken away
        elif self._end is not None and self._here != (trace.sha256, self.machine.time):
            self._forget_future()
        if self._end is None:
            self._history.take_over(trace.events)

    def _forget_future(self) -> None:
        """Somebody has acted at an earlier moment: what was recorded beyond it will not happen."""
        self._kept = [one for one in self._kept if one.count <= self._common and one.time <= self._here[1]]
        self._history.cut(self._common)
        self._end = None

    @property
    def _common(self) -> int:
        """How many of the recorded events are the machine's, too."""
        return self._boundary

    @property
    def position(self) -> int:
        """How many events have happened at this moment, counted from power-on."""
        self._notice()
        return self.machine.trace.count - (self._end is not None and self._cut[1] > 0)

    @property
    def end(self) -> int:
        """How many events are recorded, those of the future included."""
        self._notice()
        return self._history.count

    @property
    def instructions(self) -> int:
        """Instructions executed, by all CPUs together, since the first event that is held."""
        self._notice()
        slice_, over = self._place()
        return self._history.before(slice_) + over

    def _place(self) -> tuple[int, int]:
        return (len(self._history.slices), 0) if self._end is None else self._cut

    # Snapshots

    stride, each_event = 1 << 62, False
    """As an onlooker of the machine it wants to see the ends of slices only."""

    def look(self, why: str) -> None:
        """The machine stands still: it is time for a snapshot, if a slice has ended and the last one lies far back."""
        if why == "slice":
            self._notice()
            self._take_now_and_then()

    def _take_now_and_then(self) -> None:
        begun = time.perf_counter()
        if begun - self._last_taken < max(_BETWEEN, _SHARE * self._took):
            return
        self._keep(self._snapshots.take())
        self._last_taken = time.perf_counter()
        self._took = self._last_taken - begun

    def _keep(self, snapshot: Snapshot) -> None:
        at = len(self._kept)
        while at and self._kept[at - 1].count >= snapshot.count:
            at -= 1
        if at < len(self._kept) and self._kept[at].count == snapshot.count:
            return
        self._kept.insert(at, snapshot)
        if len(self._kept) > _MOST:
            del self._kept[1 : _MOST // 2 : 2]

    def _restore_before(self, event: int) -> None:
        """Make the machine what it was at the last snapshot at which the event with that number had not happened."""
        before = [one for one in self._kept if one.count <= event]
        if not before:
            self._power_on()
            return
        self._snapshots.restore(before[-1])

    def _power_on(self) -> None:
        """Make the machine what it was when it was switched on.

        Raises:
            ValueError: its first events are not held any more.
        """
        machine, recorded = self.machine, self._history
        power_on(recorded.events)
        arguments = machine.arguments
        fresh = state.state(Machine.from_arguments(arguments))
        blobs = machine.trace.blobs
        machine.restore_schedule(schedule_of(arguments["schedule"]), arguments["schedule"])
        state.restore(machine, fresh)
        machine.trace.blobs = blobs
        machine.trace.events.append(recorded.events[0])
        end = self._end
        self._begin()
        # The snapshots are of another tree now; the end can be reached by following what is recorded.
        self._history = recorded
        self._end = end and self._kept[0]

    # Going

    def seek(self, event: int) -> None:
        """Go to the moment just after the event with that number: the first at which it has happened.

        Raises:
            ValueError: no such event is recorded, or the first events are not held any more.
        """
        require("event", event, self._history.first, max(self.end - 1, self._history.first), " (recorded events)")
        with self._going():
            self._seek(event)

    def seek_time(self, at: int) -> None:
        """Go to the last moment at which virtual time is not beyond ``at``; where no CPU ran then, to the next.

        Raises:
            ValueError: it is negative, or the first events are not held any more.
        """
        require("at", at, 0, 1 << 62, " (virtual time)")
        with self._going():
            self._go(*self._history.slice_when(at))

    def back(self, n: int = 1, unit: str = "instruction") -> None:
        """Undo the last ``n`` instructions, events or slices, whichever CPUs they were of; at most all.

        Raises:
            ValueError: ``n`` is not positive, or there is no such unit.
        """
        self._move(n, unit, -1)

    def forward(self, n: int = 1, unit: str = "instruction") -> None:
        """Go on within what is recorded: choices, inputs and all; at most to its end. As :meth:`back`."""
        self._move(n, unit, 1)

    def _move(self, n: int, unit: str, sign: int) -> None:
        require("n", n, 1, 1 << 62)
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
        position, instructions = self.position, self.instructions
        slice_, over = self._place()
        with self._going():
            if unit == "instruction":
                wanted = instructions + sign * n
                self._go(*self._history.slice_at(max(0, wanted)))
            elif unit == "slice":
                self._go(max(0, slice_ + sign * n + (sign < 0 and over > 0)), 0)
            elif sign > 0:
                self._seek(min(position + n, self._history.count) - 1)
            else:
                self._seek_back(max(position - n, self._history.first + 1))

    def _seek_back(self, most: int) -> None:
        """To the latest moment with at most ``most`` events that can be found by going to an event."""
        for event in range(most - 1, self._history.first - 1, -1):
            self._seek(event)
            if self._happened <= most:
                return

    @contextmanager
    def _going(self) -> Iterator[None]:
        """Away from here; back to here on Ctrl-C, or where the run cannot be made again."""
        self._notice()
        origin = self._snapshots.take()
        before = (self._end, self._here, self._cut, self._boundary) if self._end is not None else None
        if before is None:
            self._end, self._boundary = origin, origin.count
        tree = self._snapshots
        # To go somewhere is not to run.
        onlookers, self.machine.onlookers = self.machine.onlookers, []
        try:
            with self.machine.interruptible:
                yield
        except BaseException:
            if self._snapshots is tree:
                self._snapshots.restore(origin)
                self._end, self._here, self._cut, self._boundary = before or (None, ("", 0), (0, 0), 0)
            else:
                # It was restored to power-on meanwhile, and so it stays.
                self._snapshots.restore(self._kept[0])
                self._boundary, self._cut = self.machine.trace.count, (0, 0)
                self._here = (self.machine.trace.sha256, self.machine.time)
            raise
        finally:
            self.machine.onlookers = onlookers
        self._here = (self.machine.trace.sha256, self.machine.time)
        if not self._cut[1] and self.machine.trace.count == self._history.count and self._at_last(self._end):
            self._end = None

    def _at_last(self, end: Snapshot | None) -> bool:
        """Whether time is what it was at the end: it may have passed without an event."""
        return end is None or end.count != self._history.count or self.machine.time >= end.time

    def _go(self, slice_: int, over: int) -> None:
        """To the moment at which ``over`` instructions of that slice are over; none: just before it begins."""
        if slice_ >= len(self._history.slices):
            self._go_to_end()
            return
        self._restore_before(self._history.leads(slice_) + 1)
        self._follow_to_slice(slice_)
        self._set_cut(slice_, over)

    def _set_cut(self, slice_: int, over: int) -> None:
        """From the beginning of that slice, into it."""
        self._boundary, self._cut = self.machine.trace.count, (slice_, over)
        if over:
            self._advance_into(slice_, over)

    def _advance_into(self, slice_: int, over: int) -> None:
        cpu = self._history.slices[slice_].cpu
        assert cpu is not None
        self.machine.advance(choice=(cpu, over))
        if self.machine.interruptible.requested:
            raise KeyboardInterrupt

    def _follow_to_slice(self, slice_: int) -> None:
        """Do what is recorded until that slice is what comes next."""
        lead = self._history.leads(slice_)
        while self.machine.trace.count <= lead or not self.machine.runnable:
            self._follow()

    def _follow(self) -> None:
        """Do the next thing that is recorded; take a snapshot now and then."""
        first = self._history.first
        follow(self.machine, self._history.events, self.machine.trace.count - first, self._installers)
        self._take_now_and_then()

    def _go_to_end(self) -> None:
        if self._end is not None and self._end.count == self._history.count:
            self._snapshots.restore(self._end)
        else:
            self._restore_before(self._history.count)
            while self.machine.trace.count < self._history.count:
                self._follow()
        self._boundary, self._cut = self._history.count, (len(self._history.slices), 0)

    def _seek(self, event: int) -> None:
        slice_ = self._history.slice_of(event)
        self._restore_before(event)
        while self.machine.trace.count <= event:
            if self._next_is(slice_):
                self._seek_within(slice_, event)
                return
            self._follow()
        self._boundary, self._cut = self.machine.trace.count, (self._history.slice_of(self.machine.trace.count), 0)

    def _next_is(self, slice_: int) -> bool:
        at_end = slice_ >= len(self._history.slices)
        return not at_end and self.machine.trace.count > self._history.leads(slice_) and bool(self.machine.runnable)

    def _seek_within(self, slice_: int, event: int) -> None:
        """From the beginning of that slice to the first moment at which the event has happened."""
        recorded, begun = self._history.events[event - self._history.first], self._snapshots.take()
        executed = self._history.slices[slice_].executed
        for over in range(max(1, recorded.time - self.machine.time), executed):
            self._set_cut(slice_, over)
            if self._happened > event:
                return
            self._snapshots.restore(begun)
        self._follow()
        self._boundary, self._cut = self.machine.trace.count, (slice_ + 1, 0)

    @property
    def _happened(self) -> int:
        """As :attr:`position`, while going."""
        return self.machine.trace.count - (self._cut[1] > 0)

    # Running

    def run(self, budget: int = 5_000_000, until: Callable[[Machine], bool] | None = None) -> Stop:
        """Let the machine run on, as :meth:`mklab.machine.machine.Machine.run` does, but stop at :attr:`stops`, too.

        Inside a slice, that slice is finished first, as it was recorded. What was recorded beyond it is forgotten.
        """
        position, instructions, (slice_, over) = self.position, self.instructions, self._place()
        search = Search(self.machine, self.stops, over if self._end is not None else -1)
        with search:
            if self._end is not None:
                if over:
                    self._finish(slice_)
                    search.restart(position)
                    budget -= self.instructions - instructions
                self._forget_future()
            stop = self.machine.run(
                max(1, budget),
                lambda machine: search.look() or budget < 1 or (until is not None and until(machine)),
            )
        if budget < 1 and not search.found:
            return Stop("budget", self.machine.current, "the slice in which it stood is finished")
        if not search.found:
            return stop
        self._notice()
        return self._stop_at(len(self._history.slices) - 1, search)

    def _finish(self, slice_: int) -> None:
        """From inside that slice to its end."""
        with self._going():
            self._go(slice_, 0)
            self._follow()
            self._boundary, self._cut = self.machine.trace.count, (slice_ + 1, 0)

    def _stop_at(self, slice_: int, search: Search) -> Stop:
        """At the first of what was found in that slice, the last one."""
        executed = self._history.slices[slice_].executed
        with self._going():
            places = [(self._locate(slice_, found, max(0, search.after)), found) for found in search.found]
            over, found = min(places, key=lambda place: place[0])
            self._go(slice_, 0)
            if over < executed:
                self._set_cut(slice_, over)
            else:
                self._follow()
                self._boundary, self._cut = self.machine.trace.count, (slice_ + 1, 0)
        where = f"CPU {found.cpu} stands at {self.machine.registers(found.cpu).linear_rip:#x}"
        reason = "breakpoint" if isinstance(found.stop, Breakpoint) else "watchpoint"
        return Stop(reason, found.cpu, f"{found.stop}; {where}")

    def _locate(self, slice_: int, found: Found, after: int) -> int:
        """How many instructions of that slice are over when it has happened."""
        executed = self._history.slices[slice_].executed
        if isinstance(found.stop, Breakpoint):
            return found.over
        if not isinstance(found.stop, ValueWatch):
            self._seek(found.event)
            return self._cut[1] if self._cut[0] == slice_ else executed
        self._go(slice_, 0)
        begun = self._snapshots.take()
        low, high = after, executed
        while high - low > 1:
            middle = (low + high) // 2
            self._snapshots.restore(begun)
            self._set_cut(slice_, middle)
            if found.stop.value(self.machine) == found.before:
                low = middle
            else:
                high = middle
        return high

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
            self._go(*self._history.slice_at(before + 1))
        return None
