"""Values by name: compared one by one; a known way to wrong ones gets its own words."""

from typing import Any

import pytest

from mklab.lab import source
from mklab.lab.exercise import Exercise
from mklab.lab.forms import values
from mklab.lab.forms.assigned import WrongValues, as_python, assigned
from mklab.lab.forms.difference import first_difference
from mklab.lab.forms.values import Value, Wrong
from mklab.lab.verdict import Outcome
from mklab.machine.memory import PhysicalMemory

CELL = '### BEGIN SOLUTION\nvector = 0x96\ntail = b"\\x00\\x00"\n### END SOLUTION\n'


def facts(seed: int) -> dict[str, Any]:
    """A trampoline's page by the seed, and two bytes that a load has cleared: asked of a memory."""
    memory = PhysicalMemory([(0, 1 << 20)])
    memory.write(0x467, (0x96 + seed % 4 << 8).to_bytes(2, "little"))
    return {"vector": int.from_bytes(memory.read(0x467, 2), "little") >> 8, "tail": memory.read(0x5000, 2)}


@pytest.fixture
def exercise(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    monkeypatch.setattr(source, "answer_cell", lambda _: (CELL, "python"))
    asked = (
        Value("vector", "the vector of the SIPI", "A vector is a page's number."),
        Value("tail", "the last two bytes", "kexec_load writes up to memsz.", show=True),
    )
    wrong = (
        Wrong("the segment", lambda right: {"vector": right["vector"] << 8}, "That is the segment that a SIPI makes."),
        Wrong("bufsz only", {"tail": b"\xcc\xcc"}, "The tail is cleared up to memsz."),
    )
    hints = ("look", "rule", "shape")
    given = "the trampoline lies at {:#x}".format
    return values(
        *("99.1", "A page", "memory", facts, asked, hints, wrong),
        passed="A vector is a page.",
        given=lambda seed: given((0x96 + seed % 4) << 12),
    )


@pytest.mark.parametrize("seed", [0, 1, 6])
def test_solution_and_mistakes_for_everybodys_numbers(exercise: Exercise, seed: int) -> None:
    solution = exercise.solution(seed)
    assert f"vector = {0x96 + seed % 4:#x}" in solution
    assert exercise.examine(solution, seed).passed
    for mistake in exercise.mistakes:
        verdict = exercise.examine(mistake.apply(solution), seed)
        assert verdict.outcome is Outcome.NOT_YET
        assert mistake.message in verdict.message
    assert not exercise.examine(exercise.solution(seed + 1), seed).passed


def test_one_that_is_not_to_be_shown_is_not_shown(exercise: Exercise) -> None:
    verdict = exercise.examine('vector = 0x97\ntail = b"\\x00\\x00"')
    assert (verdict.expected, verdict.got) == ("vector = a number", "vector = 0x97")
    assert "vector is not the vector of the SIPI" in verdict.happened
    assert "0x96" not in verdict.message


def test_numbers_of_events_are_written_in_decimal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        source, "answer_cell", lambda _: ("### BEGIN SOLUTION\nevent = 1370\n### END SOLUTION\n", "python")
    )
    asked = (Value("event", "the number of the event", "Look at the story.", decimal=True),)
    hints = ("look", "rule", "shape")
    exercise = values(
        *("99.1", "A page", "diagnose", lambda seed: {"event": 1370 + seed}, asked, hints, ()), passed="", given=str
    )
    assert exercise.solution(2) == "event = 1372"
    assert exercise.examine("event = 1371", 2).got == "event = 1371"


def test_one_that_is_shown_with_its_first_difference(exercise: Exercise) -> None:
    verdict = exercise.examine('vector = 0x96\ntail = b"\\x00\\xcc"')
    assert verdict.expected == "tail = b'\\x00\\x00'"
    assert "first difference is byte 1, counted from 0: yours is 0xcc, expected 0" in verdict.happened
    assert verdict.next_step == "kexec_load writes up to memsz."


@pytest.mark.parametrize("text", ["vector = True", "vector = '0x96'", "vector = None", "vector = [0x96]"])
def test_another_type_is_another_value(exercise: Exercise, text: str) -> None:
    assert exercise.examine(f'{text}\ntail = b"\\x00\\x00"').outcome is Outcome.NOT_YET


def test_a_value_that_is_missing(exercise: Exercise) -> None:
    verdict = exercise.examine("vector = 0x96\ntail = ...")
    assert verdict.happened == "tail has no value yet."
    assert verdict.next_step == "It is to be the last two bytes."


def test_a_solution_that_does_not_assign_is_refused() -> None:
    with pytest.raises(ValueError, match="must assign tail once, on a line of its own, not 0 times"):
        assigned("x = 1", "tail")
    with pytest.raises(ValueError, match="not 2 times"):
        WrongValues("two", (), "", ("x",), dict).apply("x = 1\nx = 2")


@pytest.mark.parametrize(
    ("value", "text"),
    [(9, "9"), (10, "0xa"), (-16, "-0x10"), (True, "True"), (None, "None"), ([1, (2,)], "[1, (2,)]"), ("a", "'a'")],
)
def test_values_as_python(value: object, text: str) -> None:
    assert as_python(value) == text


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (b"ab", b"ab", ""),
        (b"ab", b"a", "byte 1, counted from 0: yours has none, expected 0x62"),
        ([1, 2], [1, 2, 3], "item 2, counted from 0: there should be no 3"),
        ("one\ntwo", "one\ntoo", "line 1, counted from 0: yours is 'too', expected 'two'"),
        ("ab", "ac", "character 1, counted from 0: yours is 'c', expected 'b'"),
        ({"a": 1}, {"a": 2}, "at 'a': yours is 2, expected 1"),
        ({"a": 1}, {"a": 1, "b": 2}, "There should be no 'b'"),
        ({"a": 1}, {}, "at 'a': yours has none"),
        ([1], (1,), "It should be a list of 1 item, not a tuple of 1 item"),
        (1, 2, ""),
    ],
)
def test_first_difference(expected: object, got: object, words: str) -> None:
    found = first_difference(expected, got)
    assert words in found
    assert bool(words) == bool(found)


def test_a_row_that_is_not_to_be_shown_is_told_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        source, "answer_cell", lambda _: ("### BEGIN SOLUTION\nrow = [16, 1]\n### END SOLUTION\n", "python")
    )
    value = Value("row", "two numbers", "Look again.")
    one = values(
        "99.1", "Rows", "memory", lambda _: {"row": [16, 1]}, (value,), ("look", "rule", "shape"), (), passed="Yes."
    )
    verdict = one.examine("row = [17, 1]")
    assert "item 0, counted from 0: yours is 0x11." in verdict.happened
    assert "0x10" not in verdict.message
    assert one.examine("row = (16, 1)").passed
    assert not one.examine("row = [16, True]").passed
