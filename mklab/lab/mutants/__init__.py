"""Mutants of the solutions: how many answers that are nearly right do the checks reject?

A mutant is a solution in which a program has changed one thing: a constant, a line, an order, an operator. Nobody has
thought of it as a mistake, so a check that rejects it does not merely know its author's own list.
"""

from dataclasses import dataclass

__all__ = ["Mutant"]


@dataclass(frozen=True)
class Mutant:
    """A solution with one change.

    Attributes:
        name: what was changed, with its line.
        text: the whole answer.
    """

    name: str
    text: str
