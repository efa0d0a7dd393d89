"""Address translation as the MMU does it, for code of ours that must read guest memory by linear address.

SDM "4-Level Paging" and "PAE Paging". 32-bit paging without PAE is walked too, since a guest may use it.
"""

from dataclasses import dataclass

from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, CR4, EFER, Registers

__all__ = ["PageWalk", "walk"]

PRESENT, WRITABLE, LARGE = 1 << 0, 1 << 1, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True)
class PageWalk:
    """One translation.

    Attributes:
        linear: the linear address.
        entries: ``(level name, physical address of the entry, its value)``, from the top.
        paddr: the physical address, or None where an entry is not present or not in RAM.
        writable: whether supervisor code may store there (with CR0.WP).
    """

    linear: int
    entries: tuple[tuple[str, int, int], ...]
    paddr: int | None
    writable: bool


def _levels(registers: Registers) -> tuple[tuple[str, int, int], ...]:
    """``(name, shift, index bits)`` of each level, from the top."""
    if registers.efer & EFER.LMA:
        return ("PML4", 39, 9), ("PDPT", 30, 9), ("PD", 21, 9), ("PT", 12, 9)
    if registers.cr4 & CR4.PAE:
        return ("PDPT", 30, 2), ("PD", 21, 9), ("PT", 12, 9)
    return ("PD", 22, 10), ("PT", 12, 10)


def walk(memory: PhysicalMemory, registers: Registers, linear: int) -> PageWalk:
    """Translate ``linear`` (a linear address) with the page tables of ``registers``; accessed bits stay as they are."""
    if not registers.cr0 & CR0.PG:
        return PageWalk(linear, (), linear & 0xFFFFFFFF, True)
    levels = _levels(registers)
    width = 8 if len(levels) != 2 else 4
    table = registers.cr3 & (_ADDRESS if width == 8 else 0xFFFFF000)
    if len(levels) == 3:
        table = registers.cr3 & 0xFFFFFFE0
    entries: list[tuple[str, int, int]] = []
    writable = True
    for name, shift, bits in levels:
        at = table + (linear >> shift & (1 << bits) - 1) * width
        if not memory.contains(at, width):
            return PageWalk(linear, tuple(entries), None, False)
        entry = int.from_bytes(memory.read(at, width), "little")
        entries.append((name, at, entry))
        if not entry & PRESENT:
            return PageWalk(linear, tuple(entries), None, False)
        # The four PDPT entries of PAE paging have no R/W bit.
        writable &= bool(entry & WRITABLE) or (len(levels) == 3 and name == "PDPT")
        if shift == 12 or (entry & LARGE and name != "PML4"):
            offset = (1 << shift) - 1
            return PageWalk(linear, tuple(entries), entry & _ADDRESS & ~offset | linear & offset, writable)
        table = entry & _ADDRESS if width == 8 else entry & 0xFFFFF000
    raise AssertionError("the last level always ends a walk")
