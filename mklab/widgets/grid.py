"""Many CPUs at a glance: one cell for each, sixteen a row."""

import functools

from mklab.widgets.lanes import state_of
from mklab.widgets.palette import Palette, code_of, look_of
from mklab.widgets.svg import CODE, element, hatch, path, text
from mklab.widgets.view import View

__all__ = ["draw_grid"]

_ROW = 16
_LEFT = 40
_HEAD = 20
_HEIGHTS = {"real": 1 / 3, "protected": 2 / 3}
_MANY = 64
"""CPUs above which rows are lower."""


def draw_grid(view: View, palette: Palette, width: int) -> tuple[str, int]:
    """The cells, ``width`` pixels wide, and their height.

    In each the owner's code; its hue and hatch are the owner's, its form the state's. A plan that is broken and the
    selected CPU are framed.
    """
    cpus = len(view.film.recording.apic_ids)
    row = 20 if cpus > _MANY else 28
    pitch = min((width - _LEFT) / _ROW, 56)
    muted = palette.role("muted")
    content = "".join(
        text(_LEFT + (at + 0.5) * pitch, 12, f"+{at}", muted, size=11, font_family=CODE, text_anchor="middle")
        for at in range(_ROW)
    )
    frames = ""
    for cpu in range(cpus):
        x, y = _LEFT + cpu % _ROW * pitch, _HEAD + cpu // _ROW * row
        if not cpu % _ROW:
            middle = y + row / 2 + 3
            content += text(_LEFT - 10, middle, str(cpu), muted, size=11, font_family=CODE, text_anchor="end")
        cell, framed = _draw_cell(view, cpu, x + 2, y + 1, pitch - 4, row - 5, palette)
        content += cell
        frames += framed
    return element("g", content + frames, data_arrows=_ROW), _HEAD + -(-cpus // _ROW) * row + 4


def _draw_cell(
    view: View, cpu: int, x: float, y: float, width: float, height: float, palette: Palette
) -> tuple[str, str]:
    """The cell of ``cpu``, and a frame around it, drawn after its neighbours; empty where it needs none."""
    now = view.film.recording.span_at(cpu, view.event)
    broken = f", planned for {now.planned}" if now.against_plan else ""
    cell = element(
        "g",
        _draw_look(now.owner, state_of(now), width, height, palette),
        transform=f"translate({x:.1f} {y:.1f})",
        data_cpu=cpu,
        data_key=f"ownership-cell-{cpu}",
        tabindex=0 if cpu == view.shown_cpu else -1,
        role="button",
        aria_label=f"CPU {cpu}: {now.owner or 'nobody'}, {state_of(now)}{broken}",
    )
    color = palette.role("alert") if now.against_plan else palette.role("focus") if cpu == view.cpu else None
    frame = {"x": x - 2.5, "y": y - 2.5, "width": width + 5, "height": height + 5}
    return cell, element("rect", **frame, fill="none", stroke=color, stroke_width=2.5) if color else ""


@functools.lru_cache(maxsize=256)
def _draw_look(owner: str | None, state: str, width: float, height: float, palette: Palette) -> str:
    """A cell at (0, 0). Most cells are like others."""
    line, look = palette.line(owner), look_of(owner)
    runs = state in ("real", "protected", "long")
    full = height * _HEIGHTS.get(state, 1)
    top, middle = height - full, height / 2
    ground = palette.role("paper")
    if runs:
        ground = palette.fill(owner) if owner else palette.role("rule")
    # Where nothing is drawn there is nothing to click.
    content = element("rect", width=width, height=height, fill="transparent") if full < height else ""
    dash = "3 2" if state == "wait-for-SIPI" else None
    content += element(
        "rect", y=top, width=width, height=full, fill=ground, stroke=line, stroke_width=1.2, stroke_dasharray=dash
    )
    if state == "halted":
        content += path([(0, middle, width, middle)], line)
    elif state == "shut down":
        content += path([(0, 0, width, height), (0, height, width, 0)], line)
    elif runs:
        content += path(hatch(look.hatch, 0, top, width, full, 6), line, 1)
    code = code_of(owner)
    plate = 7 * len(code) + 4
    # A low box has its code above it, on paper.
    plain = palette.role("paper") if full < height else ground
    content += element("rect", x=(width - plate) / 2, y=middle - 6.5, width=plate, height=13, fill=plain)
    words = {"font_family": CODE, "text_anchor": "middle"}
    return content + text(width / 2, middle + 4, code, palette.role("ink"), size=11, bold=False, **words)
