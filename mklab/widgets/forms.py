"""How the lanes of :mod:`mklab.widgets.lanes` look, in pixels: what SVG and the chart inside JupyterLab share."""

from collections.abc import Sequence
from dataclasses import dataclass

from mklab.recording import Film, Span
from mklab.widgets.boxes import Box, Window
from mklab.widgets.fates import Arrival, Fates, Standing, standing_of
from mklab.widgets.lanes import Group, Lane, state_of, ticks
from mklab.widgets.palette import Palette, look_of
from mklab.widgets.svg import Segment, hatch, width_of
from mklab.widgets.view import View

__all__ = [
    "FOLDED",
    "TEETH",
    "WIDE",
    "Form",
    "Measures",
    "arrival_words",
    "form_of",
    "height_of",
    "marked",
    "measures",
    "selected_place",
    "sides",
    "standing",
]

TEETH = 9
"""Pixels of the narrowest box that shows by a comb along its upper edge that it stands for many."""
_HEIGHTS = {"real": 1 / 3, "protected": 2 / 3}


@dataclass(frozen=True)
class Measures:
    """How lanes are laid out, in pixels.

    Attributes:
        lane: height of a lane.
        top: from a lane's top to its band of boxes.
        band: height of the band.
        names: width of the names at the left.
    """

    lane: int
    top: int
    band: int
    names: int


WIDE = Measures(44, 16, 22, 74)
FOLDED = Measures(35, 12, 18, 100)


def measures(lanes: Sequence[Group], film: Film) -> Measures:
    """Those for ``lanes`` of ``film``."""
    return FOLDED if len(lanes) < len(film.recording.apic_ids) else WIDE


def sides(lanes: Sequence[Group], film: Film) -> tuple[int, int]:
    """The width in pixels of what stands at the left of the lanes (names) and at the right (how each CPU stands).

    There is room for how CPUs stand at any moment that is recorded: lanes that became narrower and wider would have to
    be drawn anew, and what one looks at would move.
    """
    size = measures(lanes, film)
    words = [line for one in Fates.of(film).standings for line in _lines(one, size)]
    return size.names, 34 + round(max(map(width_of, words), default=0))


def standing(lane: Group, size: Measures) -> list[str]:
    """How a CPU stands, in lines: its owner, its state, the plan if it is broken; a folded lane has room for two."""
    return _lines(standing_of(lane.now), size)


def _lines(standing: Standing, size: Measures) -> list[str]:
    owner, state, planned = standing[0] or "nobody", *standing[1:]
    if planned is None:
        return [owner, state]
    plan = f"\u00d7 planned {planned}"
    return [f"{owner}, {state}", plan] if size is FOLDED else [owner, state, plan]


def height_of(span: Span) -> float:
    """How much of the band a box fills: state is height."""
    return _HEIGHTS.get(span.mode, 1) if span.state == "running" else 1


@dataclass(frozen=True)
class Form:
    """A box in pixels.

    Attributes:
        x, y, width, height: its outline.
        dashed: whether that is dashed.
        line, ground: colours.
        strokes: lines in it: a hatch, a middle line, a cross.
        thick: how thick these are.
        words: what is written in it, from 8 pixels right of its left edge on.
    """

    x: float
    y: float
    width: float
    height: float
    dashed: bool
    line: str
    ground: str
    strokes: list[Segment]
    thick: float
    words: str


def form_of(box: Box, window: Window, y: float, band: float, palette: Palette) -> Form:
    """How ``box`` looks in a band that begins ``y`` pixels below the top and is ``band`` high."""
    span, x, width = box.span, window.x(box.left), (box.right - box.left) / window.per_pixel
    height = band * height_of(span)
    top, middle, bottom = y + band - height, y + band - height / 2, y + band
    words = span.owner or state_of(span)
    if span.state != "running":
        words = f"{span.owner}, {span.state}" if span.owner else span.state
    room = width_of(words) + 16
    if room > width or height < 14:
        words, room = "", 0
    # The words stand on the ground alone.
    begin, right = x + room, x + width
    strokes: list[Segment] = []
    ground, look = palette.role("paper"), look_of(span.owner)
    if span.state == "running":
        ground = palette.fill(span.owner) if span.owner else palette.role("rule")
        strokes = hatch(look.hatch, begin, top, right - begin, height)
    elif span.state == "halted":
        strokes = [(begin, middle, right, middle)]
    elif span.state == "shut down":
        strokes = [(begin, top, right, bottom), (begin, bottom, right, top)]
    if box.count > 1 and width >= TEETH:
        strokes += [(x + at, top, x + at, top + 4) for at in range(3, round(width) - 1, 4)]
    thick = 1.6 if look.hatch == "dots" and span.state == "running" else 1
    line = palette.line(span.owner)
    return Form(x, top, width, height, span.state == "wait-for-SIPI", line, ground, strokes, thick, words)


def arrival_words(
    arrivals: Sequence[Arrival], window: Window, moment: float
) -> list[tuple[Arrival, float, str, float]]:
    """Where an INIT or SIPI is marked (pixels), and what is written beside it from where on (empty: no room).

    INIT has its word at the left, SIPI its vector at the right, so that a pair needs no room between. Nothing is
    written over the marker of the ``moment`` (instructions).
    """
    found: list[tuple[Arrival, float, str, float]] = []
    places = _shifted(arrivals, window)
    free = 0.0
    for number, (one, x) in enumerate(zip(arrivals, places, strict=True)):
        following = places[number + 1] - 6 if number + 1 < len(places) else window.width
        if one.time <= moment <= window.end:
            following = min(following, window.x(moment) - 3)
        words = "INIT" if one.is_init else one.words.removeprefix("SIPI ")
        room = width_of(words, 11) + 4
        left = x - 8 - room if one.is_init else x + 8
        right = left + room
        if left < free or right > (x if one.is_init else following):
            words = ""
        free = max(free, right if words else 0, x + 6)
        found.append((one, x, words, left))
    return found


def _shifted(arrivals: Sequence[Arrival], window: Window) -> list[float]:
    """Where the triangles stand: an INIT and the SIPI after it are not drawn over each other."""
    places: list[float] = []
    for one in arrivals:
        x = max(window.x(one.time), 5)
        if places and x - places[-1] < 13:
            places[-1] = max(x - 6.5, places[-1] - 6.5, 5)
            x = places[-1] + 13
        places.append(x)
    return places


def marked(window: Window) -> list[int]:
    """The times that are written on the axis."""
    return ticks(window.start, window.end, window.width / (width_of(f"{window.end:,.0f}", 11) + 24))


def selected_place(view: View, lane: Lane, window: Window) -> tuple[float, float] | None:
    """From where on and how wide (pixels) the selected event is outlined in ``lane``; None: it is not to be seen."""
    if view.selected is None:
        return None
    event = view.film.events[view.selected]
    if event.cpu is not None and event.cpu not in lane.cpus:
        return None
    for box in lane.past:
        if box.span.start.event == view.selected:
            return window.x(box.left) - 3, max((box.right - box.left) / window.per_pixel, 6) + 6
    return (window.x(event.time) - 6, 12) if window.start <= event.time <= window.end else None
