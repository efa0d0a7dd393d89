"""What each CPU has been through, kept per film: which CPUs fared alike, and which INITs and SIPIs reached them.

A picture of a long run cannot read all of it at every redraw. Of each film it is read once, and then what is new.
"""

import bisect
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from mklab import trace
from mklab.recording import Film, Recording, Span

__all__ = ["Arrival", "Fates", "Outlook", "Standing", "outlook", "standing_of"]

Outlook = tuple[str | None, str]
"""The owner of a CPU, and its state in one word."""
Standing = tuple[str | None, str, str | None]
"""The same, and the kernel that the CPU was planned for, where that is another one than its owner."""


@dataclass(frozen=True)
class Arrival:
    """INITs or SIPIs that took effect on a CPU.

    Attributes:
        event: number of the event.
        time: instructions.
        words: ``INIT``, or ``SIPI 0x96``.
    """

    event: int
    time: int
    words: str

    @property
    def is_init(self) -> bool:
        """Whether it is an INIT."""
        return self.words == "INIT"


def outlook(span: Span) -> Outlook:
    """What is seen of a CPU during ``span``: its owner, and the mode of one that runs, else its state."""
    return span.owner, span.mode if span.state == "running" else span.state


def standing_of(span: Span) -> Standing:
    """How a CPU stands during ``span``."""
    return *outlook(span), span.planned if span.against_plan else None


@dataclass
class _Fate:
    """Of one CPU: how many spans were read, the outlooks it had with the event that brought each, what arrived."""

    read: int = 0
    outlooks: list[tuple[int, Outlook]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    entries: list[trace.OwnerChange] = field(default_factory=list)


class Fates:
    """What the CPUs of a recording have been through.

    Args:
        recording: the recording; it may grow.

    Attributes:
        standings: all ways in which CPUs have stood, at whatever moment.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        # Before anything has happened each CPU stands somehow, too.
        self.standings = {standing_of(spans[0]) for spans in recording.spans}
        self._fates = [_Fate() for _ in recording.spans]
        self._read = 0

    @classmethod
    def of(cls, film: Film) -> "Fates":
        """Those of ``film``, up to date."""
        known = _KNOWN.get(film)
        # A film that was cut has another recording.
        if known is None or known.recording is not film.recording:
            known = _KNOWN[film] = cls(film.recording)
        known._extend(film)
        return known

    def _extend(self, film: Film) -> None:
        if self._read == film.count:
            return
        for fate, spans in zip(self._fates, self.recording.spans, strict=True):
            seen = {one for _, one in fate.outlooks}
            for span in spans[fate.read :]:
                self.standings.add(standing_of(span))
                one = outlook(span)
                if one not in seen:
                    seen.add(one)
                    fate.outlooks.append((span.start.event, one))
            fate.read = len(spans)
        for event in film.events[self._read :]:
            match event:
                case trace.Init(cpu=int(cpu)):
                    self._fates[cpu].arrivals.append(Arrival(event.seq, event.time, "INIT"))
                case trace.Sipi(cpu=int(cpu), vector=vector):
                    self._fates[cpu].arrivals.append(Arrival(event.seq, event.time, f"SIPI {vector:#x}"))
                case trace.OwnerChange(cpu=int(cpu)):
                    self._fates[cpu].entries.append(event)
        self._read = film.count

    def outlooks(self, cpu: int, event: int) -> list[Outlook]:
        """The different outlooks that ``cpu`` has had up to event number ``event``, in turn."""
        found = self._fates[cpu].outlooks
        return [one for _, one in found[: bisect.bisect_right(found, event, key=lambda pair: pair[0])]]

    def arrivals(self, cpu: int, start: float, end: float, event: int) -> list[Arrival]:
        """INITs and SIPIs that took effect on ``cpu`` from ``start`` to ``end`` (instructions) and up to ``event``."""
        found = self._fates[cpu].arrivals
        first = bisect.bisect_left(found, start, key=lambda one: one.time)
        last = bisect.bisect_right(found, end, key=lambda one: one.time)
        return found[first : min(last, bisect.bisect_right(found, event, key=lambda one: one.event))]

    def entry(self, cpu: int, event: int) -> trace.OwnerChange | None:
        """The last change of the owner of ``cpu`` up to event number ``event``."""
        found = self._fates[cpu].entries
        before = bisect.bisect_right(found, event, key=lambda one: one.seq)
        return found[before - 1] if before else None


_KNOWN: WeakKeyDictionary[Film, Fates] = WeakKeyDictionary()
