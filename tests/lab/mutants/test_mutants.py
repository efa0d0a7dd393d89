"""Mutants of the solutions: they are made as they should be, told apart, and rejected by the checks of the course."""

import json

import pytest
from click.testing import CliRunner

from mklab.cli import main
from mklab.lab import exercises, forms, source
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.forms.parsons import Lines
from mklab.lab.forms.python import Case
from mklab.lab.guestrun import Place, Ran
from mklab.lab.mutants import Mutant, of_code, of_python, of_values, trial
from mklab.lab.mutants.trial import Fate, Tally
from mklab.lab.verdict import Outcome, Verdict

SAMPLE = 2
"""Mutants of each exercise that are examined here; `mklab exercises --mutants` examines twenty times as many."""


@pytest.mark.timeout(1200)
def test_the_checks_reject_mutants() -> None:
    """At least 95 of 100 that change what an answer does; the same ones at every time."""
    tallies = [trial.tally(one.id, SAMPLE) for one in exercises.every()]
    told = [f"{one.exercise}: {fate.mutant}" for one in tallies for fate in one.escaped]
    assert sum(len(one.fates) for one in tallies) >= SAMPLE * len(tallies) * 0.9
    assert trial.rate(tallies) >= trial.LEAST, told


def test_every_exercise_has_mutants() -> None:
    for one in exercises.every():
        found = trial.mutants_of(one)
        assert len(found) >= 2, one.id
        assert len({mutant.text for mutant in found}) == len(found), one.id
        assert trial.sample(one, 5) == trial.sample(one, 5)


def names(found: object) -> list[str]:
    return [one.name for one in found]  # type: ignore[attr-defined]


PYTHON = '''
def f(a, b):
    """Twice."""
    total = a + 2
    if a < b and b:
        total *= 2
    return total >> 1
'''


def test_of_python() -> None:
    found = list(of_python.mutants(PYTHON))
    told = "\n".join(names(found))
    for words in (
        *("2 becomes 3", "2 becomes 1", "1 becomes 0", "Add becomes Sub", "Mult becomes Add", "RShift becomes LShift"),
        *("Lt becomes LtE", "and becomes or", "the condition is turned round", "'return total >> 1' is dropped"),
        "'total = a + 2' comes one later",
    ):
        assert words in told
    assert "Twice" not in told
    assert "'def f(a, b):'" not in told
    for one in found:
        compile(one.text, "mutant", "exec")
        assert one.text != PYTHON


ASSEMBLY = "start:\n    mov $0x10, %eax   # sixteen: 7\n    addl $1, %eax\n    je 1f\n    .globl start\n1:  ret\n"


def test_of_assembly() -> None:
    told = names(of_code.mutants(ASSEMBLY, "asm"))
    assert "line 2: 0x10 becomes 0x11" in told
    assert "line 2: 0x10 becomes 0xf" in told
    assert "line 3: add becomes sub" in told
    assert "line 4: je becomes jne" in told
    assert "line 3: 'addl $1, %eax' is dropped" in told
    assert any("line 2: 'mov $0x10, %eax   # sixteen: 7' comes one later" in one for one in told)
    assert not any(
        "7 becomes" in one or ".globl" in one or "start:'" in one or "1 becomes 2" in one[:8] for one in told
    )
    changed = next(one for one in of_code.mutants(ASSEMBLY, "asm") if one.name == "line 3: add becomes sub")
    assert "    subl $1, %eax\n" in changed.text


C = "int f(int n)\n{\n    int i = 8;\n    while (i < n)\n        i = i + 1;\n    a->b = i;\n    return i;\n}\n"


def test_of_c() -> None:
    told = names(of_code.mutants(C, "c"))
    for words in ("8 becomes 9", "< becomes <=", "+ becomes -", "'a->b = i;' is dropped"):
        assert any(words in one for one in told), words
    assert not any("return" in one or "-> " in one for one in told)


def test_of_values() -> None:
    assert of_values.is_values('choice = "A"\nconfidence = "sure"')
    assert not of_values.is_values("def f():\n    return 1")
    assert not of_values.is_values("x = 1 + y")
    assert not of_values.is_values("%%")
    told = [one.text for one in of_values.mutants('choice = "A"\nconfidence = "sure"\n', None)]
    assert told == [f'choice = "{one}"\nconfidence = "sure"\n'.replace('"', "'") for one in "BCD"]
    orders = {one.name for one in of_values.mutants('order = "AB"', Lines({"A": "1", "B": "2", "C": "3"}))}
    assert orders == {f"order = {one!r}" for one in ("B", "A", "BA", "CAB", "ACB", "ABC")}
    told = names(of_values.mutants("a = 16\nb = True\nc = [1, 5]\n", None))
    assert {"a = 0x11", "a = 0xf", "b = False", "c = [5]", "c = [2, 5]", "c = [5, 1]", "a and b are exchanged"} <= set(
        told
    )


def made(judged: Exercise, solution: str, lang: str, monkeypatch: pytest.MonkeyPatch) -> list[Fate]:
    """The fates of all mutants of an exercise that is in no course."""
    marked = f"{source.BEGIN}\n{solution}{source.END}\n"
    monkeypatch.setattr(source, "answer_cell", lambda _: (marked, lang))
    return [trial.fate(judged, one) for one in trial.mutants_of(judged)]


HINTS = ("look", "rule", "shape")


def doubled(cases: tuple[Case, ...], *alternatives: Mistake) -> Exercise:
    return forms.python("99.1", "double", "f", cases, HINTS, (), alternatives=alternatives)


DOUBLE = "def f(x):\n    if x == 0:\n        return 0\n    return x * 2\n"


def test_a_lax_check_lets_mutants_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = made(doubled((Case("two", (2,), 4),)), DOUBLE, "python", monkeypatch)
    assert {one.mutant for one in lax if one.escaped} >= {"line 4: Mult becomes Add"}
    strict = made(
        doubled((Case("two", (2,), 4), Case("none", (0,), 0), Case("one", (1,), 2))), DOUBLE, "python", monkeypatch
    )
    assert not [one for one in strict if one.escaped]
    # Without the question, nought is doubled as well as any other number: that changes nothing.
    assert any("is dropped" in one.mutant and one.why.startswith("the same results for") for one in strict)


def test_what_is_declared_right_is_no_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Mistake("added", (("x * 2", "x + 2"),), "")
    lax = made(doubled((Case("two", (2,), 4),), other), DOUBLE, "python", monkeypatch)
    assert "line 4: Mult becomes Add" not in {one.mutant for one in lax}


def stored(ran: Ran, _seed: int) -> Verdict:
    if ran.read(0x5000, 1) == b"\x2a":
        return Verdict(Outcome.PASSED, "It is there.")
    return not_yet("It is missing.")


def test_guest_code_is_judged_by_its_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scratch register may hold anything in the end; a byte of memory, or RAX, may not."""
    code = "    mov $1, %ecx\n    mov $42, %al\n    mov %al, 0x5000\n    mov %al, 0x6000\n    ret\n"
    exercise = forms.guest("99.2", "store", "assembly", stored, HINTS, (), place=Place("long"))
    fates = {one.mutant: one for one in made(exercise, code, "asm", monkeypatch)}
    assert fates["line 1: 1 becomes 2"].why == "the same effect on the machine"
    assert fates["line 1: 'mov $1, %ecx' comes one later"].why == "the same effect on the machine"
    assert fates["line 2: 42 becomes 43"].rejected
    assert fates["line 4: 0x6000 becomes 0x6001"].escaped


def test_a_check_that_fails_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(answer: object, _seed: int) -> Verdict:
        raise ZeroDivisionError

    monkeypatch.setattr(source, "answer_cell", lambda _: ("...", "python"))
    with pytest.raises(AssertionError, match="the check fails on line 4"):
        trial.fate(Exercise("99.3", "x", "python", judge, HINTS, ()), Mutant("line 4", "x = 1"))


def test_the_figures() -> None:
    tallies = [
        Tally("99.1", 9, (Fate("a", True), Fate("b", True), Fate("c", False, "the same"), Fate("d", False))),
        Tally("99.2", 1, (Fate("e", True),)),
    ]
    assert trial.rate(tallies) == 0.75
    assert trial.rate([]) == 1.0
    assert trial.summary(tallies) == (
        "3 of 4 mutants that change what an answer does were rejected (75.0 %). 1 more do what the solution does."
    )


def test_the_command() -> None:
    done = CliRunner().invoke(main, ["exercises", "--mutants", "--most", "3", "00.1"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[1].split() == ["00.1", "3", "3", "3", "0", "0"]
    assert done.output.splitlines()[2].startswith("3 of 3 mutants")
    (row,) = json.loads(CliRunner().invoke(main, ["exercises", "--mutants", "--json", "00.1"]).output)
    assert row == {"id": "00.1", "made": 3, "examined": 3, "rejected": 3, "equivalent": 0, "escaped": []}


def test_the_command_fails_where_too_many_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run", lambda ids, most: [Tally("00.1", 2, (Fate("a", True), Fate("b", False)))])
    done = CliRunner().invoke(main, ["exercises", "--mutants"])
    assert done.exit_code == 1
    assert "passes: b" in done.output
