"""A lab as its notebook uses it: ``course = lab.open("04")``, then check, hint, solution and report."""

import html
import os
from dataclasses import dataclass

from mklab.lab import exercises, source
from mklab.lab.checking.check import check
from mklab.lab.exercise import Exercise, Hint
from mklab.lab.progress import Progress
from mklab.lab.verdict import Outcome, Verdict

__all__ = ["ANSWERS", "Given", "Lab", "Report", "Solution", "open_lab"]

ANSWERS: dict[str, str] = {}
"""The text of each answer's cell that was run in this process, by exercise; the magics write it."""

_NBGRADER = "NBGRADER_EXECUTION"
"""Set by nbgrader while it grades: a cell that raises scores nothing there."""


def open_lab(number: str, student: str | None = None) -> "Lab":
    """Open a lab.

    Args:
        number: ``"00"`` to ``"08"``.
        student: a name, from which the numbers of exercises come; the one given last by default.

    Raises:
        MklabError: there is no such lab, or the progress file cannot be read.
    """
    progress = Progress.load()
    if student is not None and student != progress.student:
        progress.student = student
        progress.save()
    _load_magics()
    return Lab(number, progress)


def _load_magics() -> None:
    """Make the lab's magics known to the notebook, if this is one."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.run_line_magic("load_ext", "mklab.lab.magics")


class Lab:
    """One lab.

    Attributes:
        number: ``"00"`` to ``"08"``.
        progress: what was done so far.
    """

    def __init__(self, number: str, progress: Progress) -> None:
        self.number = number
        self.progress = progress
        self._exercises = {one.id: one for one in exercises.of(number)}

    def _find(self, exercise: str) -> Exercise:
        if exercise not in self._exercises:
            raise ValueError(f"exercise must be one of {list(self._exercises)}, not {exercise!r}")
        return self._exercises[exercise]

    def given(self, exercise: str) -> "Given":
        """The numbers of an exercise, which are the student's own.

        Raises:
            ValueError: this lab has no such exercise.
        """
        found = self._find(exercise)
        words = found.given(self.progress.seed) if found.given is not None else "Everybody has the same numbers."
        return Given(words)

    def question(self, exercise: str) -> object:
        """What there is to choose from: the options of a prediction, or the lines to be put into order.

        Raises:
            ValueError: this lab has no such exercise, or the text above it says all.
        """
        found = self._find(exercise)
        if found.question is None:
            raise ValueError(f"exercise must be a prediction or one with lines to be put into order, not {exercise!r}")
        return found.question

    def check(self, exercise: str) -> Verdict:
        """Check the answer's cell as it was run last.

        Raises:
            ValueError: this lab has no such exercise.
            AssertionError: while nbgrader grades, for anything but a pass.
        """
        found = self._find(exercise)
        text = ANSWERS.get(exercise)
        if text is None:
            verdict = Verdict(
                Outcome.NOT_ATTEMPTED,
                f"No cell with an answer to {exercise} has been run.",
                next_step=f"Run the cell that begins with %%{_magic(found)} {exercise}, then this one again.",
                exercise=exercise,
            )
        else:
            verdict = check(exercise, text, self.progress.seed).verdict
            self.progress.note(exercise, verdict.outcome)
        if os.environ.get(_NBGRADER):
            if not verdict.passed:
                raise AssertionError(repr(verdict))
            return _Shown.from_dict(verdict.to_dict())
        return verdict

    def hint(self, exercise: str, level: int | None = None) -> Hint:
        """The next hint: 1 says where to look, 2 which rule holds, 3 what the answer looks like.

        Raises:
            ValueError: this lab has no such exercise, or there is no such hint.
        """
        found, done = self._find(exercise), self.progress.of(exercise)
        chosen = min(done.hints + 1, 3) if level is None else level
        hint = found.hint(chosen)
        if chosen > done.hints:
            done.hints = chosen
            self.progress.save()
        return hint

    def solution(self, exercise: str) -> "Solution":
        """Our answer, after a pass, or after an attempt and three hints.

        Raises:
            ValueError: this lab has no such exercise.
        """
        found, done = self._find(exercise), self.progress.of(exercise)
        if done.passed or (done.attempts and done.hints == 3):
            return Solution(found.solution(self.progress.seed))
        missing = [] if done.attempts else ["check an answer of your own"]
        missing += [f"look at hint {level}" for level in range(done.hints + 1, 4)]
        return Solution(f"Our answer opens when you have passed the checks. Or first {', then '.join(missing)}.")

    def report(self) -> "Report":
        """How far the lab is done, and where that is kept."""
        rows = tuple(
            (one.id, one.title, str(done.outcome), done.attempts, done.hints)
            for one in self._exercises.values()
            for done in [self.progress.of(one.id)]
        )
        return Report(rows, self.progress.path.name)


class _Shown(Verdict):
    """A verdict that a cell displays and does not give as its result: nbgrader takes a result for partial credit."""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"text/plain": repr(self), "text/html": self._repr_html_()}, raw=True)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Given:
    """A student's numbers, in words."""

    text: str

    def __repr__(self) -> str:
        """The words."""
        return self.text


@dataclass(frozen=True)
class Solution:
    """An answer's cell, or why it is not shown yet."""

    text: str

    def __repr__(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True)
class Report:
    """A table of what was done.

    Attributes:
        rows: exercise, title, outcome, attempts and hints of each.
        file: where it is kept.
    """

    rows: tuple[tuple[str, str, str, int, int], ...]
    file: str

    @property
    def _summary(self) -> str:
        passed = sum(row[2] == Outcome.PASSED for row in self.rows)
        return f"{passed} of {len(self.rows)} exercises {Outcome.PASSED}. Kept in {self.file}, on this computer only."

    def __repr__(self) -> str:
        """The table as text."""
        lines = [f"{'':<6}{'exercise':<40}{'outcome':<20}{'attempts':>8}{'hints':>7}"]
        lines += [
            f"{id_:<6}{title:<40}{outcome:<20}{tries:>8}{hints:>7}" for id_, title, outcome, tries, hints in self.rows
        ]
        return "\n".join([*lines, self._summary])

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        heads = "".join(f'<th scope="col">{one}</th>' for one in ("", "exercise", "outcome", "attempts", "hints"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(one))}</td>" for one in row) + "</tr>" for row in self.rows
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table><p>{html.escape(self._summary)}</p>"


def _magic(exercise: Exercise) -> str:
    return source.MAGICS[source.answer_cell(exercise.id)[1]]
