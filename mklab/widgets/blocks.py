"""Blocks of which a large picture is composed: each is a drawing under a title of its own, as wide as it is told."""

import textwrap
from collections.abc import Sequence

from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import CODE, element, path, text, width_of, wrap

__all__ = [
    "CHANGED",
    "changed_bar",
    "code",
    "code_width",
    "cross",
    "lines",
    "plate",
    "shifted",
    "stacked",
    "tick",
    "titled",
    "wrap_code",
]

CHANGED = 4
"""Width in pixels of the bar at the left of what has changed."""
_ADVANCE = 0.61
"""Width of a character of a monospaced font, by its size."""


def code(x: float, y: float, words: str, color: str, *, size: int = 12, bold: bool = False, **more: object) -> str:
    """A line of text in the font of code."""
    return text(x, y, words, color, size=size, bold=bold, font_family=CODE, **more)


def code_width(words: str, size: int = 12) -> float:
    """How wide ``words`` are in the font of code, in pixels."""
    return len(words) * size * _ADVANCE


def wrap_code(words: str, width: float, size: int = 12) -> list[str]:
    """``words`` in lines of at most ``width`` pixels of the font of code; what has no blank is broken anywhere."""
    return textwrap.wrap(words, max(1, int(width / (size * _ADVANCE))), break_on_hyphens=False) or [""]


def lines(
    x: float, y: float, words: str, width: float, color: str, *, size: int = 12, bold: bool = False, step: int = 16
) -> tuple[str, int]:
    """``words`` as lines of at most ``width`` pixels, the first one's baseline at ``y``; and how many lines."""
    # Bold letters are wider.
    found = wrap(words, width / 1.12 if bold else width, size)
    drawn = (text(x, y + step * row, line, color, size=size, bold=bold) for row, line in enumerate(found))
    return "".join(drawn), len(found)


def changed_bar(x: float, y: float, height: float, palette: Palette) -> str:
    """The mark of what has changed: a thick bar at its left."""
    return element("rect", x=x, y=y, width=CHANGED, height=height, fill=palette.role("ink"))


def plate(x: float, y: float, words: str, palette: Palette, *, size: int = 11) -> str:
    """The ground behind words that stand on lines; ``x`` and ``y`` are where the words begin."""
    return element(
        "rect", x=x - 2, y=y - size, width=code_width(words, size) + 4, height=size + 3, fill=palette.role("paper")
    )


def tick(x: float, y: float, color: str) -> str:
    """A tick around ``(x, y)``."""
    return path([(x - 6, y, x - 2, y + 5), (x - 2, y + 5, x + 7, y - 5)], color, 2.5)


def cross(x: float, y: float, color: str) -> str:
    """A cross around ``(x, y)``."""
    return path([(x - 6, y - 6, x + 6, y + 6), (x - 6, y + 6, x + 6, y - 6)], color, 2.5)


def titled(title: str, note: str, drawing: Drawing, palette: Palette, width: int) -> Drawing:
    """``drawing`` under ``title``; ``note`` stands at the right of it, or below where there is no room."""
    content = text(0, 12, title, palette.role("ink"), size=13, bold=True)
    top = 24
    if note and width_of(title, 13) * 1.12 + 24 + width_of(note, 11) <= width:
        content += text(width - 2, 12, note, palette.role("muted"), size=11, text_anchor="end")
    elif note:
        words, count = lines(0, 28, note, width, palette.role("muted"), size=11, step=14)
        content, top = content + words, 24 + 14 * count
    return Drawing(content + shifted(drawing, 0, top), top + drawing.height)


def shifted(drawing: Drawing, x: float, y: float) -> str:
    """The content of ``drawing``, elsewhere."""
    return element("g", drawing.content, transform=f"translate({x:g} {y:g})") if drawing.content else ""


def stacked(drawings: Sequence[Drawing], gap: int = 24) -> Drawing:
    """One below the other; those without height leave no gap."""
    content, y = "", 0
    for drawing in drawings:
        if drawing.height:
            y += gap if y else 0
            content += shifted(drawing, 0, y)
            y += drawing.height
    return Drawing(content, y)
