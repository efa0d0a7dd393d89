"""What the texts of the course must be: spelt, linked, short, and bound to Linux's functions and the RFC's patches.

``python -m mklab.lab.texts`` prints what is not so, and a test of the repository says the same. Each rule is a module
with a function that returns complaints; none of them changes a text.
"""

from dataclasses import dataclass

__all__ = ["Complaint"]


@dataclass(frozen=True, order=True)
class Complaint:
    """One thing that a text should not have, or lacks.

    Attributes:
        where: file and cell, line or exercise.
        what: the fault, and what would be right.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """On one line."""
        return f"{self.where}: {self.what}"
