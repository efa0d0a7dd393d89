"""A picture as PNG, for slides and papers that take no SVG."""

from functools import cache

import resvg_py

from mklab.errors import MklabError, require
from mklab.widgets.palette import LIGHT
from mklab.widgets.svg import document, text

__all__ = ["png"]

_SANS = ("Noto Sans", "DejaVu Sans", "Liberation Sans", "Helvetica", "Arial")
_MONO = ("DejaVu Sans Mono", "Noto Sans Mono", "Liberation Mono", "Menlo", "Consolas", "Courier New")
"""What resvg is told to take for ``sans-serif`` and ``monospace``: by itself it knows Arial and Courier New only."""


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
    sans = _first(_SANS)
    if sans is None:
        raise MklabError("no font was found on this computer, so a PNG would lack its words; write an SVG instead")
    mono = _first(_MONO) or sans
    return bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=scale, sans_serif_family=sans, monospace_family=mono))


@cache
def _first(families: tuple[str, ...]) -> str | None:
    """The first of these families that is on this computer: in it a letter leaves a trace."""
    for family in families:
        texts = (text(2, 16, words, "#000000", font_family=family) for words in (" ", "H"))
        blank, letter = (resvg_py.svg_to_bytes(svg_string=document("", "", 20, 20, LIGHT, one)) for one in texts)
        if bytes(blank) != bytes(letter):
            return family
    return None
