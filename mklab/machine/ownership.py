"""Who owns a CPU, and in which mode it is: observed while it runs, never declared.

A CPU belongs to nobody from INIT until it enters the memory of a kernel; the plan is kept apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mklab.machine.cpu import Cpu
from mklab.machine.engine import Engine
from mklab.machine.interrupts import InterruptBus
from mklab.machine.memory import PhysicalMemory
from mklab.machine.paging import walk
from mklab.machine.registers import CR0
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
    """Looks at a CPU before each of its instructions, as long as there is something to see."""

    def __init__(self, machine: _Machine, engine: Engine, interrupts: InterruptBus) -> None:
        self._machine = machine
        self._engine = engine
        self._interrupts = interrupts
        self._page = -1
        self._cr0 = -1

    def watch(self, cpu: Cpu) -> Callable[[int], bool] | None:
        """What the engine shall call with each instruction's linear address; True stops before it."""
        self._page = self._cr0 = -1
        self.note_mode(cpu, self._engine.registers(cpu.index).mode)
        if self._interrupts.blocked(cpu):
            return self._until_interruptible
        return None if self._settled(cpu) else self._until_settled

    def _settled(self, cpu: Cpu) -> bool:
        # Out of protected mode leads MOV to CR0 only, behind which the engine stops by itself; into it LMSW does, too.
        return cpu.owner is not None and cpu.mode != "real"

    def _until_interruptible(self, address: int) -> bool:
        """Stop where the interrupt that waits can be delivered: hardware looks at every boundary."""
        cpu = self._machine.cpus[self._machine.current]
        if not self._settled(cpu):
            self._look(cpu, address)
        due = (cpu.nmi_pending and not cpu.nmi_blocked) or self._engine.interrupts_enabled()
        return due and self._interrupts.deliverable(cpu) is not None

    def _until_settled(self, address: int) -> bool:
        cpu = self._machine.cpus[self._machine.current]
        self._look(cpu, address)
        return self._settled(cpu)

    def _look(self, cpu: Cpu, address: int) -> None:
        cr0 = self._engine.cr0() & (CR0.PE | CR0.PG)
        if cr0 != self._cr0:
            self._cr0 = cr0
            self.note_mode(cpu, self._engine.registers(cpu.index).mode)
        if cpu.owner is None and address >> 12 != self._page:
            self._page = address >> 12
            paddr = walk(self._machine.memory, self._engine.registers(cpu.index), address).paddr
            self._note_owner(cpu, paddr)

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
