"""Interrupts and exceptions through the guest's own tables (SDM vol. 3, "Interrupt and Exception Handling").

Each mode has a module of its own: how it finds a handler and what it pushes. Here is what they share: an exception in
the middle of it, which is delivered in its turn, as a double fault, or ends in shutdown.
"""

from dataclasses import dataclass, replace

from mklab.machine.delivery_long import enter_long
from mklab.machine.delivery_protected import enter_protected
from mklab.machine.delivery_real import enter_real
from mklab.machine.fault import (
    DOUBLE_FAULT,
    INVALID_TSS,
    NOT_PRESENT,
    PAGE_FAULT,
    PROTECTION,
    STACK_FAULT,
    Delivery,
    GuestFaultError,
    TripleFaultError,
    error_code_of,
    name_of,
)
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import Registers

__all__ = ["Entered", "GuestFaultError", "TripleFaultError", "deliver", "error_code_of"]

_CONTRIBUTORY = (0, INVALID_TSS, NOT_PRESENT, STACK_FAULT, PROTECTION)
_ENTER = {"real": enter_real, "protected": enter_protected, "long": enter_long}


@dataclass(frozen=True)
class Entered:
    """Which handler was entered.

    Attributes:
        registers: the CPU's registers at the handler's first instruction.
        vector, kind: whose handler it is: the event's own or, where its delivery faulted, a fault's.
        faults: the exceptions that delivery raised, oldest first.
    """

    registers: Registers
    vector: int
    kind: str
    faults: tuple[GuestFaultError, ...]


def deliver(
    memory: PhysicalMemory, registers: Registers, vector: int, error: int | None, kind: str, length: int = 0
) -> Entered:
    """Enter the handler of ``vector``.

    Args:
        memory: where the guest's tables and stacks lie; the frame is pushed there.
        registers: the CPU's registers; they stay as they are.
        vector: 0 to 255.
        error: the error code to push, or None.
        kind: ``interrupt``, ``nmi``, ``exception`` or ``software``.
        length: bytes of the instruction before RIP that asked for it; a fault goes back to that instruction.

    Raises:
        TripleFaultError: delivery of #DF faulted.
    """
    event = Delivery(vector, error, kind)
    first = vector if kind == "exception" else None
    chain: list[str] = []
    faults: list[GuestFaultError] = []
    while True:
        try:
            return Entered(_ENTER[registers.mode](memory, registers, event), event.vector, event.kind, tuple(faults))
        except GuestFaultError as fault:
            faults.append(fault)
            chain.append(f"{fault.name} ({fault.why})")
            if event.kind == "exception" and event.vector == DOUBLE_FAULT:
                raise TripleFaultError(", then ".join(chain)) from None
            if fault.registers is not None:
                registers, length = fault.registers, 0
            registers, length = replace(registers, rip=registers.rip - length), 0
            if fault.vector == PAGE_FAULT:
                registers = replace(registers, cr2=fault.linear)
            if _doubles(first, fault.vector):
                chain[-1] += f" while delivering {name_of(event.vector)}"
                event = Delivery(DOUBLE_FAULT, 0, "exception")
            else:
                event = Delivery(fault.vector, fault.error, "exception")
            first = event.vector


def _doubles(first: int | None, second: int) -> bool:
    """Whether ``second`` during ``first`` is a double fault (SDM, table "Conditions for Generating a Double Fault")."""
    if first == PAGE_FAULT:
        return second in _CONTRIBUTORY or second == PAGE_FAULT
    return first in _CONTRIBUTORY and second in _CONTRIBUTORY
