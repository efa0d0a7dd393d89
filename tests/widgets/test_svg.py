"""Pieces of SVG."""

import xml.etree.ElementTree as ET

import pytest

from mklab.widgets import svg
from mklab.widgets.palette import LIGHT


def test_what_is_written_is_escaped() -> None:
    assert ET.fromstring(svg.text(1, 2, "<&>", "#000000")).text == "<&>"
    assert ET.fromstring(svg.element("g", id='"<')).get("id") == '"<'


def test_an_attribute_without_a_value_is_left_out() -> None:
    assert svg.element("rect", stroke_width=1.25, rx=None) == '<rect stroke-width="1.25"/>'


@pytest.mark.parametrize("kind", ["rising", "falling", "level", "upright", "grid", "dots"])
@pytest.mark.parametrize("width", [4, 30, 300])
def test_a_hatch_stays_in_its_rectangle(kind: str, width: int) -> None:
    lines = svg.hatch(kind, 10, 20, width, 22)
    assert lines or width == 4
    for x1, y1, x2, y2 in lines:
        # A dot is 1.6 pixels long and may reach over the edge by that much.
        assert 10 <= min(x1, x2) <= max(x1, x2) <= 10 + width + 1.6
        assert 20 <= min(y1, y2) <= max(y1, y2) <= 42


def test_diagonals_rise_and_fall() -> None:
    assert all(y1 >= y2 for _, y1, _, y2 in svg.hatch("rising", 0, 0, 50, 20))
    assert all(y1 <= y2 for _, y1, _, y2 in svg.hatch("falling", 0, 0, 50, 20))


@pytest.mark.parametrize("kind", ["plain", "hollow"])
def test_no_hatch(kind: str) -> None:
    assert svg.hatch(kind, 0, 0, 50, 20) == []


def test_words_wrap() -> None:
    lines = svg.wrap("one two three, and a word thatislongerthanaline", 100)
    assert " ".join(lines) == "one two three, and a word thatislongerthanaline"
    assert lines[0] == "one two three,"
    assert lines[-1] == "thatislongerthanaline"


def test_a_document_says_what_it_shows() -> None:
    root = ET.fromstring(svg.document("Who?", "Nobody.", 30, 20, LIGHT, ""))
    assert root.get("role") == "img"
    assert [child.text for child in root][:2] == ["Who?", "Nobody."]
