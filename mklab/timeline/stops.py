"""Where a timeline stops: breakpoints and watchpoints, exact to the instruction."""

from collections.abc import Callable
from dataclasses import dataclass

from mklab.machine.machine import Machine
from mklab.trace import Delivered, Event, OwnerChange

__all__ = ["Breakpoint", "MemoryWatch", "OwnerWatch", "StopPoint", "ValueWatch", "VectorWatch"]


@dataclass(frozen=True)
class Breakpoint:
    """Stop before ``cpu`` (None: any CPU) executes the instruction at the linear ``address``."""

    address: int
    cpu: int | None = None

    def __str__(self) -> str:
        return f"{_who(self.cpu)} is about to execute the instruction at {self.address:#x}"


@dataclass(frozen=True)
class VectorWatch:
    """Stop when ``vector`` was delivered to ``cpu`` (None: any): before its handler's first instruction."""

    vector: int
    cpu: int | None = None

    def __str__(self) -> str:
        return f"vector {self.vector:#x} was delivered to {_who(self.cpu)}"

    def matches(self, event: Event) -> bool:
        """Whether this is such an event."""
        return isinstance(event, Delivered) and event.vector == self.vector and self.cpu in (None, event.cpu)


@dataclass(frozen=True)
class OwnerWatch:
    """Stop when ``cpu`` (None: any) is seen to change its owner."""

    cpu: int | None = None

    def __str__(self) -> str:
        return f"the owner of {_who(self.cpu)} changed"

    def matches(self, event: Event) -> bool:
        """Whether this is such an event."""
        return isinstance(event, OwnerChange) and self.cpu in (None, event.cpu)


@dataclass(frozen=True)
class ValueWatch:
    """Stop when ``value`` of the machine is another one.

    Stores to the memory that it looks at are followed one by one. What else it looks at, a CPU's registers for example,
    is compared between two slices: what changes there and changes back within a slice is not seen.

    Attributes:
        value: something to compare, for example the bytes of a structure.
        name: what it is, in words.
        cpu: only where this CPU changes it; None: any.
    """

    value: Callable[[Machine], object]
    name: str
    cpu: int | None = None

    def __str__(self) -> str:
        return f"{_who(self.cpu)} changed: {self.name}"


class MemoryWatch(ValueWatch):
    """Stop when ``cpu`` (None: any) has changed a byte of the ``size`` bytes at physical address ``paddr``."""

    def __init__(self, paddr: int, size: int = 8, cpu: int | None = None) -> None:
        super().__init__(lambda machine: machine.memory.read(paddr, size), f"{size} bytes at {paddr:#x}", cpu)


StopPoint = Breakpoint | VectorWatch | OwnerWatch | ValueWatch


def _who(cpu: int | None) -> str:
    return "a CPU" if cpu is None else f"CPU {cpu}"
