"""A driver for a film that is there already: nothing runs, and every moment can be gone to."""

from collections.abc import Sequence

from mklab import trace
from mklab.errors import require
from mklab.recording import Film
from mklab.widgets.condition import Condition, find, parse
from mklab.widgets.driver import UNITS

__all__ = ["Player", "has", "next_look"]

_MESSAGE = (trace.IpiSent, trace.Delivered, trace.Lost, trace.Ignored, trace.Message, trace.MessageTaken)
"""Events that end a step of a message."""
_SEEN = (
    *(*_MESSAGE, trace.Eoi, trace.Fault, trace.Init, trace.ModeChange, trace.OwnerChange, trace.PlatformReset),
    *(trace.Printk, trace.Shutdown, trace.Sipi, trace.AbsentAccess),
)
"""Events that end a step to the next event: those that a picture shows."""


class Player:
    """Plays ``film``.

    Attributes:
        film: as given.
        look: where it stands.
        schedule: empty: nothing runs.
        limit: the film's end, in instructions.
        cpu: the CPU at which the last run was stopped; None: at none.

    Raises:
        ValueError: the film has no look at the machine.
    """

    def __init__(self, film: Film) -> None:
        if not film.looks:
            raise ValueError(f"film must have been recorded with looks at the machine, not {film.looks!r}")
        self.film = film
        self.look = 0
        self.schedule = ""
        self.cpu: int | None = None
        self._stops: list[Condition] = []

    @property
    def limit(self) -> int:
        """The film's end, in instructions."""
        return self.film.looks[-1].time

    def step(self, unit: str = "event") -> str | None:
        """Go on to the next look (``instruction``), event or message; to the end where none follows."""
        return self._move(unit, 1, "the film ends here")

    def back(self, unit: str = "event") -> str | None:
        """Go back as much; to the beginning where there is none before."""
        return self._move(unit, -1, "the film begins here")

    def run(self) -> str | None:
        """Go to the end, or to what it is to stop at."""
        return self.advance(0)

    def begin(self) -> None:
        """Nothing is to be done: a film has its end."""

    def advance(self, seconds: float) -> str | None:
        """As :meth:`run`: it takes none of the ``seconds``."""
        del seconds
        last = len(self.film.looks) - 1
        reached = [(find(self.film, stop, self.look, last), stop) for stop in self._stops]
        found = min(((at, str(stop)) for at, stop in reached if at is not None), default=(last, ""))
        self.look = found[0]
        self.cpu = self.film.looks[self.look].cpu if found[1] else None
        return found[1] or "the film ends here"

    def seek(self, look: int) -> None:
        """Go to that look.

        Raises:
            ValueError: there is none.
        """
        require("look", look, 0, len(self.film.looks) - 1)
        self.look = look

    def stop_at(self, conditions: Sequence[str]) -> None:
        """Stop a run there.

        Raises:
            ValueError: one of them cannot be read.
        """
        self._stops = [parse(words, len(self.film.registers)) for words in conditions]

    def reset(self, schedule: str = "") -> None:
        """Go to the beginning.

        Raises:
            ValueError: a schedule is named: what was recorded has one.
        """
        if schedule:
            raise ValueError(f"schedule must be the recorded one: nothing runs here, not {schedule!r}")
        self.look = 0

    def _move(self, unit: str, sign: int, end: str) -> str | None:
        here = self.look
        self.look = next_look(self.film, here, unit, sign)
        return end if self.look == here else None


def next_look(film: Film, look: int, unit: str, sign: int) -> int:
    """The next look (``sign`` 1: later, -1: earlier) at which a step of ``unit`` ends; the last one where none does.

    Raises:
        ValueError: there is no such unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
    last = len(film.looks) - 1
    look = max(0, min(look + sign, last))
    while 0 < look < last and not has(film, look, unit):
        look += sign
    return look


def has(film: Film, look: int, unit: str) -> bool:
    """Whether something of that kind lies between this look and the one before."""
    if unit == "instruction":
        return True
    before = film.looks[look - 1].event if look else -1
    kinds = _MESSAGE if unit == "message" else _SEEN
    return any(isinstance(event, kinds) for event in film.events[before + 1 : film.looks[look].event + 1])
