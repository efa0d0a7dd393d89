"""Assembly and C as answers: whatever they do, the verdict tells it, with the line of the cell."""

from typing import Any

import pytest

from mklab.errors import GuestBuildError
from mklab.lab import guestcode, source
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.forms import guest
from mklab.lab.forms.guest import Place, Ran, built, told
from mklab.lab.verdict import Outcome, Verdict

CELL = """double:
    ### BEGIN SOLUTION
    lea (%rdi,%rdi), %rax
    ret
    ### END SOLUTION
"""
MISTAKES = (
    Mistake("no return", (("    ret\n", ""),), "ran on beyond its last instruction"),
    Mistake("not doubled", (("(%rdi,%rdi)", "(%rdi)"),), "RAX is 0x15, not 0x2a"),
    Mistake("a 32-bit register", (("(%rdi,%rdi), %rax", "(%rdi,%rdi), %rox"),), "invalid register name"),
    Mistake("for ever", (("    ret", "    jmp double"),), "did not come to an end"),
    Mistake("halted", (("    ret", "    hlt"),), "before it had returned"),
    Mistake("writes", (("    ret", "    movb %al, 0x5003\n    ret"),), "written over the table at 0x5000"),
    Mistake("divides", (("    ret", "    xor %ecx, %ecx\n    div %ecx\n    ret"),), "ECX is 0 at your DIV."),
    Mistake("jumps", (("    ret", "    jmp *%rdi"),), "outside your code"),
)


def judge(ran: Ran, seed: int) -> Verdict:
    got = ran.registers.rax
    if got == 42:
        return Verdict(Outcome.PASSED, "21 became 42.")
    return not_yet(f"RAX is {got:#x}, not 0x2a.", next_step="What does LEA add?")


def causes(ran: Ran, seed: int) -> Verdict | None:
    if ran.fault and ran.fault.vector == 0 and not ran.registers.rcx:
        return not_yet("ECX is 0 at your DIV.", next_step="What is to be divided by what?")
    return None


def make(**more: Any) -> Exercise:
    place = Place(entry="double", args=(21,), keep={"the table at 0x5000": range(0x5000, 0x5010)}, budget=20_000)
    hints = ("look", "rule", "shape")
    given: dict[str, Any] = {"place": place, "causes": causes, "mistakes": MISTAKES, **more}
    return guest("99.1", "Twice", given.pop("kind", "assembly"), judge, hints, **given)


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "asm"))
    return make()


def test_solution_and_stub(exercise: Exercise) -> None:
    assert exercise.examine(exercise.solution()).passed
    assert exercise.stub == "double:\n    # ...\n"
    assert exercise.examine("%%asm 99.1\n" + exercise.stub).outcome is Outcome.NOT_ATTEMPTED


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.name)
def test_each_mistake_gets_its_message(exercise: Exercise, mistake: Mistake) -> None:
    verdict = exercise.examine(mistake.apply(exercise.solution()))
    assert verdict.outcome is Outcome.NOT_YET, repr(verdict)
    assert mistake.message in verdict.message, repr(verdict)
    assert verdict.next_step


@pytest.mark.parametrize(
    ("text", "words", "where"),
    [
        ("double:\n  nop\n  ud2", "invalid opcode, #UD", "line 3 of your cell: ud2"),
        ("double:\n  int3\n  ret", "breakpoint, #BP", "line 2 of your cell: int3"),
        ("double:\n  xor %esp, %esp\n  push %rax", "a write", "line 3 of your cell: push %rax"),
        ("double:\n1:\n  pause\n  jmp 1b", "20,000 instructions", "line"),
        ("double:\n  movb $1, 0x5000\n  ret", "was 0x00 and is 0x01", "line 2 of your cell: movb $1, 0x5000"),
        ("double:\n  cli\n  hlt", "before it had returned", "line 3 of your cell: hlt"),
        ("twice:\n  ret", "Your cell defines no double", ""),
        ("double:\n  xor %ecx, %ecx\n  inc %ecx\n  mov $1, %edx\n  div %ecx", "divide error, #DE", "line 5"),
        ("double: .space 70000", "gives 70,000 bytes", ""),
        ("double:\n  mov (, %eax\n", "does not assemble", "line 2: mov (, %eax"),
        ("double: call nowhere", "undefined symbol: nowhere", ""),
        ('double:\n.incbin "/etc/passwd"', "takes in no other file", "line 2"),
        (".rept 1000000000\nnop\n.endr", "building it was stopped", ""),
    ],
)
def test_what_became_of_it_and_where(exercise: Exercise, text: str, words: str, where: str) -> None:
    verdict = exercise.examine(text)
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.happened, repr(verdict)
    assert verdict.where.startswith(where)


def test_a_cell_without_code() -> None:
    verdict = built("# nothing", "asm", Place())
    assert isinstance(verdict, Verdict)
    assert "Your cell gives no machine code" in verdict.happened


def test_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "answer_cell", lambda _: ("long double_(long x)\n{\n}\n", "c"))
    place = Place(entry="f", args=(21,))
    one = make(kind="c", place=place, mistakes=(), causes=None)
    assert one.examine("long f(long x)\n{\n    return 2 * x;\n}").passed
    assert one.examine("long f(long x)\n{\n    return x;\n}").happened == "RAX is 0x15, not 0x2a."
    verdict = one.examine("long f(long x)\n{\n    return 2 * y;\n}")
    assert "does not compile: use of undeclared identifier 'y'" in verdict.happened
    assert verdict.where == "line 3: return 2 * y;"
    verdict = one.examine("long f(long x)\n{\n    return 2 / (x - 21);\n}")
    assert "line 3 of your cell" in verdict.where


def test_place_by_the_seed_and_further_sources(exercise: Exercise) -> None:
    one = make(
        place=lambda seed: Place(entry="start", args=(seed,)), sources=(("frame.S", ".globl start\nstart: jmp double"),)
    )
    text = ".globl double\n" + exercise.solution()
    assert one.examine(text, 21).passed
    assert one.examine(text, 4).happened == "RAX is 0x8, not 0x2a."


def test_code_that_handles_its_exceptions_may_have_some() -> None:
    """``ends="any"``: only a shutdown is trouble then."""
    code = guestcode.compiled("hlt", "asm", Place().base)
    from mklab.lab.guestrun import run

    assert told(run(code, Place(ends="any")), "hlt") is None
    assert told(run(code, Place(ends="halt")), "hlt") is None
    assert told(run(code, Place(ends="return")), "hlt") is not None


def test_a_missing_compiler_is_not_the_students_fault(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_: object, **__: object) -> None:
        raise GuestBuildError("guest code is built by the package ziglang, which is missing; run: make setup")

    monkeypatch.setattr(guestcode, "compiled", compiled)
    verdict = exercise.examine(exercise.solution())
    assert verdict.outcome is Outcome.NOT_CHECKED
    assert "ziglang" in verdict.happened


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        make(kind="python")


def test_an_answer_is_text_only(exercise: Exercise) -> None:
    """No process is started for it."""
    with Answer(exercise.solution()) as answer:
        exercise.judge(answer, 0)
        assert answer._process is None
