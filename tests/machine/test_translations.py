"""Every translation is seen: or an instruction to be intercepted could slip through."""

import struct

import pytest

from mklab.machine.engine.translations import Translations
from mklab.machine.machine import Machine
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import Registers
from mklab.machine.schedule import RoundRobin
from mklab.trace import Fault
from tests.machine.guestcode import (
    CODE,
    PAGE_TABLE,
    RAM,
    long_mode,
    real_mode,
)

UNKNOWN = 0x12345
"""No such MSR: RDMSR gives #GP where it is intercepted, and 0 where the engine executes it."""
GP = 13


@pytest.fixture(params=["native", "count"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of counting look at what is translated, each in a way of its own."""
    if request.param == "count":
        monkeypatch.setenv("MKLAB_ENGINE", "count")


def faults(machine: Machine) -> list[int]:
    machine.run()
    return [event.rip for event in machine.trace.of(Fault) if event.vector == GP]


SOURCE = f"mov ${UNKNOWN}, %ecx\n"


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("bad: rdmsr; hlt", id="in the block that begins"),
        pytest.param("jmp bad; nop; bad: rdmsr; hlt", id="by a direct jump"),
        pytest.param("mov $3, %esi; 1: dec %esi; jz bad; jmp 1b; bad: rdmsr; hlt", id="by a chained jump"),
        pytest.param("mov $bad, %eax; jmp *%rax; nop; bad: rdmsr; hlt", id="by an indirect jump"),
        pytest.param("movl $0x9090320f, bad; bad: nop; nop; nop; nop; hlt", id="made by the instruction before"),
        pytest.param("call bad; movw $0x320f, bad; call bad; hlt; .balign 64; bad: nop; nop; ret", id="made in a call"),
        pytest.param("mov $3, %edi; 1: call bad; movw $0x320f, bad; dec %edi; jnz 1b; hlt;"
                     "bad: nop; nop; ret", id="made in a loop"),
        pytest.param("mov $0x320f, %eax; mov $bad, %edi; mov $1, %edx; mov %ecx, %ebx; mov $1, %ecx; rep stosw;"
                     "mov %ebx, %ecx; bad: nop; nop; hlt", id="made by REP STOS"),
        pytest.param("jmp bad; .byte 0xb8; bad: rdmsr; nop; nop; hlt", id="within another instruction"),
        pytest.param("xor %eax, %eax; jz 2f; 1: .byte 0xb8; 2: jmp bad; .byte 0;"
                     "bad: .byte 0x66, 0x48; rdmsr; hlt", id="with prefixes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("quantum", [1, 3, 1000])
def test_an_instruction_is_intercepted_however_it_is_reached(source: str, quantum: int) -> None:
    machine, code = long_mode(SOURCE + source + "\nvector_d: cli; hlt", schedule=RoundRobin(quantum))
    assert faults(machine) == [code.symbols["bad"]]


def test_a_block_that_crosses_a_page() -> None:
    """Between 0F and 32 one page ends; the next lies elsewhere in memory, and the linear neighbour holds NOPs."""
    machine, _ = long_mode(SOURCE + "jmp 0x2fff8; vector_d: cli; hlt")
    machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<Q", 0x100007))
    machine.poke(0x2FFF8, b"\x90" * 7 + b"\x0f")
    machine.poke(0x100000, b"\x32\xf4")
    assert faults(machine) == [0x2FFFF]


def test_code_that_python_writes() -> None:
    """Over code that has run, in a block that is reached from another one."""
    machine, _ = long_mode(SOURCE + "call 0x30000; sti; hlt; call 0x30000; hlt; vector_d: cli; hlt")
    machine.poke(0x30000, b"\x90\x90\xc3")
    assert faults(machine) == []
    machine.memory.write(0x30000, b"\x0f\x32")
    machine.patch_registers(0, machine.registers(0))
    assert faults(machine) == [0x30000]


def test_two_address_spaces() -> None:
    """At one linear address two CPUs see different code; only one of them reads an MSR."""
    text = "".join(
        f"cpu{n}: mov ${UNKNOWN}, %ecx; mov $9, %esi; 1: call 0x30000; dec %esi; jnz 1b; hlt\n" for n in (0, 1)
    )
    machine, _ = long_mode(text + "vector_d: cli; hlt", cpus=2, schedule=RoundRobin(5))
    machine.poke(0x60000, machine.memory.read(0x20000, 0x5000))
    for address, value in ((0x60000, 0x61007), (0x61000, 0x62007), (0x62000, 0x63007), (0x63000 + 0x30 * 8, 0x50007)):
        machine.poke(address, struct.pack("<Q", value))
    machine.poke(0x30000, b"\x90\x90\xc3")
    machine.poke(0x50000, b"\x0f\x32\xc3")
    registers = machine.registers(1)
    registers.cr3 = 0x60000
    machine.patch_registers(1, registers)
    machine.run()
    assert [(event.cpu, event.rip) for event in machine.trace.of(Fault)] == [(1, 0x30000)]
    assert machine.registers(0).rsi == 0


def test_a_store_of_another_cpu() -> None:
    source = f"""
    cpu0: mov ${UNKNOWN}, %ecx
    1: call 0x30000
    jmp 1b
    cpu1: mov $50, %ecx
    2: loop 2b
    movw $0x320f, 0x30000
    3: jmp 3b
    vector_d: cli
    hlt
    """
    machine, _ = long_mode(source, cpus=2, schedule=RoundRobin(7))
    machine.poke(0x30000, b"\x90\x90\xc3")
    machine.run(3000)
    assert [event.rip for event in machine.trace.of(Fault)] == [0x30000]


def test_in_real_mode_at_a_segment() -> None:
    """The place is a linear address, IP an offset."""
    machine, code = real_mode(f"ljmp $0x900, $0; .org 0x1000; mov ${UNKNOWN}, %ecx; rdmsr; hlt")
    machine.poke(13 * 4, struct.pack("<HH", 0x7F00, 0))
    machine.poke(0x7F00, b"\xf4")
    assert faults(machine) == [6]
    assert code.base == CODE


def test_places_that_are_too_many_are_forgotten_with_the_translations() -> None:
    """5,000 blocks, each with an OUT; and the RDMSR behind them is not missed."""
    machine, _ = long_mode(SOURCE + "mov $0x30000, %eax; jmp *%rax; vector_d: cli; hlt")
    machine.poke(0x30000, bytes.fromhex("e680 eb00") * 5000 + b"\x0f\x32")
    assert faults(machine) == [0x30000 + 20_000]
    assert machine.time == 3 + 10_000 + 1 + 2


def test_what_only_looks_like_one_is_left_alone() -> None:
    """0F 32 as an immediate; where it is an instruction in 32-bit code, its prefix 48 is DEC."""
    machine, _ = long_mode("mov $0x90320f, %eax; mov $0xcff1, %ebx; mov $0x300f300f, %edx; hlt")
    machine.run()
    assert machine.trace.of(Fault) == []
    assert (machine.registers(0).rax, machine.registers(0).rbx) == (0x90320F, 0xCFF1)


def test_candidates_of_a_block() -> None:
    """Every place from which the opcode could be reached over prefixes alone."""
    memory = PhysicalMemory([(0, RAM)])
    memory.write(CODE, bytes.fromhex("90 66 48 0f32 0f20c0 cf 40"))
    found = Translations(memory)
    found.translated(Registers(), CODE, 10)
    assert sorted(found.places) == [CODE + i for i in (1, 2, 3, 5, 8)]
