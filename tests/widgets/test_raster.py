"""PNG: its size, its colours, and that words are in it."""

import struct
import zlib

import pytest

from mklab.errors import MklabError
from mklab.widgets import raster
from mklab.widgets.palette import DARK, LIGHT
from mklab.widgets.raster import png
from mklab.widgets.svg import CODE, document, element, text


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height, from a PNG's header."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def first_pixel(data: bytes) -> bytes:
    """The colour in the upper left corner: the first row's filter leaves its first pixel as it is."""
    at, body = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            body += data[at + 8 : at + 8 + length]
        at += 12 + length
    return zlib.decompress(body)[1:4]


def test_size_and_paper() -> None:
    for palette, color in ((LIGHT, b"\xff\xff\xff"), (DARK, b"\x11\x11\x11")):
        data = png(document("A", "B", 30, 20, palette, ""), scale=3)
        assert size_of(data) == (90, 60)
        assert first_pixel(data) == color


def test_words_are_drawn_in_both_fonts() -> None:
    blank = png(document("A", "B", 60, 20, LIGHT, ""))
    sans = png(document("A", "B", 60, 20, LIGHT, text(2, 16, "iiMM", "#000000")))
    mono = png(document("A", "B", 60, 20, LIGHT, text(2, 16, "iiMM", "#000000", font_family=CODE)))
    assert len({blank, sans, mono}) == 3


def test_a_computer_without_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "_first", lambda _families: None)
    with pytest.raises(MklabError, match="write an SVG instead"):
        png(document("A", "B", 30, 20, LIGHT, ""))


@pytest.mark.parametrize("scale", [0, 9])
def test_scale_out_of_range(scale: int) -> None:
    with pytest.raises(ValueError, match="scale must be"):
        png(document("A", "B", 30, 20, LIGHT, ""), scale)


def test_not_an_svg() -> None:
    with pytest.raises(ValueError, match="SVG"):
        png(element("p", "words"))
