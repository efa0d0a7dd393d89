"""The ownership chart inside JupyterLab: bqplot draws the boxes of :mod:`mklab.widgets.ownership` over virtual time.

bqplot knows neither hatches nor pixels: hatches are lines in data coordinates, made for a chart of about
:data:`_WIDTH` pixels. Colours are CSS variables, so they follow the theme.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from mklab.recording import Recording, Span
from mklab.widgets.bands import BAND, BAND_TOP, HEIGHTS, LANE, legend
from mklab.widgets.ownership import Lane, broken_plans, lanes, standing, state_of, ticks
from mklab.widgets.palette import LIVE, look_of
from mklab.widgets.svg import Segment, element, hatch, hatched_box, width_of

__all__ = ["OwnershipChart"]

_WIDTH = 720
_NARROWEST = 350  # words in a box leave room for a chart as narrow as this, pixels
_TOP, _BOTTOM = 8, 44
_INSET = 2.5  # bqplot keeps half the widest line and a pixel free at the edges of a scale

Points = list[tuple[float, float]]


@dataclass
class _Outlines:
    """Closed shapes of one line style: their corners and colours."""

    corners: list[Points] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    fills: list[str] = field(default_factory=list)

    def add(self, left: float, right: float, top: float, bottom: float, line: str, fill: str) -> None:
        """Add a rectangle."""
        self.corners.append([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        self.lines.append(line)
        self.fills.append(fill)


class OwnershipChart(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Lanes of CPUs over virtual time: owner by hue and hatch, state by height and outline, the plan as a bar below."""

    def __init__(self) -> None:
        self._time = bqplot.LinearScale(min=0, max=1)
        self._lane = bqplot.LinearScale(min=0, max=1, reverse=True)
        scales = {"x": self._time, "y": self._lane}
        shape = {"scales": scales, "x": [], "y": []}
        self._waiting = bqplot.Lines(**shape, line_style="dashed", stroke_width=1.2, fill="inside")
        self._boxes = bqplot.Lines(**shape, stroke_width=1.2, fill="inside")
        self._strokes = bqplot.Lines(**shape, stroke_width=1)
        self._plans = bqplot.Lines(**shape, stroke_width=3)
        self._alerts = bqplot.Lines(**shape, stroke_width=2.5, fill="none")
        words = {"text": [], "default_size": 12, "font_weight": "normal", "font_unit": "px"}
        self._words = bqplot.Label(**shape, **words, x_offset=8, align="start")
        # A Scatter would draw these triangles too, but it makes bqplot shrink the lanes by its size.
        self._arrivals = bqplot.Label(**shape, **words, align="middle")
        small = {**words, "default_size": 11}
        self._right_words = bqplot.Label(**shape, **small, x_offset=8, align="start")
        self._left_words = bqplot.Label(**shape, **small, x_offset=-8, align="end")
        self._axis = bqplot.Axis(
            scale=self._time,
            label="virtual time, instructions",
            label_offset="32px",
            grid_lines="none",
            color=LIVE.role("axis"),
            label_color=LIVE.role("muted"),
            tick_style={"font-size": "11px", "fill": LIVE.role("muted")},
            tick_format=",d",
        )
        strokes = [self._waiting, self._boxes, self._strokes, self._plans, self._alerts]
        self._figure = bqplot.Figure(
            marks=[*strokes, self._words, self._arrivals, self._right_words, self._left_words],
            axes=[self._axis],
            scale_x=self._time,
            scale_y=self._lane,
            padding_x=0,
            padding_y=0,
            fig_margin={"top": _TOP, "bottom": _BOTTOM, "left": 8, "right": 16},
            background_style={"fill": LIVE.role("paper")},
            display_toolbar=False,
            animation_duration=0,
            layout=ipywidgets.Layout(flex="1 1 0", min_width="160px", width="auto"),
        )
        self._names = ipywidgets.HTML(layout=ipywidgets.Layout(flex="0 0 84px"))
        self._now = ipywidgets.HTML(layout=ipywidgets.Layout(flex="0 0 112px"))
        self._legend = ipywidgets.HTML()
        lanes_beside = ipywidgets.HBox([self._names, self._figure, self._now])
        super().__init__([lanes_beside, self._legend])

    def draw(self, recording: Recording) -> None:
        """Show ``recording``."""
        shown = lanes(recording)
        end = max(recording.time, 1)
        self._figure.layout.height = f"{LANE * len(shown) + _TOP + _BOTTOM}px"
        self._time.max = end
        # So that a lane is as high as the words beside it.
        self._lane.min, self._lane.max = _INSET / LANE, len(shown) - _INSET / LANE
        self._axis.tick_values = np.array(ticks(end, 5))
        with (
            self._waiting.hold_sync(),
            self._boxes.hold_sync(),
            self._strokes.hold_sync(),
            self._plans.hold_sync(),
            self._alerts.hold_sync(),
        ):
            self._draw_boxes(shown, end)
        self._draw_words(shown, end)
        self._draw_arrivals(shown, end)
        self._names.value = _column([_name(recording, lane) for lane in shown])
        self._now.value = _column([_standing(lane) for lane in shown])
        self._legend.value = _key(recording)

    def _draw_boxes(self, shown: list[Lane], end: int) -> None:
        solid, waiting, alerts = _Outlines(), _Outlines(), _Outlines()
        strokes: list[Points] = []
        stroke_colors: list[str] = []
        plans: list[Points] = []
        plan_colors: list[str] = []
        for number, lane in enumerate(shown):
            for box in lane.boxes:
                left, right, top, bottom = _place(box, number, end)
                line, fill = LIVE.line(box.owner), LIVE.role("paper")
                if box.state == "running":
                    fill = LIVE.fill(box.owner) if box.owner else LIVE.role("rule")
                outlines = waiting if box.state == "wait-for-SIPI" else solid
                outlines.add(left, right, top, bottom, line, fill)
                begin = left + _room(_words(box, bottom - top), right - left, end)
                if lines := _lines(box, begin, right, top, bottom, end):
                    strokes.append(lines)
                    stroke_colors.append(line)
                if box.planned:
                    under = number + (BAND_TOP + BAND + 4) / LANE
                    plans.append([(left, under), (right, under)])
                    plan_colors.append(LIVE.line(box.planned))
            for start, stop in broken_plans(lane):
                top = number + (BAND_TOP - 3) / LANE
                alerts.add(start, stop, top, top + (BAND + 11) / LANE, LIVE.role("alert"), "transparent")
        for mark, outlines in ((self._boxes, solid), (self._waiting, waiting), (self._alerts, alerts)):
            _set_lines(mark, outlines.corners, outlines.lines)
            mark.fill_colors = outlines.fills or ["transparent"]
        _set_lines(self._strokes, strokes, stroke_colors)
        _set_lines(self._plans, plans, plan_colors)

    def _draw_words(self, shown: list[Lane], end: int) -> None:
        """The owner or the state in boxes that have room for it."""
        found: list[tuple[float, float, str]] = []
        for number, lane in enumerate(shown):
            for box in lane.boxes:
                left, right, top, bottom = _place(box, number, end)
                words = _words(box, bottom - top)
                if _room(words, right - left, end):
                    found.append((left, (top + bottom) / 2, words))
        _set_words(self._words, found)

    def _draw_arrivals(self, shown: list[Lane], end: int) -> None:
        heights = [
            (one.time, number + (BAND_TOP - 5) / LANE) for number, lane in enumerate(shown) for one in lane.arrivals
        ]
        _set_words(self._arrivals, [(time, height, "\u25bc") for time, height in heights])
        beside = [(number, *one) for number, lane in enumerate(shown) for one in _beside(lane, end)]
        for mark, side in ((self._right_words, "right"), (self._left_words, "left")):
            found = [(time, number + (BAND_TOP - 8) / LANE, words) for number, time, words, on in beside if on == side]
            _set_words(mark, found)


def _beside(lane: Lane, end: int) -> Iterator[tuple[float, str, str]]:
    """Time, words and side of what is written beside a lane's arrivals; where neither side has room, the key does."""
    free = 0.0
    for number, arrival in enumerate(lane.arrivals):
        room = (width_of(arrival.words, 11) + 12) / _NARROWEST * end
        after = lane.arrivals[number + 1].time if number + 1 < len(lane.arrivals) else end
        if arrival.time + room <= after:
            yield arrival.time, arrival.words, "right"
            free = arrival.time + room
        elif arrival.time - room >= free:
            yield arrival.time, arrival.words, "left"
            free = arrival.time


def _place(box: Span, number: int, end: int) -> tuple[float, float, float, float]:
    """Left, right (instructions), top and bottom (lanes) of a box in lane ``number``."""
    assert box.end is not None
    height = BAND * HEIGHTS.get(box.mode, 1) if box.state == "running" else BAND
    bottom = number + (BAND_TOP + BAND) / LANE
    # A stretch too short to be seen is drawn about 4 pixels wide; the text tells how long it was.
    right = min(max(box.end.time, box.start.time + 4 * end / _WIDTH), max(end, box.end.time))
    return box.start.time, right, bottom - height / LANE, bottom


def _lines(box: Span, left: float, right: float, top: float, bottom: float, end: int) -> Points:
    """Hatch, middle line or cross of a box from ``left`` on, as one line with gaps: words stand before it."""
    middle = (top + bottom) / 2
    segments: list[Segment] = []
    if box.state == "halted":
        segments = [(left, middle, right, middle)]
    elif box.state == "shut down":
        segments = [(left, top, right, bottom), (left, bottom, right, top)]
    elif box.state == "running":
        across, down = _WIDTH / end, LANE
        pixels = hatch(look_of(box.owner).hatch, 0, 0, (right - left) * across, (bottom - top) * down)
        segments = [
            (left + x1 / across, top + y1 / down, left + x2 / across, top + y2 / down) for x1, y1, x2, y2 in pixels
        ]
    gap = (float("nan"), float("nan"))
    return [point for x1, y1, x2, y2 in segments for point in ((x1, y1), (x2, y2), gap)]


def _words(box: Span, height: float) -> str:
    """What is written in a box of some height (in lanes), if there is room for it."""
    if box.state != "running":
        return f"{box.owner}, {box.state}" if box.owner else box.state
    return (box.owner or state_of(box)) if height * LANE >= 14 else ""


def _room(words: str, width: float, end: int) -> float:
    """How much of a box of some width is kept for ``words``, in instructions; 0 where they do not fit."""
    room = (width_of(words) + 16) / _NARROWEST * end
    return room if words and room <= width else 0


def _set_lines(mark: bqplot.Lines, curves: list[Points], colors: list[str]) -> None:
    """Give a Lines mark ``curves`` of any lengths: shorter ones are filled up with gaps."""
    longest = max(map(len, curves), default=0)
    filled: NDArray[np.float64] = np.full((len(curves), longest, 2), np.nan)
    for number, curve in enumerate(curves):
        filled[number, : len(curve)] = curve
    mark.x, mark.y = filled[:, :, 0], filled[:, :, 1]
    mark.colors = colors or ["transparent"]


def _set_words(mark: bqplot.Label, places: list[tuple[float, float, str]]) -> None:
    with mark.hold_sync():
        mark.x = np.array([x for x, _, _ in places], dtype=float)
        mark.y = np.array([y for _, y, _ in places], dtype=float)
        mark.text = np.array([words for _, _, words in places], dtype=str)
        mark.colors = [LIVE.role("ink")]


def _column(cells: list[str]) -> str:
    """Cells beside the chart, each as high as a lane."""
    style = f"height: {LANE - BAND_TOP + 4}px; padding-top: {BAND_TOP - 4}px"
    return (
        f'<div style="padding-top: {_TOP}px">'
        + "".join(f'<div style="{style}">{cell}</div>' for cell in cells)
        + "</div>"
    )


def _name(recording: Recording, lane: Lane) -> str:
    below = f"{len(lane.cpus)} alike" if len(lane.cpus) > 1 else f"APIC {recording.apic_ids[lane.cpus[0]]}"
    return f"<b>{lane.name}</b><small>{below}</small>"


def _standing(lane: Lane) -> str:
    now = lane.now
    swatch = element("svg", hatched_box(1, 1, 10, 10, now.owner, LIVE, dashed=now.owner is None), width=12, height=12)
    words = standing(now)
    style = ' class="mklab-trouble"' if now.against_plan else ""
    return f"<b>{swatch} {escape(now.owner or 'nobody')}</b><small{style}>{escape(words)}</small>"


def _key(recording: Recording) -> str:
    entries = (
        f"<span>{element('svg', swatch, width=24, height=14, aria_hidden='true')} {escape(words)}</span>"
        for words, swatch in legend(recording, LIVE)
    )
    return f'<div class="mklab-key">{"".join(entries)}</div>'
