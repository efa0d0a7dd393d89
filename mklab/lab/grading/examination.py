"""One answer of one student: what is asked about it, and what came of it. Both travel between computers."""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mklab.lab.checking.check import Result, check
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["Examined", "Question", "examined"]


@dataclass(frozen=True)
class Question:
    """An answer that is to be examined.

    Attributes:
        student, exercise: whose, and to what.
        text: of the cell.
        seed: of the student's numbers.
        hidden: the text of a hidden check; None: there is none.
        others: further seeds and whose they are, in words: if the answer is right for one of them, that is told.
    """

    student: str
    exercise: str
    text: str
    seed: int
    hidden: str | None = None
    others: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Examined:
    """What came of it.

    Attributes:
        verdict: the verdict.
        seconds: of a clock.
        missing: what could not be limited where it was examined.
        note: what an instructor should know besides; may be empty.
    """

    verdict: Verdict
    seconds: float = 0.0
    missing: tuple[str, ...] = ()
    note: str = ""


def examined(question: Question) -> Examined:
    """Examine an answer, in a process of its own."""
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = None
        if question.hidden is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mklab-hidden-")))
            (folder / f"{question.exercise}.py").write_text(question.hidden, encoding="utf-8")

        def ask(seed: int) -> Result:
            return check(question.exercise, question.text, seed, folder)

        result = ask(question.seed)
        if result.verdict.outcome is Outcome.NOT_CHECKED:
            # A computer that was too busy may be less so now.
            result = ask(question.seed)
        note = ""
        if result.verdict.outcome is Outcome.NOT_YET:
            fits = (whose for seed, whose in question.others if ask(seed).verdict.passed)
            note = next((f"It would pass with the numbers of {whose}." for whose in fits), "")
    return Examined(result.verdict, round(time.monotonic() - begun, 2), result.missing, note)
