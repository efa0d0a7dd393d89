"""A multiboot image in the two forms that there are: with addresses in its header, and as an ELF32 file."""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest.build import build
from mklab.kernel.kexec_multiboot_x86 import AOUT_KLUDGE

__all__ = ["BASE", "RECORD", "MultibootImage", "built", "elf32"]

BASE = 0x100000
RECORD = (
    *("eax", "ebx", "eflags", "cr0", "cr4", "efer"),
    *(f"{segment}.{part}" for segment in ("cs", "ds", "es", "ss", "fs", "gs") for part in ("rights", "limit")),
    "done",
)
"""The record's fields, 4 bytes each."""

_SCRIPT = f"""
flags = %#x;
checksum = (-0x1badb002 - flags) & 0xffffffff;
SECTIONS
{{
	. = {BASE:#x};
	.text : {{ *(.text) }}
	.data : {{ *(.data) _edata = .; }}
	.bss : {{ *(.bss) _end = .; }}
	/DISCARD/ : {{ *(.comment) *(.note*) }}
}}
"""


@dataclass(frozen=True)
class MultibootImage:
    """A file, and where in memory its symbols are."""

    file: bytes
    symbols: dict[str, int]


@functools.cache
def built(flags: int, *, elf: bool = False) -> MultibootImage:
    """``multiboot.S`` with these ``flags``: the bytes as they lie in memory, or (``elf``) an ELF32 file around them."""
    source = (Path(__file__).parent / "multiboot.S").read_text()
    image = ELFFile(io.BytesIO(build({"multiboot.S": source}, _SCRIPT % flags, movable=False)))
    table = image.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    memory = bytearray(symbols["_edata"] - BASE)
    for section in image.iter_sections():
        if section.name in (".text", ".data"):
            start = section["sh_addr"] - BASE
            memory[start : start + section["sh_size"]] = section.data()
    assert flags & AOUT_KLUDGE or elf
    file = elf32(bytes(memory), symbols["_start"], BASE, symbols["_end"] - BASE) if elf else bytes(memory)
    return MultibootImage(file, symbols)


def elf32(data: bytes, entry: int, paddr: int, memsz: int, *, machine: int = 3, kind: int = 2) -> bytes:
    """An ELF32 file of one PT_LOAD, by the ELF specification's layout."""
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, entry, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    header += struct.pack("<8I", 1, 128, paddr, paddr, len(data), memsz, 7, 0x1000)
    return header.ljust(128, b"\0") + data
