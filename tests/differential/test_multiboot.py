"""A multiboot image loaded by QEMU's ``-kernel`` and by kexec's loader sees the same CPU, and is told the same.

QEMU's loader is a program of its own (``hw/i386/multiboot.c``, ``multiboot.S``); the two share the specification only.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mklab.kernel import kexec_multiboot_x86
from mklab.kernel.kexec_multiboot_x86 import AddrRangeDesc, MultibootInfo
from tests.differential.gdbstub import stopped_at
from tests.kernel.multiboot_image import RECORD, booted, built

RAM = 64 << 20
MODULES = [(b"first module", "one two"), (b"second" * 1000, "three")]
CMDLINE = "console=ttyS0 quiet"
CODE_AND_DATA = [
    f"{segment}.{part}" for segment in ("cs", "ds", "es", "ss", "fs", "gs") for part in ("rights", "limit")
]
ACCESSED = 1 << 8
"""QEMU's far jump leaves it clear in a code segment, unlike hardware."""
CPU_FLAGS = 1 << 9 | 1 << 17
"""EFLAGS.IF and VM: the specification asks for both clear, and for no other."""


@dataclass(frozen=True)
class Told:
    """What an image was told.

    Attributes:
        record: what it stored, by name.
        info: the structure behind EBX.
        ranges: the memory map: base, length, type.
        modules: bytes, command line, and address of each.
        name: the command line's first word, which is the image's path, and the rest of the line.
    """

    record: dict[str, int]
    info: MultibootInfo
    ranges: list[tuple[int, int, int]]
    modules: list[tuple[bytes, str, int]]
    name: str
    cmdline: str


def told(read: Callable[[int, int], bytes], record: int) -> Told:
    """Look at what lies in a machine's memory, following every pointer."""

    def text(address: int) -> str:
        return read(address, 256).split(b"\0", 1)[0].decode("ascii")

    values = dict(zip(RECORD, struct.unpack(f"<{len(RECORD)}I", read(record, 4 * len(RECORD))), strict=True))
    info = MultibootInfo.from_buffer_copy(read(values["ebx"], 88))
    ranges, at = [], info.mmap_addr
    while at < info.mmap_addr + info.mmap_length:
        entry = AddrRangeDesc.from_buffer_copy(read(at, 24))
        ranges.append((entry.base_addr, entry.length, entry.type))
        at += entry.size + 4
    modules = []
    for index in range(info.mods_count):
        start, end, line, _ = struct.unpack("<4I", read(info.mods_addr + 16 * index, 16))
        modules.append((read(start, end - start), text(line).partition(" ")[2], start))
    name, _, cmdline = text(info.cmdline).partition(" ")
    return Told(values, info, ranges, modules, name, cmdline)


@pytest.fixture(scope="module", params=["elf", "addresses"])
def both(
    request: pytest.FixtureRequest, require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Told, Told]:
    """What the same image is told by QEMU and by us; we are given the memory map that QEMU's BIOS reports."""
    flags = 0x3 if request.param == "elf" else 0x10003
    image = built(flags, elf=request.param == "elf")
    folder = tmp_path_factory.mktemp("multiboot")
    kernel = folder / "kernel"
    kernel.write_bytes(image.file)
    for index, (data, _) in enumerate(MODULES):
        (folder / f"module{index}").write_bytes(data)
    names = [f"{folder}/module{index} {line}" for index, (_, line) in enumerate(MODULES)]
    arguments = ["-m", str(RAM >> 20), "-kernel", str(kernel), "-append", CMDLINE, "-initrd", ",".join(names)]
    with stopped_at(require_tool("qemu-system-x86_64"), image.symbols["stop"], arguments, folder) as machine:
        theirs = told(machine.memory, image.symbols["record"])
    ram = [(base, base + length, kind) for base, length, kind in theirs.ranges]
    loaded = kexec_multiboot_x86.load(
        image.file,
        ram=ram,
        cmdline=CMDLINE,
        name=str(kernel),
        modules=[(data, name) for (data, _), name in zip(MODULES, names, strict=True)],
    )
    model = booted(loaded, RAM)
    return told(model.memory.read, image.symbols["record"]), theirs


def test_the_cpu_is_the_same(both: tuple[Told, Told]) -> None:
    ours, theirs = (side.record for side in both)
    assert ours["done"] == theirs["done"] == 1
    assert ours["eax"] == theirs["eax"] == 0x2BADB002
    for name in ("cr0", "cr4", "efer"):
        assert ours[name] == theirs[name], name
    assert ours["eflags"] & CPU_FLAGS == theirs["eflags"] & CPU_FLAGS == 0
    for name in CODE_AND_DATA:
        assert ours[name] | ACCESSED == theirs[name] | ACCESSED, name
    assert ours["cs.rights"] & ~ACCESSED == 0xC09A00, "flat 32-bit code, by the SDM's descriptor layout"
    assert {ours[f"{name}.rights"] for name in ("ds", "es", "ss", "fs", "gs")} == {0xC09300}


def test_memory_is_the_same(both: tuple[Told, Told]) -> None:
    ours, theirs = both
    assert (ours.info.mem_lower, ours.info.mem_upper) == (theirs.info.mem_lower, theirs.info.mem_upper)
    assert [(base, length) for base, length, _ in ours.ranges] == [(base, length) for base, length, _ in theirs.ranges]
    kinds = {1: 1}  # RAM; all else is kexec-tools' 0xbad
    assert [kind for _, _, kind in ours.ranges] == [kinds.get(kind, 0xBAD) for _, _, kind in theirs.ranges]
    assert 0xBAD in [kind for _, _, kind in ours.ranges]


def test_command_lines_and_modules_are_the_same(both: tuple[Told, Told]) -> None:
    ours, theirs = both
    assert (ours.name, ours.cmdline) == (theirs.name, theirs.cmdline)
    assert ours.cmdline == CMDLINE
    assert [module[:2] for module in ours.modules] == [module[:2] for module in theirs.modules] == MODULES
    assert all(start % 4096 == 0 for _, _, start in ours.modules + theirs.modules)


def test_flags_differ_by_the_boot_device_only(both: tuple[Told, Told]) -> None:
    """kexec was not booted from a device that a BIOS numbers."""
    ours, theirs = both
    boot_device = 1 << 1
    assert ours.info.flags == theirs.info.flags & ~boot_device == 0x24D
