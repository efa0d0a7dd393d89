"""What every picture is: a question, its answer, a drawing, and the same in words."""

from dataclasses import dataclass
from html import escape
from typing import ClassVar, Protocol

from mklab.widgets.palette import LIGHT, LIVE, Palette
from mklab.widgets.svg import document, element, text, wrap
from mklab.widgets.view import View

__all__ = ["COLUMN", "NARROW", "Drawing", "Picture", "drawn", "markup", "paper", "section", "svg", "twin"]

COLUMN = 600
"""Width of a picture in pixels where two stand side by side on a page of 1280."""
NARROW = 480
"""Its width until the browser has said how much room there is: what is wider may be cut off until then."""
_MARGIN = 24


@dataclass(frozen=True)
class Drawing:
    """A drawing without its heading.

    Attributes:
        content: SVG elements.
        height: pixels.
    """

    content: str
    height: int


class Picture(Protocol):
    """One question, asked of a moment of a film, and its answer drawn and told.

    An object of it holds nothing that changes: what is drawn follows from the view.

    Attributes:
        name: a word by which pages and tests refer to it.
        question: what the picture answers.
    """

    name: ClassVar[str]
    question: ClassVar[str]

    def answer(self, view: View) -> str:
        """The answer, in a sentence or a few."""

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        """The drawing, ``width`` pixels wide.

        What can be selected is a ``g`` with ``data-event``, ``data-cpu`` or ``data-address``, a ``tabindex`` of 0 and
        an ``aria-label``.
        """

    def body(self, view: View, width: int) -> str:
        """The drawing as part of a page: HTML. That of most is :func:`drawn`; words that scroll are no drawing."""

    def tell(self, view: View) -> str:
        """The same in words: ASCII, without question and answer."""


def drawn(picture: Picture, view: View, width: int) -> str:
    """The drawing as an SVG element inside a page, in the colours of the page's theme."""
    drawing = picture.draw(view, LIVE, width)
    size = {"width": width, "height": drawing.height, "viewBox": f"0 0 {width} {drawing.height}"}
    # What can be selected inside is reached one by one: a group, not an image.
    return element("svg", drawing.content, **size, role="group", aria_label=picture.question)


def markup(picture: Picture, view: View, width: int, *, with_twin: bool = True) -> str:
    """The picture as a section of a page: question, answer, drawing, and its text twin behind a button."""
    words = twin(picture, view) if with_twin else ""
    return section(picture.name, picture.question, picture.answer(view), picture.body(view, width), words)


def section(name: str, question: str, answer: str, body: str, words: str) -> str:
    """A picture's place on a page: question, answer, what is drawn (HTML), and behind a button its text twin."""
    told = f"<pre>{escape(words)}</pre>" if words else ""
    return (
        f'<section class="mk-picture" data-picture="{name}" aria-label="{escape(question)}">'
        f"<h3>{escape(question)}</h3><p>{escape(answer)}</p>{body}"
        f'<details data-key="{name}-twin"><summary>Text twin</summary>{told}</details></section>'
    )


def svg(picture: Picture, view: View, palette: Palette = LIGHT, width: int = COLUMN) -> str:
    """The picture by itself: question, answer and drawing on their own paper, a whole SVG file."""
    drawing = picture.draw(view, palette, width - 2 * _MARGIN)
    return paper(picture.question, picture.answer(view), drawing, palette, width)


def paper(question: str, answer: str, drawing: Drawing, palette: Palette, width: int) -> str:
    """A drawing below its question and answer, on its own paper with a margin of 24 pixels: a whole SVG file."""
    lines = wrap(answer, width - 2 * _MARGIN, 13)
    content = text(_MARGIN, 36, question, palette.role("ink"), size=15, bold=True)
    for number, line in enumerate(lines):
        content += text(_MARGIN, 56 + 18 * number, line, palette.role("muted"), size=13)
    top = 56 + 18 * len(lines)
    content += element("g", drawing.content, transform=f"translate({_MARGIN} {top})")
    return document(question, answer, width, top + drawing.height + _MARGIN, palette, content)


def twin(picture: Picture, view: View) -> str:
    """The picture in words: question and moment, the answer, and what is drawn."""
    moment = f"At t={view.time:,}, event {view.event} of {view.film.count - 1}."
    return f"{picture.question} {moment}\n{picture.answer(view)}\n\n{picture.tell(view)}"
