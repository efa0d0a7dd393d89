"""The recording itself: what happened on each CPU, in each console and to each IPI, and how it stood at any event."""

import bisect
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

from mklab import trace
from mklab.recording.facts import Console, Incident, Ipi, Moment, Slot, Span
from mklab.recording.ipis import Ipis

__all__ = ["Recording"]

FORMAT = "mklab-recording-1"


class Recording:
    """The history of a machine, as pictures need it.

    Args:
        apic_ids: the physical id of each CPU, in order of their index.

    Attributes:
        apic_ids: as given.
        times: virtual time (instructions) of each event.
        spans: the spans of each CPU, oldest first; the last one lasts.
        incidents: what went wrong, oldest first.
        consoles: what each kernel printed, by its name; ``nobody`` where a CPU without an owner printed.

    Raises:
        ValueError: no CPU, or two with one id.
    """

    def __init__(self, apic_ids: Sequence[int]) -> None:
        if not apic_ids or len(set(apic_ids)) != len(apic_ids):
            raise ValueError(f"apic_ids must be one or more different numbers, not {apic_ids!r}")
        self.apic_ids = list(apic_ids)
        self.times: list[int] = []
        self.spans = [[Span(cpu, Moment(-1, 0))] for cpu in range(len(apic_ids))]
        self.incidents: list[Incident] = []
        self.consoles: dict[str, Console] = {}
        self._ipis = Ipis()

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same history."""
        return isinstance(other, Recording) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    # Looking

    @property
    def count(self) -> int:
        """Number of events recorded."""
        return len(self.times)

    @property
    def time(self) -> int:
        """Virtual time of the last event, in instructions."""
        return self.times[-1] if self.times else 0

    @property
    def ipis(self) -> list[Ipi]:
        """Every IPI to every target, in the order they were sent."""
        return self._ipis.all

    @property
    def messages(self) -> list[Ipi]:
        """The IPIs that announce a message between kernels, in the order they were sent."""
        return [ipi for ipi in self.ipis if ipi.is_message]

    @property
    def cpus(self) -> list[Span]:
        """How each CPU stands now: the last span of each."""
        return [spans[-1] for spans in self.spans]

    def event_at(self, time: int) -> int:
        """Number of the last event that is not later than ``time`` (instructions); -1 where there is none."""
        return bisect.bisect_right(self.times, time) - 1

    def span_at(self, cpu: int, event: int) -> Span:
        """How ``cpu`` stood after event number ``event``; -1 is power-on.

        Raises:
            ValueError: there is no such CPU or event.
        """
        if not 0 <= cpu < len(self.spans):
            raise ValueError(f"cpu must be 0 to {len(self.spans) - 1}, not {cpu!r}")
        self._check(event)
        spans = self.spans[cpu]
        return spans[bisect.bisect_right(spans, event, key=lambda span: span.start.event) - 1]

    def upto(self, event: int) -> "Recording":
        """The recording as it was after event number ``event``; -1 is power-on. It can be extended from there.

        Raises:
            ValueError: there is no such event.
        """
        self._check(event)
        past = Recording(self.apic_ids)
        past.times = self.times[: event + 1]
        for cpu, spans in enumerate(self.spans):
            begun = bisect.bisect_right(spans, event, key=lambda span: span.start.event)
            past.spans[cpu] = [*spans[: begun - 1], replace(spans[begun - 1], end=None)]
        past._ipis = Ipis.of(ipi.upto(event) for ipi in self.ipis if ipi.sent.event <= event)
        past.incidents = [incident for incident in self.incidents if incident.at.event <= event]
        consoles = {kernel: console.upto(event) for kernel, console in self.consoles.items()}
        past.consoles = {kernel: console for kernel, console in consoles.items() if console.events}
        return past

    def lines(self, kernel: str) -> Iterator[tuple[int, str]]:
        """The lines on the console of ``kernel``, each with the virtual time (instructions) of its first character."""
        console = self.consoles.get(kernel, Console())
        start = 0
        for line in console.text.splitlines(keepends=True):
            yield self.times[console.events[start]], line.rstrip("\r\n")
            start += len(line)

    def _check(self, event: int) -> None:
        if not -1 <= event < self.count:
            raise ValueError(f"event must be -1 to {self.count - 1}, not {event!r}")

    # Recording

    def extend(self, events: Iterable[trace.Event]) -> None:
        """Go on with ``events``, the first of which is number :attr:`count`.

        Raises:
            ValueError: an event is not the next one, or is earlier than the one before.
        """
        latest = self.time
        for count, event in enumerate(events, self.count):
            if event.seq != count:
                raise ValueError(f"the next event must be number {count}, not {event.seq!r}")
            if event.time < latest:
                raise ValueError(f"event {event.seq} must be at {latest} instructions or later, not {event.time!r}")
            latest = event.time
            self.times.append(latest)
            moment = Moment(count, latest)
            self._ipis.note(event, moment)
            self._note(event, moment)

    def _note(self, event: trace.Event, at: Moment) -> None:
        match event:
            # Most events are of the first two kinds: they need not be held against all of the others.
            case trace.Slice():
                pass
            case trace.ConsoleByte(kernel=kernel, byte=byte):
                character = bytes([byte]).decode("ascii", "replace")
                self.consoles.setdefault(kernel or "nobody", Console()).put(at.event, character)
            case trace.Init(cpu=int(cpu)):
                self._change(cpu, at, state="wait-for-SIPI" if cpu else "running")
            case trace.PlatformReset(why=why):
                for cpu in range(len(self.spans)):
                    self._change(cpu, at, state="wait-for-SIPI", mode="real", owner=None)
                self.incidents.append(Incident(at, None, "reset", f"the platform was reset: {why}"))
            case trace.Sipi(cpu=int(cpu)) | trace.Woken(cpu=int(cpu)):
                self._change(cpu, at, state="running")
            case trace.Delivered(cpu=int(cpu), source="interrupt" | "nmi"):
                self._change(cpu, at, state="running")
            case trace.Input(name="patch_registers", args={"cpu": int(cpu), "running": True}):
                self._change(cpu, at, state="running")
            case trace.ModeChange(cpu=int(cpu), mode=mode):
                self._change(cpu, at, mode=mode)
            case trace.Planned(cpu=int(cpu), owner=owner):
                self._change(cpu, at, planned=owner)
            case trace.OwnerChange(cpu=int(cpu), owner=owner):
                self._change(cpu, at, owner=owner)
                if event.against_plan:
                    text = f"CPU {cpu}, planned for {event.planned}, entered {owner} at {event.address:#x}"
                    self.incidents.append(Incident(at, cpu, "against plan", text))
            case trace.Halted(cpu=int(cpu)):
                self._change(cpu, at, state="halted")
            case trace.Shutdown(cpu=int(cpu), why=why):
                self._change(cpu, at, state="shut down")
                self.incidents.append(Incident(at, cpu, "shutdown", f"CPU {cpu} shut down: {why}"))
            case trace.Fault(cpu=int(cpu), vector=vector, error=error, rip=rip):
                code = "" if error is None else f", error code {error:#x}"
                text = f"CPU {cpu} raised exception {vector}{code} at {rip:#x}"
                self.incidents.append(Incident(at, cpu, "fault", text))
            case trace.Printk(kernel=kernel, text=text):
                console = self.consoles.setdefault(kernel, Console())
                # A line of the log does not continue what a CPU was writing byte by byte.
                console.put(at.event, f"\n{text}\n" if console.in_line else f"{text}\n")

    def _change(self, cpu: int, at: Moment, **values: Any) -> None:
        """End the span of ``cpu`` and begin one with other ``values``, unless it has them already."""
        last = self.spans[cpu][-1]
        begun = replace(last, **values)
        if begun != last:
            self.spans[cpu][-1] = replace(last, end=at)
            self.spans[cpu].append(replace(begun, start=at))

    # Files

    def to_json(self) -> str:
        """The recording as one JSON object."""
        return json.dumps(
            {
                "format": FORMAT,
                "apic_ids": self.apic_ids,
                "times": self.times,
                "spans": [[asdict(span) for span in spans] for spans in self.spans],
                "ipis": [asdict(ipi) for ipi in self.ipis],
                "incidents": [asdict(incident) for incident in self.incidents],
                "consoles": {name: {"text": one.text, "events": one.events} for name, one in self.consoles.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: not such a recording.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"text must be a recording of format {FORMAT}, not {text[:40]!r}")
        recording = cls(data["apic_ids"])
        recording.times = data["times"]
        recording.spans = [[_revive(Span, span) for span in spans] for spans in data["spans"]]
        recording._ipis = Ipis.of(_revive(Ipi, ipi) for ipi in data["ipis"])
        recording.incidents = [_revive(Incident, incident) for incident in data["incidents"]]
        recording.consoles = {kernel: Console(**console) for kernel, console in data["consoles"].items()}
        return recording


def _revive(kind: Any, data: dict[str, Any]) -> Any:
    """A dataclass from its ``asdict``: JSON turns a :class:`Moment` into a list and a :class:`Slot` into a dict."""
    values = {
        name: Moment(*value) if isinstance(value, list) else Slot(**value) if isinstance(value, dict) else value
        for name, value in data.items()
    }
    return kind(**values)
