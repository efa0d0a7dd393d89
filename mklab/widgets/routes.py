"""Cards in a grid, and arrows between them that never cross a card: they run in the gaps between columns and rows."""

from collections import Counter
from dataclasses import dataclass

from mklab.widgets.palette import Palette
from mklab.widgets.svg import element

__all__ = ["Arrow", "Grid", "grid"]

_GAP = 26
_TRACK = 7
_LEAST, _MOST = 150, 232
"""Width of a card in pixels."""


@dataclass(frozen=True)
class Arrow:
    """An arrow from a line of one card to a line of another, by their numbers.

    Attributes:
        source, target: the cards.
        leaves, arrives: pixels below the top of each.
        forward: whether it leaves at the right and arrives at the left, or the other way round.
        wrong: whether it leads where it should not.
    """

    source: int
    target: int
    leaves: int
    arrives: int
    forward: bool
    wrong: bool = False


@dataclass(frozen=True)
class Grid:
    """Where the cards are.

    Attributes:
        columns, width: how many in a row, and how wide each is.
        places: x and y of each card.
        arrows: the arrows, as points to go through.
        height: of all.
    """

    columns: int
    width: int
    places: list[tuple[int, int]]
    arrows: list[tuple[Arrow, list[tuple[int, int]]]]
    height: int

    def draw(self, palette: Palette) -> str:
        """The arrows: solid with a filled head forward, dashed with an open one backward."""
        return "".join(_draw(arrow, points, palette) for arrow, points in self.arrows)


def grid(heights: list[int], arrows: list[Arrow], width: int) -> Grid:
    """Cards of these ``heights`` in ``width`` pixels, row by row, with room for ``arrows`` between them."""
    columns = max(1, min(len(heights), (width - _GAP) // (_LEAST + _GAP)))
    while True:
        found = _grid(heights, arrows, width, columns)
        if found.width >= _LEAST or columns == 1:
            return found
        columns -= 1


def _grid(heights: list[int], arrows: list[Arrow], width: int, columns: int) -> Grid:
    at = [divmod(number, columns) for number in range(len(heights))]
    direct: list[Arrow] = []
    routed: list[Arrow] = []
    for one in arrows:
        (row, column), (to_row, to_column) = at[one.source], at[one.target]
        beside = row == to_row and to_column == column + (1 if one.forward else -1)
        (direct if beside else routed).append(one)
    # Two gaps between columns and one between rows for each; a track of its own in each of them.
    columns_used: Counter[int] = Counter()
    rows_used: Counter[int] = Counter()
    tracks = []
    for one in routed:
        (_, column), (to_row, to_column) = at[one.source], at[one.target]
        out, into = (column + 1, to_column) if one.forward else (column, to_column + 1)
        channel = to_row if one.forward else to_row + 1
        tracks.append((out, columns_used[out], into, columns_used[into], channel, rows_used[channel]))
        columns_used[out] += 1
        columns_used[into] += 1
        rows_used[channel] += 1
    gaps = [_room(columns_used[number]) for number in range(columns + 1)]
    card = min(_MOST, (width - sum(gaps)) // columns)
    lefts = [sum(gaps[: number + 1]) + number * card for number in range(columns)]
    gap_left = [0, *(left + card for left in lefts)]
    rows = at[-1][0] + 1
    row_heights = [max(heights[row * columns : (row + 1) * columns]) for row in range(rows)]
    channels = [
        12 + _TRACK * rows_used[number] if rows_used[number] else (0 if number in (0, rows) else 12)
        for number in range(rows + 1)
    ]
    tops = [sum(channels[: row + 1]) + sum(row_heights[:row]) for row in range(rows)]
    channel_top = [0, *(top + height for top, height in zip(tops, row_heights, strict=True))]
    places = [(lefts[column], tops[row]) for row, column in at]
    drawn: list[tuple[Arrow, list[tuple[int, int]]]] = []
    for one in direct:
        (x, y), (to_x, to_y) = places[one.source], places[one.target]
        start, end = (x + card, to_x) if one.forward else (x, to_x + card)
        level = y + one.leaves
        drawn.append((one, [(start, level), (end, level if one.leaves == one.arrives else to_y + one.arrives)]))
    for one, (out, out_track, into, into_track, channel, track) in zip(routed, tracks, strict=True):
        (x, y), (to_x, to_y) = places[one.source], places[one.target]
        start, end = (x + card, to_x) if one.forward else (x, to_x + card)
        first = gap_left[out] + 9 + _TRACK * out_track
        last = gap_left[into] + 9 + _TRACK * into_track
        level = channel_top[channel] + 8 + _TRACK * track
        leave, arrive = y + one.leaves, to_y + one.arrives - 5
        points = [(start, leave), (first, leave), (first, level), (last, level), (last, arrive), (end, arrive)]
        drawn.append((one, points))
    return Grid(columns, card, places, drawn, channel_top[-1] + channels[-1])


def _room(tracks: int) -> int:
    """Width of a gap: room for its tracks, and for a head at its end."""
    return max(_GAP, 9 + _TRACK * tracks + 10)


def _draw(arrow: Arrow, points: list[tuple[int, int]], palette: Palette) -> str:
    color = palette.role("alert" if arrow.wrong else "ink")
    (before, _), (x, y) = points[-2:]
    sign = 1 if x >= before else -1
    tip = x - sign * 8
    line = "M" + "L".join(f"{a} {b}" for a, b in [*points[:-1], (tip, y)])
    stroke = {"stroke": color, "stroke_width": 2.5 if arrow.wrong else 1.6, "fill": "none"}
    dash = None if arrow.forward else "4 3"
    head = f"M{x} {y}L{tip} {y - 5}L{tip} {y + 5}Z"
    filled = color if arrow.forward else palette.role("paper")
    return element("path", d=line, stroke_dasharray=dash, **stroke) + element(
        "path", d=head, fill=filled, stroke=color, stroke_width=1.4
    )
