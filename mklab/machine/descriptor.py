"""Segment descriptors, as the CPU reads them from the GDT and the LDT."""

import struct

from mklab.machine.fault import NOT_PRESENT, PROTECTION, Delivery, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.registers import Registers, Segment

__all__ = ["gate_code_segment", "mark_accessed", "mark_busy", "read_descriptor", "segment_of_virtual_8086"]

_ACCESSED, _BUSY = 1 << 8, 1 << 9
_GRANULARITY = 1 << 23


def read_descriptor(linear: LinearMemory, registers: Registers, selector: int) -> Segment | None:
    """The segment that ``selector`` names; None where it lies beyond its table's limit.

    Raises:
        GuestFaultError: #PF.
    """
    table = registers.ldtr if selector & 4 else registers.gdtr
    if (selector | 7) > table.limit:
        return None
    low, high = struct.unpack("<II", linear.read(table.base + (selector & ~7), 8))
    limit = low & 0xFFFF | high & 0xF0000
    if high & _GRANULARITY:
        limit = limit << 12 | 0xFFF
    return Segment(selector, low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000, limit, high & 0xF0FF00)


def mark_accessed(linear: LinearMemory, registers: Registers, segment: Segment) -> None:
    """Set the accessed bit, in the table and in ``segment``, as loading a code or data segment does.

    Raises:
        GuestFaultError: #PF: the table cannot be written.
    """
    _mark(linear, registers, segment, _ACCESSED)


def mark_busy(linear: LinearMemory, registers: Registers, segment: Segment) -> None:
    """Make a task state segment busy, in the table and in ``segment``.

    Raises:
        GuestFaultError: #PF: the table cannot be written.
    """
    _mark(linear, registers, segment, _BUSY)


def _mark(linear: LinearMemory, registers: Registers, segment: Segment, bit: int) -> None:
    if segment.flags & bit:
        return
    segment.flags |= bit
    table = registers.ldtr if segment.selector & 4 else registers.gdtr
    linear.write(table.base + (segment.selector & ~7) + 5, bytes([segment.flags >> 8 & 0xFF]))


def segment_of_virtual_8086(selector: int) -> Segment:
    """What a selector means in virtual-8086 mode (SDM "8086 Emulation", "Address Translation")."""
    return Segment(selector, selector << 4, 0xFFFF, 0xF300)


def gate_code_segment(linear: LinearMemory, registers: Registers, selector: int, event: Delivery) -> Segment:
    """The code segment that a gate of the IDT names.

    Raises:
        GuestFaultError: #GP or #NP: there is no such segment for the handler; #PF, from its table.
    """
    error = event.selector_error(selector)
    if selector & ~3 == 0:
        raise GuestFaultError(PROTECTION, event.external, f"the gate of vector {event.vector:#x} has a null selector")
    segment = read_descriptor(linear, registers, selector)
    if segment is None:
        raise GuestFaultError(PROTECTION, error, f"selector {selector:#x} lies beyond its table's limit")
    if not segment.code or segment.dpl > registers.cpl:
        why = f"selector {selector:#x} names no code segment for CPL {registers.cpl}"
        raise GuestFaultError(PROTECTION, error, why)
    if not segment.present:
        raise GuestFaultError(NOT_PRESENT, error, f"the code segment {selector:#x} is not present")
    return segment
