"""Verdicts: what a check says, in words that name what happened, where, and what to do next."""

import html
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

__all__ = ["MARKS", "Outcome", "Verdict"]


class Outcome(StrEnum):
    """What a check can find. It proves no answer right, so the best it can say is that the checks were passed."""

    PASSED = "passed the checks"
    NOT_YET = "not yet"
    NOT_ATTEMPTED = "not attempted yet"
    NOT_CHECKED = "could not be checked"


MARKS = {
    Outcome.PASSED: "\u2713",
    Outcome.NOT_YET: "\u25d0",
    Outcome.NOT_ATTEMPTED: "\u25cb",
    Outcome.NOT_CHECKED: "!",
}
"""A character for each, beside its words."""


@dataclass(frozen=True)
class Verdict:
    """What a check says.

    Attributes:
        outcome: in a word.
        happened: what the answer made the machine do.
        expected, got: what was to come out and what did, where they differ; may be empty.
        where: the event, the time, the address or the line of the answer to look at; may be empty.
        next_step: what to do next.
        exercise: whose verdict it is.
        picture: an SVG of what the machine did; may be empty.
    """

    outcome: Outcome
    happened: str
    where: str = ""
    next_step: str = ""
    expected: str = ""
    got: str = ""
    exercise: str = ""
    picture: str = ""

    @property
    def passed(self) -> bool:
        """Whether the checks were passed."""
        return self.outcome is Outcome.PASSED

    @property
    def message(self) -> str:
        """All that it says, without the outcome and the picture."""
        return " ".join(text for _, text in self._parts())

    def _parts(self) -> list[tuple[str, str]]:
        parts = [("What happened", self.happened), ("Expected", self.expected), ("Got", self.got)]
        parts += [("Where", self.where), ("What to do next", self.next_step)]
        return [(name, text) for name, text in parts if text]

    def __repr__(self) -> str:
        """The verdict as text, for terminals, screen readers and tests."""
        title = f"Exercise {self.exercise}: {self.outcome}".replace("Exercise : ", "")
        return "\n".join([title, *(f"  {name}: {text}" for name, text in self._parts())])

    def _repr_html_(self) -> str:
        """The same for a notebook; the outcome is in words and by a mark, never in colour alone."""
        title = f"{MARKS[self.outcome]} Exercise {html.escape(self.exercise)}: {self.outcome}"
        rows = "".join(f"<p><b>{name}.</b> {_plain(name, text)}</p>" for name, text in self._parts())
        style = "border-left:4px solid currentColor;padding:2px 12px;max-width:46em"
        return f'<div role="status" style="{style}"><p><b>{title}</b></p>{rows}{self.picture}</div>'

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: it is no verdict.
        """
        try:
            return cls(**{**data, "outcome": Outcome(data["outcome"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"data must be a verdict's, not {str(data)[:80]!r}: {error}") from None


def _plain(name: str, text: str) -> str:
    """Values in the code's font, with their lines; sentences as they are."""
    if name not in ("Expected", "Got"):
        return html.escape(text)
    return f'<code style="white-space:pre-wrap">{html.escape(text)}</code>'
