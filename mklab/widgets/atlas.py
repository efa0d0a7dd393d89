"""Physical memory on a line: ranges of RAM and devices side by side, with breaks where nothing is in between."""

from collections.abc import Sequence
from dataclasses import dataclass

from mklab.widgets.memory import Layout

__all__ = ["BREAK", "Sheet", "sheets"]

BREAK = 30
"""Pixels between two pieces, for the mark of a break."""
_LEAST, _DEVICE = 120, 84


@dataclass(frozen=True)
class Sheet:
    """A piece of the line: memory from ``start`` up to ``end``, drawn from ``x`` on, ``width`` pixels wide.

    Attributes:
        row: number of the row it stands in, where one row has no room for all.
        device: what is there, where it is no RAM.
    """

    start: int
    end: int
    row: int
    x: float
    width: float
    device: str = ""

    def at(self, address: int) -> float:
        """Where ``address`` is, in pixels."""
        return self.x + (address - self.start) * self.width / (self.end - self.start)

    def bar(self, start: int, end: int, least: float = 2) -> tuple[float, float]:
        """Left edge and width of memory from ``start`` up to ``end``, ``least`` pixels wide at least."""
        left, right = self.at(max(start, self.start)), self.at(min(end, self.end))
        width = max(right - left, least)
        return min(left, self.x + self.width - width), width


def sheets(layout: Layout, width: int) -> list[Sheet]:
    """The pieces, ascending, in as many rows as they need; inside a row in proportion to their size."""
    pieces = [(start, start + size, "") for start, size in layout.ram]
    for place in layout.places:
        start, end = place.address, place.address + place.size
        outside = all(end <= first or last <= start for first, last, _ in pieces)
        if outside and place.size and not place.kernel:
            pieces.append((start, end, place.place.name))
    rows: list[list[tuple[int, int, str]]] = []
    for piece in sorted(pieces):
        if rows and _least([*rows[-1], piece]) <= width - 2:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [one for number, row in enumerate(rows) for one in _row(row, number, width)]


def _least(pieces: Sequence[tuple[int, int, str]]) -> int:
    return sum(_DEVICE if device else _LEAST for _, _, device in pieces) + BREAK * (len(pieces) - 1)


def _row(pieces: Sequence[tuple[int, int, str]], number: int, width: int) -> list[Sheet]:
    total = sum(end - start for start, end, device in pieces if not device)
    spare, x, made = width - 2 - _least(pieces), 1.0, []
    for start, end, device in pieces:
        room = float(_DEVICE) if device else _LEAST + spare * (end - start) / total
        made.append(Sheet(start, end, number, x, room, device))
        x += room + BREAK
    return made
