"""A lab as its notebook uses it."""

import json
from pathlib import Path

import pytest

from mklab import lab
from mklab.errors import MklabError
from mklab.lab import course, exercises, source
from mklab.lab.checking.check import Result
from mklab.lab.course import Lab
from mklab.lab.exercise import Exercise
from mklab.lab.progress import PLACE
from mklab.lab.verdict import Outcome, Verdict

CELL = "def f():\n    ### BEGIN SOLUTION\n    return 4\n    ### END SOLUTION\n"
HINTS = ("look", "rule", "shape")


def never(*_: object) -> Verdict:
    raise AssertionError("a notebook checks in another process")


ONE = Exercise("99.1", "four", "python", never, HINTS, (), given=lambda seed: f"your number is {seed % 10}")
TWO = Exercise("99.2", "<five>", "assembly", never, HINTS, (), question="A or B?")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one lab with two exercises; its progress lies in a folder of its own."""
    monkeypatch.setenv(PLACE, str(tmp_path / "progress.json"))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setattr(course, "ANSWERS", {})
    monkeypatch.setattr(exercises, "of", lambda number: (ONE, TWO))
    lang = {"99.1": "python", "99.2": "asm"}
    monkeypatch.setattr(source, "answer_cell", lambda exercise: (CELL, lang[exercise]))
    return tmp_path


@pytest.fixture
def opened(place: Path) -> Lab:
    return lab.open("99")


def judge(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> list[tuple[str, str, int]]:
    """Let every check say ``outcome``, and return what was asked."""
    asked: list[tuple[str, str, int]] = []

    def check(exercise: str, text: str, seed: int) -> Result:
        asked.append((exercise, text, seed))
        return Result(Verdict(outcome, "It is as it is.", exercise=exercise))

    monkeypatch.setattr(course, "check", check)
    return asked


def test_a_cell_that_was_not_run(opened: Lab) -> None:
    for exercise, magic in (("99.1", "%%answer 99.1"), ("99.2", "%%asm 99.2")):
        verdict = opened.check(exercise)
        assert verdict.outcome is Outcome.NOT_ATTEMPTED
        assert magic in verdict.next_step


def test_the_text_that_was_run_last_is_checked_and_noted(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = judge(monkeypatch, Outcome.NOT_YET)
    course.ANSWERS["99.1"] = "x = 1\n"
    assert opened.check("99.1").outcome is Outcome.NOT_YET
    assert asked == [("99.1", "x = 1\n", 0)]
    assert lab.open("99").progress.of("99.1").attempts == 1


def test_a_students_numbers_come_from_the_name_and_stay(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = judge(monkeypatch, Outcome.PASSED)
    assert repr(opened.given("99.1")) == "your number is 0"
    named = lab.open("99", student="Ada")
    course.ANSWERS["99.1"] = "x"
    named.check("99.1")
    again = lab.open("99")
    again.check("99.1")
    assert asked[0] == asked[1]
    assert asked[0][2] == named.progress.seed != 0
    assert repr(again.given("99.1")) == f"your number is {named.progress.seed % 10}"
    assert repr(again.given("99.2")) == "Everybody has the same numbers."


def test_hints_one_after_the_other(opened: Lab) -> None:
    told = [repr(opened.hint("99.1")) for _ in range(4)]
    assert told == ["Hint 1 of 3: look", "Hint 2 of 3: rule", "Hint 3 of 3: shape", "Hint 3 of 3: shape"]
    assert repr(opened.hint("99.1", 1)) == "Hint 1 of 3: look"
    assert lab.open("99").progress.of("99.1").hints == 3


def test_the_solution_opens_after_an_attempt_and_three_hints(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, Outcome.NOT_YET)
    told = repr(opened.solution("99.1"))
    assert "check an answer of your own, then look at hint 1, then look at hint 2" in told
    assert "return 4" not in told
    opened.hint("99.1", 3)
    assert "return 4" not in repr(opened.solution("99.1"))
    course.ANSWERS["99.1"] = "x"
    opened.check("99.1")
    assert repr(opened.solution("99.1")) == "def f():\n    return 4\n"


def test_the_solution_opens_after_a_pass(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, Outcome.PASSED)
    course.ANSWERS["99.1"] = "x"
    opened.check("99.1")
    assert "return 4" in repr(opened.solution("99.1"))


def test_the_question_is_shown(opened: Lab) -> None:
    assert opened.question("99.2") == "A or B?"
    with pytest.raises(ValueError, match=r"a prediction or one with lines .* not '99\.1'"):
        opened.question("99.1")


def test_the_report_as_text_and_as_html(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    judge(monkeypatch, Outcome.PASSED)
    course.ANSWERS["99.1"] = "x"
    opened.check("99.1")
    report = opened.report()
    lines = repr(report).splitlines()
    assert lines[1].split() == ["99.1", "four", "passed", "the", "checks", "1", "0"]
    assert lines[2].split() == ["99.2", "<five>", "not", "attempted", "yet", "0", "0"]
    assert lines[3] == "1 of 2 exercises passed the checks. Kept in progress.json, on this computer only."
    assert "<td>&lt;five&gt;</td>" in report._repr_html_()


@pytest.mark.parametrize("act", ["check", "hint", "solution", "given", "question"])
def test_an_exercise_of_another_lab(opened: Lab, act: str) -> None:
    with pytest.raises(ValueError, match=r"exercise must be one of \['99\.1', '99\.2'\], not '00\.1'"):
        getattr(opened, act)("00.1")


@pytest.mark.parametrize("outcome", Outcome)
def test_while_nbgrader_grades_all_but_a_pass_raises(
    opened: Lab, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    judge(monkeypatch, outcome)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    course.ANSWERS["99.1"] = "x"
    if outcome is Outcome.PASSED:
        assert opened.check("99.1").passed
        return
    with pytest.raises(AssertionError, match=f"Exercise 99.1: {outcome}"):
        opened.check("99.1")


def test_while_nbgrader_grades_a_cell_that_was_not_run_raises(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(AssertionError, match="not attempted yet"):
        opened.check("99.1")


def test_progress_that_cannot_be_read_is_told(place: Path) -> None:
    (place / "progress.json").write_text(json.dumps({"format": "something else"}))
    with pytest.raises(MklabError, match="holds no progress that can be read"):
        lab.open("99")


def test_no_such_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "progress.json"))
    with pytest.raises(MklabError, match="there is no lab '77'; there are 00"):
        lab.open("77")
