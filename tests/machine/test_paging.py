"""Our page walk against the engine's MMU: a guest touches the same addresses."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.machine import Machine
from mklab.machine.memory import PhysicalMemory
from mklab.machine.paging import walk
from mklab.machine.registers import CR0, CR4, Registers
from mklab.trace import Fault
from tests.machine.guestcode import (
    CODE,
    PAGE_TABLE,
    PML4,
    long_mode,
    protected_registers,
)

PAGES, FRAMES, FIRST = 6, 0x100000, 0x180
"""Pages 0x180 to 0x185 (1.5 MiB on) are mapped at random to frames from 1 MiB on."""
ENTRIES = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.booleans()), min_size=PAGES, max_size=PAGES)
LOAD_AND_STORE = "mov (%rsi), %rax; mov %rax, %rbx; movq $-1, (%rsi); mov $1, %ecx; hlt; vector_e: hlt"


@settings(max_examples=25)
@given(ENTRIES, st.integers(0, PAGES * 4096 - 8), st.booleans())
def test_four_levels(entries: list[tuple[int, bool, bool]], offset: int, protect: bool) -> None:
    machine, _ = long_mode(LOAD_AND_STORE)
    values = [FRAMES + (frame << 12) | writable << 1 | present for frame, present, writable in entries]
    machine.poke(PAGE_TABLE + FIRST * 8, struct.pack(f"<{PAGES}Q", *values))
    for frame in range(8):
        machine.poke(FRAMES + (frame << 12), struct.pack("<512Q", *(frame << 32 | i for i in range(512))))
    linear = (FIRST << 12) + offset & ~7
    registers = machine.registers(0)
    registers.rsi = linear
    if not protect:
        registers.cr0 &= ~CR0.WP
    machine.patch_registers(0, registers)
    found = walk(machine.memory, registers, linear)
    before = None if found.paddr is None else machine.memory.read_u64(found.paddr)
    machine.run()
    after = machine.registers(0)
    faults = [(event.cr2, event.error) for event in machine.trace.of(Fault)]
    if before is None:
        assert faults == [(linear, 0)]
    else:
        assert after.rbx == before
        if found.writable or not protect:
            assert faults == []
            assert machine.memory.read_u64(found.paddr or 0) == 2**64 - 1
        else:
            assert faults == [(linear, 3)], "present, and a write"


def test_the_walk_tells_its_entries() -> None:
    machine, _ = long_mode("hlt")
    found = walk(machine.memory, machine.registers(0), 0x201234)
    assert [(name, at) for name, at, _ in found.entries] == [("PML4", PML4), ("PDPT", 0x21000), ("PD", 0x22008)]
    assert (found.paddr, found.entries[2][2]) == (0x201234, 0x200087)
    assert walk(machine.memory, machine.registers(0), 0x1234).entries[3] == ("PT", PAGE_TABLE + 8, 0x1007)
    absent = walk(machine.memory, machine.registers(0), 0x4000_0000)
    assert (absent.paddr, absent.writable, len(absent.entries)) == (None, False, 2)


def test_a_table_outside_ram_maps_nothing() -> None:
    machine, _ = long_mode("hlt")
    machine.poke(PML4 + 8, struct.pack("<Q", 0x12345000 | 7))
    found = walk(machine.memory, machine.registers(0), 1 << 39)
    assert (found.paddr, len(found.entries)) == (None, 1)


@pytest.mark.parametrize("table", [PML4, 0x21000, 0x22000])
def test_a_page_is_writable_if_every_level_says_so(table: int) -> None:
    machine, _code = long_mode("movb $1, 0x180000; hlt; vector_e: mov $7, %ebx; 1: jmp 1b")
    registers = machine.registers(0)
    assert walk(machine.memory, registers, 0x180000).writable
    entry = machine.memory.read_u64(table)
    machine.poke(table, struct.pack("<Q", entry & ~2))
    assert not walk(machine.memory, registers, 0x180000).writable
    registers.cr2 = 0
    machine.patch_registers(0, registers)
    machine.run(1)
    assert [(event.vector, event.cr2) for event in machine.trace.of(Fault)] == [(14, 0x180000)]


def test_high_halves_are_walked() -> None:
    """The canonical upper half: index 511 of the topmost table."""
    machine, _ = long_mode("hlt")
    machine.poke(PML4 + 511 * 8, struct.pack("<Q", 0x21007))
    assert walk(machine.memory, machine.registers(0), 0xFFFF_FF80_0000_1234).paddr == 0x1234


def test_without_paging_linear_is_physical() -> None:
    memory = PhysicalMemory([(0, 0x1000)])
    found = walk(memory, Registers(cr0=CR0.PE), 0x1_2345_6789)
    assert (found.paddr, found.writable, found.entries) == (0x2345_6789, True, ())


# mov eax, [esi]; mov [esi+8], eax; hlt
LEGACY_CODE = bytes.fromhex("8b06 894608 f4")


def legacy(pae: bool, tables: dict[int, bytes]) -> Machine:
    """A machine in 32-bit protected mode with paging, its tables from 0x30000 on."""
    machine = Machine(1, ram=8 << 20)
    machine.poke(CODE, LEGACY_CODE)
    for address, data in tables.items():
        machine.poke(address, data)
    registers = protected_registers()
    registers.cr0 |= CR0.PG
    registers.cr3 = 0x30000
    registers.cr4 = CR4.PAE if pae else CR4.PSE
    registers.rsi = 0x401230
    machine.poke(0x501230, struct.pack("<I", 0x1234))
    machine.patch_registers(0, registers)
    return machine


@pytest.mark.parametrize(
    ("pae", "tables", "levels"),
    [
        (
            True,
            {
                0x30000: struct.pack("<Q", 0x31001),  # PDPT: P, no R/W there
                0x31000: struct.pack("<3Q", 0x83, 0, 0x32003),  # 2 MiB to itself; the third 2 MiB by a table
                0x32000: struct.pack("<2Q", 0, 0x501003),  # 0x401000 -> 0x501000
            },
            ["PDPT", "PD", "PT"],
        ),
        (
            False,
            {
                0x30000: struct.pack("<2I", 0x83, 0x32003),  # 4 MiB to itself; the second 4 MiB by a table
                0x32000: struct.pack("<2I", 0, 0x501003),
                0x30C00: struct.pack("<I", 0x83),  # and the first 4 MiB once more, at 0xC0000000
            },
            ["PD", "PT"],
        ),
    ],
    ids=["PAE", "32-bit"],
)
def test_legacy_paging(pae: bool, tables: dict[int, bytes], levels: list[str]) -> None:
    machine = legacy(pae, tables)
    found = walk(machine.memory, machine.registers(0), 0x401230)
    assert [name for name, _, _ in found.entries] == levels
    assert (found.paddr, found.writable) == (0x501230, True)
    assert walk(machine.memory, machine.registers(0), CODE).paddr == CODE
    high = walk(machine.memory, machine.registers(0), 0xC000_0000 + CODE).paddr
    assert high == (None if pae else CODE), "all ten bits of an index count"
    assert machine.run().reason == "idle"
    assert machine.registers(0).rax == 0x1234
    assert machine.memory.read(0x501238, 4) == struct.pack("<I", 0x1234)
