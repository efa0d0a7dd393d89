"""kexec-tools' ``kexec-elf-x86_64.c``: an ELF64 executable, such as a vmlinux, and what Linux is handed with it."""

import ctypes
from collections.abc import Sequence
from dataclasses import replace

from mklab.kernel import kexec_elf
from mklab.kernel import purgatory as purgatory_image
from mklab.kernel.bootparam import BootParams, E820Range
from mklab.kernel.kexec import KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room
from mklab.kernel.x86_linux_setup import (
    COMMAND_LINE_SIZE,
    command_line,
    init_linux_parameters,
    setup_boot_parameters,
)

__all__ = ["load"]

INITRD_BASE = 0x1000000
_MIN_ADDR = 0x3000


def load(
    image: bytes,
    *,
    ram: Sequence[E820Range],
    base: int | None = None,
    cmdline: str = "",
    initrd: bytes = b"",
    window: tuple[int, int] | None = None,
    purgatory: bool = True,
    checks: bool = True,
) -> LoadedImage:
    """``elf_x86_64_load`` with ``--args-linux``: the executable, boot_params, initrd and purgatory.

    Args:
        image: the file's bytes.
        ram: the memory map that the new kernel shall see, and into which the segments go.
        base: where the lowest page of an ET_DYN image goes; None for where it is linked.
        cmdline: the new kernel's command line.
        initrd: the bytes of its initial RAM disk; none if empty.
        window: lowest address and first address after the memory that segments may use; None for all of ``ram``.
        purgatory: whether purgatory is loaded too, and entered instead of the kernel: it hands over boot_params.
        checks: whether purgatory verifies the segments' SHA-256 (kexec-tools leaves it out with ``--no-checks``).

    Raises:
        ImageError, KexecError: as :func:`mklab.kernel.kexec_elf.load`; EINVAL for a command line that is too long,
            EADDRNOTAVAIL for a segment that finds no room, or where the image is linked there is none.
        ValueError: ``base``, ``ram``, ``window`` or ``cmdline`` is out of its range.
    """
    room = Room(ram, window)
    loaded = kexec_elf.load(image, base=base)
    for segment in loaded.segments:
        room.take(segment.mem, segment.memsz)
    command = command_line(cmdline, COMMAND_LINE_SIZE, 0, "elf_x86_64_load")
    through = purgatory_image.place(room) if purgatory else None
    params = room.place("boot_params", ctypes.sizeof(BootParams) + len(command), 16, _MIN_ADDR)
    disk = room.place("initrd", len(initrd), 1, INITRD_BASE) if initrd else (0, 0)

    boot_params = BootParams()
    init_linux_parameters(boot_params)
    setup_boot_parameters(boot_params, params[0] + ctypes.sizeof(BootParams), (disk[0], len(initrd)), ram)
    segments = [*loaded.segments, KexecSegment(bytes(boot_params) + command, *params, "boot_params")]
    if initrd:
        segments.append(KexecSegment(initrd, *disk, "initrd"))
    loaded = replace(loaded, segments=tuple(segments), boot_params=params[0])
    return purgatory_image.enter_through(through, loaded, checks=checks) if through else loaded
