"""Changed pages as Linux tells them, from 6.7 on: userfaultfd's asynchronous write protection and PAGEMAP_SCAN.

Documentation/admin-guide/mm/userfaultfd.rst, "Write Protect Notifications", and pagemap.rst, "PAGEMAP_SCAN". The kernel
lets a write to a protected page happen at once and notes it; a scan finds the noted pages and protects them again.
"""

import ctypes
import os
import platform
import sys
import weakref
from mmap import mmap
from typing import ClassVar

from mklab.machine.memory import PAGE

__all__ = ["PagemapScan"]

_SYSCALL = {"x86_64": 323, "aarch64": 282}
"""Number of userfaultfd(2) (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""
_USER_MODE_ONLY = 1
"""What an unprivileged process may have: with asynchronous protection nobody waits for a fault, in no mode."""
_UFFDIO_API, _UFFDIO_REGISTER, _PAGEMAP_SCAN = 0xC018AA3F, 0xC020AA00, 0xC0606610
_UFFD_API, _REGISTER_MODE_WP = 0xAA, 1 << 1
_FEATURES = 1 << 15 | 1 << 13 | 1 << 12
"""UFFD_FEATURE_WP_ASYNC, _WP_UNPOPULATED and _WP_HUGETLBFS_SHMEM: Python's anonymous mappings are shared ones."""
_WP_MATCHING, _CHECK_WPASYNC, _PAGE_IS_WRITTEN = 1, 2, 1 << 1
_MOST_REGIONS = 2048
"""Regions found by one call."""


class _Api(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_uint64) for name in ("api", "features", "ioctls")]


class _Register(ctypes.Structure):
    _fields_: ClassVar = [(name, ctypes.c_uint64) for name in ("start", "len", "mode", "ioctls")]


class _Scan(ctypes.Structure):
    """``struct pm_scan_arg`` (include/uapi/linux/fs.h)."""

    _fields_: ClassVar = [
        (name, ctypes.c_uint64)
        for name in (
            *("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages"),
            *("category_inverted", "category_mask", "category_anyof_mask", "return_mask"),
        )
    ]


class PagemapScan:
    """Asks the Linux kernel which pages were written.

    Args:
        buffers: ``(first address, end, bytes)`` of each range of RAM.

    Raises:
        OSError: this host does not answer: another system, an older kernel, or a sandbox that forbids userfaultfd.
    """

    def __init__(self, buffers: list[tuple[int, int, mmap]]) -> None:
        if sys.platform != "linux" or platform.machine() not in _SYSCALL:
            raise OSError("PAGEMAP_SCAN is Linux's, known here for x86_64 and aarch64")
        self._libc = ctypes.CDLL(None, use_errno=True)
        # The address stays: a mapping with an exported buffer can be neither closed nor resized.
        self._views = [(start, end, ctypes.c_char.from_buffer(buffer)) for start, end, buffer in buffers]
        self._fds: list[int] = []
        self._close = weakref.finalize(self, _close, self._fds)
        self._regions = (ctypes.c_uint64 * (3 * _MOST_REGIONS))()
        try:
            self._open()
            self.scan()
        except OSError:
            self._close()
            raise

    def _open(self) -> None:
        flags = os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY
        number = ctypes.c_long(_SYSCALL[platform.machine()])
        uffd = self._checked("userfaultfd", self._libc.syscall(number, ctypes.c_int(flags)))
        self._fds.append(uffd)
        self._control("UFFDIO_API", uffd, _UFFDIO_API, _Api(_UFFD_API, _FEATURES, 0))
        for start, end, view in self._views:
            register = _Register(ctypes.addressof(view), end - start, _REGISTER_MODE_WP, 0)
            self._control("UFFDIO_REGISTER", uffd, _UFFDIO_REGISTER, register)
        self._fds.append(os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC))

    def _control(self, what: str, fd: int, request: int, argument: ctypes.Structure) -> int:
        return self._checked(what, self._libc.ioctl(fd, ctypes.c_ulong(request), ctypes.byref(argument)))

    @staticmethod
    def _checked(what: str, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")
        return result

    def scan(self) -> list[int]:
        """Addresses of the pages written since the last scan, ascending."""
        found: list[int] = []
        for start, end, view in self._views:
            base = ctypes.addressof(view)
            at, stop = base, base + end - start
            while at < stop:
                ask = _Scan(
                    size=ctypes.sizeof(_Scan),
                    flags=_WP_MATCHING | _CHECK_WPASYNC,
                    start=at,
                    end=stop,
                    vec=ctypes.addressof(self._regions),
                    vec_len=_MOST_REGIONS,
                    category_mask=_PAGE_IS_WRITTEN,
                    return_mask=_PAGE_IS_WRITTEN,
                )
                count = self._control("PAGEMAP_SCAN", self._fds[1], _PAGEMAP_SCAN, ask)
                for first, last in zip(self._regions[: 3 * count : 3], self._regions[1 : 3 * count : 3], strict=True):
                    found += range(first - base + start, last - base + start, PAGE)
                at = ask.walk_end
        return found


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
