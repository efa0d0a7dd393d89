"""Lines in an order: the program is carried out, whatever its order, and what it did is judged."""

import pytest

from mklab.lab import source
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms import parsons
from mklab.lab.forms.parsons import Lines, Order, WrongOrder
from mklab.lab.verdict import Outcome, Verdict

CELL = '### BEGIN SOLUTION\norder = "CAD"\n### END SOLUTION\n'
LINES = {"A": "x = x + 1", "B": "x = 0", "C": "x = 4", "D": "y = 1 < 2"}


def run(order: Order, seed: int) -> Verdict:
    """A machine of one variable: the lines are carried out, and x is looked at."""
    names = {"x": 0}
    for number, line in enumerate(order.program, 1):
        exec(line, {}, names)
        if line == "x = 0" and number > 1:
            return not_yet("x was thrown away.", order.at(number), "Which line sets it back?")
    if names["x"] == 5:
        return Verdict(Outcome.PASSED, "x is 5.")
    return not_yet(f"x is {names['x']}, not 5.", order.place("A"), "When is x set, and when counted?")


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "python"))
    wrong = (
        WrongOrder("ACD", "counted before it is set", "x is 4, not 5"),
        WrongOrder("CAB", "a line too many", "x was thrown away"),
        WrongOrder("A", "not set", "x is 1, not 5"),
    )
    return parsons("99.1", "Five", LINES, run, ("look", "rule", "shape"), wrong, also=("DCA", "CA"))


def test_any_order_that_works_passes(exercise: Exercise) -> None:
    assert exercise.examine(exercise.solution()).passed
    assert exercise.examine(exercise.stub).outcome is Outcome.NOT_ATTEMPTED
    assert len(exercise.alternatives) == 2
    for other in exercise.alternatives:
        assert not isinstance(other, str)
        assert exercise.examine(other.apply(exercise.solution())).passed


def test_wrong_orders_get_their_messages(exercise: Exercise) -> None:
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(exercise.solution()))
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message


def test_the_verdict_names_the_step(exercise: Exercise) -> None:
    assert exercise.examine('order = "CAB"').where == "step 3 of your order, B: x = 0"
    assert exercise.examine('order = "D"').where == ""


@pytest.mark.parametrize("text", ['order = "c a d"', 'order = "C, A, D"', 'order = "".join(["C", "AD"])'])
def test_letters_however_they_are_written(exercise: Exercise, text: str) -> None:
    assert exercise.examine(text).passed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('order = "CAX"', "There is no line X"),
        ('order = "CAA"', "Line A stands in your order twice"),
        ('order = ""', "Your order is empty"),
        ("order = 7", "order is int, not text"),
        ("order = ['C', 'A']", "order is list, not text"),
        ("order = ...\nx = 1", "order has no value yet"),
    ],
)
def test_what_is_no_order(exercise: Exercise, text: str, words: str) -> None:
    verdict = exercise.examine(text)
    assert verdict.outcome is Outcome.NOT_YET
    assert words in verdict.happened


def test_lines_are_shown_as_text_and_escaped_as_html() -> None:
    shown = Lines(LINES)
    assert repr(shown).splitlines()[3] == "  D. y = 1 < 2"
    assert "y = 1 &lt; 2" in shown._repr_html_()


def test_the_program_as_text() -> None:
    assert Order("CA", Lines(LINES)).text == "x = 4\nx = x + 1\n"


def test_what_stands_behind_the_line_that_leaves() -> None:
    lines = Lines(dict.fromkeys("ABC", "nop"))
    assert Order("CAB", lines).behind("A") == " B stood behind A, which left: no CPU came there."
    assert Order("CAB", lines).behind("B") == ""
