"""The consoles: lines with their times, what is searched for, and no more work than a page can hold."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mklab.recording import Film
from mklab.trace import ConsoleByte, Event, Planned, Printk
from mklab.widgets import console_lines, consoles
from mklab.widgets.console_lines import Lines, kernels
from mklab.widgets.palette import LIGHT
from mklab.widgets.picture import svg, twin
from mklab.widgets.svg import width_of
from mklab.widgets.view import View

PICTURE = consoles.PICTURE

TWIN = """\
What does each kernel say? At t=18,000, event 64 of 64.
host: 3 lines; kernel 1: 1 line; kernel 2: 0 lines.

host      t=1,200       host up
host      t=2,000       kexec_core: multikernel kexec: cpu 2
kernel 1  t=9,100       kernel 1 up
host      t=18,000      host: still here"""


def page(view: View, width: int = 600) -> ET.Element:
    return ET.fromstring(f"<div>{PICTURE.body(view, width)}</div>")


def shown(view: View, width: int = 600) -> list[str]:
    """The lines on the page."""
    return ["".join(line.itertext()) for line in page(view, width).iter("div") if line.get("data-event")]


def printed(*lines: str, kernel: str = "host") -> list[tuple[Any, ...]]:
    return [(Printk, number, 0, {"kernel": kernel, "text": line}) for number, line in enumerate(lines)]


def test_the_twin_has_all_kernels_in_the_order_of_time(told_film: Film) -> None:
    assert twin(PICTURE, View.at_end(told_film)) == TWIN


def test_a_line_has_the_time_of_its_first_character_and_grows(told_film: Film) -> None:
    assert shown(View.at_event(told_film, 6)) == ["1,200hos"]
    assert shown(View.at_event(told_film, 11)) == ["1,200host up"]
    assert shown(View.at_end(told_film)) == [
        "1,200host up",
        "2,000kexec_core: multikernel kexec: cpu 2",
        "18,000host: still here",
        "9,100kernel 1 up",
    ]


def test_every_moment_says_what_the_recording_says(told_film: Film) -> None:
    """Against Recording.lines, which splits the whole text of a recording that ends there."""
    for event in range(-1, told_film.count):
        past, view = told_film.recording.upto(event), View.at_event(told_film, event)
        for kernel in kernels(view):
            lines = Lines.of(told_film, kernel)
            found = [(line.time, line.text) for line in lines.lines(0, lines.count(event), event)]
            assert found == list(past.lines(kernel)), (event, kernel)


def test_a_film_that_grows_or_is_cut_is_followed(told_film: Film, events: list[Event]) -> None:
    film = Film([0, 1, 2, 3])
    for event in events:
        film.extend([event])
        consoles.PICTURE.tell(View.at_end(film))
    assert twin(PICTURE, View.at_end(film)) == TWIN
    film.cut(6)
    assert shown(View.at_end(film)) == ["1,200hos"]
    film.extend(events[7:])
    assert twin(PICTURE, View.at_end(film)) == TWIN


def test_kernels_that_have_not_spoken_have_their_terminal(written: Callable[..., Film]) -> None:
    film = written((Planned, 0, 1, {"owner": "kernel 2"}), (ConsoleByte, 1, 3, {"kernel": None, "byte": 33}))
    view = View.at_end(film)
    assert kernels(view) == ["host", "kernel 2", "nobody"]
    assert "(nothing yet: no CPU has entered it)" in PICTURE.body(view, 600)
    assert "(nothing yet: no CPU has entered it)" in svg(PICTURE, view)
    assert kernels(View.at_event(film, -1)) == ["host"]
    ET.fromstring(svg(PICTURE, View.at_event(film, -1)))


def test_what_is_searched_for_is_marked_and_counted(written: Callable[..., Film]) -> None:
    film = written(*printed("CPU 1 up", "nothing", "<b> cpu 2, CPU 3"))
    view = replace(View.at_end(film), search="cpu")
    marks = [mark.text for mark in page(view).iter("mark")]
    assert marks == ["CPU", "cpu", "CPU"]
    assert [mark.text for mark in page(replace(view, search="<B>")).iter("mark")] == ["<b>"]
    assert "found 3 times" in "".join(page(view).itertext())
    assert PICTURE.answer(view) == 'Looking for "cpu". host: 3 lines, found 3 times.'
    assert PICTURE.tell(view).splitlines()[2].endswith("<b> cpu 2, CPU 3  FOUND")
    assert PICTURE.answer(replace(view, search="(x")) == 'Looking for "(x". host: 3 lines, not found.'
    # Underlined in a drawing, where colours alone would not do.
    assert svg(PICTURE, view).count(f'stroke="{LIGHT.role("focus")}"') == 3


def test_the_field_keeps_what_was_typed(told_film: Film) -> None:
    field = next(page(replace(View.at_end(told_film), search='a"<b')).iter("input"))
    assert (field.get("data-act"), field.get("value"), field.get("data-key")) == ("search", 'a"<b', "consoles-search")


def test_a_long_console_is_on_the_page_in_part_and_searched_whole(written: Callable[..., Film]) -> None:
    lines = [f"line {number}{' needle' if number % 100 == 7 else ''}" for number in range(1500)]
    view = View.at_end(written(*printed(*lines)))
    assert len(shown(view)) == 400
    assert shown(view)[-1] == "1,499line 1499"
    assert "1,100 earlier lines" in PICTURE.body(view, 600)
    found = replace(view, search="needle")
    assert "found 15 times" in PICTURE.body(found, 600)
    # The eleven that are too old for the page are on it because of what is in them.
    assert len(shown(found)) == 411
    assert "1,100 earlier lines, 11 of 11 with hits shown" in PICTURE.body(found, 600)
    assert len(PICTURE.tell(view).splitlines()) == 201
    assert PICTURE.tell(view).startswith("1,300 earlier lines are left out here.")


def test_hits_are_those_of_every_moment_though_the_console_grows(written: Callable[..., Film]) -> None:
    """Against Python's own search in the text as it was; what is only begun is no hit."""
    said = "\u0130stanbul ana\nananas BANANA ana\nana"
    film = written(*[(Printk, 0, 0, {"kernel": "host", "text": said[:12]})])
    for number, letter in enumerate(said[13:], 1):
        film.extend([ConsoleByte(number, number, 0, kernel="host", byte=ord(letter))])
        for search in ("ana", "\u0130S", "n") if number % 3 else ("ana",):
            for event in range(0, number + 1, 5):
                text = said[: 13 + event]
                found = [one.start() for one in re.finditer(search, text, re.IGNORECASE)]
                assert Lines.of(film, "host").hits(search, event) == [text.count("\n", 0, at) for at in found]
    assert Lines.of(film, "host").hits("ana", film.count - 1) == [0, 1, 1, 1, 2]


def test_what_was_found_is_not_looked_for_again(written: Callable[..., Film], monkeypatch: pytest.MonkeyPatch) -> None:
    film = written(*printed(*["needle"] * 50))
    read: list[int] = []
    plain = console_lines._found

    def counted(search: str, small: str, first: int = 0) -> Iterator[tuple[int, int]]:
        read.append(len(small) - first)
        return plain(search, small, first)

    monkeypatch.setattr(console_lines, "_found", counted)
    for event in (49, 20, 48):
        Lines.of(film, "host").hits("needle", event)
    film.extend([Printk(50, 50, 0, kernel="host", text="needle")])
    Lines.of(film, "host").hits("needle", 50)
    assert read[0] == 50 * len("needle\n")
    assert max(read[1:]) <= 2 * len("needle\n")


def test_lines_lie_on_sheets_of_which_the_growing_one_stays(written: Callable[..., Film]) -> None:
    view = View.at_end(written(*printed(*(f"line {number}" for number in range(45)))))
    sheets = [one for one in page(view).iter("div") if one.get("class") == "mk-sheet"]
    assert [len(sheet) for sheet in sheets] == [20, 20, 5]
    assert ["data-whole" in sheet.attrib for sheet in sheets] == [True, True, False]
    assert [sheet.get("style") for sheet in sheets] == [
        f"contain-intrinsic-height: auto {17 * lines}px" for lines in (20, 20, 5)
    ]


def test_lines_can_be_selected(told_film: Film) -> None:
    body = PICTURE.body(replace(View.at_end(told_film), selected=4), 600)
    assert re.findall(r'data-event="(\d+)" class="mk-selected"', body) == ["4"]


def test_control_characters_do_no_harm(written: Callable[..., Film]) -> None:
    film = written(*printed("\x1b[31mred\x00 & <i>\tend"))
    view = View.at_end(film)
    ET.fromstring(svg(PICTURE, view))
    assert shown(view) == ["0\ufffd[31mred\ufffd & <i> end"]
    assert twin(PICTURE, view).isascii()


@pytest.mark.parametrize("width", [480, 600, 1240])
def test_drawings_stay_in_their_width(written: Callable[..., Film], width: int) -> None:
    film = written(
        *printed("x" * 300, "some words that are long enough for a second line, at least where it is narrow")
    )
    drawing = PICTURE.draw(View.at_end(film), LIGHT, width)
    root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{drawing.content}</svg>')
    texts = [text for text in root if text.tag.endswith("text")]
    assert sum((text.text or "").count("x") for text in texts) == 300
    for text in texts:
        if text.get("text-anchor") != "end":
            assert float(text.get("x", "0")) + width_of(text.text or "") <= width
            assert float(text.get("y", "0")) < drawing.height


def test_columns_are_as_many_as_have_room(told_film: Film) -> None:
    view = View.at_end(told_film)
    for width, columns in ((480, 1), (600, 2), (1240, 3)):
        assert f"repeat({columns}, " in PICTURE.body(view, width)
