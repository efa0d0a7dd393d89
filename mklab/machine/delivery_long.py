"""Interrupts in IA-32e mode (SDM "Exception and Interrupt Handling in 64-bit Mode"), out of compatibility code too."""

import struct
from dataclasses import replace

from mklab.machine.descriptor import gate_code_segment, mark_accessed
from mklab.machine.fault import INVALID_TSS, NOT_PRESENT, PROTECTION, STACK_FAULT, Delivery, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.machine.registers import RFLAGS, Registers, Segment

__all__ = ["enter_long"]

_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF


def enter_long(memory: PhysicalMemory, registers: Registers, event: Delivery) -> Registers:
    """Push SS, RSP, RFLAGS, CS and RIP on the stack of the TSS or the current one, and enter 64-bit code.

    Raises:
        GuestFaultError: #GP, #NP, #TS, #SS, #PF, as the manual has them.
    """
    vector = event.vector
    if vector * 16 + 15 > registers.idtr.limit:
        why = f"vector {vector:#x} lies beyond the IDT's limit {registers.idtr.limit:#x}"
        raise GuestFaultError(PROTECTION, event.idt_error, why)
    linear = LinearMemory(memory, registers)
    gate = linear.read(registers.idtr.base + vector * 16, 16)
    low, selector, ist, kind, middle, high = struct.unpack("<HHBBHI4x", gate)
    offset = low | middle << 16 | high << 32
    if kind & 0x1F not in (_INTERRUPT_GATE, _TRAP_GATE):
        raise GuestFaultError(PROTECTION, event.idt_error, f"the gate of vector {vector:#x} has type {kind & 0x1F:#x}")
    if event.kind == "software" and kind >> 5 & 3 < registers.cpl:
        why = f"the gate of vector {vector:#x} is not for CPL {registers.cpl}"
        raise GuestFaultError(PROTECTION, event.idt_error, why)
    if not kind & 0x80:
        raise GuestFaultError(NOT_PRESENT, event.idt_error, f"the gate of vector {vector:#x} is not present")
    code = gate_code_segment(linear, registers, selector, event)
    if not code.long or code.big:
        why = f"the code segment {selector:#x} is not a 64-bit one"
        raise GuestFaultError(PROTECTION, event.selector_error(selector), why)
    if not _canonical(offset):
        raise GuestFaultError(PROTECTION, event.external, f"the handler's address {offset:#x} is not canonical")
    cpl = registers.cpl if code.conforming else code.dpl
    inner = cpl < registers.cpl
    stack, ss = registers.rsp, registers.ss
    if ist & 7:
        stack = _tss_stack(linear, registers, 36 + 8 * ((ist & 7) - 1), event)
    elif inner:
        stack = _tss_stack(linear, registers, 4 + 8 * cpl, event)
    if inner:
        ss = Segment(cpl, 0, 0xFFFFFFFF, 0x00C09300 | cpl << 13)
    stack &= ~0xF
    flags = event.saved_flags(registers.rflags)
    frame = [registers.ss.selector, registers.rsp, flags, registers.cs.selector, registers.rip]
    if event.error is not None:
        frame.append(event.error)
    bottom = stack - 8 * len(frame) & (1 << 64) - 1
    if not _canonical(bottom):
        raise GuestFaultError(STACK_FAULT, event.external, f"the stack pointer {bottom:#x} is not canonical")
    # Pushes that fault leave what was pushed before them. In the page of the first one none of the others does.
    together = 1 if bottom % PAGE <= PAGE - 8 * len(frame) else len(frame)
    for value in frame[:together]:
        stack -= 8
        linear.write(stack, struct.pack("<Q", value), user=cpl == 3)
    rest = frame[together:]
    linear.write(stack - 8 * len(rest), struct.pack(f"<{len(rest)}Q", *reversed(rest)), user=cpl == 3)
    mark_accessed(linear, registers, code)
    clear = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM | (RFLAGS.IF if kind & 0x1F == _INTERRUPT_GATE else 0)
    code.selector = selector & ~3 | cpl
    return replace(registers, rsp=bottom, ss=ss, rip=offset, cs=code, rflags=registers.rflags & ~clear, shadow=False)


def _canonical(address: int) -> bool:
    """Whether bits 63 to 47 are all alike."""
    return address >> 47 in (0, 0x1FFFF)


def _tss_stack(linear: LinearMemory, registers: Registers, offset: int, event: Delivery) -> int:
    if offset + 7 > registers.tr.limit:
        why = f"the task state segment ends at {registers.tr.limit:#x}, before its stack pointer at {offset:#x}"
        raise GuestFaultError(INVALID_TSS, event.selector_error(registers.tr.selector), why)
    stack: int = struct.unpack("<Q", linear.read(registers.tr.base + offset, 8))[0]
    return stack
