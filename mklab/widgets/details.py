"""What exactly happened, and why? One event with all its fields decoded."""

import textwrap
from typing import ClassVar

from mklab import trace
from mklab.widgets.event_words import told
from mklab.widgets.memory_words import changes
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing, drawn
from mklab.widgets.sequence_marks import cross
from mklab.widgets.svg import CODE, element, path, text, width_of, wrap
from mklab.widgets.told import Fact, Told
from mklab.widgets.view import View
from mklab.widgets.words import NOTHING_YET

__all__ = ["PICTURE", "Details"]

_LABELS = 100
_LETTER = 7.4
"""Pixels of a letter of a monospaced font 12 pixels high."""
_DULL = 64
"""Events that are passed over, at most, on the way back to one that is more than a turn of the schedule."""


class Details:
    """The selected event; by default the newest of the moment that is more than a turn of the schedule."""

    name: ClassVar[str] = "details"
    question: ClassVar[str] = "What exactly happened, and why?"

    def answer(self, view: View) -> str:
        """The event, and why."""
        number = _event(view)
        if number is None:
            return NOTHING_YET
        known = told(view, number)
        time = view.film.recording.times[number]
        return f"e{number}, t={time:,}: {known.head}. {known.why}".rstrip()

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """A panel with the facts."""
        number = _event(view)
        if number is None:
            return Drawing(text(8, 22, "No event is selected.", palette.role("muted")), 36)
        return _Panel(view, number, palette, width).drawing()

    def body(self, view: View, width: int) -> str:
        """The drawing."""
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        """A line for each fact."""
        number = _event(view)
        if number is None:
            return "No event is selected."
        lines = [_status(view, number)]
        lines += [f"{fact.label:<14}  {fact.words}" for fact in _facts(view, number, told(view, number))]
        return "\n".join(lines).encode("ascii", "replace").decode()


PICTURE = Details()


def _event(view: View) -> int | None:
    if view.selected is not None and 0 <= view.selected < view.film.count:
        return view.selected
    for number in range(view.event, max(-1, view.event - _DULL), -1):
        if not isinstance(view.film.events[number], trace.Slice):
            return number
    return view.event if view.event >= 0 else None


def _facts(view: View, number: int, known: Told) -> list[Fact]:
    return [*known.facts, *changes(view.film, number)]


def _status(view: View, number: int) -> str:
    how = "selected" if number == view.selected else "newest"
    later = ", later than the moment shown" if number > view.event else ""
    return f"event {number} of {view.film.count - 1}, {view.film.events[number].kind}, {how}{later}"


class _Panel:
    def __init__(self, view: View, number: int, palette: Palette, width: int) -> None:
        self.view, self.number, self.palette, self.width = view, number, palette, width
        self.known = told(view, number)
        self.y = 24

    def drawing(self) -> Drawing:
        ink, muted, alert = (self.palette.role(name) for name in ("ink", "muted", "alert"))
        color, left = (alert if self.known.trouble else ink), 14
        content = ""
        if self.known.trouble:
            content += cross(20, 20, alert, 5)
            left = 34
        for line in wrap(f"e{self.number} {self.known.head}", self.width - left - 12, 16):  # bold letters are wider
            content += text(left, self.y, line, color, size=13, bold=True)
            self.y += 18
        for line in wrap(_status(self.view, self.number), self.width - 28, 11):
            content += text(14, self.y, line, muted, size=11)
            self.y += 16
        content += path([(14, self.y - 6, self.width - 14, self.y - 6)], self.palette.role("rule"), 1)
        self.y += 12
        for fact in _facts(self.view, self.number, self.known):
            content += self._fact(fact)
        height = self.y + 2
        frame = element(
            "rect",
            x=1.5,
            y=1.5,
            width=self.width - 3,
            height=height - 3,
            rx=4,
            fill=self.palette.role("panel"),
            stroke=self.palette.role("focus" if self.number == self.view.selected else "rule"),
            stroke_width=2.5 if self.number == self.view.selected else 1,
        )
        return Drawing(frame + content, height)

    def _fact(self, fact: Fact) -> str:
        """Label and value; one that leads to an event is underlined and selects it."""
        leads = fact.event is not None and fact.event != self.number
        color = self.palette.role("alert" if fact.trouble else "ink")
        room = self.width - _LABELS - 28
        lines = _broken(fact.words, room, fact.code)
        labels = wrap(fact.label, _LABELS - 8, 11) if fact.label else []
        top, content = self.y, ""
        for number, label in enumerate(labels):
            content += text(14, self.y + 15 * number, label, self.palette.role("muted"), size=11)
        for number, line in enumerate(lines):
            content += text(
                14 + _LABELS,
                self.y + 16 * number,
                line,
                color,
                font_family=CODE if fact.code else None,
                text_decoration="underline" if leads else None,
            )
        self.y += max(15 * len(labels), 16 * len(lines)) + 4
        if not leads:
            return content
        ground = element(
            "rect", x=10, y=top - 13, width=self.width - 20, height=self.y - top, fill="none", pointer_events="all"
        )
        said = f"{fact.label}: {fact.words}"
        return element("g", ground + content, data_event=fact.event, tabindex=0, role="button", aria_label=said)


def _broken(words: str, width: float, code: bool) -> list[str]:
    """``words`` in lines of at most ``width`` pixels; a word is broken only where it is longer than that."""
    if code:
        return textwrap.wrap(words, max(8, int(width / _LETTER))) or [""]
    most = max(8, int(width / width_of("0")))
    lines: list[str] = []
    for line in wrap(words, width):
        # What is still too wide is one long word.
        lines += [line] if width_of(line) <= width else textwrap.wrap(line, most)
    return lines or [""]
