"""Physical memory: ranges of RAM, some of them above 4 GiB if need be, with holes between them."""

import base64
import mmap
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from mklab.errors import require
from mklab.machine.layout import APIC_BASE, APIC_SIZE, PHYSICAL_ADDRESS_BITS

__all__ = ["PhysicalMemory", "Range"]

PAGE = 4096
_MOST_RAM = 1 << 36
"""Bytes of one range: more than that, no host has."""
Range = tuple[int, int]
"""``(start, size)`` in bytes."""


class PhysicalMemory:
    """RAM as the memory bus sees it.

    A write from Python may change code that the engine has already translated, so every write is reported to
    ``on_write`` (the engine drops what it made of those bytes). Stores of guest code do not come through here.

    Attributes:
        ranges: the ranges of RAM, ascending.
        on_write: called with ``(start, end)`` after each write from Python.
        witness: called with address, size and whether it writes, before each access from Python; None: nobody looks.
        after_write: called with the address and the bytes after each write from Python.

    Raises:
        ValueError: a range is not page aligned, overlaps another one or the local APIC's page, or lies outside the
            physical address space.
    """

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges = sorted(ranges)
        self.on_write: Callable[[int, int], None] = _nobody_listens
        self.witness: Callable[[int, int, bool], None] | None = None
        self.after_write: Callable[[int, bytes], None] = _nobody_listens
        self._buffers: list[tuple[int, int, mmap.mmap]] = []
        end = 0
        if not self.ranges:
            raise ValueError("ranges must hold at least one range of RAM, not []")
        for start, size in self.ranges:
            require("the start of a range of RAM", start, 0, 1 << PHYSICAL_ADDRESS_BITS)
            require("the size of a range of RAM", size, 1, _MOST_RAM, " bytes")
            if start % PAGE or size % PAGE or size <= 0 or start < 0:
                raise ValueError(f"a range of RAM must be whole pages of {PAGE} bytes, not {(start, size)!r}")
            if start < end:
                raise ValueError(f"ranges of RAM must not overlap, not {(start, size)!r}")
            end = start + size
            if start < APIC_BASE + APIC_SIZE and end > APIC_BASE:
                raise ValueError(f"RAM must leave out the local APIC at {APIC_BASE:#x}, not {(start, size)!r}")
            if end > 1 << PHYSICAL_ADDRESS_BITS:
                raise ValueError(f"RAM must end below 2**{PHYSICAL_ADDRESS_BITS}, not {(start, size)!r}")
            self._buffers.append((start, end, mmap.mmap(-1, size)))

    @property
    def size(self) -> int:
        """Bytes of RAM in all."""
        return sum(size for _, size in self.ranges)

    @property
    def buffers(self) -> list[tuple[int, int, mmap.mmap]]:
        """``(start, end, bytes)`` of each range; for the engine, which maps them."""
        return self._buffers

    def contains(self, paddr: int, size: int = 1) -> bool:
        """True where all of ``[paddr, paddr + size)`` is RAM of one range."""
        for start, end, _ in self._buffers:
            if paddr < end:
                return start <= paddr and paddr + size <= end
        return False

    def find(self, paddr: int, size: int) -> tuple[int, mmap.mmap]:
        """Where ``[paddr, paddr + size)`` lies: the offset in the bytes of its range, and those bytes.

        Raises:
            ValueError: not all of it is RAM.
        """
        if size < 0:
            raise ValueError(f"size must be 0 or more bytes, not {size!r}")
        for start, end, buffer in self._buffers:
            if start <= paddr and paddr + size <= end:
                return paddr - start, buffer
        raise ValueError(f"[paddr, paddr + size) must lie in RAM, not {(hex(paddr), size)!r}")

    def read(self, paddr: int, size: int) -> bytes:
        """``size`` bytes from ``paddr``.

        Raises:
            ValueError: not all of them are RAM.
        """
        offset, buffer = self.find(paddr, size)
        if self.witness is not None and size:
            self.witness(paddr, size, False)
        return buffer[offset : offset + size]

    def write(self, paddr: int, data: bytes) -> None:
        """Store ``data`` at ``paddr``; what the engine had translated from there is dropped.

        Raises:
            ValueError: not all of it is RAM; nothing is written then.
        """
        offset, buffer = self.find(paddr, len(data))
        if data:
            if self.witness is not None:
                self.witness(paddr, len(data), True)
            buffer[offset : offset + len(data)] = data
            self.on_write(paddr, paddr + len(data))
            self.after_write(paddr, data)

    def read_u64(self, paddr: int) -> int:
        """The little-endian 64-bit number at ``paddr``."""
        return int.from_bytes(self.read(paddr, 8), "little")

    def state(self) -> list[dict[str, Any]]:
        """The contents as plain data: of each range only the pages that are not all zero, compressed."""
        zero = bytes(PAGE)
        result: list[dict[str, Any]] = []
        for start, end, buffer in self._buffers:
            pages = {}
            for offset in range(0, end - start, PAGE):
                page = buffer[offset : offset + PAGE]
                if page != zero:
                    pages[hex(start + offset)] = base64.b64encode(zlib.compress(page, 1)).decode()
            result.append({"start": start, "size": end - start, "pages": pages})
        return result

    def restore(self, state: list[dict[str, Any]]) -> None:
        """The inverse of :meth:`state`.

        Raises:
            ValueError: the state is of a memory with other ranges.
        """
        ranges = [(item["start"], item["size"]) for item in state]
        if ranges != self.ranges:
            raise ValueError(f"the state must be of RAM {self.ranges!r}, not {ranges!r}")
        for item, (start, end, buffer) in zip(state, self._buffers, strict=True):
            buffer[:] = bytes(end - start)
            for address, page in item["pages"].items():
                offset = int(address, 16) - start
                buffer[offset : offset + PAGE] = zlib.decompress(base64.b64decode(page))
            self.on_write(start, end)


def _nobody_listens(_paddr: int, _what: object) -> None:
    """No machine has the memory yet."""
