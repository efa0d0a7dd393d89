"""How lanes look, in pixels: what is written beside INIT and SIPI, and where there is room for it."""

import pytest

from mklab.recording import Moment, Span
from mklab.widgets.boxes import Box, Window
from mklab.widgets.fates import Arrival
from mklab.widgets.forms import arrival_words, form_of
from mklab.widgets.palette import LIGHT

WINDOW = Window(0, 1_000, 1_000)


def told(*arrivals: tuple[int, str], moment: float = 2_000) -> list[tuple[float, str]]:
    """Where each is marked, and what is written beside it."""
    found = arrival_words([Arrival(number, *one) for number, one in enumerate(arrivals)], WINDOW, moment)
    return [(x, words) for _, x, words, _ in found]


def test_an_init_and_the_sipi_after_it_stand_side_by_side() -> None:
    assert told((500, "INIT"), (500, "SIPI 0x96")) == [(493.5, "INIT"), (506.5, "0x96")]
    assert told((500, "INIT"), (600, "SIPI 0x96")) == [(500, "INIT"), (600, "0x96")]


def test_at_the_edge_they_are_whole() -> None:
    assert told((0, "INIT"), (0, "SIPI 0x96")) == [(5, ""), (18, "0x96")]
    assert told((0, "SIPI 0x96")) == [(5, "0x96")]
    assert told((1_000, "SIPI 0x96")) == [(1_000, "")]


def test_words_keep_apart() -> None:
    assert told((500, "SIPI 0x96"), (530, "INIT"), (800, "INIT")) == [(500, ""), (530, ""), (800, "INIT")]


def test_nothing_is_written_over_the_marker_of_the_moment() -> None:
    assert told((500, "SIPI 0x96"), moment=510) == [(500, "")]
    assert told((500, "SIPI 0x96"), moment=580) == [(500, "0x96")]


@pytest.mark.parametrize(
    ("mode", "state", "height"),
    [("real", "running", 8), ("protected", "running", 16), ("long", "running", 24), ("real", "halted", 24)],
)
def test_state_is_height(mode: str, state: str, height: float) -> None:
    span = Span(0, Moment(0, 0), None, "host", mode, state)
    form = form_of(Box(0, 100, span, 0, 100), WINDOW, 10, 24, LIGHT)
    assert (form.x, form.width, form.y + form.height) == (0, 100, 34)
    assert form.height == pytest.approx(height)


def test_words_are_written_where_there_is_room_and_the_hatch_begins_behind_them() -> None:
    span = Span(0, Moment(0, 0), None, "kernel 1", "long", "running")
    wide = form_of(Box(0, 200, span, 0, 200), WINDOW, 0, 22, LIGHT)
    assert wide.words == "kernel 1"
    assert min(min(x1, x2) for x1, _, x2, _ in wide.strokes) > 60
    narrow = form_of(Box(0, 40, span, 0, 40), WINDOW, 0, 22, LIGHT)
    assert narrow.words == ""
    assert min(min(x1, x2) for x1, _, x2, _ in narrow.strokes) == 0


def test_a_comb_says_that_a_box_stands_for_many() -> None:
    span = Span(0, Moment(0, 0), None, "host", "long", "running")
    assert form_of(Box(0, 100, span, 0, 100, 1), WINDOW, 0, 22, LIGHT).strokes == []
    many = form_of(Box(0, 100, span, 0, 100, 50), WINDOW, 0, 22, LIGHT).strokes
    assert len(many) > 20
    assert all((y1, y2) == (0, 4) for _, y1, _, y2 in many)
