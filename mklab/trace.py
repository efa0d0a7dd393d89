"""What happened, in order: typed events and the trace that holds them.

A trace is the whole story of a run: choices of the schedule (:class:`Slice`), acts from outside (:class:`Input`) and
everything the machine and its kernels did. Its digest is a chain, ``sha256(previous digest + event as JSON)``, so it
covers every field of every event, and a restored machine goes on with it.

Times are virtual: instructions executed by all CPUs together since power-on, plus the gaps in which none could run.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, Self, TypeVar

__all__ = [
    "AbsentAccess",
    "Accepted",
    "ApicWrite",
    "ConsoleByte",
    "Delivered",
    "Eoi",
    "Event",
    "Fault",
    "Halted",
    "Ignored",
    "Init",
    "Input",
    "IpiSent",
    "Lost",
    "Message",
    "MessageTaken",
    "ModeChange",
    "OwnerChange",
    "Planned",
    "PlatformReset",
    "Printk",
    "Shutdown",
    "Sipi",
    "Slice",
    "Step",
    "TimerExpired",
    "Trace",
    "Woken",
]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_WORDS = {None: "null", True: "true", False: "false"}


def _json(value: Any) -> str:
    """``value`` as JSON; what is common goes without the encoder, which costs more than an event's hash."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return _WORDS[value] if value is None or type(value) is bool else _ENCODER.encode(value)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        seq: number of the event in its trace, from 0.
        time: virtual time in instructions.
        cpu: the CPU (its index in the machine) it happened on, or None for the platform.
    """

    seq: int
    time: int
    cpu: int | None

    kinds: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the kind, so that JSON can name it."""
        Event.kinds[cls.__name__] = cls

    @property
    def kind(self) -> str:
        """The event's kind, as in JSON."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """The event as plain data, ``kind`` first."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _field_names(self.kind)}}

    def to_line(self) -> str:
        """The event as JSON, always in the same words: keys sorted, no spaces."""
        words = []
        for name in _sorted_names(self.kind):
            value = self.kind if name == "kind" else getattr(self, name)
            if type(value) is int:
                words.append(f'"{name}":{value}')
            else:
                words.append(f'"{name}":{_json(value)}')
        return "{" + ",".join(words) + "}"

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Event":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: the kind is unknown or the fields are not those of the kind.
        """
        rest = dict(data)
        kind = rest.pop("kind", None)
        cls = Event.kinds.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise ValueError(f"kind must name an event, not {kind!r}")
        if set(rest) != set(_field_names(kind)):
            raise ValueError(f"{kind} must have the fields {sorted(_field_names(kind))}, not {sorted(rest)!r}")
        return cls(**rest)


@functools.cache
def _field_names(kind: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(Event.kinds[kind]))


@dataclass(frozen=True, slots=True)
class Input(Event):
    """An act from outside: a call of the API, a poke, a patch. ``args`` is plain data; long bytes are named by hash."""

    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slice(Event):
    """The schedule let ``cpu`` run; its time is the end.

    Attributes:
        budget: instructions allowed; 0 for one step of a process-context call.
        executed: instructions begun.
        stop: why it ended: ``budget`` (Ctrl-C takes away what was left of it), ``halt``, ``ipi``, ``call`` (a step was
            done), ``shutdown``, ``reset`` (of the platform), ``exit`` (through the debug exit).
        registers: a digest of the CPU's general, control and segment registers at the end; not of SSE, x87 or MSRs.
    """

    budget: int
    executed: int
    stop: str
    registers: str

    def to_line(self) -> str:
        """As of any event; there are so many slices that it pays to write this one out."""
        return (
            f'{{"budget":{self.budget},"cpu":{self.cpu},"executed":{self.executed},"kind":"Slice",'
            f'"registers":"{self.registers}","seq":{self.seq},"stop":"{self.stop}","time":{self.time}}}'
        )


@dataclass(frozen=True, slots=True)
class Step(Event):
    """One named step of a kernel function running in process context on ``cpu``."""

    function: str
    step: str
    detail: str


@dataclass(frozen=True, slots=True)
class Printk(Event):
    """A line of a kernel's log, written by its process context."""

    kernel: str
    text: str


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """Somebody means ``cpu`` to belong to ``owner``: a plan, kept apart from what is observed."""

    owner: str | None


@dataclass(frozen=True, slots=True)
class OwnerChange(Event):
    """``cpu`` was seen to enter the memory of ``owner`` (None: INIT took it from its owner).

    Attributes:
        address: physical address of the instruction it was about to execute; 0 for INIT.
        planned: the owner that was planned for it.
    """

    owner: str | None
    planned: str | None
    address: int

    @property
    def against_plan(self) -> bool:
        """True where the observed owner is not the planned one."""
        return self.owner is not None and self.planned is not None and self.owner != self.planned


@dataclass(frozen=True, slots=True)
class ModeChange(Event):
    """``cpu`` is now in ``mode``: ``real``, ``protected`` or ``long`` (with its compatibility sub-mode)."""

    mode: str


@dataclass(frozen=True, slots=True)
class ApicWrite(Event):
    """``cpu`` stored ``value`` in the register at ``offset`` of its local APIC page."""

    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class IpiSent(Event):
    """``cpu`` wrote ICR low. ``delivery`` is the delivery mode's name; ``targets`` are the CPUs that it names."""

    vector: int
    delivery: str
    shorthand: str
    level: bool
    targets: list[int]


@dataclass(frozen=True, slots=True)
class Init(Event):
    """``cpu`` took an INIT: it now waits for a SIPI (the BSP: restarts at the reset vector)."""

    from_cpu: int | None


@dataclass(frozen=True, slots=True)
class Sipi(Event):
    """``cpu`` took a start-up IPI and will run at ``vector << 12`` in real mode."""

    from_cpu: int | None
    vector: int


@dataclass(frozen=True, slots=True)
class Ignored(Event):
    """``what`` reached ``cpu`` and does nothing there; ``why`` says why."""

    from_cpu: int | None
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """An interrupt was set in ``cpu``'s IRR; ``merged`` where the bit was set already: two sent, one delivered."""

    from_cpu: int | None
    vector: int
    merged: bool


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """An interrupt sent to ``cpu`` vanished; ``why`` says why. ``cpu`` None: it was sent to no APIC."""

    from_cpu: int | None
    vector: int
    why: str


@dataclass(frozen=True, slots=True)
class TimerExpired(Event):
    """The timer of ``cpu``'s local APIC set ``vector`` in IRR; ``merged`` where the bit was set already."""

    vector: int
    merged: bool


@dataclass(frozen=True, slots=True)
class Delivered(Event):
    """``cpu`` enters ``handler`` for ``vector``; it was about to execute ``rip``.

    Attributes:
        source: ``interrupt``, ``nmi`` or ``exception`` (INT n counts as ``exception``).
    """

    vector: int
    source: str
    rip: int
    handler: int


@dataclass(frozen=True, slots=True)
class Eoi(Event):
    """``cpu`` wrote EOI: ``vector`` left its ISR (None: nothing was in service)."""

    vector: int | None


@dataclass(frozen=True, slots=True)
class Halted(Event):
    """``cpu`` executed HLT; ``interruptible`` is RFLAGS.IF: without it only NMI and INIT wake it."""

    interruptible: bool


@dataclass(frozen=True, slots=True)
class Woken(Event):
    """``cpu`` left HLT because of ``vector``."""

    vector: int


@dataclass(frozen=True, slots=True)
class Fault(Event):
    """``cpu`` raised an exception at ``rip``. ``error`` is its error code, None where it has none."""

    vector: int
    error: int | None
    rip: int
    cr2: int


@dataclass(frozen=True, slots=True)
class AbsentAccess(Event):
    """``cpu`` reached a physical address where there is neither memory nor a device: reads give 0, writes vanish."""

    address: int
    write: bool


@dataclass(frozen=True, slots=True)
class Shutdown(Event):
    """``cpu`` entered the shutdown state (a triple fault); ``why`` tells the chain of faults."""

    why: str


@dataclass(frozen=True, slots=True)
class PlatformReset(Event):
    """The whole platform was reset, every kernel with it."""

    why: str


@dataclass(frozen=True, slots=True)
class ConsoleByte(Event):
    """``kernel`` (None: a CPU that belongs to nobody) sent ``byte`` (0 to 255) to its serial port."""

    kernel: str | None
    byte: int


@dataclass(frozen=True, slots=True)
class Message(Event):
    """What lay in the target's slot of mk_shared_data when ``cpu`` wrote ICR for vector 0xEA.

    Attributes:
        to_cpu: index of the CPU whose slot it is.
        slot: physical address of the slot (a ``struct mk_ipi_data``).
        sender: the slot's ``sender_cpu``, as the sender claims it.
        type, size: the slot's ``type`` and ``data_size``.
        payload: the first ``min(size, 256)`` bytes of the buffer, in hex.
    """

    to_cpu: int
    vector: int
    slot: int
    sender: int
    type: int
    size: int
    payload: str


@dataclass(frozen=True, slots=True)
class MessageTaken(Event):
    """What lay in ``cpu``'s slot when it entered its handler of vector 0xEA; fields as in :class:`Message`."""

    slot: int
    sender: int
    type: int
    size: int
    payload: str


@functools.cache
def _sorted_names(kind: str) -> tuple[str, ...]:
    return tuple(sorted(("kind", *_field_names(kind))))


E = TypeVar("E", bound=Event)

FORMAT = "mklab-trace-1"


class Trace:
    """The events of a run, and a digest over all of them.

    Attributes:
        events: the events held, oldest first. After a restore, those since the restored moment.
        count: number of events since power-on.
        blobs: long byte strings that Input events name by their SHA-256.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.count = 0
        self._digest = hashlib.sha256(FORMAT.encode()).hexdigest()
        self._pending: list[Event | str] = []
        self.blobs: dict[str, bytes] = {}

    def emit(self, kind: type[E], time: int, cpu: int | None, **values: Any) -> E:
        """Append an event of ``kind`` and return it."""
        event = kind(self.count, time, cpu, **values)
        self.append(event)
        return event

    def append(self, event: Event) -> None:
        """Append ``event``.

        Raises:
            ValueError: its number does not follow the last one.
        """
        if event.seq != self.count:
            raise ValueError(f"seq must be {self.count}, not {event.seq!r}")
        self.count += 1
        self.events.append(event)
        # The arguments of an act from outside are somebody else's, too; other events never change.
        self._pending.append(event.to_line() if isinstance(event, Input) else event)

    @property
    def sha256(self) -> str:
        """Digest over every event since power-on (hex). It is made when it is asked for: most never are."""
        for event in self._pending:
            line = event if isinstance(event, str) else event.to_line()
            self._digest = hashlib.sha256((self._digest + line).encode()).hexdigest()
        self._pending.clear()
        return self._digest

    @sha256.setter
    def sha256(self, digest: str) -> None:
        self._pending.clear()
        self._digest = digest

    def keep(self, data: bytes) -> dict[str, Any]:
        """Hold ``data`` for replay and return what an Input event says of it: its SHA-256 and size in bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = bytes(data)
        return {"sha256": digest, "size": len(data)}

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events, oldest first."""
        return iter(self.events)

    def __len__(self) -> int:
        """Number of events held."""
        return len(self.events)

    def to_json(self) -> str:
        """The trace as one JSON object."""
        data = {
            "format": FORMAT,
            "sha256": self.sha256,
            "events": [event.to_dict() for event in self.events],
            "blobs": {name: base64.b64encode(blob).decode() for name, blob in self.blobs.items()},
        }
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json` for a trace that begins at power-on.

        Raises:
            ValueError: not such a trace, or its digest does not fit its events.
        """
        data = json.loads(text)
        complete = isinstance(data, dict) and data.keys() >= {"sha256", "events", "blobs"}
        if not complete or data.get("format") != FORMAT:
            raise ValueError(f"text must be a trace of format {FORMAT}, not {text[:40]!r}")
        trace = cls()
        for item in data["events"]:
            trace.append(Event.from_dict(item))
        if trace.sha256 != data["sha256"]:
            raise ValueError(f"the events must have the digest {trace.sha256}, not {data['sha256']!r}")
        for blob in data["blobs"].values():
            trace.keep(base64.b64decode(blob))
        return trace

    def state(self) -> dict[str, Any]:
        """What a restored machine needs to go on with this trace."""
        return {"sha256": self.sha256, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the events held are dropped."""
        self.sha256 = state["sha256"]
        self.count = state["count"]
        self.events = []
