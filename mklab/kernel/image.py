"""Which loader takes an image: told by its first bytes, as ``kexec_image_probe_default`` asks each loader in turn.

The order is that of kexec-tools on x86-64 (``file_type[]``): an ELF64 file is loaded as one and entered at ``e_entry``
in 64-bit mode, even if it holds a multiboot header with addresses as well; then come multiboot images, then bzImages.
To take such an ELF64 file for a multiboot image, call ``kexec_multiboot_x86.load`` itself.
"""

from typing import Literal

from mklab.errors import ImageError
from mklab.kernel import kexec_multiboot_x86
from mklab.kernel.bootparam import HDR_OFFSET, SetupHeader

__all__ = ["BEGINNING", "Format", "probe"]

Format = Literal["ELF64", "bzImage64", "multiboot"]

BEGINNING = kexec_multiboot_x86.MULTIBOOT_SEARCH
"""Bytes of a file that tell its format."""

_HDRS_OFFSET = HDR_OFFSET + SetupHeader.header.offset
_OTHERS = (
    (b"\x1f\x8b", "a gzip file: decompress it first (gunzip)"),
    (b"BZh", "a bzip2 file: decompress it first (bunzip2)"),
    (b"\xfd7zXZ\x00", "an xz file: decompress it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: decompress it first (unzstd)"),
    (b"\x02\x21\x4c\x18", "an LZ4 file: decompress it first (unlz4)"),
    (b"\x04\x22\x4d\x18", "an LZ4 file: decompress it first (unlz4)"),
    (b"\x89LZO", "an lzop file: decompress it first (lzop -d)"),
    (b"!<arch>\n", "an ar archive, such as a Debian package: unpack it first (dpkg -x)"),
    (b"070701", "a cpio archive, such as an initrd"),
    (b"MZ", "a PE executable"),
    (b"#!", "a script"),
)


def probe(image: bytes) -> Format:
    """The format of ``image``, by which its loader is chosen; its first ``BEGINNING`` bytes are enough.

    That a loader is chosen does not mean that it accepts the image.

    Raises:
        ImageError: none of the three; says what it looks like.
    """
    if image[:6] == b"\x7fELF\x02\x01":
        return "ELF64"
    header = kexec_multiboot_x86.find_header(image)
    if header and (image[:5] == b"\x7fELF\x01" or header.flags & kexec_multiboot_x86.AOUT_KLUDGE):
        return "multiboot"
    if image[_HDRS_OFFSET : _HDRS_OFFSET + 4] == b"HdrS":
        return "bzImage64"
    raise ImageError(
        "neither a little-endian ELF64 file nor a Linux bzImage nor a multiboot image, which kexec takes, but "
        f"{_look(image)}"
    )


def _look(image: bytes) -> str:
    if not image:
        return "an empty file"
    if image[:4] == b"\x7fELF":
        kinds = {b"\x01": "a 32-bit ELF file without a multiboot header", b"\x02": "a big-endian ELF64 file"}
        return kinds.get(image[4:5], "an ELF file of no known class")
    for magic, name in _OTHERS:
        if image.startswith(magic):
            return name
    if image[0x1FE:0x200] == b"\x55\xaa":
        return 'a boot sector without the header "HdrS" of a Linux kernel'
    return f"something that begins with {image[:8].hex(' ')}"
