"""Exercises: declared once, checked at once, with a verdict that says what happened, where, and what to do next.

The text students read and the cell they fill lie in the lab's script (:mod:`mklab.lab.source`); here is the rest: the
check, the hints, and the wrong answers that we know, each with the message that it must get.
"""

import html
import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mklab.errors import MklabError
from mklab.lab import source
from mklab.machine.schedule import RoundRobin

__all__ = [
    "Attempt",
    "Exercise",
    "Hint",
    "LimitedRoundRobin",
    "Mistake",
    "OutOfSlicesError",
    "Outcome",
    "Verdict",
    "attempt",
]


class Outcome(StrEnum):
    """What a check can find. It proves no answer right, so the best it can say is that the checks were passed."""

    PASSED = "passed the checks"
    NOT_YET = "not yet"
    NOT_ATTEMPTED = "not attempted yet"
    NOT_CHECKED = "could not be checked"


_MARKS = {
    Outcome.PASSED: "\u2713",
    Outcome.NOT_YET: "\u2026",
    Outcome.NOT_ATTEMPTED: "\u25cb",
    Outcome.NOT_CHECKED: "!",
}


@dataclass(frozen=True)
class Verdict:
    """What a check says.

    Attributes:
        outcome: in a word.
        happened: what the answer made the machine do.
        where: the event, the time, or the line of the answer to look at; may be empty.
        next_step: what to do next.
        exercise: whose verdict it is.
    """

    outcome: Outcome
    happened: str
    where: str = ""
    next_step: str = ""
    exercise: str = ""

    @property
    def passed(self) -> bool:
        """Whether the checks were passed."""
        return self.outcome is Outcome.PASSED

    def _parts(self) -> list[tuple[str, str]]:
        parts = [("What happened", self.happened), ("Where", self.where), ("What to do next", self.next_step)]
        return [(name, text) for name, text in parts if text]

    def __repr__(self) -> str:
        """The verdict as text, for terminals, screen readers and tests."""
        title = f"Exercise {self.exercise}: {self.outcome}".replace("Exercise : ", "")
        return "\n".join([title, *(f"  {name}: {text}" for name, text in self._parts())])

    def _repr_html_(self) -> str:
        """The same for a notebook; the outcome is in words and by a mark, never in colour alone."""
        title = f"{_MARKS[self.outcome]} Exercise {html.escape(self.exercise)}: {self.outcome}"
        rows = "".join(f"<p><b>{name}.</b> {html.escape(text)}</p>" for name, text in self._parts())
        style = "border-left:4px solid currentColor;padding:2px 12px;max-width:46em"
        return f'<div role="status" style="{style}"><p><b>{title}</b></p>{rows}</div>'


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: the solution with something changed.

    Attributes:
        name: what is wrong with it, in words.
        edits: ``(old, new)`` texts; each ``old`` occurs once in the solution.
        message: what the verdict must say, word for word, somewhere.
    """

    name: str
    edits: tuple[tuple[str, str], ...]
    message: str

    def apply(self, solution: str) -> str:
        """The wrong answer's source.

        Raises:
            ValueError: a text to be changed does not occur exactly once.
        """
        for old, new in self.edits:
            if solution.count(old) != 1:
                raise ValueError(f"{self.name}: the solution must hold {old!r} once, not {solution.count(old)!r} times")
            solution = solution.replace(old, new)
        return solution


@dataclass(frozen=True)
class Hint:
    """A hint, displayed as plain text."""

    text: str

    def __repr__(self) -> str:
        """The text itself."""
        return self.text


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        id: lab and number, as in the script's cell: ``"00.1"``.
        title: a few words.
        kind: how it is answered; ``"python"`` is a function in Python.
        judge: the check: from what the student wrote to a verdict. It changes nothing outside itself.
        hints: three, from where to look to the shape of the answer.
        mistakes: wrong answers that we know.
    """

    id: str
    title: str
    kind: str
    judge: Callable[[Any], Verdict]
    hints: tuple[str, str, str]
    mistakes: tuple[Mistake, ...]

    @property
    def stub(self) -> str:
        """The cell as students get it."""
        return source.stub(source.answer_cell(self.id))

    @property
    def solution(self) -> str:
        """The cell with our answer."""
        return source.solution(source.answer_cell(self.id))

    def check(self, answer: object) -> Verdict:
        """Check ``answer``; whatever it does, a verdict comes back."""
        try:
            verdict = self.judge(answer)
        except KeyboardInterrupt:
            verdict = Verdict(
                Outcome.NOT_CHECKED,
                "The check was interrupted before your answer had returned.",
                next_step="Look for a loop in your answer that never ends, then run this cell again.",
            )
        except Exception as error:  # a defect of ours must not look like one of the student's
            verdict = Verdict(
                Outcome.NOT_CHECKED,
                f"The check itself failed: {type(error).__name__}: {error}",
                next_step="This is the lab's mistake, not yours. Please report it, with the text of your cell.",
            )
        return replace(verdict, exercise=self.id)

    def hint(self, level: int = 1) -> Hint:
        """Hint 1 says where to look, 2 which rule holds, 3 what the answer looks like.

        Raises:
            ValueError: there is no such hint.
        """
        if level not in (1, 2, 3):
            raise ValueError(f"level must be 1, 2 or 3, not {level!r}")
        return Hint(f"Hint {level} of 3: {self.hints[level - 1]}")


@dataclass(frozen=True)
class Attempt:
    """What became of calling a student's function.

    Attributes:
        error: what it raised, or None.
        line: the line of the student's code at which it did, with its number; empty where there is none.
    """

    error: BaseException | None = None
    line: str = ""


def attempt(answer: Callable[..., object], *arguments: object) -> Attempt:
    """Call a student's function and catch what it raises; only an interrupt passes through."""
    try:
        answer(*arguments)
    except (Exception, SystemExit) as error:
        code = getattr(answer, "__code__", None)
        own = [
            frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename
        ]
        if not own or own[-1].lineno is None:
            return Attempt(error)
        text = linecache.getline(own[-1].filename, own[-1].lineno).strip()
        return Attempt(error, f"line {own[-1].lineno} of your cell" + (f": {text}" if text else ""))
    return Attempt()


class OutOfSlicesError(MklabError):
    """A machine under test has run for longer than any sensible answer needs."""


class LimitedRoundRobin(RoundRobin):
    """Round robin that ends a run after a number of slices: counted, so that a slow computer is no wrong answer.

    Args:
        slices: how many may be chosen.
    """

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.left = slices

    def choose(self, runnable: Any) -> tuple[int, int]:
        """The next CPU.

        Raises:
            OutOfSlicesError: none is left. The machine stands between two slices and is whole.
        """
        if not self.left:
            raise OutOfSlicesError("the machine has run for longer than the exercise needs")
        self.left -= 1
        return super().choose(runnable)
