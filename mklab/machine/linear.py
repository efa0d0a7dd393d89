"""Guest memory by linear address, as the CPU itself reaches it: tables, task states and stacks."""

from mklab.machine.fault import PAGE_FAULT, GuestFaultError
from mklab.machine.memory import PAGE, PhysicalMemory
from mklab.machine.registers import CR0, CR4, EFER, Registers
from mklab.paging import ACCESSED, DIRTY, PageWalk, walk

__all__ = ["LinearMemory"]


class LinearMemory:
    """Guest memory under the page tables of one set of registers.

    Accesses are the supervisor's, whatever the CPL, unless they say ``user``. They set accessed and dirty bits. Where
    there is no RAM, reads give zeros and stores vanish. A page that was reached once is not walked to again: it serves
    one delivery.

    Args:
        memory: the RAM, with the page tables in it.
        registers: CR0, CR3, CR4 and EFER are looked at.
    """

    def __init__(self, memory: PhysicalMemory, registers: Registers) -> None:
        self._memory = memory
        self._registers = registers
        self._mask = (1 << 64) - 1 if registers.efer & EFER.LMA else 0xFFFFFFFF
        self._pages: dict[tuple[int, bool, bool], int] = {}

    def read(self, linear: int, size: int) -> bytes:
        """``size`` bytes from ``linear``.

        Raises:
            GuestFaultError: #PF.
        """
        pieces = self._pieces(linear, size, write=False, user=False)
        return b"".join(
            self._memory.read(at, part) if self._memory.contains(at, part) else bytes(part) for at, part in pieces
        )

    def write(self, linear: int, data: bytes, *, user: bool = False) -> None:
        """Store ``data`` at ``linear``, all of it or nothing.

        Raises:
            GuestFaultError: #PF.
        """
        for at, part in self._pieces(linear, len(data), write=True, user=user):
            if self._memory.contains(at, part):
                self._memory.write(at, data[:part])
            data = data[part:]

    def check(self, linear: int, size: int, *, write: bool) -> None:
        """Raise what an access by the supervisor would raise.

        Raises:
            GuestFaultError: #PF.
        """
        self._pieces(linear, size, write=write, user=False)

    def _pieces(self, linear: int, size: int, *, write: bool, user: bool) -> list[tuple[int, int]]:
        """``(physical address, size)`` of each page's part of ``[linear, linear + size)``."""
        pieces = []
        while size:
            linear &= self._mask
            part = min(size, PAGE - linear % PAGE)
            key = (linear // PAGE, write, user)
            if key not in self._pages:
                self._pages[key] = self._translate(linear, write, user) - linear % PAGE
            pieces.append((self._pages[key] + linear % PAGE, part))
            linear, size = linear + part, size - part
        return pieces

    def _translate(self, linear: int, write: bool, user: bool) -> int:
        found = walk(self._memory, self._registers, linear)
        writable = found.writable or not (user or self._registers.cr0 & CR0.WP)
        if found.paddr is None or (user and not found.user) or (write and not writable):
            present = found.paddr is not None or found.reserved
            error = present | write << 1 | user << 2 | found.reserved << 3
            what = f"to {'store' if write else 'read'}{' as user code' if user else ''} at {linear:#x}"
            raise GuestFaultError(PAGE_FAULT, error, f"no mapping {what}", linear)
        self._mark(found, write)
        return found.paddr

    def _mark(self, found: PageWalk, write: bool) -> None:
        """Set accessed and dirty bits."""
        legacy = not self._registers.cr4 & CR4.PAE
        last = len(found.entries) - 1
        for i, (name, at, entry) in enumerate(found.entries):
            if name == "PDPT" and i == 0:
                continue  # PAE paging's, which have no such bits; in long mode the PML4 comes first
            marked = entry | ACCESSED | (DIRTY if write and i == last else 0)
            if marked != entry:
                self._memory.write(at, marked.to_bytes(4 if legacy else 8, "little"))
