"""The rows of docs/fidelity.md that no other test shows; and that every row names a test that exists."""

import re
from pathlib import Path

from mklab.guest.build import build
from mklab.machine.delivery import deliver
from mklab.machine.machine import Machine
from mklab.machine.memory import PhysicalMemory
from mklab.machine.power import entry_registers
from mklab.machine.registers import CR0, RFLAGS, Registers, Segment
from mklab.trace import Fault, Shutdown

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


def test_protected_mode_has_no_delivery() -> None:
    """Hardware: a gate within the IDT's limit is entered."""
    machine = Machine(1)
    flat = Segment(8, 0, 0xFFFFFFFF, 0xCF9B00)
    data = Segment(16, 0, 0xFFFFFFFF, 0xCF9300)
    idt = Segment(0, 0x2000, 0x7FF, 0)
    machine.poke(CODE, bytes.fromhex("cd30"))  # int 0x30
    registers = Registers(rip=CODE, cr0=CR0.PE | CR0.ET, cs=flat, ss=data, ds=data, es=data, idtr=idt, rsp=STACK)
    machine.patch_registers(0, registers)
    assert machine.run().reason == "reset"
    assert "32-bit protected mode, which mklab does not deliver" in machine.trace.of(Shutdown)[0].why


def test_delivery_leaves_accessed_bits_and_rf_alone() -> None:
    """Hardware: the walk sets A and D, and a fault's saved RFLAGS have RF set."""
    memory = PhysicalMemory([(0, 0x400000)])
    memory.write(TABLES, (TABLES + 0x1003).to_bytes(8, "little"))
    memory.write(TABLES + 0x1000, (TABLES + 0x2003).to_bytes(8, "little"))
    memory.write(TABLES + 0x2000, (0x83).to_bytes(8, "little"))
    memory.write(0x3000 + 13 * 16, bytes((0, 0, 0x10, 0, 0, 0x8E, 0x10, 0)) + bytes(8))
    memory.write(0x2010, (0x00AF9B000000FFFF).to_bytes(8, "little"))
    registers = entry_registers(CODE, STACK, 0, TABLES)
    registers.gdtr, registers.idtr = Segment(0, 0x2000, 0x17, 0), Segment(0, 0x3000, 0xFFF, 0)
    entered = deliver(memory, registers, 13, 0, "exception").registers
    assert entered.rip == 0x100000
    assert memory.read_u64(TABLES + 0x2000) == 0x83
    assert not memory.read_u64(entered.rsp + 24) & RFLAGS.RF


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
