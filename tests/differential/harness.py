"""What both machines of a comparison begin with, and how the model runs it; ``qemu.py`` has the other side.

There is no firmware: the CPUs come out of reset in a ROM of ours, and memory holds what the test puts there.
"""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest.build import build
from mklab.machine.machine import Machine

__all__ = ["BANK", "RAM", "ROM", "Program", "Setup", "assemble", "run_on_model"]

RAM = 64 << 20
BANK = 2 << 20
"""Bytes of a setup's bank."""
ROM, ROM_SIZE = 0xFFFF0000, 0x10000
"""The last 64 KiB below 4 GiB: CPUs fetch their first instruction 16 bytes before the end."""

_BUDGET = 100_000_000
"""Virtual time: instructions, and the gaps in which every CPU waits for a timer."""
_HERE = Path(__file__).parent
_PROGRAM = 0x10000
_SCRIPT = f"SECTIONS {{ . = {_PROGRAM:#x}; .text : {{ *(.text) }} /DISCARD/ : {{ *(.comment) *(.note*) }} }}"


@dataclass(frozen=True)
class Setup:
    """A machine before its first instruction.

    Attributes:
        contents: what lies in memory when the BSP comes out of reset, by physical address; the ROM among it.
        bank: where RAM lies from 4 GiB on, or None.
        cpus: how many.
    """

    contents: dict[int, bytes]
    bank: int | None = None
    cpus: int = 2


@dataclass(frozen=True)
class Program:
    """A program that takes the place of the firmware: its bytes, from 64 KiB on, and its labels' addresses."""

    data: bytes
    symbols: dict[str, int]

    def setup(self, cpus: int = 1, **words: int) -> Setup:
        """A machine that starts it in real mode, at 0x1000:0; ``words`` go to the doublewords of those labels."""
        start = bytes((0xEA, *struct.pack("<HH", 0, _PROGRAM >> 4)))  # ljmp
        contents = {_PROGRAM: self.data, ROM: start.rjust(ROM_SIZE - 11, b"\xf4").ljust(ROM_SIZE, b"\xf4")}
        data = bytearray(self.data)
        for name, value in words.items():
            struct.pack_into("<I", data, self.symbols[name] - _PROGRAM, value)
        return Setup(contents | {_PROGRAM: bytes(data)}, cpus=cpus)


@functools.cache
def assemble(*names: str) -> Program:
    """The files of this folder as one program, in that order."""
    text = "\n".join((_HERE / name).read_text() for name in names)
    elf = ELFFile(io.BytesIO(build({"program.S": text}, _SCRIPT, movable=False)))
    code, table = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
    assert code is not None
    assert isinstance(table, SymbolTableSection)
    return Program(code.data(), {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()})


def run_on_model(setup: Setup) -> tuple[str, Machine]:
    """Carry it out on mklab's machine: ``done`` (every CPU halted) or ``reset`` (one shut down), and the machine."""
    banks = [(setup.bank, BANK)] if setup.bank is not None else []
    machine = Machine(cpus=setup.cpus, ram=[(0, RAM), (ROM, ROM_SIZE), *banks])
    for address, data in setup.contents.items():
        machine.poke(address, data)
    machine.patch_registers(0, machine.registers(0))  # as they are after reset
    stop = machine.run(_BUDGET)
    assert stop.reason in ("idle", "reset"), stop
    return "done" if stop.reason == "idle" else "reset", machine
