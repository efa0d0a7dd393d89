"""The sequence diagram of messages: lanes for CPUs and for slots, a row for each thing that happened.

Lanes, slots, waiting and served interrupts are drawn first, through all rows; then each row's own marks and words, which
can be selected.
"""

import bisect
from dataclasses import dataclass
from typing import ClassVar

from mklab.recording import Ipi
from mklab.widgets import messages
from mklab.widgets.flow import Entry, Flow, is_torn
from mklab.widgets.lanes import Lane, Window, owner_at, window
from mklab.widgets.messages import Row
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.sequence_marks import (
    box,
    check,
    cross,
    diamond,
    key,
    shaft,
    tip,
    upright,
    zigzag,
)
from mklab.widgets.svg import CODE, element, hatched_box, path, text, width_of, wrap
from mklab.widgets.view import View

__all__ = ["PICTURE", "Sequence"]

_HEAD = 60
_ROW = 42
_MESSAGE_ROW = 48
_CHANGE = 20
_AT = 18
"""Where in its row a mark is drawn, and where in that of a message its arrows are, pixels from the top."""
_STORE, _SENT = 12, 29
_BOLD = 14
"""What wrap() must take for the size of bold letters of 12 pixels, which are wider."""


@dataclass
class _Line:
    """A row and where it is drawn: ``change`` is the strip above it that tells of CPUs that changed hands."""

    row: Row
    heads: list[str]
    details: list[str]
    change: int = 0
    top: int = 0
    height: int = 0

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def sent(self) -> int:
        """Where an interrupt that is sent in this row reaches its target."""
        return self.top + (_SENT if any(ipi.slot for ipi in self.row.ipis) else _AT)


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


class _Diagram:
    """One drawing: a window on a film, and where its rows lie."""

    def __init__(self, view: View, shown: Window, palette: Palette, width: int) -> None:
        self.view, self.shown, self.palette, self.width = view, shown, palette, width
        self.film, self.flow = view.film, Flow.of(view.film)
        self.ink, self.muted, self.alert = (palette.role(name) for name in ("ink", "muted", "alert"))
        self.used: set[str] = set()
        self.y = _HEAD + (24 if shown.earlier else 4)
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

    def _line(self, row: Row) -> _Line:
        room = self.width - self.shown.words - 4
        cross_too = "\u00d7 " if row.trouble else ""
        heads = wrap(f"{cross_too}e{row.entry.event} {self._route(row)}{row.head}", room, _BOLD)
        at = "" if self.shown.left > 8 else f"t={row.time:,}. "
        details = wrap(f"{at}{row.detail}", room, 11)
        least = _MESSAGE_ROW if row.entry.kind == "sent" and any(ipi.slot for ipi in row.ipis) else _ROW
        return _Line(row, heads, details, height=max(least, 15 * (len(heads) + len(details)) + 10))

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

    def _line_at(self, event: int) -> _Line | None:
        """The first row at or after ``event``."""
        place = bisect.bisect_left(self.lines, event, key=lambda line: line.row.entry.event)
        return self.lines[place] if place < len(self.lines) else None

    # The whole

    def drawing(self) -> Drawing:
        content = self._heads() + self._links() + self._lanes() + self._slots() + self._pending() + self._served()
        content += "".join(self._row(line) for line in self.lines)
        y = self.bottom + (24 if self.shown.later else 0) + 8
        keyed, height = key(self.used, self.palette, 8, y, self.width - 16)
        return Drawing(content + keyed, y + height)

    def _heads(self) -> str:
        """The names above the lanes, each with the owner at the first row."""
        content = ""
        first = self.lines[0].row.entry.event
        for lane, x in self.shown.lanes.items():
            title = {"cpu": f"CPU {lane.what}", "kernel": "CPUs of"}.get(lane.kind, "")
            if lane.kind == "slot":
                title = f"slot {self.film.recording.apic_ids[self.shown.targets[int(lane.what or 0)]]}"
            content += text(x, 14, title, self.ink, bold=True, text_anchor="middle")
            if lane.kind == "slot":
                content += text(x, 52, "mailbox", self.muted, size=11, text_anchor="middle")
            else:
                content += self._look(x, 22, self._owner(lane, first))
        if self.shown.left > 8:
            content += text(self.shown.left - 12, 52, "instr.", self.muted, size=11, text_anchor="end")
        return content + text(self.shown.words, 52, "what happened, and why", self.muted, size=11)

    def _look(self, x: int, y: int, owner: str | None) -> str:
        """A box in the look of ``owner``, its name below."""
        swatch = hatched_box(x - 11, y, 22, 14, owner, self.palette, dashed=owner is None)
        return swatch + text(x, y + 30, owner or "nobody", self.muted, size=11, text_anchor="middle")

    def _links(self) -> str:
        """The ways to rows that have no room."""
        content = ""
        if self.shown.earlier:
            before = self.flow.entries[self.shown.earlier - 1]
            content += self._link(_HEAD + 14, f"{self.shown.earlier:,} earlier: show e{before.event}", before)
        if self.shown.later:
            place = self.shown.earlier + len(self.shown.rows)
            content += self._link(
                self.bottom + 18, f"{self.shown.later:,} later: show e{self.flow.entries[place].event}",
                self.flow.entries[place],
            )
        return content

    def _link(self, y: int, words: str, entry: Entry) -> str:
        line = text(self.shown.words, y, words, self.ink, size=12, text_decoration="underline")
        ground = element("rect", x=self.shown.words - 4, y=y - 15, width=width_of(words) + 8, height=22, fill="none")
        return element("g", ground + line, **_selects(entry.event, words))

    # Behind the rows

    def _lanes(self) -> str:
        content = ""
        for lane, x in self.shown.lanes.items():
            if lane.kind == "slot":
                content += upright(x, self.top, self.bottom, self.palette.role("axis"), 1, dash="1 4")
                continue
            # One piece for each stretch with one owner.
            top, owner = self.top, self._owner(lane, self.lines[0].row.entry.event)
            for line in self.lines[1:]:
                now = self._owner(lane, line.row.entry.event)
                if now != owner:
                    content += self._lane(x, top, line.top - line.change, owner)
                    content += self._handover(x, line.top - line.change, now)
                    top, owner = line.top, now
            content += self._lane(x, top, self.bottom, owner)
        return content

    def _lane(self, x: int, top: int, bottom: int, owner: str | None) -> str:
        return upright(x, top, bottom, self.palette.line(owner), 2, dash="4 3" if owner is None else None)

    def _handover(self, x: int, y: int, owner: str | None) -> str:
        """Whose the CPU is from here on; the lane is interrupted for it."""
        return text(x, y + 14, owner or "nobody", self.ink, size=11, bold=True, text_anchor="middle")

    def _slots(self) -> str:
        return "".join(
            self._slot(int(lane.what or 0), x, self.shown.sizes[lane])
            for lane, x in self.shown.lanes.items()
            if lane.kind == "slot"
        )

    def _slot(self, address: int, x: int, size: int) -> str:
        """The messages that lie in a slot, each from its sending until it is read or something else lies there."""
        first, target = self.lines[0].row.entry.event, self.shown.targets[address]
        begin, end = self.flow.sent(first - 1), self.flow.sent(self.lines[-1].row.entry.event)
        places = [*self.flow.before(target, begin)[::-1], *self.flow.after(target, begin - 1, max(0, end - begin))]
        stays = []
        for place in places:
            ipi = self.flow.recording.ipis[place].upto(self.view.event)
            if place < end and ipi.slot and ipi.slot_seen and ipi.slot.address == address:
                stays.append((place, ipi))
        content = ""
        for number, (place, ipi) in enumerate(stays):
            following = stays[number + 1][1] if number + 1 < len(stays) else None
            content += self._stay(place, ipi, following, x, size)
        return content

    def _stay(self, place: int, ipi: Ipi, following: Ipi | None, x: int, size: int) -> str:
        read = self._by_event.get(ipi.delivered.event) if ipi.taken and ipi.delivered else None
        ended = ipi.delivered if ipi.taken else following.sent if following else None
        if ended and ended.event < self.lines[0].row.entry.event:
            return ""
        begun = self._by_event.get(ipi.sent.event)
        until = self._line_at(ended.event) if ended else None
        top = begun.top + 6 if begun else self.top
        bottom = read.top + 34 if read else until.top + 2 if until else self.bottom
        if bottom - top < 8:
            return ""  # it ends where the window begins
        gone = bool(ipi.lost or ipi.overwritten)
        color = self.alert if gone or is_torn(ipi) else self.ink
        half = min(20, size // 2 - 8)
        called, baseline = messages.name(self.flow, place), top + (36 if begun else 14)
        content = box(
            x - half, top, 2 * half, bottom - top, color, self.palette,
            dashed=bool(ipi.lost), open_top=not begun, open_bottom=not (read or until),
        )
        if bottom - top >= 16:
            wide = width_of(called, 12) / 2 + 1
            content += element("rect", x=x - wide, y=baseline - 10, width=2 * wide, height=13, fill=self.palette.role("panel"))
            content += text(x, baseline, called, color, size=11, bold=True, font_family=CODE, text_anchor="middle")
            if ipi.overwritten:
                content += path([(x - 9, baseline - 4, x + 9, baseline - 4)], color, 1.5)
                content += cross(x + half, bottom - 5, self.alert, 5)
                self.used.add("overwritten")
        if ipi.lost:
            self.used.add("never read")
        if read:
            torn = is_torn(ipi)
            content += zigzag(x, half, read.top + 20, self.alert) if torn else check(x, read.top + 24, self.palette)
            self.used.add("torn" if torn else "read")
        return content

    def _waiting(self) -> list[tuple[int, Ipi]]:
        """The interrupts that wait or are served in the window, and the x of the CPU's own lane."""
        found = {}
        first, last = self.lines[0].row.entry.event, self.lines[-1].row.entry.event
        begin, end = self.flow.sent(first - 1), self.flow.sent(last)
        for lane, x in self.shown.lanes.items():
            if lane.kind == "cpu":
                cpu = int(lane.what or 0)
                for place in (*self.flow.before(cpu, begin), *self.flow.after(cpu, begin - 1, max(0, end - begin))):
                    ipi = self.flow.recording.ipis[place].upto(self.view.event)
                    if place < end and ipi.accepted and not ipi.merged:
                        found[place] = (x, ipi)
        for line in self.lines:
            # What had been sent long before is in the row that tells of its delivery.
            for place, ipi in zip(line.row.entry.places, line.row.ipis, strict=True):
                x_now = self._x(ipi.target, line.row.entry.event) if ipi.target is not None else None
                if line.row.entry.kind != "sent" and x_now is not None and not ipi.merged and ipi.accepted:
                    found.setdefault(place, (x_now, ipi))
        return list(found.values())

    def _pending(self) -> str:
        """The hollow bars of interrupts that wait in an IRR."""
        content, first = "", self.lines[0].row.entry.event
        for x, ipi in self._waiting():
            end = ipi.delivered or ipi.lost
            own = self.shown.lane(self.film, ipi.target or 0, ipi.sent.event).kind == "cpu"
            if (end and end.event < first) or not own:
                continue
            begun = self._by_event.get(ipi.sent.event)
            until = self._line_at(end.event) if end else None
            top, bottom = begun.sent if begun else self.top, until.top + _AT if until else self.bottom
            self.used.add("pending")
            content += element("rect", x=x - 4, y=top, width=8, height=bottom - top, fill=self.palette.role("paper"))
            sides = [(x - 4, top, x - 4, bottom), (x + 4, top, x + 4, bottom)]
            sides += [(x - 4, top, x + 4, top)] if begun else []
            content += path(sides, self.ink, 1.2)
        return content

    def _served(self) -> str:
        """The solid bars of interrupts in service, from delivery to EOI."""
        content, first = "", self.lines[0].row.entry.event
        for x, ipi in self._waiting():
            if ipi.delivered is None or ipi.delivery == "nmi" or (ipi.eoi and ipi.eoi.event < first):
                continue
            begun = self._by_event.get(ipi.delivered.event)
            ended = None
            if ipi.eoi:
                at = self.lines[-1] if self._line_at(ipi.eoi.event) is None else self._line_at(ipi.eoi.event)
                own = begun is not None and begun.row.entry.eoi
                ended = begun.top + 36 if own and begun else at.top + _AT if at else None
            top, bottom = begun.top + _AT if begun else self.top, ended or self.bottom
            self.used |= {"in service"} | ({"EOI"} if ended else set())
            content += upright(x, top, bottom, self.ink, 7)
            if ended:
                content += path([(x - 9, ended, x + 9, ended)], self.ink, 2.5)
        return content

    # Rows

    def _row(self, line: _Line) -> str:
        row = line.row
        chosen = self.view.selected in row.events
        content = element("rect", x=2, y=line.top, width=self.width - 4, height=line.height, fill="none", pointer_events="all")
        if chosen:
            content += element(
                "rect", x=2, y=line.top + 1, width=self.width - 4, height=line.height - 2, rx=4, fill="none",
                stroke=self.palette.role("focus"), stroke_width=2.5,
            )
        if self.shown.left > 8:
            at = {"size": 11, "font_family": CODE, "text_anchor": "end"}
            content += text(self.shown.left - 12, line.top + _AT + 4, f"{row.time:,}", self.muted, **at)
        content += self._sent(line) if row.entry.kind == "sent" else self._arrived(line)
        y = line.top + 15
        for words in line.heads:
            content += text(self.shown.words, y, words, self.alert if row.trouble else self.ink, bold=True)
            y += 15
        for words in line.details:
            content += text(self.shown.words, y, words, self.muted, size=11)
            y += 15
        said = f"e{row.entry.event}, t={row.time:,}: {row.head}. {row.detail}"
        return element("g", content, **_selects(row.entry.event, said), aria_pressed="true" if chosen else None)

    def _arrived(self, line: _Line) -> str:
        row, last = line.row, line.row.ipis[-1]
        x = self._x(last.target, row.entry.event) if last.target is not None else None
        if x is None or row.entry.kind == "eoi":
            return ""
        if row.entry.kind == "lost":
            self.used.add("lost")
            return cross(x, line.top + _AT, self.alert)
        self.used.add("delivered")
        return diamond(x, line.top + _AT, self.ink)

    def _sent(self, line: _Line) -> str:
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
            content += text(start + 9, line.sent - 5, word, self.ink, size=11, font_family=CODE)
        else:
            content += text(start - 9, line.sent - 5, word, self.ink, size=11, font_family=CODE, text_anchor="end")
        return content

    def _nowhere(self, start: int) -> int:
        """Where an arrow ends that leads to no CPU: behind the last lane, or before the first one."""
        edge = self.shown.words - 24
        return edge if edge - start > 40 else self.shown.left + 4

    def _arrow(self, line: _Line, ipi: Ipi, start: int, end: int, mark: str) -> str:
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

    def _hook(self, line: _Line, x: int, mark: str) -> str:
        """From a lane to itself: a CPU to itself, or to another one of its kernel's."""
        y = line.sent
        to = x + 24
        content = shaft(x, to, y, None, self.ink) + upright(to, y, y + 9, self.ink, 2)
        content += shaft(to, x + 14, y + 9, None, self.ink)
        return content + tip(mark, x + 6, y + 9, -1, self.palette)

    def _store(self, line: _Line, ipi: Ipi) -> str:
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
        return dot + path([(start, y, to - way * 7, y)], self.ink, 1.2, stroke_dasharray="1 3") + tip("store", to, y, way, self.palette)


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


def _selects(event: int, words: str) -> dict[str, object]:
    return {"data_event": event, "tabindex": 0, "role": "button", "aria_label": words}
