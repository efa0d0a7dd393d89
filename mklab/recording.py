"""What a picture draws from: who owned each CPU when, what became of each IPI, what each kernel printed.

A :class:`Recording` is plain data made from the events of a trace, and needs neither a machine nor its engine. It holds
no keyframes: a CPU's history is a list of spans, an IPI carries the moment of each of its stages, and a console knows
the event of each character. So any past moment is found by bisection or by leaving out what is later
(:meth:`Recording.upto`).

A recording begins at power-on, where every CPU waits for a SIPI in real mode and belongs to nobody (SDM
"Multiple-Processor Initialization").
"""

import bisect
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self

from mklab import trace

__all__ = ["MULTIKERNEL_VECTOR", "Console", "Incident", "Ipi", "Moment", "Recording", "Slot", "Span"]

FORMAT = "mklab-recording-1"

# arch/x86/include/asm/irq_vectors.h, as the RFC changes it.
MULTIKERNEL_VECTOR = 0xEA


class Moment(NamedTuple):
    """When something happened: the number of its event, and its virtual time in instructions."""

    event: int
    time: int


@dataclass(frozen=True)
class Span:
    """A stretch in which nothing changed for a CPU.

    Attributes:
        cpu: index of the CPU.
        start: when it began; event -1 is power-on.
        end: when something changed; None while it lasts.
        owner: the kernel the CPU was seen to enter, or None.
        mode: ``real``, ``protected`` or ``long``.
        state: ``wait-for-SIPI``, ``running``, ``halted`` or ``shut down``.
        planned: the kernel it was meant for, or None.
    """

    cpu: int
    start: Moment
    end: Moment | None = None
    owner: str | None = None
    mode: str = "real"
    state: str = "wait-for-SIPI"
    planned: str | None = None

    @property
    def against_plan(self) -> bool:
        """Whether the CPU belongs to another kernel than the one it was meant for."""
        return self.owner is not None and self.planned is not None and self.owner != self.planned


@dataclass(frozen=True)
class Slot:
    """Bytes in a CPU's slot of ``mk_shared_data`` (kernel/multikernel.c, ``struct mk_ipi_data``).

    Attributes:
        address: physical address of the slot.
        sender: its ``sender_cpu``, as the sender claims it.
        type, size: its ``type`` and ``data_size`` (bytes).
        payload: the first ``min(size, 256)`` bytes of its buffer, in hex.
    """

    address: int
    sender: int
    type: int
    size: int
    payload: str


@dataclass(frozen=True)
class Ipi:
    """An interprocessor interrupt on its way to one CPU.

    Attributes:
        sender: the CPU that wrote its ICR.
        target: the CPU it is for; None where no local APIC has that id.
        delivery: ``fixed``, ``lowest``, ``nmi``, ``init`` or ``sipi``, as in :class:`mklab.trace.IpiSent`.
        vector: its vector; for a SIPI the page it starts at; without meaning for INIT.
        level: ICR's level bit; False for an INIT that is a level de-assert.
        sent: when ICR was written.
        slot: what lay in the target's slot then, for vector 0xEA, and ``slot_seen``: the moment of that look.
        accepted: when it was set in the target's IRR, or when INIT or SIPI took effect.
        merged: whether the bit was set already: two sent, one delivered.
        lost: when it vanished, and ``why``.
        ignored: when it reached a CPU on which it does nothing, and ``why``.
        delivered: when the target entered its handler.
        taken: when the target's handler found ``read`` in its slot.
        overwritten: when another message was put into the slot before this one was taken.
        eoi: when the target wrote EOI for it.
    """

    sender: int
    target: int | None
    delivery: str
    vector: int
    level: bool
    sent: Moment
    slot: Slot | None = None
    slot_seen: Moment | None = None
    accepted: Moment | None = None
    merged: bool = False
    lost: Moment | None = None
    ignored: Moment | None = None
    why: str = ""
    delivered: Moment | None = None
    taken: Moment | None = None
    read: Slot | None = None
    overwritten: Moment | None = None
    eoi: Moment | None = None

    @property
    def is_message(self) -> bool:
        """Whether it announces a message between kernels."""
        return self.delivery in ("fixed", "lowest") and self.vector == MULTIKERNEL_VECTOR

    @property
    def pending(self) -> bool:
        """Whether it is in the target's IRR (or its NMI latch); INIT and SIPI act at once."""
        waits = self.accepted is not None and self.delivery not in ("init", "sipi")
        return waits and self.delivered is None and self.lost is None

    @property
    def settled(self) -> bool:
        """Whether nothing more can become of it."""
        if self.lost or self.ignored or (self.accepted and self.delivery in ("init", "sipi")):
            return True
        read = not self.is_message or self.taken is not None or self.overwritten is not None
        # An NMI is not in service in the local APIC and gets no EOI.
        return read and (self.eoi is not None or (self.delivery == "nmi" and self.delivered is not None))

    def upto(self, event: int) -> "Ipi":
        """The IPI as it stood after event number ``event``."""

        def known(moment: Moment | None) -> Moment | None:
            return moment if moment is not None and moment.event <= event else None

        slot_seen, accepted, taken = known(self.slot_seen), known(self.accepted), known(self.taken)
        lost, ignored = known(self.lost), known(self.ignored)
        return replace(
            self,
            slot=self.slot if slot_seen else None,
            slot_seen=slot_seen,
            accepted=accepted,
            merged=self.merged and accepted is not None,
            lost=lost,
            ignored=ignored,
            why=self.why if lost or ignored else "",
            delivered=known(self.delivered),
            taken=taken,
            read=self.read if taken else None,
            overwritten=known(self.overwritten),
            eoi=known(self.eoi),
        )


@dataclass(frozen=True)
class Incident:
    """Something that went wrong or against the plan.

    Attributes:
        at: when.
        cpu: the CPU it happened on, or None for the platform.
        kind: ``fault``, ``shutdown``, ``reset`` or ``against plan``.
        text: what happened, in words.
    """

    at: Moment
    cpu: int | None
    kind: str
    text: str


@dataclass
class Console:
    """What one kernel printed, over its serial port and into its log.

    Attributes:
        text: all of it.
        events: for each character, the number of the event that printed it.
    """

    text: str = ""
    events: list[int] = field(default_factory=list)

    def put(self, event: int, text: str) -> None:
        """Append ``text``, printed by event number ``event``."""
        self.text += text
        self.events += [event] * len(text)

    def upto(self, event: int) -> "Console":
        """The console as it stood after event number ``event``."""
        length = bisect.bisect_right(self.events, event)
        return Console(self.text[:length], self.events[:length])


class Recording:
    """The history of a machine, as pictures need it.

    Args:
        apic_ids: the physical id of each CPU, in order of their index.

    Attributes:
        apic_ids: as given.
        times: virtual time (instructions) of each event.
        spans: the spans of each CPU, oldest first; the last one lasts.
        ipis: every IPI to every target, in the order they were sent.
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
        self.ipis: list[Ipi] = []
        self.incidents: list[Incident] = []
        self.consoles: dict[str, Console] = {}
        self._unsettled: list[int] = []  # numbers of IPIs, so that an event need not look at all of them

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
        past._take_ipis(ipi.upto(event) for ipi in self.ipis if ipi.sent.event <= event)
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
        for event in events:
            if event.seq != self.count:
                raise ValueError(f"the next event must be number {self.count}, not {event.seq!r}")
            if event.time < self.time:
                raise ValueError(f"event {event.seq} must be at {self.time} instructions or later, not {event.time!r}")
            self.times.append(event.time)
            self._note(event, Moment(event.seq, event.time))

    def _note(self, event: trace.Event, at: Moment) -> None:
        match event:
            case trace.IpiSent() | trace.Message() | trace.MessageTaken():
                self._note_message(event, at)
            case trace.Accepted() | trace.Lost() | trace.Ignored() | trace.Sipi() | trace.Delivered() | trace.Eoi():
                self._note_interrupt(event, at)
            case trace.Init(cpu=int(cpu), from_cpu=sender):
                self._arrive(sender, cpu, accepted=at)
                self._forget_pending([cpu], at, f"INIT reset the local APIC of CPU {cpu}")
                self._change(cpu, at, state="wait-for-SIPI" if cpu else "running")
            case trace.PlatformReset(why=why):
                everyone = range(len(self.spans))
                self._forget_pending(everyone, at, "the platform was reset")
                for cpu in everyone:
                    self._change(cpu, at, state="wait-for-SIPI", mode="real", owner=None)
                self.incidents.append(Incident(at, None, "reset", f"the platform was reset: {why}"))
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
            case trace.Woken(cpu=int(cpu)):
                self._change(cpu, at, state="running")
            case trace.Shutdown(cpu=int(cpu), why=why):
                self._change(cpu, at, state="shut down")
                self.incidents.append(Incident(at, cpu, "shutdown", f"CPU {cpu} shut down: {why}"))
            case trace.Fault(cpu=int(cpu), vector=vector, error=error, rip=rip):
                code = "" if error is None else f", error code {error:#x}"
                text = f"CPU {cpu} raised exception {vector}{code} at {rip:#x}"
                self.incidents.append(Incident(at, cpu, "fault", text))
            case trace.ConsoleByte(kernel=kernel, byte=byte):
                character = bytes([byte]).decode("ascii", "replace")
                self.consoles.setdefault(kernel or "nobody", Console()).put(at.event, character)
            case trace.Printk(kernel=kernel, text=text):
                console = self.consoles.setdefault(kernel, Console())
                # A line of the log does not continue what a CPU was writing byte by byte.
                console.put(
                    at.event, f"\n{text}\n" if console.text and not console.text.endswith("\n") else f"{text}\n"
                )

    def _note_message(self, event: trace.IpiSent | trace.Message | trace.MessageTaken, at: Moment) -> None:
        match event:
            case trace.IpiSent(cpu=int(sender)):
                targets: Sequence[int | None] = event.targets or [None]
                for target in targets:
                    self._unsettled.append(len(self.ipis))
                    self.ipis.append(Ipi(sender, target, event.delivery, event.vector, event.level, at))
            case trace.Message(cpu=sender, to_cpu=target):
                slot = Slot(event.slot, event.sender, event.type, event.size, event.payload)
                for number in self._last_sent():
                    if (self.ipis[number].sender, self.ipis[number].target) == (sender, target):
                        self._overwrite(slot.address, at)
                        self._update(number, slot=slot, slot_seen=at)
            case trace.MessageTaken(cpu=cpu):
                slot = Slot(event.slot, event.sender, event.type, event.size, event.payload)
                for number in list(self._unsettled):
                    ipi = self.ipis[number]
                    waits = ipi.delivered and ipi.taken is None and ipi.overwritten is None
                    if waits and ipi.is_message and ipi.target == cpu:
                        self._update(number, taken=at, read=slot)

    def _note_interrupt(self, event: trace.Event, at: Moment) -> None:
        match event:
            case trace.Accepted(cpu=cpu, from_cpu=sender, merged=merged):
                self._arrive(sender, cpu, accepted=at, merged=merged)
            case trace.Sipi(cpu=int(cpu), from_cpu=sender):
                self._arrive(sender, cpu, accepted=at)
                self._change(cpu, at, state="running")
            case trace.Lost(cpu=cpu, from_cpu=sender, why=why):
                self._arrive(sender, cpu, lost=at, why=why)
            case trace.Ignored(cpu=cpu, from_cpu=sender, why=why):
                self._arrive(sender, cpu, ignored=at, why=why)
            case trace.Delivered(cpu=int(cpu), vector=vector, source="interrupt" | "nmi"):
                self._change(cpu, at, state="running")
                for number in list(self._unsettled):
                    ipi = self.ipis[number]
                    if ipi.pending and (ipi.target, ipi.vector) == (cpu, vector):
                        self._update(number, delivered=at)
            case trace.Eoi(cpu=cpu, vector=vector):
                for number in list(self._unsettled):
                    ipi = self.ipis[number]
                    if ipi.delivered and ipi.eoi is None and (ipi.target, ipi.vector) == (cpu, vector):
                        self._update(number, eoi=at)

    def _change(self, cpu: int, at: Moment, **values: Any) -> None:
        """End the span of ``cpu`` and begin one with other ``values``, unless it has them already."""
        last = self.spans[cpu][-1]
        begun = replace(last, **values)
        if begun != last:
            self.spans[cpu][-1] = replace(last, end=at)
            self.spans[cpu].append(replace(begun, start=at))

    def _last_sent(self) -> Iterator[int]:
        """Numbers of the IPIs that the last write of an ICR sent."""
        for number in range(len(self.ipis) - 1, -1, -1):
            if self.ipis[number].sent != self.ipis[-1].sent:
                return
            yield number

    def _arrive(self, sender: int | None, target: int | None, **values: Any) -> None:
        """The IPI from ``sender`` reached ``target``. What no IPI caused (an INIT from outside) is in the spans."""
        for number in self._last_sent():
            if (self.ipis[number].sender, self.ipis[number].target) == (sender, target):
                self._update(number, **values)

    def _overwrite(self, slot: int, at: Moment) -> None:
        """A message is put into ``slot``: one that was not taken, though its interrupt was accepted, is gone."""
        for number in list(self._unsettled):
            ipi = self.ipis[number]
            waits = ipi.accepted and ipi.taken is None and ipi.overwritten is None
            if waits and ipi.slot is not None and ipi.slot.address == slot:
                self._update(number, overwritten=at)

    def _forget_pending(self, cpus: Sequence[int | None], at: Moment, why: str) -> None:
        """The local APICs of ``cpus`` are reset: what was pending in them is lost."""
        for number in list(self._unsettled):
            if self.ipis[number].pending and self.ipis[number].target in cpus:
                self._update(number, lost=at, why=why)

    def _update(self, number: int, **values: Any) -> None:
        self.ipis[number] = replace(self.ipis[number], **values)
        if self.ipis[number].settled and number in self._unsettled:
            self._unsettled.remove(number)

    def _take_ipis(self, ipis: Iterable[Ipi]) -> None:
        self.ipis = list(ipis)
        self._unsettled = [number for number, ipi in enumerate(self.ipis) if not ipi.settled]

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
                "consoles": {kernel: asdict(console) for kernel, console in self.consoles.items()},
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
        recording._take_ipis(_revive(Ipi, ipi) for ipi in data["ipis"])
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
