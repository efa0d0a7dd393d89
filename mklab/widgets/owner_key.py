"""The key to the picture of ownership: only what is to be seen is explained."""

from collections.abc import Sequence

from mklab.widgets.boxes import Window
from mklab.widgets.forms import TEETH
from mklab.widgets.lanes import Lane, plans, state_of
from mklab.widgets.palette import Palette
from mklab.widgets.svg import element, hatched_box, path, text, width_of

__all__ = ["draw_key", "entries"]

_GAP = 14


def entries(lanes: Sequence[Lane], window: Window, palette: Palette) -> list[tuple[str, str]]:
    """What is to be seen in ``lanes``: words, and a swatch of 24 by 14 pixels (empty: words alone)."""
    boxes = [box for lane in lanes for box in lane.past]
    spans = [box.span for box in boxes] + [lane.now for lane in lanes]
    line = palette.line(None)
    ink, rule, paper = palette.role("ink"), palette.role("rule"), palette.role("paper")

    def bar(height: int, fill: str, dash: str | None = None) -> str:
        return element(
            "rect", x=1, y=13 - height, width=22, height=height, fill=fill, stroke=line, stroke_dasharray=dash
        )

    owners = sorted(
        {span.owner for span in spans if span.owner}, key=lambda owner: (owner != "host", len(owner), owner)
    )
    found = [(owner, hatched_box(1, 1, 22, 12, owner, palette)) for owner in owners]
    states = {
        "wait-for-SIPI": bar(12, paper, "4 3"),
        "real": bar(4, rule),
        "protected": bar(8, rule),
        "long": bar(12, rule),
        "halted": bar(12, paper) + path([(1, 7, 23, 7)], line),
        "shut down": bar(12, paper) + path([(1, 1, 23, 13), (1, 13, 23, 1)], line),
    }
    seen = {state_of(span) for span in spans}
    found += [(words, swatch) for words, swatch in states.items() if words in seen]
    if any(box.count > 1 and (box.right - box.left) / window.per_pixel >= TEETH for box in boxes):
        teeth = [(1.0 + at, 1.0, 1.0 + at, 5.0) for at in range(3, 22, 4)]
        found.append(("short stretches as one box", bar(12, paper) + path(teeth, line)))
    marks = [one.is_init for lane in lanes for one in lane.arrivals]
    if True in marks:
        hollow = element("path", d="M8 5h8l-4 7z", fill=paper, stroke=ink) + path([(7, 2, 17, 2)], ink, 1.5)
        found.append(("INIT", hollow))
    if False in marks:
        found.append(("SIPI and its vector", element("path", d="M7 3h10l-5 9z", fill=ink)))
    if any(plans(lane.past) for lane in lanes):
        found.append(("planned owner", path([(1, 7, 23, 7)], ink, 3)))
    if any(lane.broken_plans() for lane in lanes):
        frame = element(
            "rect", x=2, y=2, width=20, height=10, fill="none", stroke=palette.role("alert"), stroke_width=2.5
        )
        found.append(("\u00d7 plan is not kept", frame))
    if any(lane.later for lane in lanes):
        dots = element("rect", x=1, y=1, width=22, height=12, fill="none", stroke=line, stroke_dasharray="1.5 2.5")
        found.append(("recorded, later", dots))
    if any(len(lane.cpus) > 1 for lane in lanes):
        found.append(("a shared lane shows the times of its first CPU", ""))
    return found


def draw_key(lanes: Sequence[Lane], window: Window, palette: Palette, width: int) -> tuple[str, int]:
    """The key in as many rows as ``width`` pixels need, and its height."""
    content, x, y = "", 0.0, 14
    for words, swatch in entries(lanes, window, palette):
        start = 30 if swatch else 0
        room = start + width_of(words)
        if x and x + room > width:
            x, y = 0.0, y + 22
        content += element("g", swatch, transform=f"translate({x:.1f} {y - 11})") if swatch else ""
        content += text(x + start, y, words, palette.role("muted"))
        x += room + _GAP
    return content, y + 10
