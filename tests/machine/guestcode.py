"""Machines that run a few instructions of guest code, for the tests of this folder.

Everything lies below 64 KiB, so that 16-bit code reaches it too, and linear addresses are physical ones.
"""

import functools
import io
import struct
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mklab.guest.build import build
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.registers import CR0, CR4, EFER, RFLAGS, Registers, Segment
from mklab.machine.schedule import Schedule

__all__ = [
    "CODE",
    "DATA",
    "GDT",
    "IDT",
    "PAGE_TABLE",
    "PML4",
    "RAM",
    "STACK",
    "TSS",
    "Code",
    "assemble",
    "gate",
    "load",
    "long_mode",
    "long_mode_registers",
    "protected_registers",
    "real_mode",
    "real_mode_registers",
]

RAM = 4 << 20
GDT, TSS, IDT, STACK, CODE, DATA = 0x1000, 0x1800, 0x2000, 0x7000, 0x8000, 0xE000
PML4, PDPT, DIRECTORY, PAGE_TABLE, HIGH_DIRECTORY = 0x20000, 0x21000, 0x22000, 0x23000, 0x24000
_TABLE, _LARGE = 0x07, 0x87
_DESCRIPTORS = (
    0,
    0x00CF9B000000FFFF,  # 0x08 code, 32-bit
    0x00AF9B000000FFFF,  # 0x10 code, 64-bit
    0x00CF93000000FFFF,  # 0x18 data
    0x00CFF3000000FFFF,  # 0x20 data, DPL 3
    0x00AFFB000000FFFF,  # 0x28 code, 64-bit, DPL 3
    0x00008B0018000067,  # 0x30 task state segment at TSS, 104 bytes
    0,
    0x00009B000000FFFF,  # 0x40 code, 16-bit
    0x000093000000FFFF,  # 0x48 data, 16-bit
    0x00CFFB000000FFFF,  # 0x50 code, 32-bit, DPL 3
    0x00AF9F000000FFFF,  # 0x58 code, 64-bit, conforming
    0x00AF1B000000FFFF,  # 0x60 code, 64-bit, not present
)


@dataclass(frozen=True)
class Code:
    """Machine code and where its labels lie."""

    base: int
    data: bytes
    symbols: dict[str, int]


@functools.cache
def assemble(source: str, base: int = CODE) -> Code:
    """GNU assembly, 64-bit unless it says otherwise, as it lies at ``base``."""
    text = f".section .text\n.code64\n.globl _start\n_start:\n{source}\n"
    script = f"SECTIONS {{ . = {base:#x}; .text : {{ *(.text) }} /DISCARD/ : {{ *(.comment) *(.note*) }} }}"
    elf = ELFFile(io.BytesIO(build({"code.S": text}, script, movable=False)))
    code, table = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
    assert code is not None
    assert isinstance(table, SymbolTableSection)
    return Code(base, code.data(), {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()})


def load(machine: Machine, code: Code) -> Code:
    """Put ``code`` into memory."""
    machine.poke(code.base, code.data)
    return code


def gate(
    handler: int, *, selector: int = 0x10, ist: int = 0, kind: int = 0xE, dpl: int = 0, present: bool = True
) -> bytes:
    """A gate of a long-mode IDT (SDM "64-Bit IDT Gate Descriptors"); ``kind`` 0xE interrupt, 0xF trap."""
    access = present << 7 | dpl << 5 | kind
    return struct.pack("<HHBBHI4x", handler & 0xFFFF, selector, ist, access, handler >> 16 & 0xFFFF, handler >> 32)


def real_mode_registers(rip: int = CODE) -> Registers:
    """Real mode, every segment at 0."""
    registers = Registers(cr0=CR0.ET, rip=rip, rsp=STACK)
    for name in ("es", "cs", "ss", "ds", "fs", "gs"):
        setattr(registers, name, Segment(flags=0x9B00 if name == "cs" else 0x9300))
    return registers


def protected_registers(rip: int = CODE, *, bits: int = 32) -> Registers:
    """Protected mode without paging, with 32-bit or 16-bit segments at 0."""
    wide = bits == 32
    limit, flags = (0xFFFFFFFF, 0xC00000) if wide else (0xFFFF, 0)
    registers = Registers(cr0=CR0.PE | CR0.ET, rip=rip, rsp=STACK)
    registers.gdtr = Segment(0, GDT, len(_DESCRIPTORS) * 8 - 1, 0)
    registers.cs = Segment(0x08 if wide else 0x40, 0, limit, flags | 0x9B00)
    for name in ("es", "ss", "ds"):
        setattr(registers, name, Segment(0x18 if wide else 0x48, 0, limit, flags | 0x9300))
    return registers


def long_mode_registers(rip: int = CODE, *, stack: int = STACK, interrupts: bool = False) -> Registers:
    """64-bit mode at CPL 0, with the tables of :func:`long_mode`."""
    registers = Registers(
        rip=rip,
        rsp=stack,
        rflags=RFLAGS.ONE | (RFLAGS.IF if interrupts else 0),
        cr0=CR0.PG | CR0.PE | CR0.ET | CR0.WP,
        cr3=PML4,
        cr4=CR4.PAE | CR4.OSFXSR,
        efer=EFER.LME | EFER.LMA,
        cs=Segment(0x10, 0, 0xFFFFFFFF, 0xA09B00),
        gdtr=Segment(0, GDT, len(_DESCRIPTORS) * 8 - 1, 0),
        idtr=Segment(0, IDT, 0xFFF, 0),
        tr=Segment(0x30, TSS, 0x67, 0x8B00),
    )
    for name in ("es", "ss", "ds"):
        setattr(registers, name, Segment(0x18, 0, 0xFFFFFFFF, 0xC09300))
    return registers


def real_mode(source: str) -> tuple[Machine, Code]:
    """A machine whose CPU 0 stands in real mode before ``source``."""
    machine = Machine(cpus=1, ram=RAM)
    code = load(machine, assemble(".code16\n" + source))
    machine.patch_registers(0, real_mode_registers())
    return machine, code


def long_mode(
    source: str,
    *,
    cpus: int = 1,
    schedule: Schedule | None = None,
    handlers: bool = True,
    on_shutdown: str = "reset",
    interrupts: bool = False,
    journalled: bool = False,
) -> tuple[Machine, Code]:
    """A machine whose CPU 0 stands in 64-bit mode before ``source``; CPU n, where there is a label ``cpu<n>``, there.

    The first GiB is mapped to itself for everybody, in 4 KiB pages below 2 MiB; so is the local APIC. A label
    ``vector_<hex>`` (``handlers``) is that vector's handler, behind an interrupt gate. Every local APIC is enabled
    (``journalled``: by a store that the journal knows).
    """
    machine = Machine(cpus=cpus, ram=RAM, schedule=schedule, on_shutdown=on_shutdown)
    code = load(machine, assemble(source))
    machine.poke(GDT, struct.pack(f"<{len(_DESCRIPTORS)}Q", *_DESCRIPTORS))
    machine.poke(PML4, struct.pack("<Q", PDPT | _TABLE))
    machine.poke(PDPT, struct.pack("<4Q", DIRECTORY | _TABLE, 0, 0, HIGH_DIRECTORY | _TABLE))
    machine.poke(DIRECTORY, struct.pack("<512Q", PAGE_TABLE | _TABLE, *(i << 21 | _LARGE for i in range(1, 512))))
    machine.poke(PAGE_TABLE, struct.pack("<512Q", *(i << 12 | _TABLE for i in range(512))))
    machine.poke(HIGH_DIRECTORY + (APIC_BASE >> 21 & 511) * 8, struct.pack("<Q", APIC_BASE | _LARGE))
    if handlers:
        for name, address in code.symbols.items():
            if name.startswith("vector_"):
                machine.poke(IDT + int(name.removeprefix("vector_"), 16) * 16, gate(address))
    for cpu in range(cpus):
        if journalled:
            machine.store(cpu, APIC_BASE + 0xF0, 0x1FF)
        machine.apics[cpu].svr = 0x1FF
        entry = code.symbols.get(f"cpu{cpu}", CODE if cpu == 0 else None)
        if entry is not None:
            registers = long_mode_registers(entry, stack=STACK - 0x400 * cpu, interrupts=interrupts)
            machine.patch_registers(cpu, registers)
    return machine, code
