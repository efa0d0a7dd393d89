"""Interrupts in 32-bit protected mode and out of virtual-8086 mode (SDM vol. 2, "INT n", its operation)."""

import struct
from dataclasses import replace

from mklab.machine.descriptor import gate_code_segment, mark_accessed, read_descriptor
from mklab.machine.fault import INVALID_TSS, NOT_PRESENT, PROTECTION, STACK_FAULT, Delivery, GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import RFLAGS, Registers, Segment
from mklab.machine.stack import push
from mklab.machine.task import enter_task

__all__ = ["enter_protected"]

_TASK_GATE, _INTERRUPT_16, _TRAP_16, _INTERRUPT_32, _TRAP_32 = 5, 6, 7, 0xE, 0xF
_WIDE = 8
"""Set in the type of 32-bit gates and task state segments."""


def enter_protected(memory: PhysicalMemory, registers: Registers, event: Delivery) -> Registers:
    """Go through an interrupt, trap or task gate.

    Raises:
        GuestFaultError: #GP, #NP, #TS, #SS, #PF, as the manual has them.
    """
    vector = event.vector
    if vector * 8 + 7 > registers.idtr.limit:
        why = f"vector {vector:#x} lies beyond the IDT's limit {registers.idtr.limit:#x}"
        raise GuestFaultError(PROTECTION, event.idt_error, why)
    linear = LinearMemory(memory, registers)
    low, selector, access, high = struct.unpack("<HHxBH", linear.read(registers.idtr.base + vector * 8, 8))
    kind = access & 0x1F
    if kind not in (_TASK_GATE, _INTERRUPT_16, _TRAP_16, _INTERRUPT_32, _TRAP_32):
        raise GuestFaultError(PROTECTION, event.idt_error, f"the gate of vector {vector:#x} has type {kind:#x}")
    if event.kind == "software" and access >> 5 & 3 < registers.cpl:
        why = f"the gate of vector {vector:#x} is not for CPL {registers.cpl}"
        raise GuestFaultError(PROTECTION, event.idt_error, why)
    if not access & 0x80:
        raise GuestFaultError(NOT_PRESENT, event.idt_error, f"the gate of vector {vector:#x} is not present")
    if kind == _TASK_GATE:
        return enter_task(memory, registers, selector, event)
    wide = bool(kind & _WIDE)
    offset = low | (high << 16 if wide else 0)
    entered = _enter_code(linear, registers, selector, offset, 4 if wide else 2, event)
    clear = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM
    if kind in (_INTERRUPT_16, _INTERRUPT_32):
        clear |= RFLAGS.IF
    return replace(entered, rflags=registers.rflags & ~clear, shadow=False)


def _enter_code(
    linear: LinearMemory, registers: Registers, selector: int, offset: int, width: int, event: Delivery
) -> Registers:
    """Push the frame, of ``width`` bytes each, and go to ``selector:offset``; the flags stay as they are."""
    code = gate_code_segment(linear, registers, selector, event)
    cpl = registers.cpl if code.conforming else code.dpl
    if registers.virtual_8086 and cpl != 0:
        why = f"code segment {selector:#x} does not have DPL 0, as virtual-8086 mode needs it"
        raise GuestFaultError(PROTECTION, event.selector_error(selector), why)
    frame = [event.saved_flags(registers.rflags), registers.cs.selector, registers.rip]
    if event.error is not None:
        frame.append(event.error)
    after = replace(registers)
    error = event.external
    if cpl < registers.cpl:
        after.ss, after.rsp = _inner_stack(linear, registers, cpl, event)
        frame[:0] = [registers.ss.selector, registers.rsp]
        error = event.selector_error(after.ss.selector)
        if registers.virtual_8086:
            frame[:0] = [getattr(registers, name).selector for name in ("gs", "fs", "ds", "es")]
            after.ds, after.es, after.fs, after.gs = (Segment(0, 0, 0, 0) for _ in range(4))
    after.rsp = push(linear, after.ss, after.rsp, frame, width, error=error, user=cpl == 3)
    if not code.holds(offset, 1):
        why = f"the handler of vector {event.vector:#x} at {offset:#x} lies beyond the limit of its code segment"
        raise GuestFaultError(PROTECTION, event.external, why)
    if after.ss is not registers.ss:
        mark_accessed(linear, registers, after.ss)
    mark_accessed(linear, registers, code)
    code.selector = selector & ~3 | cpl
    after.cs, after.rip = code, offset
    return after


def _inner_stack(linear: LinearMemory, registers: Registers, cpl: int, event: Delivery) -> tuple[Segment, int]:
    """SS and ESP that the task state segment has for ``cpl``."""
    task = registers.tr
    width = 4 if (task.system or 0) & _WIDE else 2
    offset = (2 * cpl + 1) * width
    if offset + width + 1 > task.limit:
        why = f"the task state segment ends at {task.limit:#x}, before the stack of CPL {cpl} at {offset:#x}"
        raise GuestFaultError(INVALID_TSS, event.selector_error(task.selector), why)
    data = linear.read(task.base + offset, width + 2)
    esp, selector = int.from_bytes(data[:width], "little"), int.from_bytes(data[width:], "little")
    error = event.selector_error(selector)
    if selector & ~3 == 0:
        raise GuestFaultError(INVALID_TSS, event.external, f"the stack for CPL {cpl} has a null selector")
    segment = read_descriptor(linear, registers, selector)
    if segment is None:
        raise GuestFaultError(INVALID_TSS, error, f"the stack {selector:#x} lies beyond its table's limit")
    if not (segment.writable and segment.rpl == segment.dpl == cpl):
        raise GuestFaultError(INVALID_TSS, error, f"the stack {selector:#x} is no writable segment of CPL {cpl}")
    if not segment.present:
        raise GuestFaultError(STACK_FAULT, error, f"the stack segment {selector:#x} is not present")
    return segment, esp
