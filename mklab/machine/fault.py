"""What is delivered through the guest's tables, and what the CPU raises when that fails (SDM vol. 3, chapter 6)."""

from dataclasses import dataclass

from mklab.machine.registers import RFLAGS, Registers

__all__ = [
    "DOUBLE_FAULT",
    "INVALID_TSS",
    "NOT_PRESENT",
    "PAGE_FAULT",
    "PROTECTION",
    "STACK_FAULT",
    "Delivery",
    "GuestFaultError",
    "TripleFaultError",
    "error_code_of",
    "name_of",
]

DOUBLE_FAULT, INVALID_TSS, NOT_PRESENT, STACK_FAULT, PROTECTION, PAGE_FAULT = 8, 10, 11, 12, 13, 14
_WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)
_FAULTS = (0, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19)
"""Those of the class "fault": their instruction is begun again, so RF goes with the flags that are saved."""
_NAMES = {0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP"}
_NAMES |= {12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 19: "#XM"}


class GuestFaultError(Exception):
    """An exception of the guest, raised while the CPU itself reads tables or pushes a frame.

    Attributes:
        vector, error: the exception and its error code.
        linear: the address that faulted, for #PF.
        why: the cause, in words.
        registers: the registers that it is raised with, where a task switch had replaced them; else None.
    """

    def __init__(self, vector: int, error: int, why: str, linear: int = 0) -> None:
        self.vector, self.error, self.why, self.linear = vector, error, why, linear
        self.registers: Registers | None = None
        super().__init__(why)

    @property
    def name(self) -> str:
        """The exception's mnemonic, for example ``#GP``."""
        return name_of(self.vector)


class TripleFaultError(Exception):
    """A fault while #DF was being delivered: the CPU shuts down. The message tells the chain."""


@dataclass(frozen=True)
class Delivery:
    """What is delivered: ``kind`` is ``interrupt``, ``nmi``, ``exception`` or ``software`` (INT n, INT3, INTO)."""

    vector: int
    error: int | None
    kind: str

    @property
    def external(self) -> int:
        """The EXT bit of error codes that delivery itself causes."""
        return int(self.kind != "software")

    @property
    def idt_error(self) -> int:
        """The error code that names this vector's gate."""
        return self.vector * 8 + 2 + self.external

    def selector_error(self, selector: int) -> int:
        """The error code that names a selector."""
        return selector & 0xFFFC | self.external

    def saved_flags(self, rflags: int) -> int:
        """RFLAGS as they are pushed (SDM "Instruction-Breakpoint Exception Condition": RF is set for faults)."""
        return rflags | (RFLAGS.RF if self.kind == "exception" and self.vector in _FAULTS else 0)


def name_of(vector: int) -> str:
    """The mnemonic of an exception, for example ``#GP``."""
    return _NAMES.get(vector, f"vector {vector}")


def error_code_of(vector: int, code: int, software: bool) -> int | None:
    """``code`` where this exception pushes one, else None (INT n never does)."""
    return code if vector in _WITH_ERROR_CODE and not software else None
