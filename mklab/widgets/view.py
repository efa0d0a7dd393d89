"""What is looked at: a moment of a film, and what somebody has selected there."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeVar

from mklab.errors import require
from mklab.recording import Film, Frame, Recording

__all__ = ["View"]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class View:
    """A moment of ``film``, and what is selected. Pictures are drawn from this alone.

    A moment lies after an event, or at a look: a machine may be looked at several times between two events, and have
    several events between two looks.

    Attributes:
        film: what was recorded; it may go on beyond the moment.
        event: number of the last event that has happened; -1 is power-on.
        look: number of the last look at the machine; -1 where there was none yet.
        selected: number of the event that is outlined everywhere; None: none.
        cpu: the CPU that pictures of one CPU show; None: the one that ran last.
        address: the physical address that the hex view shows; None: the last write's.
        search: the words looked for in the consoles.
        span: the stretch of time that was chosen: its first and last instruction; None: none was.
    """

    film: Film
    event: int
    look: int
    selected: int | None = None
    cpu: int | None = None
    address: int | None = None
    search: str = ""
    span: tuple[int, int] | None = None
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def at_end(cls, film: Film) -> Self:
        """The last moment of ``film``."""
        return cls(film, film.count - 1, len(film.looks) - 1)

    @classmethod
    def at_event(cls, film: Film, event: int) -> Self:
        """The moment after event number ``event``.

        Raises:
            ValueError: there is no such event.
        """
        return cls(film, event, film.look_at(event))

    @classmethod
    def at_look(cls, film: Film, look: int) -> Self:
        """The moment of look number ``look``.

        Raises:
            ValueError: there is no such look.
        """
        require("look", look, 0, len(film.looks) - 1)
        return cls(film, film.looks[look].event, look)

    def to(self, moment: "View") -> Self:
        """What is selected here, at another moment."""
        return replace(self, film=moment.film, event=moment.event, look=moment.look)

    def once(self, find: Callable[["View"], _Found]) -> _Found:
        """What ``find`` finds here; for a picture and its words it is looked for once."""
        if find not in self._known:
            self._known[find] = find(self)
        found: _Found = self._known[find]
        return found

    @cached_property
    def time(self) -> int:
        """Virtual time of the moment, in instructions."""
        event = self.film.recording.times[self.event] if self.event >= 0 else 0
        return max(event, self.film.looks[self.look].time) if self.look >= 0 else event

    @cached_property
    def frame(self) -> Frame | None:
        """How the machine stood when it was last looked at; None where it was not."""
        return self.film.frame_of(self.look) if self.look >= 0 else None

    @cached_property
    def recording(self) -> Recording:
        """What had happened up to the moment.

        It is made anew for each moment, from the whole film: a picture of a long run looks into ``film.recording``,
        and leaves out what is later.
        """
        return self.film.recording.upto(self.event)

    @property
    def shown_cpu(self) -> int:
        """The CPU that pictures of one CPU show."""
        if self.cpu is not None:
            return self.cpu
        for number in range(self.look, -1, -1):
            ran = self.film.looks[number].cpu
            if ran is not None:
                return ran
        return 0
