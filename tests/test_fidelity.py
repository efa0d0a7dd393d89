"""The rows of docs/fidelity.md that no other test shows; and that every row names a test that exists."""

import re
from pathlib import Path

import pytest

from mklab.guest.build import build
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.machine.registers import Segment
from mklab.trace import Delivered, Fault

TABLES, CODE, STACK = 0x70000, 0x100000, 0x90000


def long_mode(machine: Machine, code: str) -> None:
    """Let CPU 0 run 64-bit assembly at CODE, with 2 MiB identity-mapped."""
    image = build(
        {"code.S": f".globl _start\n_start:\n{code}\n"}, "SECTIONS { . = 0; .text : { *(.text) } }", movable=False
    )
    text = image[image.index(b"\x90\x90\x90\x90") + 4 :]
    machine.poke(TABLES, (TABLES + 0x1003).to_bytes(8, "little"))
    machine.poke(TABLES + 0x1000, (TABLES + 0x2003).to_bytes(8, "little"))
    machine.poke(TABLES + 0x2000, (0x83).to_bytes(8, "little"))
    machine.poke(CODE, text)
    machine.enter_kernel(0, entry_registers(CODE, STACK, 0, TABLES))


@pytest.mark.parametrize("msr", [0x1B, 0x12345])
def test_unknown_msrs_read_zero_and_raise_nothing(msr: int) -> None:
    """Hardware: #GP for an unknown one; IA32_APIC_BASE holds the APIC's address and the BSP flag."""
    machine = Machine(1)
    long_mode(machine, f"nop; nop; nop; nop; mov ${msr}, %ecx; mov $-1, %eax; mov $-1, %edx; wrmsr; rdmsr; cli; hlt")
    assert machine.run().reason == "idle"
    assert machine.trace.of(Fault) == []
    assert (machine.registers(0).rax, machine.registers(0).rdx) == (0, 0)


def test_syscall_does_nothing() -> None:
    machine = Machine(1)
    long_mode(machine, "nop; nop; nop; nop; mov $1, %ebx; syscall; mov $2, %ebx; cli; hlt")
    machine.run()
    assert machine.registers(0).rbx == 2
    assert machine.trace.of(Fault) == []


def test_nmis_nest() -> None:
    """Hardware: the second NMI waits for the first one's IRET."""
    machine = Machine(2)
    long_mode(machine, "nop; nop; nop; nop; lidt idt(%rip); 1: jmp 1b; idt: .word 0xfff; .quad 0x200000 - 0x1000")
    gate = CODE + 0x800
    machine.poke(0x1FF000 + 2 * 16, bytes((gate & 0xFF, gate >> 8 & 0xFF, 0x10, 0, 0, 0x8E, gate >> 16, 0)) + bytes(8))
    machine.poke(0x2000, bytes(8) * 2 + (0x00AF9B000000FFFF).to_bytes(8, "little"))
    machine.poke(gate, b"\xeb\xfe")  # jmp .
    registers = machine.registers(0)
    registers.gdtr = Segment(0, 0x2000, 0x17, 0)
    machine.patch_registers(0, registers)
    machine.run(100)
    for _ in range(2):
        machine.store(1, APIC_BASE + 0x310, 0)
        machine.store(1, APIC_BASE + 0x300, 0x400)
        machine.run(2000)
    assert [(event.vector, event.rip) for event in machine.trace.of(Delivered)][1] == (2, gate)


def test_a_fetch_fault_is_reported_at_the_start_of_its_block() -> None:
    """Hardware: three INCs are done when the fetch of the next page faults."""
    machine = Machine(1)
    long_mode(machine, "nop; nop; nop; nop; hlt")
    last = 0x1FFFF8
    machine.poke(last, bytes.fromhex("48ffc3") * 2 + b"\x90\x90")  # inc %rbx; inc %rbx; nop; nop, and the page ends
    registers = machine.registers(0)
    registers.rip = last
    machine.patch_registers(0, registers)
    machine.run()
    fault = machine.trace.of(Fault)[0]
    assert (fault.vector, fault.cr2, fault.rip) == (14, 0x200000, last)


def test_every_row_names_tests_that_exist(repository: Path) -> None:
    text = (repository / "docs" / "fidelity.md").read_text()
    names = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", text)
    assert len(names) > 20
    for file, name in names:
        source = (repository / file).read_text()
        assert not name or re.search(rf"^(class|def) {name}\b", source, re.MULTILINE), f"{file}::{name}"
