"""The saved context in each mode: what is written back is what the engine itself had there, hidden flags included."""

import struct

import pytest

from mklab.machine.engine import probe_context
from mklab.machine.machine import Machine
from mklab.machine.registers import CR0, EFER, RFLAGS, Registers
from tests.machine.guestcode import GDT, PML4, RAM, assemble, load, long_mode, real_mode_registers

PAGES = 0x4000
"""Bytes of page tables, as :func:`long_mode` lays them out."""
TO_PROTECTED = """
.code16
lgdtl pointer
mov $0x11, %eax
mov %eax, %cr0
ljmpl $0x08, $protected
pointer: .word 0x8f
.long 0x1000
.code32
protected:
mov $0x18, %eax
mov %eax, %ds
mov %eax, %es
mov %eax, %ss
mov $0x7000, %esp
"""
PARTS = {
    "segments": """
        mov $0x70, %eax         /* a data segment with a base */
        mov %eax, %ds
        mov $0x18, %ecx
        mov %ecx, %ds
        mov %eax, %es
        mov %ecx, %es
        mov $0x48, %eax         /* a 16-bit stack */
        mov %eax, %ss
        nop
        mov %ecx, %ss
        nop
        ljmp $0x40, $narrow     /* 16-bit code */
        .code16
        narrow: nop
        ljmpl $0x08, $wide
        .code32
        wide: mov %cr0, %eax
        or $0xe, %eax           /* MP, EM, TS */
        mov %eax, %cr0
        xor $0xe, %eax
        mov %eax, %cr0
        ljmp $0x40, $back
        .code16
        back: mov $0x48, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $0x10, %eax
        mov %eax, %cr0          /* real mode again */
        ljmp $0, $real
        real: mov %ax, %ds
        sti
        nop
        cli
        hlt
        """,
    "user": """
        push $0x23
        push $0x6000
        push $0x53
        push $user
        lret
        user: mov $0x23, %eax
        mov %eax, %ds
        nop
        hlt
        """,
    "virtual 8086": """
        mov $4, %ecx
        1: push $0x100
        loop 1b
        push $0
        push $0x6000
        push $0x23002
        push $0
        push $virtual
        iretl
        .code16
        virtual: mov $0x200, %ax
        mov %ax, %ds
        mov %ax, %ss
        nop
        hlt
        """,
    "long": """
        mov $0x220, %eax        /* PAE, OSFXSR */
        mov %eax, %cr4
        mov $0x20000, %eax
        mov %eax, %cr3
        mov $0x501, %eax
        mov $0xc0000080, %ecx
        xor %edx, %edx
        wrmsr
        mov $0x80000011, %eax
        mov %eax, %cr0          /* compatibility mode */
        nop
        ljmp $0x10, $wide
        .code64
        wide: mov $0x48, %eax
        mov %eax, %ss
        mov $0x18, %eax
        mov %eax, %ss
        push $0x23
        push $0x6000
        push $2
        push $0x2b
        push $user
        iretq
        user: mov $0x23, %eax
        mov %eax, %ds
        ljmp *(far)
        .code32
        compatible: nop
        hlt
        far: .long compatible
        .word 0x53
        """,
}
UNUSED = {184 + 24 * i + byte for i in range(10) for byte in (20, 22, 23)}
"""Where a segment's flags, as the engine keeps them, have bits of the limit and the base; nothing reads those."""
REACHED = {
    "segments": {("protected", 0, 16), ("protected", 0, 32), ("real", 0, 16)},
    "user": {("protected", 0, 32), ("protected", 3, 32)},
    "virtual 8086": {("protected", 0, 32), ("virtual 8086", 3, 16)},
    "long": {("long", 0, 32), ("long", 0, 64), ("long", 3, 64), ("long", 3, 32)},
}
"""Mode, CPL and code size that the guest comes through."""


def kind(registers: Registers) -> tuple[str, int, int]:
    """What :data:`REACHED` tells."""
    mode = "virtual 8086" if registers.virtual_8086 else registers.mode
    return mode, registers.cpl, 64 if registers.cs.long else 32 if registers.cs.big else 16


def machine_with(part: str) -> Machine:
    """CPU 0 in real mode before the code of a part."""
    tables, _ = long_mode("hlt")
    machine = Machine(1, ram=RAM, on_shutdown="halt")
    for at, size in ((GDT, 0x100), (PML4, PAGES)):
        machine.poke(at, tables.memory.read(at, size))
    machine.poke(GDT + 0x70, struct.pack("<Q", 0x00CF9301000000FF))
    load(machine, assemble(TO_PROTECTED + PARTS[part]))
    machine.patch_registers(0, real_mode_registers())
    return machine


@pytest.mark.parametrize("part", PARTS)
def test_writing_back_what_was_read_changes_nothing(part: str) -> None:
    """After each instruction of a guest that changes modes by itself."""
    machine, layout = machine_with(part), probe_context()
    reached = set()
    for _ in range(60):
        machine.run(1)
        registers = machine.registers(0)
        reached.add(kind(registers))
        blob = machine.engine._save_scratch()
        before = bytes(blob)
        layout.write(blob, registers)
        changed = {at - layout.base for at in range(len(before)) if before[at] != blob[at]}
        assert changed <= UNUSED, f"{kind(registers)} at {registers.rip:#x}"
    assert reached >= REACHED[part]


def test_rf_is_never_shown() -> None:
    """The engine keeps it until the end of a block, hardware until that of the instruction."""
    machine, _ = long_mode("pushfq; orl $0x10000, (%rsp); push $0; push $0; hlt")
    registers = machine.registers(0)
    registers.rflags |= RFLAGS.RF
    machine.patch_registers(0, registers)
    assert not machine.registers(0).rflags & RFLAGS.RF


def test_virtual_8086_mode_is_neither_real_nor_long() -> None:
    registers = Registers(cr0=CR0.PE, rflags=RFLAGS.ONE | RFLAGS.VM)
    assert registers.virtual_8086
    assert not Registers(rflags=RFLAGS.VM).virtual_8086
    assert not Registers(cr0=CR0.PE | CR0.PG, efer=EFER.LME | EFER.LMA, rflags=RFLAGS.VM).virtual_8086
