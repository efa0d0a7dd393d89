"""Assembly and C that a student wrote, run on a machine of its own: where it lies, how it is entered, how it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mklab.kernel.host import identity_tables
from mklab.kernel.layout import BOOT_PAGE_TABLES
from mklab.lab.exercise import LimitedRoundRobin, OutOfSlicesError
from mklab.lab.guestcode import Code
from mklab.lab.session import timeline
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine, Stop
from mklab.machine.power import entry_registers
from mklab.machine.registers import CR0, GPRS, Registers, Segment
from mklab.timeline.stops import MemoryWatch
from mklab.trace import Event, Fault, Shutdown

__all__ = ["ARGUMENTS", "LANDING", "MODES", "Place", "Ran", "Smashed", "run"]

MODES = ("real", "protected", "long")
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""Where the System V ABI passes the first arguments in 64-bit code."""
LANDING = 0xFFF0
"""Offset from the code's base at which a return arrives: HLT, and a jump back to it."""
_LAND = b"\xf4\xeb\xfd"
_BP = 3
_BREAKPOINT = b"\xcc"
"""INT3 fills the memory behind the code: who runs on beyond its end is caught at once."""
_GDT = 0x600
_DESCRIPTORS = (0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
"""Null, 32-bit code (0x08), 64-bit code (0x10) and data (0x18), each of 4 GiB from 0."""


def _nothing(_machine: Machine, _code: Code) -> None:
    """Nothing more has to be prepared."""


@dataclass(frozen=True)
class Place:
    """Where code lies and how it is entered.

    Attributes:
        mode: ``real``, ``protected`` (32-bit, no paging) or ``long`` (64-bit, the first 4 GiB mapped to themselves).
        base: where it is linked for and lies; in real mode its CS is ``base >> 4``.
        entry: the symbol at which it is entered; empty: its first byte.
        args: of a function in long mode: RDI, RSI, RDX, RCX, R8, R9.
        stack: SP at the beginning, below which the return address lies; SS is flat, in real mode 0.
        cpus, ram: of the machine.
        cpu: the CPU that enters it; None: ``prepare`` decides who does.
        watch: the CPU whose run is judged where ``cpu`` is None.
        budget: instructions it may take, all CPUs together.
        ends: how it must end: ``return`` (RET), ``halt`` (any HLT), or ``any``.
        keep: memory that must not change, by its name in words.
        make: makes the machine, where a bare one will not do: one with a host that has booted, for example.
        prepare: called with the machine and the code, where both are in place: fills memory, writes tables, ...
    """

    mode: str = "long"
    base: int = 0x20000
    entry: str = ""
    args: tuple[int, ...] = ()
    stack: int = 0x10000
    cpus: int = 1
    ram: int = 4 << 20
    cpu: int | None = 0
    watch: int = 0
    budget: int = 200_000
    ends: str = "return"
    keep: Mapping[str, range] = field(default_factory=dict)
    make: Callable[[], Machine] | None = None
    prepare: Callable[[Machine, Code], None] = _nothing

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, not {self.mode!r}")
        if self.ends not in ("return", "halt", "any"):
            raise ValueError(f"ends must be 'return', 'halt' or 'any', not {self.ends!r}")
        if self.base % 16 or (self.mode == "real" and self.base > 0xF0000):
            raise ValueError(f"base must be a multiple of 16, in real mode up to 0xF0000, not {self.base!r}")

    @property
    def watched(self) -> int:
        """The CPU whose run is judged."""
        return self.watch if self.cpu is None else self.cpu

    def begin(self, code: Code) -> Machine:
        """A machine with ``code`` in place, about to be entered.

        Raises:
            ValueError: the code is too long, or has no such entry.
        """
        if code.size > LANDING:
            raise ValueError(f"code must be at most {LANDING} bytes long, not {code.size!r}")
        machine = self.make() if self.make is not None else Machine(self.cpus, self.ram, on_shutdown="halt")
        machine.poke(self.base, code.data.ljust(LANDING, _BREAKPOINT) + _LAND)
        if self.cpu is not None:
            self._enter(machine, code, self.cpu)
        self.prepare(machine, code)
        return machine

    def _enter(self, machine: Machine, code: Code, cpu: int) -> None:
        machine.poke(_GDT, b"".join(one.to_bytes(8, "little") for one in _DESCRIPTORS))
        entry = code.symbols[self.entry] if self.entry else self.base
        word = {"real": 2, "protected": 4, "long": 8}[self.mode]
        origin = self.base if self.mode == "real" else 0
        stack = self.stack - word
        machine.poke(stack, (self.base + LANDING - origin).to_bytes(word, "little"))
        if self.mode == "long":
            machine.poke(BOOT_PAGE_TABLES, identity_tables(BOOT_PAGE_TABLES))
            registers = entry_registers(entry, stack, 0, BOOT_PAGE_TABLES)
            for name, value in zip(ARGUMENTS, self.args, strict=False):
                setattr(registers, name, value & (1 << 64) - 1)
        else:
            registers = self._entry(entry - origin, stack)
        registers.gdtr = Segment(0, _GDT, 8 * len(_DESCRIPTORS) - 1)
        # No handler: the first exception leads to shutdown, where the machine can be looked at.
        registers.idtr = Segment(0, 0, 0)
        machine.patch_registers(cpu, registers)

    def _entry(self, rip: int, stack: int) -> Registers:
        registers = Registers(rip=rip, rsp=stack, cr0=CR0.ET)
        code, data = Segment(self.base >> 4, self.base, 0xFFFF, 0x9B00), Segment(0, 0, 0xFFFF, 0x9300)
        if self.mode == "protected":
            registers.cr0 |= CR0.PE
            code, data = Segment(0x08, 0, 0xFFFFFFFF, 0xC09B00), Segment(0x18, 0, 0xFFFFFFFF, 0xC09300)
        registers.cs = code
        for name in ("ds", "es", "ss", "fs", "gs"):
            setattr(registers, name, Segment(data.selector, data.base, data.limit, data.flags))
        return registers


@dataclass(frozen=True)
class Smashed:
    """Memory that should have been kept: its name, and its first byte that is another one now."""

    name: str
    address: int
    before: int
    after: int


@dataclass(frozen=True)
class Ran:
    """What became of code that was run.

    Attributes:
        place, code: what was run.
        machine: as it stands now.
        stop: why the run ended; None: it was ended after too many slices, events, or seconds of the processor's time.
        begin: number of the first event of the run.
        before: the CPU's registers at the entry.
        kept: the bytes of what must not change, as they were.
    """

    place: Place
    code: Code
    machine: Machine
    stop: Stop | None
    begin: int
    before: Registers
    kept: Mapping[str, bytes]

    @property
    def cpu(self) -> int:
        """The CPU whose run is judged."""
        return self.place.watched

    @property
    def registers(self) -> Registers:
        """Its registers now."""
        return self.machine.registers(self.cpu)

    @property
    def changed(self) -> dict[str, tuple[int, int]]:
        """Its general registers that differ from those at the entry: before and now."""
        pairs = {name: (getattr(self.before, name), getattr(self.registers, name)) for name in GPRS}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def events(self) -> list[Event]:
        """What happened meanwhile."""
        return [event for event in self.machine.trace.events if event.seq >= self.begin]

    @property
    def fault(self) -> Fault | None:
        """The first exception."""
        return next((event for event in self.events if isinstance(event, Fault)), None)

    @property
    def shutdown(self) -> Shutdown | None:
        """Whether a CPU has shut down: a triple fault."""
        return next((event for event in self.events if isinstance(event, Shutdown)), None)

    @property
    def ran_on(self) -> bool:
        """Whether the first exception came from running on beyond the code's end."""
        fault, end = self.fault, self.code.base + self.code.size
        return fault is not None and fault.vector == _BP and self.linear(fault) == end + 1

    @property
    def endless(self) -> bool:
        """Whether it was ended because it did not end."""
        return self.stop is None or self.stop.reason in ("budget", "events")

    @property
    def halted(self) -> bool:
        """Whether its CPU stands behind a HLT."""
        return self.machine.cpus[self.cpu].state is CpuState.HALTED

    @property
    def returned(self) -> bool:
        """Whether it has returned to where it was called from."""
        return self.halted and self.registers.linear_rip == self.place.base + LANDING + 1

    @property
    def smashed(self) -> Smashed | None:
        """The first memory that was to be kept, and was not."""
        for name, old in self.kept.items():
            start = self.place.keep[name].start
            new = self.machine.memory.read(start, len(old))
            for offset, (one, other) in enumerate(zip(old, new, strict=True)):
                if one != other:
                    return Smashed(name, start + offset, one, other)
        return None

    def read(self, address: int, size: int) -> bytes:
        """Memory as it is now."""
        return self.machine.memory.read(address, size)

    def linear(self, fault: Fault) -> int:
        """The linear address of an exception, in its CPU's code segment as it is now: a CPU that shut down kept it."""
        registers = self.machine.registers(self.cpu if fault.cpu is None else fault.cpu)
        return (registers.linear_rip - registers.rip + fault.rip) & (1 << 64) - 1

    def line(self, address: int) -> int | None:
        """The line of the cell for an instruction's linear address; None: it is of none."""
        return self.code.line(address)

    def writer(self, address: int) -> int | None:
        """Which line of the cell has changed the byte at ``address``: it is run again to find out; None: no line."""
        machine = self.place.begin(self.code)
        again = timeline(machine)
        again.stops = [MemoryWatch(address, 1)]
        stop = again.run(self.place.budget)
        if stop.reason != "watchpoint" or stop.cpu is None:
            return None
        again.back(1)
        return self.line(machine.registers(stop.cpu).linear_rip)


def run(code: Code, place: Place) -> Ran:
    """Run ``code`` as ``place`` says, until it ends, or has gone on for too long.

    Raises:
        ValueError: the code is too long, or has no such entry.
    """
    machine = place.begin(code)
    kept = {name: machine.memory.read(area.start, len(area)) for name, area in place.keep.items()}
    before, begin = machine.registers(place.watched), machine.trace.count
    machine.schedule = LimitedRoundRobin(place.budget, machine.trace)
    try:
        stop: Stop | None = machine.run(place.budget)
    except OutOfSlicesError:
        stop = None
    return Ran(place, code, machine, stop, begin, before, kept)
