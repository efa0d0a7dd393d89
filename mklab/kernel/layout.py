"""Where the host keeps things in physical memory. A spawned kernel's window is its loader's affair."""

__all__ = [
    "BOOT_PAGE_TABLES",
    "BOOT_PARAMS",
    "COMMAND_LINE",
    "FREE_PAGES",
    "HOST_BASE",
    "HOST_DATA",
    "HOST_END",
    "INSTRUCTIONS_PER_MICROSECOND",
    "LOW_MEMORY_END",
    "MEM_MAP",
    "SHARED_MEMORY",
    "TRAMPOLINE_BASE",
    "WARM_RESET_VECTOR",
    "WINDOW",
]

BOOT_PARAMS = 0x13000
"""``orig_boot_params``: the boot loader's struct boot_params, one page."""

BOOT_PAGE_TABLES = 0x70000
"""Six pages: the identity mapping that the boot loader hands over with the 64-bit boot protocol."""

LOW_MEMORY_END = 0x9F000
"""Where memory below 1 MiB ends for the kernel; above lies the BIOS's data area."""

TRAMPOLINE_BASE = LOW_MEMORY_END - 9 * 0x1000
"""0x96000, where memblock puts the trampoline and syzbot saw it: the highest nine pages below LOW_MEMORY_END."""

WARM_RESET_VECTOR = 0x467
"""40:67 in the BIOS data area: offset and segment that a CPU's warm reset jumps to (trampoline_phys_low)."""

HOST_BASE = 0x1000000
"""16 MiB, where Linux prefers to be loaded (CONFIG_PHYSICAL_START)."""

HOST_DATA = 0x1A00000
"""The host's kimages and what else its process context keeps in memory."""

MEM_MAP = HOST_DATA + 0xF8000
"""The ``struct page`` of each of FREE_PAGES; the kimages end below."""

FREE_PAGES = (0x1B00000, 0x1F00000)
"""What the host has left to allocate: control pages and source pages of kexec images, from the first address on."""

SHARED_MEMORY = 0x1FFA000
"""mk_shared_data, where the host's memblock finds 21504 bytes: at the top. The kernels it loads are told."""

HOST_END = 0x2000000
"""Memory from here on is left to spawned kernels, as the host's ``memmap=`` would."""

WINDOW = 0x1000000
"""Bytes of memory that a spawned minikernel takes for its own, unless it is told otherwise."""

COMMAND_LINE = 0x20000
"""The host's command line, where its boot loader has put it."""

INSTRUCTIONS_PER_MICROSECOND = 100
"""How fast virtual time goes in udelay(): a CPU of 100 MHz. Slow enough that a kick is over before the AP has left the
trampoline, as it was seen on a real kernel (58 of 60 quick kicks, rfc defect 5)."""
