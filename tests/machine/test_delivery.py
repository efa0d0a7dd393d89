"""Interrupts and exceptions through guest tables, held against SDM vol. 3, "Interrupt and Exception Handling".

The guest comes back from its handlers by IRET, which the engine executes by itself: a frame that it takes is one that
hardware would have pushed.
"""

import struct
from dataclasses import dataclass

import pytest

from mklab.machine.delivery import TripleFaultError, deliver, error_code_of
from mklab.machine.machine import Machine
from mklab.machine.registers import RFLAGS, Segment
from mklab.trace import Delivered, Fault, PlatformReset, Shutdown
from tests.machine.guestcode import (
    CODE,
    DATA,
    GDT,
    IDT,
    PAGE_TABLE,
    STACK,
    TSS,
    Code,
    assemble,
    gate,
    load,
    long_mode,
    long_mode_registers,
    real_mode,
)

DE, NMI, UD, DF, TS, NP, SS, GP, PF = 0, 2, 6, 8, 10, 11, 12, 13, 14
ALL = "".join(f"vector_{vector:x}: hlt\n" for vector in (DE, NMI, UD, DF, TS, NP, SS, GP, PF))
USER_CODE, USER_DATA = 0x2B, 0x23


@dataclass
class Frame:
    """What a handler finds on its stack."""

    rip: int
    cs: int
    rflags: int
    rsp: int
    ss: int


def frame(machine: Machine, *, error: bool = False) -> Frame:
    rsp = machine.registers(0).rsp + 8 * error
    return Frame(*struct.unpack("<5Q", machine.memory.read(rsp, 40)))


def error_code(machine: Machine) -> int:
    return machine.memory.read_u64(machine.registers(0).rsp)


def vectors(machine: Machine) -> list[int]:
    return [event.vector for event in machine.trace.of(Delivered)]


def set_gate(machine: Machine, vector: int, data: bytes) -> None:
    machine.poke(IDT + 16 * vector, data)


def to_user(machine: Machine, code: Code, label: str = "user") -> None:
    """Let CPU 0 stand at ``label`` at CPL 3; RSP0 is STACK."""
    registers = long_mode_registers(code.symbols[label], stack=0x6000)
    registers.cs = Segment(USER_CODE, 0, 0xFFFFFFFF, 0xA0FB00)
    registers.ss = registers.ds = registers.es = Segment(USER_DATA, 0, 0xFFFFFFFF, 0xC0F300)
    machine.poke(TSS + 4, struct.pack("<Q", STACK))
    machine.patch_registers(0, registers)


class TestSamePrivilege:
    """64-bit mode, CPL 0."""

    @pytest.mark.parametrize("misalignment", [0, 1, 7, 8, 15])
    def test_the_frame_and_the_way_back(self, misalignment: int) -> None:
        """SS:RSP is always pushed, on a stack aligned to 16 bytes; IRETQ brings everything back."""
        machine, code = long_mode(
            """
            sub %rdi, %rsp
            stc
            int $0x40
            after: setc %bl
            mov %rsp, %rdx
            hlt
            vector_40: mov %rsp, %rsi
            clc
            iretq
            """
        )
        registers = machine.registers(0)
        registers.rdi = misalignment
        machine.patch_registers(0, registers)
        machine.run()
        after = machine.registers(0)
        assert after.rdx == STACK - misalignment
        assert after.rsi == (STACK - misalignment) // 16 * 16 - 40
        assert after.rbx == 1, "the flags are back"
        pushed = struct.unpack("<5Q", machine.memory.read(after.rsi, 40))
        assert pushed[:2] == (code.symbols["after"], 0x10)
        assert pushed[3:] == (STACK - misalignment, 0x18)
        assert vectors(machine) == [0x40]

    @pytest.mark.parametrize(("kind", "kept"), [(0xE, False), (0xF, True)], ids=["interrupt gate", "trap gate"])
    def test_flags(self, kind: int, kept: bool) -> None:
        """An interrupt gate clears IF, a trap gate does not; both clear TF, NT, RF and VM."""
        machine, code = long_mode("int $0x40; hlt; vector_40: hlt", interrupts=True)
        set_gate(machine, 0x40, gate(code.symbols["vector_40"], kind=kind))
        registers = machine.registers(0)
        registers.rflags |= RFLAGS.NT | RFLAGS.DF | 1
        machine.patch_registers(0, registers)
        machine.run()
        assert frame(machine).rflags & 0xFFFF == RFLAGS.ONE | RFLAGS.IF | RFLAGS.NT | RFLAGS.DF | 1
        expected = RFLAGS.ONE | RFLAGS.DF | 1 | (RFLAGS.IF if kept else 0)
        assert machine.registers(0).rflags == expected

    def test_an_int_pushes_the_next_instruction_and_a_fault_its_own(self) -> None:
        machine, code = long_mode("int $0x40; fault: ud2; hlt; vector_40: iretq\n" + ALL)
        machine.run()
        assert vectors(machine) == [0x40, UD]
        assert frame(machine).rip == code.symbols["fault"]
        assert [event.rip for event in machine.trace.of(Delivered)] == [CODE + 2, CODE + 2]
        assert [(event.vector, event.error) for event in machine.trace.of(Fault)] == [(0x40, None), (UD, None)]

    @pytest.mark.parametrize("ist", [1, 7])
    def test_ist(self, ist: int) -> None:
        """The stack of the TSS is taken whatever the CPL; offset 36 + 8 for each (SDM "64-Bit TSS")."""
        machine, code = long_mode("int $0x40; hlt; vector_40: mov %rsp, %rsi; iretq")
        set_gate(machine, 0x40, gate(code.symbols["vector_40"], ist=ist))
        machine.poke(TSS + 36 + 8 * (ist - 1), struct.pack("<Q", 0x5008))
        machine.run()
        after = machine.registers(0)
        assert (after.rsi, after.rsp) == (0x5000 - 40, STACK)

    def test_a_frame_across_two_pages_that_lie_apart(self) -> None:
        machine, code = long_mode("int $0x40; after: mov $1, %ebx; hlt; vector_40: iretq")
        machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<2Q", 0x50007, 0x40007))
        registers = machine.registers(0)
        registers.rsp = 0x31010
        machine.patch_registers(0, registers)
        machine.run()
        assert machine.registers(0).rbx == 1
        assert machine.registers(0).rsp == 0x31010
        assert machine.memory.read_u64(0x50FE8) == code.symbols["after"]
        assert machine.memory.read_u64(0x40008) == 0x18

    def test_the_shadow_is_over_in_the_handler(self) -> None:
        registers = long_mode_registers()
        machine, _code = long_mode("hlt; vector_2: hlt")
        registers.shadow = True
        assert not deliver(machine.memory, registers, NMI, None, "nmi").registers.shadow


class TestPrivilege:
    """From CPL 3 inwards."""

    def test_the_stack_comes_from_the_tss_and_iretq_goes_back(self) -> None:
        """SS is loaded with a null selector whose RPL is the new CPL."""
        machine, code = long_mode(
            """
            user: mov $5, %ebx
            int $0x40
            mov %cs, %ecx
            mov %ss, %edx
            mov %rsp, %rdi
            int $0x41
            vector_40: mov %cs, %eax
            mov %ss, %ebp
            mov %rsp, %rsi
            iretq
            vector_41: hlt
            """
        )
        for vector in (0x40, 0x41):
            set_gate(machine, vector, gate(code.symbols[f"vector_{vector:x}"], dpl=3))
        to_user(machine, code)
        machine.run()
        after = machine.registers(0)
        assert (after.rax, after.rbp, after.rsi) == (0x10, 0, STACK - 40), "in the handler"
        assert (after.rcx, after.rdx, after.rdi) == (USER_CODE, USER_DATA, 0x6000), "back again"
        assert (frame(machine).cs, frame(machine).rsp, frame(machine).ss) == (USER_CODE, 0x6000, USER_DATA)

    def test_int_needs_the_gates_leave(self) -> None:
        """INT n: #GP(vector * 8 + 2) where the gate's DPL is below CPL."""
        machine, code = long_mode("user: int $0x40; vector_40: hlt\n" + ALL)
        to_user(machine, code)
        machine.run()
        assert vectors(machine) == [GP]
        assert error_code(machine) == 0x40 * 8 + 2
        assert frame(machine, error=True).rip == code.symbols["user"], "of the INT itself"
        assert machine.registers(0).cpl == 0

    def test_an_exception_needs_none(self) -> None:
        machine, code = long_mode("user: ud2\n" + ALL)
        to_user(machine, code)
        machine.run()
        assert vectors(machine) == [UD]

    def test_hlt_is_not_for_users(self) -> None:
        machine, code = long_mode("user: hlt\n" + ALL)
        to_user(machine, code)
        machine.run()
        assert vectors(machine) == [GP]
        assert error_code(machine) == 0

    def test_conforming_code_keeps_the_privilege(self) -> None:
        machine, code = long_mode("user: ud2\nvector_6: mov %cs, %eax; mov %rsp, %rsi; int $0x41; vector_41: hlt")
        set_gate(machine, UD, gate(code.symbols["vector_6"], selector=0x58))
        set_gate(machine, 0x41, gate(code.symbols["vector_41"], dpl=3))
        to_user(machine, code)
        machine.run()
        assert (machine.registers(0).rax, machine.registers(0).rsi) == (0x5B, 0x6000 - 40)

    def test_a_tss_that_ends_too_early(self) -> None:
        """#TS with the selector of the TSS; EXT, since the program did not ask for the event."""
        machine, code = long_mode("user: ud2\nvector_a: hlt")
        to_user(machine, code)
        registers = machine.registers(0)
        registers.tr.limit = 4 + 8 * 4 - 1
        machine.patch_registers(0, registers)
        set_gate(machine, UD, gate(code.symbols["vector_a"], ist=1))
        set_gate(machine, TS, gate(code.symbols["vector_a"]))
        machine.run()
        assert vectors(machine) == [TS]
        assert error_code(machine) == 0x30 + 1

    def test_compatibility_mode_and_back(self) -> None:
        """A 32-bit program is interrupted by 64-bit code, and goes on as a 32-bit one."""
        machine, code = long_mode(
            """
            .code32
            user: mov $0x12345678, %eax
            int $0x40
            .byte 0x48              /* 32-bit code: dec %eax; 64-bit code: a prefix of what follows */
            mov %ecx, %ecx
            int $0x41
            .code64
            vector_40: mov $7, %r9d
            iretq
            vector_41: hlt
            """
        )
        for vector in (0x40, 0x41):
            set_gate(machine, vector, gate(code.symbols[f"vector_{vector:x}"], dpl=3))
        to_user(machine, code)
        registers = machine.registers(0)
        registers.cs = Segment(0x53, 0, 0xFFFFFFFF, 0xC0FB00)
        machine.patch_registers(0, registers)
        machine.run()
        assert (machine.registers(0).rax, machine.registers(0).r9) == (0x12345677, 7)
        assert vectors(machine) == [0x40, 0x41]


class TestBadTables:
    """What a wrong gate or descriptor raises, and with which error code; for INT n, EXT is clear."""

    @pytest.mark.parametrize(
        ("entry", "vector", "error"),
        [
            pytest.param(gate(CODE, present=False), NP, 0x40 * 8 + 2, id="gate not present"),
            pytest.param(gate(CODE, kind=0x5), GP, 0x40 * 8 + 2, id="task gate"),
            pytest.param(gate(CODE, kind=0xC), GP, 0x40 * 8 + 2, id="call gate"),
            pytest.param(bytes(16), GP, 0x40 * 8 + 2, id="zeros"),
            pytest.param(gate(CODE, selector=0), GP, 0, id="null selector"),
            pytest.param(gate(CODE, selector=0x1F8), GP, 0x1F8, id="beyond the GDT"),
            pytest.param(gate(CODE, selector=0x18), GP, 0x18, id="data segment"),
            pytest.param(gate(CODE, selector=0x30), GP, 0x30, id="system segment"),
            pytest.param(gate(CODE, selector=0x08), GP, 0x08, id="32-bit code"),
            pytest.param(gate(CODE, selector=0x28), GP, 0x28, id="outer code"),
            pytest.param(gate(CODE, selector=0x60), NP, 0x60, id="code not present"),
        ],
    )
    def test_int(self, entry: bytes, vector: int, error: int) -> None:
        machine, _code = long_mode("int $0x40\n" + ALL)
        set_gate(machine, 0x40, entry)
        machine.run()
        assert (vectors(machine), error_code(machine)) == ([vector], error)
        assert frame(machine, error=True).rip == CODE, "the INT can be tried again"

    def test_beyond_the_limit(self) -> None:
        machine, _code = long_mode("int $0x40\n" + ALL)
        registers = machine.registers(0)
        registers.idtr.limit = 0x40 * 16 + 14
        machine.patch_registers(0, registers)
        machine.run()
        assert (vectors(machine), error_code(machine)) == ([GP], 0x40 * 8 + 2)

    def test_ext_marks_what_the_program_did_not_ask_for(self) -> None:
        machine, _code = long_mode("ud2\n" + ALL)
        set_gate(machine, UD, gate(CODE, present=False))
        machine.run()
        assert (vectors(machine), error_code(machine)) == ([NP], UD * 8 + 2 + 1)

    def test_a_stack_that_is_not_mapped(self) -> None:
        """#PF with CR2 where the push fails: a store by the supervisor, page not present. Here it doubles nothing."""
        machine, code = long_mode("int $0x40\nvector_40: hlt\n" + ALL)
        set_gate(machine, PF, gate(code.symbols["vector_e"], ist=1))
        machine.poke(TSS + 36, struct.pack("<Q", STACK))
        machine.poke(PAGE_TABLE + 0x30 * 8, bytes(8))
        registers = machine.registers(0)
        registers.rsp = 0x30800
        machine.patch_registers(0, registers)
        machine.run()
        assert (vectors(machine), error_code(machine)) == ([PF], 2)
        assert machine.registers(0).cr2 == 0x30800 - 8, "of the first push"
        assert frame(machine, error=True).rsp == 0x30800

    def test_a_stack_that_is_not_canonical(self) -> None:
        machine, code = long_mode("int $0x40\nvector_40: hlt\n" + ALL)
        set_gate(machine, SS, gate(code.symbols["vector_c"], ist=1))
        machine.poke(TSS + 36, struct.pack("<Q", STACK))
        registers = machine.registers(0)
        registers.rsp = 1 << 47 | 0x1000
        machine.patch_registers(0, registers)
        machine.run()
        assert (vectors(machine), error_code(machine)) == ([SS], 0)


class TestWhatItLeaves:
    """Traces of delivery in memory, which a guest may look at."""

    def test_faults_save_rf(self) -> None:
        """SDM "Instruction-Breakpoint Exception Condition": RF is set in what a fault pushes, and in nothing else."""
        machine, _code = long_mode("int $0x40; ud2; hlt; vector_40: iretq\n" + ALL)
        machine.run()
        assert vectors(machine) == [0x40, UD]
        assert frame(machine).rflags & RFLAGS.RF
        for kind in ("software", "interrupt", "nmi"):
            entered = deliver(machine.memory, long_mode_registers(), 0x40, None, kind).registers
            assert not machine.memory.read_u64(entered.rsp + 16) & RFLAGS.RF
        for vector, fault in ((DE, True), (1, False), (3, False), (4, False), (7, True), (DF, False), (18, False)):
            set_gate(machine, vector, gate(CODE))
            error = error_code_of(vector, 0, False)
            entered = deliver(machine.memory, long_mode_registers(), vector, error, "exception").registers
            at = entered.rsp + 16 + 8 * (error is not None)
            assert bool(machine.memory.read_u64(at) & RFLAGS.RF) == fault, vector

    def test_iret_takes_rf_away_again(self) -> None:
        """RF lasts for one instruction; as nothing looks at it in between, registers never show it."""
        machine, _code = long_mode("ud2; hlt; vector_6: addq $2, (%rsp); orl $0x10000, 16(%rsp); iretq")
        machine.run()
        assert machine.registers(0).rip == CODE + 3
        assert not machine.registers(0).rflags & RFLAGS.RF

    def test_accessed_and_dirty_bits(self) -> None:
        machine, _code = long_mode("int $0x40; vector_40: hlt")
        machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<2Q", 0x30007, 0x31007))
        registers = long_mode_registers(stack=0x31000)
        before = {page: machine.memory.read_u64(PAGE_TABLE + page * 8) for page in (IDT >> 12, 0x30, 0x31)}
        deliver(machine.memory, registers, 0x40, None, "software")
        after = {page: machine.memory.read_u64(PAGE_TABLE + page * 8) for page in before}
        assert [after[page] & ~before[page] for page in before] == [0x20, 0x60, 0]

    def test_the_code_segment_is_marked_as_accessed(self) -> None:
        machine, _code = long_mode("hlt; vector_40: hlt")
        machine.poke(GDT + 0x15, b"\x9a")
        entered = deliver(machine.memory, long_mode_registers(), 0x40, None, "interrupt").registers
        assert machine.memory.read(GDT + 0x15, 1) == b"\x9b"
        assert entered.cs.flags == 0xA09B00

    def test_a_handler_at_cpl_3_pushes_as_a_user(self) -> None:
        """Conforming code runs at the CPL that it interrupts, and so does the push: #PF with bit 2."""
        machine, _code = long_mode("hlt; vector_40: hlt\n" + ALL)
        set_gate(machine, 0x40, gate(CODE, selector=0x58, dpl=3))
        machine.poke(PAGE_TABLE + 0x30 * 8, struct.pack("<Q", 0x30003))
        registers = long_mode_registers(stack=0x31000)
        registers.cs = Segment(USER_CODE, 0, 0xFFFFFFFF, 0xA0FB00)
        registers.ss = Segment(USER_DATA, 0, 0xFFFFFFFF, 0xC0F300)
        machine.poke(TSS + 4, struct.pack("<Q", STACK))
        entered = deliver(machine.memory, registers, 0x40, None, "software")
        assert [(fault.vector, fault.error) for fault in entered.faults] == [(PF, 7)]


BENIGN, CONTRIBUTORY = (1, UD, 16, 19), (DE, TS, NP, SS, GP)


class TestDoubleFault:
    """SDM, table "Conditions for Generating a Double Fault"."""

    @pytest.mark.parametrize("first", [*BENIGN, *CONTRIBUTORY, PF])
    @pytest.mark.parametrize("second", [NP, GP, PF])
    def test_the_table(self, first: int, second: int) -> None:
        machine, code = long_mode("hlt\n" + ALL)
        registers = long_mode_registers()
        if second == PF:
            # A handler with its stack on a page that is absent; the fault's own handler has a good one.
            entry = gate(CODE, ist=2)
            machine.poke(TSS + 36, struct.pack("<2Q", STACK, 0x30800))
            machine.poke(PAGE_TABLE + 0x30 * 8, bytes(8))
        else:
            entry = gate(CODE, present=second != NP, selector=0x10 if second == NP else 0)
        for vector in (NP, GP, PF, DF):
            set_gate(machine, vector, gate(code.symbols[f"vector_{vector:x}"], ist=1 if second == PF else 0))
        set_gate(machine, first, entry)
        doubled = second != first and (
            (first in CONTRIBUTORY and second in CONTRIBUTORY) or (first == PF and second in (*CONTRIBUTORY, PF))
        )
        if first == second:
            doubled = True  # its gate is the bad one: contributory after contributory, or #PF after #PF
        entered = deliver(machine.memory, registers, first, error_code_of(first, 0, False), "exception")
        expected = DF if doubled else second
        assert ([fault.vector for fault in entered.faults], entered.vector) == ([second], expected)
        assert entered.registers.rip == code.symbols[f"vector_{expected:x}"]
        if doubled:
            assert machine.memory.read_u64(entered.registers.rsp) == 0, "the error code of #DF is 0"

    @pytest.mark.parametrize("kind", ["interrupt", "nmi", "software"])
    def test_interrupts_are_benign(self, kind: str) -> None:
        machine, code = long_mode("hlt\n" + ALL)
        set_gate(machine, NMI, gate(CODE, selector=0x18))
        entered = deliver(machine.memory, long_mode_registers(), NMI, None, kind)
        assert entered.registers.rip == code.symbols["vector_d"]
        assert machine.memory.read_u64(entered.registers.rsp) == 0x18 + (kind != "software")

    def test_a_third_fault_shuts_down(self) -> None:
        machine, _code = long_mode("ud2\n" + ALL)
        for vector in (UD, GP):
            set_gate(machine, vector, bytes(16))
        set_gate(machine, DF, gate(CODE, present=False))
        stop = machine.run()
        assert stop.reason == "reset"
        (shutdown,) = machine.trace.of(Shutdown)
        assert shutdown.why == (
            f"triple fault at {CODE:#x}: #GP (the gate of vector 0x6 has type 0x0), then "
            "#GP (the gate of vector 0xd has type 0x0) while delivering #GP, then "
            "#NP (the gate of vector 0x8 is not present)"
        )
        assert len(machine.trace.of(PlatformReset)) == 1
        assert vectors(machine) == []

    def test_nothing_of_it_changes_the_registers_that_were_given(self) -> None:
        machine, _ = long_mode("hlt")
        registers = long_mode_registers()
        with pytest.raises(TripleFaultError):
            deliver(machine.memory, registers, UD, None, "exception")
        assert registers == long_mode_registers()


@pytest.mark.parametrize("vector", range(32))
def test_which_exceptions_push_an_error_code(vector: int) -> None:
    """SDM, table "Protected-Mode Exceptions and Interrupts"; INT n never does."""
    assert (error_code_of(vector, 5, False) is not None) == (vector in {8, 10, 11, 12, 13, 14, 17})
    assert error_code_of(vector, 5, True) is None


class TestRealMode:
    """SDM "Real-Address Mode Operation": flags, CS and IP, two bytes each; the vector table at IDTR's base."""

    def test_there_and_back(self) -> None:
        machine, code = real_mode(
            """
            sti
            std
            int $0x21
            after: mov $1, %bl
            cli
            hlt
            handler: mov %sp, %si
            pushf
            pop %di
            iret
            """
        )
        machine.poke(0x21 * 4, struct.pack("<HH", code.symbols["handler"] - 0x1230, 0x123))
        machine.run()
        after = machine.registers(0)
        assert (after.rbx & 0xFF, after.rsi, after.rsp) == (1, STACK - 6, STACK)
        ip, cs, flags = struct.unpack("<3H", machine.memory.read(STACK - 6, 6))
        assert (ip, cs) == (code.symbols["after"], 0)
        assert flags & (RFLAGS.IF | RFLAGS.DF) == RFLAGS.IF | RFLAGS.DF
        assert after.rdi & (RFLAGS.IF | RFLAGS.DF) == RFLAGS.DF, "in the handler"
        assert after.cs.base == 0, "back in the first segment"

    def test_the_stack_wraps_in_its_segment(self) -> None:
        machine, code = real_mode("int $0x21\nhandler: hlt")
        machine.poke(0x21 * 4, struct.pack("<HH", code.symbols["handler"], 0))
        registers = machine.registers(0)
        registers.rsp = 2
        machine.patch_registers(0, registers)
        machine.run()
        assert machine.registers(0).rsp == 0xFFFC
        assert struct.unpack("<H", machine.memory.read(0xFFFC, 2)) == (code.symbols["_start"] + 2,)

    def test_faults_push_no_error_code(self) -> None:
        machine, code = real_mode("ud2\nhandler: hlt")
        machine.poke(UD * 4, struct.pack("<HH", code.symbols["handler"], 0))
        machine.run()
        assert machine.registers(0).rsp == STACK - 6
        assert struct.unpack("<H", machine.memory.read(STACK - 6, 2)) == (CODE,)

    def test_beyond_the_limit(self) -> None:
        """As in the RFC's trampoline, whose vector table holds nothing: shutdown."""
        machine, _ = real_mode("int3")
        registers = machine.registers(0)
        registers.idtr.limit = 0
        machine.patch_registers(0, registers)
        assert machine.run().reason == "reset"
        assert "triple fault" in machine.trace.of(Shutdown)[0].why


def test_a_descriptor_in_the_local_table() -> None:
    """Bit 2 of a selector names the LDT."""
    machine, code = long_mode("int $0x40\nvector_40: mov %cs, %eax; hlt")
    machine.poke(DATA + 8, machine.memory.read(GDT + 0x10, 8))
    registers = machine.registers(0)
    registers.ldtr = Segment(0x68, DATA, 15, 0x8200)
    machine.patch_registers(0, registers)
    set_gate(machine, 0x40, gate(code.symbols["vector_40"], selector=0x0C))
    machine.run()
    assert machine.registers(0).rax == 0x0C


def test_a_handler_above_4_gib_of_linear_addresses() -> None:
    """All 64 bits of a gate's offset count."""
    machine, _ = long_mode("int $0x40")
    load(machine, assemble("mov %rip_here, %eax; hlt".replace("mov %rip_here", "lea (%rip), %rbx; mov $1"), 0x30000))
    machine.poke(0x20000 + 511 * 8, struct.pack("<Q", 0x21007))
    set_gate(machine, 0x40, gate(0xFFFF_FF80_0003_0000))
    machine.run()
    assert machine.registers(0).rbx == 0xFFFF_FF80_0003_0007
