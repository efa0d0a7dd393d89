"""record(): a film of a machine while it runs, for pictures and exports."""

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from mklab import trace
from mklab.errors import MklabError
from mklab.machine.machine import Machine
from mklab.recording import Film, Look
from mklab.recording.film import MOST_BYTES
from mklab.timeline.comparison import filled
from mklab.timeline.pages import ChangedPages
from mklab.timeline.sight import Sight, apic_values, register_values

__all__ = ["Recorder", "record"]

_PAGE = 4096
_EVERY = ("slice", "event", "instruction")
_UNBROKEN = 1 << 62


def record(
    machine: Machine, *, every: str = "slice", most_bytes: int = MOST_BYTES, source: str | None = None
) -> "Recorder":
    """Record ``machine`` from now on, until :meth:`Recorder.stop`. The run stays as it is, and so does its trace.

    Args:
        machine: one whose trace begins at power-on.
        every: when to look at it: after each ``slice``, at each ``event`` as well, or after each ``instruction``.
        most_bytes: bytes of changed memory to hold at most.
        source: how changed pages are found (see :class:`mklab.timeline.pages.ChangedPages`).

    Raises:
        ValueError: an argument is none of these; the trace's beginning is not there.
    """
    return Recorder(machine, every, most_bytes, source)


class Recorder:
    """Looks at a machine wherever it stands still, and notes what has changed.

    Where the machine is taken back, it finds out at the next look: as long as the same events follow again, the film
    stays as it is; from the first other one on, it is recorded anew.

    Attributes:
        machine: the machine.
        every: when it looks; may be changed on the way, for a stretch that is worth each instruction.
        source: how changed pages are found.
        stride, each_event: see :class:`mklab.machine.attached.Onlooker`.
    """

    def __init__(self, machine: Machine, every: str, most_bytes: int, source: str | None) -> None:
        self.every = every
        if machine.trace.count != len(machine.trace.events):
            first = machine.trace.count - len(machine.trace.events)
            raise ValueError(f"machine must have a trace that begins at power-on, not at event {first!r}")
        self.machine = machine
        self._pages = ChangedPages(machine.memory, source)
        self.source = self._pages.source
        self._sight = Sight(machine.memory)
        ram = [(start, size) for start, size in machine.memory.ranges]
        self._film = Film([cpu.apic_id for cpu in machine.cpus], ram, machine.description, most_bytes)
        self._owners: list[str | None] = []
        self._images: dict[str, Any] = {}
        self._film.extend(machine.trace.events)
        self._note("start", filled(machine.memory), range(len(machine.cpus)))
        machine.onlookers.append(self)

    @property
    def every(self) -> str:
        """When it looks."""
        return self._every

    @every.setter
    def every(self, value: str) -> None:
        if value not in _EVERY:
            raise ValueError(f"every must be one of {list(_EVERY)}, not {value!r}")
        self._every = value
        self.stride = 1 if value == "instruction" else _UNBROKEN
        self.each_event = value != "slice"

    @property
    def film(self) -> Film:
        """What was recorded so far."""
        if self.machine.trace.count != self._film.count and self in self.machine.onlookers:
            self.look("input")
        return self._film

    def stop(self) -> Film:
        """Record no more; what was recorded."""
        film = self.film
        if self in self.machine.onlookers:
            self.machine.onlookers.remove(self)
        return film

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def look(self, why: str) -> None:
        """Note what has changed since the last look, if this is a place to look at."""
        machine, film = self.machine, self._film
        everything = not self._follows()
        if everything and not self._rejoin():
            return
        first = machine.trace.count - len(machine.trace.events)
        new = machine.trace.events[film.count - first :]
        moved = self.every == "instruction" and machine.now > film.looks[-1].time
        if why == "part" and not (new and self.each_event) and not moved:
            return
        film.extend(new)
        changed = self._pages.changed()
        cpus = range(len(machine.cpus)) if everything else _concerned(new, len(machine.cpus)) | {machine.current}
        self._note(why, sorted({*changed, *film.contents.last}) if everything else changed, cpus, new)

    def look_between(self, event: int) -> Look:
        """Note how the machine stands at a moment between two looks, to which it was taken back.

        All that was recorded stays as it is.

        Args:
            event: number of the last event that has happened, as the timeline counts.

        Raises:
            ValueError: there was a look at this moment.
        """
        machine, film = self.machine, self._film
        before = film.looks[film.look_at_time(machine.now)]
        self._sight.forget(set(self._pages.changed()))
        cpus = range(len(machine.cpus))
        registers = {one: machine.engine.registers(one) for one in cpus}
        held = {page: machine.memory.read(page, _PAGE) for page in {*film.contents.last, *filled(machine.memory)}}
        pages = {page: data for page, data in held.items() if data != film.contents.page(before.number, page)}
        return film.insert(
            machine.now,
            event,
            machine.current,
            registers={one: register_values(registers[one]) for one in cpus},
            apics={one: apic_values(machine.apics[one]) for one in cpus},
            where={one: self._sight.where(registers[one]) for one in cpus},
            lines={one: self._sight.lines(registers[one]) for one in cpus},
            pages=pages,
            texts={name: self._text(name) for name in self._told(lambda at, size: _overlap(pages, at, size))},
        )

    def _note(self, why: str, changed: list[int], cpus: Iterable[int], new: list[trace.Event] | None = None) -> None:
        machine, film = self.machine, self._film
        # A kernel may have come since.
        film.description = machine.description
        cause, detail, cpu = _cause(why, new or [], machine.current)
        owner = self._owners[cpu] if cpu is not None and self._owners else None
        cpus = sorted({*cpus, *self._elsewhere(set(changed))})
        registers = {one: machine.engine.registers(one) for one in cpus}
        images = {
            name: {"ranges": image.ranges, "entry": image.entry, "symbols": image.symbols}
            for name, image in machine.images.items()
            if self._images.get(name) is not image
        }
        self._images = dict(machine.images)
        number = len(film.looks)
        film.look(
            cpu,
            owner,
            cause,
            detail,
            time=machine.now,
            registers={one: register_values(registers[one]) for one in cpus},
            apics={one: apic_values(machine.apics[one]) for one in cpus},
            where={one: self._sight.where(registers[one]) for one in cpus},
            lines={one: self._sight.lines(registers[one]) for one in cpus},
            pages={page: machine.memory.read(page, _PAGE) for page in changed},
            images=images,
        )
        touched = partial(film.contents.touched, number)
        film.texts.note(number, {name: self._text(name) for name in self._told(touched)})
        self._owners = [one.owner for one in machine.cpus]

    def _elsewhere(self, changed: set[int]) -> list[int]:
        """The CPUs whose code, or the way to it, may have changed though they have not run."""
        cpus = range(len(self.machine.cpus))
        if self._sight.forget(changed):
            return list(cpus)
        return [one for one in cpus if (self._film.where[one].last.get("rip") or 0) & -_PAGE in changed]

    # Files in /proc

    def _told(self, touched: Callable[[int, int], bool]) -> set[str]:
        """The files that tell of memory that was ``touched``, which is asked by address and size."""
        described = self._film.description
        return {
            place.text
            for place in described.places
            if place.text in self.machine.texts and touched(place.address, described.size(place))
        }

    def _text(self, name: str) -> str:
        try:
            return self.machine.texts[name]()
        except MklabError as error:
            return f"{name} cannot be read: {error}\n"

    # A machine that was taken back

    def _follows(self) -> bool:
        """Whether the machine has gone on from where it was last looked at."""
        events, recorded = self.machine.trace.events, self._film.events
        at = len(recorded) - 1 - (self.machine.trace.count - len(events))
        if self._film.looks and self._film.looks[-1].time > self.machine.now:
            return False
        return not recorded or (0 <= at < len(events) and events[at] is recorded[-1])

    def _rejoin(self) -> bool:
        """The machine was taken elsewhere: forget what did not happen. False while only known events happen again."""
        events, recorded = self.machine.trace.events, self._film.events
        first = self.machine.trace.count - len(events)
        if first > len(recorded):
            raise MklabError(
                f"the machine was taken to event {self.machine.trace.count}, but the recording ends at "
                f"{len(recorded)}: begin a new one"
            )
        same = first
        while same < min(len(recorded), self.machine.trace.count) and recorded[same] == events[same - first]:
            recorded[same] = events[same - first]
            same += 1
        if same == self.machine.trace.count <= len(recorded):
            return False
        self._film.cut(same - 1, self.machine.now)
        return True


def _cause(why: str, new: list[trace.Event], cpu: int) -> tuple[str, str, int | None]:
    """Cause and detail of a look, and the CPU whose doing it is."""
    for event in reversed(new):
        if why in ("slice", "part") and isinstance(event, trace.Step):
            return "call", f"{event.function}.{event.step}", event.cpu
        if why == "input" and isinstance(event, trace.Input):
            return "input", event.name, None
    return ("slice", "", cpu) if why in ("slice", "part") else (why, "", None)


def _overlap(pages: Iterable[int], address: int, size: int) -> bool:
    return any(page < address + size and address < page + _PAGE for page in pages)


def _concerned(events: list[trace.Event], count: int) -> set[int]:
    """The CPUs whose registers or APIC these events may have changed."""
    found = {event.cpu for event in events if event.cpu is not None}
    for event in events:
        if isinstance(event, trace.PlatformReset):
            return set(range(count))
        if isinstance(event, trace.Input) and isinstance(event.args.get("cpu"), int):
            found.add(event.args["cpu"])
    return found
