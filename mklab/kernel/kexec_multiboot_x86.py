"""kexec-tools' ``kexec-multiboot-x86.c``: images after the Multiboot Specification, version 0.6.96 ("v1").

Such an image is entered in 32-bit protected mode, and kexec enters in 64-bit mode: purgatory goes between the two. What
kexec-tools leaves out is here too: addresses in the header (the "a.out kludge"), and memory information for every image
rather than for those that insist on it. Everything is placed from the top of memory (see ``kexec_file``).
"""

import ctypes
import errno
import struct
from collections.abc import Sequence
from ctypes import c_uint32, c_uint64
from dataclasses import dataclass

from mklab.errors import ImageError, KexecError
from mklab.kernel import kexec_elf
from mklab.kernel import purgatory as purgatory_image
from mklab.kernel.bootparam import E820_TYPE_RAM, E820Range
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room

__all__ = [
    "AOUT_KLUDGE",
    "BOOTLOADER",
    "BOOTLOADER_MAGIC",
    "FLAGS",
    "FORMAT",
    "MULTIBOOT_SEARCH",
    "AddrRangeDesc",
    "Module",
    "MultibootHeader",
    "MultibootInfo",
    "executable",
    "find_header",
    "information",
    "load",
    "probe",
]

FORMAT = "multiboot"
MULTIBOOT_SEARCH = 8192  # bytes from the beginning of the file that hold the header
MAGIC = 0x1BADB002
BOOTLOADER_MAGIC = 0x2BADB002  # what an image finds in EAX
BOOTLOADER = "kexec mklab"

PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE, AOUT_KLUDGE = 1 << 0, 1 << 1, 1 << 2, 1 << 16
FLAGS = {
    PAGE_ALIGN: "PAGE_ALIGN",
    MEMORY_INFO: "MEMORY_INFO",
    VIDEO_MODE: "VIDEO_MODE",
    AOUT_KLUDGE: "AOUT_KLUDGE",
}
_UNSUPPORTED = 0xFFF8  # bits 0 to 15 must be understood; VIDEO_MODE is, and ignored, as kexec-tools does
_INFO_MEMORY, _INFO_CMDLINE, _INFO_MODS, _INFO_MEM_MAP, _INFO_BOOT_LOADER_NAME = (1 << bit for bit in (0, 2, 3, 6, 9))
_NOT_RAM = 0xBAD  # kexec-tools' type for every range that is not RAM, which is 1
_MIN_ADDR = 0x3000
_4_GIB = 1 << 32

Module = tuple[bytes, str]
"""A module's bytes, and its command line (by custom with the module's name as first word)."""


@dataclass(frozen=True)
class MultibootHeader:
    """The header in an image: the specification's fields, and ``offset``, where in the file it lies.

    Without AOUT_KLUDGE in ``flags`` the addresses mean nothing, and are 0 here.
    """

    offset: int
    magic: int
    flags: int
    checksum: int
    header_addr: int = 0
    load_addr: int = 0
    load_end_addr: int = 0
    bss_end_addr: int = 0
    entry_addr: int = 0


class MultibootInfo(ctypes.LittleEndianStructure):
    """The multiboot information structure, whose physical address an image finds in EBX."""

    _pack_ = 1
    _fields_ = (
        ("flags", c_uint32),
        ("mem_lower", c_uint32),
        ("mem_upper", c_uint32),
        ("boot_device", c_uint32),
        ("cmdline", c_uint32),
        ("mods_count", c_uint32),
        ("mods_addr", c_uint32),
        ("syms", c_uint32 * 4),
        ("mmap_length", c_uint32),
        ("mmap_addr", c_uint32),
        ("drives_length", c_uint32),
        ("drives_addr", c_uint32),
        ("config_table", c_uint32),
        ("boot_loader_name", c_uint32),
        ("apm_table", c_uint32),
        ("vbe", c_uint32 * 4),
    )


class AddrRangeDesc(ctypes.LittleEndianStructure):
    """One range of the memory map; ``size`` counts what follows it."""

    _pack_ = 1
    _fields_ = (("size", c_uint32), ("base_addr", c_uint64), ("length", c_uint64), ("type", c_uint32))


def find_header(image: bytes) -> MultibootHeader | None:
    """The first header in the first 8 KiB, at a multiple of 4 bytes and with the right checksum; or None.

    Raises:
        ImageError: it says that it holds addresses, and ends before them.
    """
    searched = image[:MULTIBOOT_SEARCH]
    for offset in range(0, len(searched) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<3I", searched, offset)
        if magic != MAGIC or magic + flags + checksum & 0xFFFFFFFF:
            continue
        if not flags & AOUT_KLUDGE:
            return MultibootHeader(offset, magic, flags, checksum)
        if offset + 32 > len(searched):
            raise ImageError(
                f"truncated or corrupt multiboot header: at {offset:#x}, with addresses, it ends at {offset + 32:#x}; "
                f"it must lie in the file's first {len(searched)} bytes"
            )
        return MultibootHeader(offset, magic, flags, checksum, *struct.unpack_from("<5I", searched, offset + 12))
    return None


def probe(image: bytes) -> MultibootHeader:
    """``multiboot_x86_probe``: the header of an image that can be loaded.

    Raises:
        ImageError: the header is cut off.
        KexecError: ENOEXEC: there is no header, or it requires what this loader does not know.
    """
    header = find_header(image)
    if header is None:
        raise KexecError(
            errno.ENOEXEC,
            "multiboot_x86_probe",
            f"Not multiboot: no header with magic {MAGIC:#x} and a right checksum in the first {MULTIBOOT_SEARCH} "
            "bytes, at a multiple of 4",
        )
    unknown = header.flags & _UNSUPPORTED
    if unknown:
        raise KexecError(
            errno.ENOEXEC,
            "multiboot_x86_probe",
            f"The multiboot header at {header.offset:#x} requires options that are not understood: flags {unknown:#x}",
        )
    return header


def executable(image: bytes) -> LoadedImage:
    """The image's own segments, and the address at which it is entered in 32-bit protected mode.

    By the addresses in the header if AOUT_KLUDGE is set, whatever else the file is; otherwise by its ELF32 headers.

    Raises:
        ImageError: the file is truncated, or its headers contradict themselves.
        KexecError: ENOEXEC: as :func:`probe`, or neither addresses nor an ELF32 file for the i386.
    """
    header = probe(image)
    if header.flags & AOUT_KLUDGE:
        return LoadedImage(FORMAT, header.entry_addr, (_by_addresses(image, header),))
    if image[:5] != b"\x7fELF\x01":
        found = "an ELF64 file" if image[:5] == b"\x7fELF\x02" else "no ELF file"
        raise KexecError(
            errno.ENOEXEC,
            "multiboot_x86_probe",
            f"A multiboot header without addresses (bit 16 of its flags) belongs in an ELF32 file; this is {found}",
        )
    info = kexec_elf.build_elf_exec_info(image, 32)
    machine = info.header["e_machine"]
    if machine not in ("EM_386", "EM_486"):
        raise KexecError(errno.ENOEXEC, "elf_x86_probe", f"Not for the i386: e_machine is {machine}")
    segments = kexec_elf.load_segments(image, info)
    return LoadedImage(FORMAT, int(info.header["e_entry"]), segments, dict(info.symbols))


def _by_addresses(image: bytes, header: MultibootHeader) -> KexecSegment:
    """The one segment of an image whose header says where it goes (the "a.out kludge")."""

    def corrupt(why: str) -> ImageError:
        return ImageError(f"corrupt multiboot header at {header.offset:#x}: {why}")

    before = header.header_addr - header.load_addr
    if before < 0:
        raise corrupt(f"header_addr {header.header_addr:#x} is below load_addr {header.load_addr:#x}")
    offset = header.offset - before
    if offset < 0:
        raise corrupt(f"what goes to load_addr {header.load_addr:#x} would begin {-offset} bytes before the file")
    end = header.load_end_addr or header.load_addr + len(image) - offset
    if end <= header.header_addr:
        raise corrupt(f"load_end_addr {end:#x} leaves out the header at {header.header_addr:#x}")
    loaded = end - header.load_addr
    if offset + loaded > len(image):
        raise ImageError(
            f"truncated multiboot image: by load_end_addr {end:#x} it ends at {offset + loaded:#x} in the file, "
            f"which ends at {len(image):#x}"
        )
    bss_end = header.bss_end_addr or end
    if bss_end < end:
        raise corrupt(f"bss_end_addr {bss_end:#x} is below the end of what is loaded, {end:#x}")
    if bss_end > _4_GIB:
        raise corrupt(f"it ends at {bss_end:#x}, beyond 4 GiB")
    mem = header.load_addr & -PAGE_SIZE
    buf = bytes(header.load_addr - mem) + image[offset : offset + loaded]
    return KexecSegment(buf, mem, -(-(bss_end - mem) // PAGE_SIZE) * PAGE_SIZE, "image")


def load(
    image: bytes,
    *,
    ram: Sequence[E820Range],
    cmdline: str = "",
    name: str = "",
    modules: Sequence[Module] = (),
    window: tuple[int, int] | None = None,
    checks: bool = True,
) -> LoadedImage:
    """``multiboot_x86_load``: the image, its modules, the information structure, and purgatory, which is entered.

    Args:
        image: the file's bytes.
        ram: the memory map that the image is told; the segments go into its ranges of ``E820_TYPE_RAM`` below 4 GiB.
        cmdline: the image's command line.
        name: the file's name, which is the first word of what the image gets; none if empty.
        modules: each begins at a page, and has a command line of its own.
        window: lowest address and first address after the memory that segments may use; None for all of ``ram``.
        checks: whether purgatory verifies the segments' SHA-256 (kexec-tools leaves it out with ``--no-checks``).

    Returns:
        Segments, and purgatory's entry in 64-bit mode; ``multiboot_info`` is what EBX will hold.

    Raises:
        ImageError: the file is truncated, or its headers contradict themselves.
        KexecError: ENOEXEC: as :func:`executable`; EADDRNOTAVAIL: a segment finds no room, or where the image is linked
            there is none.
        ValueError: ``ram``, ``window`` or a command line is out of its range.
    """
    own = executable(image)
    room = Room(ram, window)
    for segment in own.segments:
        room.take(segment.mem, segment.memsz)
    through = purgatory_image.place(room, end=_4_GIB)
    segments = list(own.segments)
    placed = []
    for index, (data, arguments) in enumerate(modules):
        mem, memsz = room.place(f"module {index}", max(len(data), 1), PAGE_SIZE, _MIN_ADDR, end=_4_GIB)
        segments.append(KexecSegment(data, mem, memsz, f"module {index}"))
        placed.append((mem, mem + len(data), arguments))
    first = f"{name} {cmdline}" if name else cmdline
    size = len(information(0, first, placed, ram))
    where, memsz = room.place("multiboot information", size, 4, _MIN_ADDR, end=_4_GIB)
    segments.append(KexecSegment(information(where, first, placed, ram), where, memsz, "multiboot_info"))
    loaded = LoadedImage(FORMAT, own.entry, tuple(segments), own.symbols, multiboot_info=where)
    registers = {"eax": BOOTLOADER_MAGIC, "ebx": where}
    return purgatory_image.enter_through(through, loaded, checks=checks, entry32_regs=registers)


def information(where: int, cmdline: str, modules: Sequence[tuple[int, int, str]], ram: Sequence[E820Range]) -> bytes:
    """The information structure for address ``where``, and behind it what it points to: one segment."""
    info = MultibootInfo(flags=_INFO_MEMORY | _INFO_CMDLINE | _INFO_MEM_MAP | _INFO_BOOT_LOADER_NAME)
    info.mem_lower, info.mem_upper = _memory_sizes(ram)
    behind = bytearray()

    def add(data: bytes) -> int:
        behind.extend(bytes(-len(behind) % 4))
        address = where + ctypes.sizeof(MultibootInfo) + len(behind)
        behind.extend(data)
        return address

    info.cmdline = add(_string("cmdline", cmdline))
    info.boot_loader_name = add(_string("boot_loader_name", BOOTLOADER))
    size = ctypes.sizeof(AddrRangeDesc) - 4
    ranges = b"".join(
        bytes(AddrRangeDesc(size, start, end - start, 1 if kind == E820_TYPE_RAM else _NOT_RAM))
        for start, end, kind in ram
    )
    info.mmap_addr, info.mmap_length = add(ranges), len(ranges)
    if modules:
        info.flags |= _INFO_MODS
        lines = [add(_string("a module's command line", line)) for _, _, line in modules]
        entries = [struct.pack("<4I", *part[:2], line, 0) for part, line in zip(modules, lines, strict=True)]
        info.mods_addr, info.mods_count = add(b"".join(entries)), len(modules)
    return bytes(info) + bytes(behind)


def _string(what: str, text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"{what} must be without NUL, not {text!r}")
    return text.encode(errors="surrogateescape") + b"\0"


def _memory_sizes(ram: Sequence[E820Range]) -> tuple[int, int]:
    """``mem_lower`` and ``mem_upper``: KiB of RAM from 0, at most 640, and from 1 MiB to the first hole."""
    lower = upper = 0
    for start, end, kind in ram:
        if kind == E820_TYPE_RAM and start == 0:
            lower = min(end, 640 << 10)
        if kind == E820_TYPE_RAM and start <= 1 << 20 < end:
            upper = min(end - (1 << 20), ((1 << 32) - 1) << 10)
    return lower >> 10, upper >> 10
