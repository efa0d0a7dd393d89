"""A run as one HTML file that needs nothing else: its pictures at every moment worth a look, and a scrubber.

Pictures are drawn ahead, by Python, as they are in JupyterLab. A picture changes little from one moment to the next, so
a page holds each piece of markup once, and of each moment what differs from the one before, all of it compressed.
``export.js`` puts the pieces together again.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from mklab import trace
from mklab.recording import Film
from mklab.widgets.palette import style_sheet
from mklab.widgets.parts import PARTS, Part
from mklab.widgets.picture import COLUMN, Picture, markup
from mklab.widgets.stage import Stage
from mklab.widgets.view import View

__all__ = ["FILE", "MOST_STOPS", "html", "save", "stops"]

FILE = "mklab-run.html"

MOST_STOPS = 400
"""Moments that a page holds at most: more would make it slow to write and large to send."""
_WIDE = 1224
"""Width in pixels of a picture that has a row for itself, on a page of 1280."""
_WIDTHS = {"top": (_WIDE, COLUMN), "left": (COLUMN,), "right": (COLUMN,), "bottom": (_WIDE, COLUMN)}
"""By a part's place: what has a row for itself is drawn for a wide and for a narrow page."""
_KEYFRAMES = 32
_FILES = resources.files(__package__)
_SMALL = (trace.Slice, trace.ConsoleByte)
"""Events after which a page need not stop: there are many, and their sum is seen at the next one."""


def html(film: Film, title: str, parts: Sequence[Part] = tuple(PARTS.values())) -> str:
    """A page that shows ``film``.

    Args:
        film: what was recorded.
        title: what the page is called.
        parts: the parts of a dashboard that it shows; they stand where they stand there.

    Raises:
        ValueError: nothing is recorded.
    """
    views = stops(film)
    reels = [(part.place, Reel(part.picture, views, _WIDTHS[part.place])) for part in parts]
    data = {
        "stops": [[view.event, view.time, view.shown_cpu, _trouble(film, view)] for view in views],
        "events": film.count,
        "reels": [reel.data for _, reel in reels],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)).decode()
    body = "".join(
        f'<div class="mk-{place}">{"".join(reel.last for where, reel in reels if where == place)}</div>'
        for place in _WIDTHS
    )
    told = "every event that can be seen" if len(views) < MOST_STOPS else f"{MOST_STOPS} of its moments"
    return (
        (_FILES / "export.html")
        .read_text(encoding="utf-8")
        .format(
            title=escape(title),
            told=f"{film.count:,} events, {views[-1].time:,} instructions; this page stops at {told}.",
            style=style_sheet(".mklab") + (_FILES / "pictures.css").read_text(encoding="utf-8"),
            last=len(views) - 1,
            body=body,
            data=packed,
            script=(_FILES / "export.js").read_text(encoding="utf-8"),
        )
    )


def save(stage: Stage) -> str:
    """Write the stage's film to :data:`FILE`, in the folder of the notebook; says so.

    Raises:
        OSError: it cannot be written.
    """
    page = html(stage.view.film, "A run of several kernels")
    Path(FILE).write_text(page, encoding="utf-8")
    return f"Written: {FILE}, {len(page) / (1 << 20):.1f} MiB, beside this notebook"


def stops(film: Film, most: int = MOST_STOPS) -> list[View]:
    """The moments of ``film`` at which a page stops: after events that can be seen, evenly thinned out to ``most``.

    Where something went wrong, the page stops in any case.

    Raises:
        ValueError: nothing is recorded.
    """
    if not film.count:
        raise ValueError("film must have events, not none at all: run the machine first")
    first = film.looks[0].event if film.looks else 0
    seen = [event.seq for event in film.events if event.seq >= first and not isinstance(event, _SMALL)]
    wrong = {incident.at.event for incident in film.recording.incidents if incident.at.event >= first}
    wrong |= {ipi.lost.event for ipi in film.recording.ipis if ipi.lost and ipi.lost.event >= first}
    chosen = _thinned(sorted(wrong), most // 2)
    rest = [event for event in {*seen, film.count - 1} if event not in wrong]
    chosen = sorted([*chosen, *_thinned(sorted(rest), most - len(chosen))])
    return [View.at_event(film, event) for event in chosen]


def _thinned(numbers: list[int], most: int) -> list[int]:
    """``most`` of ``numbers`` at even distances, the first and the last among them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[place * (len(numbers) - 1) // (most - 1)] for place in range(most)]


def _trouble(film: Film, view: View) -> int:
    """1 where the event of this moment went wrong."""
    event = film.events[view.event]
    return int(isinstance(event, trace.Lost | trace.Fault | trace.Shutdown | trace.PlatformReset))


class Reel:
    """One picture at every moment, and at each of some widths.

    Attributes:
        picture: the picture.
        widths: pixels.
        data: plain data: the pieces of markup, and for each width what each moment is made of: the numbers of its
            pieces, of which so many at the beginning and at the end are those of the moment before.
    """

    def __init__(self, picture: Picture, views: Iterable[View], widths: Sequence[int]) -> None:
        self.picture = picture
        self.widths = widths
        self._numbers: dict[str, int] = {}
        self._last: dict[int, list[int]] = {}
        frames: dict[int, list[Any]] = {width: [] for width in widths}
        for number, view in enumerate(views):
            for width in widths:
                pieces = [self._number(piece) for piece in _pieces(markup(picture, view, width))]
                before = self._last.get(width, []) if number % _KEYFRAMES else []
                frames[width].append(_difference(before, pieces))
                self._last[width] = pieces
        self.data = {"name": picture.name, "pieces": list(self._numbers), "frames": list(frames.values())}

    def _number(self, piece: str) -> int:
        return self._numbers.setdefault(piece, len(self._numbers))

    @property
    def last(self) -> str:
        """The last moment, in the picture's place on the page: what is seen where no script runs."""
        pieces = list(self._numbers)
        return "".join(
            f'<div class="mk-canvas mk-{"only" if len(self.widths) == 1 else "wide" if width == _WIDE else "narrow"}"'
            f' data-reel="{self.picture.name}" data-width="{number}">'
            f"{''.join(pieces[one] for one in self._last[width])}</div>"
            for number, width in enumerate(self.widths)
        )


def _pieces(text: str) -> list[str]:
    """``text`` cut between its tags, and words in lines."""
    return re.split(r"(?<=>)(?=<)|(?<=\n)", text)


def _difference(before: list[int], after: list[int]) -> list[Any]:
    """How many pieces are the same at the beginning and at the end, and those between."""
    most = min(len(before), len(after))
    start = next((at for at in range(most) if before[at] != after[at]), most)
    end = next((at for at in range(most - start) if before[-1 - at] != after[-1 - at]), most - start)
    return [start, end, after[start : len(after) - end]]
