"""boot_params of a real Debian kernel: what kexec hands over, against what QEMU's boot loader and the setup code do.

QEMU boots the same bzImage by the 16-bit boot protocol: its loader fills in the setup header, and the kernel's own
16-bit code copies it into boot_params and adds what it asks the BIOS for. A breakpoint at code32_start, the first
instruction in protected mode, shows the result in RSI (boot.rst, "32-bit Boot Protocol").
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mklab.kernel import kexec_bzimage64
from mklab.kernel.bootparam import BootParams
from mklab.kernel.kexec import LoadedImage
from tests.differential.gdbstub import stopped_at

CMDLINE = "console=ttyS0 root=/dev/ram0"
INITRD = b"disk" * 1000
CODE32_START = 0x100000


@dataclass(frozen=True)
class Handed:
    """What a kernel gets: boot_params, and what two of its pointers lead to."""

    params: BootParams
    cmdline: bytes
    initrd: bytes


@pytest.fixture(scope="module")
def qemu(
    debian_kernel: Path, require_tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Handed]:
    folder = tmp_path_factory.mktemp("qemu")
    (folder / "initrd").write_bytes(INITRD)
    arguments = ["-m", "256", "-kernel", str(debian_kernel), "-append", CMDLINE, "-initrd", str(folder / "initrd")]
    with stopped_at(require_tool("qemu-system-x86_64"), CODE32_START, arguments, folder) as machine:
        params = BootParams.from_buffer_copy(machine.memory(machine.registers()["rsi"], ctypes.sizeof(BootParams)))
        assert params.hdr.code32_start == CODE32_START
        cmdline = machine.memory(params.hdr.cmd_line_ptr, len(CMDLINE) + 1)
        yield Handed(params, cmdline, machine.memory(params.hdr.ramdisk_image, params.hdr.ramdisk_size))


@pytest.fixture(scope="module")
def loaded(debian_kernel: Path, qemu: Handed) -> LoadedImage:
    """The same kernel, command line and initrd through kexec's loader, with the memory map that QEMU's BIOS reports."""
    table = qemu.params.e820_table[: qemu.params.e820_entries]
    ram = [(entry.addr, entry.addr + entry.size, entry.type) for entry in table]
    return kexec_bzimage64.load(debian_kernel.read_bytes(), ram=ram, cmdline=CMDLINE, initrd=INITRD)


@pytest.fixture(scope="module")
def kexec(loaded: LoadedImage) -> Handed:
    segments = {segment.name: segment for segment in loaded.segments}
    page = segments["boot_params"]
    params = BootParams.from_buffer_copy(page.buf)
    start = params.hdr.cmd_line_ptr - page.mem
    assert params.hdr.ramdisk_image == segments["initrd"].mem
    return Handed(params, page.buf[start : start + len(CMDLINE) + 1], segments["initrd"].buf)


def fields(params: BootParams) -> dict[str, int]:
    """Each field of the setup header, and of boot_params but for padding, as a number."""
    header = bytes(params)[0x1F1:]
    values = {f"hdr.{name}": (getattr(type(params.hdr), name), header) for name, *_ in params.hdr._fields_}
    values |= {name: (getattr(BootParams, name), bytes(params)) for name, *_ in params._fields_ if name != "hdr"}
    return {
        name: int.from_bytes(data[field.offset : field.offset + field.size], "little")
        for name, (field, data) in values.items()
        if not name.startswith("_")
    }


EXPLAINED = {
    # Each loader says who it is, and where it has put things.
    "hdr.type_of_loader": "kexec is 0xD0, QEMU 0xB0 (boot.rst lists them)",
    "hdr.cmd_line_ptr": "behind boot_params; QEMU: 0x20000",
    "hdr.ramdisk_image": "the highest free memory; QEMU: as high as its 32-bit protocol allows",
    # The 16-bit protocol's fields, for the setup code, which kexec does not run.
    "hdr.loadflags": "0, as Linux's loader stores; QEMU adds CAN_USE_HEAP to the image's LOADED_HIGH",
    "hdr.heap_end_ptr": "QEMU gives the setup code a heap",
    # What the setup code asks of the BIOS, which kexec does not have.
    "screen_info": "the screen, from the video BIOS; kexec fills in ext_mem_k only",
    "ist_info": "SpeedStep, from the BIOS",
    "edid_info": "the monitor, from the video BIOS",
    "alt_mem_k": "Linux counts to the last byte rather than to the end: one KiB less",
}


def test_every_field_is_the_same_or_its_difference_has_a_reason(qemu: Handed, kexec: Handed) -> None:
    theirs, ours = fields(qemu.params), fields(kexec.params)
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different <= EXPLAINED.keys(), {name: (ours[name], theirs[name]) for name in different - EXPLAINED.keys()}
    assert ours["hdr.version"] == theirs["hdr.version"] >= 0x20C


def test_what_a_loader_fills_in(qemu: Handed, kexec: Handed) -> None:
    assert kexec.cmdline == qemu.cmdline == CMDLINE.encode() + b"\0"
    assert kexec.initrd == qemu.initrd == INITRD
    assert kexec.params.hdr.ramdisk_size == qemu.params.hdr.ramdisk_size == len(INITRD)
    assert (kexec.params.hdr.type_of_loader, qemu.params.hdr.type_of_loader) == (0xD0, 0xB0)
    assert kexec.params.alt_mem_k == qemu.params.alt_mem_k - 1


def test_the_memory_map_is_the_bioss(qemu: Handed, kexec: Handed) -> None:
    assert kexec.params.e820_entries == qemu.params.e820_entries > 3
    assert bytes(kexec.params.e820_table) == bytes(qemu.params.e820_table)


def test_a_field_that_is_not_copied_would_be_seen(qemu: Handed, kexec: Handed) -> None:
    """The comparison can fail."""
    params = BootParams.from_buffer_copy(kexec.params)
    params.hdr.init_size += 1
    theirs, ours = fields(qemu.params), fields(params)
    assert "hdr.init_size" in {name for name in ours if ours[name] != theirs[name]} - EXPLAINED.keys()
