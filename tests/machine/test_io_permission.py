"""I/O ports in user mode (SDM volume 1, "Protected-Mode I/O")."""

import struct

import pytest

from mklab.machine.registers import Registers, Segment
from mklab.trace import Fault
from tests.machine.guestcode import CODE, TSS, long_mode, long_mode_registers

MAP_AT = 104
USER_CODE, USER_DATA = Segment(0x2B, 0, 0xFFFFFFFF, 0xA0FB00), Segment(0x23, 0, 0xFFFFFFFF, 0xC0F300)


def user_mode(iopl: int, limit: int) -> Registers:
    registers = long_mode_registers()
    registers.cs, registers.ss = USER_CODE, USER_DATA
    registers.rflags |= iopl << 12
    registers.tr = Segment(0x30, TSS, limit, 0x8B00)
    return registers


def first_fault(
    text: str, *, iopl: int = 0, permitted: tuple[int, ...] = (), limit: int = 0x200, base: int = MAP_AT
) -> int:
    """Where the program first faults, counted from its beginning; a HLT in user mode is a #GP, too."""
    machine, _ = long_mode(text + "\n hlt\n vector_d: cli\n hlt")
    bits = bytearray(b"\xff" * 0x2000)
    for port in permitted:
        bits[port // 8] &= ~(1 << port % 8)
    task = struct.pack("<IQ", 0, 0x6000).ljust(102, b"\0") + struct.pack("<H", base)
    machine.poke(TSS, (task + bytes(bits))[:0x800])
    machine.patch_registers(0, user_mode(iopl, limit))
    machine.run(1000)
    fault = machine.trace.of(Fault)[0]
    assert (fault.vector, fault.error) == (13, 0)
    return fault.rip - CODE


ACCESSES = [
    pytest.param("out %al, $0x80", 2, id="out imm"),
    pytest.param("in $0x80, %eax", 2, id="in imm"),
    pytest.param("mov $0x80, %dx\n in %dx, %al", 5, id="in dx"),
    pytest.param("mov $0x80, %dx\n out %ax, %dx", 6, id="out dx"),
    pytest.param("mov $0x80, %dx\n mov $0x9000, %edi\n insb", 10, id="ins"),
    pytest.param("mov $0x80, %dx\n mov $0x9000, %esi\n mov $2, %ecx\n rep outsl", 16, id="rep outs"),
]


@pytest.mark.parametrize(("text", "length"), ACCESSES)
class TestWhoMay:
    def test_without_a_map_nobody_may(self, text: str, length: int) -> None:
        assert first_fault(text, limit=0x67) < length

    def test_iopl_3_may(self, text: str, length: int) -> None:
        assert first_fault(text, iopl=3, limit=0x67) == length

    def test_iopl_2_may_not(self, text: str, length: int) -> None:
        assert first_fault(text, iopl=2) < length

    def test_who_is_permitted_may(self, text: str, length: int) -> None:
        assert first_fault(text, permitted=(0x80, 0x81, 0x82, 0x83)) == length

    def test_who_is_permitted_other_ports_may_not(self, text: str, length: int) -> None:
        assert first_fault(text, permitted=(0x7F, 0x84)) < length


@pytest.mark.parametrize(
    ("text", "needed"),
    [("in $0x86, %al", 1), ("in $0x86, %ax", 2), ("in $0x86, %eax", 4)],
)
def test_each_port_counts(text: str, needed: int) -> None:
    """Across a byte of the map, too; with one of them missing it faults."""
    ports = tuple(range(0x86, 0x86 + needed))
    assert first_fault(text, permitted=ports) >= 2
    for missing in ports:
        assert first_fault(text, permitted=tuple(port for port in ports if port != missing)) == 0


@pytest.mark.parametrize(("limit", "faults"), [(MAP_AT + 16, True), (MAP_AT + 17, False)])
def test_the_map_ends_with_the_segment(limit: int, faults: bool) -> None:
    """Port 0x80's bit is in byte 16; the byte behind it is read, too."""
    assert (first_fault("out %al, $0x80", permitted=(0x80,), limit=limit) == 0) is faults


def test_a_map_that_lies_elsewhere() -> None:
    assert first_fault("out %al, $0x80", permitted=(0x80,), base=0x1000) == 0


def test_virtual_8086_mode_asks_the_map_whatever_iopl_says() -> None:
    machine, _ = long_mode(".code16\n out %al, $0x80\n hlt")
    registers = Registers(cr0=0x11, rip=CODE, rflags=0x23002, tr=Segment(0x30, TSS, 0x67, 0x8B00))
    for name in ("cs", "ds", "es", "ss", "fs", "gs"):
        setattr(registers, name, Segment(0, 0, 0xFFFF, 0xF300))
    machine.poke(TSS + 102, struct.pack("<H", MAP_AT))
    machine.patch_registers(0, registers)
    machine.run(1)
    assert [(fault.vector, fault.rip) for fault in machine.trace.of(Fault)] == [(13, CODE)]
