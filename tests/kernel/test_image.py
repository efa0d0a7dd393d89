import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from mklab.errors import ImageError
from mklab.kernel.image import probe


def test_the_two_formats(elf_files: dict[str, Path], make_bzimage: Callable[..., bytes]) -> None:
    assert probe(elf_files["low"].read_bytes()) == "ELF64"
    assert probe(make_bzimage()) == "bzImage64"
    assert probe(make_bzimage()[:1024]) == "bzImage64"


def test_a_bzimage_for_efi_is_no_pe_executable(make_bzimage: Callable[..., bytes]) -> None:
    assert probe(b"MZ" + make_bzimage()[2:]) == "bzImage64"


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (b"", "an empty file"),
        (gzip.compress(b"vmlinux", mtime=0), "a gzip file: decompress it first"),
        (b"\xfd7zXZ\x00" + bytes(20), "an xz file"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "a 32-bit ELF file"),
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
    with pytest.raises(ImageError, match=f"neither a little-endian ELF64 file nor a Linux bzImage, .* but {found}"):
        probe(image)
