"""``include/uapi/linux/kexec.h`` and ``include/linux/kexec.h``: kexec's constants, segment and loaded image.

Values marked v1 come from the RFC "kernel: Introduce multikernel architecture support", patch 1/7.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = [
    "KEXEC_ARCH_DEFAULT",
    "KEXEC_ARCH_MASK",
    "KEXEC_ARCH_X86_64",
    "KEXEC_CRASH_HOTPLUG_SUPPORT",
    "KEXEC_DESTINATION_MEMORY_LIMIT",
    "KEXEC_MULTIKERNEL",
    "KEXEC_ON_CRASH",
    "KEXEC_PRESERVE_CONTEXT",
    "KEXEC_SEGMENT_MAX",
    "KEXEC_TYPE_CRASH",
    "KEXEC_TYPE_DEFAULT",
    "KEXEC_TYPE_MULTIKERNEL",
    "KEXEC_UPDATE_ELFCOREHDR",
    "PAGE_SIZE",
    "KexecSegment",
    "LoadedImage",
]

PAGE_SIZE = 4096

KEXEC_ON_CRASH = 0x1
KEXEC_PRESERVE_CONTEXT = 0x2
KEXEC_UPDATE_ELFCOREHDR = 0x4
KEXEC_CRASH_HOTPLUG_SUPPORT = 0x8
KEXEC_MULTIKERNEL = 0x10  # v1
KEXEC_ARCH_MASK = 0xFFFF0000
KEXEC_ARCH_DEFAULT = 0 << 16
KEXEC_ARCH_X86_64 = 62 << 16
KEXEC_SEGMENT_MAX = 16

KEXEC_TYPE_DEFAULT = 0
KEXEC_TYPE_CRASH = 1
KEXEC_TYPE_MULTIKERNEL = 2  # v1

KEXEC_DESTINATION_MEMORY_LIMIT = 1 << 46


@dataclass(frozen=True)
class KexecSegment:
    """One ``struct kexec_segment``: where its bytes go.

    Attributes:
        buf: the bytes to load; ``bufsz`` is their number.
        mem: physical destination address.
        memsz: bytes reserved at ``mem``; what ``buf`` does not fill is zeroed.
        name: what this segment is, for people (Linux has no such field).
        readable: how many bytes of ``buf`` the kernel can read before it meets a page that is not mapped in the
            caller's address space; None: all of them.
    """

    buf: bytes
    mem: int
    memsz: int
    name: str = ""
    readable: int | None = None

    @property
    def bufsz(self) -> int:
        """Number of bytes in ``buf``."""
        return len(self.buf)


@dataclass(frozen=True)
class LoadedImage:
    """What a loader makes of an image file: the arguments of ``kexec_load``, and where to find things in them.

    Attributes:
        format: ``"ELF64"``, ``"bzImage64"`` or ``"multiboot"``.
        entry: physical address of the first instruction, which is 64-bit code.
        segments: in the order in which the loader added them.
        symbols: physical address of each global symbol; empty for a bzImage, which has none.
        boot_params: physical address of ``struct boot_params``, or None if the image has no such page. A Linux kernel
            wants it in RSI.
        multiboot_info: physical address of the multiboot information structure, or None if the image has none.
            Purgatory hands it over in EBX.
    """

    format: str
    entry: int
    segments: tuple[KexecSegment, ...]
    symbols: Mapping[str, int] = field(default_factory=dict)
    boot_params: int | None = None
    multiboot_info: int | None = None

    def patched(self, symbol: str, data: bytes) -> "LoadedImage":
        """A copy of this image in which the variable ``symbol`` holds ``data``.

        ``kexec_purgatory_get_set_symbol`` (kernel/kexec_file.c) so hands values to an image before it starts. Like it,
        this reaches initialised data only: what lies in .bss has no bytes in the segment.

        Raises:
            ValueError: no such global symbol, or ``data`` does not fit into the initialised bytes there.
        """
        if symbol not in self.symbols:
            known = ", ".join(sorted(self.symbols)) or "none"
            raise ValueError(f"symbol must be a global symbol of the image ({known}), not {symbol!r}")
        start = self.symbols[symbol]
        for index, segment in enumerate(self.segments):
            offset = start - segment.mem
            if offset >= 0 and offset + len(data) <= segment.bufsz:
                buf = segment.buf[:offset] + data + segment.buf[offset + len(data) :]
                segments = (*self.segments[:index], replace(segment, buf=buf), *self.segments[index + 1 :])
                return replace(self, segments=segments)
        raise ValueError(
            f"symbol must name {len(data)} initialised bytes (in .data, not in .bss), not {symbol!r} at {start:#x}"
        )
