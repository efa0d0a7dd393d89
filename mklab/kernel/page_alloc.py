"""``mm/page_alloc.c``, as far as kexec needs it: free pages of the host, a ``struct page`` for each in guest RAM."""

from mklab.errors import OopsError
from mklab.kernel.kexec import PAGE_SIZE
from mklab.kernel.layout import FREE_PAGES, MEM_MAP
from mklab.kernel.list_head import ListHead
from mklab.machine.memory import PhysicalMemory
from mklab.structs import Field, Struct, View

__all__ = ["PAGE", "PG_RESERVED", "PageAllocator"]

PAGE = Struct(
    "page",
    Field("flags", "u64"),
    Field("lru_next", "u64"),
    Field("lru_prev", "u64"),
    Field("private", "u64"),  # the order of the allocation, as kimage_alloc_pages notes it
)
"""``struct page``, the fields that kexec uses."""

PG_RESERVED = 1
"""In ``page.flags``: handed out. Here it is also how the allocator knows."""


class PageAllocator:
    """The free pages of the host: the lowest ones go first.

    Args:
        memory: the machine's RAM.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self._start, end = FREE_PAGES
        self._count = (end - self._start) // PAGE_SIZE

    def initialise(self) -> None:
        """Every page is free."""
        self.memory.write(MEM_MAP, bytes(self._count * PAGE.size))

    def page(self, paddr: int) -> View:
        """The struct page of ``paddr`` (phys_to_page)."""
        return PAGE(self.memory, MEM_MAP + (paddr - self._start) // PAGE_SIZE * PAGE.size)

    def paddr_of(self, node: int) -> int:
        """The physical address of the page whose ``lru`` lies at ``node``."""
        return self._start + (node - PAGE.offsets["lru_next"] - MEM_MAP) // PAGE.size * PAGE_SIZE

    def lru(self, head: int, name: str) -> ListHead:
        """The list of pages whose head lies at ``head``."""
        return ListHead(self.memory, head, name, PAGE.offsets["lru_next"], PAGE.size)

    def alloc_pages(self, order: int = 0) -> int | None:
        """``1 << order`` pages in a row, aligned to their size: where they begin; None where memory is used up.

        Their contents are what was there.
        """
        flags = self.memory.read(MEM_MAP, self._count * PAGE.size)[:: PAGE.size]
        run, index = 1 << order, 0
        while (index := flags.find(bytes(run), index)) >= 0:
            paddr = self._start + index * PAGE_SIZE
            if paddr % (run * PAGE_SIZE) == 0:
                for each in range(run):
                    self.page(paddr + each * PAGE_SIZE).set("flags", PG_RESERVED)
                self.page(paddr).set("private", order)
                return paddr
            index += 1
        return None

    def free_pages(self, paddr: int) -> None:
        """What ``alloc_pages`` gave at ``paddr`` is free again.

        Raises:
            OopsError: these are no pages of the allocator's; somebody has written over the pointer.
        """
        if paddr % PAGE_SIZE or not 0 <= (paddr - self._start) // PAGE_SIZE < self._count:
            raise OopsError(f"free_pages: {paddr:#x} is no page that was allocated")
        for each in range(1 << (self.page(paddr).get("private") & 0xF)):
            self.page(paddr + each * PAGE_SIZE).set("flags", 0)

    @property
    def free(self) -> int:
        """How many pages are free."""
        return self.memory.read(MEM_MAP, self._count * PAGE.size)[:: PAGE.size].count(0)
