"""Exercises: a verdict comes back, whatever the answer or the check does."""

from collections.abc import Callable

import pytest

from mklab.lab import source
from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, LimitedRoundRobin, Mistake, OutOfSlicesError, not_yet
from mklab.lab.verdict import Outcome, Verdict
from mklab.trace import Halted, Trace

CELL = """def f():
    ### BEGIN SOLUTION
    return 4
    ### END SOLUTION
"""


@pytest.fixture(autouse=True)
def cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts of the labs hold a cell for exercise 99.1."""
    monkeypatch.setattr(source, "answer_cell", lambda exercise: (CELL, "python"))


def four(answer: Answer, _seed: int) -> Verdict:
    found = answer.call("f")
    return Verdict(Outcome.PASSED, "It is four.") if found == 4 else not_yet(f"It is {found}.", next_step="Count.")


def exercise(judge: Callable[[Answer, int], Verdict] = four) -> Exercise:
    return Exercise("99.1", "test", "python", judge, ("look", "rule", "shape"), ())


def test_the_solution_and_another_answer() -> None:
    assert exercise().examine(exercise().solution()).passed
    verdict = exercise().examine("%%answer 99.1\ndef f():\n    return 5")
    assert (verdict.outcome, verdict.happened, verdict.exercise) == (Outcome.NOT_YET, "It is 5.", "99.1")


@pytest.mark.parametrize("text", ["def f():\n    ...\n", "%%answer 99.1\ndef f():\n\n    ...", " def f():  ..."])
def test_the_stub_is_not_attempted_however_it_is_spaced(text: str) -> None:
    assert exercise().examine(text).outcome is Outcome.NOT_ATTEMPTED


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", "Your code raised ZeroDivisionError"),
        ("return (", "Python cannot read your cell"),
        ("while True: pass", "did not come to an end"),
        ("return print", "cannot look at"),
        ("import os; os._exit(1)", "ended the process it ran in"),
    ],
)
def test_code_that_fails_gets_a_verdict_that_says_so(body: str, words: str) -> None:
    verdict = exercise().examine(f"def f():\n    {body}")
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.happened
    assert verdict.next_step


def test_a_name_of_another_cell_is_not_there() -> None:
    verdict = exercise().examine("value = u64(0)\n\ndef f():\n    return value")
    assert "NameError: name 'u64' is not defined" in verdict.happened
    assert "runs this cell alone" in verdict.next_step


def test_a_defect_of_the_check_is_not_laid_on_the_student() -> None:
    def judge(answer: Answer, seed: int) -> Verdict:
        raise ZeroDivisionError("by zero")

    verdict = exercise(judge).examine("x = 1")
    assert verdict.outcome is Outcome.NOT_CHECKED
    assert "ZeroDivisionError: by zero" in verdict.happened
    assert "not yours" in verdict.next_step


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of .*, not 'essay'"):
        Exercise("99.1", "test", "essay", four, ("look", "rule", "shape"), ())


def test_hints() -> None:
    one = exercise()
    assert [repr(one.hint(level)) for level in (1, 2, 3)] == [
        "Hint 1 of 3: look",
        "Hint 2 of 3: rule",
        "Hint 3 of 3: shape",
    ]
    with pytest.raises(ValueError, match=r"^level must be 1, 2 or 3, not 4$"):
        one.hint(4)


def test_mistake_changes_the_solution() -> None:
    assert Mistake("swapped", (("a", "x"), ("b", "y")), "").apply("a b c") == "x y c"


@pytest.mark.parametrize("solution", ["b", "a a"])
def test_mistake_must_fit_the_solution(solution: str) -> None:
    with pytest.raises(ValueError, match=r"must hold 'a' once, not \d times"):
        Mistake("stale", (("a", "x"),), "").apply(solution)


def test_limit_counts_slices() -> None:
    schedule = LimitedRoundRobin(2, Trace())
    assert [schedule.choose([0, 2])[0] for _ in range(2)] == [0, 2]
    with pytest.raises(OutOfSlicesError):
        schedule.choose([0, 2])


def test_limit_counts_events() -> None:
    trace = Trace()
    trace.emit(Halted, 0, 0, interruptible=True)
    schedule = LimitedRoundRobin(100, trace, events=1)
    for _ in range(2):
        schedule.choose([0])
        trace.emit(Halted, 0, 0, interruptible=True)
    with pytest.raises(OutOfSlicesError):
        schedule.choose([0])
