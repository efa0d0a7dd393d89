"""The sequence diagram of messages: lanes for CPUs and for slots, a row for each thing that happened.

Lanes, slots, waiting and served interrupts are drawn first, through all rows; then each row's own marks and words,
which can be selected.
"""

from typing import ClassVar

from mklab.recording import Ipi
from mklab.widgets import messages
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.sequence_ground import Ground, selects
from mklab.widgets.sequence_lanes import Lane, window
from mklab.widgets.sequence_layout import AT, Line
from mklab.widgets.sequence_marks import cross, diamond, key, shaft, tip, upright
from mklab.widgets.svg import CODE, element, path, text, wrap
from mklab.widgets.view import View

__all__ = ["PICTURE", "Sequence"]

_STORE = 12
"""Where in a message's row the arrow of its bytes is, pixels from the top."""


class Sequence:
    """What became of each message: the newest rows that have room, and those around a selected event."""

    name: ClassVar[str] = "messages"
    question: ClassVar[str] = messages.QUESTION

    def answer(self, view: View) -> str:
        """How the messages fared."""
        return messages.answer(view)

    def tell(self, view: View) -> str:
        """The newest IPIs, each with all that became of it."""
        return messages.tell(view)

    def body(self, view: View, width: int) -> str:
        """The drawing."""
        return drawn(self, view, width)

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """Lanes, rows and the key to their marks."""
        shown = window(view, width)
        if not shown.rows:
            words = "No CPU has written its interrupt command register (ICR) yet: INIT, SIPI and messages begin there."
            lines = wrap(words, width - 16, 12)
            content = "".join(text(8, 22 + 16 * n, line, palette.role("muted")) for n, line in enumerate(lines))
            return Drawing(content, 28 + 16 * len(lines))
        return _Diagram(view, shown, palette, width).drawing()


PICTURE = Sequence()


class _Diagram(Ground):
    """Rows on their ground."""

    def drawing(self) -> Drawing:
        content = self._heads() + self._links() + self._lanes() + self._slots() + self._pending() + self._served()
        content += "".join(self._row(line) for line in self.lines)
        y = self.bottom + (24 if self.shown.later else 0) + 8
        keyed, height = key(self.used, self.palette, 8, y, self.width - 16)
        return Drawing(content + keyed, y + height)

    def _row(self, line: Line) -> str:
        row = line.row
        chosen = self.view.selected in row.events
        content = element(
            "rect", x=2, y=line.top, width=self.width - 4, height=line.height, fill="none", pointer_events="all"
        )
        if chosen:
            content += element(
                "rect",
                x=2,
                y=line.top + 1,
                width=self.width - 4,
                height=line.height - 2,
                rx=4,
                fill="none",
                stroke=self.palette.role("focus"),
                stroke_width=2.5,
            )
        if self.shown.left > 8:
            at, time = self.shown.left - 12, f"{row.time:,}"
            content += text(at, line.top + AT + 4, time, self.muted, size=11, font_family=CODE, text_anchor="end")
        content += self._sent(line) if row.entry.kind == "sent" else self._arrived(line)
        y = line.top + 15
        for words in line.heads:
            content += text(self.shown.words, y, words, self.alert if row.trouble else self.ink, bold=True)
            y += 15
        for words in line.details:
            content += text(self.shown.words, y, words, self.muted, size=11)
            y += 15
        said = f"e{row.entry.event}, t={row.time:,}: {row.head}. {row.detail}"
        return element("g", content, **selects(row.entry.event, said), aria_pressed="true" if chosen else None)

    def _arrived(self, line: Line) -> str:
        row, last = line.row, line.row.ipis[-1]
        x = self._x(last.target, row.entry.event) if last.target is not None else None
        if x is None or row.entry.kind == "eoi":
            return ""
        if row.entry.kind == "lost":
            self.used.add("lost")
            return cross(x, line.top + AT, self.alert)
        self.used.add("delivered")
        return diamond(x, line.top + AT, self.ink)

    def _sent(self, line: Line) -> str:
        row = line.row
        first = row.ipis[0]
        start = self._x(first.sender, row.entry.event)
        assert start is not None
        content = element("circle", cx=start, cy=line.sent, r=4, fill=self.ink)
        word = {"init": "INIT", "sipi": "SIPI", "nmi": "NMI"}.get(first.delivery, f"0x{first.vector:X}")
        ends: dict[tuple[int, str], Ipi] = {}
        for ipi in row.ipis:
            end = self._x(ipi.target, row.entry.event) if ipi.target is not None else self._nowhere(start)
            if end is not None:
                ends.setdefault((end, _mark(ipi)), ipi)
            content += self._store(line, ipi)
        # The longest arrow is drawn last, so that each has its head.
        for (end, mark), ipi in sorted(ends.items(), key=lambda one: -abs(one[0][0] - start)):
            content += self._arrow(line, ipi, start, end, mark)
        ways = {1 if end >= start else -1 for end, _ in ends}
        if ways != {-1}:
            content += text(start + 6, line.sent - 5, word, self.ink, size=11, font_family=CODE)
        else:
            content += text(start - 6, line.sent - 5, word, self.ink, size=11, font_family=CODE, text_anchor="end")
        return content

    def _nowhere(self, start: int) -> int:
        """Where an arrow ends that leads to no CPU: behind the last lane, or before the first one."""
        edge = self.shown.words - 24
        return edge if edge - start > 40 else self.shown.left + 4

    def _arrow(self, line: Line, ipi: Ipi, start: int, end: int, mark: str) -> str:
        self.used.add(mark)
        if end == start:
            return self._hook(line, start, mark)
        way = 1 if end > start else -1
        short = {"lost": 14, "ignored": 14}.get(mark, 5)
        if ipi.target is None:
            short = 0
        to = end - way * short
        content = shaft(start, to - way * (0 if mark in ("lost", "ignored") else 8), line.sent, _dash(ipi), self.ink)
        return content + tip(mark, to, line.sent, way, self.palette)

    def _hook(self, line: Line, x: int, mark: str) -> str:
        """From a lane to itself: a CPU to itself, or to another one of its kernel's."""
        y = line.sent
        to = x + 24
        content = shaft(x, to, y, None, self.ink) + upright(to, y, y + 9, self.ink, 2)
        content += shaft(to, x + 14, y + 9, None, self.ink)
        return content + tip(mark, x + 6, y + 9, -1, self.palette)

    def _store(self, line: Line, ipi: Ipi) -> str:
        """The bytes go to the slot, which is not where the interrupt goes."""
        lane = Lane("slot", ipi.slot.address) if ipi.slot else None
        start = self._x(ipi.sender, line.row.entry.event)
        if lane is None or lane not in self.shown.lanes or start is None:
            return ""
        x, y = self.shown.lanes[lane], line.top + _STORE
        way = 1 if x > start else -1
        to = x - way * min(20, self.shown.sizes[lane] // 2 - 8)
        self.used.add("store")
        dot = element("circle", cx=start, cy=y, r=2.5, fill=self.ink)
        return (
            dot
            + path([(start, y, to - way * 7, y)], self.ink, 1.2, stroke_dasharray="1 3")
            + tip("store", to, y, way, self.palette)
        )


def _mark(ipi: Ipi) -> str:
    """The mark at the end of an IPI's arrow."""
    if ipi.lost and not ipi.accepted:
        return "lost"
    if ipi.ignored:
        return "ignored"
    if ipi.delivery in ("init", "sipi"):
        return "INIT" if ipi.delivery == "init" else "SIPI"
    return "merged" if ipi.merged else "accepted"


def _dash(ipi: Ipi) -> str | None:
    return {"init": "7 4", "sipi": "2 3"}.get(ipi.delivery)
