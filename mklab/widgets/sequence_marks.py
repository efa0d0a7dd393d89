"""The marks of the sequence diagram, and the key that names those in use."""

from collections.abc import Collection

from mklab.widgets.palette import Palette
from mklab.widgets.svg import CODE, element, path, text, width_of

__all__ = ["box", "check", "cross", "diamond", "key", "shaft", "tip", "upright", "zigzag"]


def upright(x: float, top: float, bottom: float, color: str, width: float, *, dash: str | None = None) -> str:
    """A line from ``top`` to ``bottom``."""
    return path([(x, top, x, bottom)], color, width, stroke_dasharray=dash)


def shaft(start: float, end: float, y: float, dash: str | None, color: str) -> str:
    """The shaft of an arrow."""
    return path([(start, y, end, y)], color, 2, stroke_dasharray=dash)


def tip(mark: str, x: float, y: float, way: int, palette: Palette) -> str:
    """What stands at the end of an arrow that goes to the right (``way`` 1) or to the left (-1)."""
    ink, paper = palette.role("ink"), palette.role("paper")
    if mark in ("lost", "ignored"):
        return cross(x, y, palette.role("alert") if mark == "lost" else ink)
    if mark == "merged":
        ring = element("circle", cx=x - way * 4, cy=y, r=5, fill=paper, stroke=ink, stroke_width=1.6)
        return ring + path([(x - way * 4 - 3, y, x - way * 4 + 3, y)], ink, 1.6)
    back, half = -way * (7 if mark == "store" else 9), 4 if mark == "store" else 5
    solid = mark in ("INIT", "SIPI")
    return element(
        "path", d=f"M{x:g} {y:g}l{back} -{half}v{2 * half}z", fill=ink if solid else paper, stroke=ink, stroke_width=1.4
    )


def cross(x: float, y: float, color: str, half: float = 6) -> str:
    """A cross."""
    return path([(x - half, y - half, x + half, y + half), (x - half, y + half, x + half, y - half)], color, 2.5)


def diamond(x: float, y: float, color: str) -> str:
    """An interrupt is delivered."""
    return element("path", d=f"M{x - 9:g} {y:g}l9 -7 9 7 -9 7z", fill=color)


def check(x: float, y: float, palette: Palette) -> str:
    """Bytes were read as they had been sent."""
    return path([(x - 5, y - 1, x - 1, y + 3), (x - 1, y + 3, x + 6, y - 6)], palette.role("good"), 2)


def zigzag(x: float, half: float, y: float, color: str) -> str:
    """Bytes were read torn."""
    step = half / 2
    at = [x - half, x - step, x, x + step, x + half]
    ups = [y, y - 5, y + 5, y - 5, y]
    return path([(at[n], ups[n], at[n + 1], ups[n + 1]) for n in range(4)], color, 2)


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    palette: Palette,
    *,
    dashed: bool = False,
    open_top: bool = False,
    open_bottom: bool = False,
) -> str:
    """Bytes in a slot; the sides are open towards what is not shown."""
    right, bottom = x + width, y + height
    sides = [(x, y, x, bottom), (right, y, right, bottom)]
    sides += [] if open_top else [(x, y, right, y)]
    sides += [] if open_bottom else [(x, bottom, right, bottom)]
    ground = element("rect", x=x, y=y, width=width, height=height, fill=palette.role("panel"))
    return ground + path(sides, color, 1.2, stroke_dasharray="4 3" if dashed else None)


_WORDS = {
    "store": "bytes in the slot",
    "accepted": "IPI accepted",
    "INIT": "INIT",
    "SIPI": "SIPI",
    "merged": "merged",
    "lost": "lost",
    "ignored": "ignored",
    "pending": "pending (IRR)",
    "delivered": "delivered",
    "in service": "in service (ISR)",
    "EOI": "EOI",
    "read": "read whole",
    "torn": "read torn",
    "overwritten": "overwritten",
    "never read": "never read",
}
"""What the marks mean, in the order of the key."""


def key(used: Collection[str], palette: Palette, x: int, y: int, width: int) -> tuple[str, int]:
    """The marks ``used`` and what they mean, in lines of ``width`` pixels at most; and their height."""
    content = path([(x, y, x + width, y)], palette.role("rule"), 1)
    left, line = x, y + 20
    for mark, words in _WORDS.items():
        if mark not in used:
            continue
        wide = 44 + width_of(words, 11) + 14
        if left > x and left + wide > x + width:
            left, line = x, line + 22
        content += _sample(mark, left, line, palette)
        content += text(left + 44, line + 4, words, palette.role("muted"), size=11)
        left += int(wide)
    return content, line + 16 - y


def _sample(mark: str, x: float, y: float, palette: Palette) -> str:
    """A mark, 36 pixels wide."""
    ink, alert = palette.role("ink"), palette.role("alert")
    middle = x + 18
    match mark:
        case "store":
            return path([(x, y, x + 28, y)], ink, 1.2, stroke_dasharray="1 3") + tip(mark, x + 34, y, 1, palette)
        case "accepted" | "INIT" | "SIPI" | "merged" | "lost" | "ignored":
            dash = {"INIT": "7 4", "SIPI": "2 3"}.get(mark)
            dot = element("circle", cx=x + 4, cy=y, r=4, fill=ink)
            return (
                dot
                + shaft(x + 4, x + 26, y, dash, ink)
                + tip(mark, x + 34 - 6 * (mark in ("lost", "ignored")), y, 1, palette)
            )
        case "pending":
            return element("rect", x=middle - 4, y=y - 8, width=8, height=16, fill=palette.role("paper"), stroke=ink)
        case "delivered":
            return diamond(middle, y, ink)
        case "in service":
            return upright(middle, y - 8, y + 8, ink, 7)
        case "EOI":
            return path([(middle - 9, y, middle + 9, y)], ink, 2.5)
        case "read":
            return box(x + 2, y - 8, 32, 16, ink, palette) + check(middle, y + 1, palette)
        case "torn":
            return box(x + 2, y - 8, 32, 16, alert, palette) + zigzag(middle, 16, y, alert)
        case "overwritten":
            struck = text(middle - 6, y + 4, "m2", alert, size=11, bold=True, font_family=CODE, text_anchor="middle")
            struck += path([(middle - 15, y, middle + 3, y)], alert, 1.5)
            return box(x + 2, y - 8, 32, 16, alert, palette) + struck + cross(x + 30, y + 2, alert, 4)
        case _:
            return box(x + 2, y - 8, 32, 16, alert, palette, dashed=True)
