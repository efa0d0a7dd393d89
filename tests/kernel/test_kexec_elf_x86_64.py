"""ELF64 images with what a Linux kernel is handed; on the machine, see test_purgatory.py."""

import contextlib
import errno
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mklab.errors import KexecError, MklabError
from mklab.kernel import kexec_elf, kexec_elf_x86_64
from mklab.kernel.bootparam import BootParams

MIB, GIB = 1 << 20, 1 << 30
RAM = [(0, 64 * MIB, 1), (4 * GIB, 5 * GIB, 1)]


def test_segments(elf_files: dict[str, Path]) -> None:
    file = elf_files["high"].read_bytes()
    image = kexec_elf_x86_64.load(file, ram=RAM, initrd=b"disk")
    own = kexec_elf.load(file)
    assert image.segments[1 : 1 + len(own.segments)] == own.segments
    assert [segment.name for segment in (image.segments[0], *image.segments[-2:])] == [
        *("purgatory", "boot_params", "initrd")
    ]
    assert own.symbols.items() <= image.symbols.items()
    assert all(segment.mem >= 4 * GIB for segment in (image.segments[0], *image.segments[-2:])), "the highest memory"


def test_boot_params_with_halves_above_4_gib(elf_files: dict[str, Path]) -> None:
    image = kexec_elf_x86_64.load(elf_files["low"].read_bytes(), ram=RAM, cmdline="quiet", initrd=b"disk", checks=False)
    page, initrd = image.segments[-2:]
    params = BootParams.from_buffer_copy(page.buf)
    cmdline = params.hdr.cmd_line_ptr | params.ext_cmd_line_ptr << 32
    assert page.buf[cmdline - page.mem :] == b"quiet\0"
    assert params.hdr.ramdisk_image | params.ext_ramdisk_image << 32 == initrd.mem
    assert (params.hdr.ramdisk_size, params.ext_ramdisk_size) == (4, 0)
    assert (params.hdr.header, params.hdr.boot_flag, params.hdr.version) == (0x53726448, 0xAA55, 0x20C)
    assert (params.hdr.type_of_loader, params.hdr.cmdline_size, params.e820_entries) == (0xD0, 2048, 2)
    assert image.boot_params == page.mem


def test_outside_its_window(elf_files: dict[str, Path]) -> None:
    with pytest.raises(KexecError, match=r"Invalid memory segment .* within 0x3000000-0x4000000") as refusal:
        kexec_elf_x86_64.load(elf_files["low"].read_bytes(), ram=RAM, window=(48 * MIB, 64 * MIB))
    assert refusal.value.errno == errno.EADDRNOTAVAIL


def test_a_movable_one_goes_into_its_window(elf_files: dict[str, Path]) -> None:
    window = (48 * MIB, 64 * MIB)
    image = kexec_elf_x86_64.load(elf_files["pie"].read_bytes(), ram=RAM, base=48 * MIB, window=window)
    assert image.segments[1].mem == 48 * MIB
    assert all(window[0] <= s.mem < s.mem + s.memsz <= window[1] for s in image.segments)


def test_the_longest_command_line(elf_files: dict[str, Path]) -> None:
    file = elf_files["low"].read_bytes()
    kexec_elf_x86_64.load(file, ram=RAM, cmdline="x" * 2047)
    with pytest.raises(KexecError, match=r"too long: 2049 bytes with its NUL, this kernel takes 2048$") as refusal:
        kexec_elf_x86_64.load(file, ram=RAM, cmdline="x" * 2048)
    assert (refusal.value.errno, refusal.value.function) == (errno.EINVAL, "elf_x86_64_load")


@settings(max_examples=100)
@given(st.data())
def test_no_byte_of_the_file_can_raise_anything_else(elf_files: dict[str, Path], data: st.DataObject) -> None:
    image = bytearray(elf_files[data.draw(st.sampled_from(["low", "high", "pie"]))].read_bytes())
    for offset in data.draw(st.lists(st.integers(0, 64 + 56 * 5), min_size=1, max_size=4)):
        image[offset] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MklabError):
        loaded = kexec_elf_x86_64.load(bytes(image), ram=RAM)
        assert all(any(start <= s.mem < s.mem + s.memsz <= end for start, end, _ in RAM) for s in loaded.segments)
