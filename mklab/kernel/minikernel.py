"""The minikernel as kexec-tools would prepare it: placed somewhere, and told who it is."""

import functools
import struct
from collections.abc import Sequence

from mklab.errors import require
from mklab.guest import minikernel
from mklab.guest.abi import BOOT_INFO, MOST_RAM_RANGES, NR_CPUS, Boot
from mklab.kernel import kexec_elf
from mklab.kernel.kexec import LoadedImage
from mklab.kernel.layout import SHARED_MEMORY, WINDOW

__all__ = ["minikernel_image"]


def minikernel_image(
    base: int,
    kernel_id: int,
    apicids: Sequence[int],
    *,
    memory: Sequence[tuple[int, int]] | None = None,
    shared: int = SHARED_MEMORY,
    agreed: bool = True,
    trampoline: bool = False,
) -> LoadedImage:
    """The minikernel, ready for kexec_load.

    Args:
        base: physical address, page aligned.
        kernel_id: 0 for the host, 1, 2, ... for spawned kernels; what it calls itself.
        apicids: physical id of each of its logical CPUs, its own first CPU first; 0 to 255.
        memory: its memory map, ``(start, end)`` of each range of RAM; by default 16 MiB from ``base`` on.
        shared: mk_shared_memory=, the physical address of the message area; 0: it allocates one of its own.
        agreed: whether it maps an area outside its own RAM, too, as all kernels here have agreed to; v1 cannot.
        trampoline: whether it sets up a trampoline of its own below 1 MiB, as v1 does in every kernel (defect 11).

    Raises:
        ValueError: an argument is out of range.
    """
    if not 1 <= len(apicids) <= NR_CPUS:
        raise ValueError(f"apicids must name 1 to {NR_CPUS} CPUs, not {apicids!r}")
    for apicid in apicids:
        require("each of apicids", apicid, 0, 255, " (the minikernel's tables end there)")
    ranges = sorted(memory if memory is not None else [(base, base + WINDOW)])
    if len(ranges) > MOST_RAM_RANGES:
        raise ValueError(f"memory must be at most {MOST_RAM_RANGES} ranges, not {memory!r}")
    flags = Boot.AGREED_SHARED_MEMORY * agreed | Boot.NO_TRAMPOLINE * (not trampoline)
    edges = [edge for one in ranges for edge in one]
    edges += [0] * (2 * MOST_RAM_RANGES - len(edges))
    info = struct.pack(f"<IIQII{len(edges)}Q", kernel_id, len(apicids), shared, flags, len(ranges), *edges)
    info += bytes(apicids).ljust(NR_CPUS, b"\xff")
    assert len(info) == BOOT_INFO.size
    image = minikernel()
    return kexec_elf.place(image, _headers(image), base).patched("mk_boot_info", info)


@functools.lru_cache(maxsize=4)
def _headers(image: bytes) -> kexec_elf.ElfInfo:
    """Read once: the kernels of a machine are mostly the same file, each at another place."""
    return kexec_elf.probe(image)
