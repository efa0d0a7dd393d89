"""Interrupts that the native library delivers: held against :func:`mklab.machine.delivery.deliver`."""

import struct
from dataclasses import replace

import pytest

from mklab.machine.delivery import TripleFaultError, deliver
from mklab.machine.machine import Machine
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, EFER, RFLAGS, Registers, Segment
from tests.machine.guestcode import CODE, GDT, IDT, PAGE_TABLE, PML4, STACK, gate, long_mode, long_mode_registers

VECTOR, HANDLER = 0x40, 0xFFFF_8000_1234_5678
_SEGMENT = 0x10
_LARGE_PAGE, _LARGE_STACK = 0x20_0000, 0x20_8000
ACCESSED, DIRTY = 1 << 5, 1 << 6


@pytest.fixture(scope="module")
def machine() -> Machine:
    machine, _ = long_mode("hlt", interrupts=True)
    machine.run()
    machine.memory.write(IDT + 16 * VECTOR, gate(HANDLER))
    for page in (IDT, GDT, STACK - 8):
        at = PAGE_TABLE + page // 4096 * 8
        machine.memory.write(at, struct.pack("<Q", machine.memory.read_u64(at) | ACCESSED | DIRTY))
    for table in range(PML4, PAGE_TABLE, 4096):
        machine.memory.write(table, struct.pack("<Q", machine.memory.read_u64(table) | ACCESSED))
    return machine


@pytest.fixture
def registers() -> Registers:
    return long_mode_registers(interrupts=True)


def both_ways(machine: Machine, registers: Registers) -> bool:
    """Deliver natively and in Python, compare, put the memory back; False where the library left it to Python."""
    machine.patch_registers(0, registers)
    registers = machine.registers(0)
    (buffer,) = (buffer for _, _, buffer in machine.memory.buffers)
    before = buffer[:]
    found = machine.engine.enter_handler(0, VECTOR)
    natively, memory = machine.registers(0), buffer[:]
    buffer[:] = before
    if found is None:
        assert (natively, memory == before) == (registers, True), "nothing was done"
        return False
    expected = PhysicalMemory(machine.memory.ranges)
    expected.write(0, before)
    entered = deliver(expected, registers, VECTOR, None, "interrupt")
    assert not entered.faults
    assert natively == entered.registers
    assert memory == expected.read(0, len(memory))
    assert found == (registers.rip, entered.registers.rip)
    return True


def test_the_common_case(machine: Machine, registers: Registers) -> None:
    assert both_ways(machine, registers)
    for flag in (RFLAGS.TF, RFLAGS.NT, RFLAGS.DF, RFLAGS.AC, RFLAGS.IOPL):
        assert both_ways(machine, replace(registers, rflags=registers.rflags | flag))
    for less in range(16):
        assert both_ways(machine, replace(registers, rsp=STACK - less))


def test_each_bit_of_each_table(machine: Machine, registers: Registers) -> None:
    """Turned over in the gate, the descriptor, and every entry on the way to them and to the stack."""
    tables = [(IDT + 16 * VECTOR, 16), (GDT + _SEGMENT, 8), *((table, 8) for table in range(PML4, PAGE_TABLE, 4096))]
    tables += [(PAGE_TABLE + page // 4096 * 8, 8) for page in (IDT, GDT, STACK - 8)]
    taken = 0
    for at, size in tables:
        for bit in range(8 * size):
            byte = machine.memory.read(at + bit // 8, 1)
            machine.memory.write(at + bit // 8, bytes([byte[0] ^ 1 << bit % 8]))
            taken += both_ways(machine, registers)
            machine.memory.write(at + bit // 8, byte)
    assert 100 < taken < 500, "neither nearly all of them nor nearly none"


def test_other_registers(machine: Machine, registers: Registers) -> None:
    idtr, gdtr, cs = registers.idtr, registers.gdtr, registers.cs
    user = replace(registers, cs=Segment(0x2B, 0, 0xFFFFFFFF, 0xA0FB00), ss=Segment(0x23, 0, 0xFFFFFFFF, 0xC0F300))
    others = [
        *(replace(registers, rsp=rsp) for rsp in (STACK - 4096 + 40, STACK - 4096 + 39, IDT + 16 * VECTOR + 30)),
        *(replace(registers, rsp=rsp) for rsp in (0x8000_0000_0008, 1 << 63, 0)),
        *(replace(registers, idtr=replace(idtr, limit=16 * VECTOR + end)) for end in (14, 15, 16)),
        *(replace(registers, gdtr=replace(gdtr, limit=_SEGMENT + end)) for end in (6, 7, 8)),
        *(replace(registers, cs=replace(cs, flags=cs.flags ^ 1 << bit)) for bit in (8, 9, 10, 20)),
        *(replace(registers, idtr=replace(idtr, base=idtr.base + by)) for by in (-3, 1, 16)),
        *(replace(registers, efer=registers.efer ^ EFER.NXE), replace(registers, cr0=registers.cr0 ^ CR0.WP)),
        *(replace(registers, shadow=True), user),
    ]
    taken = [both_ways(machine, other) for other in others]
    assert any(taken)
    assert not all(taken)


def test_a_large_page(machine: Machine, registers: Registers) -> None:
    entry = PAGE_TABLE - 4096 + 8
    before = machine.memory.read(entry, 8)
    machine.memory.write(entry, struct.pack("<Q", _LARGE_PAGE | 0x83 | ACCESSED | DIRTY))
    assert both_ways(machine, replace(registers, rsp=_LARGE_STACK))
    machine.memory.write(entry, struct.pack("<Q", _LARGE_PAGE | 0x2083 | ACCESSED | DIRTY))
    assert not both_ways(machine, replace(registers, rsp=_LARGE_STACK)), "a bit that must be clear"
    machine.memory.write(entry, before)


def test_where_code_was_translated_python_pushes_the_frame(machine: Machine, registers: Registers) -> None:
    """It drops what was translated from there; the library does not."""
    assert not both_ways(machine, replace(registers, rsp=CODE + 0x800))


def test_whoever_witnesses_memory_sees_deliveries(machine: Machine, registers: Registers) -> None:
    assert both_ways(machine, registers)
    machine.memory.witness = lambda *_access: None
    assert not both_ways(machine, registers)
    machine.memory.witness = None


def test_python_does_all_of_it_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKLAB_ENGINE", "count")
    other, _ = long_mode("hlt", interrupts=True)
    assert other.engine.enter_handler(0, VECTOR) is None


def test_a_frame_that_faults_is_pythons(machine: Machine, registers: Registers) -> None:
    registers = replace(registers, rsp=0x4_0000_0000)
    assert not both_ways(machine, registers)
    with pytest.raises(TripleFaultError):
        deliver(machine.memory, registers, VECTOR, None, "interrupt")
