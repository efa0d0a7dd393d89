"""The history of RAM: the bytes that changed at each look, page by page."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["PAGE", "Contents", "Write"]

PAGE = 4096
_ZEROS = bytes(PAGE)
_KEYFRAMES = 32
_GAP = 8
"""Changed bytes that are no farther apart than a word are told as one run."""


@dataclass(frozen=True)
class Write:
    """Bytes that changed.

    Attributes:
        address: physical address of the first one.
        size: how many.
        old, new: the bytes before and after; None where the recording does not hold them.
    """

    address: int
    size: int
    old: bytes | None
    new: bytes | None

    @property
    def end(self) -> int:
        """Address behind the last byte."""
        return self.address + self.size


class _Run(NamedTuple):
    """Bytes stored in one page at a look."""

    look: int
    offset: int
    data: bytes


class _Page:
    """The history of one page."""

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self.keyframes = [_ZEROS]
        self.lost: int | None = None

    def append(self, run: _Run, after: bytes) -> None:
        self.runs.append(run)
        if len(self.runs) % _KEYFRAMES == 0:
            self.keyframes.append(after)

    def at(self, look: int) -> bytes | None:
        if self.lost is not None and look >= self.lost:
            return None
        count = bisect.bisect_right(self.runs, look, key=lambda run: run.look)
        whole = count // _KEYFRAMES
        todo = self.runs[whole * _KEYFRAMES : count]
        return _stored(self.keyframes[whole], todo) if todo else self.keyframes[whole]

    def make_room(self, look: int) -> None:
        """Looks from number ``look`` on count one more."""
        first = bisect.bisect_left(self.runs, look, key=lambda run: run.look)
        self.runs[first:] = [run._replace(look=run.look + 1) for run in self.runs[first:]]
        if self.lost is not None and self.lost >= look:
            self.lost += 1

    def replace(self, look: int, last: int, runs: list[_Run]) -> int:
        """``runs`` instead of those at ``look`` to ``last``; how many bytes more that are."""
        first = bisect.bisect_left(self.runs, look, key=lambda run: run.look)
        end = bisect.bisect_right(self.runs, last, key=lambda run: run.look)
        more = sum(len(run.data) for run in runs) - sum(len(run.data) for run in self.runs[first:end])
        self.runs[first:end] = runs
        del self.keyframes[first // _KEYFRAMES + 1 :]
        for count in range(len(self.keyframes) * _KEYFRAMES, len(self.runs) + 1, _KEYFRAMES):
            self.keyframes.append(_stored(self.keyframes[-1], self.runs[count - _KEYFRAMES : count]))
        return more

    def cut(self, look: int) -> int:
        """Forget what came after ``look``; how many bytes that frees."""
        kept = bisect.bisect_right(self.runs, look, key=lambda run: run.look)
        freed = sum(len(run.data) for run in self.runs[kept:])
        del self.runs[kept:], self.keyframes[kept // _KEYFRAMES + 1 :]
        if self.lost is not None and self.lost > look:
            self.lost = None
        return freed


class Contents:
    """What RAM held at each look.

    Args:
        ram: ``(start, size)`` in bytes of each range of RAM; it is all zeros before the first look.
        most: bytes held at most. What changes beyond that is told by place and size only, and the page is unknown
            from then on.

    Attributes:
        last: the pages that are not all zero now, by physical address.
        held: bytes held.
    """

    def __init__(self, ram: Sequence[tuple[int, int]], most: int) -> None:
        self.ram = [(start, size) for start, size in ram]
        self.most = most
        self.held = 0
        self.last: dict[int, bytes] = {}
        self._pages: dict[int, _Page] = {}
        self._extents: dict[int, list[tuple[int, int]]] = {}

    def note_page(self, look: int, page: int, data: bytes) -> None:
        """At ``look`` the page at ``page`` holds ``data``."""
        old = self.last.get(page, _ZEROS)
        if old == data:
            return
        self.last[page] = data
        for first, end in _runs(old, data):
            self._append(look, page, first, data[first:end])

    def note_write(self, look: int, address: int, data: bytes) -> None:
        """At ``look`` ``data`` lay at ``address``.

        Raises:
            ValueError: not all of it is RAM.
        """
        if not self._contains(address, len(data)):
            raise ValueError(f"address must be one of {len(data)} bytes of RAM, not {address!r}")
        for page, offset, part in _split(address, data):
            before = self.last.get(page, _ZEROS)
            self.note_page(look, page, before[:offset] + part + before[offset + len(part) :])

    def put_back(self, look: int, address: int, data: bytes | None, size: int) -> None:
        """As :meth:`runs` told it."""
        page, offset = address & -PAGE, address % PAGE
        if offset + size > PAGE or not self._contains(address, size) or (data is not None and len(data) != size):
            raise ValueError(f"a run must be inside a page of RAM, not {(address, size)!r}")
        if data is not None:
            before = self.last.get(page, _ZEROS)
            self.last[page] = before[:offset] + data + before[offset + size :]
        self._append(look, page, offset, data, size)

    def _append(self, look: int, page: int, offset: int, data: bytes | None, size: int = 0) -> None:
        history = self._pages.setdefault(page, _Page())
        size = size if data is None else len(data)
        self._extents.setdefault(look, []).append((page + offset, size))
        if data is None or history.lost is not None or self.held + size > self.most:
            history.lost = look if history.lost is None else history.lost
            return
        self.held += size
        history.append(_Run(look, offset, data), self.last[page])

    def read(self, look: int, address: int, size: int) -> bytes | None:
        """``size`` bytes as they lay at ``address`` at ``look``; None where some are unknown or no RAM."""
        if size < 0 or not self._contains(address, size):
            return None
        found = b""
        while len(found) < size:
            at = address + len(found)
            page = self.page(look, at & -PAGE)
            if page is None:
                return None
            found += page[at % PAGE : at % PAGE + size - len(found)]
        return found

    def page(self, look: int, page: int) -> bytes | None:
        """The page at ``page`` as it was at ``look``; None where it is unknown."""
        history = self._pages.get(page)
        return _ZEROS if history is None else history.at(look)

    def writes(self, look: int) -> list[Write]:
        """What changed at ``look``, ascending, neighbours in one piece."""
        return [
            Write(address, size, self.read(look - 1, address, size), self.read(look, address, size))
            for address, size in self.extents(look)
        ]

    def extents(self, look: int) -> list[tuple[int, int]]:
        """Address and size of what changed at ``look``, ascending, neighbours in one piece."""
        return _joined(sorted(self._extents.get(look, ())))

    def touched(self, look: int, address: int, size: int) -> bool:
        """Whether any of ``size`` bytes at ``address`` changed at ``look``."""
        return any(one < address + size and address < one + length for one, length in self._extents.get(look, ()))

    def runs(self) -> Iterator[tuple[int, int, int, bytes | None]]:
        """All that changed: look, address, size and bytes (None: not held) of each run, in order."""
        taken: dict[int, int] = {}
        for look in sorted(self._extents):
            for address, size in self._extents[look]:
                page = address & -PAGE
                history, number = self._pages[page], taken.get(page, 0)
                if history.lost is not None and look >= history.lost and number == len(history.runs):
                    yield look, address, size, None
                else:
                    taken[page] = number + 1
                    yield look, address, size, history.runs[number].data

    def last_write(self, look: int, address: int) -> int | None:
        """The last look up to ``look`` at which the page of ``address`` changed; None where it never did."""
        history = self._pages.get(address & -PAGE)
        if history is None:
            return None
        count = bisect.bisect_right(history.runs, look, key=lambda run: run.look)
        return history.runs[count - 1].look if count else None

    def insert(self, look: int, pages: Mapping[int, bytes]) -> None:
        """Put a look in before look number ``look``: at it ``pages`` held this, the others what they held before.

        Later looks count one more; what they tell stays as it was.
        """
        around = {page: (self.page(look - 1, page), self.page(look, page)) for page in pages}
        self._extents = {one + (one >= look): extents for one, extents in self._extents.items()}
        for history in self._pages.values():
            history.make_room(look)
        for page, data in pages.items():
            before, after = around[page]
            if before is None or before == data:
                continue
            runs = [_Run(look, first, data[first:end]) for first, end in _runs(before, data)]
            if after not in (None, data):
                runs += [_Run(look + 1, first, after[first:end]) for first, end in _runs(data, after)]
            last = look if after is None else look + 1
            self.held += self._pages.setdefault(page, _Page()).replace(look, last, runs)
            for one in range(look, last + 1):
                others = [extent for extent in self._extents.pop(one, []) if extent[0] & -PAGE != page]
                mine = [(page + run.offset, len(run.data)) for run in runs if run.look == one]
                if others or mine:
                    self._extents[one] = others + mine

    def cut(self, look: int) -> None:
        """Forget what came after ``look``."""
        touched = {address & -PAGE for one in self._extents if one > look for address, _ in self._extents[one]}
        self._extents = {one: extents for one, extents in self._extents.items() if one <= look}
        for page in touched:
            self.held -= self._pages[page].cut(look)
            now = self._pages[page].at(look)
            if now is not None:
                self.last[page] = now

    def _contains(self, address: int, size: int) -> bool:
        return any(start <= address and address + size <= start + length for start, length in self.ram)


def _stored(page: bytes, runs: Sequence[_Run]) -> bytes:
    result = bytearray(page)
    for run in runs:
        result[run.offset : run.offset + len(run.data)] = run.data
    return bytes(result)


def _runs(old: bytes, new: bytes) -> list[tuple[int, int]]:
    """``[first, end)`` of the stretches in which two pages differ."""
    import numpy as np  # a third of what importing this package would cost

    places = np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8))
    cuts = np.flatnonzero(places[1:] - places[:-1] > _GAP)
    firsts = [int(places[0]), *places[cuts + 1].tolist()]
    lasts = [*places[cuts].tolist(), int(places[-1])]
    return [(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]


def _split(address: int, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The parts of ``data`` in each page: its address, the offset in it, the bytes."""
    done = 0
    while done < len(data):
        at = address + done
        part = data[done : done + PAGE - at % PAGE]
        yield at & -PAGE, at % PAGE, part
        done += len(part)


def _joined(extents: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for address, size in extents:
        if joined and joined[-1][0] + joined[-1][1] >= address:
            start = joined[-1][0]
            joined[-1] = (start, max(joined[-1][1], address + size - start))
        else:
            joined.append((address, size))
    return joined
