import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.errors import ImageError
from mklab.kernel.image import BEGINNING, probe
from mklab.kernel.kexec_multiboot_x86 import executable
from tests.kernel.multiboot_image import built


def test_the_three_formats(elf_files: dict[str, Path], make_bzimage: Callable[..., bytes]) -> None:
    assert probe(elf_files["low"].read_bytes()) == "ELF64"
    assert probe(make_bzimage()) == "bzImage64"
    assert probe(make_bzimage()[:1024]) == "bzImage64"
    assert probe(built(0x10003).file) == "multiboot"
    assert probe(built(0x3, elf=True).file) == "multiboot"


def test_an_elf64_file_is_one_even_with_a_multiboot_header() -> None:
    """As kexec-tools asks its loaders: elf-x86_64 before multiboot-x86."""
    both = b"\x7fELF\x02\x01".ljust(16, b"\0") + built(0x10003).file
    assert probe(both) == "ELF64"
    assert executable(both).segments, "and yet the multiboot loader takes it, if it is asked"


def test_a_multiboot_header_comes_before_the_setup_header(make_bzimage: Callable[..., bytes]) -> None:
    with_header = bytearray(make_bzimage())
    with_header[0x400:0x420] = built(0x10003).file[8:40]
    assert probe(bytes(with_header)) == "multiboot"
    with_header[0x404] ^= 1  # the checksum is wrong now
    assert probe(bytes(with_header)) == "bzImage64"


def test_a_header_without_addresses_in_a_flat_file_is_no_image() -> None:
    flat = bytearray(built(0x10003).file)
    flat[8:20] = (0x1BADB002).to_bytes(4, "little") + bytes(4) + (-0x1BADB002 % (1 << 32)).to_bytes(4, "little")
    with pytest.raises(ImageError, match="something that begins with"):
        probe(bytes(flat))


def test_the_beginning_is_enough() -> None:
    file = bytes(8192 - 32) + built(0x10003).file[8:]
    assert probe(file[:BEGINNING]) == "multiboot"


def test_a_bzimage_for_efi_is_no_pe_executable(make_bzimage: Callable[..., bytes]) -> None:
    assert probe(b"MZ" + make_bzimage()[2:]) == "bzImage64"


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (b"", "an empty file"),
        (gzip.compress(b"vmlinux", mtime=0), "a gzip file: decompress it first"),
        (b"\xfd7zXZ\x00" + bytes(20), "an xz file"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "a 32-bit ELF file without a multiboot header"),
        (b"\x7fELF\x02\x02\x01" + bytes(60), "a big-endian ELF64 file"),
        (b"\x7fELF\x07", "an ELF file of no known class"),
        (b"MZ" + bytes(600), "a PE executable"),
        (b"!<arch>\ndebian-binary", "an ar archive, such as a Debian package"),
        (b"#!/bin/sh\n", "a script"),
        (bytes(510) + b"\x55\xaa" + bytes(512), 'a boot sector without the header "HdrS"'),
        (b"hello, world", "something that begins with 68 65 6c 6c 6f 2c 20 77"),
    ],
)
def test_anything_else_is_named(image: bytes, found: str) -> None:
    with pytest.raises(
        ImageError, match=f"neither a little-endian ELF64 file nor a Linux bzImage nor a multiboot .* but {found}"
    ):
        probe(image)
