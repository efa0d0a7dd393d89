"""The kinds of event: what a machine, its kernels and those outside can do."""

from typing import Any

from mklab.trace.event import Event, kind_of_event


@kind_of_event
class Input(Event):
    """An act from outside: a call of the API, a poke, a patch. ``args`` is plain data; long bytes are named by hash."""

    name: str
    args: dict[str, Any]


@kind_of_event
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


@kind_of_event
class Step(Event):
    """One named step of a kernel function running in process context on ``cpu``."""

    function: str
    step: str
    detail: str


@kind_of_event
class Printk(Event):
    """A line of a kernel's log, written by its process context."""

    kernel: str
    text: str


@kind_of_event
class Planned(Event):
    """Somebody means ``cpu`` to belong to ``owner``: a plan, kept apart from what is observed."""

    owner: str | None


@kind_of_event
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


@kind_of_event
class ModeChange(Event):
    """``cpu`` is now in ``mode``: ``real``, ``protected`` or ``long`` (with its compatibility sub-mode)."""

    mode: str


@kind_of_event
class ApicWrite(Event):
    """``cpu`` stored ``value`` in the register at ``offset`` of its local APIC page."""

    offset: int
    value: int


@kind_of_event
class IpiSent(Event):
    """``cpu`` wrote ICR low. ``delivery`` is the delivery mode's name; ``targets`` are the CPUs that it names."""

    vector: int
    delivery: str
    shorthand: str
    level: bool
    targets: list[int]


@kind_of_event
class Init(Event):
    """``cpu`` took an INIT: it now waits for a SIPI (the BSP: restarts at the reset vector)."""

    from_cpu: int | None


@kind_of_event
class Sipi(Event):
    """``cpu`` took a start-up IPI and will run at ``vector << 12`` in real mode."""

    from_cpu: int | None
    vector: int


@kind_of_event
class Ignored(Event):
    """``what`` reached ``cpu`` and does nothing there; ``why`` says why."""

    from_cpu: int | None
    what: str
    why: str


@kind_of_event
class Accepted(Event):
    """An interrupt was set in ``cpu``'s IRR; ``merged`` where the bit was set already: two sent, one delivered."""

    from_cpu: int | None
    vector: int
    merged: bool


@kind_of_event
class Lost(Event):
    """An interrupt sent to ``cpu`` vanished; ``why`` says why. ``cpu`` None: it was sent to no APIC."""

    from_cpu: int | None
    vector: int
    why: str


@kind_of_event
class TimerExpired(Event):
    """The timer of ``cpu``'s local APIC set ``vector`` in IRR; ``merged`` where the bit was set already."""

    vector: int
    merged: bool


@kind_of_event
class Delivered(Event):
    """``cpu`` enters ``handler`` for ``vector``; it was about to execute ``rip``.

    Attributes:
        source: ``interrupt``, ``nmi`` or ``exception`` (INT n counts as ``exception``).
    """

    vector: int
    source: str
    rip: int
    handler: int


@kind_of_event
class Eoi(Event):
    """``cpu`` wrote EOI: ``vector`` left its ISR (None: nothing was in service)."""

    vector: int | None


@kind_of_event
class Halted(Event):
    """``cpu`` executed HLT; ``interruptible`` is RFLAGS.IF: without it only NMI and INIT wake it."""

    interruptible: bool


@kind_of_event
class Woken(Event):
    """``cpu`` left HLT because of ``vector``."""

    vector: int


@kind_of_event
class Fault(Event):
    """``cpu`` raised an exception at ``rip``. ``error`` is its error code, None where it has none."""

    vector: int
    error: int | None
    rip: int
    cr2: int


@kind_of_event
class AbsentAccess(Event):
    """``cpu`` reached a physical address where there is neither memory nor a device: reads give 0, writes vanish."""

    address: int
    write: bool


@kind_of_event
class Shutdown(Event):
    """``cpu`` entered the shutdown state (a triple fault); ``why`` tells the chain of faults."""

    why: str


@kind_of_event
class PlatformReset(Event):
    """The whole platform was reset, every kernel with it."""

    why: str


@kind_of_event
class ConsoleByte(Event):
    """``kernel`` (None: a CPU that belongs to nobody) sent ``byte`` (0 to 255) to its serial port."""

    kernel: str | None
    byte: int


@kind_of_event
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


@kind_of_event
class MessageTaken(Event):
    """What lay in ``cpu``'s slot when it entered its handler of vector 0xEA; fields as in :class:`Message`."""

    slot: int
    sender: int
    type: int
    size: int
    payload: str
