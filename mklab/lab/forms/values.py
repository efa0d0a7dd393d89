"""Values read from a machine or from a trace, each with a name: exercises of the kinds memory, diagnose and review."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, not_yet
from mklab.lab.forms.assigned import MissingError, WrongValues, as_python, taken
from mklab.lab.forms.difference import first_difference, kind_of
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["Value", "Wrong", "values"]

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """One value that is asked for.

    Attributes:
        name: of the variable.
        what: what it is, in words: ``the byte at 0x1233``.
        look: what to do about a wrong one: where to look.
        show: whether a wrong answer is told the right value; else it is told what kind of value it is.
        decimal: whether numbers are written in decimal, as those of events are; else in hexadecimal.
    """

    name: str
    what: str
    look: str
    show: bool = False
    decimal: bool = False

    def written(self, value: Any) -> str:
        """``value`` as Python source, and as a verdict shows it."""
        return repr(value) if self.decimal else as_python(value)


@dataclass(frozen=True)
class Wrong:
    """A known way to come to wrong values.

    Attributes:
        name: what is wrong, in words.
        change: the wrong values by name, or a function that makes them of the right ones.
        message: what the verdict says.
    """

    name: str
    change: Facts | Callable[[Facts], Facts]
    message: str

    def values(self, right: Facts) -> Facts:
        """The wrong values."""
        return self.change(right) if callable(self.change) else self.change


def values(
    id: str,  # noqa: A002
    title: str,
    kind: str,
    facts: Callable[[int], Facts],
    asked: tuple[Value, ...],
    hints: tuple[str, str, str],
    wrong: tuple[Wrong, ...],
    *,
    passed: str,
    given: Callable[[int], str] | None = None,
) -> Exercise:
    """An exercise that is answered by values of variables.

    Args:
        id, title, hints: as of any exercise.
        kind: ``memory``, ``diagnose`` or ``review``.
        facts: from the student's seed to the right value of every name; it asks the machine, in the examiner.
        asked: what is compared, in this order. The script's solution assigns each on a line of its own.
        wrong: known wrong values; where an answer has all of them, it gets their message.
        passed: what is told to those who have passed: why the values are what they are.
        given: the student's numbers in words, where the seed changes the right values.
    """
    names = tuple(one.name for one in asked)
    mistakes = tuple(WrongValues(one.name, (), one.message, names, one.values) for one in wrong)

    def judge(answer: Answer, seed: int) -> Verdict:
        return _judge(answer, facts(seed), asked, wrong, passed)

    def solve(seed: int) -> str:
        right = facts(seed)
        return "\n".join(f"{one.name} = {one.written(right[one.name])}" for one in asked)

    solved = solve if given is not None else None
    return Exercise(id, title, kind, judge, hints, mistakes, given=given, solve=solved)


def _judge(answer: Answer, right: Facts, asked: tuple[Value, ...], wrong: tuple[Wrong, ...], passed: str) -> Verdict:
    got = {}
    for one in asked:
        try:
            got[one.name] = taken(answer, one.name)
        except MissingError as error:
            return not_yet(f"{error}.", next_step=f"It is to be {one.what}.")
        if _letters(right[one.name]) and isinstance(got[one.name], str):
            got[one.name] = got[one.name].strip().upper()  # a small letter names the same option
    first = next((one for one in asked if not _same(right[one.name], got[one.name])), None)
    if first is None:
        return Verdict(Outcome.PASSED, passed)
    value, yours = right[first.name], got[first.name]
    known = next((one for one in wrong if _is(one.values(right), first.name, got)), None)
    happened = known.message if known else f"{first.name} is not {first.what}."
    letter = isinstance(value, str) and len(value) == 1
    difference = "" if letter else first_difference(value, yours, show=first.show)
    if not isinstance(yours, type(value)) and not isinstance(value, (list, tuple)) and known is None:
        difference = f"It should be {kind_of(value)}, not {kind_of(yours)}."
    return not_yet(
        f"{happened} {difference}".strip(),
        first.name,
        first.look,
        expected=f"{first.name} = {first.written(value) if first.show else kind_of(value)}",
        got=f"{first.name} = {_short(first.written(yours))}",
    )


def _letters(value: Any) -> bool:
    """Whether a value is one or several letters of options, as in ``"ABA"``."""
    return isinstance(value, str) and value.isalpha() and value.isupper()


def _is(wrong: Facts, first: str, got: Facts) -> bool:
    """Whether an answer has all of the ``wrong`` values, and among them the first that differs."""
    return first in wrong and all(_same(value, got[name]) for name, value in wrong.items())


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a list is as good as a tuple, True is not 1."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]} ..."
