"""What lies behind the rows of the sequence diagram: lanes, messages in slots, interrupts that wait or are served."""

from functools import cached_property

from mklab.recording import Ipi
from mklab.widgets import messages
from mklab.widgets.flow import Entry, is_torn
from mklab.widgets.sequence_layout import AT, HEAD, Layout
from mklab.widgets.sequence_marks import box, check, cross, upright, zigzag
from mklab.widgets.svg import CODE, Segment, element, hatched_box, path, text, width_of

__all__ = ["Ground", "selects"]


class Ground(Layout):
    """The ground on which rows are drawn."""

    def _heads(self) -> str:
        """The names above the lanes, each with the owner at the first row."""
        content = ""
        first = self.lines[0].row.entry.event
        for lane, x in self.shown.lanes.items():
            title = {"cpu": f"CPU {lane.what}", "kernel": "CPUs"}.get(lane.kind, "")
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
            content += self._link(HEAD + 14, f"{self.shown.earlier:,} earlier: show e{before.event}", before)
        if self.shown.later:
            place = self.shown.earlier + len(self.shown.rows)
            content += self._link(
                self.bottom + 18,
                f"{self.shown.later:,} later: show e{self.flow.entries[place].event}",
                self.flow.entries[place],
            )
        return content

    def _link(self, y: int, words: str, entry: Entry) -> str:
        line = text(self.shown.words, y, words, self.ink, size=12, text_decoration="underline")
        ground = element("rect", x=self.shown.words - 4, y=y - 15, width=width_of(words) + 8, height=22, fill="none")
        return element("g", ground + line, **selects(entry.event, words))

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
            ipi = self.flow.at(place, self.view.event)
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
            x - half,
            top,
            2 * half,
            bottom - top,
            color,
            self.palette,
            dashed=bool(ipi.lost),
            open_top=not begun,
            open_bottom=not (read or until),
        )
        if bottom - top >= 16:
            wide = width_of(called, 12) / 2 + 1
            content += element(
                "rect", x=x - wide, y=baseline - 10, width=2 * wide, height=13, fill=self.palette.role("panel")
            )
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

    @cached_property
    def _waiting(self) -> list[tuple[int, Ipi]]:
        """The interrupts that wait or are served in the window, and the x of the CPU's own lane."""
        found = {}
        first, last = self.lines[0].row.entry.event, self.lines[-1].row.entry.event
        begin, end = self.flow.sent(first - 1), self.flow.sent(last)
        for lane, x in self.shown.lanes.items():
            if lane.kind == "cpu":
                cpu = int(lane.what or 0)
                for place in (*self.flow.before(cpu, begin), *self.flow.after(cpu, begin - 1, max(0, end - begin))):
                    ipi = self.flow.at(place, self.view.event)
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
        for x, ipi in self._waiting:
            end = ipi.delivered or ipi.lost
            own = self.shown.lane(self.film, ipi.target or 0, ipi.sent.event).kind == "cpu"
            if (end and end.event < first) or not own:
                continue
            begun = self._by_event.get(ipi.sent.event)
            until = self._line_at(end.event) if end else None
            top, bottom = begun.sent if begun else self.top, until.top + AT if until else self.bottom
            self.used.add("pending")
            content += element("rect", x=x - 4, y=top, width=8, height=bottom - top, fill=self.palette.role("paper"))
            sides: list[Segment] = [(x - 4, top, x - 4, bottom), (x + 4, top, x + 4, bottom)]
            sides += [(x - 4, top, x + 4, top)] if begun else []
            content += path(sides, self.ink, 1.2)
        return content

    def _served(self) -> str:
        """The solid bars of interrupts in service, from delivery to EOI."""
        content, first = "", self.lines[0].row.entry.event
        for x, ipi in self._waiting:
            if ipi.delivered is None or ipi.delivery == "nmi" or (ipi.eoi and ipi.eoi.event < first):
                continue
            begun = self._by_event.get(ipi.delivered.event)
            ended = None
            if ipi.eoi:
                at = self.lines[-1] if self._line_at(ipi.eoi.event) is None else self._line_at(ipi.eoi.event)
                own = begun is not None and begun.row.entry.eoi
                ended = begun.top + 36 if own and begun else at.top + AT if at else None
            top, bottom = begun.top + AT if begun else self.top, ended or self.bottom
            self.used |= {"in service"} | ({"EOI"} if ended else set())
            content += upright(x, top, bottom, self.ink, 7)
            if ended:
                content += path([(x - 9, ended, x + 9, ended)], self.ink, 2.5)
        return content


def selects(event: int, words: str) -> dict[str, object]:
    """What an element carries that selects ``event`` when it is chosen."""
    return {"data_event": event, "tabindex": 0, "role": "button", "aria_label": words}
