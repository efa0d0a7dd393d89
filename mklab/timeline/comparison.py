"""Changed pages found by comparing memory with a shadow of it: slower than asking the kernel, but everywhere.

A page that was never touched has no place in the host's memory and holds zeros, so it needs no look. Linux tells which
have one (mincore(2)); a page that was swapped out has none either, so this is asked only where nothing is ever swapped.
"""

import ctypes
import sys
from mmap import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mklab.machine.memory import PAGE, PhysicalMemory

__all__ = ["Comparison", "filled"]

_WORDS = PAGE // 8
_CHUNK = 64
"""Pages compared at once: both sides stay in the processor's cache."""


def filled(memory: PhysicalMemory) -> list[int]:
    """Addresses of the pages that are not all zero, ascending."""
    return Comparison(memory.buffers).filled


class Comparison:
    """Compares RAM with how it was.

    Args:
        buffers: ``(first address, end, bytes)`` of each range of RAM.

    Attributes:
        filled: addresses of the pages that were not all zero at first, ascending.
    """

    def __init__(self, buffers: list[tuple[int, int, mmap]]) -> None:
        self._ranges = [(start, _Range(buffer)) for start, _, buffer in buffers]
        self._sparse = _never_swaps()
        self.filled = self.scan()

    def scan(self) -> list[int]:
        """Addresses of the pages that hold other bytes than at the last scan, ascending."""
        return [start + int(page) * PAGE for start, one in self._ranges for page in one.scan(self._sparse)]


class _Range:
    """One range of RAM and its shadow. The shadow is touched where the RAM was, and costs as much memory as that."""

    def __init__(self, buffer: mmap) -> None:
        self._ram = np.frombuffer(buffer, np.uint64).reshape(-1, _WORDS)
        self._shadow = np.frombuffer(mmap(-1, len(buffer)), np.uint64).reshape(-1, _WORDS)
        self._resident = np.ones(len(self._ram), np.uint8)
        self._room = np.empty((2, _CHUNK, _WORDS), np.uint64)

    def scan(self, sparse: bool) -> NDArray[np.int64]:
        if sparse:
            _mincore(self._ram, self._resident)
        pages = np.flatnonzero(self._resident & 1)
        found = [self._changed(pages[at : at + _CHUNK]) for at in range(0, len(pages), _CHUNK)]
        return np.concatenate([*found, pages[:0]])

    def _changed(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        first, last = int(pages[0]), int(pages[-1])
        if last - first < len(pages):
            ram, shadow = self._ram[first : last + 1], self._shadow[first : last + 1]
        else:
            ram, shadow = self._room[:, : len(pages)]
            np.take(self._ram, pages, axis=0, out=ram, mode="clip")
            np.take(self._shadow, pages, axis=0, out=shadow, mode="clip")
        differs = ram != shadow
        if not differs.any():
            return pages[:0]
        changed: NDArray[np.int64] = pages[differs.any(axis=1)]
        self._shadow[changed] = self._ram[changed]
        return changed


def _never_swaps() -> bool:
    """Whether this is a Linux without a swap area."""
    swaps = Path("/proc/swaps")
    return sys.platform == "linux" and swaps.exists() and len(swaps.read_text().splitlines()) <= 1


def _mincore(ram: NDArray[np.uint64], resident: NDArray[np.uint8]) -> None:
    """Set bit 0 of each page's byte in ``resident`` where the page is in the host's memory; of all if nobody knows."""
    libc = ctypes.CDLL(None, use_errno=True)
    address, length = ctypes.c_void_p(ram.ctypes.data), ctypes.c_size_t(ram.nbytes)
    if libc.mincore(address, length, ctypes.c_void_p(resident.ctypes.data)):
        resident[:] = 1
