"""The IPIs of a film in the order in which things happened to them, found without looking at all of them.

A run may hold a hundred thousand events. A :class:`Flow` looks at each IPI once, and again while more may become of it;
what happened up to a moment is then found by bisection.
"""

import bisect
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from mklab.recording import Film, Ipi, Recording

__all__ = ["Entry", "Flow", "is_torn"]


@dataclass(frozen=True)
class Entry:
    """Something that happened to IPIs.

    Attributes:
        event: number of its first event.
        kind: ``sent``; ``delivered``; ``eoi``, where something else happened since the delivery; ``lost``, of one that
            was pending.
        places: those concerned, by their places in ``recording.ipis``: all that one write of an ICR sent, or that one
            interrupt served.
        eoi: whether a delivery's EOI follows at once, and has no entry of its own.
    """

    event: int
    kind: str
    places: tuple[int, ...]
    eoi: bool = False


@dataclass
class Flow:
    """The IPIs of ``recording``.

    Attributes:
        recording: where they are.
        entries: what happened, by event. An INIT level de-assert has none: it does nothing on any CPU of today.
        messages: the places of those that announce messages.
        waiting: by target, the places of those that wait in an IRR or lie in a slot.
        troubles: by kind (``lost``, ``overwritten``, ``torn``), event and place of each message in trouble, by event.
    """

    recording: Recording
    entries: list[Entry] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    waiting: dict[int, list[int]] = field(default_factory=dict)
    troubles: dict[str, list[tuple[int, int]]] = field(
        default_factory=lambda: {"lost": [], "overwritten": [], "torn": []}
    )
    _seen: int = 0
    _count: int = 0
    _open: list[int] = field(default_factory=list)
    _ends: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, film: Film) -> "Flow":
        """The flow of ``film``, as far as the film goes now."""
        flow = _FLOWS.get(film)
        # A film that was cut has another recording.
        if flow is None or flow.recording is not film.recording:
            flow = _FLOWS[film] = cls(film.recording)
        if flow._count < flow.recording.count:
            flow._extend()
        return flow

    def upto(self, event: int) -> int:
        """How many entries have happened after event number ``event``."""
        return bisect.bisect_right(self.entries, event, key=lambda entry: entry.event)

    def sent(self, event: int) -> int:
        """How many IPIs have been sent after event number ``event``."""
        return bisect.bisect_right(self.recording.ipis, event, key=lambda ipi: ipi.sent.event)

    def at(self, place: int, event: int) -> Ipi:
        """The IPI at ``place`` as it stood after event number ``event``."""
        ipi = self.recording.ipis[place]
        end = self._ends.get(place)
        if end is None:
            end = _last(ipi)
            if ipi.settled:
                self._ends[place] = end
        # Most had come to their end long before: those need not be made anew.
        return ipi if end <= event else ipi.upto(event)

    def number(self, place: int) -> int:
        """How many messages were sent before the IPI at ``place``."""
        return bisect.bisect_left(self.messages, place)

    def entry_of(self, event: int, most: int = 64) -> int | None:
        """The place in :attr:`entries` of the one that ``event`` belongs to; None where none of the last ones does."""
        end = self.upto(event)
        for place in range(end - 1, max(-1, end - 1 - most), -1):
            if event in self.events(self.entries[place]):
                return place
        return None

    def events(self, entry: Entry) -> set[int]:
        """The numbers of the events that ``entry`` tells of."""
        found = {entry.event}
        for place in entry.places:
            ipi = self.recording.ipis[place]
            moments = {
                "sent": [ipi.slot_seen, ipi.accepted or ipi.lost, ipi.ignored],
                "delivered": [ipi.taken, ipi.eoi if entry.eoi else None],
            }
            found |= {moment.event for moment in moments.get(entry.kind, []) if moment}
        return found

    def before(self, target: int, place: int, most: int = 64) -> list[int]:
        """The places of the last ones sent to CPU ``target`` before the one at ``place``, the newest first."""
        places = self.waiting.get(target, [])
        end = bisect.bisect_left(places, place)
        return places[max(0, end - most) : end][::-1]

    def after(self, target: int, place: int, most: int = 64) -> list[int]:
        """The places of the next ones sent to CPU ``target`` after the one at ``place``."""
        places = self.waiting.get(target, [])
        first = bisect.bisect_right(places, place)
        return places[first : first + most]

    def _extend(self) -> None:
        ipis, known = self.recording.ipis, self._count
        fresh: dict[tuple[int, str], list[int]] = {}
        still: list[int] = []
        for place in (*self._open, *range(self._seen, len(ipis))):
            ipi = ipis[place]
            if place >= self._seen:
                self._begin(place, ipi, fresh)
            later = ipi.lost if ipi.accepted else None
            for kind, moment in (("delivered", ipi.delivered), ("eoi", ipi.eoi), ("lost", later)):
                if moment and moment.event >= known:
                    fresh.setdefault((moment.event, kind), []).append(place)
            if ipi.is_message:
                torn = ipi.taken if is_torn(ipi) else None
                for kind, moment in (("lost", ipi.lost), ("overwritten", ipi.overwritten), ("torn", torn)):
                    if moment and moment.event >= known:
                        self.troubles[kind].append((moment.event, place))
            if not ipi.settled:
                still.append(place)
        for (event, kind), places in sorted(fresh.items()):
            self._append(Entry(event, kind, tuple(places)))
        for found in self.troubles.values():
            found.sort()
        self._seen, self._count, self._open = len(ipis), self.recording.count, still

    def _begin(self, place: int, ipi: Ipi, fresh: dict[tuple[int, str], list[int]]) -> None:
        if ipi.delivery != "init" or ipi.level:
            fresh.setdefault((ipi.sent.event, "sent"), []).append(place)
        if ipi.is_message:
            self.messages.append(place)
        if ipi.target is not None and ipi.delivery in ("fixed", "lowest", "nmi"):
            self.waiting.setdefault(ipi.target, []).append(place)

    def _append(self, entry: Entry) -> None:
        last = self.entries[-1] if self.entries else None
        if entry.kind == "eoi" and last and last.kind == "delivered" and last.places == entry.places:
            self.entries[-1] = replace(last, eoi=True)
        else:
            self.entries.append(entry)


def _last(ipi: Ipi) -> int:
    """Number of the last event that something became of it at."""
    stages = [ipi.slot_seen, ipi.accepted, ipi.lost, ipi.ignored, ipi.delivered, ipi.taken, ipi.overwritten, ipi.eoi]
    return max([ipi.sent.event, *(stage.event for stage in stages if stage)])


def is_torn(ipi: Ipi) -> bool:
    """Whether other bytes were read than were sent, though no other message had been announced."""
    return bool(ipi.taken and ipi.slot and ipi.read != ipi.slot)


_FLOWS: WeakKeyDictionary[Film, Flow] = WeakKeyDictionary()
