"""``arch/x86/mm/dump_pagetables.c``: pages of a kernel that allow both writing and execution (CONFIG_DEBUG_WX)."""

from collections.abc import Iterator

from mklab.machine.memory import PhysicalMemory

__all__ = ["ptdump_walk_pgd_level_checkwx", "writable_and_executable"]

_PRESENT, _RW, _LARGE, _NX = 1 << 0, 1 << 1, 1 << 7, 1 << 63
_ADDRESS = 0x000F_FFFF_FFFF_F000
_SHIFTS = (39, 30, 21, 12)


def writable_and_executable(memory: PhysicalMemory, page_tables: int) -> list[tuple[int, int]]:
    """Runs of mapped memory that are writable and executable: ``(linear address, bytes)``, ascending."""
    runs: list[tuple[int, int]] = []
    for linear, size in _leaves(memory, page_tables, 0, 0, _RW, 0):
        if runs and sum(runs[-1]) == linear:
            runs[-1] = runs[-1][0], runs[-1][1] + size
        else:
            runs.append((linear, size))
    return runs


def _leaves(
    memory: PhysicalMemory, table: int, level: int, base: int, writable: int, no_execute: int
) -> Iterator[tuple[int, int]]:
    """Pages below ``table`` that are W+X, as every level above allows."""
    shift = _SHIFTS[level]
    entries = memory.read(table, 4096)
    for index in range(512):
        entry = int.from_bytes(entries[8 * index : 8 * index + 8], "little")
        if not entry & _PRESENT:
            continue
        linear = base + (index << shift)
        if level == 0 and index >= 256:
            linear |= 0xFFFF << 48
        may_write, may_not_execute = writable & entry, no_execute | entry & _NX
        if shift == 12 or entry & _LARGE:
            if may_write and not may_not_execute:
                yield linear, 1 << shift
        elif memory.contains(entry & _ADDRESS, 4096):
            yield from _leaves(memory, entry & _ADDRESS, level + 1, linear, may_write, may_not_execute)


def ptdump_walk_pgd_level_checkwx(memory: PhysicalMemory, page_tables: int) -> list[str]:
    """The lines that Linux prints at the end of its start-up: a warning for each run, and the sum."""
    runs = writable_and_executable(memory, page_tables)
    lines = [f"x86/mm: Found insecure W+X mapping at address 0x{linear:x}" for linear, _ in runs]
    pages = sum(size for _, size in runs) // 4096
    verdict = f"FAILED, {pages} W+X pages found." if pages else "passed, no W+X pages found."
    return [*lines, f"x86/mm: Checked W+X mappings: {verdict}"]
