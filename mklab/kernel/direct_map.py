"""The direct map: how a kernel's process context reaches memory, through the page tables that lie in guest RAM.

Linux maps all of its RAM at PAGE_OFFSET (Documentation/arch/x86/x86_64/mm.rst); its own text is read-only there. What
is no RAM of its own it maps when asked (ioremap_cache), writable.
"""

from collections.abc import Sequence

from mklab.errors import OopsError
from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.machine.registers import CR0, CR4, EFER, Registers
from mklab.paging import walk

__all__ = ["PAGE_OFFSET", "DirectMap"]

PAGE_OFFSET = 0xFFFF888000000000
"""page_offset_base with 4-level page tables."""


class DirectMap:
    """One kernel's view of physical memory.

    Args:
        memory: the machine's RAM.
        page_tables: physical address of the kernel's PML4.
        ram: ``(start, end)`` of each range that the kernel takes for RAM of its own.
    """

    def __init__(self, memory: PhysicalMemory, page_tables: int, ram: Sequence[tuple[int, int]]) -> None:
        self._memory = memory
        self._ram = ram
        self.registers = Registers(
            cr0=CR0.PG | CR0.PE | CR0.WP, cr3=page_tables, cr4=CR4.PAE, efer=EFER.LME | EFER.LMA | EFER.NXE
        )

    def _is_own(self, paddr: int) -> bool:
        return any(start <= paddr < end for start, end in self._ram)

    def write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` at ``paddr``; where there is no memory, nothing is stored.

        Raises:
            OopsError: the kernel's own page tables forbid it; what lies before that page is stored.
        """
        while data:
            part = min(len(data), PAGE - paddr % PAGE)
            if self._is_own(paddr):
                self._check(PAGE_OFFSET + paddr)
            if self._memory.contains(paddr, part):
                self._memory.write(paddr, data[:part])
            paddr, data = paddr + part, data[part:]

    def _check(self, linear: int) -> None:
        found = walk(self._memory, self.registers, linear)
        if found.paddr is None or not found.writable:
            error = 2 | (found.paddr is not None)
            raise OopsError(f"write page fault at {linear:x} (error_code {error:04x})")

    def read(self, linear: int, size: int) -> bytes:
        """``size`` bytes at a linear address.

        Raises:
            OopsError: it is not mapped.
        """
        paddr = walk(self._memory, self.registers, linear).paddr
        if paddr is None or not self._memory.contains(paddr, size):
            raise OopsError(f"page fault at {linear:x}")
        return self._memory.read(paddr, size)
