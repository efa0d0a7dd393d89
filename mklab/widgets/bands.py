"""The lanes of :mod:`mklab.widgets.lanes` as SVG."""

from collections.abc import Sequence

from mklab.widgets.boxes import Box, Window
from mklab.widgets.forms import WIDE, Form, Measures, arrival_words, form_of, marked, measures, selected_place, standing
from mklab.widgets.lanes import Lane, end_of, plans, state_of
from mklab.widgets.palette import Palette
from mklab.widgets.svg import CODE, Segment, element, hatched_box, path, text, width_of
from mklab.widgets.view import View

__all__ = ["AXIS", "GAP", "HEAD", "draw_lanes", "draw_names", "draw_standings"]

HEAD = 16
"""Pixels above the lanes, for the head of the moment's marker."""
AXIS = 46
"""Pixels below the lanes, for the axis."""
GAP = 6
"""Pixels between the lanes and the axis."""


def draw_lanes(view: View, lanes: Sequence[Lane], window: Window, palette: Palette) -> tuple[str, int]:
    """``lanes`` between their names and how they stand, the moment and the axis; and the height in pixels."""
    size = measures(lanes, view.film)
    bottom = HEAD + size.lane * len(lanes) + GAP
    content = ""
    for number, lane in enumerate(lanes):
        y = HEAD + number * size.lane + size.top
        middle = y + size.band / 2
        inside = element("g", _draw_lane(view, lane, palette, size, y, window), transform=f"translate({size.names} 0)")
        now = _draw_standing(lane, size, palette, size.names + window.width + 16, middle)
        content += element("g", _draw_name(view, lane, palette, size, middle) + inside + now, data_arrows=1)
    around = _axis(window, palette, bottom) + _draw_moment(view, palette, window, bottom)
    if view.span:
        around += _draw_span(view.span, palette, window, bottom)
    return content + element("g", around, transform=f"translate({size.names} 0)"), bottom - GAP + AXIS


def draw_names(view: View, lanes: Sequence[Lane], palette: Palette) -> str:
    """The names alone, each where its lane is."""
    size = measures(lanes, view.film)
    return "".join(_draw_name(view, lane, palette, size, _middle(at, size)) for at, lane in enumerate(lanes))


def draw_standings(view: View, lanes: Sequence[Lane], palette: Palette) -> str:
    """How each CPU stands, alone, each where its lane is."""
    size = measures(lanes, view.film)
    return "".join(_draw_standing(lane, size, palette, 8, _middle(at, size)) for at, lane in enumerate(lanes))


def _middle(number: int, size: Measures) -> float:
    """The middle of a lane's band, in pixels from the top."""
    return HEAD + number * size.lane + size.top + size.band / 2


def _draw_lane(view: View, lane: Lane, palette: Palette, size: Measures, y: int, window: Window) -> str:
    content = ""
    for start, end, planned in plans(lane.past):
        bar = y + size.band + 4
        content += path([(window.x(start), bar, window.x(end), bar)], palette.line(planned), 3)
    for box in lane.past:
        drawn = _draw_box(form_of(box, window, y, size.band, palette), palette)
        # What stands for many may have begun beyond the moment.
        begun = box.span.start.event if box.span.start.event <= view.event else -1
        content += _selectable(drawn, _spoken(lane, box), event=begun)
    for box in lane.later:
        form = form_of(box, window, y, size.band, palette)
        content += _outline(form.x, form.y, form.width, form.height, form.line, 1.2, dash="1.5 2.5")
    for start, end in lane.broken_plans():
        wide = (end - start) / window.per_pixel + 6
        content += _outline(window.x(start) - 3, y - 3, wide, size.band + 11, palette.role("alert"), 2.5)
    for one, x, words, begin in arrival_words(lane.arrivals, window, view.time):
        mark = _triangle(x, y, palette, hollow=one.is_init)
        if words and size is WIDE:
            mark += text(begin, y - 5, words, palette.role("ink"), size=11, font_family=CODE)
        content += _selectable(mark, f"{lane.name}: {one.words} at t={one.time:,}", event=one.event)
    if place := selected_place(view, lane, window):
        content += _outline(place[0], y - 3, place[1], size.band + 6, palette.role("focus"), 2.5, rx=2)
    return content


def _draw_name(view: View, lane: Lane, palette: Palette, size: Measures, middle: float) -> str:
    first = lane.cpus[0]
    under = f"{len(lane.cpus)} alike" if len(lane.cpus) > 1 else f"APIC {view.film.recording.apic_ids[first]}"
    content = text(6, middle - 1, lane.name, palette.role("ink"), size=13, bold=True)
    content += text(6, middle + 13, under, palette.role("muted"), size=11, font_family=CODE)
    if view.cpu in lane.cpus:
        content += _outline(1.5, middle - 16, size.names - 10, 34, palette.role("focus"), 2.5, rx=2)
    # Text has no area to click between its letters.
    area = element("rect", y=middle - 15, width=size.names - 8, height=30, fill="transparent")
    label = f"{lane.name}: {', '.join(standing(lane, size))}"
    return _selectable(area + content, label, cpu=first, tabindex=0)


def _draw_standing(lane: Lane, size: Measures, palette: Palette, x: float, middle: float) -> str:
    owner, (first, *more) = lane.now.owner, standing(lane, size)
    y = middle - 1 - 6 * (len(more) - 1)
    content = hatched_box(x, y - 10, 11, 11, owner, palette, dashed=owner is None)
    content += text(x + 18, y, first, palette.role("ink"), size=12, bold=True)
    for line in more:
        y += 13
        broken = lane.now.against_plan and line is more[-1]
        content += text(x if broken else x + 18, y, line, palette.role("alert" if broken else "muted"), size=11)
    return content


def _spoken(lane: Lane, box: Box) -> str:
    """A box in words."""
    many = f"{state_of(box.span)} and more, {box.count:,} short stretches" if box.count > 1 else state_of(box.span)
    plan = f", planned for {box.span.planned}" if box.span.planned and box.span.planned != box.span.owner else ""
    return f"{lane.name}: {box.span.owner or 'nobody'}, {many}{plan}, t={box.start:,} to {box.end:,}"


def _draw_box(form: Form, palette: Palette) -> str:
    dash = "4 3" if form.dashed else None
    content = _outline(form.x, form.y, form.width, form.height, form.line, 1.2, dash=dash, fill=form.ground)
    content += path(form.strokes, form.line, form.thick)
    return content + (
        text(form.x + 8, form.y + form.height / 2 + 4, form.words, palette.role("ink")) if form.words else ""
    )


def _outline(
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    thick: float,
    *,
    dash: str | None = None,
    fill: str = "none",
    rx: int | None = None,
) -> str:
    return element(
        "rect",
        x=x,
        y=y,
        width=width,
        height=height,
        fill=fill,
        stroke=color,
        stroke_width=thick,
        stroke_dasharray=dash,
        rx=rx,
    )


def _selectable(content: str, label: str, *, event: int = -1, cpu: int | None = None, tabindex: int = -1) -> str:
    """A part that can be selected: its first event, if it has one, or a CPU."""
    if cpu is None and event < 0:
        return content
    what = {"data_event": event} if cpu is None else {"data_cpu": cpu}
    key = f"ownership-{'event' if cpu is None else 'cpu'}-{event if cpu is None else cpu}"
    return element("g", content, **what, data_key=key, tabindex=tabindex, role="button", aria_label=label)


def _triangle(x: float, y: float, palette: Palette, *, hollow: bool) -> str:
    """What reached a CPU, above its band: INIT hollow and with a bar, SIPI filled."""
    ink = palette.role("ink")
    if hollow:
        bar = path([(x - 4.5, y - 10.5, x + 4.5, y - 10.5)], ink, 1.5)
        triangle = element("path", d=f"M{x - 4:.1f} {y - 8}h8l-4 6z", fill=palette.role("paper"), stroke=ink)
        return bar + triangle
    return element("path", d=f"M{x - 4.5:.1f} {y - 10}h9l-4.5 8.5z", fill=ink)


def _draw_moment(view: View, palette: Palette, window: Window, bottom: int) -> str:
    """The marker of the shown moment, and what is right of it in words."""
    if not window.start <= view.time <= window.end:
        return ""
    ink, x, right = palette.role("ink"), window.x(view.time), window.width
    content = path([(x, 8, x, bottom)], ink, 1.5)
    content += element("path", d=f"M{x - 4.5:.1f} 0h9v5l-4.5 4.5l-4.5 -4.5z", fill=ink)
    words = "recorded, later"
    if end_of(view.film) > view.time and right - x > width_of(words, 11) + 12:
        content += text(right, 10, words, palette.role("muted"), size=11, text_anchor="end")
    return content


def _draw_span(span: tuple[int, int], palette: Palette, window: Window, bottom: int) -> str:
    """The stretch of time that was chosen, on the axis."""
    start, end = (window.x(min(max(time, window.start), window.end)) for time in span)
    focus = palette.role("focus")
    ends: list[Segment] = [(at, bottom - 8, at, bottom + 4) for at in (start, end)]
    return path([(start, bottom, end, bottom)], focus, 4) + path(ends, focus, 2.5)


def _axis(window: Window, palette: Palette, y: int) -> str:
    muted = palette.role("muted")
    content = path([(0, y, window.width, y)], palette.role("axis"), 1)
    for time in marked(window):
        x = window.x(time)
        content += path([(x, y, x, y + 5)], palette.role("axis"), 1)
        content += text(x, y + 18, f"{time:,}", muted, size=11, font_family=CODE, text_anchor="middle")
    return content + text(window.width, y + 34, "virtual time, instructions", muted, size=11, text_anchor="end")
