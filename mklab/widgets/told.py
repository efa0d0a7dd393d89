"""What is told of an event."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Fact", "Told"]


@dataclass(frozen=True)
class Fact:
    """Something that is known of an event.

    Attributes:
        label: what, in a word or two.
        words: the value.
        code: whether it is one of the machine's: digits and names, not a sentence.
        event: the event that it leads to, if any.
        trouble: whether it is one.
    """

    label: str
    words: str
    code: bool = False
    event: int | None = None
    trouble: bool = False


@dataclass(frozen=True)
class Told:
    """An event in words.

    Attributes:
        head: what happened, in a few words.
        why: why, or what it means, in a sentence or two.
        trouble: whether something went wrong.
        facts: its fields decoded, and what belongs to it.
    """

    head: str
    why: str
    trouble: bool = False
    facts: Sequence[Fact] = ()
