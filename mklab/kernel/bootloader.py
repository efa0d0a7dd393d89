"""A boot loader for an image that is alone on its machine: the memory map, the loading, and the state it is entered in.

The formats and most of their loading are kexec's (:mod:`mklab.kernel.image`). But nothing runs here before the image
does, so each is entered as its own specification has it, without purgatory: a bzImage and an ELF64 file by Linux's
64-bit boot protocol (Documentation/arch/x86/boot.rst), a multiboot image in 32-bit protected mode.

Things are placed where boot loaders of PCs have them, since images count on it: a bzImage at its preferred address,
modules behind the image, and what the loader tells below 640 KiB.
"""

import struct
from collections.abc import Sequence

from mklab.errors import ImageError, KexecError, require
from mklab.kernel import kexec_bzimage64, kexec_elf, kexec_elf_x86_64, kexec_multiboot_x86
from mklab.kernel.bootparam import E820_TYPE_RAM, E820_TYPE_RESERVED, E820Range
from mklab.kernel.image import probe
from mklab.kernel.kexec import PAGE_SIZE, KexecSegment, LoadedImage
from mklab.kernel.kexec_file import Room
from mklab.kernel.kexec_multiboot_x86 import BOOTLOADER_MAGIC, Module
from mklab.machine.machine import Machine
from mklab.machine.memory import Range
from mklab.machine.ownership import Image
from mklab.machine.power import entry_registers
from mklab.machine.registers import CR0, Registers, Segment
from mklab.machine.schedule import RoundRobin

__all__ = ["DEFAULT_MEMORY", "KERNEL", "LEAST_MEMORY", "MOST_MEMORY", "boot", "load", "memory_map"]

KERNEL = "kernel"
"""The image's name on its machine: all RAM is its own, so it owns every CPU that executes there."""

DEFAULT_MEMORY, LEAST_MEMORY, MOST_MEMORY = 128 << 20, 2 << 20, 64 << 30
"""Bytes."""

_EBDA, _LOW_END, _BIOS, _HIGH = 0x9FC00, 0xA0000, 0xF0000, 0x100000
"""As on every PC: the BIOS keeps the last KiB below 640 KiB; then come the video memory and ROMs, then the rest."""
_HOLE, _4_GIB = 3 << 30, 1 << 32
"""RAM that would lie from 3 GiB to 4 GiB lies above 4 GiB: devices have their addresses there."""
_CODE, _DATA = 0x10, 0x18
"""Selectors: Linux's __BOOT_CS and __BOOT_DS; a multiboot image may not count on any."""
_QUANTUM = 2000
"""Instructions: what passes while a CPU waits for another one in a loop."""


def memory_map(size: int) -> list[E820Range]:
    """What the image is told of ``size`` bytes of memory.

    Raises:
        ValueError: too little for anything, more than a machine has, or no whole pages.
    """
    require("the memory", size, LEAST_MEMORY, MOST_MEMORY, " bytes (2 MiB to 64 GiB)")
    if size % PAGE_SIZE:
        raise ValueError(f"the memory must be whole pages of {PAGE_SIZE} bytes, not {size!r}")
    ranges = [
        (0, _EBDA, E820_TYPE_RAM),
        (_EBDA, _LOW_END, E820_TYPE_RESERVED),
        (_BIOS, _HIGH, E820_TYPE_RESERVED),
        (_HIGH, min(size, _HOLE), E820_TYPE_RAM),
    ]
    if size > _HOLE:
        ranges.append((_4_GIB, _4_GIB + size - _HOLE, E820_TYPE_RAM))
    return ranges


def _ram(size: int) -> list[Range]:
    """The machine's RAM: the ranges of the map, and the BIOS's last KiB."""
    ranges = [(start, end) for start, end, kind in memory_map(size) if kind == E820_TYPE_RAM]
    return [(start, (_LOW_END if end == _EBDA else end) - start) for start, end in ranges]


def load(
    image: bytes,
    *,
    ram: Sequence[E820Range],
    cmdline: str = "",
    initrd: bytes = b"",
    modules: Sequence[Module] = (),
    name: str = "",
) -> LoadedImage:
    """Where everything goes.

    Args:
        image: the file's bytes.
        ram: the memory map that the image is told; the segments go into its ranges of ``E820_TYPE_RAM``.
        cmdline: the image's command line.
        initrd: the bytes of a bzImage's or an ELF64 file's initial RAM disk; none if empty.
        modules: those of a multiboot image.
        name: the file's name, which is the first word of a multiboot image's command line; none if empty.

    Raises:
        ImageError: the file is of no known format, truncated or corrupt, or it takes no ``initrd`` or ``modules``.
        KexecError: ENOEXEC: its loader refuses it; EINVAL: the command line is too long; EADDRNOTAVAIL: no room.
        ValueError: a command line has no such bytes.
    """
    kind = probe(image)
    if kind == "multiboot":
        if initrd:
            raise ImageError("a multiboot image takes modules, and no initrd")
        return _load_multiboot(image, ram, f"{name} {cmdline}" if name else cmdline, modules)
    if modules:
        raise ImageError(f"{'a bzImage' if kind == 'bzImage64' else 'an ELF64 file'} takes an initrd, and no modules")
    if kind == "bzImage64":
        base = kexec_bzimage64.lowest_load_address(kexec_bzimage64.probe(image))
        return kexec_bzimage64.load(image, base=base, ram=ram, cmdline=cmdline, initrd=initrd, window=(0, _4_GIB))
    base_of_elf = _base(kexec_elf.probe(image))
    top = max(segment.mem + segment.memsz for segment in kexec_elf.load(image, base=base_of_elf).segments)
    return kexec_elf_x86_64.load(
        image,
        ram=ram,
        base=base_of_elf,
        cmdline=cmdline,
        initrd=initrd,
        window=(0, max(_4_GIB, top)),
        purgatory=False,
    )


def _base(info: kexec_elf.ElfInfo) -> int | None:
    """Where an ET_DYN image goes: where it is linked, or from 1 MiB on if that is below; None: where it is linked."""
    lowest = min((phdr.p_paddr for _, phdr in info.loads), default=0)
    if info.header["e_type"] != "ET_DYN" or lowest >= _HIGH:
        return None
    align = max(PAGE_SIZE, *(phdr.p_align for _, phdr in info.loads), 0)
    return -(-_HIGH // align) * align


def _load_multiboot(image: bytes, ram: Sequence[E820Range], cmdline: str, modules: Sequence[Module]) -> LoadedImage:
    own = kexec_multiboot_x86.executable(image)
    room = Room(ram, (0, _4_GIB))
    for segment in own.segments:
        room.take(segment.mem, segment.memsz)
    segments = list(own.segments)
    placed = []
    for index, (data, line) in enumerate(modules):
        name, behind = f"module {index}", max(end for _, end in room.taken)
        mem, memsz = _place(room, name, max(len(data), 1), at=behind)
        segments.append(KexecSegment(data, mem, memsz, name))
        placed.append((mem, mem + len(data), line))
    size = len(kexec_multiboot_x86.information(0, cmdline, placed, ram))
    where, memsz = _place(room, "multiboot information", size, end=_EBDA)
    data = kexec_multiboot_x86.information(where, cmdline, placed, ram)
    segments.append(KexecSegment(data, where, memsz, "multiboot_info"))
    return LoadedImage(own.format, own.entry, tuple(segments), own.symbols, multiboot_info=where)


def _place(room: Room, name: str, size: int, *, at: int | None = None, end: int = _4_GIB) -> tuple[int, int]:
    """Address and ``memsz``: at ``at``, or in the highest hole below ``end``; if there is none, below 4 GiB.

    Raises:
        KexecError: EADDRNOTAVAIL, there is no room.
    """
    try:
        return room.place(name, size, PAGE_SIZE, PAGE_SIZE, at=at, end=end)
    except KexecError:
        return room.place(name, size, PAGE_SIZE, PAGE_SIZE, end=_4_GIB)


def boot(
    image: bytes,
    *,
    cpus: int = 1,
    memory: int = DEFAULT_MEMORY,
    cmdline: str = "",
    initrd: bytes = b"",
    modules: Sequence[Module] = (),
    name: str = "",
) -> Machine:
    """A machine whose first CPU is about to execute the image's first instruction; the others wait for a SIPI.

    It has a debug exit at port 0xF4. Arguments are those of :func:`load`; ``memory`` is in bytes.

    Raises:
        ImageError, KexecError: as :func:`load`.
        ValueError: an argument is out of its range.
        OSError: this computer does not have the memory.
    """
    ram = memory_map(memory)
    loaded = load(image, ram=ram, cmdline=cmdline, initrd=initrd, modules=modules, name=name)
    room = Room(ram, None)
    for segment in loaded.segments:
        room.take(segment.mem, segment.memsz)
    top = max(_4_GIB, ram[-1][1])
    tables, _ = _place(room, "boot loader's tables", len(_tables(0, top)), end=_EBDA)
    machine = Machine(cpus, _ram(memory), RoundRobin(_QUANTUM), debug_exit=True)
    for segment in loaded.segments:
        machine.poke(segment.mem, segment.buf)
    ranges = [[start, start + length] for start, length in machine.memory.ranges]
    machine.add_image(Image(KERNEL, ranges, loaded.entry, dict(loaded.symbols)))
    stack = tables + PAGE_SIZE
    if loaded.format == "multiboot":
        descriptors, registers = _descriptors(0xCF9B), _protected(loaded, stack)
        machine.poke(tables, descriptors)
    else:
        descriptors = _descriptors(0xAF9B)
        machine.poke(tables, _tables(tables, top))
        registers = entry_registers(loaded.entry, stack, loaded.boot_params or 0, tables + PAGE_SIZE)
    registers.gdtr = Segment(0, tables, len(descriptors) - 1, 0)
    machine.enter_kernel(0, registers)
    return machine


def _descriptors(code: int) -> bytes:
    """A GDT of two flat segments; ``code`` is the upper half of the code segment's attributes and limit."""
    flat = [(0xCF93 if one == _DATA else code) for one in (_CODE, _DATA)]
    return bytes(_CODE) + b"".join(struct.pack("<HHBBBB", 0xFFFF, 0, 0, one & 0xFF, one >> 8, 0) for one in flat)


def _tables(where: int, top: int) -> bytes:
    """For address ``where``: a page of GDT and stack, and page tables that map memory up to ``top`` to itself.

    In pages of 2 MiB, which every CPU has in 64-bit mode (SDM "4-Level Paging").
    """
    gib = -(-top >> 30)
    directories = where + 3 * PAGE_SIZE
    pml4 = struct.pack("<Q", where + 2 * PAGE_SIZE | 3)
    pointers = struct.pack(f"<{gib}Q", *(directories + PAGE_SIZE * index | 3 for index in range(gib)))
    pages = struct.pack(f"<{gib << 9}Q", *(index << 21 | 0x83 for index in range(gib << 9)))
    return b"".join(part.ljust(PAGE_SIZE, b"\0") for part in (_descriptors(0xAF9B), pml4, pointers, pages))


def _protected(loaded: LoadedImage, stack: int) -> Registers:
    """Multiboot Specification 0.6.96, "Machine state"; the stack is more than it promises."""
    registers = Registers(
        cs=Segment(_CODE, 0, 0xFFFFFFFF, 0xC09B00),
        rip=loaded.entry,
        rsp=stack,
        rax=BOOTLOADER_MAGIC,
        rbx=loaded.multiboot_info or 0,
        cr0=CR0.PE | CR0.ET,
    )
    for name in ("ds", "es", "ss", "fs", "gs"):
        setattr(registers, name, Segment(_DATA, 0, 0xFFFFFFFF, 0xC09300))
    return registers
