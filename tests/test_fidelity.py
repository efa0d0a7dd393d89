"""The rows of docs/fidelity.md that no other test shows; and that every row names a test that exists."""

import re
from pathlib import Path

from mklab.guest.build import build
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.trace import Fault

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


def test_a_fetch_fault_is_reported_where_it_happens() -> None:
    """The engine translates ahead: it meets the missing page before it has executed what lies before."""
    machine = Machine(1)
    long_mode(machine, "nop; nop; nop; nop; hlt")
    last = 0x1FFFF8
    machine.poke(last, bytes.fromhex("48ffc3") * 2 + b"\x90\x90")  # inc %rbx; inc %rbx; nop; nop, and the page ends
    registers = machine.registers(0)
    registers.rip = last
    machine.patch_registers(0, registers)
    machine.run()
    fault = machine.trace.of(Fault)[0]
    assert (fault.vector, fault.cr2, fault.rip) == (14, 0x200000, 0x200000)
    assert fault.time == 5, "four instructions come before; and the fetch takes its time"


def test_every_row_names_tests_that_exist(repository: Path) -> None:
    text = (repository / "docs" / "fidelity.md").read_text()
    names = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", text)
    assert len(names) > 20
    for file, name in names:
        source = (repository / file).read_text()
        assert not name or re.search(rf"^(class|def) {name}\b", source, re.MULTILINE), f"{file}::{name}"
