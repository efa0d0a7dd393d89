"""Who wrote where: the writes of each look, and those that went astray.

A write went astray where a CPU of one kernel, or of nobody, changed memory of another one, and not at a place that both
share: nothing but good manners keeps kernels apart in RFC v1.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from mklab.recording import Film, Look
from mklab.widgets.memory import Layout

__all__ = ["History", "Stray", "history", "last_touch", "merged", "when", "who"]

_TRIES = 256
"""Changes of a page that are looked at in search of the one that changed a byte."""
_ACCESSED_AND_DIRTY = 0x60
"""Bits 5 and 6 of a page-table entry, which the CPU sets (SDM "Accessed and Dirty Flags")."""
_START_ROLES = {"trampoline", "page tables"}
"""What a CPU that belongs to nobody may change: it runs on the trampoline, and sets accessed bits."""


@dataclass(frozen=True)
class Stray:
    """A write that went astray.

    Attributes:
        look, last: numbers of the looks that saw the first and the last of it.
        event: the last event before it was seen.
        start, end: physical addresses.
        cpu, writer: the CPU, and the kernel that it belonged to.
        owner: whose memory it is.
        detail: the kernel function and its step; empty for code of the guest.
    """

    look: int
    last: int
    event: int
    start: int
    end: int
    cpu: int
    writer: str | None
    owner: str
    detail: str = ""


class History:
    """What the looks of a film have written, known as far as :meth:`extend` has gone.

    Attributes:
        written: numbers of the looks that changed memory.
        strays: the writes that went astray, oldest first.
    """

    def __init__(self) -> None:
        self.written: list[int] = []
        self.strays: list[Stray] = []
        self._seen: list[Look] = []
        self._epochs: list[int] = []
        self._layouts: list[Layout] = []

    def extend(self, film: Film) -> None:
        """Take over the looks of ``film`` that are new, and forget those that were cut off."""
        looks, seen = film.looks, self._seen
        while seen and (len(looks) < len(seen) or looks[len(seen) - 1] is not seen[-1]):
            seen.pop()
        kept = len(seen)
        del self.written[bisect.bisect_left(self.written, kept) :]
        del self.strays[bisect.bisect_left(self.strays, kept, key=lambda one: one.look) :]
        begun = bisect.bisect_left(self._epochs, kept)
        del self._epochs[begun:], self._layouts[begun:]
        for look in looks[kept:]:
            self._note(film, look)
            seen.append(look)

    def _note(self, film: Film, look: Look) -> None:
        extents = film.contents.extents(look.number)
        if extents:
            self.written.append(look.number)
            if self._layouts and look.cpu is not None:
                self.strays += _astray(film, look, extents, self._layouts[-1])
        # What follows from a look's writes holds for the next ones.
        images = film.images.looks
        loaded = bisect.bisect_left(images, look.number)
        turned = (loaded < len(images) and images[loaded] == look.number) or any(
            self._layouts[-1].follows_from(*one) for one in extents if self._layouts
        )
        if turned or not self._layouts:
            self._epochs.append(look.number)
            self._layouts.append(Layout(film.contents.ram, film.frame_of(look.number), film.description))

    # Looking

    def layout(self, look: int) -> Layout:
        """Who owns what at ``look``."""
        return self._layouts[bisect.bisect_right(self._epochs, look) - 1]

    def last_written(self, look: int) -> int | None:
        """The last look up to ``look`` at which memory changed; None where there was none."""
        number = bisect.bisect_right(self.written, look)
        return self.written[number - 1] if number else None

    def strays_upto(self, look: int) -> int:
        """How many writes had gone astray at ``look``: so many of :attr:`strays`."""
        return bisect.bisect_right(self.strays, look, key=lambda one: one.look)


def _astray(film: Film, look: Look, extents: list[tuple[int, int]], layout: Layout) -> Iterator[Stray]:
    cpu = look.cpu
    assert cpu is not None
    writers: set[str | None] | None = None
    for address, size in extents:
        end = address + size
        while address < end:
            region = layout.region_at(address)
            part = min(end, region.end) if region else end
            if region and region.owner not in (None, look.owner):
                writers = _owners(film, look) if writers is None else writers
                if region.owner not in writers:
                    for first, last in _unshared(film, look, layout, address, part, writers):
                        assert region.owner is not None
                        yield Stray(
                            look.number,
                            look.number,
                            look.event,
                            first,
                            last,
                            cpu,
                            look.owner,
                            region.owner,
                            look.detail,
                        )
            address = part


def _owners(film: Film, look: Look) -> set[str | None]:
    """Whom the CPU belonged to in the stretch before ``look``; and whose memory is free for the host to load."""
    recording, cpu = film.recording, look.cpu
    assert cpu is not None
    spans = recording.spans[cpu]
    before = film.looks[look.number - 1].event if look.number else -1
    first = bisect.bisect_right(spans, before, key=lambda span: span.start.event) - 1
    last = bisect.bisect_right(spans, look.event, key=lambda span: span.start.event)
    owners: set[str | None] = {look.owner, *(span.owner for span in spans[first:last])}
    if look.cause == "call":
        # kexec fills memory in which no CPU runs: that is what it is for.
        running = {recording.span_at(one, look.event).owner for one in range(len(recording.apic_ids))}
        owners |= set(film.images.at(look.number)) - running
    return owners


def _unshared(
    film: Film, look: Look, layout: Layout, start: int, end: int, writers: set[str | None]
) -> Iterator[tuple[int, int]]:
    """The parts of a write that lie in no place of the writer's own and are not the CPU's marks in page tables."""
    at = start
    while at < end:
        around = layout.places_at(at)
        edges = [edge for one in layout.places for edge in (one.address, one.address + one.size) if at < edge < end]
        part = min([end, *edges])
        shared = any(one.kernel in writers or (None in writers and one.place.role in _START_ROLES) for one in around)
        tables = any(one.place.role == "page tables" for one in around)
        if not shared and not (tables and _marks(film, look.number, at, part)):
            yield at, part
        at = part


def _marks(film: Film, look: int, start: int, end: int) -> bool:
    """Whether only accessed and dirty bits of entries have changed."""
    first, size = start & -8, -(-end // 8) * 8 - (start & -8)
    old, new = (film.contents.read(one, first, size) for one in (look - 1, look))
    if old is None or new is None:
        return False
    allowed = bytes([_ACCESSED_AND_DIRTY, 0, 0, 0, 0, 0, 0, 0])
    return all(not (a ^ b) & ~allowed[at % 8] for at, (a, b) in enumerate(zip(old, new, strict=True)))


_HISTORIES: WeakKeyDictionary[Film, History] = WeakKeyDictionary()


def history(film: Film) -> History:
    """The history of ``film``, up to its last look."""
    if film not in _HISTORIES:
        _HISTORIES[film] = History()
    found = _HISTORIES[film]
    found.extend(film)
    return found


# Words


def last_touch(film: Film, look: int, address: int, size: int = 1) -> Look | None:
    """The last look up to ``look`` at which one of ``size`` bytes at ``address``, in one page, changed.

    None where none did, or where the page has changed too often since to find it.
    """
    found = film.contents.last_write(look, address)
    for _ in range(_TRIES):
        if found is None:
            return None
        if film.contents.touched(found, address, size):
            return film.looks[found]
        found = film.contents.last_write(found - 1, address)
    return None


def who(look: Look) -> str:
    """Whose doing a look's changes are: ``CPU 2 (kernel 1)``."""
    if look.cpu is None:
        return {"start": "power-on to the first look", "input": f"from outside ({look.detail})"}.get(
            look.cause, look.cause
        )
    return f"CPU {look.cpu} ({look.owner or 'nobody'})"


def when(look: Look) -> str:
    """When it was: ``e141, t=103,212``."""
    return f"e{look.event}, t={look.time:,}" if look.event >= 0 else f"power-on, t={look.time:,}"


def merged(strays: Sequence[Stray]) -> list[Stray]:
    """``strays`` with those in one piece that one CPU has written side by side."""
    found: list[Stray] = []
    for one in strays:
        last = found[-1] if found else None
        alike = last and (last.cpu, last.writer, last.owner) == (one.cpu, one.writer, one.owner)
        if last and alike and one.start <= last.end and last.start <= one.end:
            start, end = min(last.start, one.start), max(last.end, one.end)
            found[-1] = replace(last, last=one.last, start=start, end=end)
        else:
            found.append(one)
    return found
