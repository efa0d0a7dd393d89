"""Interrupts and exceptions through the guest's own tables (SDM vol. 3, "Interrupt and Exception Handling").

Real mode and long mode (with its compatibility sub-mode); 32-bit protected-mode gates are a row in docs/fidelity.md.
"""

import struct
from dataclasses import dataclass, replace

from mklab.machine.memory import PhysicalMemory
from mklab.machine.paging import walk
from mklab.machine.registers import CR0, RFLAGS, Registers, Segment

__all__ = ["Entered", "GuestFaultError", "TripleFaultError", "deliver", "error_code_of"]

DOUBLE_FAULT, INVALID_TSS, NOT_PRESENT, STACK_FAULT, PROTECTION, PAGE_FAULT = 8, 10, 11, 12, 13, 14
_WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)
_CONTRIBUTORY = (0, 10, 11, 12, 13)
_NAMES = {0: "#DE", 1: "#DB", 3: "#BP", 6: "#UD", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF"}
_CODE, _PRESENT, _CONFORMING = 1 << 11, 1 << 15, 1 << 10


class GuestFaultError(Exception):
    """An exception of the guest, raised while the CPU itself reads tables or pushes a frame.

    Attributes:
        vector, error: the exception and its error code.
        linear: the address that faulted, for #PF.
        why: the cause, in words.
    """

    def __init__(self, vector: int, error: int, why: str, linear: int = 0) -> None:
        self.vector, self.error, self.why, self.linear = vector, error, why, linear
        super().__init__(why)

    @property
    def name(self) -> str:
        """The exception's mnemonic, for example ``#GP``."""
        return _NAMES.get(self.vector, f"vector {self.vector}")


class TripleFaultError(Exception):
    """A fault while #DF was being delivered: the CPU shuts down. The message tells the chain."""


@dataclass(frozen=True)
class _Event:
    """What is delivered: ``kind`` is ``interrupt``, ``nmi``, ``exception`` or ``software`` (INT n)."""

    vector: int
    error: int | None
    kind: str

    @property
    def external(self) -> int:
        """The EXT bit of error codes that delivery itself causes."""
        return int(self.kind != "software")


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


def error_code_of(vector: int, code: int, software: bool) -> int | None:
    """``code`` where this exception pushes one, else None (INT n never does)."""
    return code if vector in _WITH_ERROR_CODE and not software else None


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
    event = _Event(vector, error, kind)
    first = vector if kind == "exception" else None
    chain: list[str] = []
    faults: list[GuestFaultError] = []
    while True:
        try:
            return Entered(_enter(memory, registers, event), event.vector, event.kind, tuple(faults))
        except GuestFaultError as fault:
            faults.append(fault)
            chain.append(f"{fault.name} ({fault.why})")
            if event.kind == "exception" and event.vector == DOUBLE_FAULT:
                raise TripleFaultError(", then ".join(chain)) from None
            registers, length = replace(registers, rip=registers.rip - length), 0
            if fault.vector == PAGE_FAULT:
                registers = replace(registers, cr2=fault.linear)
            if _doubles(first, fault.vector):
                chain[-1] += f" while delivering {_NAMES.get(event.vector, event.vector)}"
                event = _Event(DOUBLE_FAULT, 0, "exception")
            else:
                event = _Event(fault.vector, fault.error, "exception")
            first = event.vector


def _doubles(first: int | None, second: int) -> bool:
    """Whether ``second`` during ``first`` is a double fault (SDM, table "Conditions for Generating a Double Fault")."""
    if first == PAGE_FAULT:
        return second in _CONTRIBUTORY or second == PAGE_FAULT
    return first in _CONTRIBUTORY and second in _CONTRIBUTORY


def _enter(memory: PhysicalMemory, registers: Registers, event: _Event) -> Registers:
    if registers.mode == "real":
        return _enter_real(memory, registers, event)
    if registers.mode == "long":
        return _enter_long(memory, registers, event)
    index = event.vector * 8 + 2 + event.external
    if event.vector * 8 + 7 > registers.idtr.limit:
        raise GuestFaultError(
            PROTECTION, index, f"vector {event.vector:#x} lies beyond the IDT's limit {registers.idtr.limit:#x}"
        )
    raise TripleFaultError(
        f"vector {event.vector:#x} in 32-bit protected mode, which mklab does not deliver (docs/fidelity.md)"
    )


def _enter_real(memory: PhysicalMemory, registers: Registers, event: _Event) -> Registers:
    if event.vector * 4 + 3 > registers.idtr.limit:
        why = f"vector {event.vector:#x} lies beyond the interrupt vector table's limit {registers.idtr.limit:#x}"
        raise GuestFaultError(PROTECTION, 0, why)
    offset, selector = struct.unpack("<HH", _read(memory, registers, registers.idtr.base + event.vector * 4, 4))
    stack = registers.rsp
    for value in (registers.rflags, registers.cs.selector, registers.rip):
        stack = stack & ~0xFFFF | stack - 2 & 0xFFFF
        _write(memory, registers, registers.ss.base + (stack & 0xFFFF), struct.pack("<H", value & 0xFFFF))
    return replace(
        registers,
        rsp=stack,
        rip=offset,
        cs=Segment(selector, selector << 4, registers.cs.limit, registers.cs.flags),
        rflags=registers.rflags & ~(RFLAGS.IF | RFLAGS.TF | RFLAGS.AC),
        shadow=False,
    )


def _enter_long(memory: PhysicalMemory, registers: Registers, event: _Event) -> Registers:
    index = event.vector * 8 + 2 + event.external
    if event.vector * 16 + 15 > registers.idtr.limit:
        raise GuestFaultError(
            PROTECTION, index, f"vector {event.vector:#x} lies beyond the IDT's limit {registers.idtr.limit:#x}"
        )
    gate = _read(memory, registers, registers.idtr.base + event.vector * 16, 16)
    low, selector, ist, kind, middle, high = struct.unpack("<HHBBHI4x", gate)
    offset = low | middle << 16 | high << 32
    if kind & 0x1F not in (0xE, 0xF):
        raise GuestFaultError(PROTECTION, index, f"the gate of vector {event.vector:#x} has type {kind & 0x1F:#x}")
    if event.kind == "software" and kind >> 5 & 3 < registers.cpl:
        raise GuestFaultError(PROTECTION, index, f"the gate of vector {event.vector:#x} is not for CPL {registers.cpl}")
    if not kind & 0x80:
        raise GuestFaultError(NOT_PRESENT, index, f"the gate of vector {event.vector:#x} is not present")
    code = _code_segment(memory, registers, selector, event)
    if not _canonical(offset):
        raise GuestFaultError(PROTECTION, event.external, f"the handler's address {offset:#x} is not canonical")
    cpl = registers.cpl if code.flags & _CONFORMING else code.dpl
    inner = cpl < registers.cpl
    stack, ss = registers.rsp, registers.ss
    if ist & 7:
        stack = _tss_stack(memory, registers, 36 + 8 * ((ist & 7) - 1), event)
    elif inner:
        stack = _tss_stack(memory, registers, 4 + 8 * cpl, event)
    if inner:
        ss = Segment(cpl, 0, 0xFFFFFFFF, 0x00C09300 | cpl << 13)
    stack &= ~0xF
    frame = [registers.ss.selector, registers.rsp, registers.rflags, registers.cs.selector, registers.rip]
    if event.error is not None:
        frame.append(event.error)
    stack = stack - 8 * len(frame) & (1 << 64) - 1
    if not _canonical(stack):
        raise GuestFaultError(STACK_FAULT, event.external, f"the stack pointer {stack:#x} is not canonical")
    _write(memory, registers, stack, b"".join(struct.pack("<Q", value) for value in reversed(frame)))
    clear = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM | (RFLAGS.IF if kind & 0x1F == 0xE else 0)
    code.selector = selector & ~3 | cpl
    return replace(registers, rsp=stack, ss=ss, rip=offset, cs=code, rflags=registers.rflags & ~clear, shadow=False)


def _canonical(address: int) -> bool:
    """Whether bits 63 to 47 are all alike."""
    return address >> 47 in (0, 0x1FFFF)


def _code_segment(memory: PhysicalMemory, registers: Registers, selector: int, event: _Event) -> Segment:
    """The 64-bit code segment that a gate names."""
    if selector & ~3 == 0:
        raise GuestFaultError(PROTECTION, event.external, f"the gate of vector {event.vector:#x} has a null selector")
    table = registers.ldtr if selector & 4 else registers.gdtr
    error = selector & ~3 | event.external
    if (selector | 7) > table.limit:
        raise GuestFaultError(
            PROTECTION, error, f"selector {selector:#x} lies beyond its table's limit {table.limit:#x}"
        )
    low, flags = struct.unpack("<II", _read(memory, registers, table.base + (selector & ~7), 8))
    segment = Segment(selector, 0, low & 0xFFFF | flags & 0xF0000, flags & 0xF0FF00)
    if not segment.flags & 1 << 12 or not segment.flags & _CODE or segment.dpl > registers.cpl:
        raise GuestFaultError(
            PROTECTION, error, f"selector {selector:#x} names no code segment for CPL {registers.cpl}"
        )
    if not segment.flags & _PRESENT:
        raise GuestFaultError(NOT_PRESENT, error, f"the code segment {selector:#x} is not present")
    if not segment.long or segment.big:
        raise GuestFaultError(PROTECTION, error, f"the code segment {selector:#x} is not a 64-bit one")
    return segment


def _tss_stack(memory: PhysicalMemory, registers: Registers, offset: int, event: _Event) -> int:
    if offset + 7 > registers.tr.limit:
        why = f"the task state segment ends at {registers.tr.limit:#x}, before its stack pointer at {offset:#x}"
        raise GuestFaultError(INVALID_TSS, registers.tr.selector & ~3 | event.external, why)
    stack: int = struct.unpack("<Q", _read(memory, registers, registers.tr.base + offset, 8))[0]
    return stack


def _pieces(memory: PhysicalMemory, registers: Registers, linear: int, size: int, write: bool) -> list[tuple[int, int]]:
    """``(physical address, size)`` of each page's part of ``[linear, linear + size)``."""
    pieces = []
    while size:
        part = min(size, 4096 - linear % 4096)
        found = walk(memory, registers, linear)
        allowed = found.writable or not registers.cr0 & CR0.WP
        if found.paddr is None or (write and not allowed):
            error = (found.paddr is not None) | write << 1
            raise GuestFaultError(
                PAGE_FAULT, error, f"no mapping to {'store' if write else 'read'} at {linear:#x}", linear
            )
        pieces.append((found.paddr, part))
        linear, size = linear + part, size - part
    return pieces


def _read(memory: PhysicalMemory, registers: Registers, linear: int, size: int) -> bytes:
    pieces = _pieces(memory, registers, linear, size, False)
    return b"".join(memory.read(at, part) if memory.contains(at, part) else bytes(part) for at, part in pieces)


def _write(memory: PhysicalMemory, registers: Registers, linear: int, data: bytes) -> None:
    for at, part in _pieces(memory, registers, linear, len(data), True):
        if memory.contains(at, part):
            memory.write(at, data[:part])
        data = data[part:]
