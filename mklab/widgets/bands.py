"""The picture of ownership as SVG, and its measures and key, which the chart inside JupyterLab shares."""

from mklab.recording import Recording, Span
from mklab.widgets.ownership import QUESTION, Arrival, Lane, answer, broken_plans, lanes, standing, state_of, ticks
from mklab.widgets.palette import LIGHT, Palette
from mklab.widgets.svg import CODE, document, element, hatched_box, path, text, width_of, wrap

__all__ = ["BAND", "BAND_TOP", "HEIGHTS", "LANE", "legend", "svg"]

LANE = 44
"""Height of a lane in pixels; its band of boxes begins :data:`BAND_TOP` below its top and is :data:`BAND` high."""
BAND_TOP = 16
BAND = 22
HEIGHTS = {"real": 1 / 3, "protected": 2 / 3}
"""How much of the band the box of a running CPU fills, by its mode; all of it in long mode."""


def svg(recording: Recording, palette: Palette = LIGHT, width: int = 960) -> str:
    """The picture on its own paper, ``width`` pixels wide."""
    shown = lanes(recording)
    left, right, margin = 104, width - 192, 24
    summary = wrap(answer(recording), width - 2 * margin, 13)
    content = text(margin, 36, QUESTION, palette.role("ink"), size=15, bold=True)
    for number, line in enumerate(summary):
        content += text(margin, 56 + 18 * number, line, palette.role("muted"), size=13)
    top = 48 + 18 * len(summary)
    scale = (right - left) / max(recording.time, 1)
    bottom = top + LANE * len(shown) + 8
    for number, lane in enumerate(shown):
        content += _draw_lane(lane, recording, palette, left, top + number * LANE, scale, right)
    content += _axis(recording.time, palette, left, right, bottom, scale)
    key, height = _key(recording, palette, margin, bottom + 52, width - margin)
    return document(QUESTION, answer(recording), width, height, palette, content + key)


def _draw_lane(
    lane: Lane, recording: Recording, palette: Palette, left: int, top: int, scale: float, right: int
) -> str:
    ink, muted = palette.role("ink"), palette.role("muted")
    content = text(24, top + BAND_TOP + 9, lane.name, ink, size=13, bold=True)
    below = f"{len(lane.cpus)} alike" if len(lane.cpus) > 1 else f"APIC {recording.apic_ids[lane.cpus[0]]}"
    content += text(24, top + BAND_TOP + 23, below, muted, size=11, font_family=CODE)
    for box in lane.boxes:
        assert box.end is not None
        x = left + box.start.time * scale
        # A stretch too short to be seen is drawn 4 pixels wide; the text tells how long it was.
        content += _draw_box(box, x, top + BAND_TOP, max((box.end.time - box.start.time) * scale, 4), palette)
    for start, end in broken_plans(lane):
        content += element(
            "rect",
            x=left + start * scale - 3,
            y=top + BAND_TOP - 3,
            width=(end - start) * scale + 6,
            height=BAND + 11,
            fill="none",
            stroke=palette.role("alert"),
            stroke_width=2.5,
        )
    for arrival in lane.arrivals:
        content += _draw_arrival(arrival, left + arrival.time * scale, top + BAND_TOP, palette, right)
    color = palette.role("alert") if lane.now.against_plan else ink
    content += text(right + 16, top + BAND_TOP + 9, lane.now.owner or "nobody", color, size=12, bold=True)
    return content + text(right + 16, top + BAND_TOP + 23, standing(lane.now), muted, size=11)


def _draw_box(box: Span, x: float, y: float, width: float, palette: Palette) -> str:
    ink = palette.role("ink")
    line = palette.line(box.owner)
    words = box.owner or "nobody"
    if box.state == "running":
        height = BAND * HEIGHTS.get(box.mode, 1)
        y += BAND - height
        if box.owner is None:
            content = element(
                "rect", x=x, y=y, width=width, height=height, fill=palette.role("rule"), stroke=line, stroke_width=1.2
            )
            words = box.mode
        else:
            content = hatched_box(x, y, width, height, box.owner, palette)
    else:
        height = BAND
        dash = "4 3" if box.state == "wait-for-SIPI" else None
        content = element(
            "rect",
            x=x,
            y=y,
            width=width,
            height=height,
            fill=palette.role("paper"),
            stroke=line,
            stroke_width=1.2,
            stroke_dasharray=dash,
        )
        middle = y + height / 2
        if box.state == "halted":
            content += path([(x, middle, x + width, middle)], line)
        elif box.state == "shut down":
            content += path([(x, y, x + width, y + height), (x, y + height, x + width, y)], line)
        words = f"{words}, {box.state}" if box.owner else box.state
    if box.planned:
        content += path([(x, y + height + 4, x + width, y + height + 4)], palette.line(box.planned), 3)
    room = width_of(words) + 16
    if width >= room and height >= 14:
        plate = element("rect", x=x + 4, y=y + 3, width=room - 8, height=height - 6, fill=_ground(box, palette))
        content += plate + text(x + 8, y + height / 2 + 4, words, ink, size=12)
    return content


def _ground(box: Span, palette: Palette) -> str:
    """The colour behind the words in a box."""
    if box.state != "running":
        return palette.role("paper")
    return palette.fill(box.owner) if box.owner else palette.role("rule")


def _draw_arrival(arrival: Arrival, x: float, y: float, palette: Palette, right: int) -> str:
    ink = palette.role("ink")
    content = element("path", d=f"M{x - 5:.1f} {y - 13}h10l-5 8z", fill=ink)
    at_end = x + 10 + width_of(arrival.words, 11) > right
    anchor, shift = ("end", -8) if at_end else ("start", 8)
    return content + text(x + shift, y - 5, arrival.words, ink, size=11, font_family=CODE, text_anchor=anchor)


def _axis(end: int, palette: Palette, left: int, right: int, y: int, scale: float) -> str:
    content = path([(left, y, right, y)], palette.role("axis"), 1)
    for time in ticks(end):
        x = left + time * scale
        content += path([(x, y, x, y + 5)], palette.role("axis"), 1)
        content += text(x, y + 18, f"{time:,}", palette.role("muted"), size=11, font_family=CODE, text_anchor="middle")
    return content + text(
        right, y + 34, "virtual time, instructions", palette.role("muted"), size=11, text_anchor="end"
    )


def _key(recording: Recording, palette: Palette, left: int, y: int, right: int) -> tuple[str, int]:
    """The key, wrapped between ``left`` and ``right``, and the height of the picture."""
    content, x = "", left
    for words, swatch in legend(recording, palette):
        room = 30 + width_of(words) + 16
        if x + room > right:
            x, y = left, y + 24
        content += element("g", swatch, transform=f"translate({x:.1f} {y - 12})")
        content += text(x + 30, y, words, palette.role("muted"), size=12)
        x += int(room)
    return content, y + 20


def legend(recording: Recording, palette: Palette) -> list[tuple[str, str]]:
    """The key to what is drawn: words, and a swatch of 24 by 14 pixels."""
    shown = lanes(recording)
    spans = [span for lane in shown for span in lane.boxes]
    owners = sorted({span.owner for span in spans if span.owner})
    entries = [(owner, hatched_box(1, 1, 22, 12, owner, palette)) for owner in owners]
    line, rule, paper = palette.line(None), palette.role("rule"), palette.role("paper")

    def box(height: int, fill: str, dash: str | None = None) -> str:
        return element(
            "rect", x=1, y=13 - height, width=22, height=height, fill=fill, stroke=line, stroke_dasharray=dash
        )

    states = {
        "wait-for-SIPI": box(12, paper, "4 3"),
        "real": box(4, rule),
        "protected": box(8, rule),
        "long": box(12, rule),
        "halted": box(12, paper) + path([(1, 7, 23, 7)], line),
        "shut down": box(12, paper) + path([(1, 1, 23, 13), (1, 13, 23, 1)], line),
    }
    seen = {state_of(span) for span in spans}
    entries += [(words, swatch) for words, swatch in states.items() if words in seen]
    if any(lane.arrivals for lane in shown):
        entries.append(("INIT, SIPI", element("path", d="M7 3h10l-5 8z", fill=palette.role("ink"))))
    if any(span.planned for span in spans):
        entries.append(("planned owner", path([(1, 7, 23, 7)], palette.role("ink"), 3)))
    if any(len(lane.cpus) > 1 for lane in shown):
        entries.append(("a shared lane shows the times of its first CPU", ""))
    return entries
