"""Instructions that are executed here, against the SDM's description of each."""

import struct

import pytest

from mklab.machine.instructions import Instruction, decode
from mklab.machine.machine import Machine
from mklab.machine.registers import CR0, CR4, EFER, RFLAGS, Registers, Segment
from mklab.machine.schedule import RoundRobin
from mklab.trace import Delivered, Fault
from tests.machine.guestcode import (
    CODE,
    RAM,
    STACK,
    TSS,
    Code,
    assemble,
    load,
    long_mode,
    long_mode_registers,
    protected_registers,
    real_mode,
)

DB, UD, GP = 1, 6, 13
EFER_MSR, STAR, LSTAR, FMASK = 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084
USER_CODE, USER_DATA = Segment(0x2B, 0, 0xFFFFFFFF, 0xA0FB00), Segment(0x23, 0, 0xFFFFFFFF, 0xC0F300)


def faults(machine: Machine) -> list[tuple[int, int | None]]:
    return [(event.vector, event.error) for event in machine.trace.of(Fault)]


def user(machine: Machine, code: Code) -> None:
    """CPU 0 stands at CPL 3 before the label ``user``, with a stack for CPL 0."""
    registers = long_mode_registers(code.symbols["user"], stack=STACK - 0x800, interrupts=True)
    registers.cs, registers.ss = USER_CODE, USER_DATA
    registers.efer |= EFER.SCE
    machine.poke(TSS + 4, struct.pack("<Q", STACK))
    machine.patch_registers(0, registers)


@pytest.mark.parametrize(
    ("code", "long", "expected"),
    [
        ("0f32", True, Instruction("rdmsr", 2)),
        ("0f30f4", False, Instruction("wrmsr", 2)),
        ("66 f3 0f30", True, Instruction("wrmsr", 4)),
        ("480f07", True, Instruction("sysret", 3, wide=True)),
        ("480f07", False, None),
        ("48 66 0f35", True, Instruction("sysexit", 4)),
        ("440f20c0", True, Instruction("mov from cr8", 4, operand=0)),
        ("450f22c7", True, Instruction("mov to cr8", 4, operand=15)),
        ("0f22c3", False, Instruction("mov to cr0", 3, operand=3)),
        ("0f2203", False, Instruction("mov to cr0", 3, operand=3)),
        ("0f22d8", True, None),
        ("0f20c0", True, None),
        ("0f22", True, None),
        ("f0 0f32", True, None),
        ("f1", True, Instruction("icebp", 1)),
        ("48cf", True, Instruction("iret", 2, wide=True)),
        ("e480", True, Instruction("port", 2, operand=0x80, size=1)),
        ("66e7ff", True, Instruction("port", 3, operand=0xFF, size=2)),
        ("48ed", True, Instruction("port in dx", 2, size=4)),
        ("f36e", False, Instruction("port in dx", 2, size=1)),
        ("e4", True, None),
        ("0f31", True, None),
        ("", True, None),
        ("66666666", True, None),
    ],
)
def test_decoding(code: str, long: bool, expected: Instruction | None) -> None:
    """SDM vol. 2: the opcodes; a REX prefix counts only before the opcode, and only in 64-bit code."""
    assert decode(bytes.fromhex(code), long) == expected


@pytest.mark.parametrize(("code", "size"), [("ef", 2), ("66ef", 4), ("ee", 1)])
def test_decoding_of_16_bit_code(code: str, size: int) -> None:
    assert decode(bytes.fromhex(code), False, False) == Instruction("port in dx", len(code) // 2, size=size)


# RDMSR and WRMSR


def test_rdmsr_and_wrmsr() -> None:
    """Both clear or ignore the upper halves; each counts as one instruction."""
    machine, _ = long_mode(
        "mov $-1, %rcx; mov $0xc0000082, %ecx; movabs $0x11111111ffff8000, %rdx; movabs $0x2222222233333333, %rax;"
        "wrmsr; mov $-1, %rax; mov $-1, %rdx; rdmsr; cli; hlt"
    )
    machine.run()
    after = machine.registers(0)
    assert (after.rax, after.rdx) == (0x33333333, 0xFFFF8000)
    assert machine.time == 10
    assert faults(machine) == []


@pytest.mark.parametrize("instruction", ["rdmsr", "wrmsr"])
@pytest.mark.parametrize("msr", [0x12345, 0x6E0, 0xC0000103, 0x802, 0xFFFFFFFF])
def test_an_unknown_msr(instruction: str, msr: int) -> None:
    """#GP(0) at the instruction, which changes nothing: no such register, no TSC deadline, no RDTSCP, not in x2APIC."""
    machine, code = long_mode(
        f"mov ${msr:#x}, %ecx; mov $5, %eax; mov $6, %edx; bad: {instruction}; vector_d: cli; hlt"
    )
    machine.run()
    (fault,) = machine.trace.of(Fault)
    assert (fault.vector, fault.error, fault.rip) == (GP, 0, code.symbols["bad"])
    assert (machine.registers(0).rax, machine.registers(0).rdx) == (5, 6)
    assert machine.time == 3 + 1 + 2, "a fault counts as an instruction begun"


@pytest.mark.parametrize("instruction", ["rdmsr", "wrmsr", "mov %cr8, %rax", "mov %rax, %cr8", "sysretq", "sysexit"])
def test_at_cpl_3(instruction: str) -> None:
    machine, code = long_mode(f"user: mov $0x1b, %ecx; {instruction}; vector_d: cli; hlt")
    machine.board.msrs[0].values[0x174] = 0x10
    user(machine, code)
    machine.run()
    assert faults(machine) == [(GP, 0)]


def test_in_real_mode() -> None:
    """#GP has no error code there, and IP is 16 bits."""
    machine, _ = real_mode("mov $0x10, %ecx; rdmsr; mov $0x12345, %ecx; rdmsr; nop")
    machine.poke(GP * 4, struct.pack("<HH", 0x7F00, 0))
    machine.poke(0x7F00, b"\xf4")
    machine.run()
    assert machine.registers(0).rax == 2
    assert machine.memory.read(machine.registers(0).rsp, 2) == (CODE + 14).to_bytes(2, "little")


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_budgets_are_exact_across_intercepted_instructions(budget: int) -> None:
    source = "mov $0xc0000082, %ecx; 1: inc %rax; wrmsr; rdmsr; mov %cr8, %rbx; inc %rdi; jmp 1b"
    machine, _ = long_mode(source, schedule=RoundRobin(3))
    whole, _ = long_mode(source, schedule=RoundRobin(3))
    for count in range(1, 20):
        assert machine.run(budget).reason == "budget"
        assert machine.time == count * budget
    whole.run(19 * budget)
    assert machine.registers(0) == whole.registers(0)


def test_an_intercepted_instruction_is_single_stepped_too() -> None:
    """TF: a #DB trap behind it, with DR6.BS."""
    machine, _ = long_mode(
        "mov $0x10, %ecx; mov $after, %ebx; pushf; orl $0x100, (%rsp); popf; rdmsr; after: nop; "
        "vector_1: mov %dr6, %rax; cli; hlt"
    )
    machine.run()
    (fault,) = machine.trace.of(Fault)
    assert (fault.vector, fault.rip) == (DB, machine.registers(0).rbx)
    assert machine.registers(0).rax & 1 << 14


def test_the_shadow_of_sti_lasts_for_one_intercepted_instruction() -> None:
    machine, code = long_mode(
        "mov $0xfee00000, %ebx; movl $0x40041, 0x300(%rbx); mov $0x10, %ecx; sti; rdmsr; after: nop; cli; "
        "hlt; vector_41: cli; hlt"
    )
    machine.run()
    assert [event.rip for event in machine.trace.of(Delivered)] == [code.symbols["after"]]


# CR8 and CR0


def test_cr8_is_the_upper_half_of_tpr() -> None:
    """SDM "Interaction of Task Priorities between CR8 and APIC"."""
    machine, _ = long_mode(
        "mov $0xfee00000, %ebx; mov $5, %r9d; mov %r9, %cr8; mov 0x80(%rbx), %esi; movl $0x7f, 0x80(%rbx); "
        "mov %cr8, %r10; hlt"
    )
    machine.run()
    assert (machine.registers(0).rsi, machine.registers(0).r10) == (0x50, 7)


def test_cr8_lets_an_interrupt_through() -> None:
    machine, code = long_mode(
        """
        mov $6, %eax
        mov %rax, %cr8
        sti
        mov $0xfee00000, %ebx
        movl $0x40061, 0x300(%rbx)
        nop
        mov $5, %eax
        mov %rax, %cr8
        open: nop
        cli
        hlt
        vector_61: cli
        hlt
        """
    )
    machine.run()
    assert [event.rip for event in machine.trace.of(Delivered)] == [code.symbols["open"]]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mov $0x10, %eax; mov %rax, %cr8", [(GP, 0)]),
        ("mov %cr0, %rax; btr $31, %rax; mov %rax, %cr0", [(GP, 0)]),
        ("mov %cr0, %rax; btr $0, %rax; mov %rax, %cr0", [(GP, 0)]),
        ("mov %cr0, %rax; bts $40, %rax; mov %rax, %cr0", [(GP, 0)]),
        ("mov %cr0, %rax; bts $29, %rax; mov %rax, %cr0", [(GP, 0)]),
        ("mov %cr0, %rax; bts $30, %rax; mov %rax, %cr0", []),
        ("mov %cr0, %r14; bts $3, %r14; mov %r14, %cr0; mov %cr0, %rax", []),
    ],
)
def test_what_cr8_and_cr0_refuse(source: str, expected: list[tuple[int, int | None]]) -> None:
    """SDM "MOV—Move to/from Control Registers": PG off in 64-bit code, PG without PE, the upper half, NW without CD."""
    machine, _ = long_mode(f"{source}; cli; hlt; vector_d: cli; hlt")
    before = machine.registers(0).cr0
    machine.run()
    assert faults(machine) == expected
    assert (machine.registers(0).cr0 == before) is bool(expected)


def test_paging_needs_pae_for_ia_32e_mode() -> None:
    machine = Machine(1, ram=RAM)
    load(machine, assemble(".code32\nmov %cr0, %eax; bts $31, %eax; mov %eax, %cr0; hlt"))
    registers = protected_registers()
    registers.efer = EFER.LME
    registers.idtr = Segment(limit=0)
    machine.patch_registers(0, registers)
    assert machine.run().reason == "reset"
    assert faults(machine)[0] == (GP, 0)


def test_icebp_is_a_debug_trap() -> None:
    """SDM "INT1": vector 1, RIP behind the one byte."""
    machine, code = long_mode(".byte 0xf1; after: nop; vector_1: cli; hlt")
    machine.run()
    (fault,) = machine.trace.of(Fault)
    assert (fault.vector, fault.error, fault.rip) == (DB, None, code.symbols["after"])


# System calls


def test_syscall_and_sysret() -> None:
    """CS and SS from STAR, RIP from LSTAR, RFLAGS into R11 and masked by FMASK; and back to CPL 3."""
    machine, code = long_mode(
        "user: mov $1, %edi; syscall; back: mov $2, %esi; syscall; kernel: nop; cmp $2, %esi; je 1f; sysretq; 1: hlt"
    )
    values = machine.board.msrs[0].values
    values[STAR], values[LSTAR], values[FMASK] = 0x18 << 48 | 0x10 << 32, code.symbols["kernel"], RFLAGS.IF
    user(machine, code)
    machine.run(2)
    entered = machine.registers(0)
    assert (entered.rip, entered.rcx) == (code.symbols["kernel"], code.symbols["back"])
    assert (entered.cs, entered.ss) == (Segment(0x10, 0, 0xFFFFFFFF, 0xA09B00), Segment(0x18, 0, 0xFFFFFFFF, 0xC09300))
    assert (entered.rflags & RFLAGS.IF, entered.r11 & RFLAGS.IF, entered.cpl) == (0, RFLAGS.IF, 0)
    assert entered.rsp == STACK - 0x800, "the stack stays"
    machine.run(5)
    left = machine.registers(0)
    assert (left.cs, left.ss, left.cpl) == (USER_CODE, USER_DATA, 3)
    assert left.rflags & RFLAGS.IF
    assert machine.run().reason == "idle"
    assert machine.registers(0).rsi == 2


def test_sysret_to_32_bit_code_and_to_a_bad_address() -> None:
    machine, code = long_mode("mov $0x1234, %r11d; movabs $0xffff000000000000, %rcx; bad: sysretq; vector_d: sysretl")
    registers = long_mode_registers()
    registers.efer |= EFER.SCE
    machine.board.msrs[0].values[STAR] = 0x50 << 48
    machine.patch_registers(0, registers)
    machine.run(4)
    assert [(event.vector, event.rip) for event in machine.trace.of(Fault)] == [(GP, code.symbols["bad"])]
    after = machine.registers(0)
    assert (after.rip, after.cs, after.ss.selector) == (0, Segment(0x53, 0, 0xFFFFFFFF, 0xC0FB00), 0x5B)
    assert after.rflags == 0x1234 & 0x3C7FD7 | RFLAGS.ONE


@pytest.mark.parametrize("instruction", ["syscall", "sysretq"])
def test_system_calls_need_efer_sce(instruction: str) -> None:
    machine, _ = long_mode(f"{instruction}; vector_6: cli; hlt")
    machine.run()
    assert faults(machine) == [(UD, None)]


def test_sysenter_and_sysexit() -> None:
    """SDM "SYSENTER", "SYSEXIT": CS from the MSR, SS 8 on; back to +32 and +40 with REX.W, IF is cleared."""
    machine, code = long_mode(
        "user: sysenter; nop; kernel: mov $back, %edx; mov $0x6000, %ecx; .byte 0x48; sysexit; back: nop; jmp back"
    )
    machine.board.msrs[0].values.update({0x174: 0x10, 0x175: 0x6800, 0x176: code.symbols["kernel"]})
    user(machine, code)
    machine.run(1)
    entered = machine.registers(0)
    assert (entered.rip, entered.rsp, entered.cpl) == (code.symbols["kernel"], 0x6800, 0)
    assert (entered.cs, entered.ss) == (Segment(0x10, 0, 0xFFFFFFFF, 0xA09B00), Segment(0x18, 0, 0xFFFFFFFF, 0xC09300))
    assert not entered.rflags & RFLAGS.IF
    machine.run(3)
    left = machine.registers(0)
    assert (left.rip, left.rsp, left.cpl) == (code.symbols["back"], 0x6000, 3)
    assert (left.cs, left.ss) == (Segment(0x33, 0, 0xFFFFFFFF, 0xA0FB00), Segment(0x3B, 0, 0xFFFFFFFF, 0xC0F300))


def test_sysenter_and_sysexit_in_32_bit_code() -> None:
    machine = Machine(1, ram=RAM)
    code = load(machine, assemble(".code32\nsysenter; kernel: mov $0x8100, %edx; mov $0x6000, %ecx; sysexit"))
    machine.board.msrs[0].values.update({0x174: 8, 0x175: 0x6800, 0x176: code.symbols["kernel"]})
    machine.patch_registers(0, protected_registers())
    machine.run(1)
    entered = machine.registers(0)
    assert (entered.rip, entered.rsp) == (code.symbols["kernel"], 0x6800)
    assert (entered.cs, entered.ss) == (Segment(8, 0, 0xFFFFFFFF, 0xC09B00), Segment(0x10, 0, 0xFFFFFFFF, 0xC09300))
    machine.run(3)
    left = machine.registers(0)
    assert (left.rip, left.rsp, left.cs.selector, left.ss.selector, left.cpl) == (0x8100, 0x6000, 0x1B, 0x23, 3)
    assert (left.cs.flags, left.ss.flags) == (0xC0FB00, 0xC0F300)


@pytest.mark.parametrize("instruction", ["sysenter", "sysexit"])
def test_they_need_a_selector(instruction: str) -> None:
    machine, _ = long_mode(f"{instruction}; vector_d: cli; hlt")
    machine.run()
    assert faults(machine) == [(GP, 0)]


def test_swapgs_and_the_msrs_agree() -> None:
    machine, _ = long_mode(
        """
        mov $0xc0000102, %ecx
        mov $0x1111, %eax
        xor %edx, %edx
        wrmsr
        dec %ecx
        mov $0x2222, %eax
        wrmsr
        swapgs
        rdmsr
        mov %eax, %esi
        inc %ecx
        rdmsr
        mov %eax, %edi
        mov %gs:0, %rbp
        cli
        hlt
        """
    )
    machine.poke(0x1111, b"at 1111.")
    machine.run()
    after = machine.registers(0)
    assert (after.rsi, after.rdi, after.gs.base) == (0x1111, 0x2222, 0x1111)
    assert after.rbp.to_bytes(8, "little") == b"at 1111."


# The time stamp counter


def test_the_time_stamp_counter_can_be_written() -> None:
    """And goes on from there, on this CPU alone."""
    machine, _ = long_mode(
        "mov $0x10, %ecx; mov $1000, %eax; mov $7, %edx; wrmsr; nop; rdtsc; mov %eax, %esi; mov %edx, %edi; rdmsr; hlt;"
        "cpu1: nop; rdtsc; hlt",
        cpus=2,
        schedule=RoundRobin(100),
    )
    machine.run()
    after = machine.registers(0)
    assert (after.rsi, after.rdi, after.rax) == (1002, 7, 1005)
    assert machine.registers(1).rax == 10 + 2


@pytest.mark.parametrize(("tsd", "expected"), [(True, [(GP, 0)]), (False, [])])
def test_cr4_tsd_keeps_rdtsc_from_cpl_3(tsd: bool, expected: list[tuple[int, int]]) -> None:
    machine, code = long_mode("user: rdtsc; 1: jmp 1b; vector_d: cli; hlt")
    user(machine, code)
    registers = machine.registers(0)
    registers.cr4 |= CR4.TSD if tsd else 0
    machine.patch_registers(0, registers)
    machine.run(50)
    assert faults(machine) == expected


def test_cr4_tsd_lets_cpl_0_read_it() -> None:
    machine, _ = long_mode("rdtsc; cli; hlt")
    registers = machine.registers(0)
    registers.cr4 |= CR4.TSD
    machine.patch_registers(0, registers)
    machine.run()
    assert faults(machine) == []
    assert machine.registers(0).rax == 1
    assert registers.cr0 & CR0.PG
    assert isinstance(registers, Registers)
