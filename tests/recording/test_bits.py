"""Decoded registers, descriptors and gates; the values are the trampoline's and Linux's own."""

import pytest

from mklab.recording.bits import Descriptor, descriptor, gate, names


@pytest.mark.parametrize(
    ("register", "value", "expected"),
    [
        ("cr0", 0x80000011, ["PE", "ET", "PG"]),
        ("cr4", 0x20, ["PAE"]),
        ("efer", 0xD01, ["SCE", "LME", "LMA", "NXE"]),
        ("rflags", 0x202, ["IF"]),
        ("base", 0xFEE00900, ["BSP", "EN"]),
        ("esr", 0x40, ["receive illegal vector"]),
        ("rax", 1, []),
    ],
)
def test_bits_have_names(register: str, value: int, expected: list[str]) -> None:
    assert names(register, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, Descriptor("null")),
        (0x00CF9B000000FFFF, Descriptor("code", True, 0, 0, 0xFFFFFFFF, 32, "RXA")),
        (0x00AF9A000000FFFF, Descriptor("code", True, 0, 0, 0xFFFFFFFF, 64, "RX")),
        (0x00CF93000000FFFF, Descriptor("data", True, 0, 0, 0xFFFFFFFF, 32, "RWA")),
        (0x00CFF3000000FFFF, Descriptor("data", True, 3, 0, 0xFFFFFFFF, 32, "RWA")),
        (0x00009B096000FFFF, Descriptor("code", True, 0, 0x96000, 0xFFFF, 16, "RXA")),
        (0x12409712FFFF00FF, Descriptor("data, expand-down", True, 0, 0x1212FFFF, 0xFF, 32, "RWA")),
        (0x00AF1B000000FFFF, Descriptor("code", False, 0, 0, 0xFFFFFFFF, 64, "RXA")),
        (0x0080890000000000, Descriptor("TSS", True, 0, 0, 0xFFF)),
    ],
)
def test_a_gdt_entry(value: int, expected: Descriptor) -> None:
    assert descriptor(value.to_bytes(8, "little"), long=False) == expected


def test_a_task_state_segment_has_sixteen_bytes_in_long_mode() -> None:
    data = (0x00008B0018000067).to_bytes(8, "little") + (0xFFFF8880).to_bytes(8, "little")
    assert descriptor(data, long=True) == Descriptor("TSS, busy", True, 0, 0xFFFF888000001800, 0x67)


def test_gates() -> None:
    data = bytes.fromhex("3412 1000 03 ee 8888 ffffffff 00000000")
    assert gate(data) == Descriptor("interrupt gate", True, 3, selector=0x10, offset=0xFFFFFFFF88881234, ist=3)
    assert gate(bytes.fromhex("3412 0800 00 8f 0000")) == Descriptor("trap gate", True, selector=8, offset=0x1234)
    assert gate(bytes(16)) == Descriptor("null")
    assert gate(bytes.fromhex("0000 0000 00 92 0000")).kind == "reserved"
