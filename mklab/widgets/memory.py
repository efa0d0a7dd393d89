"""Whose memory each byte is, and what it is for: from the kernels in memory, their own maps of it, and known places.

A kernel's memory is what its loader has filled, and around it what its memory map names. The map lies in its
``mk_boot_info``, in guest RAM: somebody who writes over it changes what the kernel claims, not what was loaded.
"""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mklab.recording import Description, Found, Frame

__all__ = ["Layout", "Region", "amount", "stretch", "whose"]

_BOOT_INFO = "mk_boot_info"
_POINTER = 8


@dataclass(frozen=True)
class Region:
    """Memory from ``start`` up to ``end`` that belongs to ``owner`` (None: to nobody), physical addresses."""

    start: int
    end: int
    owner: str | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Layout:
    """Who owns what, at one look.

    Args:
        ram: ``(start, size)`` of each range of RAM.
        frame: how the machine stands.
        description: the places that are known.

    Attributes:
        ram: as given, ascending.
        regions: all RAM by owner, ascending; neighbours differ in their owner or lie apart.
        places: the places, ascending, those around others first. A place that several kernels share is there once
            for each.
    """

    def __init__(self, ram: Sequence[tuple[int, int]], frame: Frame, description: Description) -> None:
        self.ram = sorted(ram)
        self.places = sorted(frame.places(), key=lambda one: (one.address, -one.size))
        images = frame.images()
        placed = [
            (one.address, one.address + one.size, one.kernel)
            for one in self.places
            if one.kernel and not one.place.symbol
        ]
        claimed = [claim for name in images for claim in self._claims(frame, name)]
        loaded = [(start, end, name) for name, image in images.items() for start, end in image["ranges"]]
        # What was loaded counts more than what a kernel says of itself, and the last kernel more than one before.
        self.regions = list(_painted(self.ram, [*placed, *claimed, *loaded]))
        self._starts = [region.start for region in self.regions]
        hinges = [(one.address, one.address + one.size) for one in self.places if one.place.struct == _BOOT_INFO] + [
            (symbols[place.symbol], symbols[place.symbol] + _POINTER)
            for symbols in (image["symbols"] for image in images.values())
            for place in description.places
            if place.pointer and place.symbol in symbols
        ]
        # By where they begin; and how far those reach that begin there or before.
        self._hinges = [start for start, _ in sorted(hinges)]
        self._reach = list(itertools.accumulate((end for _, end in sorted(hinges)), max))

    def _claims(self, frame: Frame, kernel: str) -> Iterator[tuple[int, int, str]]:
        """What the memory map of ``kernel`` names."""
        for one in self.places:
            if one.kernel == kernel and one.place.struct == _BOOT_INFO:
                fields = frame.fields(one)
                bounds = fields.get("ram", [])[: 2 * fields.get("nr_ram", 0)]
                for start, end in zip(bounds[::2], bounds[1::2], strict=False):
                    yield start, end, kernel

    def follows_from(self, address: int, size: int) -> bool:
        """Whether any of ``size`` bytes at ``address`` is one that all this follows from."""
        before = bisect.bisect_left(self._hinges, address + size)
        return before > 0 and self._reach[before - 1] > address

    def region_at(self, address: int) -> Region | None:
        """The region of RAM around ``address``; None where there is no RAM."""
        number = bisect.bisect_right(self._starts, address) - 1
        found = self.regions[number] if number >= 0 else None
        return found if found and address < found.end else None

    def owner_at(self, address: int) -> str | None:
        """Whose memory ``address`` is; None for nobody's, and where there is no RAM."""
        region = self.region_at(address)
        return region.owner if region else None

    def places_at(self, address: int) -> list[Found]:
        """The places around ``address``, the narrowest one last; of several alike the owner's."""
        around = [one for one in self.places if one.address <= address < one.address + one.size]
        owner = self.owner_at(address)
        return sorted(around, key=lambda one: (-one.size, one.kernel == owner))

    def parts(self, start: int, end: int) -> list[Found]:
        """The places that touch memory from ``start`` up to ``end`` and lie in no other one; shared ones once."""
        parts: list[Found] = []
        for one in self.places:
            touches = one.address < end and start < one.address + one.size
            if touches and not (parts and one.address < parts[-1].address + parts[-1].size):
                parts.append(one)
        return parts

    def inside(self, outer: Found) -> list[Found]:
        """The places inside ``outer``."""
        last = outer.address + outer.size
        return [
            one
            for one in self.places
            if outer.address <= one.address and one.address + one.size <= last and one.size < outer.size
        ]

    def words(self, address: int) -> str:
        """Where ``address`` is, in words: ``the host's stacks``, ``kernel 1's memory``, ``no memory``."""
        region, around = self.region_at(address), self.places_at(address)
        if region is None:
            return f"the {around[-1].place.name}" if around else "no memory"
        if around and around[-1].kernel not in ("", region.owner):
            return f"{whose(region.owner)} memory ({whose(around[-1].kernel)} {around[-1].place.name})"
        return f"{whose(region.owner)} {around[-1].place.name if around else 'memory'}"


def _painted(ram: Sequence[tuple[int, int]], claims: Sequence[tuple[int, int, str]]) -> Iterator[Region]:
    """``ram`` cut into regions; of several claims to a byte the last one counts."""
    for start, size in ram:
        end = start + size
        inside = [(max(first, start), min(last, end), owner) for first, last, owner in claims]
        inside = [claim for claim in inside if claim[0] < claim[1]]
        cuts = sorted({start, end, *(cut for first, last, _ in inside for cut in (first, last))})
        begun = start
        owners = [
            next((owner for first, last, owner in reversed(inside) if first <= cut < last), None) for cut in cuts[:-1]
        ]
        for number, owner in enumerate(owners):
            if number + 1 == len(owners) or owners[number + 1] != owner:
                yield Region(begun, cuts[number + 1], owner)
                begun = cuts[number + 1]


def whose(owner: str | None) -> str:
    """``the host's``, ``kernel 1's``, ``nobody's``."""
    return "the host's" if owner == "host" else f"{owner or 'nobody'}'s"


def amount(size: int) -> str:
    """A number of bytes in words: ``8 B``, ``36 KiB``, ``32 MiB``; not rounded where it is short without."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit:,} {name}" if size % unit == 0 else f"{size / unit:,.1f} {name}"
    return f"{size} B"


def stretch(start: int, end: int) -> str:
    """Addresses from ``start`` up to ``end``, as an inclusive range: ``0x96000-0x9efff``."""
    return f"{start:#x}-{end - 1:#x}" if end - start > 1 else f"{start:#x}"
