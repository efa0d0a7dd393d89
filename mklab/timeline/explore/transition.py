"""A transition: one CPU performs its next operation that others can notice, and goes on to just before its next one."""

from dataclasses import dataclass

from mklab.machine.icr import Icr

__all__ = ["Access", "Operation", "Transition", "apic_word", "named_cpu"]


def apic_word(cpu: int) -> int:
    """The number under which the local APIC of ``cpu`` counts among the words that CPUs share."""
    return -1 - cpu


def named_cpu(word: int) -> int | None:
    """The inverse of :func:`apic_word`; None for what is no APIC's."""
    return -1 - word if -(1 << 31) < word < 0 else None


@dataclass(frozen=True, slots=True)
class Access:
    """One access to memory.

    Attributes:
        paddr, size: where, in bytes.
        write: whether it writes.
    """

    paddr: int
    size: int
    write: bool

    def conflicts(self, other: "Access") -> bool:
        """Whether they touch a common byte, and one of them writes it."""
        overlap = self.paddr < other.paddr + other.size and other.paddr < self.paddr + self.size
        return overlap and (self.write or other.write)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a transition begins with: its visible operation.

    Attributes:
        cpu: who performs it.
        kind: ``memory``, ``ipi``, ``interrupt`` (it is delivered), ``step`` (of a kernel function), or ``start`` for
            code that nobody else can notice.
        rip: linear address of the instruction; 0 for a step.
        text: the instruction, or function and step.
        place: the symbol it lies behind, where there is one.
        atomic: whether it is a locked instruction, XCHG with memory, or a step.
        accesses: what it touches of the memory that CPUs share.
    """

    cpu: int
    kind: str
    rip: int
    text: str
    place: str
    atomic: bool
    accesses: tuple[Access, ...]

    def __str__(self) -> str:
        """In words."""
        where = f" at {self.rip:#x}" if self.rip else ""
        return f"CPU {self.cpu}: {self.text}{where}{f' ({self.place})' if self.place else ''}"


@dataclass(frozen=True, slots=True)
class Transition:
    """The effect of letting a CPU run once, wherever its own part and the shared words that it reads are the same.

    Attributes:
        cpu: who runs.
        local, apic, platform: the keys of its own part, its local APIC and the platform afterwards.
        stored: shared words that it changes: place and value.
        commands: what it wrote to its ICR for others.
        slept: instructions until its call goes on, if the call has gone to sleep.
        instructions: how many it executed.
        choices: CPU and budget of each slice it is made of, as a Scripted schedule has them.
        reads, writes: sets of places in ``State.shared``, and of APICs behind them, as bits.
        stopped: why nothing runs any more, or empty.
        operation: what it begins with.
    """

    cpu: int
    local: bytes
    apic: bytes
    platform: bytes
    stored: tuple[tuple[int, int], ...]
    commands: tuple[tuple[int, Icr, tuple[int, ...]], ...]
    slept: int
    instructions: int
    choices: tuple[tuple[int, int], ...]
    reads: int
    writes: int
    stopped: str
    operation: Operation

    def independent_of(self, other: "Transition") -> bool:
        """Whether both orders of the two, of different CPUs, lead to the same state."""
        return not (self.writes & (other.reads | other.writes) or other.writes & self.reads)
