"""A multiboot image in the two forms that there are, with addresses in its header and as an ELF32 file; its boot."""

import functools
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest.build import build
from mklab.kernel.kexec import LoadedImage
from mklab.kernel.kexec_multiboot_x86 import AOUT_KLUDGE
from mklab.machine.machine import Machine
from mklab.machine.ownership import Image
from mklab.machine.power import entry_registers

__all__ = ["BASE", "RECORD", "MultibootImage", "booted", "built", "elf32", "loops"]

BASE = 0x100000
_TABLES = 0x70000
_BUDGET = 10_000_000  # purgatory hashes a byte in some 60 instructions
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


def booted(loaded: LoadedImage, ram: int, tamper: Mapping[int, int] | None = None) -> Machine:
    """A machine of one CPU after it has been handed ``loaded`` in 64-bit mode, as a boot loader would, and run.

    Args:
        loaded: what a loader made.
        ram: bytes of RAM.
        tamper: by address, bits to flip in the byte there before it runs.
    """
    machine = Machine(1, ram=ram)
    for segment in loaded.segments:
        machine.poke(segment.mem, segment.buf.ljust(segment.memsz, b"\0"))
    for address, bits in (tamper or {}).items():
        machine.poke(address, bytes([machine.memory.read(address, 1)[0] ^ bits]))
    ranges = [[segment.mem, segment.mem + segment.memsz] for segment in loaded.segments]
    machine.add_image(Image("kernel 1", ranges, loaded.entry, dict(loaded.symbols)))
    machine.poke(_TABLES, _identity_tables())
    machine.enter_kernel(0, entry_registers(loaded.entry, _TABLES, 0, _TABLES))
    machine.run(_BUDGET, loops)
    return machine


def loops(machine: Machine, cpu: int = 0) -> bool:
    """Whether a CPU has come to a jump to itself, as purgatory does after a mismatch."""
    registers = machine.registers(cpu)
    return registers.mode == "long" and machine.memory.read(registers.rip, 2) == b"\xeb\xfe"


def _identity_tables() -> bytes:
    """0 to 4 GiB in pages of 2 MiB: six pages of tables (SDM "4-Level Paging")."""
    pml4 = struct.pack("<Q", _TABLES + 0x1000 | 3).ljust(4096, b"\0")
    pdpt = struct.pack("<4Q", *(_TABLES + 0x2000 + 0x1000 * i | 3 for i in range(4))).ljust(4096, b"\0")
    return pml4 + pdpt + struct.pack("<2048Q", *(i << 21 | 0x83 for i in range(2048)))
