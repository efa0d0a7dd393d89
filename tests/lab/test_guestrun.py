"""Code on a machine of its own: how it is entered in each mode, and how it ends."""

import pytest

from mklab.lab.guestcode import compiled
from mklab.lab.guestrun import LANDING, Place, run
from mklab.machine.cpu import CpuState
from mklab.machine.machine import Machine
from mklab.trace import ConsoleByte

BASE = Place().base


@pytest.mark.parametrize(("mode", "code"), [("real", ".code16\n"), ("protected", ".code32\n"), ("long", "")])
def test_entered_in_each_mode_and_returned(mode: str, code: str) -> None:
    ran = run(compiled(f"{code}mov $0x1234, %ax\nret", "asm", BASE), Place(mode))
    assert ran.before.mode == mode
    assert ran.returned
    assert ran.halted
    assert not ran.endless
    assert (ran.fault, ran.shutdown, ran.smashed) == (None, None, None)
    assert ran.changed["rax"] == (0, 0x1234)


def test_in_real_mode_its_code_segment_is_where_it_lies() -> None:
    ran = run(compiled(".code16\nmov %cs, %ax\nret", "asm", BASE), Place("real"))
    assert ran.registers.rax == BASE >> 4


def test_a_function_with_arguments() -> None:
    text = "long f(long a, long b, long c, long d, long e, long g)\n{ return a - b + 3 * c - d + e * g; }"
    ran = run(compiled(text, "c", BASE), Place(entry="f", args=(-7, 2, 30, 4, 5, 6)))
    assert ran.registers.rax == -7 - 2 + 90 - 4 + 30


def test_another_cpu_is_watched() -> None:
    def start(machine: Machine, _code: object) -> None:
        registers = machine.registers(1)
        registers.rip, registers.cs.base, registers.cs.selector = 0, BASE, BASE >> 4
        machine.patch_registers(1, registers)

    code = compiled(".code16\ncli\nmovw $5, %ax\nhlt", "asm", BASE)
    ran = run(code, Place("real", cpu=None, watch=1, cpus=2, ends="halt", prepare=start, budget=1000))
    assert ran.cpu == 1
    assert ran.halted
    assert ran.changed["rax"] == (0, 5)


def test_an_entry_that_is_not_the_first_byte() -> None:
    ran = run(compiled("ud2\nhere: ret", "asm", BASE), Place(entry="here"))
    assert ran.returned


def test_lines_of_the_cell() -> None:
    code = compiled("nop\n\n# nothing\nmov $1, %eax\n2: ret", "asm", BASE)
    assert [code.line(BASE), code.line(BASE + 1), code.line(BASE + 6)] == [1, 4, 5]
    assert [code.line(BASE - 1), code.line(BASE + code.size)] == [None, None]


def test_a_fault_is_kept_with_its_place() -> None:
    ran = run(compiled("mov $5, %eax\nud2", "asm", BASE), Place())
    assert ran.fault is not None
    assert (ran.fault.vector, ran.line(ran.fault.rip)) == (6, 2)
    assert ran.shutdown is not None
    assert ran.machine.cpus[0].state is CpuState.SHUTDOWN


@pytest.mark.parametrize(("segment", "line"), [("%cs", 8), ("$0", None)])
def test_an_offset_is_the_cells_in_its_segment_only(segment: str, line: int | None) -> None:
    """A far return to an invalid opcode at the same offset, which is at address 0x40 too."""
    text = f".code16\nbegin:\nmovw $0x0b0f, 0x40\npush {segment}\npush $here - begin\nlretw\n.org 0x40\nhere: ud2\n"
    ran = run(compiled(text, "asm", BASE), Place("real"))
    assert ran.fault is not None
    assert ran.fault.rip == 0x40
    assert ran.line(ran.linear(ran.fault)) == line


@pytest.mark.parametrize("text", ["1: jmp 1b", "1: movb $0x90, 2f(%rip)\n2: nop\njmp 1b"])
def test_endless(text: str) -> None:
    ran = run(compiled(text, "asm", BASE), Place(budget=5000))
    assert ran.endless
    assert not ran.halted


@pytest.mark.parametrize(("mode", "code"), [("real", ".code16\n"), ("protected", ".code32\n"), ("long", "")])
def test_who_runs_on_beyond_the_end_is_caught(mode: str, code: str) -> None:
    ran = run(compiled(f"{code}nop\nnop", "asm", BASE), Place(mode))
    assert ran.ran_on
    assert not run(compiled(f"{code}int3", "asm", BASE), Place(mode)).ran_on


def test_smashed_memory_and_the_line_that_did_it() -> None:
    text = "mov $0x5000, %ebx\nmovb $1, 0x10(%rbx)\nmovb $2, 0x11(%rbx)\nret"
    place = Place(keep={"a table": range(0x5010, 0x5020), "another": range(0x7000, 0x7010)})
    ran = run(compiled(text, "asm", BASE), place)
    assert ran.smashed is not None
    assert (ran.smashed.name, ran.smashed.address, ran.smashed.before, ran.smashed.after) == ("a table", 0x5010, 0, 1)
    assert ran.writer(0x5010) == 2
    assert ran.writer(0x5011) == 3
    assert ran.writer(0x5012) is None


def test_what_is_prepared_is_there() -> None:
    def prepare(machine: Machine, code: object) -> None:
        machine.poke(0x5000, b"\x2a")

    ran = run(compiled("movzbl 0x5000, %eax\nret", "asm", BASE), Place(prepare=prepare))
    assert ran.registers.rax == 0x2A


def test_a_machine_of_another_make_on_which_nobody_enters() -> None:
    def make() -> Machine:
        return Machine(2, 4 << 20)

    ran = run(compiled("ret", "asm", BASE), Place(make=make, cpu=None))
    assert len(ran.machine.cpus) == 2
    assert ran.changed == {}
    assert ran.read(BASE, 1) == b"\xc3"
    assert ran.machine.trace.of(ConsoleByte) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "unreal"}, r"mode must be one of .*, not 'unreal'"),
        ({"ends": "never"}, "ends must be 'return', 'halt' or 'any', not 'never'"),
        ({"base": 0x20008}, "base must be a multiple of 16"),
        ({"mode": "real", "base": 0x100000}, "in real mode up to 0xF0000, not 1048576"),
    ],
)
def test_a_place_that_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Place(**values)  # type: ignore[arg-type]


def test_code_that_is_too_long() -> None:
    with pytest.raises(ValueError, match=f"at most {LANDING} bytes long, not 70000"):
        run(compiled(".space 70000", "asm", BASE), Place())
