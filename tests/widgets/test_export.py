"""A run as one HTML file: what it holds is what the pictures draw, at every moment it stops at."""

import base64
import json
import re
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from mklab.recording import Film
from mklab.trace import ConsoleByte, Event, Fault, Halted, Slice
from mklab.widgets.export import MOST_STOPS, html, stops
from mklab.widgets.palette import Palette
from mklab.widgets.panel import Panel
from mklab.widgets.parts import Part
from mklab.widgets.picture import Drawing, drawn, markup
from mklab.widgets.svg import text
from mklab.widgets.view import View


class Ages:
    """A picture for tests: a line for each event up to the moment."""

    name: ClassVar[str] = "ages"
    question: ClassVar[str] = "How old is each event?"

    def answer(self, view: View) -> str:
        return f"{view.event + 1} events."

    def draw(self, view: View, palette: Palette, width: int) -> Drawing:
        lines = (
            text(0, 16 * (number + 1), f"event {number}, width {width}", palette.role("ink"))
            for number in range(view.event + 1)
        )
        return Drawing("".join(lines), 16 * (view.event + 1))

    def body(self, view: View, width: int) -> str:
        return drawn(self, view, width)

    def tell(self, view: View) -> str:
        return "\n".join(f"event {number}: {view.event - number} later" for number in range(view.event + 1))


def at(place: str) -> Part:
    return Part("Ages", Ages(), lambda driver: Panel(Ages(), driver), place)


@pytest.fixture
def film(events: list[Event]) -> Film:
    """The story without looks at the machine."""
    told = Film([0, 1, 2, 3])
    told.extend(events)
    return told


def unpacked(page: str) -> Any:
    """The data on a page."""
    found = re.search(r'id="data">([^<]*)<', page)
    assert found
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def rebuilt(frames: list[list[Any]], moment: int) -> list[int]:
    """What ``export.js`` does, from the first moment on."""
    pieces: list[int] = []
    for at in range(moment + 1):
        start, end, between = frames[at]
        pieces = pieces[:start] + between + pieces[len(pieces) - end :]
    return pieces


def test_every_moment_is_what_the_picture_draws(film: Film) -> None:
    page = html(film, "A story", [at("top"), at("left"), at("right")])
    data = unpacked(page)
    views = stops(film)
    assert [stop[:2] for stop in data["stops"]] == [[view.event, view.time] for view in views]
    alone, beside, _ = data["reels"]
    assert [len(alone["frames"]), len(beside["frames"])] == [2, 1]
    for reel, widths in ((alone, (1224, 600)), (beside, (600,))):
        for frames, width in zip(reel["frames"], widths, strict=True):
            for moment, view in enumerate(views):
                shown = "".join(reel["pieces"][piece] for piece in rebuilt(frames, moment))
                assert shown == markup(Ages(), view, width), (moment, width)


def test_keyframes_stand_alone(film: Film) -> None:
    (frames,) = unpacked(html(film, "A story", [at("left")]))["reels"][0]["frames"]
    whole = [number for number, (start, end, _) in enumerate(frames) if start == end == 0]
    assert whole == list(range(0, len(frames), 32))


def test_the_end_is_there_without_javascript(film: Film) -> None:
    page = html(film, "A story", [at("left")])
    beginning = page.split("<script")[0]
    assert markup(Ages(), stops(film)[-1], 600) in beginning


def test_a_page_names_no_other_place(film: Film) -> None:
    page = html(film, "A <story> & more", [at("top")])
    assert "A &lt;story&gt; &amp; more" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|@import|url\(|https?://(?!www\.w3\.org)", page)


def made(kinds: list[Callable[[int], Event]]) -> Film:
    film = Film([0])
    film.extend(kind(number) for number, kind in enumerate(kinds))
    return film


def slice_(number: int) -> Event:
    return Slice(number, number, 0, budget=1, executed=1, stop="budget", registers="")


def byte(number: int) -> Event:
    return ConsoleByte(number, number, 0, kernel=None, byte=65)


def halted(number: int) -> Event:
    return Halted(number, number, 0, interruptible=True)


def fault(number: int) -> Event:
    return Fault(number, number, 0, vector=13, error=0, rip=0, cr2=0)


def test_a_page_stops_where_there_is_something_new() -> None:
    film = made([halted, slice_, byte, halted, slice_, byte])
    assert [view.event for view in stops(film)] == [0, 3, 5]


def test_a_long_run_is_thinned_out_but_its_troubles_stay() -> None:
    film = made([fault if number % 1000 == 777 else halted for number in range(5000)])
    chosen = [view.event for view in stops(film)]
    assert len(chosen) == MOST_STOPS
    assert {777, 1777, 2777, 3777, 4777} < set(chosen)
    assert chosen[0] == 0
    assert chosen[-1] == 4999
    assert max(later - before for before, later in pairwise(chosen)) < 30


def test_more_troubles_than_stops() -> None:
    film = made([fault] * 1000)
    chosen = [view.event for view in stops(film)]
    assert len(chosen) <= MOST_STOPS
    assert chosen[0] == 0
    assert chosen[-1] == 999


def test_nothing_recorded() -> None:
    with pytest.raises(ValueError, match="run the machine first"):
        html(Film([0]), "Nothing")
