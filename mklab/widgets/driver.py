"""What a dashboard steers: anything that makes a film grow, or that plays one."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mklab.recording import Film

__all__ = ["UNITS", "Driver", "Runner"]

UNITS = ("instruction", "event", "message")
"""How far one step goes."""


class Driver(Protocol):
    """What is steered."""

    @property
    def film(self) -> Film:
        """What was recorded so far."""

    @property
    def look(self) -> int:
        """Where it stands: the number of the last look, which need not be the film's last; -1: it has none."""

    def step(self, unit: str = "event") -> str | None:
        """Go on by an ``instruction``, to the next ``event`` that can be seen, or to the next ``message``.

        Returns:
            Why it cannot go on, or has stopped on the way, in words; else nothing.
        """

    def back(self, unit: str = "event") -> str | None:
        """Undo as much; returns as :meth:`step`."""

    def run(self) -> str | None:
        """Go on to the end; returns as :meth:`step`."""

    def reset(self) -> None:
        """Start again; :attr:`film` may then be another one."""


@runtime_checkable
class Runner(Protocol):
    """A driver that can do more: it runs in stretches, stops where it is told to, and goes to any moment."""

    @property
    def film(self) -> Film:
        """As a driver's."""

    @property
    def look(self) -> int:
        """As a driver's."""

    @property
    def schedule(self) -> str:
        """Who runs next, in words: ``round robin, 1,000 instructions``. Empty where nothing runs."""

    @property
    def limit(self) -> int:
        """Virtual time at which a run ends at the latest; 0: none is known."""

    @property
    def cpu(self) -> int | None:
        """The CPU at which the last run was stopped; None: at none."""

    def step(self, unit: str = "event") -> str | None:
        """As a driver's."""

    def back(self, unit: str = "event") -> str | None:
        """As a driver's."""

    def run(self) -> str | None:
        """As a driver's."""

    def begin(self) -> None:
        """A run begins here: its limit is counted from now."""

    def advance(self, seconds: float) -> str | None:
        """Go on for about so long (of the host's time), but no further than the next stop.

        Returns:
            Why it has stopped, in words; None: it could go on.
        """

    def seek(self, look: int) -> None:
        """Go to that look."""

    def stop_at(self, conditions: Sequence[str]) -> None:
        """Stop a run there: see :func:`mklab.widgets.condition.parse`.

        Raises:
            ValueError: one of them cannot be read, or cannot be met here.
        """

    def reset(self, schedule: str = "") -> None:
        """Start again; with ``schedule``: ``round robin``, ``round robin 500``, ``seed 7``; empty: the same.

        Raises:
            ValueError: there is no such schedule.
        """
