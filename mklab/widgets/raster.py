"""A picture as PNG, for slides and papers that take no SVG."""

from functools import cache

import resvg_py

from mklab.errors import MklabError, require
from mklab.widgets.palette import LIGHT
from mklab.widgets.svg import document, text

__all__ = ["png"]


def png(picture: str, scale: int = 2) -> bytes:
    """``picture``, a whole SVG file of ours, as a PNG file.

    Args:
        picture: as :func:`mklab.widgets.picture.svg` makes it.
        scale: pixels of the PNG for each of the picture's, 1 to 8.

    Raises:
        MklabError: this computer has no font, so the picture would have no words.
        ValueError: ``scale`` is out of range, or it is no SVG.
    """
    require("scale", scale, 1, 8)
    if not _has_font():
        raise MklabError("no font was found on this computer, so a PNG would lack its words; write an SVG instead")
    return bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=scale))


@cache
def _has_font() -> bool:
    """Whether a letter leaves a trace."""
    blank, letter = (
        resvg_py.svg_to_bytes(svg_string=document("", "", 20, 20, LIGHT, text(2, 16, words, "#000000")))
        for words in (" ", "H")
    )
    return bytes(blank) != bytes(letter)
