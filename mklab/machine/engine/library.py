"""The native library that counts instructions: which file in ``native/`` is this platform's, and whether to use it."""

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

__all__ = ["FALLBACK", "FILES", "NATIVE", "describe", "file_here", "load"]

NATIVE = Path(__file__).parent / "native"
FALLBACK = "count"
"""Value of the environment variable ``MKLAB_ENGINE`` that asks for the way without the library."""
_VARIABLE = "MKLAB_ENGINE"

FILES = {
    ("linux", "x86_64"): ("x86_64-linux-musl", "linux-x86_64.so"),
    ("linux", "aarch64"): ("aarch64-linux-musl", "linux-aarch64.so"),
    ("darwin", "x86_64"): ("x86_64-macos", "macos-x86_64.dylib"),
    ("darwin", "arm64"): ("aarch64-macos", "macos-arm64.dylib"),
    ("win32", "AMD64"): ("x86_64-windows-gnu", "windows-x86_64.dll"),
}
"""By what ``sys.platform`` and ``platform.machine()`` say: zig's target, and the file. The library needs no C library:
one file serves a Linux with glibc and one with musl."""


def file_here() -> Path | None:
    """This platform's library, or None where there is none."""
    found = FILES.get((sys.platform, platform.machine()))
    return NATIVE / found[1] if found else None


def load() -> ctypes.CDLL | None:
    """The library, or None: there is none that loads here, or the environment asks to do without.

    Raises:
        ValueError: the environment variable ``MKLAB_ENGINE`` asks for something else.
    """
    asked = os.environ.get(_VARIABLE, "")
    if asked not in ("", FALLBACK):
        raise ValueError(f"{_VARIABLE} must be {FALLBACK} or empty, not {asked!r}")
    return None if asked else _library()


@functools.cache
def _library() -> ctypes.CDLL | None:
    path = file_here()
    try:
        return ctypes.CDLL(str(path)) if path else None
    except OSError:
        return None


def describe() -> str:
    """Which way of counting runs here, and why, in words."""
    if load() is not None:
        return f"counts natively ({NATIVE.name}/{path.name})" if (path := file_here()) else ""
    if os.environ.get(_VARIABLE):
        return f"counts by Unicorn's own count, some ten times slower, as {_VARIABLE} asks"
    path = file_here()
    why = f"{path.name} does not load" if path else f"there is no library for {sys.platform} on {platform.machine()}"
    return f"counts by Unicorn's own count, some ten times slower: {why}"
