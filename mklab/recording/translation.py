"""How a linear address becomes a physical one, level by level, decoded for a picture.

SDM volume 3, "Paging": the tables of 32-bit, PAE and 4-level paging, and "Page-Fault Exceptions".
"""

from dataclasses import dataclass

from mklab import paging

__all__ = ["Level", "Translation", "translation"]

_FLAGS = {0: "P", 1: "R/W", 2: "U/S", 3: "PWT", 4: "PCD", 5: "A"}
_HIGHEST = 47
"""The highest bit of a linear address in 4-level paging; the bits above it are its copies."""


@dataclass(frozen=True)
class Level:
    """One table on the way.

    Attributes:
        name: ``PML4``, ``PDPT``, ``PD`` or ``PT``.
        table: its physical address.
        index: the number of its entry that counts.
        address: physical address of that entry.
        entry: the entry, 32 or 64 bits; None where it cannot be read.
        flags: the bits set in it, as the manual names them; XD is the inverse of executable.
        next: physical address of the next table or of the page; None where the way ends here.
    """

    name: str
    table: int
    index: int
    address: int
    entry: int | None
    flags: tuple[str, ...] = ()
    next: int | None = None


@dataclass(frozen=True)
class Translation:
    """The way of one linear address.

    Attributes:
        linear: the linear address.
        levels: the tables, from the top; none where paging is off.
        paddr: the physical address; None where there is none.
        page: bytes of the page it lies in; 0 where there is none, or paging is off.
        writable: whether supervisor code may store there (with CR0.WP).
        user: whether user code (CPL 3) may reach it.
        executable: whether code may be fetched from there.
        fault: what an access ends in, in words; empty where there is a physical address.
    """

    linear: int
    levels: tuple[Level, ...]
    paddr: int | None
    page: int = 0
    writable: bool = False
    user: bool = False
    executable: bool = False
    fault: str = ""


def translation(memory: paging.Memory, registers: paging.ControlRegisters, linear: int) -> Translation:
    """The way of ``linear`` through the page tables of ``registers``, as they lie in ``memory``."""
    found = paging.walk(memory, registers, linear)
    steps = paging.levels(registers)
    if not found.entries and found.paddr is not None:
        return Translation(linear, (), found.paddr, 0, True, True, True)
    if len(steps) == 4 and linear >> _HIGHEST not in (0, (1 << 64 - _HIGHEST) - 1):
        return Translation(linear, (), None, fault="general protection: the address is not canonical")
    entries: list[tuple[str, int, int | None]] = [*found.entries]
    if found.missing is not None:
        entries.append((steps[len(entries)][0], found.missing, None))
    page = 1 << steps[len(entries) - 1][1] if found.paddr is not None else 0
    following = None if found.paddr is None else found.paddr & -page
    levels: list[Level] = []
    for (name, address, entry), (_, shift, bits) in reversed(list(zip(entries, steps, strict=False))):
        index = linear >> shift & (1 << bits) - 1
        table = address - index * (4 if len(steps) == 2 else 8)
        maps = bool(page) and not levels
        flags = () if entry is None else _flags(entry, maps, large=shift > 12, pdpt_of_pae=(shift, bits) == (30, 2))
        levels.append(Level(name, table, index, address, entry, flags, following))
        following = table
    fault = "" if page else _fault(levels[0], reserved=found.reserved)
    return Translation(
        linear, tuple(levels[::-1]), found.paddr, page, found.writable, found.user, found.executable, fault
    )


def _flags(entry: int, maps: bool, *, large: bool, pdpt_of_pae: bool) -> tuple[str, ...]:
    """The flags of an entry; ``maps``: it maps a page, a ``large`` one at any level but the last."""
    if not entry & paging.PRESENT:
        return ()
    names = {0: "P", 3: "PWT", 4: "PCD"} if pdpt_of_pae else {**_FLAGS, 63: "XD"}
    if maps:
        names |= {6: "D", 8: "G", 7: "PS", 12: "PAT"} if large else {6: "D", 7: "PAT", 8: "G"}
    return tuple(name for bit, name in sorted(names.items()) if entry >> bit & 1)


def _fault(last: Level, *, reserved: bool) -> str:
    if last.entry is None:
        return f"no memory at {last.address:#x}, where the {last.name} entry would be, or it is not recorded"
    return f"page fault: the {last.name} entry {'has a reserved bit set' if reserved else 'is not present'}"
