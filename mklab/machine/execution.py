"""What the engine and the machine tell each other about a stretch of execution."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mklab.machine.instructions import Instruction

__all__ = ["Count", "Exit", "Platform"]


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


@dataclass(frozen=True)
class Exit:
    """Why the engine stopped.

    Attributes:
        executed: instructions begun; each iteration of a REP counts, and so do its last look at RCX and an instruction
            that faults.
        reason: ``budget``; ``halt``: HLT executed; ``exception``; ``asked``: the engine's ``stop``, the watch, or a
            MOV to CR0; ``absent``: an instruction fetch where there is no memory; ``intercept``: ``instruction`` comes
            next.
        vector, error, software: the exception, its error code (0 where it has none), whether INT n raised it.
        last: linear address of the last instruction begun.
        instruction: what the engine does not execute itself.
    """

    executed: int
    reason: str
    vector: int = 0
    error: int = 0
    software: bool = False
    last: int = 0
    instruction: Instruction | None = None


class Count:
    """One call of the engine's ``run``: what is allowed, what was done, and why it ends.

    Attributes:
        left: instructions still allowed.
        last: linear address of the last instruction begun.
        before_iret: whether IRET is not to be executed.
        instruction: the instruction that is not to be executed, where one is reached.
        asked, refused: a stop was asked for; the hook refused an instruction.
        repeat, repeats, rcx: the last instruction that followed itself, how it may, and RCX then.
        vector, error: an exception of the guest; a failure in a callback of ours.
    """

    def __init__(self, budget: int, watch: Callable[[int], bool] | None, before_iret: bool = False) -> None:
        self.budget = self.left = budget
        self.watch = watch
        self.before_iret = before_iret
        self.instruction: Instruction | None = None
        self.last = -1
        self.asked = self.refused = False
        self.repeat: tuple[int, int] = (-1, -1)
        self.repeats = ""
        self.rcx = -1
        self.vector: int | None = None
        self.error: BaseException | None = None

    @property
    def executed(self) -> int:
        """Instructions begun."""
        return self.budget - self.left
