"""Which bytes lie here, and who wrote them? Memory byte by byte; it follows the last writes."""

from typing import ClassVar

from mklab.widgets.hex_fields import WINDOW, Window, name_of_place, named, shown_fields, values_of, window_of
from mklab.widgets.memory import amount, stretch
from mklab.widgets.memory_state import MemoryState, nothing, state_of
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.svg import CODE, element, path, text, width_of, wrap
from mklab.widgets.view import View
from mklab.widgets.writes import last_touch, when, who

__all__ = ["PICTURE", "HexView"]

_PAGE = 4096
_LINE, _WAS = 20, 16
_CHARACTER = 6.8
"""Pixels of a character of 11 px in a monospaced font; 12 px: 7.4."""
_CELL = 21
_WIDE = 470
"""Pixels from which on 16 bytes stand in a row; below it is 8."""


class HexView:
    """The picture."""

    name: ClassVar[str] = "hex-view"
    question: ClassVar[str] = "Which bytes lie here, and who wrote them?"

    def answer(self, view: View) -> str:
        """Where this is, and who wrote last."""
        state = state_of(view)
        if state is None:
            return nothing(view)
        at = state.focus
        told = f"{at:#x} is in {state.layout.words(at)}" if state.layout.region_at(at) else f"{at:#x} is no RAM"
        window = window_of(state)
        if window is None:
            return f"{told}{', and the recording does not hold what lies there' if state.layout.region_at(at) else ''}."
        return f"{told}. {_writer(view, at)}"

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """The bytes in rows, the fields of the struct that lies there, and the ways to other addresses."""
        state = state_of(view)
        if state is None:
            return Drawing("", 8)
        content, y = _ways(state, width, palette)
        window = window_of(state)
        if window is None:
            return Drawing(content, y)
        drawing, y = _rows(window, y, width, palette)
        content += drawing
        drawing, y = _fields(window, y + 6, width, palette)
        return Drawing(content + drawing, y + 4)

    def body(self, view: View, width: int) -> str:
        """The drawing."""
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        """Rows of 16 bytes, the old ones below those that changed, and the fields."""
        state = state_of(view)
        window = window_of(state) if state else None
        if window is None:
            return ""
        lines = []
        for offset in _offsets(window, 16):
            if offset is None:
                lines.append("*")
                continue
            part = window.data[offset : offset + 16]
            lines.append(f"{window.start + offset:08x}  {part.hex(' '):<47}  {_ascii(part)}")
            if any(window.changed(offset + n) for n in range(16)):
                assert window.before is not None
                was = [f"{window.before[offset + n]:02x}" if window.changed(offset + n) else "  " for n in range(16)]
                lines.append(f"     was  {' '.join(was)}".rstrip())
        for one in shown_fields(window):
            value, old = values_of(window, one)
            changed = f"  CHANGED, was {old}" if old else ""
            lines.append(f"{one.address:#x}  {one.name:<20} {value}{changed}")
        return "\n".join(lines)


PICTURE = HexView()


def _writer(view: View, address: int) -> str:
    """Who changed the word at ``address`` last."""
    look = last_touch(view.film, view.look, address & -8, 8)
    if look is None:
        return "Nothing was written there yet."
    if look.cause == "start":
        return "It was written before the recording's first look."
    detail = f" in {look.detail}" if look.cause == "call" else ""
    return f"Last written by {who(look)}{detail}, {when(look)}{', in this step' if look.number == view.look else ''}."


def _ascii(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def _offsets(window: Window, row: int) -> list[int | None]:
    """Where the rows begin; None for rows of zeros that are left out: three or more that nobody has changed."""
    offsets: list[int | None] = []
    empty: list[int] = []
    for offset in [*range(0, WINDOW, row), WINDOW]:
        part = window.data[offset : offset + row]
        here = offset <= window.state.focus - window.start < offset + row
        if part and not any(part) and not here and not any(window.changed(offset + n) for n in range(row)):
            empty.append(offset)
            continue
        offsets += [None] if len(empty) > 2 else empty
        empty = []
        offsets += [offset] if part else []
    return offsets


# Drawing


def _ways(state: MemoryState, width: int, palette: Palette) -> tuple[str, int]:
    """Buttons that lead to what lies before and behind, and to what was written."""
    start = state.focus & -WINDOW
    ways = [
        ("256 B back", start - WINDOW),
        ("256 B on", start + WINDOW),
        ("Page back", (start & -_PAGE) - _PAGE),
        ("Page on", (start & -_PAGE) + _PAGE),
    ]
    if state.view.address is not None and state.writes:
        ways.append(("Written by this step", state.writes[0].address))
    content, x, y = "", 1.0, 1
    for words, address in ways:
        if address < 0:
            continue
        room = width_of(words) + 20
        if x > 1 and x + room > width:
            x, y = 1.0, y + 32
        button = element(
            "rect",
            x=x,
            y=y,
            width=room,
            height=26,
            rx=4,
            fill=palette.role("paper"),
            stroke=palette.role("axis"),
            stroke_width=1,
        )
        button += text(x + room / 2, y + 17, words, palette.role("ink"), text_anchor="middle")
        label = f"{words}: {address:#x}"
        attributes = {"data_address": address, "class_": "mk-way", "tabindex": 0, "role": "button", "aria_label": label}
        content += element("g", button, **attributes)
        x += room + 8
    return content, y + 36


def _rows(window: Window, y: int, width: int, palette: Palette) -> tuple[str, int]:
    muted = palette.role("muted")
    row = 16 if width >= _WIDE else 8
    digits = max(8, len(f"{window.start + WINDOW:x}"))
    left = 10 + digits * _CHARACTER + 12
    # What is left for the bytes once the characters beside them have their room.
    cell = min(_CELL, (width - left - 8 - row * 7.4 - 8) / row)
    beside = left + row * cell + 16
    content = ""
    for offset in _offsets(window, row):
        if offset is None:
            content += text(left, y + 14, "* rows of zeros", muted, size=11)
        else:
            content += _row(window, offset, row, (left, cell, beside), y, palette)
            if any(window.changed(offset + n) for n in range(row)):
                y += _WAS
        y += _LINE
    return content, y


def _row(window: Window, offset: int, row: int, columns: tuple[float, float, float], y: int, palette: Palette) -> str:
    ink, muted = palette.role("ink"), palette.role("muted")
    left, cell, beside = columns
    address = window.start + offset
    content = text(10, y + 14, f"{address:08x}", muted, size=11, font_family=CODE)
    focus = window.state.focus - address
    stray = {
        at - address
        for one in window.state.strays
        if one.look == window.state.view.look
        for at in range(max(one.start, address), min(one.end, address + row))
    }
    changed = [n for n in range(row) if window.changed(offset + n)]
    for n in range(row):
        x = left + n * cell + (8 if n >= 8 else 0)
        byte = window.data[offset + n]
        if n == focus:
            content += element(
                "rect", x=x - 3, y=y, width=cell, height=18, fill="none", stroke=palette.role("focus"), stroke_width=2
            )
        color = palette.role("alert") if n in stray else ink if byte or n in changed else muted
        content += text(x, y + 14, f"{byte:02x}", color, size=11, bold=n in changed, font_family=CODE)
    words = _ascii(window.data[offset : offset + row])
    content += text(beside, y + 14, words, ink, size=11, font_family=CODE, style="white-space:pre")
    if changed:
        assert window.before is not None
        content += element("rect", x=2, y=y, width=4, height=_LINE + _WAS - 4, fill=ink)
        content += text(10 + 4 * _CHARACTER, y + 30, "was", muted, size=11)
        for n in changed:
            x = left + n * cell + (8 if n >= 8 else 0)
            content += text(x, y + 30, f"{window.before[offset + n]:02x}", muted, size=11, font_family=CODE)
    first = next(iter(changed), 0)
    label = f"{address:#x}: {window.data[offset : offset + row].hex(' ')}"
    return element("g", content, data_address=address + first, tabindex=0, role="button", aria_label=label)


# Fields


def _fields(window: Window, y: int, width: int, palette: Palette) -> tuple[str, int]:
    """The fields of the struct, in as many columns as there is room for."""
    ink, muted = palette.role("ink"), palette.role("muted")
    title, _ = named(window.state, window.state.focus)
    shown = shown_fields(window)
    if not shown:
        around = window.state.layout.places_at(window.state.focus)
        if not around:
            return "", y
        place = around[-1]
        where = f"{stretch(place.address, place.address + place.size)}, {amount(place.size)}"
        words = f"{name_of_place(place)}: {where}; {place.place.role}, no struct is known."
        content = ""
        for line in wrap(words, width - 20):
            content += text(10, y + 14, line, muted)
            y += 17
        return content, y
    content = text(10, y + 14, f"Fields of {title}", ink, bold=True)
    y += 24
    widest = max(width_of(one.name) + len(values_of(window, one)[0]) * _CHARACTER for one in shown)
    columns = max(1, int(width // max(220, widest + 36)))
    room = width // columns
    rows = -(-len(shown) // columns)
    for number, one in enumerate(shown):
        x, top = 10 + number // rows * room, y + number % rows * 34
        value, old = values_of(window, one)
        line = text(x, top + 12, one.name, ink, bold=bool(old))
        line += text(x, top + 26, f"{one.address:#x}", muted, size=11, font_family=CODE)
        line += text(x + room - 26, top + 12, value, ink, size=11, bold=bool(old), text_anchor="end", font_family=CODE)
        if old:
            line += element("rect", x=x - 8, y=top, width=4, height=28, fill=ink)
            line += text(x + room - 26, top + 26, f"was {old}", muted, size=11, text_anchor="end")
        if one.address <= window.state.focus < one.address + one.size:
            line += path([(x, top + 30, x + room - 26, top + 30)], palette.role("focus"), 2.5)
        label = f"{one.name} is {value}{f', was {old}' if old else ''}"
        content += element("g", line, data_address=one.address, tabindex=0, role="button", aria_label=label)
    return content, y + rows * 34
