"""Who runs next, and for how long: decisions, kept apart from the machine that carries them out."""

import bisect
from collections.abc import Sequence
from typing import Any, Protocol

from mklab.errors import require

__all__ = ["RoundRobin", "Schedule"]

_LONGEST = 100_000_000
"""A slice cannot be looked into: from here on, stopping it would take minutes."""


class Schedule(Protocol):
    """Chooses the next CPU and its budget."""

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """One of ``runnable`` (ascending, not empty) and its budget in instructions (at least 1)."""

    def state(self) -> dict[str, Any]:
        """What the next choices depend on, as plain data."""

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""


class RoundRobin:
    """Each CPU in turn, ``quantum`` instructions at a time.

    Raises:
        ValueError: ``quantum`` is not a positive number.
    """

    def __init__(self, quantum: int = 1000) -> None:
        require("quantum", quantum, 1, _LONGEST, " instructions")
        self.quantum = quantum
        self._last = -1

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next runnable CPU after the last one chosen."""
        after = bisect.bisect_right(runnable, self._last)
        self._last = runnable[after if after < len(runnable) else 0]
        return self._last, self.quantum

    def state(self) -> dict[str, Any]:
        """The quantum and the last choice."""
        return {"kind": "RoundRobin", "quantum": self.quantum, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        if state["kind"] != "RoundRobin":
            raise ValueError(f"the state must be of a RoundRobin schedule, not {state['kind']!r}")
        self.quantum, self._last = state["quantum"], state["last"]
