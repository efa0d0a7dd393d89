"""Cards in a grid, and arrows that cross none of them."""

from itertools import pairwise

import pytest

from mklab.widgets.routes import Arrow, Grid, grid


def crosses(found: Grid, heights: list[int], points: list[tuple[int, int]]) -> bool:
    """Whether a line through ``points`` runs inside a card."""
    for (x, y), height in zip(found.places, heights, strict=True):
        for (x1, y1), (x2, y2) in pairwise(points):
            left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            if left < x + found.width and right > x and top < y + height and bottom > y:
                return True
    return False


@pytest.mark.parametrize("width", [480, 600, 900, 1240])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_arrows_run_between_the_cards(width: int, count: int) -> None:
    heights = [120] * count
    pairs = [(a, b) for a in range(count) for b in (0, count // 2, count - 1)]
    arrows = [Arrow(a, b, 90, 90, True) for a, b in pairs[:14]] + [Arrow(a, b, 110, 110, False) for a, b in pairs[:4]]
    found = grid(heights, arrows, width)
    assert len(found.arrows) == len(arrows)
    for arrow, points in found.arrows:
        assert not crosses(found, heights, points)
        assert all(0 <= x <= width and 0 <= y <= found.height for x, y in points)
        x, y = found.places[arrow.source]
        assert points[0] == (x + found.width if arrow.forward else x, y + arrow.leaves)
        to_x, to_y = found.places[arrow.target]
        assert points[-1][0] == (to_x if arrow.forward else to_x + found.width)
        assert abs(points[-1][1] - to_y - arrow.arrives) <= 5


def test_no_two_run_on_one_line() -> None:
    arrows = [Arrow(0, 3, 90, 90, True), Arrow(1, 3, 90, 90, True), Arrow(2, 3, 90, 90, True)]
    found = grid([120] * 4, arrows, 600)
    levels = [points[2][1] for _, points in found.arrows if len(points) > 2]
    assert len(set(levels)) == len(levels)


def test_neighbours_are_joined_straight() -> None:
    found = grid([120] * 2, [Arrow(0, 1, 90, 90, True), Arrow(1, 0, 110, 110, False)], 600)
    assert all(len(points) == 2 and points[0][1] == points[1][1] for _, points in found.arrows)
