"""Registers as plain data, and what INIT makes of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mklab.machine.registers import CR0, EFER, Registers, Segment, reset_registers

SEGMENT = st.builds(
    Segment, st.integers(0, 0xFFFF), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.just(0xA09B00)
)


@given(st.builds(Registers, rax=st.integers(0, 2**64 - 1), cs=SEGMENT, tr=SEGMENT, shadow=st.booleans()))
def test_they_are_plain_data(registers: Registers) -> None:
    assert Registers.from_dict(json.loads(json.dumps(registers.to_dict()))) == registers


@pytest.mark.parametrize("name", ["rax", "r15", "rflags", "cr2", "efer", "shadow"])
def test_the_digest_covers_registers(name: str) -> None:
    registers = Registers()
    before = registers.digest
    setattr(registers, name, 1)
    assert registers.digest != before


@pytest.mark.parametrize("part", ["selector", "base", "limit", "flags"])
@pytest.mark.parametrize("name", ["cs", "gs", "idtr"])
def test_the_digest_covers_hidden_parts(name: str, part: str) -> None:
    registers = Registers()
    before = registers.digest
    setattr(getattr(registers, name), part, 1)
    assert registers.digest != before


def test_equal_registers_have_equal_digests() -> None:
    registers = Registers(rax=5, cs=Segment(8))
    assert Registers.from_dict(registers.to_dict()).digest == registers.digest


def long(rip: int, cs: Segment, ss: Segment) -> Registers:
    return Registers(rip=rip, cs=cs, ss=ss, cr0=CR0.PE | CR0.PG, efer=EFER.LME | EFER.LMA)


@pytest.mark.parametrize(
    ("registers", "mode", "cpl", "linear"),
    [
        (Registers(rip=0x10, cs=Segment(0x9600, 0x96000), ss=Segment(flags=0x6000)), "real", 0, 0x96010),
        (Registers(rip=0xFFF0, cs=Segment(0xF000, 0xFFFF0000)), "real", 0, 0xFFFFFFF0),
        (Registers(rip=0x10, cr0=CR0.PE, cs=Segment(8, 0xFFFFFFF8), ss=Segment(flags=0x6000)), "protected", 3, 8),
        (long(0x10, Segment(8, 0x100, flags=0xC09B00), Segment()), "long", 0, 0x110),
        (
            long(1 << 40, Segment(8, 0x100, flags=0xA0FB00), Segment(flags=0x2000)),
            "long",
            1,
            1 << 40,
        ),
    ],
    ids=["real", "reset vector", "protected, wrapped", "compatibility", "64-bit"],
)
def test_mode_privilege_and_address(registers: Registers, mode: str, cpl: int, linear: int) -> None:
    assert (registers.mode, registers.cpl, registers.linear_rip) == (mode, cpl, linear)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # SDM "Processor State After Reset": INIT leaves CD and NW as they are; at power-up both are set.
        (CR0.PG | CR0.PE | CR0.MP | CR0.WP, 0x10),
        (CR0.CD | CR0.PE, 0x40000010),
        (CR0.CD | CR0.NW, 0x60000010),
    ],
)
def test_after_init(before: int, after: int) -> None:
    """SDM, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT"."""
    registers = reset_registers(0x106A3, before)
    assert (registers.cr0, registers.rflags, registers.rip, registers.rdx) == (after, 2, 0xFFF0, 0x106A3)
    assert (registers.cs.selector, registers.cs.base, registers.cs.limit) == (0xF000, 0xFFFF0000, 0xFFFF)
    for name in ("ss", "ds", "es", "fs", "gs"):
        segment = getattr(registers, name)
        assert (segment.selector, segment.base, segment.limit) == (0, 0, 0xFFFF)
    for name in ("gdtr", "idtr", "ldtr", "tr"):
        segment = getattr(registers, name)
        assert (segment.selector, segment.base, segment.limit) == (0, 0, 0xFFFF)
    others = ("rax", "rbx", "rcx", "rsi", "rdi", "rbp", "rsp", "r8", "r15", "cr2", "cr3", "cr4", "efer")
    assert [getattr(registers, name) for name in others] == [0] * len(others)
    assert (registers.mode, registers.cpl) == ("real", 0)
