"""The programs that are timed: multiboot images, so that QEMU runs the same bytes."""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest.build import build
from mklab.kernel import bootloader
from mklab.machine.machine import Machine
from mklab.machine.schedule import Schedule

__all__ = ["Guest", "guest", "machine_at_begin"]

MEMORY = 64 << 20
"""Bytes of RAM; what the programs' page tables map."""

_SCRIPT = """
PHDRS { all PT_LOAD FLAGS(7); }
SECTIONS
{
	. = 0x100000;
	.header : { *(.header) } :all
	.text : { *(.text .text.*) } :all
	.rodata : { *(.rodata .rodata.* .got .got.*) _edata = .; } :all
	. = 0x400000;	/* in another page of 2 MiB than the text */
	.bss : { *(.bss .bss.* .data .data.*) _end = .; } :all
	/DISCARD/ : { *(.comment) *(.note*) }
}
ENTRY(start)
"""


@dataclass(frozen=True)
class Guest:
    """A program for the benchmark.

    Attributes:
        image: a multiboot file.
        symbols: its symbols' physical addresses.
    """

    image: bytes
    symbols: dict[str, int]


@functools.cache
def _built(program: str) -> tuple[bytes, dict[str, int]]:
    folder = Path(__file__).parent / "guests"
    source = next(folder.glob(f"{program}.[cS]"))
    sources = {"start.S": (folder / "start.S").read_text(), source.name: source.read_text()}
    elf = ELFFile(io.BytesIO(build(sources, _SCRIPT, movable=False)))
    table = elf.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols() if symbol.name}
    (segment,) = (one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD")
    return segment.data()[: symbols["_edata"] - segment["p_paddr"]], symbols


def guest(program: str, rounds: int) -> Guest:
    """``program`` (a file of ``guests/``), which will run ``rounds`` times.

    Raises:
        GuestBuildError: it cannot be built here.
    """
    flat, symbols = _built(program)
    image = bytearray(flat)
    struct.pack_into("<Q", image, symbols["rounds"] - symbols["header"], rounds)
    return Guest(bytes(image), symbols)


def machine_at_begin(program: Guest, schedule: Schedule, cpus: int = 1) -> Machine:
    """A machine whose CPU 0 has brought ``program`` to 64-bit mode and is about to call it."""
    machine = bootloader.boot(program.image, cpus=cpus, memory=MEMORY)
    while machine.registers(0).rip != program.symbols["begin"]:
        machine.run(1)
    machine.schedule = schedule
    return machine
