"""A function and its cases: the first case that fails is told, by its name."""

import pytest

from mklab.lab import source
from mklab.lab.exercise import Exercise, Mistake
from mklab.lab.forms import python
from mklab.lab.forms.python import Case
from mklab.lab.verdict import Outcome

CELL = '''def sipi(start_ip):
    """ICR low for a SIPI."""
    ### BEGIN SOLUTION
    if start_ip % 0x1000:
        raise ValueError("no page")
    return 0x600 | start_ip >> 12
    ### END SOLUTION
'''
CASES = (
    Case("a page", (0x96000,), 0x696, "A vector is a page's number.", wrong=((0x96, "A fixed interrupt is ignored."),)),
    Case("page 0", (0,), 0x600),
    Case("no page", (0x96010,), raises="ValueError", says="page", look="Only a page has a vector."),
)
MISTAKES = (
    Mistake("no mode", (("0x600 | ", ""),), "A fixed interrupt is ignored."),
    Mistake("the segment", ((">> 12", ">> 4"),), "A vector is a page's number."),
    Mistake("any address", (("if start_ip % 0x1000", "if False"),), "In the case of no page your function should have"),
)


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "python"))
    return python("99.1", "A SIPI", "sipi", CASES, ("look", "rule", "shape"), MISTAKES)


def test_solution_stub_and_mistakes(exercise: Exercise) -> None:
    verdict = exercise.examine(exercise.solution())
    assert verdict.passed
    assert verdict.happened == "sipi did what it should in 3 cases: a page, page 0, no page."
    assert exercise.examine(exercise.stub).outcome is Outcome.NOT_ATTEMPTED
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(exercise.solution()))
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message, repr(verdict)


def test_the_case_is_named_with_expected_and_got(exercise: Exercise) -> None:
    verdict = exercise.examine("def sipi(start_ip):\n    return 0x696")
    assert verdict.where == 'case "page 0": sipi(0)'
    assert (verdict.expected, verdict.got) == ("0x600", "0x696")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "returned None. Has it a return on every path?"),
        ("return start_ip / 0", "In the case of a page your function raised ZeroDivisionError"),
        ("raise ValueError('no')", "raised ValueError: no."),
        ("while True: pass", "did not come to an end"),
        ("return 0x696 == True", "gave something else"),
        ("return unknown", "NameError"),
        ("return hex(0x600 | start_ip >> 12)", "gave a text, not a number"),
        ("return 0x600 | start_ip >> 12 if not start_ip % 4096 else ValueError('page')", "returned ValueError, as if"),
        ("return 0x600 | start_ip >> 12 if not start_ip % 4096 else ValueError", "returned ValueError, as if"),
    ],
)
def test_other_wrong_functions(exercise: Exercise, body: str, words: str) -> None:
    verdict = exercise.examine(f"def sipi(start_ip):\n    {body}")
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.happened


def test_the_wrong_exception_and_the_wrong_words(exercise: Exercise) -> None:
    body = "def sipi(ip):\n    if ip % 4096: raise {}('{}')\n    return 0x600 | ip >> 12"
    assert "raised TypeError" in exercise.examine(body.format("TypeError", "page")).happened
    verdict = exercise.examine(body.format("ValueError", "wrong"))
    assert (verdict.expected, verdict.got) == ("ValueError (page)", "ValueError: wrong")
    assert "line 2 of your cell" in verdict.where
    assert exercise.examine(body.format("ValueError", "a page")).passed


def test_cases_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "python"))
    one = python(
        "99.1", "A SIPI", "sipi", lambda seed: [Case("yours", (seed << 12,), 0x600 | seed)], ("a", "b", "c"), ()
    )
    assert one.examine(one.solution(), 7).passed
    assert not one.examine("def sipi(x):\n    return 0x607", 6).passed
    assert one.examine("def sipi(x):\n    return 0x607", 7).passed
