"""Who owns a CPU, and in which mode it is: observed while it runs, never declared.

A CPU belongs to nobody from INIT until it enters the memory of a kernel; the plan is kept apart.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from mklab.machine.cpu import Cpu
from mklab.machine.engine import Engine
from mklab.machine.execution import Watch
from mklab.machine.interrupts import InterruptBus
from mklab.machine.memory import PhysicalMemory
from mklab.paging import walk
from mklab.trace import Event, ModeChange, OwnerChange

__all__ = ["Image", "Observation"]


@dataclass
class Image:
    """A kernel in memory.

    Attributes:
        name: ``host`` or ``kernel 1``, ``kernel 2``, ...
        ranges: ``[start, end]`` of each of its segments, physical.
        entry: where it is entered, physical.
        symbols: physical address of each symbol that its loader knows.
    """

    name: str
    ranges: list[list[int]]
    entry: int
    symbols: dict[str, int] = field(default_factory=dict)

    def contains(self, paddr: int) -> bool:
        """Whether ``paddr`` lies in one of its segments."""
        return any(start <= paddr < end for start, end in self.ranges)

    def to_dict(self) -> dict[str, Any]:
        """The image as plain data."""
        return dict(vars(self))


class _Machine(Protocol):
    """What observation needs of the machine."""

    cpus: list[Cpu]
    memory: PhysicalMemory
    images: dict[str, Image]

    @property
    def current(self) -> int:
        """The CPU that executes."""

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        """Record an event."""


class Observation:
    """Looks at a CPU where its mode or its page of code changes, as long as there is something to see."""

    def __init__(self, machine: _Machine, engine: Engine, interrupts: InterruptBus) -> None:
        self._machine = machine
        self._engine = engine
        self._interrupts = interrupts

    def watch(self, cpu: Cpu) -> Watch | None:
        """What the engine shall stop for while ``cpu`` executes."""
        place = None if self._settled(cpu) else self._look
        interrupt = 0
        if self._interrupts.blocked(cpu):
            # Hardware looks at every boundary between two instructions.
            interrupt = 1 if cpu.nmi_pending and not cpu.nmi_blocked else 2
        return Watch(place, interrupt) if place or interrupt else None

    def _settled(self, cpu: Cpu) -> bool:
        # Out of protected mode leads MOV to CR0 only, where the turn looks; into it LMSW does, too.
        return cpu.owner is not None and cpu.mode != "real"

    def _look(self, address: int) -> bool:
        """The running CPU is about to execute the instruction at ``address``; True: there is no more to see."""
        cpu = self._machine.cpus[self._machine.current]
        registers = self._engine.registers(cpu.index)
        self.note_mode(cpu, registers.mode)
        if cpu.owner is None:
            self._note_owner(cpu, walk(self._machine.memory, registers, address).paddr)
        return self._settled(cpu)

    def note_mode(self, cpu: Cpu, mode: str) -> None:
        """``cpu`` is in ``mode`` now."""
        if cpu.mode != mode:
            cpu.mode = mode
            self._machine.emit(ModeChange, cpu.index, mode=mode)

    def _note_owner(self, cpu: Cpu, paddr: int | None) -> None:
        # Where one image was loaded over another, the newer one is what lies there.
        for image in reversed(self._machine.images.values()):
            if paddr is not None and image.contains(paddr):
                cpu.owner = image.name
                self._machine.emit(OwnerChange, cpu.index, owner=image.name, planned=cpu.planned, address=paddr)
                return

    def disown(self, cpu: Cpu) -> None:
        """INIT took ``cpu`` from its owner, or its owner has jumped out of its own memory."""
        if cpu.owner is not None:
            cpu.owner = None
            self._machine.emit(OwnerChange, cpu.index, owner=None, planned=cpu.planned, address=0)
