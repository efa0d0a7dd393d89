"""``kernel/kexec_file.c``: finding free memory for segments.

Only the top-down search is here, the one that the loader of bzImages asks for with every buffer. kexec-tools' loaders
search upwards, and would begin in the low pages that the trampoline of RFC v1 spoils (defect 3).
"""

import errno
from collections.abc import Sequence

from mklab.errors import KexecError
from mklab.kernel.bootparam import E820_TYPE_RAM, E820Range
from mklab.kernel.kexec import PAGE_SIZE

__all__ = ["Room", "locate_mem_hole"]


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


class Room:
    """The memory that an image's segments may use, and what of it is taken.

    Args:
        ram: the memory map; only its ranges of ``E820_TYPE_RAM`` are used.
        window: lowest address and first address after the memory that may be used; None for all RAM.

    Raises:
        ValueError: a range is empty or out of the address space.
    """

    def __init__(self, ram: Sequence[E820Range], window: tuple[int, int] | None) -> None:
        for start, end, kind in ram:
            if not 0 <= start < end <= 1 << 64:
                raise ValueError(f"ram must hold (start, end, type) with start below end, not {(start, end, kind)!r}")
        if window is not None and not 0 <= window[0] < window[1] <= 1 << 64:
            raise ValueError(f"window must be (start, end) with start below end, not {window!r}")
        self.ram = ram
        self.window = window
        self.taken: list[tuple[int, int]] = []

    def place(
        self, name: str, size: int, align: int, minimum: int, *, at: int | None = None, end: int = 1 << 64
    ) -> tuple[int, int]:
        """Address and ``memsz`` of a segment of ``size`` bytes: at ``at``, or in the highest hole below ``end``.

        Raises:
            KexecError: EADDRNOTAVAIL, there is no such place.
        """
        memsz = -(-size // PAGE_SIZE) * PAGE_SIZE
        window = self.window
        if at is not None or end < 1 << 64:
            lowest, after = window or (0, 1 << 64)
            window = (lowest, min(after, end)) if at is None else (max(at, lowest), min(at + memsz, after, end))
        mem = locate_mem_hole(self.ram, self.taken, name=name, memsz=memsz, align=align, minimum=minimum, window=window)
        self.taken.append((mem, mem + memsz))
        return mem, memsz

    def take(self, mem: int, memsz: int) -> None:
        """Keep free what an image has to occupy because it is linked there (kexec-tools' ``valid_memory_range``).

        Raises:
            KexecError: EADDRNOTAVAIL, it is not all RAM and within the window.
        """
        end = mem + memsz
        lowest, after = self.window or (0, 1 << 64)
        reached = mem
        for first, last, kind in sorted(self.ram):
            if kind == E820_TYPE_RAM and first <= reached < last:
                reached = last
        if mem < lowest or end > min(reached, after):
            within = f" within {lowest:#x}-{after:#x}" if self.window is not None else ""
            raise KexecError(
                errno.EADDRNOTAVAIL,
                "add_segment",
                f"Invalid memory segment {mem:#x}-{end:#x}: the image is linked to lie there, and it is not all "
                f"RAM{within}",
            )
        self.taken.append((mem, end))
