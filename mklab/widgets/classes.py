"""IRR, ISR and TMR as sixteen priority classes of sixteen vectors, with the line that PPR draws through them."""

from collections.abc import Mapping
from typing import Any

from mklab.widgets.apic_words import hex_vector
from mklab.widgets.blocks import code, code_width, lines, plate, titled
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import element, path, text

__all__ = ["draw", "tell"]

_REGISTERS = {"irr": ("IRR", "pending"), "isr": ("ISR", "in service"), "tmr": ("TMR", "level")}
_ROW = 16
_LEFT = 40
_GAP = 16
_WIDEST = 14
_TOP = 32
_MOST_NAMED = 20
"""Vectors of a register that are named below its cells."""


def draw(apic: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]], palette: Palette, width: int) -> Drawing:
    """The cells of the three registers, a row for each class, the highest on top."""
    cell = min(_WIDEST, (width - _LEFT - 2 * _GAP - 4) / 48)
    ink, muted, axis = palette.role("ink"), palette.role("muted"), palette.role("axis")
    held = _held(apic)
    line_color = palette.role("alert") if held else ink
    content = text(0, _TOP - 4, "class", muted, size=11)
    for level in range(16):
        y = _y(level) + 12
        waits = level <= apic["ppr"] >> 4
        content += code(_LEFT - 10, y, f"{level}", muted if waits else ink, size=11, text_anchor="end")
    # The classes that PPR holds back.
    first = apic["ppr"] >> 4
    content += path([(_LEFT - 5, _y(first), _LEFT - 5, _y(0) + _ROW)], line_color, 2.5)
    bottom = 0
    right = float(_LEFT)
    for number, key in enumerate(_REGISTERS):
        x = _LEFT + number * (16 * cell + _GAP)
        right = x + 16 * cell
        set_now = list(apic.get(key, ()))
        before = list(changed[key][0] or ()) if key in changed and changed[key][0] is not None else set_now
        content += _grid(key, x, cell, palette)
        content += _marks(x, cell, set_now, before, palette.role("paper" if key == "irr" else "ink"), palette)
        words = _named(set_now, before)
        named, rows = lines(x, _y(0) + _ROW + 16, words, 16 * cell, ink if set_now else muted, size=11, step=14)
        content += named
        bottom = max(bottom, rows)
    content += path([(_LEFT - 5, _y(first), right, _y(first))], line_color, 2)
    named = f"PPR {apic['ppr']:#04x}"
    content += plate(right - code_width(named, 11) - 2, _y(first) + 12, named, palette)
    content += code(right - 2, _y(first) + 12, named, line_color, size=11, bold=True, text_anchor="end")
    if apic["tpr"] >> 4 < first:
        own, y = f"TPR {apic['tpr']:#04x}", _y(apic["tpr"] >> 4)
        content += path([(_LEFT - 5, y, right, y)], axis, 2, stroke_dasharray="6 3")
        if first - (apic["tpr"] >> 4) > 1 or apic["tpr"]:
            content += plate(right - code_width(own, 11) - 2, y + 12, own, palette)
            content += code(right - 2, y + 12, own, muted, size=11, text_anchor="end")
    y = _y(0) + _ROW + 16 + 14 * bottom
    note, rows = lines(0, y + 6, _note(apic), width, muted, size=11, step=14)
    drawing = Drawing(content + note, int(y + 6 + 14 * rows))
    return titled("Which vectors are set", "", drawing, palette, width)


def _y(level: int) -> int:
    """Top of the row of class ``level``."""
    return _TOP + (15 - level) * _ROW


def _held(apic: Mapping[str, Any]) -> bool:
    """Whether PPR holds the highest pending vector back."""
    pending = max(apic.get("irr", ()), default=-1)
    return pending >= 0 and pending >> 4 <= apic["ppr"] >> 4


def _note(apic: Mapping[str, Any]) -> str:
    first = apic["ppr"] >> 4
    waits = "only class 0 waits" if not first else f"classes {first} and below wait"
    return (
        f"PPR is {apic['ppr']:#04x}: {waits}. Class 0, vectors 0x00 to 0x0F, is the CPU's own and never set. "
        "INIT, SIPI and NMI pass IRR by. TMR stays 0 where no interrupt is level-triggered."
    )


def _grid(key: str, x: float, cell: float, palette: Palette) -> str:
    name, meaning = _REGISTERS[key]
    content = code(x, 10, name, palette.role("ink"), bold=True) + text(
        x + 32, 10, meaning, palette.role("muted"), size=11
    )
    for column in (0, 4, 8, 12):
        content += code(
            x + cell * (column + 0.5), _TOP - 4, f"{column:x}", palette.role("muted"), size=11, text_anchor="middle"
        )
    rows = [(x, y, x + 16 * cell, y) for y in range(_TOP, _TOP + 17 * _ROW, _ROW)]
    columns = [(x + n * cell, _TOP, x + n * cell, _TOP + 16 * _ROW) for n in range(17)]
    return content + path([*rows, *columns], palette.role("rule"), 1)


def _marks(x: float, cell: float, now: list[int], before: list[int], fill: str, palette: Palette) -> str:
    """A circle for each vector that is set, dashed for one that no longer is; with its number where there is room."""
    content, radius = "", min(cell, _ROW - 4) / 2 - 0.8
    occupied = sorted({*now, *before})
    for vector in occupied:
        left, top = x + (vector & 15) * cell, _y(vector >> 4)
        gone = vector not in now
        content += element(
            "circle",
            cx=left + cell / 2,
            cy=top + _ROW / 2 - 1,
            r=radius,
            fill=palette.role("paper") if gone else fill,
            stroke=palette.role("axis" if gone else "ink"),
            stroke_width=1.2 if gone else 2,
            stroke_dasharray="2 2" if gone else None,
        )
        if not gone and vector not in before:
            content += element("rect", x=left + 1, y=top + _ROW - 3, width=cell - 1, height=3, fill=palette.role("ink"))
    for level in {vector >> 4 for vector in occupied}:
        content += _labels(x, cell, [vector for vector in occupied if vector >> 4 == level], now, palette)
    return content


def _labels(x: float, cell: float, row: list[int], now: list[int], palette: Palette) -> str:
    """The numbers of the vectors of one class, right or left of their circles, where that hides no other."""
    content, free = "", x
    for vector, following in zip(row, [*row[1:], None], strict=True):
        left, room = x + (vector & 15) * cell, code_width(hex_vector(vector), 11) + 4
        end = x + 16 * cell if following is None else x + (following & 15) * cell
        right = left + cell + 3
        at = right if right + room <= end else left - room if left - room >= free else None
        if at is not None:
            color = palette.role("ink" if vector in now else "muted")
            y = _y(vector >> 4) + 12
            content += plate(at, y, hex_vector(vector), palette)
            content += code(at, y, hex_vector(vector), color, size=11, bold=vector in now)
        free = right + room if at == right else left + cell
    return content


def _named(now: list[int], before: list[int]) -> str:
    """Which vectors are set, in words."""
    named = [f"{hex_vector(vector)}{'' if vector in before else ' new'}" for vector in now]
    named += [f"{hex_vector(vector)} gone" for vector in before if vector not in now]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"{', '.join(named[:_MOST_NAMED])}{more}" if named else "none"


def tell(apic: Mapping[str, Any], changed: Mapping[str, tuple[Any, Any]]) -> str:
    """The three registers in words, a line each."""
    rows = []
    for key, (name, meaning) in _REGISTERS.items():
        now = list(apic.get(key, ()))
        before = list(changed[key][0]) if key in changed and changed[key][0] is not None else now
        named = [hex_vector(vector) for vector in now] or ["none"]
        rows.append(f"{name} {meaning:<10} {' '.join(named)}")
        rows += [f"CHANGED {name} {hex_vector(vector)} set" for vector in now if vector not in before]
        rows += [f"CHANGED {name} {hex_vector(vector)} cleared" for vector in before if vector not in now]
    return "\n".join(rows)
