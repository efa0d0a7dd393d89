"""``kernel/kexec_file.c``: finding free memory for a segment.

Only the top-down search is here, the one that the loader of bzImages asks for with every buffer.
"""

import errno
from collections.abc import Sequence

from mklab.errors import KexecError
from mklab.kernel.bootparam import E820_TYPE_RAM, E820Range
from mklab.kernel.kexec import PAGE_SIZE

__all__ = ["locate_mem_hole"]


def locate_mem_hole(
    ram: Sequence[E820Range],
    taken: Sequence[tuple[int, int]],
    *,
    name: str,
    memsz: int,
    align: int,
    minimum: int,
    window: tuple[int, int] | None,
) -> int:
    """The highest free place for a segment (``kexec_locate_mem_hole`` with ``top_down`` set).

    The ranges of RAM are walked from the highest down; in each, the place that reaches highest is tried first, and the
    search goes below every segment it meets there.

    Args:
        ram: the memory map; only its ranges of ``E820_TYPE_RAM`` are used.
        taken: what may not be used: first address and first address after it of the segments that have a place.
        name: what is to be placed, for the error.
        memsz: bytes wanted.
        align: the address is a multiple of this power of two.
        minimum: lowest address allowed.
        window: lowest address and first address after the memory that may be used; None for all RAM.

    Raises:
        KexecError: EADDRNOTAVAIL, there is no such place.
    """
    align = max(align, PAGE_SIZE)
    lowest, ceiling = window if window is not None else (0, 1 << 64)
    lowest = max(lowest, minimum)
    for start, end, kind in sorted(ram, reverse=True):
        if kind != E820_TYPE_RAM:
            continue
        mem = (min(end, ceiling) - memsz) & -align
        while mem >= max(start, lowest):
            # Linux steps down one page and aligns again, until nothing overlaps; to go below the lowest of the segments
            # in the way ends at the same place.
            in_the_way = [first for first, after in taken if first < mem + memsz and mem < after]
            if not in_the_way:
                return mem
            mem = (min(in_the_way) - memsz) & -align
    within = f" and within {window[0]:#x}-{window[1]:#x}" if window is not None else ""
    raise KexecError(
        errno.EADDRNOTAVAIL,
        "kexec_locate_mem_hole",
        f"no free RAM for the {name}: it needs {memsz:#x} bytes, aligned to {align:#x}, "
        f"at or above {minimum:#x}{within}",
    )
