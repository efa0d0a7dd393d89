"""A function in Python, called with cases that have names: the first that fails is told."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.forms.assigned import as_python
from mklab.lab.forms.difference import first_difference
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["Case", "python"]

_MOST_NAMED = 10
"""Cases that are named where all went well; of more, only the number is told."""
_LONGEST = 300


@dataclass(frozen=True)
class Case:
    """One call of the student's function.

    Attributes:
        name: what is special about it, in words; it is the first hint.
        args: plain data.
        expected: what it must return.
        look: what to think about where it does not.
        raises: the type of the exception that it must raise instead, for example ``ValueError``.
        says: what the exception's text must hold, for example ``EINVAL``.
        wrong: messages for wrong results that are known: ``((result, message), ...)``.
    """

    name: str
    args: tuple[Any, ...]
    expected: Any = None
    look: str = ""
    raises: str = ""
    says: str = ""
    wrong: tuple[tuple[Any, str], ...] = ()


def python(
    id: str,  # noqa: A002
    title: str,
    function: str,
    cases: Sequence[Case] | Callable[[int], Sequence[Case]],
    hints: tuple[str, str, str],
    mistakes: tuple[Mistake, ...],
    *,
    alternatives: tuple[str | Mistake, ...] = (),
    prelude: str = "",
    given: Callable[[int], str] | None = None,
) -> Exercise:
    """An exercise that is answered by a function without effects.

    Args:
        id, title, hints, mistakes, alternatives, prelude, given: as of any exercise.
        function: its name.
        cases: called in this order; or a function that makes them of the student's seed.
    """

    def judge(answer: Answer, seed: int) -> Verdict:
        tried = cases(seed) if callable(cases) else cases
        for case in tried:
            verdict = _tried(answer, function, case)
            if verdict is not None:
                return verdict
        names = ": " + ", ".join(case.name for case in tried) if len(tried) <= _MOST_NAMED else ""
        return Verdict(Outcome.PASSED, f"{function} did what it should in {len(tried)} cases{names}.")

    return Exercise(id, title, "python", judge, hints, mistakes, alternatives, prelude, given)


def _tried(answer: Answer, function: str, case: Case) -> Verdict | None:
    """What is wrong with one case, or None."""
    call = _short(f"{function}({', '.join(as_python(one) for one in case.args)})")
    where = f'case "{case.name}": {call}'
    wanted = f"{case.raises} ({case.says})" if case.says else case.raises
    look = case.look or "Work this case out on paper, then follow your code through it."
    try:
        got = answer.call(function, *case.args)
    except AnswerError as error:
        if error.kind == "strange" and case.raises and re.search(rf"\b({case.raises}|type)\b", str(error)):
            return not_yet(
                f"In the case of {case.name} your function returned {case.raises}, as if it were a result: the caller"
                " goes on with it.",
                where,
                f"To refuse is to raise: raise {case.raises}(...) ends the function there, without a result.",
                expected=wanted,
            )
        if error.kind != "raised" or (error.type in ("SyntaxError", "NameError") and error.type != case.raises):
            raise
        if case.raises == error.type and case.says in str(error):
            return None
        return not_yet(
            f"In the case of {case.name} your function raised {error.type}: {error}.",
            f"{where}; {error.where(answer.source)}".removesuffix("; "),
            look,
            expected=wanted or _short(as_python(case.expected)),
            got=f"{error.type}: {error}",
        )
    if case.raises:
        return not_yet(
            f"In the case of {case.name} your function should have refused.",
            where,
            look,
            expected=wanted,
            got=_value(got),
        )
    if got == case.expected and isinstance(got, bool) == isinstance(case.expected, bool):
        return None
    known = next((message for result, message in case.wrong if result == got), "")
    happened = known or f"In the case of {case.name} your function gave something else."
    happened = f"{happened} {first_difference(case.expected, got)}".strip()
    if isinstance(got, str) and isinstance(case.expected, int):
        happened = (
            f"In the case of {case.name} your function gave a text, not a number. hex() and format strings make texts,"
            " for people to read: return the number itself."
        )
    if got is None and not known:
        happened = f"In the case of {case.name} your function returned None. Has it a return on every path?"
    return not_yet(happened, where, look, expected=_value(case.expected), got=_value(got))


def _value(value: Any) -> str:
    """A value as it is shown: text with its lines."""
    return _short(value if isinstance(value, str) and "\n" in value else as_python(value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
