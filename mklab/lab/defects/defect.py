"""What a defect of RFC v1 is, and what a look at the machine says about it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Defect", "Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that a scenario looked at.

    Attributes:
        what: in words, with the values seen on the machine.
        seen: whether the defect showed in it.
    """

    what: str
    seen: bool


@dataclass(frozen=True)
class Defect:
    """One of the defects of RFC v1.

    Attributes:
        number: its number in the lab's list, 1 to 44.
        name: a short name.
        cause: what in v1's code makes it: patch and function, in one line.
        run: the scenario, whose docstring says what it does; None: it cannot show on this machine.
        why_not: then, why.
    """

    number: int
    name: str
    cause: str
    run: Callable[[], list[Finding]] | None
    why_not: str = ""

    @property
    def done(self) -> str:
        """What the scenario does, in words; empty where there is none."""
        text = inspect.getdoc(self.run) if self.run is not None else None
        return " ".join((text or "").split())
