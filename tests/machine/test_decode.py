"""How an instruction may follow itself."""

import struct

import pytest

from mklab.machine.decode import how_it_repeats
from mklab.machine.machine import Machine
from mklab.machine.registers import Registers
from tests.machine.guestcode import CODE, PAGE_TABLE, long_mode, protected_registers, real_mode_registers


@pytest.mark.parametrize(
    ("code", "registers", "answer"),
    [
        ("f3a4", real_mode_registers(), "rep"),  # rep movsb
        ("66f3ab", real_mode_registers(), "rep"),  # rep stosl
        ("f2ae", protected_registers(), "rep"),  # repne scasb
        ("ebfe", protected_registers(), "branch"),  # jmp .
        ("e2fe", protected_registers(bits=16), "branch"),  # loop .
        ("e8fdff", real_mode_registers(), "branch"),  # call ., 16-bit
        ("75fe", protected_registers(), "branch"),  # jnz .
        ("c3", protected_registers(), "branch"),  # ret
        ("cf", protected_registers(), "branch"),  # iret
        ("a4", protected_registers(), ""),  # movsb
        ("c70600000000", protected_registers(), ""),  # movl $0, (%esi)
        ("48", protected_registers(), ""),  # dec %eax; in 64-bit code a prefix
        ("0fff", protected_registers(), ""),  # no instruction
    ],
)
def test_without_paging(code: str, registers: Registers, answer: str) -> None:
    machine = Machine(1, ram=1 << 20)
    machine.poke(CODE, bytes.fromhex(code))
    assert how_it_repeats(machine.memory, registers, CODE) == answer


@pytest.mark.parametrize(
    ("code", "answer"),
    [("f348ab", "rep"), ("e2fe", "branch"), ("e3fe", "branch"), ("f3c3", "branch"), ("48cf", "branch"), ("48a5", "")],
)
def test_64_bit(code: str, answer: str) -> None:
    machine, _ = long_mode("hlt")
    machine.poke(CODE, bytes.fromhex(code))
    assert how_it_repeats(machine.memory, machine.registers(0), CODE) == answer


def test_an_instruction_across_two_pages_that_lie_apart() -> None:
    machine, _ = long_mode("hlt")
    machine.poke(PAGE_TABLE + 0x19 * 8, struct.pack("<Q", 0x1C007))
    machine.poke(0x18FFF, b"\xf3")
    machine.poke(0x1C000, b"\xa4")
    machine.poke(0x19000, b"\x90")
    assert how_it_repeats(machine.memory, machine.registers(0), 0x18FFF) == "rep"
