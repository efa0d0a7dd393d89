"""Where a run is to stop, as a student types it: read, and looked for in a film."""

import bisect
import re
from collections.abc import Callable
from dataclasses import dataclass

from mklab.recording import Film
from mklab.trace import Delivered, Event, OwnerChange

__all__ = ["FORMS", "Condition", "chain", "find", "heads", "parse"]

FORMS = {
    "0x3000200": "before the instruction at that address",
    "0x3000200 cpu 3": "the same, on CPU 3 only",
    "vector 0xEA": "interrupt 0xEA is delivered",
    "owner cpu 2": "CPU 2 gets or loses its owner",
    "list": "the kimage list changes",
    "write 0x96000 8": "one of the 8 bytes there changes",
    "event 126": "that event has happened",
    "time 50,000": "so many instructions are over",
}
"""What can be typed, each with what it means."""

_PATTERN = re.compile(
    r"(?:(?P<kind>breakpoint|address|vector|owner|list|write|event|time)\b)?\s*"
    r"(?P<value>0x[0-9a-f]+|[0-9][0-9,]*)?\s*(?P<size>[0-9]+)?\s*(?:\bcpu\s*(?P<cpu>[0-9]+))?",
    re.IGNORECASE,
)
_MOST = {"vector": 255, "breakpoint": (1 << 64) - 1, "write": (1 << 52) - 1}
_MOST_BYTES = 4096
_NODES = 64
"""Nodes of a list that are compared: a cyclic or absurd one ends there."""


@dataclass(frozen=True)
class Condition:
    """Where to stop.

    Attributes:
        kind: ``breakpoint``, ``vector``, ``owner``, ``list``, ``write``, ``event`` or ``time``.
        value: the linear address, vector, physical address, event's number, or instructions.
        size: bytes, of ``write``.
        cpu: only there; None: any CPU.
    """

    kind: str
    value: int = 0
    size: int = 8
    cpu: int | None = None

    def __str__(self) -> str:
        number = {"owner": "", "list": "", "event": f" {self.value}", "time": f" {self.value:,}"}
        words = f"{self.kind}{number.get(self.kind, f' {self.value:#x}')}"
        words += f" {self.size}" if self.kind == "write" else ""
        return words if self.cpu is None else f"{words} cpu {self.cpu}"

    def matches(self, event: Event) -> bool:
        """Whether it is such an event."""
        if self.kind == "vector":
            return isinstance(event, Delivered) and event.vector == self.value and self.cpu in (None, event.cpu)
        return self.kind == "owner" and isinstance(event, OwnerChange) and self.cpu in (None, event.cpu)


def parse(words: str, cpus: int) -> Condition:
    """Read one of :data:`FORMS`; ``cpus`` is how many there are.

    Raises:
        ValueError: it cannot be read, or names a CPU or a number that there is not.
    """
    found = _PATTERN.fullmatch(words.strip())
    value = found["value"] if found else None
    kind = (found["kind"] or "").lower() if found else ""
    kind = {"": "breakpoint", "address": "breakpoint"}.get(kind, kind)
    if found is None or not words.strip() or (value is None) != (kind in ("owner", "list")):
        raise ValueError(f"a place to stop must be like {', '.join(FORMS)}, not {words!r}")
    number = int(value.replace(",", ""), 0) if value else 0
    size, cpu = int(found["size"] or 8), int(found["cpu"]) if found["cpu"] else None
    if found["size"] and kind != "write":
        raise ValueError(f"only 'write' is told how many bytes, not {words!r}")
    if number > _MOST.get(kind, number):
        raise ValueError(f"{kind} must be 0 to {_MOST[kind]:#x}, not {number:#x}")
    if not 1 <= size <= _MOST_BYTES:
        raise ValueError(f"write must be told 1 to {_MOST_BYTES} bytes, not {size}")
    if cpu is not None and cpu >= cpus:
        raise ValueError(f"cpu must be 0 to {cpus - 1}, not {cpu}")
    if cpu is not None and kind in ("list", "event", "time"):
        raise ValueError(f"'{kind}' is the whole machine's and names no CPU, not {words!r}")
    return Condition(kind, number, size, cpu)


def find(film: Film, condition: Condition, after: int, last: int) -> int | None:
    """The first look beyond look number ``after``, up to ``last``, at which it is met; None: none."""
    if condition.kind == "event":
        look = bisect.bisect_left(film.looks, condition.value, key=lambda one: one.event)
        return look if after < look <= last else None
    if condition.kind == "time":
        look = bisect.bisect_left(film.looks, condition.value, key=lambda one: one.time)
        return look if after < look <= last else None
    return next((look for look in range(after + 1, last + 1) if _met(film, condition, look)), None)


def _met(film: Film, condition: Condition, number: int) -> bool:
    look = film.looks[number]
    if condition.kind in ("vector", "owner"):
        before = film.looks[number - 1].event if number else -1
        return any(condition.matches(event) for event in film.events[before + 1 : look.event + 1])
    if condition.kind == "write":
        mine = condition.cpu in (None, look.cpu)
        return mine and film.contents.touched(number, condition.value, condition.size)
    if condition.kind == "list":
        return number > 0 and _lists(film, number) != _lists(film, number - 1)
    if look.cpu is None or condition.cpu not in (None, look.cpu):
        return False
    block = film.where[look.cpu].at(number).get("code")
    lines = film.blocks[block] if block is not None else []
    return bool(lines) and lines[0].linear == condition.value


def heads(film: Film, look: int) -> list[int]:
    """Where the lists begin that are known at ``look``: physical addresses."""
    return [found.address for found in film.frame_of(look).places() if found.place.link]


def chain(read: Callable[[int, int], bytes | None], head: int) -> tuple[tuple[int, bytes | None], ...]:
    """The list at ``head`` as it lies in memory: each ``list_head``'s address and its two pointers.

    Args:
        read: gives bytes of memory by physical address and size; None where there is none.
        head: physical address of the first.
    """
    found: dict[int, bytes | None] = {}
    link: int | None = head
    while link is not None and link not in found and len(found) < _NODES:
        pointers = found[link] = read(link, 16)
        link = int.from_bytes(pointers[:8], "little") if pointers else None
    return tuple(found.items())


def _lists(film: Film, look: int) -> list[object]:
    frame = film.frame_of(look)
    return [chain(frame.read, head) for head in heads(film, look)]
