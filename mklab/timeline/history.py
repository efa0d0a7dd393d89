"""What is recorded of a run, indexed: which slice holds an instruction, an event, a moment."""

from bisect import bisect_left, bisect_right

from mklab.trace import Event, Input, Slice

__all__ = ["History"]


class History:
    """The events of a run, those of its future included while a machine stands at an earlier moment.

    Attributes:
        events: the events; ``events[i]`` has the number ``first + i``.
        first: number of the first event held.
        slices: those of them that are slices, whose place in ``ends`` and ``totals`` is theirs.
        ends: the number of each slice's event.
        totals: instructions executed when each slice had ended, since the first event held.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[Event] = []
        self.slices: list[Slice] = []
        self.ends: list[int] = []
        self.totals: list[int] = []

    @property
    def count(self) -> int:
        """The number that the next event will have."""
        return self.first + len(self.events)

    @property
    def instructions(self) -> int:
        """Instructions executed in all."""
        return self.totals[-1] if self.totals else 0

    def take_over(self, events: list[Event]) -> None:
        """``events``, which begin as those held do, may have more."""
        for event in events[len(self.events) :]:
            self.events.append(event)
            if isinstance(event, Slice):
                self.totals.append(self.instructions + event.executed)
                self.ends.append(event.seq)
                self.slices.append(event)

    def cut(self, count: int) -> None:
        """Forget the events from number ``count`` on."""
        del self.events[max(0, count - self.first) :]
        kept = bisect_left(self.ends, count)
        del self.ends[kept:], self.totals[kept:], self.slices[kept:]

    def slice_of(self, event: int) -> int:
        """The slice during which, or before which, the event with that number happened; the number of slices if none.

        A slice's own event happens at its end, so it belongs to that slice.
        """
        return bisect_left(self.ends, event)

    def slice_at(self, instructions: int) -> tuple[int, int]:
        """The slice that executes the instruction after the first ``instructions``, and how many of its own precede."""
        found = bisect_right(self.totals, instructions)
        return found, instructions - (self.totals[found - 1] if found else 0)

    def slice_when(self, time: int) -> tuple[int, int]:
        """The slice that runs at virtual ``time``, or the next, and how many of its instructions are over then."""
        found = bisect_right(self.slices, time, key=lambda one: one.time)
        if found == len(self.slices):
            return found, 0
        return found, max(0, time - (self.slices[found].time - self.slices[found].executed))

    def before(self, slice_: int) -> int:
        """Instructions executed before that slice."""
        return self.totals[slice_ - 1] if slice_ else 0

    def leads(self, slice_: int) -> int:
        """The number of the last event at which something else begins or ends before that slice begins."""
        start = self.ends[slice_ - 1] if slice_ else self.first - 1
        for number in range(self.ends[slice_] - 1, start, -1):
            if isinstance(self.events[number - self.first], Input):
                return number
        return start
