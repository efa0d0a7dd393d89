"""What the engine and the machine tell each other about a stretch of execution."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mklab.machine.instructions import Instruction

__all__ = ["Exit", "Platform", "Watch"]


class Platform(Protocol):
    """What the engine asks of the machine around it, while a CPU executes."""

    def apic_read(self, offset: int) -> int:
        """The running CPU reads its local APIC."""

    def apic_write(self, offset: int, value: int) -> None:
        """The running CPU writes its local APIC."""

    def absent(self, paddr: int, write: bool) -> None:
        """The running CPU reaches a physical address where nothing is."""

    def port_read(self, port: int, size: int) -> int:
        """The running CPU executes IN."""

    def port_write(self, port: int, size: int, value: int) -> None:
        """The running CPU executes OUT."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX of CPUID on the running CPU."""

    def timestamp(self) -> int:
        """The time stamp counter."""


class Exit(NamedTuple):
    """Why the engine stopped.

    Attributes:
        executed: instructions begun; each iteration of a REP counts, and so do its last look at RCX, an instruction
            that faults, and a fetch that does.
        reason: ``budget``; ``halt``: HLT executed; ``exception``; ``asked``: the engine's ``stop`` or the watch;
            ``absent``: an instruction fetch where there is no memory; ``intercept``: ``instruction`` comes next.
        vector, error, software: the exception, its error code (0 where it has none), whether INT n raised it.
        last: linear address of the last instruction begun, where it was an exception.
        instruction: what the engine does not execute itself.
    """

    executed: int
    reason: str
    vector: int = 0
    error: int = 0
    software: bool = False
    last: int = 0
    instruction: Instruction | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What the machine wants to see of a CPU while it executes.

    Attributes:
        place: called before an instruction in another mode, or on another page of linear addresses, than the one
            before it, with its address; True stops there.
        interrupt: stop where an interrupt can be delivered: 1 where no shadow of STI or MOV SS keeps it away, 2 where
            RFLAGS.IF is set, too; 0: never.
    """

    place: Callable[[int], bool] | None = None
    interrupt: int = 0
