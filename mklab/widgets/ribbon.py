"""What lies where in some memory: its places in ascending order, as boxes in rows, not to scale."""

from dataclasses import dataclass

from mklab.recording import Found
from mklab.widgets.memory import amount, stretch
from mklab.widgets.memory_line import cross, frame
from mklab.widgets.memory_state import MemoryState, name_of
from mklab.widgets.palette import Palette
from mklab.widgets.svg import CODE, element, hatched_box, path, text, width_of

__all__ = ["Part", "draw_parts", "parts_of"]

_BOX, _ROW, _GAP = 36, 62, 14
_CODE_WIDTH = 6.8


@dataclass(frozen=True)
class Part:
    """A box: memory from ``start`` up to ``end`` with a name, and what happened to it.

    Attributes:
        owner: whose it is.
        written: bytes that changed at the last look.
        stray: whether a write that went astray lies here.
        place: the place it is; None for memory without a name.
    """

    start: int
    end: int
    name: str
    owner: str | None
    written: int
    stray: bool
    place: Found | None


def parts_of(state: MemoryState, owner: str | None) -> list[Part]:
    """The places in the memory of ``owner``, and what was written or went astray between them."""
    parts = []
    for region in state.layout.regions:
        if region.owner != owner:
            continue
        for one in state.layout.parts(region.start, region.end):
            if region.start <= one.address:
                parts.append(_part(state, one.address, one.address + one.size, name_of(one), owner, one))
    elsewhere = [(one.start, one.end) for one in state.strays] + [(one.address, one.end) for one in state.writes]
    for start, end in elsewhere:
        inside = any(part.start <= start < part.end for part in parts)
        if not inside and state.layout.region_at(start) and state.layout.owner_at(start) == owner:
            parts.append(_part(state, start, end, "no known place", owner, None))
    return sorted(parts, key=lambda part: part.start)


def _part(state: MemoryState, start: int, end: int, name: str, owner: str | None, place: Found | None) -> Part:
    written = sum(max(0, min(end, one.end) - max(start, one.address)) for one in state.writes)
    stray = any(one.start < end and start < one.end for one in state.strays)
    return Part(start, end, name, owner, written, stray, place)


def draw_parts(state: MemoryState, parts: list[Part], y: int, width: int, palette: Palette) -> tuple[str, int]:
    """The boxes, from ``y`` on, and where they end."""
    content, x, row = "", 1.0, 0
    for number, part in enumerate(parts):
        words = [part.name, f"{part.start:#x}", _note(part)]
        room = max(
            width_of(words[0]) + (42 if part.stray else 22), len(words[1]) * _CODE_WIDTH + 6, width_of(words[2], 11) + 4
        )
        room = min(max(room, 64), width - 2)
        if x > 1 and x + room > width - 2:
            x, row = 1.0, row + 1
        top = y + row * _ROW
        if x > 1 and parts[number - 1].end < part.start:
            # Something lies between them that has no name.
            content += path(
                [(x - _GAP + 3, top + 18, x - 3, top + 18)], palette.role("axis"), 2, stroke_dasharray="2 2"
            )
        content += _box(state, part, x, top, room, palette)
        x += room + _GAP
    return content, y + (row + 1) * _ROW if parts else y


def _note(part: Part) -> str:
    """What stands below a part's address: how big it is, and how much of it changed."""
    size = amount(part.end - part.start)
    return f"{size}, {amount(part.written)} written" if part.written else size


def _box(state: MemoryState, part: Part, x: float, y: int, width: float, palette: Palette) -> str:
    ink, muted, alert = (palette.role(name) for name in ("ink", "muted", "alert"))
    content = hatched_box(x, y, width, _BOX - 8, part.owner, palette)
    room = width_of(part.name) + 8
    left = x + (width - room) / 2 + (9 if part.stray else 0)
    content += element("rect", x=left, y=y + 4, width=room, height=20, fill=palette.fill(part.owner))
    color = alert if part.stray else ink
    content += text(left + 4, y + 18, part.name, color, bold=bool(part.written) or part.stray)
    if part.written:
        content += element("rect", x=x, y=y - 1, width=4, height=_BOX - 6, fill=ink)
    if part.stray:
        content += element("rect", x=x + 3, y=y + 5, width=16, height=18, fill=palette.fill(part.owner))
        content += cross(x + 11, y + 14, palette)
    content += text(x, y + 41, f"{part.start:#x}", muted, size=11, font_family=CODE)
    content += text(x, y + 54, _note(part), ink if part.written else muted, size=11)
    if part.start <= state.focus < part.end and state.view.address is not None:
        content += frame(x - 2, y - 2, width + 4, _BOX - 4, palette.role("focus"))
    label = f"{part.name}, {stretch(part.start, part.end)}, {_note(part)}{', a stray write' if part.stray else ''}"
    return element("g", content, data_address=part.start, tabindex=0, role="button", aria_label=label)
