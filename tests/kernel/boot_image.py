"""The programs of ``boot/`` as images in the three formats."""

import functools
import io
import struct
from pathlib import Path

from elftools.elf.elffile import ELFFile

from mklab.guest.build import build

__all__ = ["BASE", "bzimage", "elf64", "multiboot"]

BASE = 0x100000
_HEADER = """
	.section .header, "a"
	.balign	4
header:
	.long	0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
	.long	header, header, _edata, _end, start
	.long	0, 0, 0, 0
"""
"""A multiboot header with addresses, and the fields of a video mode, which QEMU wants to lie in the file."""
_SCRIPT = """
PHDRS {{ all PT_LOAD FLAGS(7); }}
SECTIONS
{{
	. = {base:#x};
	.header : {{ *(.header) }} :all
	.text : {{ *(.text) }} :all
	.data : {{ *(.data) _edata = .; }} :all
	.bss : {{ *(.bss) _end = .; }} :all
	/DISCARD/ : {{ *(.comment) *(.note*) }}
}}
ENTRY(start)
"""


def _source(program: str, bits: int) -> str:
    folder = Path(__file__).parent / "boot"
    return f".code{bits}\n" + (folder / "console.S").read_text() + (folder / f"{program}.S").read_text()


def _flat(image: bytes) -> bytes:
    """What an ELF file loads, as it lies in memory, without what is zero at the end."""
    (segment,) = (one for one in ELFFile(io.BytesIO(image)).iter_segments() if one["p_type"] == "PT_LOAD")
    data: bytes = segment.data()
    return data


@functools.cache
def multiboot(program: str, *, base: int = BASE) -> bytes:
    """A flat file with addresses in its header, which goes to ``base``."""
    text = _source(program, 32) + _HEADER
    return _flat(build({"program.S": text}, _SCRIPT.format(base=base), movable=False))


@functools.cache
def elf64(program: str, *, base: int = BASE, movable: bool = False) -> bytes:
    """An ELF64 file, linked at ``base``."""
    return build({"program.S": _source(program, 64)}, _SCRIPT.format(base=base), movable=movable)


@functools.cache
def bzimage(program: str) -> bytes:
    """A bzImage that prefers 16 MiB: two sectors of header, 512 bytes of 32-bit entry, and the program."""
    # The code must run wherever it lies: programs that name addresses are for the other formats.
    code = bytes(0x200) + _flat(build({"program.S": _entry_first(program)}, _SCRIPT.format(base=0), movable=False))
    code = code.ljust(-(-len(code) // 16) * 16, b"\0")
    header = bytearray(1024)
    struct.pack_into("<B2xI6xH", header, 0x1F1, 1, len(code) // 16, 0xAA55)  # setup_sects, syssize, boot_flag
    struct.pack_into("<2s4sH9xB", header, 0x200, b"\xeb\x66", b"HdrS", 0x20C, 1)  # jump, header, version, loadflags
    struct.pack_into("<IB1xHI", header, 0x230, 0x200000, 1, 0b11, 255)  # alignment, relocatable, xloadflags, cmdline
    struct.pack_into("<QI", header, 0x258, 0x1000000, 0x10000)  # pref_address, init_size
    return bytes(header) + code


def _entry_first(program: str) -> str:
    """The entry is at a fixed place in a bzImage."""
    return ".code64\n.text\njmp start\n" + _source(program, 64)
