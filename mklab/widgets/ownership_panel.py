"""The picture of ownership in JupyterLab: its lanes are a bqplot figure that can be zoomed and brushed."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from mklab.widgets.bands import AXIS, HEAD, draw_names, draw_standings
from mklab.widgets.boxes import Box, Window
from mklab.widgets.canvas import Canvas
from mklab.widgets.chart import EDGE, Chart
from mklab.widgets.forms import measures, sides
from mklab.widgets.grid import draw_grid
from mklab.widgets.home import at_home
from mklab.widgets.lanes import FOLD_ABOVE, Lane, end_of, groups, lane, state_of
from mklab.widgets.on_stage import style
from mklab.widgets.owner_key import entries
from mklab.widgets.ownership import GRID, LANES, PICTURE, cpus_of, more_lanes
from mklab.widgets.palette import LIVE
from mklab.widgets.panel import Panel
from mklab.widgets.picture import NARROW, twin
from mklab.widgets.spans import stories
from mklab.widgets.stage import KEYS
from mklab.widgets.svg import element
from mklab.widgets.view import View

__all__ = ["OwnershipPanel"]

_CLOSEST = 20
"""Instructions in the closest zoom."""
_TOLD = 8
"""Stretches of a CPU that are told of."""


class OwnershipPanel(Panel):
    """Who owns each CPU, and in which state.

    Args:
        driver: a driver, or the stage of one.

    Attributes:
        head: question and answer; past a dozen CPUs the grid.
        chart: the lanes.
        canvas: what stands below them: controls, what was in the chosen stretch, the key, the text twin.
    """

    def __init__(self, driver: Any) -> None:
        self.head = Canvas(self._act, [*KEYS, "+", "-"])
        self.chart = Chart()
        self._names, self._standings = Canvas(self._act, KEYS), Canvas(self._act, KEYS)
        self._range: tuple[float, float] | None = None
        self._last: View | None = None
        self._drawing = False
        self._tools: dict[str, Callable[[], None]] = {
            "zoom-in": lambda: self.zoom(1 / 2),
            "zoom-out": lambda: self.zoom(2),
            "zoom-earlier": lambda: self.move(-1 / 2),
            "zoom-later": lambda: self.move(1 / 2),
            "zoom-all": self.show_all,
            "zoom-mouse": self._use_mouse,
            "span-shown": lambda: self.stage.select(span=self._whole_range()),
            "span-none": lambda: self.stage.select(span=None),
        }
        super().__init__(PICTURE, driver)
        self.canvas.taken = [*KEYS, "+", "-"]
        self.head.observe(at_home(lambda _change: self._seen()), "visible")
        self.chart.time.observe(at_home(lambda _change: self._moved()), ["min", "max"])
        self.chart.brush.observe(at_home(lambda change: None if change["new"] else self._brushed()), "brushing")
        row = ipywidgets.HBox([self._names, self.chart.figure, self._standings])
        self.children = (style(), self.head, row, self.canvas)

    @property
    def visible(self) -> bool:
        """Whether somebody can see it."""
        return self.canvas.visible or self.head.visible

    # What part of the run is shown

    @property
    def range(self) -> tuple[float, float]:
        """The stretch of time that is shown, in instructions."""
        return self._range or (0, end_of(self.stage.view.film))

    def zoom(self, factor: float) -> None:
        """Show a stretch ``factor`` times as long; the moment stays where it is, or if it is not shown the middle."""
        start, end = self.range
        moment = self.stage.view.time
        fixed = moment if start <= moment <= end else (start + end) / 2
        self.show_range(fixed - (fixed - start) * factor, fixed + (end - fixed) * factor)

    def move(self, part: float) -> None:
        """Show what is later (earlier: negative) by that part of what is shown."""
        start, end = self.range
        by = (end - start) * part
        by = max(-start, min(by, end_of(self.stage.view.film) - end))
        self.show_range(start + by, end + by)

    def show_all(self) -> None:
        """Show the whole run, and what it grows to."""
        self._range = None
        self._redraw_chart()

    def show_range(self, start: float, end: float) -> None:
        """Show the time from ``start`` to ``end`` (instructions), as far as there is any."""
        last = end_of(self.stage.view.film)
        start, end = max(start, 0), min(end, last)
        if end - start < _CLOSEST:
            start = max(min(start, last - _CLOSEST), 0)
            end = start + _CLOSEST
        self._range = None if (start, end) == (0, last) else (start, end)
        self._redraw_chart()

    def _redraw_chart(self) -> None:
        # The brush's own rectangle does not move with what is shown; the mark on the axis does.
        self.chart.brush.selected = None
        self.redraw()

    def _moved(self) -> None:
        """The mouse has zoomed or moved."""
        shown = (self.chart.time.min, self.chart.time.max)
        if not self._drawing and shown != self.range:
            self.show_range(*shown)

    def _use_mouse(self) -> None:
        self.chart.zooms = not self.chart.zooms
        self.redraw()

    # What is chosen

    def _whole_range(self) -> tuple[int, int]:
        start, end = self.range
        return round(start), round(end)

    def _brushed(self) -> None:
        """The mouse has chosen a stretch of time, or nothing."""
        chosen = self.chart.brush.selected
        if chosen is None or len(chosen) != 2 or round(chosen[0]) == round(chosen[1]):
            self.stage.select(span=None)
        else:
            last = end_of(self.stage.view.film)
            start, end = (max(0, min(round(float(time)), last)) for time in chosen)
            self.stage.select(span=(start, end))

    def _act(self, said: dict[str, Any]) -> None:
        keys = {"+": "zoom-in", "-": "zoom-out"}
        tool = self._tools.get(said.get("act") or keys.get(str(said.get("key")), ""))
        if tool:
            tool()
        else:
            super()._act(said)

    # Drawing

    def draw(self) -> None:
        """See :class:`mklab.widgets.panel.Panel`. Marks of the chart are sent where they have changed."""
        view, width = self.stage.view, self.canvas.width or NARROW
        self._follow(view)
        start, end = self.range
        first, _ = groups(view)
        left, right = sides(first, view.film)
        window = Window(start, end, max(width - left - right - 2 * EDGE, 100))
        shown = [lane(view, group, window) for group in first]
        self.head.markup = _head(view, width)
        height = HEAD + measures(shown, view.film).lane * len(shown) + AXIS
        for canvas, drawn, wide in (
            (self._names, draw_names(view, shown, LIVE), left),
            (self._standings, draw_standings(view, shown, LIVE), right),
        ):
            canvas.markup = element("svg", drawn, width=wide, height=height, role="group", aria_label="CPUs")
            flex = f"0 0 {wide}px"
            if canvas.layout.flex != flex:
                canvas.layout.flex = flex
        self._drawing = True
        try:
            self.chart.draw(view, shown, window)
        finally:
            self._drawing = False
        self.canvas.markup = self._foot(view, shown, window, width)

    def _follow(self, view: View) -> None:
        """Another film is shown as a whole; a moment that was gone to is brought into sight."""
        last, self._last = self._last, view
        if last is not None and view.film is not last.film:
            self._range = None
        elif self._range and last is not None and view.time != last.time:
            start, end = self._range
            length = end - start
            if not start <= view.time <= end:
                begin = max(0, min(view.time - length / 2, end_of(view.film) - length))
                self._range = (begin, begin + length)

    def _foot(self, view: View, shown: list[Lane], window: Window, width: int) -> str:
        words = f"<pre>{escape(twin(PICTURE, view))}</pre>" if self.has_twin else ""
        key = "".join(
            f"<span>{element('svg', swatch, width=24, height=14, aria_hidden='true') if swatch else ''} "
            f"{escape(what)}</span>"
            for what, swatch in entries(shown, window, LIVE)
        )
        more = more_lanes(view, width, opened="ownership-more" in self.canvas.opened)
        return (
            '<section class="mk-picture" aria-label="The chart above; its text twin tells it in words">'
            f"{self._buttons(view)}{_told(view)}"
            f'<div class="mklab-key">{key}</div>{more}'
            f'<details data-key="ownership-twin"><summary>Text twin</summary>{words}</details></section>'
        )

    def _buttons(self, view: View) -> str:
        start, end = self._whole_range()
        where = f"t={start:,} to {end:,} of {end_of(view.film):,} instructions"
        buttons = [
            _button("zoom-in", "Zoom in", "+"),
            _button("zoom-out", "Zoom out", "-", off=self._range is None),
            _button("zoom-earlier", "Earlier", off=start <= 0),
            _button("zoom-later", "Later", off=end >= end_of(view.film)),
            _button("zoom-all", "Whole run", off=self._range is None),
            _button("zoom-mouse", "Mouse zooms", pressed=self.chart.zooms),
            _button("span-shown", "Choose what is shown"),
            _button("span-none", "Choose nothing", off=view.span is None),
        ]
        return (
            f'<div class="mk-buttons" role="group" aria-label="What part of the run is shown">{"".join(buttons)}</div>'
            f"<small>Shown: {where}. The mouse {_MOUSE[self.chart.zooms]}.</small>"
        )


_MOUSE = {
    False: "chooses a stretch of time: drag over the chart",
    True: "moves the chart (drag) and zooms (wheel)",
}


def _button(act: str, title: str, key: str = "", *, off: bool = False, pressed: bool | None = None) -> str:
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    state += ' aria-disabled="true"' if off else ""
    hint = f" <kbd>{key}</kbd>" if key else ""
    return f'<button type="button" data-act="{act}" data-key="{act}"{state}>{title}{hint}</button>'


def _head(view: View, width: int) -> str:
    """Question and answer; past a dozen CPUs the grid."""
    cells = ""
    if len(view.film.recording.apic_ids) > FOLD_ABOVE:
        drawing, height = draw_grid(view, LIVE, width)
        label = {"role": "group", "aria_label": "One cell a CPU"}
        cells = f"<small>{GRID}</small>" + element("svg", drawing, width=width, height=height, **label)
        cells += f"<small>{LANES}</small>"
    question = escape(PICTURE.question)
    return (
        f'<section class="mk-picture" data-picture="{PICTURE.name}" aria-label="{question}">'
        f"<h3>{question}</h3><p>{escape(PICTURE.answer(view))}</p>{cells}</section>"
    )


def _told(view: View) -> str:
    """What was in the chosen stretch of time; each change of it can be selected."""
    if view.span is None:
        return ""
    start, end = view.span
    items = "".join(
        f"<li><b>{cpus_of(cpus)}</b>: {', then '.join(map(_piece, boxes[:_TOLD])) or 'not yet'}"
        f"{f', and {len(boxes) - _TOLD} more' if len(boxes) > _TOLD else ''}</li>"
        for cpus, boxes in stories(view, start, end)[:FOLD_ABOVE]
    )
    return (
        f'<div class="mk-span" role="status"><b>Chosen: t={start:,} to {end:,}, {end - start:,} instructions</b>'
        f"<ul>{items}</ul></div>"
    )


def _piece(box: Box) -> str:
    words = f"{box.span.owner or 'nobody'}, {state_of(box.span)}{' and more' if box.count > 1 else ''}"
    event = box.span.start.event
    if event < 0:
        return escape(words)
    return (
        f'<span data-event="{event}" tabindex="0" role="button" aria-label="{escape(words)}, since event {event}">'
        f"{escape(words)}</span>"
    )
