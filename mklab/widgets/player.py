"""A driver for a film that is there already: nothing runs, and every moment can be gone to."""

from mklab import trace
from mklab.recording import Film

__all__ = ["Player"]

_MESSAGE = (trace.IpiSent, trace.Delivered, trace.Lost, trace.Ignored, trace.MessageTaken)
"""Events that end a step of a message."""


class Player:
    """Plays ``film``.

    Attributes:
        film: as given.
        look: where it stands.

    Raises:
        ValueError: the film has no look at the machine.
    """

    def __init__(self, film: Film) -> None:
        if not film.looks:
            raise ValueError(f"film must have been recorded with looks at the machine, not {film.looks!r}")
        self.film = film
        self.look = 0

    def step(self, unit: str = "event") -> None:
        """Go on to the next look (``instruction``), event or message; to the end where none follows."""
        self._move(unit, 1)

    def back(self, unit: str = "event") -> None:
        """Go back as much; to the beginning where there is none before."""
        self._move(unit, -1)

    def run(self) -> None:
        """Go to the end."""
        self.look = len(self.film.looks) - 1

    def reset(self) -> None:
        """Go to the beginning."""
        self.look = 0

    def _move(self, unit: str, sign: int) -> None:
        last = len(self.film.looks) - 1
        self.look = max(0, min(self.look + sign, last))
        while 0 < self.look < last and not self._has(unit):
            self.look += sign

    def _has(self, unit: str) -> bool:
        """Whether something of that kind lies between this look and the one before."""
        before, here = self.film.looks[self.look - 1].event, self.film.looks[self.look].event
        events = self.film.events[before + 1 : here + 1]
        if unit == "message":
            return any(isinstance(event, _MESSAGE) for event in events)
        return unit == "instruction" or bool(events)
