"""What the engine executes, counts and keeps apart."""

import json
import struct
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.machine.engine import native_cpuid, probe_context
from mklab.machine.machine import Machine
from mklab.machine.registers import GPRS, RFLAGS, Registers, Segment
from mklab.machine.schedule import RoundRobin
from mklab.trace import AbsentAccess, Delivered, Fault, Halted
from tests.machine.guestcode import (
    CODE,
    DATA,
    PAGE_TABLE,
    RAM,
    STACK,
    assemble,
    load,
    long_mode,
    long_mode_registers,
    protected_registers,
    real_mode,
    real_mode_registers,
)

DE, UD, GP, PF = 0, 6, 13, 14
GIB = 1 << 30


def run_raw(code: bytes, registers: Registers | None = None) -> Machine:
    """A machine in 64-bit mode that has run ``code`` to its end."""
    machine, _ = long_mode("hlt")
    machine.poke(CODE, code)
    machine.patch_registers(0, registers or machine.registers(0))
    machine.run()
    return machine


# Exact budgets


@dataclass(frozen=True)
class Piece:
    """Bytes of 64-bit code, and how many instructions it executes."""

    code: bytes
    count: int


def loop(times: int, body: list[Piece]) -> Piece:
    """mov $times, %ebp; body; dec %ebp; jnz body"""
    inside = b"".join(piece.code for piece in body)
    back = struct.pack("<i", -(len(inside) + 8))
    code = b"\xbd" + struct.pack("<I", times) + inside + b"\xff\xcd\x0f\x85" + back
    return Piece(code, 1 + times * (sum(piece.count for piece in body) + 2))


def hexed(text: str, count: int = 1) -> Piece:
    return Piece(bytes.fromhex(text), count)


PLAIN = st.sampled_from(
    [
        hexed("48ffc0"),  # inc %rax
        hexed("4801c3"),  # add %rax, %rbx
        hexed("480fafc3"),  # imul %rbx, %rax
        hexed("4831d8"),  # xor %rbx, %rax
        hexed("50"),  # push %rax
        hexed("4883c410"),  # add $16, %rsp: the stack stays near
        hexed("4c01042500e00000"),  # add %r8, DATA
        hexed("4889042508e00000"),  # mov %rax, DATA + 8
        hexed("0f31"),  # rdtsc: the time is part of the result
        hexed("49ffc0 90 90", 3),  # inc %r8; nop; nop
        hexed("e800000000 58", 2),  # call the next; pop %rax
        hexed("eb02 0f0b"),  # jmp over a ud2
        hexed("9c 58", 2),  # pushf; pop %rax
        # Stores into its own block: an immediate two instructions on, the byte behind, a jump's distance.
        hexed("c6050200000005 90 b0ff", 3),  # movb $5, 3(%rip); nop; mov $0xff, %al -> $5
        hexed("c6050100000040 b77f", 2),  # movb $0x40, 1(%rip): the next instruction's immediate
        hexed("66c7050000000089d8 89c0", 2),  # movw $.., (%rip): the next instruction itself becomes mov %ebx, %eax
    ]
)
REPEATED = st.integers(0, 9).map(
    # mov $DATA + 0x100, %edi; mov $n, %ecx; rep stosb
    lambda n: Piece(b"\xbf\x00\xe1\x00\x00\xb9" + struct.pack("<I", n) + b"\xf3\xaa", 3 + n)
)
SELF_LOOP = st.integers(1, 9).map(lambda n: Piece(b"\xb9" + struct.pack("<I", n) + b"\xe2\xfe", 1 + n))
"""mov $n, %ecx; loop ."""
BODY = st.lists(PLAIN | REPEATED | SELF_LOOP, min_size=1, max_size=6)
PROGRAM = st.lists(PLAIN | REPEATED | SELF_LOOP | st.builds(loop, st.integers(1, 5), BODY), min_size=1, max_size=8)


def start(code: bytes) -> Machine:
    machine, _ = long_mode("hlt", schedule=RoundRobin(100_000))
    machine.poke(CODE, code)
    return machine


@settings(max_examples=60)
@given(PROGRAM, st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_run_in_pieces_is_a_run_in_one_piece(program: list[Piece], budgets: list[int]) -> None:
    """Stopped anywhere, the CPU goes on as if it had not been; and every instruction counts once."""
    code = b"".join(piece.code for piece in program) + b"\xf4"
    expected = sum(piece.count for piece in program) + 1
    whole, pieces = start(code), start(code)
    assert whole.run().reason == "idle"
    assert whole.time == expected
    used = 0
    for budget in budgets * (expected // sum(budgets) + 1):
        stop = pieces.run(budget)
        used += budget
        assert (pieces.time, stop.reason) == ((used, "budget") if used <= expected else (expected, "idle"))
        if used >= expected:
            break
    assert pieces.registers(0) == whole.registers(0)
    assert pieces.memory.read(0, RAM) == whole.memory.read(0, RAM)


ALU = ["add", "adc", "sub", "sbb", "cmp", "and", "or", "xor", "test", "imul", "bt", "xadd"]
ONE_OPERAND = ["inc", "dec", "neg", "mul", "shl $1,", "shr $3,", "sar $2,", "rol $1,", "rcr $1,", "popcnt %rsi,"]
NUMBERS = st.sampled_from([0, 1, 2, 4, 0x44, 0x7FFFFFFFFFFFFFFF, 1 << 63, (1 << 64) - 1]) | st.integers(0, 1 << 63)
REGISTER = st.sampled_from(["%rax", "%rbx", "%rcx"])
FLAGGING = st.builds("{} {}, {}".format, st.sampled_from(ALU), REGISTER, REGISTER) | st.builds(
    "{} {}".format, st.sampled_from(ONE_OPERAND), REGISTER
)
BROKEN_OFF = {
    "a page fault": "movb $1, 0x40000000",
    "a division by zero": "divq 0xf000(,%r15)",
    "a descriptor beyond its table": "mov %r14w, %ds",
    "a breakpoint": "int3",
    "an undefined instruction": "ud2",
    "a REP that faults in the middle": "mov $0x3fffff00, %edi; mov $4096, %ecx; rep stosb",
    "a store into its own block": "movb $0x40, 1f+1(%rip); 1: mov $0x7f, %bh",
}


@settings(max_examples=60)
@given(
    st.lists(FLAGGING, min_size=1, max_size=4),
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.sampled_from([*BROKEN_OFF]),
)
def test_flags_are_kept_where_an_instruction_is_broken_off(before: list[str], numbers: list[int], why: str) -> None:
    """What its handler is given, or who comes after it, are the flags that PUSHF reads without it."""
    setting = "; ".join(
        [f"movabs ${n}, {name}" for n, name in zip(numbers, ("%rax", "%rbx", "%rcx"), strict=True)] + before
    )
    handlers = (
        "hlt; vector_e: vector_d: mov 0x18(%rsp), %rdi; hlt; vector_0: vector_3: vector_6: mov 0x10(%rsp), %rdi; hlt"
    )
    plain, _ = long_mode(f"{setting}; pushf; pop %rdi; hlt")
    broken, _ = long_mode(f"mov $0x7777, %r14d; {setting}; {BROKEN_OFF[why]}; pushf; pop %rdi; {handlers}")
    plain.run()
    broken.run()
    assert hex(broken.registers(0).rdi & ~RFLAGS.RF) == hex(plain.registers(0).rdi)


@pytest.mark.parametrize(("count", "executed"), [(0, 1), (1, 2), (5, 6), (300, 301)])
def test_each_iteration_of_rep_counts_and_the_last_look(count: int, executed: int) -> None:
    machine, _ = long_mode(f"mov ${count}, %ecx; mov ${DATA}, %edi; mov $7, %eax; rep stosb; hlt")
    machine.run()
    assert machine.time == 3 + executed + 1
    assert machine.memory.read(DATA, count + 1) == b"\x07" * count + b"\0"


def test_a_rep_after_a_loop_that_left_the_same_count() -> None:
    """RCX tells an iteration from a restart; what another instruction left in it must not."""
    machine, _ = long_mode(f"mov $5, %ecx; 1: loop 1b; mov $5, %ecx; mov ${DATA}, %edi; rep stosb; hlt")
    machine.run()
    assert machine.time == 1 + 5 + 2 + 6 + 1


def test_rep_stops_within_and_goes_on() -> None:
    machine, _ = long_mode(f"mov $9, %ecx; mov ${DATA}, %edi; mov $7, %eax; rep stosb; hlt")
    assert machine.run(3 + 4).reason == "budget"
    assert (machine.registers(0).rcx, machine.memory.read(DATA, 9)) == (5, b"\x07" * 4 + bytes(5))
    assert machine.run().reason == "idle"
    assert machine.memory.read(DATA, 10) == b"\x07" * 9 + b"\0"


@pytest.mark.parametrize("source", ["1: jmp 1b", "1: xor %ecx, %ecx; 2: jrcxz 2b", "xor %ecx, %ecx; 1: loop 1b"])
def test_an_instruction_that_jumps_to_itself_uses_its_budget(source: str) -> None:
    machine, _ = long_mode(source)
    assert machine.run(1000).reason == "budget"
    assert machine.time == 1000


def test_hlt_as_the_last_of_a_budget_halts() -> None:
    machine, _ = long_mode("nop; hlt; nop", schedule=RoundRobin(2))
    assert machine.step() is None
    assert [event.time for event in machine.trace.of(Halted)] == [2]


def test_a_store_into_its_own_block_counts_once_and_takes_effect() -> None:
    """movb $5 over the immediate of the next instruction."""
    machine = run_raw(bytes.fromhex("c6050100000005 b0ff f4"))
    assert (machine.time, machine.registers(0).rax) == (3, 5)


CHANGING = "mov $1f, %eax; .rept 8; add %cl, (%rax); .endr; 1:"
"""Nine instructions; eight store into their own block, so that those which follow run one by one."""


def test_int_1_behind_code_that_changes() -> None:
    """It is a trap, not the end of a step."""
    machine, _ = long_mode(f"{CHANGING} int $1; hlt; vector_1: mov $7, %edx; hlt")
    machine.run()
    assert (machine.time, machine.registers(0).rdx) == (9 + 1 + 2, 7)


def test_pushf_behind_code_that_changes() -> None:
    machine, _ = long_mode(f"{CHANGING} pushf; pop %rdx; hlt")
    machine.run()
    assert (machine.time, machine.registers(0).rdx & RFLAGS.TF) == (9 + 3, 0)


# The clock, CPUID


def test_rdtsc_counts_instructions() -> None:
    machine, _ = long_mode(
        "nop; movabs $0xffffffff00000000, %rax; mov %rax, %rdx; rdtsc; mov %rax, %rsi; mov %rdx, %rdi; nop; rdtsc; hlt"
    )
    machine.time = (5 << 32) + 100
    machine.run()
    after = machine.registers(0)
    assert (after.rsi, after.rdi) == (104, 5), "the upper halves are cleared"
    assert after.rax == 108


def test_rdtsc_after_a_stop_goes_on_where_it_was() -> None:
    machine, _ = long_mode("rdtsc; mov %rax, %rsi; nop; nop; rdtsc; hlt")
    while machine.run(1).reason == "budget":
        pass
    assert (machine.registers(0).rsi, machine.registers(0).rax) == (1, 5)


def test_rdtscp_is_not_there() -> None:
    """CPUID does not offer it; so #UD."""
    machine, _ = long_mode("rdtscp; vector_6: hlt")
    machine.run()
    assert [event.vector for event in machine.trace.of(Fault)] == [UD]


def test_cpuid_on_each_cpu() -> None:
    machine = Machine(cpus=3, ram=RAM, apic_ids=[9, 0, 77])
    other, _ = long_mode("hlt")
    machine.poke(0, other.memory.read(0, 0x40000))
    load(machine, assemble("mov $-1, %rax; mov $-1, %rbx; mov $-1, %rcx; mov $-1, %rdx; mov $1, %eax; cpuid; hlt"))
    for cpu in range(3):
        machine.patch_registers(cpu, long_mode_registers(stack=STACK - 0x100 * cpu))
    machine.run()
    answers = [machine.registers(cpu) for cpu in range(3)]
    assert [answer.rbx >> 24 for answer in answers] == [9, 0, 77], "32 bits: the upper halves are cleared"
    assert {answer.rbx >> 16 & 0xFF for answer in answers} == {3}
    assert {answer.rax for answer in answers} == {native_cpuid()[1, 0][0]}
    assert all(value < 1 << 32 for answer in answers for value in (answer.rcx, answer.rdx))


# Exceptions


@pytest.mark.parametrize(
    ("source", "vector", "error", "cr2"),
    [
        ("xor %ecx, %ecx; bad: div %ecx", DE, None, 0),
        ("bad: ud2", UD, None, 0),
        ("bad: int3", 3, None, 0),
        ("mov $0x7ff8, %eax; bad: mov %ax, %ds", GP, 0x7FF8, 0),
        ("movabs $0x8000000000000000, %rax; bad: mov (%rax), %rbx", GP, 0, 0),
        ("bad: mov 0x40001234, %eax", PF, 0, 0x40001234),
        ("bad: movb $1, 0x40001234", PF, 2, 0x40001234),
        ("mov $0x40001000, %eax; jmp *%rax", PF, 0, 0x40001000),
    ],
)
def test_exceptions(source: str, vector: int, error: int | None, cr2: int) -> None:
    machine, code = long_mode(f"{source}\nvector_{vector:x}: hlt")
    machine.run()
    (fault,) = machine.trace.of(Fault)
    assert (fault.vector, fault.error, fault.cr2) == (vector, error, cr2)
    rip = code.symbols.get("bad", 0x40001000) + (1 if vector == 3 else 0)
    assert fault.rip == rip, "a fault stands at its instruction, a trap behind it"
    assert machine.memory.read_u64(machine.registers(0).rsp + (8 if error is not None else 0)) == rip


def test_a_fault_counts_as_an_instruction_begun_and_can_be_tried_again() -> None:
    """The handler maps the page, and goes back."""
    machine, _ = long_mode(
        f"""
        mov 0x180010, %rbx
        hlt
        vector_e: movl $0x100007, {PAGE_TABLE + 0x180 * 8}
        add $8, %rsp
        iretq
        """
    )
    machine.poke(PAGE_TABLE + 0x180 * 8, bytes(8))
    machine.poke(0x100010, b"found it")
    machine.run()
    assert machine.registers(0).rbx.to_bytes(8, "little") == b"found it"
    assert machine.time == 1 + 3 + 1 + 1


@pytest.mark.parametrize("way", ["", "count"])
def test_int_14_is_no_page_fault(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where CR2 says that the page behind it is missing."""
    monkeypatch.setenv("MKLAB_ENGINE", way)
    machine, _ = long_mode("lea 1f(%rip), %rax; mov %rax, %cr2; int $14; 1: inc %rbx; hlt; vector_e: inc %rcx; iretq")
    machine.run()
    assert (machine.registers(0).rcx, machine.registers(0).rbx, machine.time) == (1, 1, 7)


@pytest.mark.parametrize("way", ["", "count"])
def test_into_is_a_trap_within_its_block(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine leaves the block there, with RIP behind the instruction."""
    monkeypatch.setenv("MKLAB_ENGINE", way)
    machine = Machine(1, ram=RAM)
    code = ".code16; mov $0x7f, %al; add $1, %al; into; inc %ebx; hlt; over: inc %ecx; iret"
    found = load(machine, assemble(code))
    machine.poke(4 * 4, struct.pack("<HH", found.symbols["over"], 0))
    machine.patch_registers(0, real_mode_registers())
    machine.run()
    assert (machine.registers(0).rcx, machine.registers(0).rbx, machine.time) == (1, 1, 7)


def test_one_fault_after_another() -> None:
    """Each is a first one; the engine's own idea of double faults is put out of the way."""
    machine, _ = long_mode("ud2; ud2; mov 0x40000000, %eax; hlt; vector_6: addq $2, (%rsp); iretq; vector_e: hlt")
    machine.run()
    assert [event.vector for event in machine.trace.of(Delivered)] == [UD, UD, PF]


# Memory where none is


def test_absent_memory_reads_0_and_writes_vanish() -> None:
    machine, _ = long_mode("mov $-1, %rax; mov 0x30000000, %eax; movl $5, 0x30000008; mov 0x30000008, %ebx; hlt")
    machine.run()
    assert (machine.registers(0).rax, machine.registers(0).rbx) == (0, 0)
    seen = [(event.address, event.write) for event in machine.trace.of(AbsentAccess)]
    assert seen == [(0x30000000, False), (0x30000008, True), (0x30000008, False)]


def test_between_two_banks_of_ram_there_is_nothing() -> None:
    machine = Machine(1, ram=[(0, 1 << 20), (5 * GIB, 4096)])
    machine.poke(CODE, bytes.fromhex("a1 00001000") + bytes.fromhex("f4"))  # mov 0x100000, %eax; hlt
    machine.patch_registers(0, protected_registers())
    machine.run()
    assert [event.address for event in machine.trace.of(AbsentAccess)] == [0x100000]


def test_code_cannot_run_where_nothing_is() -> None:
    machine, _ = long_mode("mov $0x30000000, %eax; jmp *%rax")
    stop = machine.run()
    assert stop.reason == "reset"
    assert "CPU 0 shut down: it fetched an instruction at 0x30000000, where there is no memory" in stop.detail


# Several CPUs on one engine


def test_cpus_do_not_see_each_others_registers() -> None:
    """General, SSE, x87 and debug registers, MSRs and page tables, while both run a few instructions at a time."""
    source = """
    {label}: mov ${value}, %ebx
    movq %rbx, %xmm5
    mov %rbx, %dr0
    fninit
    mov %rbx, {data}
    fildl {data}
    mov $0xc0000102, %ecx
    mov %ebx, %eax
    xor %edx, %edx
    wrmsr
    mov $200, %esi
    1: dec %esi
    jnz 1b
    movq %xmm5, %r8
    mov %dr0, %r9
    fistpl {data} + 8
    mov {data} + 8, %r10d
    rdmsr
    mov %eax, %r11d
    hlt
    """
    values = [0x1111, 0x2222, 0x3333]
    text = "".join(
        source.format(label=f"cpu{cpu}", value=value, data=DATA + 0x100 * cpu) for cpu, value in enumerate(values)
    )
    machine, _ = long_mode(text, cpus=3, schedule=RoundRobin(7))
    machine.run()
    for cpu, value in enumerate(values):
        after = machine.registers(cpu)
        assert [after.rbx, after.r8, after.r9, after.r10, after.r11] == [value] * 5


@pytest.mark.parametrize("turns", range(1, 12))
def test_a_cpu_that_is_not_entered_shows_the_same_registers(turns: int) -> None:
    """Flags too, which the engine works out when it is asked for them."""
    source = "sub $3, %eax; shl $1, %edx; std; adc %rax, %rdx; imul %eax, %ecx; cld; sti; add $0x7fffffff, %eax; cli"
    machine, _ = long_mode(f"cpu0: {source}; jmp cpu0; cpu1: {source}; jmp cpu1", cpus=2, schedule=RoundRobin(turns))
    machine.run(7 * turns)
    engine = machine.engine
    engine.enter(0)
    running, waiting = engine.registers(0), engine.registers(1)
    engine.enter(1)
    assert engine.registers(1) == waiting
    assert engine.registers(0) == running


def test_each_cpu_has_its_own_page_tables() -> None:
    """After a switch no translation of the other CPU is left."""
    text = "".join(f"cpu{n}: mov $40, %ecx; 1: mov 0x30000, %rax; loop 1b; hlt\n" for n in range(2))
    machine, _ = long_mode(text, cpus=2, schedule=RoundRobin(5))
    machine.poke(0x60000, machine.memory.read(0x20000, 0x5000))
    for address, value in ((0x60000, 0x61007), (0x61000, 0x62007), (0x62000, 0x63007), (0x63000 + 0x30 * 8, 0x50007)):
        machine.poke(address, struct.pack("<Q", value))
    machine.poke(0x30000, b"cpu zero")
    machine.poke(0x50000, b"cpu one.")
    registers = machine.registers(1)
    registers.cr3 = 0x60000
    machine.patch_registers(1, registers)
    machine.run()
    assert [machine.registers(cpu).rax.to_bytes(8, "little") for cpu in range(2)] == [b"cpu zero", b"cpu one."]


# Code that changes

FIRST, SECOND = bytes.fromhex("b801000000c3"), bytes.fromhex("b802000000c3")
"""mov $1, %eax; ret and mov $2, %eax; ret"""


def resume(machine: Machine) -> None:
    """Let CPU 0, which has halted, go on."""
    machine.patch_registers(0, machine.registers(0))
    machine.run()


@pytest.mark.parametrize(
    ("linear", "physical"),
    [
        pytest.param(0x30000, 0x30000, id="mapped to itself"),
        pytest.param(0x30000, 0x100000, id="mapped elsewhere"),
        pytest.param(0x30000, 5 * GIB, id="above 4 GiB"),
    ],
)
def test_python_writes_code_that_has_run(linear: int, physical: int) -> None:
    """Through a call, so that more than one block is stale."""
    source = f"call {linear}; mov %eax, %esi; hlt; call {linear}; mov %eax, %edi; hlt"
    template, _code = long_mode(source)
    machine = Machine(1, ram=[(0, RAM), (5 * GIB, 0x10000)])
    machine.poke(0, template.memory.read(0, 0x30000))
    machine.patch_registers(0, long_mode_registers())
    machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<Q", physical | 7))
    machine.poke(physical, FIRST)
    machine.run()
    machine.memory.write(physical, SECOND)
    resume(machine)
    assert (machine.registers(0).rsi, machine.registers(0).rdi) == (1, 2)


def test_python_writes_the_second_page_of_a_block() -> None:
    """The block began in the page before, at an instruction whose immediate lies in both."""
    machine, _ = long_mode("call 0x2fff0; mov %eax, %esi; hlt; call 0x2fff0; mov %eax, %edi; hlt")
    machine.poke(0x2FFF0, b"\x90" * 13 + FIRST)
    machine.run()
    machine.memory.write(0x30000, b"\x07")
    resume(machine)
    assert (machine.registers(0).rsi, machine.registers(0).rdi) == (1, 0x70001)


def test_restored_memory_is_what_runs() -> None:
    machine, _ = long_mode("call 0x30000; mov %eax, %esi; hlt; call 0x30000; mov %eax, %edi; hlt")
    machine.poke(0x30000, SECOND)
    second = machine.memory.state()
    machine.poke(0x30000, FIRST)
    machine.run()
    machine.memory.restore(second)
    resume(machine)
    assert (machine.registers(0).rsi, machine.registers(0).rdi) == (1, 2)


@pytest.mark.parametrize("writer", [0, 1])
def test_a_guests_store_into_code_that_a_cpu_has_run(writer: int) -> None:
    """CPU 0 runs the code first; then it, or CPU 1, changes it."""
    source = f"""
    cpu0: call 0x30000
    mov %eax, %esi
    {"movb $2, 0x30001" if writer == 0 else ""}
    movl $1, {DATA}
    1: pause
    cmpl $2, {DATA}
    jne 1b
    call 0x30000
    mov %eax, %edi
    hlt
    cpu1: 1: pause
    cmpl $1, {DATA}
    jne 1b
    {"movb $2, 0x30001" if writer == 1 else ""}
    movl $2, {DATA}
    hlt
    """
    machine, _ = long_mode(source, cpus=2, schedule=RoundRobin(10))
    machine.poke(0x30000, FIRST)
    machine.run()
    assert (machine.registers(0).rsi, machine.registers(0).rdi) == (1, 2)


# Registers

NUMBERS = st.integers(0, 2**64 - 1)
GENERAL = st.fixed_dictionaries(dict.fromkeys(GPRS, NUMBERS))
MODES = {
    "real": lambda: real_mode_registers(),
    "real, segment 0x9600": lambda: real_mode_at(0x9600),
    "16-bit protected": lambda: protected_registers(bits=16),
    "32-bit protected": lambda: protected_registers(),
    "compatibility": lambda: compatibility(),
    "64-bit": lambda: long_mode_registers(),
    "64-bit, CPL 3": lambda: user(),
}


def real_mode_at(segment: int) -> Registers:
    registers = real_mode_registers(CODE - segment % 0x100)
    registers.cs = Segment(segment, segment << 4, 0xFFFF, 0x9B00)
    return registers


def compatibility() -> Registers:
    registers = long_mode_registers()
    registers.cs = Segment(0x08, 0, 0xFFFFFFFF, 0xC09B00)
    return registers


def user() -> Registers:
    registers = long_mode_registers()
    registers.cs = Segment(0x2B, 0, 0xFFFFFFFF, 0xA0FB00)
    registers.ss = Segment(0x23, 0, 0xFFFFFFFF, 0xC0F300)
    return registers


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=15)
@given(general=GENERAL, flags=st.integers(0, 0xFFF), cr2=NUMBERS, shadow=st.booleans())
def test_registers_come_back(mode: str, general: dict[str, int], flags: int, cr2: int, shadow: bool) -> None:
    registers = MODES[mode]()
    for name, value in general.items():
        setattr(registers, name, value)
    registers.rflags = flags & 0xED5 | 2  # the flags that exist, without TF
    registers.cr2, registers.shadow = cr2, shadow
    machine = two_cpus()
    machine.engine.set_registers(0, registers)
    machine.engine.set_registers(1, Registers())
    assert machine.registers(0) == registers


def two_cpus() -> Machine:
    if "machine" not in _CACHE:
        _CACHE["machine"] = Machine(cpus=2, ram=1 << 20)
    return _CACHE["machine"]


_CACHE: dict[str, Machine] = {}


@pytest.mark.parametrize("mode", ["real", "real, segment 0x9600", "16-bit protected", "32-bit protected"])
def test_16_and_32_bit_code_runs_as_such(mode: str) -> None:
    """66 B8: a 32-bit immediate in 16-bit code, a 16-bit one in 32-bit code."""
    registers = MODES[mode]()
    machine = Machine(1, ram=RAM)
    wide = registers.cs.big
    # In 32-bit code: mov $0x1111, %ax; dec %eax; dec %edx; hlt. In 16-bit code: mov $0x484a1111, %eax; hlt.
    machine.poke(registers.linear_rip, bytes.fromhex("66b811114a48f4"))
    registers.rax = 0xAAAAAAAA
    machine.patch_registers(0, registers)
    machine.run()
    assert machine.registers(0).rax == (0xAAAA1110 if wide else 0x484A1111)
    assert machine.registers(0).cs == registers.cs


@pytest.mark.parametrize(("mode", "rax"), [("compatibility", 0xFFFFFFFF), ("64-bit", 5 << 32)])
def test_64_bit_and_compatibility_code_runs_as_such(mode: str, rax: int) -> None:
    """48 FF C8: dec %rax; in 32-bit code dec %eax twice, of which only 32 bits are left."""
    registers = MODES[mode]()
    registers.rax = (5 << 32) + 1
    machine = run_raw(bytes.fromhex("48ffc8 f4"), registers)
    assert machine.registers(0).rax == rax


def test_cpl_3_is_cpl_3() -> None:
    machine, _ = long_mode("cli; vector_d: hlt")
    registers = user()
    machine.poke(0x1804, struct.pack("<Q", STACK))
    machine.patch_registers(0, registers)
    machine.run()
    assert [event.vector for event in machine.trace.of(Fault)] == [GP]


def test_32_bit_segments_with_a_base_are_added() -> None:
    """ADDSEG, which the engine leaves out for flat segments: bases other than 0 must bring it back."""
    machine = Machine(1, ram=RAM)
    machine.poke(CODE, bytes.fromhex("8b06 36 8b1e f4"))  # mov (%esi), %eax; mov %ss:(%esi), %ebx; hlt
    machine.poke(0x30010, struct.pack("<I", 0x1234))
    machine.poke(0x40010, struct.pack("<I", 0x5678))
    registers = protected_registers()
    registers.ds = Segment(0x18, 0x30000, 0xFFFFFFFF, 0xC09300)
    registers.ss = Segment(0x18, 0x40000, 0xFFFFFFFF, 0xC09300)
    registers.rsi = 0x10
    machine.patch_registers(0, registers)
    machine.run()
    assert (machine.registers(0).rax, machine.registers(0).rbx) == (0x1234, 0x5678)


def test_a_16_bit_stack_wraps_and_a_32_bit_one_does_not() -> None:
    """The B bit of SS."""
    for big, rsp in ((False, 0x0001FFFE), (True, 0x0000FFFE)):
        machine = Machine(1, ram=RAM)
        machine.poke(CODE, bytes.fromhex("6650 f4"))  # push %ax; hlt
        registers = protected_registers()
        if not big:
            registers.ss = Segment(0x48, 0, 0xFFFF, 0x9300)
        registers.rsp = 0x10000
        machine.patch_registers(0, registers)
        machine.run()
        assert machine.registers(0).rsp == (rsp if big else 0x1FFFE), "of a 16-bit stack only SP changes"


def test_hidden_flags_are_as_the_engine_makes_them() -> None:
    """The guest goes through the modes by itself; what we derive from its registers is what the engine has then."""
    machine, code = real_mode(
        """
        lgdtl table
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        ljmp $0x40, $protected
        protected: mov $0x48, %ax
        mov %ax, %ss
        mov %ax, %ds
        ljmpl $0x08, $wide
        .code32
        wide: mov $0x18, %eax
        mov %eax, %ss
        mov %eax, %ds
        mov %eax, %es
        mov $0x20, %eax
        mov %eax, %cr4
        mov $0x20000, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        or $0x100, %eax
        wrmsr
        mov $0x80000001, %eax
        mov %eax, %cr0
        ljmpl $0x10, $long
        .code64
        long: mov $0x6000, %esp
        pushq $0x23
        pushq $0x5000
        pushq $2
        pushq $0x2b
        pushq $user
        iretq
        user: mov $0x23, %eax
        mov %eax, %ds
        pushq $0x53
        pushq $compatible
        lretq
        .code32
        compatible: nop
        jmp .
        table: .word 0x67
        .long 0x1000
        """
    )
    template, _ = long_mode("hlt")
    for page in (0x1000, 0x20000, 0x21000, 0x22000, 0x23000):
        machine.poke(page, template.memory.read(page, 0x1000))
    seen = []
    while machine.run(1).reason == "budget" and machine.registers(0).linear_rip != code.symbols["compatible"] + 1:
        registers = machine.registers(0)
        before = hidden_flags(machine)
        machine.engine.set_registers(0, registers)
        assert hidden_flags(machine) == before, f"at {registers.linear_rip:#x}"
        seen.append((registers.mode, registers.cs.long, registers.cs.big, registers.cpl))
    assert list(dict.fromkeys(seen)) == [
        ("real", False, False, 0),
        ("protected", False, False, 0),
        ("protected", False, True, 0),
        ("long", False, True, 0),
        ("long", True, False, 0),
        ("long", True, False, 3),
        ("long", False, True, 3),
    ]


def hidden_flags(machine: Machine) -> int:
    """``hflags`` of the CPU that the engine holds, without bits that are a matter of speed only."""
    blob = machine.engine._save_scratch()
    flags: int = struct.unpack_from("<I", blob, probe_context().base + 176)[0]
    return flags


def test_the_rest_of_a_cpu_comes_back() -> None:
    """x87 with its stack top, SSE, debug registers and MSRs; and the code that goes on sees them."""
    source = f"""
    fninit
    fld1
    fldpi
    mov $0x3f800000, %eax
    movd %eax, %xmm3
    mov $0x1234, %eax
    mov %rax, %dr2
    mov $0xc0000100, %ecx
    mov $0x55, %edx
    wrmsr
    hlt
    fstpl {DATA}
    fstpl {DATA} + 8
    movq %xmm3, {DATA} + 16
    mov %dr2, %rsi
    rdmsr
    hlt
    """
    machine, _ = long_mode(source)
    machine.run()
    kept, registers = machine.engine.extended(0), machine.registers(0)
    other, _ = long_mode(source)
    other.engine.set_extended(0, kept)
    other.patch_registers(0, registers)
    assert other.engine.extended(0) == kept
    other.run()
    assert struct.unpack("<2d", other.memory.read(DATA, 16)) == (3.141592653589793, 1.0)
    assert other.memory.read(DATA + 16, 4) == struct.pack("<f", 1.0)
    after = other.registers(0)
    assert (after.rsi, after.rdx << 32 | after.rax) == (0x1234, 0x55_0000_1234)


def test_extended_state_is_plain_data() -> None:
    machine, _ = long_mode("hlt")
    kept: dict[str, Any] = machine.engine.extended(0)
    assert json.loads(json.dumps(kept)) == kept


def test_what_looking_at_an_instruction_raises_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may have to be intercepted is looked at by Python, in the fallback within the emulator's own frames."""

    def fail(*_: object) -> str:
        raise RuntimeError("out of order")

    machine, _ = long_mode("1: rdmsr; jmp 1b")
    monkeypatch.setattr("mklab.machine.engine.engine.decode", fail)
    with pytest.raises(RuntimeError, match="out of order"):
        machine.run(1000)
