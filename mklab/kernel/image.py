"""Which loader takes an image: told by its first bytes, as ``kexec_image_probe_default`` asks each loader in turn."""

from typing import Literal

from mklab.errors import ImageError
from mklab.kernel.bootparam import HDR_OFFSET, SetupHeader

__all__ = ["Format", "probe"]

Format = Literal["ELF64", "bzImage64"]

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
    """The format of ``image``, by which its loader is chosen; its beginning (1 KiB) is enough.

    That a loader is chosen does not mean that it accepts the image.

    Raises:
        ImageError: neither an ELF64 executable nor a bzImage; says what it looks like.
    """
    if image[:4] == b"\x7fELF":
        if image[4:6] == b"\x02\x01":
            return "ELF64"
        found = {b"\x01": "a 32-bit ELF file", b"\x02": "a big-endian ELF64 file"}.get(
            image[4:5], "an ELF file of no known class"
        )
    elif image[_HDRS_OFFSET : _HDRS_OFFSET + 4] == b"HdrS":
        return "bzImage64"
    else:
        found = _look(image)
    raise ImageError(f"neither a little-endian ELF64 file nor a Linux bzImage, which kexec takes, but {found}")


def _look(image: bytes) -> str:
    if not image:
        return "an empty file"
    for magic, name in _OTHERS:
        if image.startswith(magic):
            return name
    if image[0x1FE:0x200] == b"\x55\xaa":
        return 'a boot sector without the header "HdrS" of a Linux kernel'
    return f"something that begins with {image[:8].hex(' ')}"
