"""Gates of 32-bit protected mode, rule by rule (SDM vol. 2, "INT n"); guests take them in tests/differential."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.machine.delivery import Entered, TripleFaultError, deliver
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, RFLAGS, Registers, Segment
from tests.machine.tables import (
    ABSENT_CODE,
    ABSENT_DATA,
    CODE,
    CODE_1,
    CONFORMING,
    DATA,
    DATA_1,
    GDT,
    HANDLER,
    IDT,
    INNER_STACK,
    MIDDLE_STACK,
    NARROW_DATA,
    READ_ONLY,
    SHORT_CODE,
    TSS,
    TSS_AT,
    USER_CODE,
    USER_DATA,
    descriptor,
    gate,
    registers_at,
    tables,
    user_registers,
    virtual_8086_registers,
)

DF, TS, NP, SS, GP, PF = 8, 10, 11, 12, 13, 14
VECTOR = 0x40


def software(memory: PhysicalMemory, registers: Registers, vector: int = VECTOR) -> Entered:
    return deliver(memory, registers, vector, None, "software", 2)


def stack(memory: PhysicalMemory, entered: Entered, form: str) -> tuple[int, ...]:
    at = entered.registers.ss.base + entered.registers.rsp
    return struct.unpack(form, memory.read(at, struct.calcsize(form)))


def faults(entered: Entered) -> list[tuple[int, int]]:
    return [(fault.vector, fault.error) for fault in entered.faults]


class TestFrames:
    """What is pushed, where, and what becomes of the flags."""

    @pytest.mark.parametrize(("access", "width"), [(0x8E, 4), (0x8F, 4), (0x86, 2), (0x87, 2)])
    def test_at_the_same_level(self, access: int, width: int) -> None:
        memory, registers = tables(), registers_at()
        memory.write(IDT + 8 * VECTOR, gate(0x1_2345, access=access))
        registers.rflags |= RFLAGS.NT | RFLAGS.TF | RFLAGS.AC
        entered = software(memory, registers)
        after = entered.registers
        assert stack(memory, entered, "<3I" if width == 4 else "<3H") == (
            *(0x7000, CODE),
            registers.rflags & (0xFFFFFFFF if width == 4 else 0xFFFF),
        )
        assert after.rsp == registers.rsp - 3 * width
        assert after.rip == (0x1_2345 if width == 4 else 0x2345), "16-bit gates have 16 bits of offset"
        interrupts = RFLAGS.IF if access & 1 else 0
        assert after.rflags == RFLAGS.ONE | RFLAGS.AC | interrupts, "NT and TF cleared; IF by an interrupt gate"
        assert (after.cs.selector, after.ss) == (CODE, registers.ss)

    def test_the_error_code_comes_last(self) -> None:
        memory = tables()
        entered = deliver(memory, registers_at(), GP, 0x1234, "exception")
        assert stack(memory, entered, "<4I") == (0x1234, 0x7000, CODE, RFLAGS.ONE | RFLAGS.IF | RFLAGS.RF)
        memory.write(IDT + 8 * GP, gate(access=0x86))
        entered = deliver(memory, registers_at(), GP, 0x1234, "exception")
        assert stack(memory, entered, "<4H") == (0x1234, 0x7000, CODE, RFLAGS.ONE | RFLAGS.IF)

    @pytest.mark.parametrize(
        ("code", "ss", "esp", "cpl"), [(CODE, DATA, INNER_STACK, 0), (CODE_1, DATA_1, MIDDLE_STACK, 1)]
    )
    def test_inwards(self, code: int, ss: int, esp: int, cpl: int) -> None:
        memory, registers = tables(), user_registers()
        memory.write(IDT + 8 * VECTOR, gate(selector=code, access=0xEE))
        entered = software(memory, registers)
        after = entered.registers
        assert stack(memory, entered, "<5I") == (
            *(0x7000, USER_CODE + 3, RFLAGS.ONE | RFLAGS.IF),
            *(registers.rsp, USER_DATA + 3),
        )
        assert (after.cs.selector, after.ss.selector, after.rsp) == (code + cpl, ss + cpl, esp - 20)
        assert after.cpl == cpl
        assert (after.cs.limit, after.ss.limit) == (0xFFFFFFFF, 0xFFFFFFFF), "0xfffff pages"
        assert (after.ds, after.es) == (registers.ds, registers.es)

    def test_a_16_bit_tss(self) -> None:
        memory, registers = tables(), user_registers()
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        memory.write(TSS_AT + 2, struct.pack("<HH", 0x6000, DATA))
        registers.tr = Segment(TSS, TSS_AT, 0x2B, 0x8300)
        after = software(memory, registers).registers
        assert (after.ss.selector, after.rsp) == (DATA, 0x6000 - 20)

    def test_a_16_bit_stack_wraps(self) -> None:
        """SP counts, and the upper half of ESP stays."""
        memory, registers = tables(), registers_at()
        registers.ss = Segment(NARROW_DATA, 0x10000, 0xFFFF, 0x9300)
        registers.rsp = 0xABCD0004
        after = software(memory, registers).registers
        assert after.rsp == 0xABCDFFF8
        assert struct.unpack("<I", memory.read(0x10000, 4)) == (registers.rflags,)
        assert struct.unpack("<II", memory.read(0x1FFF8, 8)) == (0x7000, CODE)

    def test_conforming_code(self) -> None:
        """No other stack; the selector's RPL is the CPL."""
        memory, registers = tables(), user_registers()
        memory.write(IDT + 8 * VECTOR, gate(selector=CONFORMING, access=0xEE))
        after = software(memory, registers).registers
        assert (after.cs.selector, after.ss, after.rsp) == (CONFORMING + 3, registers.ss, registers.rsp - 12)
        assert after.cpl == 3

    def test_out_of_virtual_8086_mode(self) -> None:
        """GS, FS, DS and ES are pushed too, and cleared; the handler is in protected mode."""
        memory, registers = tables(), virtual_8086_registers()
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        entered = software(memory, registers)
        after = entered.registers
        assert stack(memory, entered, "<9I") == (
            0x12,
            0x700,
            registers.rflags,
            0x100,
            0xC00,
            0x1111,
            0x2222,
            0x3333,
            0x4444,
        )
        assert after.rflags == RFLAGS.ONE | RFLAGS.IOPL
        assert not after.virtual_8086
        assert [getattr(after, name) for name in ("ds", "es", "fs", "gs")] == [Segment(0, 0, 0, 0)] * 4
        assert (after.cpl, after.rsp, after.ss.selector) == (0, INNER_STACK - 36, DATA)

    def test_segments_are_marked_as_accessed(self) -> None:
        memory, registers = tables(), user_registers()
        for selector, access in ((CODE, 0x9A), (DATA, 0x92)):
            memory.write(GDT + selector + 5, bytes([access]))
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        after = software(memory, registers).registers
        assert (memory.read(GDT + CODE + 5, 1), memory.read(GDT + DATA + 5, 1)) == (b"\x9b", b"\x93")
        assert (after.cs.flags, after.ss.flags) == (0xC09B00, 0xC09300)


class TestRefusals:
    """What is raised, with the EXT bit where the program did not ask for the event."""

    @pytest.mark.parametrize(
        ("entry", "vector", "error"),
        [
            pytest.param(gate(access=0x0E), NP, VECTOR * 8 + 2, id="not present"),
            pytest.param(gate(access=0x8C), GP, VECTOR * 8 + 2, id="call gate"),
            pytest.param(gate(access=0x9E), GP, VECTOR * 8 + 2, id="no system type"),
            pytest.param(gate(selector=0), GP, 0, id="null"),
            pytest.param(gate(selector=3), GP, 0, id="null with an RPL"),
            pytest.param(gate(selector=0x400), GP, 0x400, id="beyond the GDT"),
            pytest.param(gate(selector=0x404), GP, 0x404, id="beyond the LDT"),
            pytest.param(gate(selector=DATA), GP, DATA, id="data"),
            pytest.param(gate(selector=TSS), GP, TSS, id="system segment"),
            pytest.param(gate(selector=USER_CODE + 3), GP, USER_CODE, id="outer code"),
            pytest.param(gate(selector=ABSENT_CODE), NP, ABSENT_CODE, id="code not present"),
            pytest.param(gate(0x1000, selector=SHORT_CODE), GP, 0, id="beyond the code segment's limit"),
        ],
    )
    @pytest.mark.parametrize("kind", ["software", "interrupt"])
    def test_gates(self, entry: bytes, vector: int, error: int, kind: str) -> None:
        memory = tables()
        memory.write(IDT + 8 * VECTOR, entry)
        entered = deliver(memory, registers_at(), VECTOR, None, kind, 2 if kind == "software" else 0)
        assert faults(entered) == [(vector, error | (kind != "software"))]
        assert entered.registers.rip == HANDLER + vector
        saved = stack(memory, entered, "<4I")
        assert saved[0] == entered.faults[0].error
        assert saved[1] == (0x6FFE if kind == "software" else 0x7000)

    def test_the_limit_is_the_last_byte(self) -> None:
        memory, registers = tables(), registers_at()
        registers.idtr = replace(registers.idtr, limit=VECTOR * 8 + 7)
        assert faults(software(memory, registers)) == []
        registers.idtr = replace(registers.idtr, limit=VECTOR * 8 + 6)
        assert faults(software(memory, registers)) == [(GP, VECTOR * 8 + 2)]

    def test_only_programs_are_asked_for_the_gates_dpl(self) -> None:
        memory, registers = tables(), user_registers()
        assert faults(software(memory, registers)) == [(GP, VECTOR * 8 + 2)]
        for kind in ("interrupt", "nmi", "exception"):
            assert faults(deliver(memory, registers, VECTOR, None, kind)) == []

    @pytest.mark.parametrize(
        ("ss", "vector", "error"),
        [
            (0, TS, 0),
            (2, TS, 0),
            (0x400 + 1, TS, 0x400),
            (DATA_1, TS, DATA_1),  # RPL 0
            (DATA + 1, TS, DATA),  # DPL 0
            (CODE_1 + 1, TS, CODE_1),
            (READ_ONLY + 1, TS, READ_ONLY),
            (ABSENT_DATA + 1, SS, ABSENT_DATA),
        ],
    )
    def test_stacks_of_the_tss(self, ss: int, vector: int, error: int) -> None:
        memory = tables()
        memory.write(GDT + ABSENT_DATA + 5, b"\x33")  # DPL 1
        memory.write(GDT + READ_ONLY + 5, b"\xb1")
        memory.write(IDT + 8 * VECTOR, gate(selector=CODE_1, access=0xEE))
        memory.write(TSS_AT + 16, struct.pack("<H", ss))
        assert faults(software(memory, user_registers())) == [(vector, error)]
        assert faults(deliver(memory, user_registers(), VECTOR, None, "interrupt")) == [(vector, error | 1)]

    @pytest.mark.parametrize(("limit", "refused"), [(17, False), (16, True)])
    def test_a_tss_too_short(self, limit: int, refused: bool) -> None:
        """SS1 ends at byte 17."""
        memory, registers = tables(), user_registers()
        memory.write(IDT + 8 * VECTOR, gate(selector=CODE_1, access=0xEE))
        registers.tr = replace(registers.tr, limit=limit)
        assert faults(software(memory, registers)) == ([(TS, TSS)] if refused else [])

    @pytest.mark.parametrize(("limit", "refused"), [(INNER_STACK - 1, False), (INNER_STACK - 2, True)])
    def test_a_new_stack_without_room(self, limit: int, refused: bool) -> None:
        """#SS with the new stack's selector. Delivered through conforming code, since SS0 is no better for #SS."""
        memory = tables()
        memory.write(GDT + DATA, struct.pack("<Q", descriptor(0, limit, 0x93, 4)))
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        memory.write(IDT + 8 * SS, gate(HANDLER + SS, selector=CONFORMING))
        assert faults(software(memory, user_registers())) == ([(SS, DATA)] if refused else [])

    def test_a_stack_without_room(self) -> None:
        """#SS(0), and for that there is no room either: a double fault, and a triple one."""
        memory, registers = tables(), registers_at()
        registers.rsp = 4
        registers.ss = replace(registers.ss, limit=0xFFFF)
        with pytest.raises(TripleFaultError, match=r"^#SS .*, then #SS .* while delivering #SS, then #SS"):
            software(memory, registers)

    def test_out_of_virtual_8086_mode_to_cpl_0_only(self) -> None:
        memory = tables()
        for selector in (CONFORMING, CODE_1):
            memory.write(IDT + 8 * VECTOR, gate(selector=selector, access=0xEE))
            assert faults(software(memory, virtual_8086_registers())) == [(GP, selector)]

    def test_a_double_fault(self) -> None:
        memory = tables()
        memory.write(IDT + 8 * GP, gate(access=0x0E))
        entered = deliver(memory, registers_at(), GP, 0x20, "exception")
        assert (entered.vector, faults(entered)) == (DF, [(NP, GP * 8 + 3)])
        assert stack(memory, entered, "<2I") == (0, 0x7000)


def paged(cpl: int) -> tuple[PhysicalMemory, Registers]:
    """The tables with 32-bit paging: everything mapped to itself, for user code too."""
    memory, registers = tables(), registers_at(cpl)
    memory.write(0x80000, struct.pack("<I", 0x81007))
    memory.write(0x81000, struct.pack("<256I", *(page << 12 | 7 for page in range(256))))
    registers.cr0 |= CR0.PG | CR0.WP
    registers.cr3, registers.cr4 = 0x80000, CR4.PSE
    return memory, registers


class TestPages:
    """Page protection of what delivery itself reads and pushes."""

    def test_a_supervisor_stack(self) -> None:
        """The frame of CPL 0 goes to a page that user code may not reach; that of CPL 3 may not."""
        memory, registers = paged(3)
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        for page in (INNER_STACK - 4 >> 12, registers.rsp - 4 >> 12):
            memory.write(0x81000 + 4 * page, struct.pack("<I", page << 12 | 3))
        assert faults(software(memory, registers)) == []
        memory.write(IDT + 8 * VECTOR, gate(selector=CONFORMING, access=0xEE))
        entered = software(memory, registers)
        assert faults(entered) == [(PF, 7)]
        assert entered.registers.cr2 == registers.rsp - 4

    @pytest.mark.parametrize(("entry", "error"), [(0, 2), (5, 3)])
    def test_a_stack_that_may_not_be_written(self, entry: int, error: int) -> None:
        memory, registers = paged(3)
        memory.write(IDT + 8 * VECTOR, gate(selector=CODE_1, access=0xEE))
        page = MIDDLE_STACK - 4 >> 12
        memory.write(0x81000 + 4 * page, struct.pack("<I", page << 12 | entry if entry else 0))
        entered = software(memory, registers)
        assert faults(entered) == [(PF, error)], "as the supervisor: CPL 1 is no user"
        assert entered.registers.cr2 == MIDDLE_STACK - 4
        assert stack(memory, entered, "<3I") == (error, 0x6FFE, USER_CODE + 3)
        registers.cr0 &= ~CR0.WP
        assert faults(software(memory, registers)) == ([(PF, 2)] if not entry else [])

    def test_tables_are_read_by_the_supervisor(self) -> None:
        memory, registers = paged(3)
        memory.write(IDT + 8 * VECTOR, gate(access=0xEE))
        for page in (GDT >> 12, IDT >> 12, TSS_AT >> 12):
            memory.write(0x81000 + 4 * page, struct.pack("<I", page << 12 | 1))
        registers.cr0 &= ~CR0.WP
        assert faults(software(memory, registers)) == []
        memory.write(0x81000 + 4 * (IDT >> 12), struct.pack("<I", 0))
        with pytest.raises(TripleFaultError, match=r"#PF .* while delivering #PF"):
            software(memory, registers)


KINDS = st.sampled_from(["software", "interrupt", "nmi", "exception"])


def expected_refusal(access: int, selector: int, code: int, cpl: int, kind: str) -> tuple[int, int] | None:
    """What the manual's pseudocode raises for a gate and the code segment it names, at ``cpl``; written anew."""
    ext = 0 if kind == "software" else 1
    if access & 0x1F not in (6, 7, 14, 15):
        return GP, VECTOR * 8 + 2 + ext
    if kind == "software" and (access >> 5) % 4 < cpl:
        return GP, VECTOR * 8 + 2
    if access < 0x80:
        return NP, VECTOR * 8 + 2 + ext
    if selector < 4:
        return GP, ext
    rights, dpl = code >> 40 & 0xFF, code >> 45 & 3
    if not (rights & 0x10 and rights & 8) or dpl > cpl:
        return GP, selector - selector % 4 + ext
    return None if rights & 0x80 else (NP, selector - selector % 4 + ext)


@given(
    access=st.integers(0, 255).filter(lambda access: access & 0x1F != 5),
    rpl=st.integers(0, 3),
    null=st.booleans(),
    rights=st.integers(0, 255),
    cpl=st.sampled_from([0, 1, 3]),
    kind=KINDS,
)
def test_every_gate_and_code_segment(access: int, rpl: int, null: bool, rights: int, cpl: int, kind: str) -> None:
    """Any gate, any code segment, against a statement of the rules that shares nothing with the code under test."""
    memory = tables()
    code = descriptor(0, 0xFFFFF, rights)
    selector = rpl if null else SHORT_CODE + rpl
    memory.write(GDT + SHORT_CODE, struct.pack("<Q", code))
    memory.write(IDT + 8 * VECTOR, gate(selector=selector, access=access))
    memory.write(TSS_AT + 20, struct.pack("<II", 0x6000, 0))
    entered = deliver(memory, registers_at(cpl), VECTOR, None, kind)
    expected = expected_refusal(access, selector, code, cpl, kind)
    if expected is not None:
        assert faults(entered)[0] == expected
        return
    dpl, conforming = rights >> 5 & 3, bool(rights & 4)
    if not conforming and dpl == 2 and cpl == 3:
        assert faults(entered)[0][0] == TS, "the TSS has no SS2"
        return
    assert faults(entered) == []
    assert entered.registers.cpl == (cpl if conforming else dpl)
    assert entered.registers.cs.selector == SHORT_CODE + entered.registers.cpl
    assert bool(entered.registers.rflags & RFLAGS.IF) == bool(access & 1)
