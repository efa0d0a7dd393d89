"""Exercises: declared once, checked at once, with a verdict that says what happened, where, and what to do next.

The text that students read and the cell that they fill lie in the lab's script (:mod:`mklab.lab.source`); here is the
rest: the check, the hints, and the wrong answers that we know, each with the message that it must get.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mklab.errors import MklabError
from mklab.lab import source
from mklab.lab.checking.answer import Answer, AnswerError
from mklab.lab.guestcode import Frame
from mklab.lab.verdict import Outcome, Verdict
from mklab.machine.schedule import RoundRobin
from mklab.trace import Trace

__all__ = ["KINDS", "Exercise", "Hint", "LimitedRoundRobin", "Mistake", "OutOfSlicesError", "not_yet"]

KINDS = ("python", "assembly", "c", "memory", "prediction", "parsons", "diagnose", "review")
"""How an exercise is answered: a function in Python; assembly or C that runs on the machine; values read from memory;
the letter of an option; the order of given lines; a cause found in a recorded run; a judgement with its evidence."""


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
        kind: one of :data:`KINDS`.
        judge: the check: from what the student wrote, and the seed of the student's numbers, to a verdict. It changes
            nothing outside itself.
        hints: three, from where to look to the shape of the answer.
        mistakes: wrong answers that we know.
        alternatives: other right answers: the whole cell, or edits of the solution as in a :class:`Mistake`.
        prelude: Python that comes before the answer: imports that the notebook has made.
        given: the student's numbers, in words, by the seed; None where everybody has the same.
        solve: the solution's source by the seed, where the seed changes it.
        question: what the notebook shows above the answer: options, or lines with letters; None: nothing but its text.
        frame: of assembly or C, what stands around the cell when it is built.
    """

    id: str
    title: str
    kind: str
    judge: Callable[[Answer, int], Verdict]
    hints: tuple[str, str, str]
    mistakes: tuple[Mistake, ...]
    alternatives: tuple[str | Mistake, ...] = ()
    prelude: str = ""
    given: Callable[[int], str] | None = None
    solve: Callable[[int], str] | None = None
    question: object = None
    frame: Frame = field(default_factory=Frame)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, not {self.kind!r}")

    @property
    def lab(self) -> str:
        """The number of its lab, as in ``"00"``."""
        return self.id.split(".")[0]

    @property
    def stub(self) -> str:
        """The cell's text as students get it, without its magic."""
        return source.stub(*source.answer_cell(self.id))

    def solution(self, seed: int = 0) -> str:
        """The cell's text with our answer, for the numbers of ``seed``."""
        return self.solve(seed) if self.solve is not None else source.solution(source.answer_cell(self.id)[0])

    def is_stub(self, cell: str) -> bool:
        """Whether the text of a cell is what students get, but for space."""
        return _same(source.body(cell), self.stub)

    def examine(self, cell: str, seed: int = 0) -> Verdict:
        """Check the text of a cell; whatever it does, a verdict comes back.

        It is for the examiner's process: a notebook calls :func:`mklab.lab.checking.check.check`.
        """
        body = source.body(cell)
        if self.is_stub(cell):
            verdict = Verdict(
                Outcome.NOT_ATTEMPTED,
                "The cell is as it was given to you.",
                next_step="Put your answer in place of the three dots. The first hint says where to begin.",
            )
        else:
            verdict = self._judged(body, seed)
        return replace(verdict, exercise=self.id)

    def _judged(self, body: str, seed: int) -> Verdict:
        with Answer(body, self.prelude) as answer:
            try:
                return self.judge(answer, seed)
            except AnswerError as error:
                return told(error, body)
            except Exception as error:  # a defect of ours must not look like one of the student's
                return Verdict(
                    Outcome.NOT_CHECKED,
                    f"The check itself failed: {type(error).__name__}: {error}",
                    next_step="This is the lab's mistake, not yours. Please report it, with the text of your cell.",
                )

    def hint(self, level: int = 1) -> Hint:
        """Hint 1 says where to look, 2 which rule holds, 3 what the answer looks like.

        Raises:
            ValueError: there is no such hint.
        """
        if level not in (1, 2, 3):
            raise ValueError(f"level must be 1, 2 or 3, not {level!r}")
        return Hint(f"Hint {level} of 3: {self.hints[level - 1]}")


def not_yet(happened: str, where: str = "", next_step: str = "", **more: Any) -> Verdict:
    """The verdict on an answer that is wrong."""
    return Verdict(Outcome.NOT_YET, happened, where, next_step, **more)


def told(error: AnswerError, body: str) -> Verdict:
    """The verdict on code that did not come to an end as code should."""
    where = error.where(body)
    match error.kind:
        case "raised" if error.type == "SyntaxError":
            return not_yet(f"Python cannot read your cell: {error}.", where, "Look at this line and the one above it.")
        case "raised" if error.type == "NameError":
            return not_yet(
                f"Your code raised {error.type}: {error}",
                where,
                "Is the name spelt as it was given? The check runs this cell alone: what other cells have made is not"
                " there. And a word that is text stands in quotes.",
            )
        case "raised":
            return not_yet(
                f"Your code raised {error.type}: {error}", where, "Find out which value this line had, and why."
            )
        case "endless":
            return not_yet(f"Your code did not come to an end: {error}.", where, "Which loop never ends, and why?")
        case "strange":
            return not_yet(f"Your code gave something the check cannot look at: {error}.", where, "Give plain values.")
    return not_yet(f"Your code ended the process it ran in: {error}.", where, "Nothing else was harmed. Take that out.")


def _same(one: str, other: str) -> bool:
    """Whether two cells differ in nothing but space."""
    return one.split() == other.split()


_SECONDS = 3.0


class OutOfSlicesError(MklabError):
    """A machine under test has run for longer than any sensible answer needs."""


class LimitedRoundRobin(RoundRobin):
    """Round robin that ends a run after a number of slices or events: counted, so that a slow computer is no mistake.

    Args:
        slices: how many may be chosen.
        trace: the machine's.
        events: how many there may be from now on: a guest that runs from one exception into the next makes some with
            almost every instruction.

    A guest that writes over the code it executes is translated anew at each instruction, ten thousand times more slowly
    than others: after :data:`_SECONDS` of the processor's time a run ends in any case.
    """

    def __init__(self, slices: int, trace: Trace, events: int = 20_000) -> None:
        super().__init__()
        self.left = slices
        self._trace = trace
        self._most_events = trace.count + events
        self._most_seconds = time.process_time() + _SECONDS

    def choose(self, runnable: Any) -> tuple[int, int]:
        """The next CPU.

        Raises:
            OutOfSlicesError: none is left. The machine stands between two slices and is whole.
        """
        over = self._trace.count > self._most_events or time.process_time() > self._most_seconds
        if not self.left or over:
            raise OutOfSlicesError("the machine has run for longer than the exercise needs")
        self.left -= 1
        return super().choose(runnable)
