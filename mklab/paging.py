"""Address translation as the MMU does it, from memory and control registers alone: of a machine or of a recording.

SDM "4-Level Paging", "PAE Paging" and "32-Bit Paging", with what their entries may not hold.
"""

from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "ACCESSED",
    "DIRTY",
    "LARGE",
    "PHYSICAL_ADDRESS_BITS",
    "PRESENT",
    "ControlRegisters",
    "Memory",
    "PageWalk",
    "levels",
    "walk",
]

PHYSICAL_ADDRESS_BITS = 40
"""Width of physical addresses, as CPUID 0x80000008 of the modelled CPU (Nehalem) reports it."""

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7
EXECUTE_DISABLE = 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_TOO_HIGH = _ADDRESS & ~((1 << PHYSICAL_ADDRESS_BITS) - 1)
_IGNORED_IN_LONG_MODE = 0x7FF << 52
_PAT_OF_LARGE_PAGE = 1 << 12
_PSE_RESERVED = 1 << 21
_PG, _PSE, _PAE, _LMA, _NXE = 1 << 31, 1 << 4, 1 << 5, 1 << 10, 1 << 11
"""CR0.PG, CR4.PSE and CR4.PAE, EFER.LMA and EFER.NXE."""


class Memory(Protocol):
    """Physical memory."""

    def contains(self, paddr: int, size: int) -> bool:
        """Whether there are ``size`` bytes of it at ``paddr``."""

    def read(self, paddr: int, size: int) -> bytes:
        """These bytes."""


class ControlRegisters(Protocol):
    """What decides how a CPU translates."""

    @property
    def cr0(self) -> int:
        """Bit 31 (PG) switches paging on."""

    @property
    def cr3(self) -> int:
        """Where the topmost table lies."""

    @property
    def cr4(self) -> int:
        """Bits 4 (PSE) and 5 (PAE)."""

    @property
    def efer(self) -> int:
        """Bits 10 (LMA) and 11 (NXE)."""


@dataclass(frozen=True)
class PageWalk:
    """One translation.

    Attributes:
        linear: the linear address.
        entries: ``(level name, physical address of the entry, its value)``, from the top.
        paddr: the physical address, or None where an entry is not present, not in RAM or not valid.
        writable: whether supervisor code may store there (with CR0.WP).
        user: whether user code (CPL 3) may reach it.
        executable: whether code may be fetched from there.
        reserved: whether a reserved bit is set in the last of ``entries``: a page fault with bit 3 in its error code.
        missing: where the entry after the last of ``entries`` would be, if there is no memory there.
    """

    linear: int
    entries: tuple[tuple[str, int, int], ...]
    paddr: int | None
    writable: bool
    user: bool = True
    executable: bool = True
    reserved: bool = False
    missing: int | None = None


def levels(registers: ControlRegisters) -> tuple[tuple[str, int, int], ...]:
    """``(name, shift, index bits)`` of each level, from the top."""
    if registers.efer & _LMA:
        return ("PML4", 39, 9), ("PDPT", 30, 9), ("PD", 21, 9), ("PT", 12, 9)
    if registers.cr4 & _PAE:
        return ("PDPT", 30, 2), ("PD", 21, 9), ("PT", 12, 9)
    return ("PD", 22, 10), ("PT", 12, 10)


def _reserved(registers: ControlRegisters, name: str, shift: int, entry: int, last: bool) -> bool:
    """Whether ``entry`` has a bit set that must be clear at its level."""
    inside = (1 << shift) - 1 & _ADDRESS & ~_PAT_OF_LARGE_PAGE if last and shift > 12 else 0
    if not registers.cr4 & _PAE:
        # Bits 13 to 20 of a 4 MiB page are bits 32 to 39 of its address (PSE-36).
        return bool(shift == 22 and last and entry & _PSE_RESERVED)
    bits = inside | _TOO_HIGH
    if not registers.efer & _NXE:
        bits |= EXECUTE_DISABLE
    if name == "PML4":
        bits |= LARGE
    if not registers.efer & _LMA:
        bits |= _IGNORED_IN_LONG_MODE
        if name == "PDPT":
            # Bits 1, 2 and 5 to 8, too; but hardware looks at those in MOV to CR3 (#GP), and the engine nowhere.
            bits |= EXECUTE_DISABLE
    return bool(entry & bits)


def _page(shift: int, entry: int, linear: int) -> int:
    """The physical address of ``linear`` in the page that ``entry`` maps."""
    offset = (1 << shift) - 1
    if shift == 22:
        return entry & 0xFFC00000 | (entry >> 13 & 0xFF) << 32 | linear & offset
    return entry & _ADDRESS & ~offset | linear & offset


def walk(memory: Memory, registers: ControlRegisters, linear: int) -> PageWalk:
    """Translate ``linear`` (a linear address) with the page tables of ``registers``; accessed bits stay as they are."""
    if not registers.cr0 & _PG:
        return PageWalk(linear, (), linear & 0xFFFFFFFF, True)
    steps = levels(registers)
    width = 8 if len(steps) != 2 else 4
    table = registers.cr3 & (_ADDRESS if width == 8 else 0xFFFFF000)
    if len(steps) == 3:
        table = registers.cr3 & 0xFFFFFFE0
    entries: list[tuple[str, int, int]] = []
    writable = user = executable = True
    for name, shift, bits in steps:
        at = table + (linear >> shift & (1 << bits) - 1) * width
        if not memory.contains(at, width):
            return PageWalk(linear, tuple(entries), None, False, False, False, missing=at)
        entry = int.from_bytes(memory.read(at, width), "little")
        entries.append((name, at, entry))
        if not entry & PRESENT:
            return PageWalk(linear, tuple(entries), None, False, False, False)
        top_of_pae = len(steps) == 3 and name == "PDPT"
        large = shift in (21, 30) or (shift == 22 and bool(registers.cr4 & _PSE))
        last = shift == 12 or (large and not top_of_pae and bool(entry & LARGE))
        if _reserved(registers, name, shift, entry, last):
            return PageWalk(linear, tuple(entries), None, False, False, False, reserved=True)
        # The four PDPT entries of PAE paging have no R/W, U/S and XD bits.
        writable &= top_of_pae or bool(entry & WRITABLE)
        user &= top_of_pae or bool(entry & USER)
        executable &= not entry & EXECUTE_DISABLE
        if last:
            return PageWalk(linear, tuple(entries), _page(shift, entry, linear), writable, user, executable)
        table = entry & _ADDRESS if width == 8 else entry & 0xFFFFF000
    raise AssertionError("the last level always ends a walk")
