"""Code that runs on the machine: trampoline, purgatory, relocate_kernel, a minikernel and rings, prebuilt."""

import functools
import io
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

__all__ = ["Blob", "listing", "minikernel", "purgatory", "relocate_kernel", "rings", "source_texts", "trampoline"]

_PREBUILT = Path(__file__).parent / "prebuilt"


@dataclass(frozen=True)
class Blob:
    """Bytes to be copied as they are, and the offsets of their symbols."""

    data: bytes
    symbols: dict[str, int]


@functools.cache
def minikernel() -> bytes:
    """The minikernel as an ELF64 image."""
    return (_PREBUILT / "minikernel.elf").read_bytes()


@functools.cache
def purgatory() -> bytes:
    """Purgatory as an ELF64 image, its variables not yet filled in."""
    return (_PREBUILT / "purgatory.elf").read_bytes()


@functools.cache
def trampoline() -> Blob:
    """The multikernel trampoline, ``trampoline_64_bsp.S``: nine pages."""
    return _blob("trampoline_64_bsp", ".x86_trampoline_bsp")


@functools.cache
def relocate_kernel() -> Blob:
    """The last code before a kexec's image, ``relocate_kernel_64.S``: it fits into half a page."""
    return _blob("relocate_kernel_64", ".relocate_kernel")


@functools.cache
def rings() -> Blob:
    """Senders and receivers of messages through a ring, ``rings.S``: a correct one of each, and three wrong ones."""
    return _blob("rings", ".rings")


def listing(name: str) -> str:
    """The listing of a shipped image: its instructions, and the source lines they were made from."""
    return (_PREBUILT / f"{name}.lst").read_text()


def source_texts(pattern: str) -> dict[str, str]:
    """The sources of shipped code whose paths, as the listings name them, are like ``pattern``."""
    folder = _PREBUILT.parent
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.glob(pattern))}


def _blob(name: str, section: str) -> Blob:
    elf = ELFFile(io.BytesIO((_PREBUILT / f"{name}.elf").read_bytes()))
    code, table = elf.get_section_by_name(section), elf.get_section_by_name(".symtab")
    assert code is not None
    assert isinstance(table, SymbolTableSection)
    return Blob(code.data(), {symbol.name: symbol["st_value"] for symbol in table.iter_symbols() if symbol.name})
