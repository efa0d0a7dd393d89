"""Lines to be put into order, after Parsons: ``order = "CADB"``. What the lines do is judged, never their order."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mklab.lab.checking.answer import Answer
from mklab.lab.exercise import Exercise, Mistake, not_yet
from mklab.lab.forms.assigned import Assigned, MissingError, taken
from mklab.lab.verdict import Verdict

__all__ = ["Lines", "Order", "WrongOrder", "parsons"]


@dataclass(frozen=True)
class Lines:
    """The lines that are given, each with its letter: those that are needed, and some that are not."""

    by_letter: Mapping[str, str]

    def __repr__(self) -> str:
        """The lines as text."""
        return "\n".join(f"  {letter}. {line}" for letter, line in self.by_letter.items())

    def _repr_html_(self) -> str:
        """The lines for a notebook."""
        rows = "".join(
            f'<tr><th scope="row">{letter}</th><td style="text-align:left"><code style="white-space:pre">'
            f"{html.escape(line)}</code></td></tr>"
            for letter, line in self.by_letter.items()
        )
        heads = '<tr><th scope="col"></th><th scope="col">line</th></tr>'
        return f"<table><thead>{heads}</thead><tbody>{rows}</tbody></table>"


@dataclass(frozen=True)
class Order:
    """What a student has put together.

    Attributes:
        letters: as given.
        lines: all lines by their letters.
    """

    letters: str
    lines: Lines

    @property
    def program(self) -> list[str]:
        """The chosen lines in their order."""
        return [self.lines.by_letter[letter] for letter in self.letters]

    @property
    def text(self) -> str:
        """The chosen lines as one text."""
        return "".join(f"{line}\n" for line in self.program)

    def place(self, letter: str) -> str:
        """Where a line stands, in words, for a verdict's ``where``; empty where it was left out."""
        number = self.letters.find(letter) + 1
        return f"step {number} of your order, {letter}: {self.lines.by_letter[letter]}" if number else ""

    def behind(self, letter: str) -> str:
        """A sentence on what stands behind a line that leaves for good; empty where nothing does."""
        rest = " and ".join(self.letters.partition(letter)[2])
        return f" {rest} stood behind {letter}, which left: no CPU came there." if rest else ""

    def at(self, number: int) -> str:
        """The same by the number of the step, from 1."""
        return self.place(self.letters[number - 1])


@dataclass(frozen=True)
class WrongOrder:
    """A known wrong order, what is wrong with it, and what its verdict must say."""

    letters: str
    name: str
    message: str


def parsons(
    id: str,  # noqa: A002
    title: str,
    lines: Mapping[str, str],
    judge: Callable[[Order, int], Verdict],
    hints: tuple[str, str, str],
    wrong: tuple[WrongOrder, ...],
    also: tuple[str, ...] = (),
) -> Exercise:
    """An exercise that is answered by letters in an order.

    Args:
        id, title, hints: as of any exercise.
        lines: each line by its letter, distractors too. The script's solution assigns the letters to ``order``.
        judge: carries the program out, and says what became of it; the seed is the student's. It is called with
            letters that exist, each at most once.
        wrong: known wrong orders.
        also: other orders that work.
    """
    given = Lines(dict(lines))
    mistakes = tuple(Assigned(one.name, (("order", f'"{one.letters}"'),), one.message) for one in wrong)
    others: tuple[str | Mistake, ...] = tuple(Assigned(one, (("order", f'"{one}"'),), "") for one in also)

    def judged(answer: Answer, seed: int) -> Verdict:
        return _judge(given, answer, judge, seed)

    return Exercise(id, title, "parsons", judged, hints, mistakes, others, question=given)


def _judge(given: Lines, answer: Answer, judge: Callable[[Order, int], Verdict], seed: int) -> Verdict:
    letters = ", ".join(given.by_letter)
    try:
        order = taken(answer, "order")
    except MissingError as error:
        return not_yet(f"{error}.", next_step=f"Give it letters from {letters}, the first step first.")
    if not isinstance(order, str):
        return not_yet(
            f"order is {type(order).__name__}, not text.",
            next_step='Write the letters as one text, as in order = "BA".',
        )
    chosen = "".join(order.upper().replace(",", " ").split())
    for letter in chosen:
        if letter not in given.by_letter:
            return not_yet(f"There is no line {letter}.", next_step=f"The lines are {letters}.")
        if chosen.count(letter) > 1:
            return not_yet(f"Line {letter} stands in your order twice.", next_step="Use each line once at most.")
    if not chosen:
        return not_yet("Your order is empty.", next_step=f"Give it letters from {letters}, the first step first.")
    return judge(Order(chosen, given), seed)
