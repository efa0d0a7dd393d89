"""``arch/x86/kernel/kexec-bzimage64.c``: what kexec checks and loads of a bzImage.

What Linux adds from the machine it runs on is left out: EFI tables, EDD, ``screen_info`` of the host, the device tree,
and the seed for the random number generator (it would make each run another). Purgatory, which Linux loads with every
bzImage and which sets RSI, is an option here; without it, whoever enters the kernel hands it
``LoadedImage.boot_params`` in RSI, or does not (RFC v1's defect 13).
"""

import ctypes
import errno
from collections.abc import Iterator, Sequence

from mklab.errors import ImageError, KexecError
from mklab.kernel import purgatory as purgatory_image
from mklab.kernel.bootparam import (
    BOOT_FLAG,
    HDR_OFFSET,
    HDRS,
    LOADED_HIGH,
    XLF_CAN_BE_LOADED_ABOVE_4G,
    XLF_KERNEL_64,
    BootParams,
    E820Range,
    SetupHeader,
)
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room
from mklab.kernel.x86_linux_setup import command_line, setup_boot_parameters

__all__ = [
    "ENTRY64_OFFSET",
    "FORMAT",
    "MIN_FILE_SIZE",
    "load",
    "lowest_load_address",
    "probe",
    "protected_mode_offset",
    "refusals",
]

FORMAT = "bzImage64"
SECTOR = 512
MIN_FILE_SIZE = 2 * SECTOR  # boot sector and the first sector of the setup code hold the header
ENTRY64_OFFSET = 0x200  # of startup_64 in the protected-mode code (boot.rst, "64-bit Boot Protocol")

MIN_BOOTPARAM_ADDR = 0x3000
MIN_KERNEL_LOAD_ADDR = 0x100000
MIN_INITRD_LOAD_ADDR = 0x1000000
MAX_ELFCOREHDR_STR_LEN = 30  # Linux keeps this room on every command line, though only a crash kernel's uses it


def refusals(image: bytes) -> Iterator[KexecError]:
    """Each check of ``bzImage64_probe`` that ``image`` fails, in the function's order; Linux stops at the first.

    The checks on the running host (EFI mode, 5-level paging) do not apply here.
    """

    def refuse(reason: str) -> KexecError:
        return KexecError(errno.ENOEXEC, "bzImage64_probe", reason)

    if len(image) < MIN_FILE_SIZE:
        yield refuse(f"File is too short to be a bzImage: {len(image)} bytes, two sectors are {MIN_FILE_SIZE}")
        return
    header = SetupHeader.from_buffer_copy(image, HDR_OFFSET)
    if header.header != HDRS:
        yield refuse(f'Not a bzImage: {header.header:#010x} at offset 0x202, "HdrS" is {HDRS:#010x}')
    if header.boot_flag != BOOT_FLAG:
        yield refuse(f"No x86 boot sector present: {header.boot_flag:#06x} at offset 0x1fe, not {BOOT_FLAG:#06x}")
    if header.version < 0x020C:
        yield refuse(f"Must be at least protocol version 2.12, is {header.version >> 8}.{header.version & 0xFF:02}")
    if not header.loadflags & LOADED_HIGH:
        yield refuse(f"zImage not a bzImage: LOADED_HIGH is not set in loadflags {header.loadflags:#x}")
    if not header.xloadflags & XLF_KERNEL_64:
        yield refuse(f"Not a bzImage64. XLF_KERNEL_64 is not set in xloadflags {header.xloadflags:#x}")
    if not header.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G:
        yield refuse(f"XLF_CAN_BE_LOADED_ABOVE_4G is not set in xloadflags {header.xloadflags:#x}")


def probe(image: bytes) -> SetupHeader:
    """``bzImage64_probe``: the setup header of an image that kexec accepts.

    Raises:
        KexecError: ENOEXEC, with the first of :func:`refusals`.
    """
    for refusal in refusals(image):
        raise refusal
    return SetupHeader.from_buffer_copy(image, HDR_OFFSET)


def protected_mode_offset(header: SetupHeader) -> int:
    """Where in the file the protected-mode code begins: after the boot sector and the setup code.

    ``setup_sects`` 0 means 4 (boot.rst).
    """
    return int((header.setup_sects or 4) + 1) * SECTOR


def lowest_load_address(header: SetupHeader) -> int:
    """The lowest physical address at which Linux's loader would put this kernel.

    Below its ``pref_address`` the decompressor would leave for that address anyway, whoever owns the memory there.
    """
    lowest = max(header.pref_address, MIN_KERNEL_LOAD_ADDR)
    return _align_up(lowest, max(header.kernel_alignment, PAGE_SIZE))


def load(
    image: bytes,
    *,
    base: int | None = None,
    ram: Sequence[E820Range],
    cmdline: str = "",
    initrd: bytes = b"",
    window: tuple[int, int] | None = None,
    purgatory: bool = False,
    checks: bool = True,
) -> LoadedImage:
    """``bzImage64_load``: the segments boot_params (with the command line), kernel and, if given, initrd.

    Args:
        image: the file's bytes.
        base: the kernel's load address, a multiple of its ``kernel_alignment``; None for the highest free place.
        ram: the memory map that the new kernel shall see; the segments go into its ranges of ``E820_TYPE_RAM``. Linux
            hands on the first 128 ranges, and so does this.
        cmdline: the new kernel's command line.
        initrd: the bytes of its initial RAM disk; none if empty.
        window: lowest address and first address after the memory that segments may use; None for all of ``ram``.
        purgatory: whether purgatory is loaded too, and entered instead of the kernel: it hands over boot_params.
        checks: whether purgatory verifies the segments' SHA-256 (kexec-tools leaves it out with ``--no-checks``).

    Raises:
        KexecError: ENOEXEC for an image that the probe refuses or that ends in its setup code; EINVAL for a command
            line that is too long; EADDRNOTAVAIL for a segment that finds no room.
        ImageError: the image is truncated, or its header contradicts itself.
        ValueError: ``base``, ``ram``, ``window`` or ``cmdline`` is out of its range.
    """
    header = probe(image)
    code = protected_mode_offset(header)
    _check_header(image, header)
    command = command_line(cmdline, header.cmdline_size, MAX_ELFCOREHDR_STR_LEN, "bzImage64_load")
    align = max(header.kernel_alignment, PAGE_SIZE)
    if base is not None and base % align:
        raise ValueError(f"base must be a multiple of the image's kernel_alignment {align:#x}, not {base:#x}")

    params_bufsz = _align_up(ctypes.sizeof(BootParams) + len(command) + MAX_ELFCOREHDR_STR_LEN, 16)
    room = Room(ram, window)

    def place_params() -> tuple[int, int]:
        return room.place("boot_params", params_bufsz, 16, MIN_BOOTPARAM_ADDR)

    def place_kernel() -> tuple[int, int]:
        return room.place("kernel", header.init_size, align, lowest_load_address(header), at=base)

    # Linux places purgatory first, then boot_params. A place that the caller chose for the kernel is kept free for it.
    kernel = place_kernel() if base is not None else None
    through = purgatory_image.place(room) if purgatory else None
    params = place_params()
    kernel = kernel or place_kernel()
    initrd_place = room.place("initrd", len(initrd), PAGE_SIZE, MIN_INITRD_LOAD_ADDR) if initrd else (0, 0)

    zero_page = bytearray(params_bufsz)
    copied = slice(HDR_OFFSET, 0x202 + image[0x201])
    zero_page[copied] = image[copied]
    zero_page[ctypes.sizeof(BootParams) : ctypes.sizeof(BootParams) + len(command)] = command
    boot_params = BootParams.from_buffer(zero_page)
    setup_boot_parameters(boot_params, params[0] + ctypes.sizeof(BootParams), (initrd_place[0], len(initrd)), ram)

    segments = [
        KexecSegment(bytes(zero_page), *params, "boot_params"),
        KexecSegment(image[code:], *kernel, "kernel"),
    ]
    if initrd:
        segments.append(KexecSegment(initrd, *initrd_place, "initrd"))
    loaded = LoadedImage(FORMAT, kernel[0] + ENTRY64_OFFSET, tuple(segments), boot_params=params[0])
    return purgatory_image.enter_through(through, loaded, checks=checks) if through else loaded


def _align_up(value: int, align: int) -> int:
    return -(-value // align) * align


def _check_header(image: bytes, header: SetupHeader) -> None:
    """That the header agrees with the file and with itself. Linux checks only the first."""
    start = protected_mode_offset(header)
    if len(image) < start:
        raise KexecError(
            errno.ENOEXEC,
            "bzImage64_load",
            f"bzImage truncated: its setup code ends at {start:#x}, the file at {len(image):#x}",
        )
    # Linux takes what is there, and the kernel's decompressor would find the end of its input missing.
    end = start + header.syssize * 16
    if len(image) < end:
        raise ImageError(
            f"truncated bzImage: by syssize in its header the kernel ends at {end:#x}, the file at {len(image):#x}. "
            "Get the file again."
        )
    if image[0x201] >= 0x80:
        raise ImageError(f"corrupt bzImage: the jump at 0x200 gives the header's size, {image[0x201]:#04x} is negative")
    if header.kernel_alignment & (header.kernel_alignment - 1):
        raise ImageError(f"corrupt bzImage: kernel_alignment at 0x230 is {header.kernel_alignment:#x}, no power of two")
