"""What an event changed in memory, as far as the looks at the machine tell: bytes, and the list of images."""

import bisect
from collections.abc import Sequence

from mklab import trace
from mklab.recording import Film, Frame, Node, Write
from mklab.widgets.told import Fact

__all__ = ["changes"]

_LIST = "kexec_image_list"
_STORING = (trace.Input, trace.Slice, trace.Step)
_MOST_WRITES = 3
_MOST_NODES = 6


def changes(film: Film, event: int) -> list[Fact]:
    """What lay otherwise in memory after ``event`` than before it; nothing where the film has no looks there."""
    if not isinstance(film.events[event], _STORING):
        return []
    number = bisect.bisect_left(film.looks, event, key=lambda look: look.event)
    if not 0 < number < len(film.looks):
        return []
    before, after = film.frame_of(number - 1), film.frame_of(number)
    if before.look.event >= event:
        return []
    several = after.look.event - before.look.event
    facts = [*_list_change(before, after), *_writes(after)]
    if facts and several > 1 and _others(film, before.look.event + 1, after.look.event, event):
        facts.append(Fact("", f"between looks at e{max(0, before.look.event)} and e{after.look.event}"))
    return facts


def _others(film: Film, first: int, last: int, event: int) -> bool:
    """Whether other events between two looks may have stored, too."""
    events: Sequence[trace.Event] = film.events[first : last + 1]
    return any(isinstance(one, _STORING) and one.seq != event for one in events)


def _writes(frame: Frame) -> list[Fact]:
    writes, facts = frame.writes(), list[Fact]()
    for one in writes[:_MOST_WRITES]:
        words = f"{one.address:#x}, {one.size:,} B{_place(frame, one)}"
        if one.size <= 8 and one.old is not None and one.new is not None:
            old, new = (int.from_bytes(data, "little") for data in (one.old, one.new))
            words += f": {old:#x}, now {new:#x}"
        facts.append(Fact("" if facts else "bytes changed", words, code=True))
    if len(writes) > _MOST_WRITES:
        rest = writes[_MOST_WRITES:]
        facts.append(Fact("", f"and {len(rest):,} more places, {sum(one.size for one in rest):,} B"))
    return facts


def _place(frame: Frame, write: Write) -> str:
    """Where that is: the smallest place that has a name, or a kernel's memory."""
    around = [found for found in frame.places() if found.address <= write.address < found.address + found.size]
    if around:
        found = min(around, key=lambda found: found.size)
        return f" in {found.place.name}{f' of {found.kernel}' if found.kernel else ''}"
    kernel = frame.kernel_at(write.address)
    return f" in {kernel}" if kernel else ""


def _list_change(before: Frame, after: Frame) -> list[Fact]:
    old, new = _nodes(before), _nodes(after)
    if old is None or new is None or _shape(old) == _shape(new):
        return []
    facts = [Fact("list before", _chain(old), code=True), Fact("list now", _chain(new), code=True)]
    if why := next((node.why for node in new if node.why), ""):
        facts.append(Fact("", f"CORRUPT: {why}", trouble=True))
    return facts


def _nodes(frame: Frame) -> list[Node] | None:
    try:
        return frame.nodes(frame.find(_LIST))
    except (ValueError, IndexError):  # no such list, or none of its memory is recorded
        return None


def _shape(nodes: list[Node]) -> list[tuple[int, int, int]]:
    return [(node.link, node.next, node.prev) for node in nodes]


def _chain(nodes: list[Node]) -> str:
    images = nodes[1:]
    if not images:
        return "empty"
    words = [f"{node.address:#x} (entry {node.fields.get('start', 0):#x})" for node in images[:_MOST_NODES]]
    more = [f"{len(images) - _MOST_NODES} more"] if len(images) > _MOST_NODES else []
    return ", ".join(words + more)
