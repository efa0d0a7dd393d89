"""A driver for the pictures that runs a machine, and takes it back."""

import re
import time
from collections.abc import Callable, Sequence

from mklab.errors import require
from mklab.lab.scenario import Scenario
from mklab.lab.session import timeline
from mklab.machine.machine import Machine, Stop
from mklab.machine.schedule import RoundRobin, Schedule, Seeded
from mklab.recording import Film
from mklab.timeline.record import record
from mklab.timeline.stops import Breakpoint, MemoryWatch, OwnerWatch, StopPoint, ValueWatch, VectorWatch
from mklab.widgets.condition import Condition, chain, heads, parse
from mklab.widgets.player import has, next_look

__all__ = ["BUDGET", "MachineDriver", "schedule_from", "schedule_in_words"]

BUDGET = 5_000_000
"""Instructions of one run at most, unless it is told otherwise."""
_CHUNK = 0.05


class MachineDriver:
    """Steers a machine, or a scenario on one.

    What was recorded is stepped through on the film, and the machine taken along; only beyond the film's end something
    runs. A step by an instruction puts a look into the film where it is not that fine. A run with places to stop runs
    the machine again from an earlier moment: the same will happen, since nothing was changed.

    Args:
        source: a machine whose trace begins at power-on, or a scenario.
        budget: instructions of one run at most.

    Attributes:
        look: where it stands: the number of a look of :attr:`film`.
        cpu: the CPU at which the last run was stopped; None: at none.
        limit: virtual time at which the run ends at the latest.
    """

    def __init__(self, source: Machine | Scenario, budget: int = BUDGET) -> None:
        require("budget", budget, 1, 1 << 62, " instructions")
        self._source = source
        self._budget = budget
        self._conditions: list[Condition] = []
        self.cpu: int | None = None
        self._begin()
        self._origin = self.look

    def _begin(self) -> None:
        """A new film, from where the machine stands."""
        self._timeline = timeline(self.machine)
        self._recorder = record(self.machine, every="event")
        self._film = self._recorder.film
        self.look = 0
        self.limit = 0
        self._elsewhere = False
        self.begin()

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self._source.machine if isinstance(self._source, Scenario) else self._source

    @property
    def film(self) -> Film:
        """What was recorded so far."""
        # Where the machine was taken back, a look at it would forget what came later.
        return self._film if self._elsewhere else self._recorder.film

    @property
    def schedule(self) -> str:
        """Who runs next, in words."""
        return schedule_in_words(self.machine.schedule)

    # Steps

    def step(self, unit: str = "event") -> str | None:
        """Go on by an instruction, or until an event or a message can be seen."""
        if unit == "instruction":
            return self._instruction()
        found = next_look(self.film, self.look, unit, 1)
        if found != self.look and has(self.film, found, unit):
            self.seek(found)
            return None
        self._go_to_end()
        while True:
            before = len(self.film.looks)
            why = self._run_on(lambda: True)
            for look in range(before, len(self.film.looks)):
                if has(self.film, look, unit):
                    if look < len(self.film.looks) - 1:
                        self.seek(look)
                    return None
            if why:
                return why

    def back(self, unit: str = "event") -> str | None:
        """Undo as much; at most to where the film begins."""
        if unit == "instruction":
            return self._instruction_back()
        if not self.look:
            return "the film begins here"
        self.seek(next_look(self.film, self.look, unit, -1))
        return None

    def seek(self, look: int) -> None:
        """Take the machine to that look.

        Raises:
            ValueError: there is none.
        """
        film = self.film
        require("look", look, 0, len(film.looks) - 1)
        if look == len(film.looks) - 1:
            self._go_to_end()
            return
        wanted = film.looks[look]
        self._timeline.seek(max(wanted.event, 0))
        if self.machine.time < wanted.time:
            self._timeline.seek_time(wanted.time)
        self.look, self._elsewhere = look, True

    def _go_to_end(self) -> None:
        if self._elsewhere:
            self._timeline.forward(self._timeline.end + 1, "slice")
            self._on_with_acts()
        self.look, self._elsewhere = len(self.film.looks) - 1, False

    # Instructions

    def _instruction(self) -> str | None:
        at, why = self.film.looks[self.look].time, None
        if self.film.looks[-1].time == at:
            self._go_to_end()
            # What takes no time can come first: steps of kernel functions, acts of a scenario.
            while self.film.looks[-1].time == at and not why:
                why = self._run_on(lambda: True)
            if self.film.looks[-1].time == at:
                self.look = len(self.film.looks) - 1
                return why
        self._go_to_time(at + 1, self.film.look_at_time(at) + 1)
        return None

    def _instruction_back(self) -> str | None:
        at = self.film.looks[self.look].time
        earlier = self.film.look_at_time(at - 1) if at else -1
        if earlier < 0:
            return "the film begins here"
        self._go_to_time(at - 1, earlier)
        return None

    def _go_to_time(self, at: int, nearest: int) -> None:
        """Go to that time; a look is put in where none was taken. Where no CPU ran then: to the time of ``nearest``."""
        film = self.film
        if film.looks[film.look_at_time(at)].time != at:
            self._elsewhere = True
            self._timeline.seek_time(at)
            if self.machine.time == at:
                number = self._recorder.look_between(self._timeline.position - 1).number
                self._origin += number <= self._origin
            else:
                at = film.looks[nearest].time
        self.seek(film.look_at_time(at))

    def _return_to(self, look: int) -> None:
        """The machine stands at ``look``, between two slices, and goes on from there: what came later is forgotten."""
        self.film.cut(self.film.looks[look].event, self.film.looks[look].time)
        self._timeline.run(until=lambda _machine: True)
        self._on_with_acts()
        self.look, self._elsewhere = look, False

    def _on_with_acts(self) -> None:
        """The machine goes on from another moment; so do the scenario's acts."""
        if isinstance(self._source, Scenario):
            self._source.resume()

    # Runs

    def run(self) -> str | None:
        """Go on until something stops it."""
        self.begin()
        while not (why := self.advance(_CHUNK)):
            pass
        return why

    def begin(self) -> None:
        """A run begins here: its limit is counted from now."""
        self.cpu = None
        self.limit = self.machine.time + self._budget

    def advance(self, seconds: float) -> str | None:
        """Go on for about so long, but no further than the next place to stop."""
        if self._elsewhere and not self._conditions:
            self._go_to_end()
        deadline = time.monotonic() + seconds
        why = self._run_on(lambda: time.monotonic() >= deadline)
        self.look = len(self.film.looks) - 1
        return why

    def _run_on(self, enough: Callable[[], bool]) -> str | None:
        """Run from where the machine stands until ``enough`` or a place to stop; at least once."""
        self._timeline.stops = [self._stop_point(one) for one in self._conditions if one.kind not in ("event", "time")]
        try:
            if self._elsewhere:
                # A slice in which it stands is finished first.
                self._elsewhere = False
                if why := self._told(self._timeline.run(until=lambda _machine: True)):
                    return why
                self._on_with_acts()
            if isinstance(self._source, Scenario):
                return self._act(self._source, enough)
            done = iter([False])
            return self._told(self._slices(lambda: next(done, True) and enough()))
        except BaseException:
            # An error, or Ctrl-C: the pictures show where that has left the machine.
            self.look = len(self.film.looks) - 1
            raise
        finally:
            self._timeline.stops = []

    def _act(self, scenario: Scenario, enough: Callable[[], bool]) -> str | None:
        while not scenario.finished:
            if why := self._told(scenario.advance(self._once)):
                return why
            if self._reached():
                return self._stopped_there()
            if self.machine.time >= self.limit:
                return f"{self._budget:,} instructions are over; Run goes on"
            if enough():
                return None
        return "the scenario is finished"

    def _once(self) -> Stop | None:
        """One slice; None where there is more to run."""
        done = iter([False])
        stop = self._slices(lambda: next(done, True))
        return None if stop.reason == "until" else stop

    def _slices(self, enough: Callable[[], bool]) -> Stop:
        left = max(self.limit - self.machine.time, 1)
        return self._timeline.run(left, lambda _machine: enough() or self._reached())

    def _told(self, stop: Stop | None) -> str | None:
        """Why it has stopped, in words; None where it may go on."""
        if stop is None:
            return None
        if stop.reason == "until":
            return self._stopped_there() if self._reached() else None
        if stop.reason in ("breakpoint", "watchpoint"):
            # The machine was taken back to that very instruction: look at it there.
            self._recorder.look("slice")
            self._elsewhere, self.cpu = True, stop.cpu
            return f"{stop.reason}: {stop.detail}"
        return stop.detail

    # Places to stop

    def stop_at(self, conditions: Sequence[str]) -> None:
        """Stop a run there.

        Raises:
            ValueError: one of them cannot be read.
        """
        self._conditions = [parse(words, len(self.machine.cpus)) for words in conditions]

    def _reached(self) -> bool:
        """Whether the machine has come to an event or a time at which it is to stop."""
        return any(
            (one.kind == "event" and self.machine.trace.count > one.value > self._position())
            or (one.kind == "time" and self.machine.time >= one.value > self.film.looks[self.look].time)
            for one in self._conditions
        )

    def _position(self) -> int:
        return self.film.looks[self.look].event

    def _stopped_there(self) -> str:
        return next(str(one) for one in self._conditions if one.kind in ("event", "time"))

    def _stop_point(self, one: Condition) -> StopPoint:
        if one.kind == "breakpoint":
            return Breakpoint(one.value, one.cpu)
        if one.kind == "vector":
            return VectorWatch(one.value, one.cpu)
        if one.kind == "owner":
            return OwnerWatch(one.cpu)
        if one.kind == "write":
            return MemoryWatch(one.value, one.size, one.cpu)
        first = heads(self.film, len(self.film.looks) - 1)
        return ValueWatch(lambda machine: [chain(_reader(machine), head) for head in first], "the kimage list")

    # Again

    def reset(self, schedule: str = "") -> None:
        """Start again: a scenario from power-on; a machine from where it was when it was handed over.

        Raises:
            ValueError: there is no such schedule.
        """
        chosen = schedule_from(schedule or self.schedule)
        if isinstance(self._source, Scenario):
            self._source.reset(chosen)
            self._begin()
            return
        self.seek(self._origin)
        if schedule:
            self._return_to(self._origin)
            self.machine.schedule = chosen
            self.look = len(self.film.looks) - 1
            self._origin = self.look


def _reader(machine: Machine) -> Callable[[int, int], bytes | None]:
    def read(paddr: int, size: int) -> bytes | None:
        try:
            return machine.memory.read(paddr, size)
        except ValueError:
            return None

    return read


def schedule_in_words(schedule: Schedule) -> str:
    """``round robin 1,000`` or ``seed 7``; another schedule by the name of its class."""
    if isinstance(schedule, RoundRobin):
        return f"round robin {schedule.quantum:,}"
    if isinstance(schedule, Seeded):
        return f"seed {schedule.seed}"
    return type(schedule).__name__


def schedule_from(words: str) -> Schedule:
    """The inverse of :func:`schedule_in_words`.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"(round robin|seed)\s*([0-9,]*)", words.strip())
    if not found:
        raise ValueError(f"schedule must be 'round robin', 'round robin 500' or 'seed 7', not {words!r}")
    number = int(found[2].replace(",", "")) if found[2].strip(",") else None
    if found[1] == "seed":
        return Seeded(number or 0)
    return RoundRobin() if number is None else RoundRobin(number)
