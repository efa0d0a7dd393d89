"""Random hostile programs: run with native counting and stopped anywhere, they do what single steps do.

The reference counts another way (Unicorn's ``count``) and executes one instruction at a time.
"""

import itertools
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.registers import Registers
from mklab.machine.schedule import RoundRobin
from mklab.trace import Slice, Trace
from tests.machine.guestcode import (
    CODE,
    DATA,
    IDT,
    PAGE_TABLE,
    RAM,
    assemble,
    gate,
    long_mode,
    long_mode_registers,
    protected_registers,
    real_mode_registers,
)

PROGRAMS = 500
STEPS = 120
HANDLERS, FUNCTION, ABSENT = 0xC000, 0xC800, 0xD000
FRAME = {8: True, 10: True, 11: True, 12: True, 13: True, 14: True}
"""Vectors that push an error code."""
HANDLER_SOURCE = """
error: add $8, %rsp
fault: inc %r14
mov %r13, (%rsp)
iretq
trap: incq 0xe800
iretq
interrupt: incq 0xe808
movl $0, 0xb0(%r15)
iretq
"""
"""A fault goes on at R13; a trap and an interrupt go on where they came from."""

ANY = """
inc %eax
add %eax, %edx; xor %edx, %esi; rol $7, %esi
adc %esi, %eax; sbb %edx, %eax; cmovc %esi, %edx
lea 5(%eax, %edx, 2), %esi; bswap %esi; neg %esi
push %ax; pop %dx
pushf; pop %si; add %esi, %eax
std; cld; stc; cmc
test $1, %al; jz 1f; inc %edx; inc %edx; 1: dec %esi
mov $6, %ecx; 1: add %ecx, %eax; dec %ecx; jnz 1b
mov $4, %ecx; 1: loop 1b
xor %ecx, %ecx; jmp 1f; ud2; 1: nop
nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop
mov %ss, %ecx; mov %ecx, %ss; inc %eax; inc %edx
mov %ss, %ecx; push %cx; sti; mov %ecx, %ss; cli; pop %cx
mov $5, %ecx; rep lodsb
sti; inc %eax; cli
sti; cli; inc %eax
out %al, $0x80; inc %eax; in $0x61, %al
rdtsc
.byte 0x0f, 0x21, 0xf6
"""
"""Code for every mode; a line is a fragment. Its widths differ from mode to mode; the last line reads DR6."""

LONG = """
mov %rax, (%rbx); add %r8, 8(%rbx); lock xadd %r9, 0xffc(%rbx); mov 0xff9(%rbx), %rdx
push %rax; pop %r8; pushq (%rbx); popq 0xff8(%rbx)
xchg %rax, 16(%rbx); cmpxchg %r9, 24(%rbx); incl 32(%rbx)
lea 0x2f8(%rbx), %rdi; lea (%rbx), %rsi; mov $5, %ecx; rep movsb
lea 0x2f8(%rbx), %rdi; xor %ecx, %ecx; rep stosq
lea 0x2f8(%rbx), %rdi; mov $3, %ecx; repne scasb
lea 0x2f8(%rbx), %rdi; lea (%rbx), %rsi; movsq; stosb; lodsl
pushfq; pop %rax; add %rax, (%rbx)
pushfq; popfq; inc %r8
pushfq; orq $0x100, (%rsp); popfq; inc %r8; inc %r9; mov %eax, 40(%rbx); pushfq; andq $~0x100, (%rsp); popfq; nop
pushfq; orq $0x200, (%rsp); popfq; nop; cli
mov $0xc800, %r11d; call *%r11; inc %r8
lea 1f(%rip), %r11; push %r11; ret; ud2; 1: inc %r9
lea 1f(%rip), %r13; mov 0xd010, %rax; 1: inc %r9
lea 1f(%rip), %r13; inc %r8; mov %rax, 0xcffc; 1: inc %r9
lea 1f(%rip), %r13; add %rax, 0xd010; nop; 1: inc %r9
lea 1f(%rip), %r13; xor %ecx, %ecx; inc %r8; div %ecx; inc %r8; 1: inc %r9
lea 1f(%rip), %r13; inc %r8; ud2; 1: inc %r9
lea 1f(%rip), %r13; mov $0xcff8, %r11d; jmp *%r11; 1: inc %r9
lea 1f(%rip), %r13; mov $0x12345, %ecx; inc %r8; rdmsr; 1: inc %r9
lea 1f(%rip), %r13; mov $0x7ff8, %ecx; mov %ecx, %ds; 1: inc %r9
int $0x40; inc %r8
inc %r8; int3; inc %r8
.byte 0xf1; inc %r8
mov $0xc0000080, %ecx; rdmsr; inc %r8; wrmsr
mov $0xc0000102, %ecx; mov %r8d, %eax; wrmsr; swapgs; rdmsr; swapgs
mov %cr0, %rcx; inc %r8; mov %rcx, %cr0; inc %r9
mov %cr3, %rcx; inc %r8; mov %rcx, %cr3; inc %r9
mov %cr8, %rcx; inc %r8; mov %rcx, %cr8
mov %rsp, %rdx; pushq $0x18; push %rdx; pushfq; pushq $0x10; lea 1f(%rip), %r11; push %r11; iretq; 1: inc %r8
mov %rax, %r8; mov %rbx, %r11; xor %eax, %eax; inc %r9; cpuid; mov %r11, %rbx
mov 0x20(%r15), %eax; inc %r8; mov 0x390(%r15), %edx
inc %r9; mov %eax, 0xd0(%r15); inc %r8; inc %r9
movl $0x40041, 0x300(%r15); inc %r8; inc %r9
sti; inc %r8; movl $0x40041, 0x300(%r15); inc %r8; inc %r9; cli; nop
movl $0x40041, 0x300(%r15); inc %r8; sti; inc %r9; inc %r9; cli
movl $9, 0x380(%r15); sti; inc %r8; inc %r8; inc %r8; inc %r8; inc %r8; inc %r8; inc %r8; cli
addl $1, 0xd0(%r15); inc %r8
lea 0xd0(%r15), %rdi; lea (%rbx), %rsi; mov $2, %ecx; rep movsl
pop %r11; push %r11; pop 0xd0(%r15); push %r11
mov 0x30000000, %eax; inc %r8; movl $5, 0x30000000; inc %r9
lea 0x20(%r15), %rsi; mov $0x30000000, %edi; inc %r8; movsl; inc %r9
mov $0x3f8, %edx; inc %r8; out %al, (%dx); inc %r9; in (%dx), %al; inc %r9
movb %al, 1f + 1(%rip); inc %r8; 1: mov $0x11223344, %eax
xorb $0xf6, 1f(%rip); inc %r8; 1: .byte 0x66, 0x90
inc %r9; movb $5, 1f - 1(%rip); 1: inc %r8
mov $0x9c, %eax; movb %al, 1f(%rip); inc %r8; 1: nop; pop %rax; push %rax; movb $0x90, 1b(%rip)
mov $0xc801, %r11d; movb %al, (%r11); call 2f; jmp 3f; 2: mov $0xc800, %r11d; jmp *%r11; 3: inc %r8
lea 1f(%rip), %rdi; mov $0x90, %al; mov $3, %ecx; nop; 1: rep stosb; nop; nop; movw $0xaaf3, 1b(%rip)
lea 1f(%rip), %rdi; mov $0x90, %al; mov $5, %ecx; jmp 1f; nop; 1: nop; nop; nop; 2: rep stosb; movw $0xaaf3, 2b(%rip)
mov $1, %ecx; jrcxz 1f; inc %r8; 1: inc %r9
inc %r8; hlt
"""
"""64-bit code: faults, traps, interrupts, devices, and stores into the code that runs."""

MODES = ("long", "32-bit", "16-bit", "real")


def fragments(text: str, directive: str) -> list[bytes]:
    lines = [line for line in text.strip().splitlines() if line]
    if directive != ".code64":
        lines = [line for line in lines if "push %cx" not in line or directive == ".code16"]
    source = "".join(f"f{i}: {line}\n" for i, line in enumerate(lines))
    code = assemble(f"{directive}\n{source}\nf{len(lines)}:", base=0)
    at = [code.symbols[f"f{i}"] for i in range(len(lines) + 1)]
    return [code.data[a:b] for a, b in itertools.pairwise(at)]


@pytest.fixture(scope="module")
def pieces() -> dict[str, list[bytes]]:
    return {
        "long": fragments(ANY + LONG, ".code64"),
        "32-bit": fragments(ANY, ".code32"),
        "16-bit": fragments(ANY, ".code16"),
        "real": fragments(ANY, ".code16"),
    }


def prepare(mode: str, code: bytes, start: int, chance: int, quantum: int) -> tuple[Machine, Registers]:
    """A machine and the registers with which CPU 0 begins to execute ``code`` at ``start``.

    With a small ``quantum`` the CPU has an owner, so that slices run in a row.
    """
    machine, _ = long_mode("hlt", schedule=RoundRobin(quantum))
    if quantum < STEPS:
        machine.add_image(Image("host", [[0, RAM]], CODE))
    handlers = assemble(HANDLER_SOURCE, base=HANDLERS)
    machine.poke(HANDLERS, handlers.data)
    for vector in range(32):
        name = "error" if FRAME.get(vector) else "trap" if vector in (1, 3) else "fault"
        machine.poke(IDT + 16 * vector, gate(handlers.symbols[name]))
    machine.poke(IDT + 16 * 0x40, gate(handlers.symbols["trap"]))
    machine.poke(IDT + 16 * 0x41, gate(handlers.symbols["interrupt"]))
    machine.poke(FUNCTION, bytes.fromhex("b801020304 6690 48034308 49ffc2 c3"))
    machine.poke(PAGE_TABLE + 8 * (ABSENT >> 12), bytes(8))
    machine.poke(ABSENT - 8, bytes.fromhex("48ffc3 48ffc0 9090"))  # inc %rbx; inc %rax; nop; nop; and the page ends
    machine.poke(start, code)
    machine.apics[0].write(0x3E0, 0xB)
    machine.apics[0].write(0x320, 0x41)
    make = {
        "long": lambda: long_mode_registers(start),
        "32-bit": lambda: protected_registers(start),
        "16-bit": lambda: protected_registers(start, bits=16),
        "real": lambda: real_mode_registers(start),
    }
    registers = make[mode]()
    registers.rbx, registers.r15, registers.rsi = DATA, 0xFEE00000, DATA
    registers.rax = chance
    machine.patch_registers(0, registers)
    return machine, registers


def program(mode: str, pieces: list[bytes], dice: random.Random) -> tuple[bytes, int]:
    """Fragments in a row, and a jump back to the first; it may begin before a page's end."""
    code = b"".join(dice.choice(pieces) for _ in range(dice.randrange(3, 25)))
    wide = mode in ("long", "32-bit")
    back = -(len(code) + (5 if wide else 3))
    code += struct.pack("<Bi", 0xE9, back) if wide else struct.pack("<Bh", 0xE9, back)
    return code, dice.choice((CODE, 0x8F00 + dice.randrange(0x100), 0x9000 - dice.randrange(1, 40)))


def seen(machine: Machine) -> dict[str, Any]:
    registers = machine.registers(0)
    return {
        "time": machine.time,
        **registers.to_dict(),
        "debug": machine.engine.extended(0)["debug"],
        "state": machine.cpus[0].state,
    }


def events(trace: Trace) -> list[str]:
    kept = (event.to_dict() for event in trace if not isinstance(event, Slice))
    return [json.dumps({**event, "seq": 0}) for event in kept if event["kind"] != "Input"]


def both(mode: str, pieces: list[bytes], seed: int, patch: pytest.MonkeyPatch) -> Iterator[tuple[Machine, Machine]]:
    """The two machines, each time that both have come to the same instruction."""
    dice = random.Random(seed)
    code, start = program(mode, pieces, dice)
    chance = dice.getrandbits(32)
    quantum = dice.randrange(1, 20) if seed % 2 else 100_000
    native, _ = prepare(mode, code, start, chance, quantum)
    with patch.context() as context:
        context.setenv("MKLAB_ENGINE", "count")
        single, _ = prepare(mode, code, start, chance, quantum)
    assert native.engine.native
    assert not single.engine.native
    while native.time < STEPS:
        native.run(dice.choice((1, 1, 2, 3, dice.randrange(1, 40), dice.randrange(1, 200))))
        while single.time < native.time:
            if single.run(1).reason != "budget":
                break
        yield native, single
        if native.idle:
            # HLT: let it go on.
            for machine in (native, single):
                if machine.stopped:
                    return
                machine.patch_registers(0, machine.registers(0))


@pytest.mark.parametrize("group", range(20))
def test_hostile_programs(group: int, pieces: dict[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(group, PROGRAMS, 20):
        mode = MODES[seed % 10 % 7 if seed % 10 in (1, 2, 3) else 0]
        machines = None
        for native, single in both(mode, pieces[mode], seed, monkeypatch):
            machines = native, single
            assert seen(native) == seen(single), f"seed {seed}, {mode}"
        assert machines is not None
        native, single = machines
        assert events(native.trace) == events(single.trace), f"seed {seed}, {mode}"
        assert native.memory.read(0, RAM) == single.memory.read(0, RAM), f"seed {seed}, {mode}"
