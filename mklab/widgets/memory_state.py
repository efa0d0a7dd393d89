"""What is to be said of memory at a moment: who owns what, what was loaded, what was written, and what went wrong."""

from dataclasses import dataclass

from mklab.recording import Found, Write
from mklab.widgets.kimage_list import images
from mklab.widgets.memory import Layout, amount, stretch
from mklab.widgets.overlaps import Load, Overlap, loads, overlaps
from mklab.widgets.view import View
from mklab.widgets.writes import Stray, history, when

__all__ = ["MemoryState", "name_of", "nothing", "state_of", "stray_words"]

_STRAYS = 64


@dataclass(frozen=True)
class MemoryState:
    """Memory at a moment.

    Attributes:
        view: the moment.
        layout: who owns what.
        loads, overlaps: the images in memory, and where they lie over something.
        strays: the newest 64 writes that went astray up to the moment; ``count`` tells how many there were.
        writes: what changed at the last look.
        focus: the address whose surroundings are shown: the selected one, else where the last write went.
    """

    view: View
    layout: Layout
    loads: list[Load]
    overlaps: list[Overlap]
    strays: list[Stray]
    count: int
    writes: list[Write]
    focus: int


def state_of(view: View) -> MemoryState | None:
    """How memory stands at the moment of ``view``; None where the recording tells nothing of it."""
    return view.once(_state_of)


def _state_of(view: View) -> MemoryState | None:
    frame = view.frame
    if frame is None or not view.film.contents.ram:
        return None
    seen = history(view.film)
    layout = seen.layout(view.look)
    placed = loads(frame, images(frame, view.film.description, layout))
    count = seen.strays_upto(view.look)
    strays = seen.strays[max(0, count - _STRAYS) : count]
    writes = frame.writes() if frame.look.cause != "start" else []
    both = overlaps(frame, layout, placed)
    return MemoryState(view, layout, placed, both, strays, count, writes, _focus(view, layout, strays))


def nothing(view: View) -> str:
    """Why there is nothing to be said of memory."""
    looks = view.film.looks
    if view.frame is None and view.event >= 0 and looks:
        return f"Memory was first looked at after event {looks[0].event}. Go on to there."
    if view.frame is None and view.event >= 0:
        return "The recording holds events only: it tells nothing of memory."
    if view.frame is None:
        return "Nothing recorded yet. Press Step (S), or run the cell above."
    return "The recording tells of no RAM."


def _focus(view: View, layout: Layout, strays: list[Stray]) -> int:
    if view.address is not None:
        return view.address
    last = history(view.film).last_written(view.look)
    if strays and strays[-1].look == last:
        return strays[-1].start
    extents = view.film.contents.extents(last) if last else []
    if not extents:
        return layout.ram[0][0]
    # What other kernels look at tells more than a stack.
    return min((address for address, _ in extents), key=lambda one: (_interest(layout, one), one))


def _interest(layout: Layout, address: int) -> int:
    roles = {place.place.role for place in layout.places_at(address)}
    if roles & {"messages", "kimages", "trampoline"}:
        return 0
    return 2 if roles & {"stacks", "page tables"} else 1


def name_of(found: Found) -> str:
    """A place's name, and how many structs lie there."""
    return found.place.name if found.place.count == 1 else f"{found.place.name}[{found.place.count}]"


def stray_words(view: View, one: Stray) -> str:
    """A write that went astray, in words."""
    film = view.film
    first, last = film.looks[one.look], film.looks[one.last]
    at = when(first) if first.number == last.number else f"e{first.event} to e{last.event}, t={last.time:,}"
    how = f" in {one.detail}" if one.detail else ""
    where = history(film).layout(one.look - 1).words(one.start)
    return (
        f"{stretch(one.start, one.end)}, {amount(one.end - one.start)}: "
        f"CPU {one.cpu} ({one.writer or 'nobody'}){how}, {at}, into {where}"
    )
