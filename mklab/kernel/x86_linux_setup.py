"""kexec-tools' ``x86-linux-setup.c``, which ``kexec-bzimage64.c`` follows: what a loader writes into boot_params."""

import errno
from collections.abc import Sequence

from mklab.errors import KexecError
from mklab.kernel.bootparam import (
    BOOT_FLAG,
    E820_MAX_ENTRIES_ZEROPAGE,
    E820_TYPE_RAM,
    HDRS,
    BootE820Entry,
    BootParams,
    E820Range,
)

__all__ = ["COMMAND_LINE_SIZE", "command_line", "init_linux_parameters", "setup_boot_parameters"]

COMMAND_LINE_SIZE = 2048  # what x86 kernels take (arch/x86/include/asm/setup.h)
_KEXEC_LOADER = 0x0D << 4  # type_of_loader: id 0xD is kexec's, version 0


def command_line(cmdline: str, size: int, kept: int, function: str) -> bytes:
    """The command line as it lies behind boot_params, with its final NUL.

    Args:
        cmdline: the text; bytes that are no UTF-8 as Python has them (PEP 383).
        size: bytes that the kernel takes, its NUL included.
        kept: bytes of them that kexec keeps for ``elfcorehdr=``, though only a crash kernel's line has it.
        function: the kernel's function that would refuse it.

    Raises:
        KexecError: EINVAL, it is too long.
        ValueError: it holds a NUL.
    """
    if "\0" in cmdline:
        raise ValueError(f"cmdline must be without NUL, not {cmdline!r}")
    command = cmdline.encode(errors="surrogateescape") + b"\0"
    if len(command) > size - kept:
        reserve = f", of which kexec keeps {kept} for elfcorehdr=" if kept else ""
        raise KexecError(
            errno.EINVAL,
            function,
            f"Kernel command line too long: {len(command)} bytes with its NUL, this kernel takes {size}{reserve}",
        )
    return command


def init_linux_parameters(boot_params: BootParams) -> None:
    """The setup header of a kernel that came without one, a vmlinux.

    kexec-tools says protocol 2.06 here; the upper halves of addresses, which it writes too, came with 2.12.
    """
    boot_params.hdr.boot_flag = BOOT_FLAG
    boot_params.hdr.header = HDRS
    boot_params.hdr.version = 0x020C
    boot_params.hdr.cmdline_size = COMMAND_LINE_SIZE


def setup_boot_parameters(
    boot_params: BootParams, cmd_line_ptr: int, initrd: tuple[int, int], ram: Sequence[E820Range]
) -> None:
    """What kexec tells every kernel.

    Args:
        boot_params: filled in place.
        cmd_line_ptr: physical address of the command line.
        initrd: physical address and bytes of the initial RAM disk; bytes 0 for none.
        ram: the memory map; Linux hands on the first 128 ranges.
    """
    _set_64(boot_params, "cmd_line_ptr", "ext_cmd_line_ptr", cmd_line_ptr)
    address, size = initrd
    if size:
        _set_64(boot_params, "ramdisk_image", "ext_ramdisk_image", address)
        _set_64(boot_params, "ramdisk_size", "ext_ramdisk_size", size)
    boot_params.hdr.type_of_loader = _KEXEC_LOADER
    boot_params.hdr.loadflags = 0
    _set_memory_map(boot_params, ram)


def _set_64(boot_params: BootParams, low: str, high: str, value: int) -> None:
    """Store a value: its lower half in a field of the setup header, its upper half in one of protocol 2.12."""
    setattr(boot_params.hdr, low, value & 0xFFFFFFFF)
    setattr(boot_params, high, value >> 32)


def _set_memory_map(boot_params: BootParams, ram: Sequence[E820Range]) -> None:
    """``setup_e820_entries``, and in ``setup_boot_parameters`` the older counts of the memory above 1 MiB in KiB."""
    for index, (start, end, kind) in enumerate(ram[:E820_MAX_ENTRIES_ZEROPAGE]):
        boot_params.e820_table[index] = BootE820Entry(start, end - start, kind)
        boot_params.e820_entries = index + 1
        if kind == E820_TYPE_RAM and start <= 0x100000 < end - 1:
            mem_k = ((end - 1) >> 10) - (0x100000 >> 10)
            boot_params.screen_info.ext_mem_k = min(mem_k, 0xFC00)
            boot_params.alt_mem_k = min(mem_k, 0xFFFFFFFF)
