"""What does each kernel say? A terminal for each, with virtual times, and words to search for."""

import textwrap
from functools import lru_cache
from html import escape
from typing import ClassVar

from mklab.widgets.console_lines import ConsoleLine, Lines, kernels, spans_of
from mklab.widgets.palette import LIVE, Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import CODE, element, hatched_box, path, text
from mklab.widgets.view import View

__all__ = ["PICTURE", "Consoles"]

_MOST_LINES = 400
"""Lines on the page, of all terminals together."""
_LEAST_LINES = 20
"""Lines of each terminal, however many there are."""
_FOUND_PART = 4
"""Older lines that are shown because what is searched for is in them: a fourth as many as newest ones."""
_SHEET = 20
"""Lines that a browser lays out together."""
_LEADING = 17
"""Pixels from line to line on a page: pictures.css."""
_MOST_TOLD = 200
_DRAWN = 12
"""Lines in a drawing, of each terminal."""
_LEAST_WIDTH = 280
_GAP = 16
_LINE = 16
_LETTER = 7.3
"""Pixels of a letter of a monospaced font 12 pixels high."""


class Consoles:
    """A terminal for each kernel that owns a CPU, is planned to, or has printed."""

    name: ClassVar[str] = "consoles"
    question: ClassVar[str] = "What does each kernel say?"

    def answer(self, view: View) -> str:
        """How much each has printed, and how often it has what is searched for."""
        words = []
        for kernel in kernels(view):
            lines = Lines.of(view.film, kernel)
            count = lines.count(view.event)
            found = len(lines.hits(view.search, view.event))
            hits = f", {_times(found)}" if view.search else ""
            words.append(f"{kernel}: {count:,} line{'' if count == 1 else 's'}{hits}")
        searched = f'Looking for "{_ascii(view.search)}". ' if view.search else ""
        return f"{searched}{'; '.join(words)}."

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """The newest lines of each, side by side as far as there is room."""
        names = kernels(view)
        columns = max(1, min(len(names), (width + _GAP) // (_LEAST_WIDTH + _GAP)))
        size = (width - _GAP * (columns - 1)) // columns
        content, y = "", 0
        for first in range(0, len(names), columns):
            some = [_Terminal(view, name, palette, size) for name in names[first : first + columns]]
            height = max(one.height for one in some)
            for number, one in enumerate(some):
                content += one.drawn(number * (size + _GAP), y, height)
            y += height + _GAP
        return Drawing(content, y)

    def body(self, view: View, width: int) -> str:
        """A field for what is searched for, and terminals that scroll."""
        names = kernels(view)
        share = max(_LEAST_LINES, _MOST_LINES // len(names))
        hits = {name: Lines.of(view.film, name).hits(view.search, view.event) for name in names}
        told = (
            f"{_times(sum(map(len, hits.values())))}"
            if view.search
            else "Words are looked for in all lines, those not shown too."
        )
        field = (
            '<label class="mk-search">Search <input type="search" data-act="search" data-on="input" '
            f'data-key="consoles-search" value="{escape(view.search)}"/></label>'
            f'<span class="mk-hits" role="status">{told}</span>'
        )
        terminals = "".join(_terminal(view, name, share, hits[name]) for name in names)
        columns = max(1, min(len(names), (width + _GAP) // (_LEAST_WIDTH + _GAP)))
        style = f"grid-template-columns: repeat({columns}, minmax(0, 1fr))"
        return f'<div class="mk-searching">{field}</div><div class="mk-consoles" style="{style}">{terminals}</div>'

    def tell(self, view: View) -> str:
        """The newest lines of all, in the order in which they were begun; hits in capitals at the end."""
        found: list[tuple[int, str, ConsoleLine]] = []
        total = 0
        for name in kernels(view):
            lines = Lines.of(view.film, name)
            count = lines.count(view.event)
            total += count
            found += [(one.event, name, one) for one in lines.lines(max(0, count - _MOST_TOLD), count, view.event)]
        found.sort(key=lambda one: one[0])
        shown = found[-_MOST_TOLD:]
        told = [f"{total - len(shown):,} earlier lines are left out here."] if total > len(shown) else []
        for _, name, one in shown:
            hit = "  FOUND" if spans_of(view.search, one.text) else ""
            told.append(f"{name:<9} t={one.time:<11,} {_ascii(one.text)}{hit}")
        return "\n".join(told) or "Nothing yet."


PICTURE = Consoles()


def _times(count: int) -> str:
    return f"found {count:,} time{'' if count == 1 else 's'}" if count else "not found"


def _ascii(words: str) -> str:
    return words.encode("ascii", "replace").decode()


def _silence(view: View, kernel: str) -> str:
    """Why there is nothing on a console."""
    recording = view.film.recording
    cpus = range(len(recording.apic_ids))
    if any(recording.span_at(cpu, view.event).owner == kernel for cpu in cpus):
        return "(nothing yet)"
    return "(nothing yet: no CPU has entered it)"


# On a page


def _terminal(view: View, kernel: str, share: int, hits: list[int]) -> str:
    lines = Lines.of(view.film, kernel)
    count = lines.count(view.event)
    first = max(0, count - share)
    owner = None if kernel == "nobody" else kernel
    swatch = element(
        "svg", hatched_box(1, 1, 14, 12, owner, LIVE, dashed=owner is None), width=16, height=14, aria_hidden="true"
    )
    found = f" <small>{_times(len(hits))}</small>" if view.search else ""
    older = [number for number in dict.fromkeys(hits) if number < first]
    most = max(1, share // _FOUND_PART)
    shown = [one for number in older[-most:] for one in lines.lines(number, number + 1, view.event)]
    told = "".join(_line(one, view.search, one.event == view.selected) for one in shown)
    if first:
        found_there = f", {len(shown)} of {len(older)} with hits shown" if older else ""
        told += f'<p class="mk-cut">{first:,} earlier lines{found_there}</p>'
    newest = lines.lines(first, count, view.event)
    for begin in range(0, len(newest), _SHEET):
        told += _sheet(newest[begin : begin + _SHEET], view)
    if not count:
        told = f'<p class="mk-cut">{_silence(view, kernel)}</p>'
    # Lines stand in one box inside one that is turned upside down: it stays at its end while lines are added.
    return (
        f'<section class="mk-console" aria-label="console of {escape(kernel)}">'
        f"<h4>{swatch} {escape(kernel)} console{found}</h4>"
        f'<div class="mk-lines" tabindex="0" data-key="console-{escape(kernel)}" role="log" aria-live="off">'
        f"<div>{told}</div></div></section>"
    )


def _sheet(lines: list[ConsoleLine], view: View) -> str:
    """Lines that a browser lays out together when somebody scrolls there; until then it believes what is said here."""
    # One that grows must stay the same element: its height is remembered, and who has scrolled up stays where he is.
    whole = ' data-whole=""' if len(lines) == _SHEET else ""
    told = "".join([_line(one, view.search, one.event == view.selected) for one in lines])
    height = f"contain-intrinsic-height: auto {_LEADING * len(lines)}px"
    return f'<div class="mk-sheet" style="{height}"{whole}>{told}</div>'


@lru_cache(4 * _MOST_LINES)
def _line(line: ConsoleLine, search: str, is_selected: bool) -> str:
    chosen = ' class="mk-selected"' if is_selected else ""
    words, at = "", 0
    for begin, end in spans_of(search, line.text):
        words += f"{escape(line.text[at:begin])}<mark>{escape(line.text[begin:end])}</mark>"
        at = end
    words += escape(line.text[at:])
    return f'<div data-event="{line.event}"{chosen}><i>{line.time:,}</i><span>{words}</span></div>'


# As a drawing


class _Terminal:
    """A terminal ``width`` pixels wide, whose lines are broken where they must be."""

    def __init__(self, view: View, kernel: str, palette: Palette, width: int) -> None:
        self.view, self.kernel, self.palette, self.width = view, kernel, palette, width
        lines = Lines.of(view.film, kernel)
        count = lines.count(view.event)
        newest = lines.lines(max(0, count - _DRAWN), count, view.event)
        self.times = int(max([7, *(len(f"{one.time:,}") for one in newest)]) * 6.8)
        most = max(8, int((width - self.times - 32) / _LETTER))
        rows: list[tuple[ConsoleLine, str, bool]] = []
        for one in newest:
            parts = textwrap.wrap(one.text, most, drop_whitespace=False) or [""]
            rows += [(one, part, number == 0) for number, part in enumerate(parts)]
        self.rows = rows[-2 * _DRAWN :]
        self.earlier = max(0, count - _DRAWN)
        self.height = 40 + _LINE * (max(1, len(self.rows)) + bool(self.earlier))

    def drawn(self, x: int, y: int, height: int) -> str:
        ink, muted = self.palette.role("ink"), self.palette.role("muted")
        owner = None if self.kernel == "nobody" else self.kernel
        frame = element(
            "rect",
            x=x + 0.5,
            y=y + 0.5,
            width=self.width - 1,
            height=height - 1,
            fill=self.palette.role("panel"),
            stroke=self.palette.role("rule"),
        )
        content = frame + hatched_box(x + 10, y + 8, 14, 12, owner, self.palette, dashed=owner is None)
        content += text(x + 30, y + 19, f"{self.kernel} console", ink, bold=True)
        baseline = y + 38
        if self.earlier:
            content += text(x + 10, baseline, f"{self.earlier:,} earlier lines", muted, size=11)
            baseline += _LINE
        if not self.rows:
            return content + text(x + 10, baseline, _silence(self.view, self.kernel), muted, size=11)
        for line, words, begins in self.rows:
            content += self._row(line, words, x, baseline, begins=begins)
            baseline += _LINE
        return content

    def _row(self, line: ConsoleLine, words: str, x: int, baseline: int, *, begins: bool) -> str:
        ink, left, content = self.palette.role("ink"), x + 18 + self.times, ""
        if begins:
            muted, at = self.palette.role("muted"), x + 10 + self.times
            content += text(at, baseline, f"{line.time:,}", muted, size=11, font_family=CODE, text_anchor="end")
        for begin, end in spans_of(self.view.search, words):
            # A bar below what was found: the width of the letters is known well enough for that.
            content += path(
                [(left + begin * 7.2, baseline + 3, left + end * 7.2, baseline + 3)], self.palette.role("focus"), 2.5
            )
        return content + text(left, baseline, words, ink, font_family=CODE, style="white-space: pre")
