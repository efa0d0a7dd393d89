"""Predictions as exercises: a choice opens its own reason, the right one opens all."""

import pytest

from mklab.lab import source
from mklab.lab.exercise import Exercise
from mklab.lab.forms import prediction
from mklab.lab.prediction import Option, Prediction
from mklab.lab.verdict import Outcome

CELL = '### BEGIN SOLUTION\nchoice = "B"\nconfidence = "fairly"\n### END SOLUTION\n'


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "python"))
    options = (
        Option("Three times.", "An APIC has no queue: three 0xEA are one bit."),
        Option("Once.", "One bit of IRR for each vector.", right=True),
        Option("Never.", "IF = 0 delays, and IRR remembers."),
    )
    asked = Prediction("Three CPUs send 0xEA to a CPU with IF = 0. How often does its handler run?", options)
    return prediction("99.1", "Merging", asked, ("Look at IRR.", "One bit for each vector.", "It is a letter."))


def test_the_stub_keeps_the_names(exercise: Exercise) -> None:
    assert exercise.stub == "choice = ...\nconfidence = ...\n"
    assert exercise.examine(exercise.stub).outcome is Outcome.NOT_ATTEMPTED


def test_the_right_choice_opens_all_reasons(exercise: Exercise) -> None:
    verdict = exercise.examine(exercise.solution())
    assert verdict.passed, repr(verdict)
    for reason in ("One bit of IRR", "no queue", "IRR remembers"):
        assert reason in verdict.message


def test_every_wrong_option_is_a_mistake_with_its_own_reason_only(exercise: Exercise) -> None:
    assert [one.name[0] for one in exercise.mistakes] == ["A", "C"]
    for mistake, other in zip(exercise.mistakes, reversed(exercise.mistakes), strict=True):
        verdict = exercise.examine(mistake.apply(exercise.solution()))
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message
        assert other.message not in verdict.message
        assert "One bit of IRR" not in verdict.message


def test_a_small_letter_is_the_same_choice(exercise: Exercise) -> None:
    assert exercise.examine('choice = "b"\nconfidence = "sure"').passed
    assert exercise.examine('choice = "B "\nconfidence = "Sure"').passed
    assert "You chose A: Three times" in exercise.examine('choice = "a"\nconfidence = "sure"').happened


@pytest.mark.parametrize(("confidence", "words"), [("guess", "You had guessed"), ("sure", "and rightly")])
def test_how_sure_somebody_was_is_taken_up(exercise: Exercise, confidence: str, words: str) -> None:
    assert words in exercise.examine(f'choice = "B"\nconfidence = "{confidence}"').happened


def test_sure_and_wrong(exercise: Exercise) -> None:
    assert "worth a second look" in exercise.examine('choice = "A"\nconfidence = "sure"').happened


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('choice = "D"\nconfidence = "sure"', "There is no option 'D'. Choose one of A, B, C"),
        ('choice = ["B"]\nconfidence = "sure"', "There is no option ['B']"),
        ('choice = "B"\nconfidence = "very"', "'guess', 'fairly', 'sure'"),
        ('choice = "B"\nconfidence = ...', "confidence has no value yet"),
        ('confidence = "sure"', "choice has no value yet. What to do"),
        ("choice = B", "NameError: name 'B' is not defined"),
    ],
)
def test_what_is_no_choice(exercise: Exercise, text: str, words: str) -> None:
    verdict = exercise.examine(text)
    assert verdict.outcome is Outcome.NOT_YET
    assert words.replace(" What to do", "") in verdict.message


def test_the_question_is_shown_without_a_reason(exercise: Exercise) -> None:
    shown = exercise.question
    assert "Three CPUs send" in repr(shown)
    page = shown._repr_html_()  # type: ignore[attr-defined]
    assert "B. Once." in page
    for told in (repr(shown), page):
        assert "queue" not in told
        assert "Yes" not in told
