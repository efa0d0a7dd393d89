"""The lanes of ownership as a bqplot figure: :mod:`mklab.widgets.forms` says how they look, bqplot draws and zooms.

bqplot knows neither hatches nor pixels: everything is given in instructions and lanes, for a figure of a known width.
Colours are CSS variables, so they follow the theme.

A browser needs a while for a thousand boxes. So the boxes of the whole run are drawn once, and what is later than the
moment lies under a cover in the colour of the paper; who goes to and fro in a run moves little more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from mklab.widgets.bands import AXIS, GAP, HEAD
from mklab.widgets.boxes import Box, Window
from mklab.widgets.fates import Arrival
from mklab.widgets.forms import TEETH, WIDE, Form, Measures, arrival_words, form_of, marked, measures, selected_place
from mklab.widgets.lanes import Lane, plans
from mklab.widgets.palette import LIVE
from mklab.widgets.svg import Segment, width_of
from mklab.widgets.view import View

__all__ = ["EDGE", "Chart"]

EDGE = 8
"""Pixels left and right of the lanes, for half a number of the axis."""
_INSET = 2.5  # bqplot keeps half the widest line and a pixel free at the edges of a scale
_WHOLE = ("plans", "boxes", "boxes strokes", "outlines")
"""The layers that are the same at each moment of a run."""
_BREAK = (float("nan"), float("nan"))

Points = list[tuple[float, float]]
Words = tuple[float, float, str]


class _Paths:
    """A Lines mark. What it shows already is not sent again: gaps are NaN, which no comparison finds equal."""

    def __init__(self, scales: dict[str, bqplot.Scale], **style: Any) -> None:
        self.mark = bqplot.Lines(scales=scales, x=[], y=[], **style)
        self._shown: tuple[list[Points], list[str], list[str]] = ([], [], [])

    def show(self, curves: list[Points], lines: list[str], fills: list[str]) -> None:
        """Show ``curves`` of any lengths in pixels, in these colours; shorter ones are filled up with gaps."""
        if self._shown == (curves, lines, fills):
            return
        self._shown = (curves, lines, fills)
        longest = max(map(len, curves), default=0)
        filled: NDArray[np.float64] = np.full((len(curves), longest, 2), np.nan)
        for number, curve in enumerate(curves):
            filled[number, : len(curve)] = curve
        with self.mark.hold_sync():
            self.mark.x, self.mark.y = filled[:, :, 0], filled[:, :, 1]
            self.mark.colors = lines or ["transparent"]
            self.mark.fill_colors = fills or ["transparent"]


class _Labels:
    """A Label mark."""

    def __init__(self, scales: dict[str, bqplot.Scale], **style: Any) -> None:
        font = {"font_weight": "normal", "font_unit": "px"}
        self.mark = bqplot.Label(scales=scales, x=[], y=[], text=[], colors=[LIVE.role("ink")], **font, **style)
        self._shown: list[Words] = []

    def show(self, words: list[Words]) -> None:
        """Show words, each with its place."""
        if self._shown == words:
            return
        self._shown = words
        with self.mark.hold_sync():
            self.mark.x = np.array([x for x, _, _ in words], dtype=float)
            self.mark.y = np.array([y for _, y, _ in words], dtype=float)
            self.mark.text = np.array([text for _, _, text in words], dtype=str)


@dataclass
class _Drawing:
    """What a refresh draws: for each layer its curves and colours, for each kind of words the words.

    There are no others than it is made with: what is drawn has a mark that shows it.
    """

    window: Window
    lane: int
    curves: dict[str, tuple[list[Points], list[str], list[str]]]
    words: dict[str, list[Words]]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Instructions and lanes of a place in pixels; the first lane begins below the head."""
        return self.window.start + x * self.window.per_pixel, (y - HEAD) / self.lane

    def lines(self, layer: str, segments: Sequence[Segment], color: str) -> None:
        """Add segments as one curve."""
        if segments:
            points = [
                point for x1, y1, x2, y2 in segments for point in (self.point(x1, y1), self.point(x2, y2), _BREAK)
            ]
            self._add(layer, points, color, "transparent")

    def box(self, layer: str, x: float, y: float, width: float, height: float, line: str, fill: str) -> None:
        """Add a rectangle."""
        right, bottom = x + width, y + height
        corners = [(x, y), (right, y), (right, bottom), (x, bottom), (x, y)]
        self._add(layer, [self.point(*corner) for corner in corners], line, fill)

    def form(self, layer: str, form: Form) -> None:
        """Add a box, and what is drawn in it to a layer of its own."""
        self.box(layer, form.x, form.y, form.width, form.height, form.line, form.ground)
        self.lines(f"{layer} strokes", form.strokes, form.line)

    def outline(self, layer: str, form: Form) -> None:
        """Add the outline of a box."""
        self.box(layer, form.x, form.y, form.width, form.height, form.line, "transparent")

    def write(self, kind: str, x: float, y: float, words: str) -> None:
        """Add words at a place."""
        self.words[kind].append((*self.point(x, y), words))

    def _add(self, layer: str, points: Points, line: str, fill: str) -> None:
        curves, lines, fills = self.curves[layer]
        curves.append(points)
        lines.append(line)
        fills.append(fill)


class Chart:
    """The figure, and what a mouse does in it.

    Attributes:
        figure: the widget.
        time: the scale of virtual time; :class:`bqplot.PanZoom` moves it.
        brush: chooses a stretch of time.
    """

    def __init__(self) -> None:
        self.time = bqplot.LinearScale(min=0, max=1)
        self._lane = bqplot.LinearScale(min=0, max=1, reverse=True)
        scales = {"x": self.time, "y": self._lane}
        self._whole: tuple[Window, Measures, list[list[Box]]] | None = None
        self._layers = {
            "plans": _Paths(scales, stroke_width=3),
            "boxes": _Paths(scales, stroke_width=1.2, fill="inside"),
            "boxes strokes": _Paths(scales, stroke_width=1),
            "cover": _Paths(scales, stroke_width=0, fill="inside"),
            "outlines": _Paths(scales, line_style="dotted", stroke_width=1.2, fill="none"),
            "waiting": _Paths(scales, line_style="dashed", stroke_width=1.2, fill="inside"),
            "waiting strokes": _Paths(scales, stroke_width=1),
            "later": _Paths(scales, line_style="dotted", stroke_width=1.2, fill="none"),
            "last": _Paths(scales, stroke_width=1.2, fill="inside"),
            "last strokes": _Paths(scales, stroke_width=1),
            "frames": _Paths(scales, stroke_width=2.5, fill="none"),
            "moment": _Paths(scales, stroke_width=1.5, fill="inside"),
        }
        self._words = {
            "owners": _Labels(scales, default_size=12, align="start"),
            "inits": _Labels(scales, default_size=11, align="middle"),
            "sipis": _Labels(scales, default_size=12, align="middle"),
            "arrivals": _Labels(scales, default_size=11, align="start"),
            "head": _Labels(scales, default_size=11, align="end"),
        }
        self._axis = bqplot.Axis(
            scale=self.time,
            label="virtual time, instructions",
            label_offset="32px",
            grid_lines="none",
            color=LIVE.role("axis"),
            label_color=LIVE.role("muted"),
            tick_style={"font-size": "11px", "fill": LIVE.role("muted")},
            tick_format=",d",
        )
        self.brush = bqplot.interacts.BrushIntervalSelector(scale=self.time, color=LIVE.role("focus"))
        self._mouse = bqplot.PanZoom(scales={"x": [self.time]})
        self.figure = bqplot.Figure(
            marks=[
                *(layer.mark for layer in self._layers.values()),
                *(words.mark for words in self._words.values()),
            ],
            axes=[self._axis],
            scale_x=self.time,
            scale_y=self._lane,
            padding_x=0,
            padding_y=0,
            fig_margin={"top": 0, "bottom": AXIS - GAP, "left": EDGE, "right": EDGE},
            background_style={"fill": LIVE.role("paper")},
            display_toolbar=False,
            animation_duration=0,
            interaction=self.brush,
            layout=ipywidgets.Layout(flex="1 1 0", min_width="160px", width="auto", margin="0"),
        )

    @property
    def zooms(self) -> bool:
        """Whether the mouse moves and zooms; else it chooses a stretch of time."""
        return self.figure.interaction is self._mouse

    @zooms.setter
    def zooms(self, zooms: bool) -> None:
        self.figure.interaction = self._mouse if zooms else self.brush

    def draw(self, view: View, lanes: Sequence[Lane], window: Window) -> None:
        """Show ``lanes``; the figure is about as wide as the window says."""
        size = measures(lanes, view.film)
        self._draw_whole(lanes, size, window)
        drawing = self._drawing(window, size)
        bottom = HEAD + len(lanes) * size.lane
        if window.start <= view.time < window.end:
            x = window.x(view.time)
            # The last box's outline is half outside the window.
            drawing.box("cover", x, HEAD, window.width + 2 - x, bottom - HEAD, "transparent", LIVE.role("paper"))
        for number, lane in enumerate(lanes):
            _draw_lane(drawing, view, lane, size, HEAD + number * size.lane + size.top)
        _draw_moment(drawing, view, bottom + GAP)
        height = f"{HEAD + size.lane * len(lanes) + AXIS}px"
        if self.figure.layout.height != height:
            self.figure.layout.height = height
        with self.time.hold_sync():
            self.time.min, self.time.max = float(window.start), float(window.end)
        inset = _INSET / size.lane
        with self._lane.hold_sync():
            self._lane.min, self._lane.max = inset - HEAD / size.lane, len(lanes) + GAP / size.lane - inset
        times = [time for time in marked(window) if _fits(time, window)]
        if list(self._axis.tick_values if self._axis.tick_values is not None else []) != times:
            self._axis.tick_values = np.array(times)
        self._show(drawing, [name for name in self._layers if name not in _WHOLE])
        for name, labels in self._words.items():
            labels.show(drawing.words[name])

    def _drawing(self, window: Window, size: Measures) -> _Drawing:
        curves: dict[str, tuple[list[Points], list[str], list[str]]] = {name: ([], [], []) for name in self._layers}
        return _Drawing(window, size.lane, curves, {name: [] for name in self._words})

    def _show(self, drawing: _Drawing, layers: Sequence[str]) -> None:
        for name in layers:
            self._layers[name].show(*drawing.curves[name])

    def _draw_whole(self, lanes: Sequence[Lane], size: Measures, window: Window) -> None:
        """What does not depend on the moment: the boxes of the whole run, and their outlines over the cover."""
        whole = (window, size, [lane.whole for lane in lanes])
        if whole == self._whole:
            return
        self._whole = whole
        drawing = self._drawing(window, size)
        for number, lane in enumerate(lanes):
            y = HEAD + number * size.lane + size.top
            for start, end, planned in plans(lane.whole):
                bar = y + size.band + 4
                drawing.lines("plans", [(window.x(start), bar, window.x(end), bar)], LIVE.line(planned))
            for box in lane.whole:
                form = form_of(box, window, y, size.band, LIVE)
                # The gaps of a dashed line would show the dots of its outline.
                if not form.dashed:
                    drawing.form("boxes", form)
                    drawing.outline("outlines", form)
        self._show(drawing, _WHOLE)


def _fits(time: int, window: Window) -> bool:
    """Whether the number of a tick has room between the figure's edges."""
    half = width_of(f"{time:,}", 11) / 2
    return half - EDGE <= window.x(time) <= window.width + EDGE - half


def _draw_lane(drawing: _Drawing, view: View, lane: Lane, size: Measures, y: int) -> None:
    window = drawing.window
    for box in lane.later:
        form = form_of(box, window, y, size.band, LIVE)
        if form.dashed:
            drawing.outline("later", form)
    for box in lane.past:
        form = form_of(box, window, y, size.band, LIVE)
        if form.dashed:
            drawing.form("waiting", form)
        elif box is lane.past[-1] and form.width < TEETH:
            # Too short to be seen beside the moment's line, it is drawn longer than it has lasted.
            drawing.form("last", form)
        if form.words:
            drawing.write("owners", form.x + 8, form.y + form.height / 2, form.words)
    for start, end in lane.broken_plans():
        wide = (end - start) / window.per_pixel + 6
        drawing.box("frames", window.x(start) - 3, y - 3, wide, size.band + 11, LIVE.role("alert"), "transparent")
    for one, x, words, begin in arrival_words(lane.arrivals, window, view.time):
        _draw_arrival(drawing, one, x, y)
        if words and size is WIDE:
            drawing.write("arrivals", begin, y - 8, words)
    if place := selected_place(view, lane, window):
        drawing.box("frames", place[0], y - 3, place[1], size.band + 6, LIVE.role("focus"), "transparent")


def _draw_arrival(drawing: _Drawing, one: Arrival, x: float, y: float) -> None:
    if one.is_init:
        drawing.lines("moment", [(x - 4.5, y - 10.5, x + 4.5, y - 10.5)], LIVE.role("ink"))
    drawing.write("inits" if one.is_init else "sipis", x, y - 5.5, "\u25bd" if one.is_init else "\u25bc")


def _draw_moment(drawing: _Drawing, view: View, bottom: float) -> None:
    """The marker of the shown moment, what is right of it in words, and the chosen stretch on the axis."""
    window, ink, focus = drawing.window, LIVE.role("ink"), LIVE.role("focus")
    if window.start <= view.time <= window.end:
        x = window.x(view.time)
        drawing.lines("moment", [(x, 5, x, bottom)], ink)
        drawing.box("moment", x - 3, 2, 6, 6, ink, ink)
        if view.time < view.film.recording.time and window.width - x > 110:
            drawing.write("head", window.width, 6, "recorded, later")
    if view.span:
        start, end = (window.x(min(max(time, window.start), window.end)) for time in view.span)
        base = bottom - 3
        ends: list[Segment] = [(at, bottom - 10, at, bottom) for at in (start, end)]
        drawing.lines("frames", [(start, base, end, base), *ends], focus)
