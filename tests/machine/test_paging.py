"""Our page walk against the engine's MMU: a guest touches the same addresses."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.fault import GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.machine import Machine
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, EFER, Registers, Segment
from mklab.paging import walk
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


LEVELS = {"long": (39, 30, 21, 12), "PAE": (30, 21, 12), "32-bit": (22, 12)}
"""By what each level's index is found: the lowest bit of the linear address that is part of it."""
TABLE, CODE_TABLE = 0x30000, 0x38000
LINEAR = 1 << 39 | 0x40201234
"""Code runs near address 0, by other entries of the topmost table."""
FRAME, LARGE_FRAME = 0x105000, 0x400000


def tables(form: str, bits: tuple[int, ...], high: tuple[int, ...]) -> list[tuple[int, bytes]]:
    """The entries that LINEAR is translated by, ``(address, bytes)``, with those low and high bits."""
    shifts = LEVELS[form]
    width = 4 if form == "32-bit" else 8
    entries = []
    for i, shift in enumerate(shifts):
        target = TABLE + 0x1000 * (i + 1) if i + 1 < len(shifts) else FRAME
        if i + 1 < len(shifts) and bits[i] & 0x80:
            target = 0 if shift >= 30 else LARGE_FRAME
        value = target | bits[i] | (high[i] if width == 8 else 0)
        if form == "PAE" and i == 0:
            value &= ~0x1E6  # hardware looks at these bits in MOV to CR3, the engine nowhere
        index = (LINEAR & 0xFFFFFFFF if form != "long" else LINEAR) >> shift & (0xFFF // width)
        entries.append((TABLE + 0x1000 * i + index * width, value.to_bytes(width, "little")))
    return entries


def map_code(machine: Machine, form: str) -> None:
    """Let everybody reach the first 2 MiB."""
    if form == "32-bit":
        machine.poke(TABLE, struct.pack("<I", CODE_TABLE | 7))
        machine.poke(CODE_TABLE, struct.pack("<512I", *(page << 12 | 7 for page in range(512))))
        return
    machine.poke(TABLE, struct.pack("<Q", CODE_TABLE | (7 if form == "long" else 1)))
    if form == "long":
        machine.poke(CODE_TABLE, struct.pack("<Q", CODE_TABLE + 0x1000 | 7))
    machine.poke(CODE_TABLE + (0x1000 if form == "long" else 0), struct.pack("<Q", 0x87))


def paged_registers(form: str, *, user: bool, nxe: bool, wp: bool, pse: bool) -> Registers:
    """The registers of a program that is to touch LINEAR."""
    registers = protected_registers()
    registers.cr0 |= CR0.PG | (CR0.WP if wp else 0)
    registers.cr3 = TABLE
    registers.cr4 = (CR4.PAE if form != "32-bit" else 0) | (CR4.PSE if pse else 0)
    registers.efer = (EFER.NXE if nxe else 0) | (EFER.LME | EFER.LMA if form == "long" else 0)
    dpl = 0x6000 if user else 0
    registers.cs = Segment(8 | 3 * user, 0, 0xFFFFFFFF, dpl | (0xA09B00 if form == "long" else 0xC09B00))
    for name in ("ss", "ds", "es"):
        setattr(registers, name, Segment(0x18 | 3 * user, 0, 0xFFFFFFFF, 0xC09300 | dpl))
    registers.rsi = LINEAR if form == "long" else LINEAR & 0xFFFFFFFF
    return registers


LOW_BITS = st.sampled_from([*[0x07] * 8, 0x06, 0x05, 0x03, 0x01, 0x27, 0x47, 0x67, 0x87, 0x87, 0x85, 0xE3])
"""The low bits of an entry: mostly a page or table for everybody."""
HIGH_BITS = st.sampled_from([0, 0, 0, 1 << 63, 1 << 45, 1 << 52])


@settings(max_examples=150)
@given(
    form=st.sampled_from(["long", "PAE", "32-bit"]),
    bits=st.tuples(*[LOW_BITS] * 4),
    high=st.tuples(*[HIGH_BITS] * 4),
    access=st.sampled_from(["load", "store", "user's store"]),
    nxe=st.booleans(),
    wp=st.booleans(),
    pse=st.booleans(),
)
def test_the_engine_agrees(
    form: str, bits: tuple[int, ...], high: tuple[int, ...], access: str, nxe: bool, wp: bool, pse: bool
) -> None:
    """A guest's access through random entries: the same error code, or the same bytes and accessed and dirty bits."""
    machine = Machine(1, ram=8 << 20, on_shutdown="halt")
    user, write = access == "user's store", access != "load"
    entries = tables(form, bits, high)
    map_code(machine, form)
    for at, data in entries:
        machine.poke(at, data)
    machine.poke(CODE, bytes.fromhex("8906" if write else "8b06") + b"\xf4")  # mov %eax, (%rsi), or the other way; hlt
    registers = paged_registers(form, user=user, nxe=nxe, wp=wp, pse=pse)
    registers.rax = 0x12345678
    machine.patch_registers(0, registers)
    linear = LinearMemory(mine := PhysicalMemory([(0, 8 << 20)]), registers)
    mine.write(0, machine.memory.read(0, 8 << 20))
    machine.run()
    seen = [(event.vector, event.error) for event in machine.trace.of(Fault)[:1]]
    expected = None
    try:
        if write:
            linear.write(registers.rsi, struct.pack("<I", 0x12345678), user=user)
        else:
            linear.read(registers.rsi, 4)
    except GuestFaultError as fault:
        expected = (fault.vector, fault.error)
    if expected:
        assert seen == [expected]
        return
    assert seen == ([(13, 0)] if user else []), "HLT is not for user code"
    for at, data in entries:
        assert machine.memory.read(at, len(data)) == mine.read(at, len(data)), f"the entry at {at:#x}"
    found = walk(mine, registers, registers.rsi)
    assert found.paddr is not None
    if mine.contains(found.paddr, 4):
        assert machine.memory.read(found.paddr, 4) == mine.read(found.paddr, 4)
