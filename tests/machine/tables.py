"""Descriptor tables of 32-bit protected mode in memory, for tests that deliver without an engine."""

import struct

from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, RFLAGS, Registers, Segment

__all__ = [
    "ABSENT_CODE",
    "ABSENT_DATA",
    "CODE",
    "CODE_1",
    "CONFORMING",
    "DATA",
    "DATA_1",
    "GDT",
    "HANDLER",
    "IDT",
    "INNER_STACK",
    "LDT",
    "MIDDLE_STACK",
    "NARROW_DATA",
    "READ_ONLY",
    "SHORT_CODE",
    "TASK",
    "TASK_16",
    "TASK_16_AT",
    "TASK_AT",
    "TASK_CR3",
    "TASK_FLAGS",
    "TASK_STACK",
    "TSS",
    "TSS_AT",
    "USER_CODE",
    "USER_DATA",
    "descriptor",
    "gate",
    "registers_at",
    "tables",
    "user_registers",
    "virtual_8086_registers",
]

GDT, IDT, TSS_AT, TASK_AT, TASK_16_AT, LDT_AT = 0x1000, 0x2000, 0x3000, 0x3100, 0x3200, 0x3300
HANDLER, STACK, INNER_STACK, MIDDLE_STACK, USER_STACK, TASK_STACK = 0x8000, 0x9000, 0xA000, 0xB000, 0xC000, 0xD000
TASK_CR3, TASK_FLAGS = 0x5000, RFLAGS.ONE | RFLAGS.DF


def descriptor(base: int, limit: int, access: int, flags: int = 0xC) -> int:
    """SDM "Segment Descriptors": ``access`` is bits 40 to 47, ``flags`` 52 to 55; ``limit`` as it is stored."""
    low = limit & 0xFFFF | (base & 0xFFFFFF) << 16
    return low | access << 40 | (limit >> 16) << 48 | flags << 52 | (base >> 24) << 56


_GDT = {
    "CODE": descriptor(0, 0xFFFFF, 0x9B),
    "DATA": descriptor(0, 0xFFFFF, 0x93),
    "USER_CODE": descriptor(0, 0xFFFFF, 0xFB),
    "USER_DATA": descriptor(0, 0xFFFFF, 0xF3),
    "TSS": descriptor(TSS_AT, 0x67, 0x8B, 0),
    "CODE_1": descriptor(0, 0xFFFFF, 0xBB),
    "DATA_1": descriptor(0, 0xFFFFF, 0xB3),
    "CONFORMING": descriptor(0, 0xFFFFF, 0x9F),
    "ABSENT_CODE": descriptor(0, 0xFFFFF, 0x1B),
    "ABSENT_DATA": descriptor(0, 0xFFFFF, 0x13),
    "READ_ONLY": descriptor(0, 0xFFFFF, 0x91),
    "NARROW_DATA": descriptor(0x10000, 0xFFFF, 0x93, 0),
    "SHORT_CODE": descriptor(0, 0xFFF, 0x9B, 4),
    "TASK": descriptor(TASK_AT, 0x67, 0x89, 0),
    "TASK_16": descriptor(TASK_16_AT, 0x2B, 0x81, 0),
    "LDT": descriptor(LDT_AT, 0x17, 0x82, 0),
}
_SELECTORS = {name: 8 * (i + 1) for i, name in enumerate(_GDT)}
CODE, DATA, USER_CODE, USER_DATA = (_SELECTORS[name] for name in ("CODE", "DATA", "USER_CODE", "USER_DATA"))
TSS, TASK, TASK_16, LDT = (_SELECTORS[name] for name in ("TSS", "TASK", "TASK_16", "LDT"))
CODE_1, DATA_1, CONFORMING, SHORT_CODE = (_SELECTORS[name] for name in ("CODE_1", "DATA_1", "CONFORMING", "SHORT_CODE"))
ABSENT_CODE, ABSENT_DATA = _SELECTORS["ABSENT_CODE"], _SELECTORS["ABSENT_DATA"]
READ_ONLY, NARROW_DATA = _SELECTORS["READ_ONLY"], _SELECTORS["NARROW_DATA"]


def gate(offset: int = HANDLER, selector: int = CODE, access: int = 0x8E) -> bytes:
    """A gate of a 32-bit IDT; ``access``: P, DPL and the type (0x8E: an interrupt gate that is present)."""
    return struct.pack("<HHxBH", offset & 0xFFFF, selector, access, offset >> 16)


def tables() -> PhysicalMemory:
    """Memory with a GDT, an IDT of interrupt gates to HANDLER + vector, and three tasks."""
    memory = PhysicalMemory([(0, 1 << 20)])
    memory.write(GDT + 8, struct.pack(f"<{len(_GDT)}Q", *_GDT.values()))
    memory.write(IDT, b"".join(gate(HANDLER + vector) for vector in range(256)))
    memory.write(TSS_AT + 4, struct.pack("<IIII", INNER_STACK, DATA, MIDDLE_STACK, DATA_1 + 1))
    general = [0x10, 0x20, 0x30, 0x40, TASK_STACK, 0x60, 0x70, 0x80]
    segments = [DATA, CODE, DATA, DATA, 0, USER_DATA + 3, LDT]
    memory.write(TASK_AT + 28, struct.pack("<18I", TASK_CR3, HANDLER, TASK_FLAGS, *general, *segments))
    memory.write(TASK_16_AT + 14, struct.pack("<15H", HANDLER, TASK_FLAGS, *general, DATA, CODE, NARROW_DATA, DATA, 0))
    return memory


def registers_at(cpl: int = 0) -> Registers:
    """32-bit protected mode without paging, flat segments, at ``cpl``."""
    dpl = cpl << 13
    registers = Registers(rip=0x7000, rsp=STACK, rflags=RFLAGS.ONE | RFLAGS.IF, cr0=CR0.PE | CR0.ET)
    registers.gdtr, registers.idtr = Segment(0, GDT, 8 * len(_GDT) + 7, 0), Segment(0, IDT, 0x7FF, 0)
    registers.tr = Segment(TSS, TSS_AT, 0x67, 0x8B00)
    registers.ldtr = Segment(0, 0, 0, 0)
    registers.cs = Segment((CODE, CODE_1, 0, USER_CODE)[cpl] + cpl, 0, 0xFFFFFFFF, 0xC09B00 | dpl)
    for name in ("ss", "ds", "es"):
        setattr(registers, name, Segment((DATA, DATA_1, 0, USER_DATA)[cpl] + cpl, 0, 0xFFFFFFFF, 0xC09300 | dpl))
    return registers


def user_registers() -> Registers:
    """The same at CPL 3, on another stack."""
    registers = registers_at(3)
    registers.rsp = USER_STACK
    return registers


def virtual_8086_registers() -> Registers:
    """Virtual-8086 mode, IOPL 3."""
    registers = registers_at(3)
    registers.rflags |= RFLAGS.VM | RFLAGS.IOPL
    registers.rsp = 0x100
    selectors = {"es": 0x1111, "cs": 0x700, "ss": 0xC00, "ds": 0x2222, "fs": 0x3333, "gs": 0x4444}
    for name, selector in selectors.items():
        setattr(registers, name, Segment(selector, selector << 4, 0xFFFF, 0xF300))
    registers.rip = 0x12
    return registers
