"""Where the rows of the sequence diagram lie, and what is in them."""

import bisect
from dataclasses import dataclass

from mklab.widgets.flow import Flow
from mklab.widgets.messages import Row
from mklab.widgets.palette import Palette
from mklab.widgets.sequence_lanes import Lane, Window, owner_at
from mklab.widgets.svg import wrap
from mklab.widgets.view import View

__all__ = ["AT", "HEAD", "Layout", "Line"]

HEAD = 60
"""Pixels above the rows."""
AT = 18
"""Where in its row a mark is drawn, pixels from the top."""
_SENT = 29
"""Where in that of a message the interrupt's arrow is: below the one of the bytes."""
_ROW = 42
_MESSAGE_ROW = 48
_CHANGE = 20
_BOLD = 14
"""What wrap() must take for the size of bold letters of 12 pixels, which are wider."""


@dataclass
class Line:
    """A row and where it is drawn: ``change`` is the strip above it that tells of CPUs that changed hands."""

    row: Row
    heads: list[str]
    details: list[str]
    change: int = 0
    top: int = 0
    height: int = 0

    @property
    def bottom(self) -> int:
        """Where it ends."""
        return self.top + self.height

    @property
    def sent(self) -> int:
        """Where an interrupt that is sent in this row reaches its target."""
        return self.top + (_SENT if any(ipi.slot for ipi in self.row.ipis) else AT)


class Layout:
    """A window on a film, and where its rows lie.

    Attributes:
        view, shown, palette, width: what is drawn, with which colours, and how wide.
        film, flow: of the view.
        ink, muted, alert: colours.
        used: the marks that were drawn, for the key.
        lines: the rows.
        top, bottom: where they begin and end.
    """

    def __init__(self, view: View, shown: Window, palette: Palette, width: int) -> None:
        self.view, self.shown, self.palette, self.width = view, shown, palette, width
        self.film, self.flow = view.film, Flow.of(view.film)
        self.ink, self.muted, self.alert = (palette.role(name) for name in ("ink", "muted", "alert"))
        self.used: set[str] = set()
        self.y = HEAD + (24 if shown.earlier else 4)
        self.lines = [self._line(row) for row in shown.rows]
        self.top = self.y
        before = None
        for line in self.lines:
            line.change = _CHANGE if before is not None and self._changed(before, line.row.entry.event) else 0
            self.y += line.change
            line.top = self.y
            self.y = line.bottom
            before = line.row.entry.event
        self.bottom = self.y
        self._by_event = {line.row.entry.event: line for line in self.lines}

    # Where things are

    def _line(self, row: Row) -> Line:
        room = self.width - self.shown.words - 4
        cross_too = "\u00d7 " if row.trouble else ""
        heads = wrap(f"{cross_too}e{row.entry.event} {self._route(row)}{row.head}", room, _BOLD)
        at = "" if self.shown.left > 8 else f"t={row.time:,}. "
        details = wrap(f"{at}{row.detail}", room, 11)
        least = _MESSAGE_ROW if row.entry.kind == "sent" and any(ipi.slot for ipi in row.ipis) else _ROW
        return Line(row, heads, details, height=max(least, 15 * (len(heads) + len(details)) + 10))

    def _route(self, row: Row) -> str:
        """Which CPU sends, where lanes do not say so."""
        folded = self.shown.unfolded is not None and row.entry.kind == "sent"
        return f"CPU {row.ipis[0].sender} sends " if folded else ""

    def _changed(self, before: int, event: int) -> list[Lane]:
        """The CPUs that changed hands between two rows."""
        return [
            lane
            for lane in self.shown.lanes
            if lane.kind == "cpu" and self._owner(lane, before) != self._owner(lane, event)
        ]

    def _owner(self, lane: Lane, event: int) -> str | None:
        if lane.kind == "kernel":
            return None if lane.what is None else str(lane.what)
        return owner_at(self.film, int(lane.what or 0), event)

    def _x(self, cpu: int, event: int) -> int | None:
        return self.shown.lanes.get(self.shown.lane(self.film, cpu, event))

    def _line_at(self, event: int) -> Line | None:
        """The first row at or after ``event``."""
        place = bisect.bisect_left(self.lines, event, key=lambda line: line.row.entry.event)
        return self.lines[place] if place < len(self.lines) else None
