"""The drawing of a graph of outcomes: states from left to right, endings at the right, the chosen way thick."""

from collections import defaultdict
from html import escape

from mklab.widgets.blocks import CHANGED, cross, lines, tick
from mklab.widgets.outcomes import KINDS, End, Graph, runs
from mklab.widgets.palette import Palette
from mklab.widgets.picture import Drawing
from mklab.widgets.svg import Segment, element, path, text, wrap

__all__ = ["draw", "places"]

_LABELS = (190, 330)
"""The least and the most pixels for the endings' words."""
_ROW = 16
_SHAPE = 32
_FEW = 150
"""Up to so many states each is a dot that can be told from its neighbours."""
_DASHES = (None, "6 3", "1.5 3", "9 3 2 3")
"""How the steps of the first, second, ... CPU are drawn."""
_STEP = 15
_BOLD = 14
"""What wrap() must take for the size of bold letters of 12 pixels, which are wider: a chosen ending's are."""


def places(graph: Graph, width: float, height: float) -> list[tuple[float, float]]:
    """Where each state stands: a column for each number of steps; a row near those of the states it comes from."""
    before: dict[int, list[int]] = defaultdict(list)
    for state, behind in enumerate(graph.edges):
        for _, to in behind:
            before[to].append(state)
    levels: dict[int, list[int]] = defaultdict(list)
    for state, depth in enumerate(graph.depths):
        levels[depth].append(state)
    most = max(len(level) for level in levels.values())
    across = width / max(len(levels) - 1, 1)
    down = min(30.0, height / max(most - 1, 1))
    found = [(0.0, 0.0)] * len(graph.edges)
    for depth in sorted(levels):

        def wanted(state: int, depth: int = depth) -> float:
            rows = [found[one][1] for one in before[state] if graph.depths[one] < depth]
            return sum(rows) / len(rows) if rows else height / 2

        ordered = sorted(levels[depth], key=lambda state: (wanted(state), state))
        top = height / 2 - down * (len(ordered) - 1) / 2
        for row, state in enumerate(ordered):
            found[state] = (across * depth, top + down * row)
    return found


def draw(graph: Graph, chosen: End | None, palette: Palette, width: int) -> Drawing:
    """The graph, the endings, a key, and the steps of the chosen way."""
    labels = min(_LABELS[1], max(_LABELS[0], int(width * 0.42)))
    listed, targets, ends_height = _ends(graph, chosen, palette, width - labels, labels)
    depths = graph.depths
    most = max(depths.count(depth) for depth in set(depths))
    height = max(ends_height, min(7 * most, 420) if len(depths) > _FEW else 30 * most)
    shift = (height - ends_height) / 2
    # Room for the first dot at the left, and for the lines to the endings at the right.
    spots = [(x + 8, y + 8) for x, y in places(graph, width - labels - 56, height - 16)]
    content = _lines(graph, chosen, spots, targets, palette, width - labels, shift)
    content += _dots(graph, chosen, spots, palette)
    content += element("g", listed, transform=f"translate(0 {shift:g})")
    y = height + 16
    key, rows = _key(graph, palette, y, width)
    content, y = content + key, y + rows
    if chosen is not None:
        steps, more = _steps(chosen, palette, y + 8, width)
        content, y = content + steps, y + 8 + more
    return Drawing(content, round(y))


def _ends(
    graph: Graph, chosen: End | None, palette: Palette, left: float, width: float
) -> tuple[str, dict[int, float], float]:
    """The endings as a list; the height at which each state's stands; and how high the list is."""
    content, y, targets = "", 0.0, {}
    for kind in KINDS:
        ends = [end for end in graph.sorted_ends if end.kind == kind]
        if not ends:
            continue
        content += text(left + _SHAPE, y + 12, f"{kind}: {len(ends)}", palette.role("ink"), size=13, bold=True)
        y += 20
        for end in ends:
            words = wrap(end.words, width - _SHAPE - 6, _BOLD)
            height = _ROW * len(words) + 6
            targets[end.state] = y + height / 2
            color = palette.role("ink" if end is chosen else "muted")
            row = element("rect", x=left, y=y, width=width, height=height, fill="transparent")
            if end is chosen:
                row += element("rect", x=left, y=y, width=CHANGED, height=height, fill=palette.role("focus"))
            row += shape(kind, left + 14, y + height / 2, palette)
            for number, line in enumerate(words):
                row += text(left + _SHAPE, y + 14 + _ROW * number, line, color, bold=end is chosen)
            label = escape(f"{kind}: {end.words}; {len(end.steps)} steps")
            pressed = "true" if end is chosen else "false"
            said = {"tabindex": 0, "role": "button", "aria_label": label, "aria_pressed": pressed}
            content += element("g", row, data_look=end.state, **said)
            y += height
        y += 8
    return content, targets, y


def shape(kind: str, x: float, y: float, palette: Palette) -> str:
    """The shape of an ending: a circle with a tick, an empty dashed box with a cross, a box torn in two."""
    alert = palette.role("alert")
    if kind == "good":
        good = palette.role("good")
        disc = element("circle", cx=x, cy=y, r=8.5, fill=palette.role("paper"), stroke=good, stroke_width=1.8)
        return disc + element("g", tick(x * 1.6, y * 1.6, good), transform="scale(0.625)")
    if kind == "lost":
        line = {"fill": "none", "stroke": alert, "stroke_width": 1.4, "stroke_dasharray": "3 2"}
        box = element("rect", x=x - 8, y=y - 7, width=16, height=14, **line)
        return box + element("g", cross(x * 2, y * 2, alert), transform="scale(0.5)")
    # Two halves, one of them filled, with a gap between their jagged edges.
    left = f"M{x - 10:g} {y - 7:g}H{x - 2:g}l3 3.5l-4 3.5l4 3.5l-3 3.5H{x - 10:g}Z"
    right = f"M{x + 10:g} {y - 7:g}H{x + 2:g}l3 3.5l-4 3.5l4 3.5l-3 3.5H{x + 10:g}Z"
    halves = ((left, alert), (right, palette.role("paper")))
    return "".join(element("path", d=half, fill=fill, stroke=alert, stroke_width=1.4) for half, fill in halves)


def _lines(
    graph: Graph,
    chosen: End | None,
    spots: list[tuple[float, float]],
    targets: dict[int, float],
    palette: Palette,
    right: float,
    shift: float,
) -> str:
    """The steps, those of each CPU in one way; lines from final states to their endings; the chosen way."""
    by_cpu: dict[int, list[Segment]] = defaultdict(list)
    for state, behind in enumerate(graph.edges):
        for cpu, to in behind:
            by_cpu[cpu].append((*spots[state], *spots[to]))
    few = len(spots) <= _FEW
    content = ""
    for number, cpu in enumerate(graph.cpus):
        dash = _DASHES[number % len(_DASHES)]
        content += path(by_cpu[cpu], palette.role("axis"), 1.4 if few else 0.7, stroke_dasharray=dash)
    leads = [(*spots[state], right - 6, y + shift) for state, y in targets.items()]
    content += path(leads, palette.role("rule"), 1)
    if chosen is not None:
        way = [spots[state] for state in graph.way(chosen)]
        points = [*way, (right - 6, targets[chosen.state] + shift)]
        content += element(
            "path",
            d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points),
            fill="none",
            stroke=palette.role("focus"),
            stroke_width=3.5,
            stroke_linejoin="round",
        )
    return content


def _dots(graph: Graph, chosen: End | None, spots: list[tuple[float, float]], palette: Palette) -> str:
    size = 7 if len(spots) <= _FEW else 3
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in spots)
    content = element("path", d=dots, stroke=palette.role("ink"), stroke_width=size, stroke_linecap="round")
    x, y = spots[0]
    ring = {"fill": palette.role("paper"), "stroke": palette.role("ink"), "stroke_width": 2}
    content += element("circle", cx=x, cy=y, r=6, **ring)
    if chosen is not None:
        for state in graph.way(chosen)[1:]:
            x, y = spots[state]
            content += element("circle", cx=x, cy=y, r=size / 2 + 0.6, fill=palette.role("focus"))
    return content


def _key(graph: Graph, palette: Palette, y: float, width: int) -> tuple[str, int]:
    """Which line is whose step; and its height."""
    content, x, top = "", 0.0, y
    for number, cpu in enumerate(graph.cpus):
        if x + 150 > width and x:
            x, y = 0.0, y + 20
        dash = _DASHES[number % len(_DASHES)]
        content += path([(x, y, x + 34, y)], palette.role("axis"), 1.8, stroke_dasharray=dash)
        content += text(x + 42, y + 4, f"a step of CPU {cpu}", palette.role("muted"))
        x += 160
    words, count = lines(0, y + 24, "A dot is a state; the ring is the beginning.", width, palette.role("muted"))
    return content + words, round(y - top) + 24 + _STEP * count


def _steps(chosen: End, palette: Palette, y: float, width: int) -> tuple[str, int]:
    """The steps of the chosen way; and their height."""
    title = f"The way to \u201c{chosen.kind}: {chosen.words}\u201d, {len(chosen.steps)} steps"
    content, count = lines(0, y + 12, title, width, palette.role("ink"), size=13, bold=True)
    top = y
    y += 12 + 16 * count
    for run in runs(chosen):
        words, rows = lines(110, y + 12, run.words, width - 112, palette.role("ink"), step=_STEP)
        content += text(44, y + 12, run.numbers, palette.role("muted"), text_anchor="end")
        content += text(54, y + 12, f"CPU {run.cpu}", palette.role("ink"), bold=True) + words
        y += _STEP * rows + 5
    return content, round(y - top)
