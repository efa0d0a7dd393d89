"""Going back and forward in what has happened, instruction by instruction.

To go to a moment, the last snapshot before it is restored, and the recorded choices and acts are made again up to
there. A moment inside a slice is that slice cut short: a run as it could have been, with another schedule. The moment
at which an interrupt was delivered and nothing of its handler executed is that, and the delivery as an act from
outside. What was recorded beyond a moment is kept, until somebody acts there: runs the machine, writes to its memory,
calls its kernels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mklab.errors import require
from mklab.machine import state
from mklab.machine.machine import Machine
from mklab.machine.schedule import schedule_of
from mklab.timeline.history import History
from mklab.timeline.journal import Installers, follow
from mklab.timeline.kept import Kept
from mklab.timeline.replay import power_on
from mklab.timeline.snapshot import Snapshot

__all__ = ["UNITS", "Cut", "Travel"]

UNITS = ("instruction", "event", "slice")


class Cut(NamedTuple):
    """A moment of a slice.

    Attributes:
        slice_: the slice's number.
        over: how many of its instructions are over; none: it is about to begin.
        entered: whether its CPU has then entered the handler of an interrupt, and executed nothing of it.
    """

    slice_: int
    over: int = 0
    entered: bool = False

    @property
    def added(self) -> int:
        """Events that are there only because the slice was cut: its end, and the act by which a handler was entered."""
        return (self.over > 0) + self.entered


class Travel:
    """The past of a machine, and what is recorded of its future.

    Args:
        machine: the machine, from now on; what it has done before can be gone back to, if its trace is complete.
        installers: who makes kernel functions known, by name: needed for what was recorded in another process.
        source: how changed pages are found; see :class:`mklab.timeline.snapshot.Snapshots`.

    Attributes:
        machine: the machine.
        source: the name of what finds changed pages.
    """

    def __init__(self, machine: Machine, installers: Installers | None = None, source: str | None = None) -> None:
        self.machine = machine
        self._installers = installers or {}
        self._source = source
        self._begin()

    def _begin(self) -> None:
        self._kept = Kept(self.machine, self._source)
        self._list = self.machine.trace.events
        self._history = History(self.machine.trace.count - len(self._list))
        # Where the machine stands, if it is not at the end of what is recorded: the end; the digest and time that tell
        # whether somebody has acted; how many of the recorded events had happened when the slice began that it stands
        # in, and where in that slice.
        self._end: Snapshot | None = None
        self._here = ("", 0)
        self._boundary, self._cut = 0, Cut(0)

    @property
    def source(self) -> str:
        """The name of what finds changed pages."""
        return self._kept.snapshots.source

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
        self._kept.forget(self._boundary, self._here[1])
        self._history.cut(self._boundary)
        self._end = None

    @property
    def position(self) -> int:
        """How many events have happened at this moment, counted from power-on."""
        self._notice()
        return self._happened

    @property
    def _happened(self) -> int:
        """As :attr:`position`, while going."""
        return self.machine.trace.count - (self._cut.added if self._end is not None else 0)

    @property
    def end(self) -> int:
        """How many events are recorded, those of the future included."""
        self._notice()
        return self._history.count

    @property
    def instructions(self) -> int:
        """Instructions executed, by all CPUs together, since the first event that is held."""
        self._notice()
        place = self._place()
        return self._history.before(place.slice_) + place.over

    def _place(self) -> Cut:
        return Cut(len(self._history.slices)) if self._end is None else self._cut

    def _restore_before(self, event: int) -> None:
        """Make the machine what it was at the last snapshot at which the event with that number had not happened."""
        before = self._kept.before(event)
        if before is None:
            self._power_on()
        else:
            self._kept.snapshots.restore(before)

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
        self._end = end and self._kept.all[0]

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
            self._go(Cut(*self._history.slice_when(at)))

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
        position, instructions, place = self.position, self.instructions, self._place()
        with self._going():
            if unit == "instruction":
                wanted = instructions + sign * n
                self._go(Cut(*self._history.slice_at(max(0, wanted))))
            elif unit == "slice":
                self._go(Cut(max(0, place.slice_ + sign * n + (sign < 0 and place.added > 0))))
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
        kept = self._kept
        origin = kept.snapshots.take()
        before = (self._end, self._here, self._cut, self._boundary) if self._end is not None else None
        if before is None:
            self._end, self._boundary, self._cut = origin, origin.count, Cut(len(self._history.slices))
        # To go somewhere is not to run.
        onlookers, self.machine.onlookers = self.machine.onlookers, []
        try:
            with self.machine.interruptible:
                yield
        except BaseException:
            if self._kept is kept:
                kept.snapshots.restore(origin)
                self._end, self._here, self._cut, self._boundary = before or (None, ("", 0), Cut(0), 0)
            else:
                # It was restored to power-on meanwhile, and so it stays.
                self._kept.snapshots.restore(self._kept.all[0])
                self._boundary, self._cut = self.machine.trace.count, Cut(0)
                self._here = (self.machine.trace.sha256, self.machine.time)
            raise
        finally:
            self.machine.onlookers = onlookers
        self._here = (self.machine.trace.sha256, self.machine.time)
        if not self._cut.added and self.machine.trace.count == self._history.count and self._at_last(self._end):
            self._end = None

    def _at_last(self, end: Snapshot | None) -> bool:
        """Whether time is what it was at the end: it may have passed without an event."""
        return end is None or end.count != self._history.count or self.machine.time >= end.time

    def _go(self, to: Cut) -> None:
        """To a moment of a slice; the number of slices: to the end."""
        if to.slice_ >= len(self._history.slices):
            self._go_to_end()
            return
        self._restore_before(self._history.leads(to.slice_) + 1)
        self._follow_to_slice(to.slice_)
        self._go_into(to)

    def _go_into(self, to: Cut) -> None:
        """From the beginning of that slice to a moment of it."""
        self._boundary, self._cut = self.machine.trace.count, to
        cpu = self._history.slices[to.slice_].cpu
        assert cpu is not None
        if to.over:
            self.machine.advance(choice=(cpu, to.over))
        if to.entered:
            self.machine.enter_handler(cpu)
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
        self._kept.take_now_and_then()

    def _go_to_end(self) -> None:
        if self._end is not None and self._end.count == self._history.count:
            self._kept.snapshots.restore(self._end)
        else:
            self._restore_before(self._history.count)
            while self.machine.trace.count < self._history.count:
                self._follow()
        self._boundary, self._cut = self._history.count, Cut(len(self._history.slices))

    def _follow_slice(self, slice_: int) -> None:
        """From the beginning of that slice to its end."""
        self._follow()
        self._boundary, self._cut = self.machine.trace.count, Cut(slice_ + 1)

    def _seek(self, event: int, *, entering: bool = False) -> None:
        """As :meth:`seek`; ``entering``: a handler may just be entered there, at the price of an act in the trace."""
        slice_ = self._history.slice_of(event)
        self._restore_before(event)
        while self.machine.trace.count <= event:
            if self._next_is(slice_):
                self._seek_within(slice_, event, entering)
                return
            self._follow()
        self._boundary, self._cut = self.machine.trace.count, Cut(self._history.slice_of(self.machine.trace.count))

    def _next_is(self, slice_: int) -> bool:
        at_end = slice_ >= len(self._history.slices)
        return not at_end and self.machine.trace.count > self._history.leads(slice_) and bool(self.machine.runnable)

    def _seek_within(self, slice_: int, event: int, entering: bool) -> None:
        """From the beginning of that slice to the first moment at which the event has happened."""
        recorded = self._history.events[event - self._history.first]
        begun, executed = self._kept.snapshots.take(), self._history.slices[slice_].executed
        for over in range(max(0, recorded.time - self.machine.time), executed):
            for _ in self._moments(begun, Cut(slice_, over), entering):
                if self._happened > event:
                    return
        self._kept.snapshots.restore(begun)
        self._follow_slice(slice_)

    def _moments(self, begun: Snapshot, cut: Cut, entering: bool = True) -> Iterator[None]:
        """Go from the beginning of a slice to ``cut``, and then to where its CPU has entered a handler, if it does."""
        self._kept.snapshots.restore(begun)
        self._go_into(cut)
        yield
        cpu = self._history.slices[cut.slice_].cpu
        if entering and cpu is not None and self.machine.interrupt_due(cpu):
            self._kept.snapshots.restore(begun)
            self._go_into(cut._replace(entered=True))
            yield
