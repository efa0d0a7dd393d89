"""Answers that are values: ``choice = "B"``, ``order = "CADB"``, ``tail = 0x2FFF``."""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.exercise import Mistake

__all__ = ["Assigned", "MissingError", "WrongValues", "as_python", "assigned", "taken"]


class MissingError(AnswerError):
    """The answer gives no value for a name, or still has three dots there."""

    def __init__(self, name: str) -> None:
        super().__init__("raised", f"{name} has no value yet", "NameError")
        self.name = name


def taken(answer: Answer, name: str) -> Any:
    """What the answer assigns to ``name``.

    Raises:
        MissingError: nothing, or three dots.
        AnswerError: the cell's code failed, or the value is no plain data.
    """
    try:
        return answer.value(name)
    except AnswerError as error:
        if str(error) == f"the cell defines no {name!r}" or (error.kind == "strange" and "ellipsis" in str(error)):
            raise MissingError(name) from None
        raise


def as_python(value: Any) -> str:
    """``value`` as Python source, numbers above 9 in hexadecimal."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int):
        return repr(value) if -10 < value < 10 else hex(value)
    if isinstance(value, list):
        return f"[{', '.join(as_python(one) for one in value)}]"
    if isinstance(value, tuple):
        return f"({', '.join(as_python(one) for one in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_python(key)}: {as_python(one)}" for key, one in value.items()) + "}"
    return repr(value)


def assigned(source: str, name: str) -> Any:
    """The plain value that ``source`` assigns to ``name`` on a line of its own.

    Raises:
        ValueError: it does not do so once, or with something that has to be computed.
    """
    lines = re.findall(rf"^{name} = (.*)$", source, re.MULTILINE)
    if len(lines) != 1:
        raise ValueError(f"the solution must assign {name} once, on a line of its own, not {len(lines)!r} times")
    return ast.literal_eval(lines[0])


@dataclass(frozen=True)
class Assigned(Mistake):
    """A wrong answer with other values: ``edits`` are names and what is assigned to them, as Python has it."""

    def apply(self, solution: str) -> str:
        """The wrong answer's source.

        Raises:
            ValueError: the solution does not assign to a name exactly once.
        """
        for name, value in self.edits:
            assigned(solution, name)
            line = f"{name} = {value}"
            solution = re.sub(rf"^{name} = .*$", lambda _, line=line: line, solution, flags=re.MULTILINE)  # type: ignore[misc]
        return solution


@dataclass(frozen=True)
class WrongValues(Mistake):
    """A wrong answer whose values follow from the right ones.

    Attributes:
        names: what is asked for.
        change: from the right values to those of ``names`` that are wrong.
    """

    names: tuple[str, ...] = ()
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict

    def apply(self, solution: str) -> str:
        """The wrong answer's source, for the numbers of that solution.

        Raises:
            ValueError: the solution does not assign to each name exactly once.
        """
        right = {name: assigned(solution, name) for name in self.names}
        edits = tuple((name, as_python(value)) for name, value in self.change(right).items())
        return Assigned(self.name, edits, self.message).apply(solution)
