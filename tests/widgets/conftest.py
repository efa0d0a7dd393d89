"""A story by hand: CPU 2 becomes kernel 1's and gets messages; CPU 3 starts against its plan and shuts down.

And :func:`faults`, which looks at any picture as a reader would.
"""

import asyncio.events
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mklab.recording import Film, Recording
from mklab.trace import Event
from mklab.widgets.palette import DARK, LIGHT, LIVE, LOOKS, ROLES, Palette
from mklab.widgets.picture import Picture
from mklab.widgets.view import View

WIDTHS = (480, 600, 740, 900, 1240)


@pytest.fixture(autouse=True)
def _no_loop() -> Iterator[None]:
    """Playwright's synchronous API, if a browser was opened before in this process, leaves a loop that seems to run."""
    before = asyncio.events._get_running_loop()
    asyncio.events._set_running_loop(None)
    yield
    asyncio.events._set_running_loop(before)


@pytest.fixture(scope="session")
def events() -> list[Event]:
    """The story's events."""
    lines = (Path(__file__).parent / "story.jsonl").read_text().splitlines()
    return [Event.from_dict({**json.loads(line), "seq": seq}) for seq, line in enumerate(lines)]


@pytest.fixture
def story(events: list[Event]) -> Recording:
    """All of it, recorded."""
    recording = Recording([0, 1, 2, 3])
    recording.extend(events)
    return recording


@pytest.fixture
def told_film(events: list[Event]) -> Film:
    """The story as a film of events only: nobody looked at the machine."""
    film = Film([0, 1, 2, 3])
    film.extend(events)
    return film


@pytest.fixture
def written() -> Callable[..., Film]:
    """Makes a film of ``(kind, time, cpu, values)`` each, numbered in turn."""

    def write(*acts: tuple[type[Event], int, int | None, dict[str, Any]], cpus: int = 4) -> Film:
        film = Film(list(range(cpus)))
        film.extend([kind(seq, time, cpu, **values) for seq, (kind, time, cpu, values) in enumerate(acts)])
        return film

    return write


@pytest.fixture(scope="session")
def faults() -> Callable[[Picture, View], list[str]]:
    """What is wrong with a picture of a view, at any width and in any palette: a list of sentences.

    Text smaller than 11 px, beyond the drawing or over other text; a colour that no palette has; a twin that is not
    ASCII. How wide letters are is estimated on the narrow side; browsers measure it in tests/browser.
    """
    return lambda picture, view: list(_faults(picture, view))


def _faults(picture: Picture, view: View) -> Iterator[str]:
    for width in WIDTHS:
        drawing = picture.draw(view, LIVE, width)
        root = ET.fromstring(f"<svg>{drawing.content}</svg>")
        for palette in (LIGHT, DARK, LIVE):
            coloured = ET.fromstring(f"<svg>{picture.draw(view, palette, width).content}</svg>")
            allowed = _colours(palette) | {"none"}
            for node in coloured.iter():
                yield from (
                    f"{node.tag} has the colour {node.get(name)} in {palette.ground}"
                    for name in ("fill", "stroke")
                    if node.get(name) and node.get(name) not in allowed
                )
        boxes = list(_boxes(root))
        for words, size, (left, top, right, bottom) in boxes:
            if size < 11:
                yield f"{words!r} has {size} px"
            if left < -1 or top < -1 or right > width + 1 or bottom > drawing.height + 4:
                yield f"{words!r} leaves the drawing of {width} px: {left:.0f} to {right:.0f}, {bottom:.0f} high"
        for number, (words, _, one) in enumerate(boxes):
            for others, _, other in boxes[number + 1 :]:
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                if across > 1 and down > 2:
                    yield f"{words!r} lies over {others!r} at {width} px"
    said = f"{picture.answer(view)}\n{picture.tell(view)}"
    if not said.isascii():
        yield f"the twin is not ASCII: {said!r}"


def _colours(palette: Palette) -> set[str]:
    if palette.ground == "live":
        keys = [*ROLES, *(f"{look.key}-{part}" for look in LOOKS for part in ("line", "fill"))]
        return {f"var(--mk-{key})" for key in keys}
    number = ("light", "dark").index(palette.ground)
    owners = [colour for look in LOOKS for colour in (look.light, look.dark)[number]]
    return {pair[number] for pair in ROLES.values()} | set(owners)


def _boxes(
    node: ET.Element, x: float = 0, y: float = 0
) -> Iterator[tuple[str, float, tuple[float, float, float, float]]]:
    """Words, size and place of each text."""
    moved = re.fullmatch(r"translate\(([-\d.e]+)[ ,]([-\d.e]+)\)", node.get("transform", "translate(0 0)"))
    assert moved, node.get("transform")
    x, y = x + float(moved[1]), y + float(moved[2])
    if node.tag == "text":
        words, size = "".join(node.itertext()), float(node.get("font-size", "16"))
        letter = 0.6 if "code" in node.get("font-family", "") else 0.5
        long = len(words) * letter * size
        left = (
            x
            + float(node.get("x", "0"))
            - {"start": 0.0, "middle": long / 2, "end": long}[node.get("text-anchor", "start")]
        )
        base = y + float(node.get("y", "0"))
        yield words, size, (left, base - 0.75 * size, left + long, base + 0.2 * size)
    for child in node:
        yield from _boxes(child, x, y)
