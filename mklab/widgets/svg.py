"""Pieces of SVG: elements, text that wraps, hatches, and the crosses and boxes that pictures share."""

import re
from functools import cache, lru_cache
from html import escape

from mklab.widgets.palette import Palette, look_of

__all__ = [
    "CODE",
    "UI",
    "Segment",
    "document",
    "element",
    "hatch",
    "hatched_box",
    "path",
    "stacked",
    "text",
    "width_of",
    "wrap",
]

UI = "var(--jp-ui-font-family, system-ui, 'Noto Sans', sans-serif)"
CODE = "var(--jp-code-font-family, 'DejaVu Sans Mono', monospace)"

_KEPT = 1 << 14
"""Of the words and numbers drawn last, how many are remembered: from one moment to the next few change."""
_SHORT = 100
"""Letters of a text that is remembered: the lines of a hatch may have thousands, and are seldom the same."""

Segment = tuple[float, float, float, float]
"""A line from ``(x1, y1)`` to ``(x2, y2)``, in pixels."""


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; ``_`` in an attribute's name stands for ``-``, and one that is None is left out."""
    words = "".join([f'{_name(key)}"{_plain(value)}"' for key, value in attributes.items() if value is not None])
    return f"<{name}{words}>{content}</{name}>" if content else f"<{name}{words}/>"


def text(x: float, y: float, words: str, color: str, *, size: int = 12, bold: bool = False, **more: object) -> str:
    """A line of text; ``y`` is its baseline, ``size`` its height in pixels."""
    attributes = {"x": x, "y": y, "fill": color, "font_size": size, "font_weight": "bold" if bold else None, **more}
    return element("text", _quotes_kept(words), **attributes)


def path(segments: list[Segment], color: str, width: float = 1.2, **more: object) -> str:
    """Line segments as one path; nothing where there are none."""
    if not segments:
        return ""
    moves = "".join([f"M{_number(x1)} {_number(y1)}L{_number(x2)} {_number(y2)}" for x1, y1, x2, y2 in segments])
    return element("path", d=moves, stroke=color, stroke_width=width, fill="none", **more)


def document(title: str, description: str, width: int, height: int, palette: Palette, content: str) -> str:
    """A whole picture on its own paper: its title and description are what a screen reader says of it.

    Fonts are named without variables there, which only pages know.
    """
    paper = element("rect", width=width, height=height, fill=palette.role("paper"))
    words = element("title", escape(title)) + element("desc", escape(description))
    whole = element(
        "svg",
        words + paper + content,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="img",
        font_family=UI,
    )
    return re.sub(r"var\([\w-]+-font-family, ([^)]*)\)", r"\1", whole)


def stacked(title: str, description: str, documents: list[str], palette: Palette) -> str:
    """Whole pictures of ours below each other, as one."""
    content, width, y = "", 0, 0
    for one in documents:
        _, _, wide, high = map(int, one.split('viewBox="', 1)[1].split('"', 1)[0].split())
        content += element("g", one, transform=f"translate(0 {y})")
        width, y = max(width, wide), y + high
    return document(title, description, width, y, palette, content)


_WIDTHS = {
    "ijlIJ'": 0.3,
    " .,": 0.32,
    "/:;|\\": 0.34,
    "-()[]ft!r": 0.4,
    '"*_`?sz': 0.54,
    "ckvxyLF": 0.6,
    "mMW@%": 0.99,
    "w#+<=>^~": 0.84,
    "ABCDGHKNOQRUVXYTPES&": 0.74,
}
"""Characters that are narrower or wider than most, in parts of the font's size: those of DejaVu Sans, a wide font."""
_WIDTH = {character: width for characters, width in _WIDTHS.items() for character in characters}
_USUAL = 0.64


@lru_cache(_KEPT)
def width_of(words: str, size: int = 12) -> float:
    """About how wide ``words`` are in a sans-serif font, in pixels; rather too much than too little."""
    return size * sum(_WIDTH.get(character, _USUAL) for character in words)


def wrap(words: str, width: float, size: int = 12) -> list[str]:
    """``words`` in lines of at most ``width`` pixels; a word that is longer than that has a line of its own."""
    lines: list[str] = []
    taken, space = 0.0, width_of(" ", size)
    for word in words.split():
        room = width_of(word, size)
        if lines and taken + space + room <= width:
            lines[-1] += f" {word}"
            taken += space + room
        else:
            lines.append(word)
            taken = room
    return lines


def hatch(kind: str, x: float, y: float, width: float, height: float, step: float = 7) -> list[Segment]:
    """The lines of a hatch inside a rectangle; none for ``plain`` and ``hollow``."""
    right, bottom = x + width, y + height
    lines: list[Segment] = []
    if kind in ("rising", "falling"):
        start = x - height
        for number in range(int((width + height) / step) + 1):
            left = start + number * step
            # The part of the diagonal from (left, bottom) to (left + height, y) between the sides.
            first, last = max(left, x), min(left + height, right)
            if last > first:
                ends = (bottom - (first - left), bottom - (last - left))
                if kind == "falling":
                    ends = (y + (first - left), y + (last - left))
                lines.append((first, ends[0], last, ends[1]))
    if kind in ("level", "grid"):
        lines += [(x, y + at, right, y + at) for at in _steps(height, step)]
    if kind in ("upright", "grid"):
        lines += [(x + at, y, x + at, bottom) for at in _steps(width, step)]
    if kind == "dots":
        for row, down in enumerate(_steps(height, step)):
            shift = step / 2 if row % 2 else 0
            lines += [(x + at + shift, y + down, x + at + shift + 1.6, y + down) for at in _steps(width - shift, step)]
    return lines


@lru_cache(_KEPT // 16)
def hatched_box(
    x: float, y: float, width: float, height: float, owner: str | None, palette: Palette, *, dashed: bool = False
) -> str:
    """A rectangle in the look of ``owner``."""
    look = look_of(owner)
    box = element(
        "rect",
        x=x,
        y=y,
        width=width,
        height=height,
        fill=palette.fill(owner),
        stroke=palette.line(owner),
        stroke_width=1.2,
        stroke_dasharray="3 2" if dashed else None,
    )
    thick = 1.6 if look.hatch == "dots" else 1
    return box + path(hatch(look.hatch, x, y, width, height), palette.line(owner), thick)


def _steps(length: float, step: float) -> list[float]:
    """Positions in the middle of ``length``, ``step`` apart."""
    return (
        [step / 2 + number * step for number in range(int((length - step / 2) / step) + 1)] if length > step / 2 else []
    )


@cache
def _name(key: str) -> str:
    return f" {key.rstrip('_').replace('_', '-')}="


@lru_cache(_KEPT)
def _number(value: float) -> str:
    # 0.0 and -0.0 are one key, and become one text.
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")


def _plain(value: object) -> str:
    """A value as an attribute holds it; numbers without digits that nobody sees."""
    if isinstance(value, float):
        return _number(value)
    if type(value) is int:
        return str(value)
    words = str(value)
    return _escaped(words) if len(words) <= _SHORT else escape(words)


_escaped = lru_cache(_KEPT)(escape)


@lru_cache(_KEPT)
def _quotes_kept(words: str) -> str:
    return escape(words, quote=False)
