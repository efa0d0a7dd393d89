"""What may be attached to a machine: whoever looks at it, and what goes back in time with it."""

from typing import Protocol

__all__ = ["Onlooker", "Timeline"]


class Timeline(Protocol):
    """What can go back in time with a machine."""

    def back(self, n: int, unit: str) -> None:
        """Undo."""

    def seek(self, event: int) -> None:
        """Go to an event."""


class Onlooker(Protocol):
    """Looks at the machine where it stands still, and changes nothing.

    Attributes:
        stride: instructions executed between two looks at most.
        each_event: whether to look at each event, too.
    """

    stride: int
    each_event: bool

    def look(self, why: str) -> None:
        """A stop: ``slice`` (its end), ``part`` (within one), ``input`` (after an act from outside) or ``time``."""
