"""Predictions: a question before a run, whose every option has a reason, the wrong ones too.

Shown as it is, nothing is scored or kept, and an option opens when it is chosen, in a static page as well: it is plain
HTML. As an exercise (:func:`mklab.lab.forms.prediction`) only the question and the options are shown, and the check
gives the reasons.
"""

import html
from dataclasses import dataclass

__all__ = ["LETTERS", "Option", "Prediction", "Question"]

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Option:
    """One answer to choose.

    Attributes:
        text: the answer.
        why: why somebody might think so, and what would be seen if it were so.
        right: whether it is what happens.

    Raises:
        ValueError: no reason is given.
    """

    text: str
    why: str
    right: bool = False

    def __post_init__(self) -> None:
        if not self.why.strip():
            raise ValueError(f"why must say something about the option {self.text!r}, not {self.why!r}")


@dataclass(frozen=True)
class Prediction:
    """A question and its options.

    Raises:
        ValueError: fewer than two options, or not exactly one that is right.
    """

    question: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        right = sum(option.right for option in self.options)
        if len(self.options) < 2 or right != 1:
            raise ValueError(f"options must be two or more, one of them right, not {right!r} of {len(self.options)}")

    @property
    def question_only(self) -> "Question":
        """The question and the options, without the reasons."""
        return Question(self)

    def lettered(self) -> dict[str, Option]:
        """The options by their letters."""
        return dict(zip(LETTERS, self.options, strict=False))

    def __repr__(self) -> str:
        """The question and the options, for terminals and tests; the reasons stay closed."""
        lines = [f"  {letter}. {option.text}" for letter, option in zip(LETTERS, self.options, strict=False)]
        return "\n".join([self.question, *lines])

    def _repr_html_(self) -> str:
        """The question with options that open."""
        items = []
        for letter, option in zip(LETTERS, self.options, strict=False):
            word = "Yes, this is what happens." if option.right else "This is not what happens."
            items.append(
                f'<details style="margin:4px 0"><summary>{letter}. {html.escape(option.text)}</summary>'
                f'<p style="margin:4px 0 8px 24px"><b>{word}</b> {html.escape(option.why)}</p></details>'
            )
        return f'<div style="max-width:46em"><p><b>{html.escape(self.question)}</b></p>{"".join(items)}</div>'


@dataclass(frozen=True)
class Question:
    """A prediction as an exercise shows it: the reasons are not even in the page."""

    prediction: Prediction

    def __repr__(self) -> str:
        """The question and the options."""
        return repr(self.prediction)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        items = "".join(
            f"<p>{letter}. {html.escape(option.text)}</p>" for letter, option in self.prediction.lettered().items()
        )
        return f'<div style="max-width:46em"><p><b>{html.escape(self.prediction.question)}</b></p>{items}</div>'
