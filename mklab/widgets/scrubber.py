"""The scrubber: a slider over the events of a whole run, with marks where something happened."""

import bisect
from collections.abc import Callable
from html import escape
from itertools import pairwise
from weakref import WeakKeyDictionary

from mklab.recording import Film, Recording
from mklab.widgets.palette import LIVE
from mklab.widgets.svg import element, path
from mklab.widgets.view import View

__all__ = ["marks", "scrubber"]

_THUMB = 18
"""Width of the slider's knob in pixels: its middle moves between half of it from either end."""
_TICK, _CROSS = 4, 12
"""Pixels that share a tick, and that share a cross."""
_HEIGHT = 16


def scrubber(view: View, width: int) -> str:
    """The slider with its marks, ``width`` pixels wide, and the moment that is shown, in words."""
    film, last = view.film, view.film.count - 1
    end = max(film.recording.time, film.looks[-1].time if film.looks else 0)
    event, time = f"event {view.event:,} of {last:,}", f"t = {view.time:,} of {end:,} instructions"
    if not film.count:
        event = "no event yet"
    slider = element(
        "input",
        type="range",
        min=-1,
        max=max(last, 0),
        value=view.event,
        data_act="scrub",
        data_on="input",
        data_key="scrub",
        aria_label="Moment shown; Left, Right, Home and End move between events",
        aria_valuetext=f"{event}, {time}",
    )
    return (
        f'<div class="mk-scrub">{marks(film, width)}{slider}'
        f'<div class="mk-where"><b>{event}</b><span>{time}</span></div></div>'
    )


def marks(film: Film, width: int) -> str:
    """A tick where something was sent, a cross where something went wrong; as many as can be told apart."""
    now = (film.recording, film.count, len(film.looks), width)
    known = _MARKS.get(film)
    # They are the same at each moment of a run. A film that was cut has another recording.
    if known is None or known[0][0] is not now[0] or known[0][1:] != now[1:]:
        known = _MARKS[film] = (now, _marks(film, width))
    return known[1]


_MARKS: WeakKeyDictionary[Film, tuple[tuple[Recording, int, int, int], str]] = WeakKeyDictionary()


def _marks(film: Film, width: int) -> str:
    room = max(width - _THUMB, 1)
    # From -1, power-on, to the last event.
    scale = room / max(film.count, 1)
    ipis, troubles = film.recording.ipis, film.recording.incidents

    def first_sent(event: int) -> int:
        return bisect.bisect_left(ipis, event, key=lambda ipi: ipi.sent.event)

    def first_wrong(event: int) -> int:
        return bisect.bisect_left(troubles, event, key=lambda one: one.at.event)

    sent = _spread(first_sent, film.count, room // _TICK)
    wrong = _spread(first_wrong, film.count, room // _CROSS)
    places = [_THUMB / 2 + (ipis[first].sent.event + 1) * scale for first in sent]
    content = path([(x, 8, x, 15) for x in places], LIVE.role("axis"))
    for first in wrong:
        trouble = troubles[first]
        x = _THUMB / 2 + (trouble.at.event + 1) * scale
        cross = path([(x - 4, 3, x + 4, 11), (x - 4, 11, x + 4, 3)], LIVE.role("alert"), 2.5)
        # A finger is broader than a cross.
        cross += element("rect", x=x - 6, y=0, width=12, height=_HEIGHT, fill="transparent")
        words = f"Trouble at event {trouble.at.event}: {trouble.text}. Go there"
        content += element(
            "g",
            element("title", escape(words)) + cross,
            data_event=trouble.at.event,
            data_look=film.look_at(trouble.at.event),
            tabindex=0,
            role="button",
            aria_label=words,
        )
    size = {"width": width, "height": _HEIGHT, "viewBox": f"0 0 {width} {_HEIGHT}"}
    return element("svg", content, **size, role="group", aria_label="Troubles of the run") if content else ""


def _spread(find: Callable[[int], int], count: int, most: int) -> list[int]:
    """Of each of ``most`` stretches of a run of ``count`` events the first thing that lies in it, by its index.

    ``find`` gives the index of the first thing that is not before an event.
    """
    stretches = min(max(most, 1), max(count, 1))
    bounds = [find(count * number // stretches) for number in range(stretches + 1)]
    return [first for first, after in pairwise(bounds) if first < after]
