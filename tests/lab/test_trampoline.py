"""The trampoline with a part of it exchanged: the rest stays as it is, and a CPU goes through the part."""

import pytest

from mklab.guest import trampoline as prebuilt
from mklab.kernel.layout import TRAMPOLINE_BASE
from mklab.lab import trampoline
from mklab.lab.guestcode import Code, Frame, compiled
from mklab.lab.guestrun import run

SEGMENTS = ("movw\t%cs, %ax", "movw\t$LOW(trampoline_stack_end), %sp")
ANSWER = """movw %cs, %ax
movw %ax, %ds
movw %ax, %es
movw %ax, %ss
movl $0xA5A5A5A5, LOW(trampoline_status_bsp)
movw $LOW(trampoline_stack_end), %sp
"""


def built(part: str, text: str = ANSWER, between: str = "") -> Code:
    return compiled(text, "asm", TRAMPOLINE_BASE, Frame(*trampoline.around(part, SEGMENTS[1], between)))


def test_with_its_own_part_it_is_the_shipped_one_but_for_the_places_of_its_code() -> None:
    code, blob = built(SEGMENTS[0]), prebuilt()
    assert code.size == len(blob.data)
    # 16-bit code up to the first address of 32-bit code; data from 0x180 on.
    assert code.data[:0x22] == blob.data[:0x22]
    assert code.data[0x180:] == blob.data[0x180:]
    for name in ("boot_params_phys_addr", "kernel_phys_addr", "tgdt", "pgtable", "extra_directory"):
        assert code.symbols[name] - TRAMPOLINE_BASE == blob.symbols[name]
    # What is gone is the room before 32-bit and 64-bit code.
    assert blob.symbols["startup_64"] - (code.symbols["startup_64"] - TRAMPOLINE_BASE) == 10


def test_what_stands_between() -> None:
    plain, more = built(SEGMENTS[0]), built(SEGMENTS[0], between="\tnop\n")
    end = plain.symbols["part_end"] - TRAMPOLINE_BASE
    assert more.data[end] == 0x90
    assert plain.data[end] != 0x90


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(StopIteration):
        trampoline.around("no such line", SEGMENTS[1])


def test_a_cpu_goes_through_it_into_the_kernel() -> None:
    ran = run(built(SEGMENTS[0]), trampoline.place())
    assert trampoline.arrived(ran)
    assert ran.cpu == trampoline.CPU
    assert ran.machine.cpus[0].owner == "host"
    machine = trampoline.at(ran, "part_end")
    assert machine is not None
    registers = machine.registers(trampoline.CPU)
    assert (registers.cs.selector, registers.ds.selector, registers.rsp) == (0x9600, 0x9600, 0x1204)
    assert registers.linear_rip == ran.code.symbols["part_end"]


def test_a_part_that_never_ends() -> None:
    ran = run(built(SEGMENTS[0], "1: jmp 1b\n"), trampoline.place())
    assert ran.endless
    assert not trampoline.arrived(ran)
    assert trampoline.at(ran, "part_end") is None
    assert ran.line(ran.registers.linear_rip) == 1
