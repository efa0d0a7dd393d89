"""Interrupts in real mode (SDM "Interrupt and Exception Handling" of "8086 Emulation")."""

import struct
from dataclasses import replace

from mklab.machine.fault import PROTECTION, Delivery, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import RFLAGS, Registers, Segment
from mklab.machine.stack import push

__all__ = ["enter_real"]


def enter_real(memory: PhysicalMemory, registers: Registers, event: Delivery) -> Registers:
    """Push FLAGS, CS and IP, two bytes each, and go where the vector table at IDTR's base says.

    Raises:
        GuestFaultError: #GP: the vector lies beyond the table's limit; #SS: there is no room on the stack.
    """
    if event.vector * 4 + 3 > registers.idtr.limit:
        why = f"vector {event.vector:#x} lies beyond the interrupt vector table's limit {registers.idtr.limit:#x}"
        raise GuestFaultError(PROTECTION, 0, why)
    linear = LinearMemory(memory, registers)
    offset, selector = struct.unpack("<HH", linear.read(registers.idtr.base + event.vector * 4, 4))
    stack = replace(registers.ss, flags=registers.ss.flags & ~(1 << 22))
    frame = (registers.rflags, registers.cs.selector, registers.rip)
    return replace(
        registers,
        rsp=push(linear, stack, registers.rsp, frame, 2, error=0, user=False),
        rip=offset,
        cs=Segment(selector, selector << 4, registers.cs.limit, registers.cs.flags),
        rflags=registers.rflags & ~(RFLAGS.IF | RFLAGS.TF | RFLAGS.AC),
        shadow=False,
    )
