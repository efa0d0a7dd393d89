"""Tasks that an interrupt enters (SDM vol. 3, "Task Switching"); guests switch there and back in tests/differential."""

import struct
from dataclasses import replace

import pytest

from mklab.machine.delivery import Entered, TripleFaultError, deliver
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, GPRS, RFLAGS, Registers, Segment
from mklab.machine.task import TSS16, TSS32
from tests.machine.tables import (
    ABSENT_CODE,
    ABSENT_DATA,
    CODE,
    CONFORMING,
    DATA,
    GDT,
    HANDLER,
    IDT,
    LDT,
    NARROW_DATA,
    READ_ONLY,
    SHORT_CODE,
    TASK,
    TASK_16,
    TASK_16_AT,
    TASK_AT,
    TASK_CR3,
    TASK_FLAGS,
    TASK_STACK,
    TSS,
    TSS_AT,
    USER_CODE,
    USER_DATA,
    gate,
    registers_at,
    tables,
    user_registers,
    virtual_8086_registers,
)

DF, TS, NP, SS, GP = 8, 10, 11, 12, 13
VECTOR = 0x40
GENERAL = GPRS[:8]


def with_task(selector: int = TASK, vector: int = VECTOR) -> PhysicalMemory:
    memory = tables()
    memory.write(IDT + 8 * vector, gate(0, selector, 0xE5))
    return memory


def software(memory: PhysicalMemory, registers: Registers) -> Entered:
    return deliver(memory, registers, VECTOR, None, "software", 2)


def faults(entered: Entered) -> list[tuple[int, int]]:
    return [(fault.vector, fault.error) for fault in entered.faults]


def set_selector(memory: PhysicalMemory, name: str, value: int) -> None:
    TSS32(memory, TASK_AT).set(name, value)


def test_layouts() -> None:
    """SDM, figures "32-Bit Task-State Segment (TSS)" and "16-Bit TSS Format"."""
    at = TSS32.offsets
    assert (TSS32.size, at["esp0"], at["ss0"], at["ss2"], at["cr3"], at["rip"]) == (104, 4, 8, 24, 28, 32)
    assert (at["rflags"], at["rax"], at["rdi"], at["es"], at["gs"]) == (36, 40, 68, 72, 92)
    assert (at["ldtr"], at["iomap"]) == (96, 102)
    at = TSS16.offsets
    assert (TSS16.size, at["sp0"], at["ss2"], at["rip"], at["rflags"], at["rax"]) == (44, 2, 12, 14, 16, 18)
    assert (at["rdi"], at["es"], at["ds"], at["ldtr"]) == (32, 34, 40, 42)


def test_the_old_state_is_saved_and_the_new_one_loaded() -> None:
    memory, registers = with_task(), user_registers()
    for i, name in enumerate(GENERAL):
        setattr(registers, name, 0xAAAA0000 + i)
    registers.fs = Segment(USER_DATA + 3, 0, 0xFFFFFFFF, 0xC0F300)
    registers.cr3 = 0x9999
    entered = software(memory, registers)
    after = entered.registers
    old = TSS32(memory, TSS_AT)
    assert [old.get(name) for name in GENERAL] == [0xAAAA0000 + i for i in range(8)]
    assert (old.get("rip"), old.get("rflags")) == (0x7000, RFLAGS.ONE | RFLAGS.IF)
    assert [old.get(name) for name in ("es", "cs", "ss", "ds", "fs", "gs")] == [
        *(USER_DATA + 3, USER_CODE + 3, USER_DATA + 3, USER_DATA + 3, USER_DATA + 3, 0)
    ]
    assert (old.get("cr3"), old.get("ldtr")) == (0, 0), "these two are not saved"
    assert [getattr(after, name) for name in GENERAL] == [0x10, 0x20, 0x30, 0x40, TASK_STACK, 0x60, 0x70, 0x80]
    assert (after.rip, after.rflags) == (HANDLER, TASK_FLAGS | RFLAGS.NT)
    assert (after.cs, after.ss) == (
        Segment(CODE, 0, 0xFFFFFFFF, 0xC09B00),
        Segment(DATA, 0, 0xFFFFFFFF, 0xC09300),
    )
    assert (after.fs, after.gs) == (Segment(0, 0, 0, 0), Segment(USER_DATA + 3, 0, 0xFFFFFFFF, 0xC0F300))
    assert (after.ldtr.selector, after.ldtr.limit) == (LDT, 0x17)
    assert (after.tr, after.cpl) == (Segment(TASK, TASK_AT, 0x67, 0x8B00), 0)
    assert after.cr0 & CR0.TS
    assert after.cr3 == 0x9999, "CR3 is not loaded where there is no paging"
    assert TSS32(memory, TASK_AT).get("link") == TSS
    busy = [memory.read(GDT + selector + 5, 1)[0] for selector in (TSS, TASK)]
    assert busy == [0x8B, 0x8B], "both tasks are busy now"


def test_cr3_comes_with_the_task() -> None:
    """Page tables of its own, through which the rest is loaded."""
    memory, registers = with_task(), registers_at()
    for directory, table in ((0x80000, 0x81000), (TASK_CR3, 0x82000)):
        memory.write(directory, struct.pack("<I", table | 3))
        memory.write(table, struct.pack("<256I", *(page << 12 | 3 for page in range(256))))
    # The new task sees another GDT, in which its data segment is not present.
    memory.write(0x90000, memory.read(GDT, 0x1000))
    memory.write(0x90000 + DATA + 5, b"\x13")
    memory.write(0x82000 + 4 * (GDT >> 12), struct.pack("<I", 0x90003))
    registers.cr0 |= CR0.PG
    registers.cr3 = 0x80000
    with pytest.raises(TripleFaultError, match="the new task's SS 0x10 is not present"):
        software(memory, registers)
    memory.write(0x90000 + DATA + 5, b"\x93")
    memory.write(GDT + TASK + 5, b"\x89")
    entered = software(memory, registers)
    assert (faults(entered), entered.registers.cr3) == ([], TASK_CR3)


def test_a_16_bit_task() -> None:
    memory = with_task(TASK_16)
    after = software(memory, registers_at()).registers
    assert [getattr(after, name) for name in GENERAL] == [0x10, 0x20, 0x30, 0x40, TASK_STACK, 0x60, 0x70, 0x80]
    assert (after.rip, after.ss.selector, after.fs.selector, after.gs.selector) == (HANDLER, NARROW_DATA, 0, 0)
    assert TSS16(memory, TASK_16_AT).get("link") == TSS
    assert memory.read(GDT + TASK_16 + 5, 1) == b"\x83"
    # And out of it again, into a 32-bit one.
    memory.write(IDT + 8 * VECTOR, gate(0, TASK, 0xE5))
    after.rax, after.rip = 0x1234_5678, 0x4321
    again = software(memory, after).registers
    old = TSS16(memory, TASK_16_AT)
    assert (old.get("rax"), old.get("rip"), old.get("ss")) == (0x5678, 0x4321, NARROW_DATA)
    assert memory.read(TASK_16_AT + 44, 60) == bytes(60), "nothing behind its 44 bytes"
    assert again.tr.selector == TASK


def test_a_task_in_virtual_8086_mode() -> None:
    memory = with_task()
    tss = TSS32(memory, TASK_AT)
    tss.set("rflags", RFLAGS.ONE | RFLAGS.VM)
    tss.set("cs", 0x1234)
    after = software(memory, registers_at()).registers
    assert after.virtual_8086
    assert after.cs == Segment(0x1234, 0x12340, 0xFFFF, 0xF300)
    assert (after.gs.base, after.cpl) == (USER_DATA + 3 << 4, 3)


def test_out_of_virtual_8086_mode() -> None:
    memory, registers = with_task(), virtual_8086_registers()
    after = software(memory, registers).registers
    assert (after.virtual_8086, after.cpl) == (False, 0)
    old = TSS32(memory, TSS_AT)
    assert (old.get("rflags") & RFLAGS.VM, old.get("gs"), old.get("cs")) == (RFLAGS.VM, 0x4444, 0x700)


@pytest.mark.parametrize(("selector", "width"), [(TASK, 4), (TASK_16, 2)])
def test_the_error_code_goes_to_the_new_stack(selector: int, width: int) -> None:
    memory = with_task(selector, GP)
    after = deliver(memory, registers_at(), GP, 0x1234, "exception").registers
    assert after.rsp == TASK_STACK - width
    assert int.from_bytes(memory.read(after.ss.base + after.rsp, width), "little") == 0x1234
    assert TSS32(memory, TSS_AT).get("rflags") & RFLAGS.RF, "a fault saves RF here too"


def test_a_double_fault_by_a_task_gate() -> None:
    """What task gates are for: a new stack, whatever was wrong with the old one."""
    memory, registers = with_task(TASK, DF), registers_at()
    registers.ss = replace(registers.ss, limit=0xF)
    entered = deliver(memory, registers, 6, None, "exception")
    assert faults(entered) == [(SS, 1), (SS, 1)], "for #UD, and then for the #SS"
    assert (entered.vector, entered.registers.tr.selector) == (DF, TASK)
    assert memory.read(TASK_STACK - 4, 4) == bytes(4)


class TestRefusedBefore:
    """Checks that come before anything is changed: the exception belongs to the old task."""

    @pytest.mark.parametrize(
        ("selector", "vector", "error"),
        [
            (0, GP, 0),
            (0x404, GP, 0x404),
            (0x400, GP, 0x400),
            (CODE, GP, CODE),
            (LDT, GP, LDT),
            (TSS, GP, TSS),  # busy
        ],
    )
    @pytest.mark.parametrize("kind", ["software", "interrupt"])
    def test_selectors(self, selector: int, vector: int, error: int, kind: str) -> None:
        memory = with_task(selector)
        before = memory.read(GDT, 0x100), memory.read(TSS_AT, 0x300)
        entered = deliver(memory, registers_at(), VECTOR, None, kind)
        assert faults(entered) == [(vector, error | (kind != "software"))]
        assert entered.registers.tr.selector == TSS
        assert (memory.read(GDT, 0x100), memory.read(TSS_AT, 0x300)) == before

    @pytest.mark.parametrize(("at", "data", "vector"), [(5, b"\x09", NP), (0, b"\x66", TS)])
    @pytest.mark.parametrize("selector", [TASK, TASK_16])
    def test_descriptors(self, selector: int, at: int, data: bytes, vector: int) -> None:
        memory = with_task(selector)
        if selector == TASK_16:
            data = {b"\x09": b"\x01", b"\x66": b"\x2a"}[data]
        memory.write(GDT + selector + at, data)
        assert faults(software(memory, registers_at())) == [(vector, selector)]

    def test_a_tss_on_a_page_that_is_absent(self) -> None:
        memory, registers = with_task(), registers_at()
        memory.write(0x80000, struct.pack("<I", 0x81003))
        memory.write(0x81000, struct.pack("<256I", *(page << 12 | 3 for page in range(256))))
        memory.write(GDT + TASK + 2, struct.pack("<H", 0x4FF0))  # its second half on page 5
        memory.write(0x81000 + 4 * 5, struct.pack("<I", 0))
        registers.cr0 |= CR0.PG
        registers.cr3 = 0x80000
        before = memory.read(TSS_AT, 0x68)
        entered = software(memory, registers)
        assert (faults(entered), entered.registers.cr2) == ([(14, 2)], 0x5000)
        assert memory.read(TSS_AT, 0x68) == before


class TestRefusedAfter:
    """SDM, table "Exception Conditions Checked During a Task Switch": the exception belongs to the new task."""

    @pytest.mark.parametrize(
        ("name", "value", "vector", "error"),
        [
            ("ldtr", 0x400, TS, 0x400),
            ("ldtr", DATA, TS, DATA),
            ("ldtr", LDT | 4, TS, LDT | 4),
            ("cs", 0, TS, 0),
            ("cs", 0x400, TS, 0x400),
            ("cs", DATA, TS, DATA),
            ("cs", CODE + 3, TS, CODE),
            ("cs", USER_CODE, TS, USER_CODE),
            ("cs", ABSENT_CODE, NP, ABSENT_CODE),
            ("ss", 0, TS, 0),
            ("ss", CODE, TS, CODE),
            ("ss", READ_ONLY, TS, READ_ONLY),
            ("ss", DATA + 1, TS, DATA),
            ("ss", USER_DATA + 3, TS, USER_DATA),
            ("ss", ABSENT_DATA, SS, ABSENT_DATA),
            ("es", 0x400, TS, 0x400),
            ("ds", TSS, TS, TSS),
            ("fs", ABSENT_DATA, NP, ABSENT_DATA),
            ("gs", DATA + 3, TS, DATA),
        ],
    )
    def test_segments(self, name: str, value: int, vector: int, error: int) -> None:
        memory = with_task()
        set_selector(memory, name, value)
        for one in (TS, NP, SS):
            memory.write(IDT + 8 * one, gate(0, TASK_16, 0x85))
        entered = software(memory, registers_at())
        assert faults(entered) == [(vector, error)]
        assert entered.vector == vector
        assert TSS16(memory, TASK_16_AT).get("link") == TASK, "the switch had been made"
        saved = TSS32(memory, TASK_AT)
        assert (saved.get("rip"), saved.get(name)) == (HANDLER, value)
        assert int.from_bytes(memory.read(0x10000 + TASK_STACK - 2, 2), "little") == error

    def test_conforming_code_of_an_inner_level(self) -> None:
        memory = with_task()
        set_selector(memory, "cs", CONFORMING + 3)
        set_selector(memory, "ss", USER_DATA + 3)
        for name in ("es", "ds"):
            set_selector(memory, name, USER_DATA + 3)
        entered = software(memory, registers_at())
        assert (faults(entered), entered.registers.cpl) == ([], 3)

    def test_eip_beyond_the_limit(self) -> None:
        memory = with_task()
        set_selector(memory, "cs", SHORT_CODE)
        entered = software(memory, registers_at())
        assert (faults(entered), entered.registers.rip) == ([(GP, 0)], HANDLER + GP)
        assert entered.registers.tr.selector == TASK, "its handler runs in the new task"

    def test_no_room_for_the_error_code(self) -> None:
        memory = with_task(TASK, GP)
        TSS32(memory, TASK_AT).set("rsp", 2)
        memory.write(GDT + DATA, b"\xff\xff\0\0\0\x93\x40\0")
        with pytest.raises(TripleFaultError, match="has no room at 0xfffffffe"):
            deliver(memory, registers_at(), GP, 0, "exception")


def test_the_given_registers_stay_as_they_are() -> None:
    registers = user_registers()
    software(with_task(), registers)
    assert registers == user_registers()
