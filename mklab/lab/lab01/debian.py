"""The setup header of a real bzImage: Debian's, recorded, so that the lab needs no kernel image of 14 MB."""

from dataclasses import dataclass

from mklab.errors import require

__all__ = ["DEBIAN", "Extract"]


@dataclass(frozen=True)
class Extract:
    """Parts of a file.

    Attributes:
        name, package: the file, and the Debian package that it is from.
        size: of the file, in bytes.
        sha256: of the file, in hexadecimal.
        parts: ``(offset, bytes)`` of what was recorded.
    """

    name: str
    package: str
    size: int
    sha256: str
    parts: tuple[tuple[int, bytes], ...]

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` in the file.

        Raises:
            ValueError: they were not recorded.
        """
        require("size", size, 0, self.size, " bytes")
        for start, data in self.parts:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        kept = ", ".join(f"{start:#x} to {start + len(data):#x}" for start, data in self.parts)
        raise ValueError(f"offset and size must lie within {kept}, not {(hex(offset), size)!r}")


DEBIAN = Extract(
    "vmlinuz-6.1.0-56-cloud-amd64",
    "linux-image-6.1.0-56-cloud-amd64 6.1.192-2",
    14186432,
    "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275",
    (
        (
            0x1F1,
            bytes.fromhex(
                "27010020820d000000ffff000055aaeb6a486472530f02000000000010c0420001008000001000000000000000000000"
                "000000e05b000000000000ffffff7f0000200001157f00ff070000000000000000000000000000cc020000cc96d60000"
                "00000000000000000000010000000000803703102fd7001cf9d700"
            ),
        ),
        (
            0x44C0,
            b"6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2"
            b" (2026-11-16)\0",
        ),
        (0x52CC, bytes.fromhex("02214c18")),
    ),
)
"""struct setup_header, the version that kernel_version points to, and the first bytes of the payload."""
