"""The bench of lab 04: a machine without a kernel, whose CPUs stand in 64-bit mode and have one IDT and their APICs.

Memory: code at :data:`CODE`, the IDT at :data:`IDT`, variables at :data:`VARIABLES`, a stack for each CPU below
:func:`stack`. Lab 05 uses the bench, too.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from mklab.kernel.host import identity_tables
from mklab.kernel.layout import BOOT_PAGE_TABLES
from mklab.lab.guestcode import Code, compiled
from mklab.lab.guestrun import Place
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.machine.power import entry_registers
from mklab.machine.registers import Segment
from mklab.machine.schedule import RoundRobin

__all__ = [
    "CODE",
    "IDT",
    "SVR",
    "VARIABLES",
    "assembled",
    "bench",
    "enter",
    "gate",
    "place",
    "program",
    "set_gate",
    "stack",
    "switch_on",
]

CODE, IDT, VARIABLES = 0x20000, 0x30000, 0x40000
SVR = APIC_BASE + 0xF0
_CS = 0x10
_GDT = 0x600
_DESCRIPTORS = (0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
"""As Linux has them: 0x10 is __KERNEL_CS, 0x18 __KERNEL_DS."""


def program(name: str) -> str:
    """The text of a program of this lab, ``ipis.S`` for example."""
    return (resources.files("mklab.lab.lab04") / name).read_text(encoding="utf-8")


@functools.lru_cache(maxsize=8)
def assembled(text: str) -> Code:
    """A program as it lies at :data:`CODE`."""
    return compiled(text, "asm", CODE)


def stack(cpu: int) -> int:
    """Where the stack of ``cpu`` begins; it grows downwards for a page."""
    return 0x61000 + 0x1000 * cpu


def gate(handler: int, kind: int = 0xE, selector: int = _CS) -> bytes:
    """A 64-bit gate (SDM "64-Bit Mode IDT"): present, DPL 0, IST 0; ``kind`` is 0xE for interrupt, 0xF for trap."""
    low = handler & 0xFFFF | selector << 16 | (0x80 | kind) << 40 | (handler >> 16 & 0xFFFF) << 48
    return low.to_bytes(8, "little") + (handler >> 32).to_bytes(8, "little")


def set_gate(machine: Machine, vector: int, handler: int, kind: int = 0xE) -> None:
    """Put a gate into the bench's IDT."""
    machine.poke(IDT + 16 * vector, gate(handler, kind))


def enter(machine: Machine, cpu: int, rip: int, *args: int) -> None:
    """Let ``cpu`` begin at ``rip``: 64-bit mode, interrupts off, the bench's IDT, ``args`` in RDI, RSI and RDX."""
    registers = entry_registers(rip, stack(cpu), 0, BOOT_PAGE_TABLES)
    registers.gdtr = Segment(0, _GDT, 8 * len(_DESCRIPTORS) - 1)
    registers.idtr = Segment(0, IDT, 0xFFF)
    for name, value in zip(("rdi", "rsi", "rdx"), args, strict=False):
        setattr(registers, name, value)
    machine.patch_registers(cpu, registers)


def switch_on(machine: Machine) -> None:
    """Tables in memory, and every local APIC enabled: SVR bit 8."""
    machine.poke(_GDT, b"".join(one.to_bytes(8, "little") for one in _DESCRIPTORS))
    machine.poke(BOOT_PAGE_TABLES, identity_tables(BOOT_PAGE_TABLES))
    for cpu in range(len(machine.cpus)):
        machine.store(cpu, SVR, 0x1FF)


def bench(
    text: str,
    entries: Sequence[tuple[str, int]],
    handlers: Mapping[int, tuple[str, int]],
    *,
    apic_ids: Sequence[int] | None = None,
    quantum: int = 50,
) -> Machine:
    """A machine with the assembly ``text`` in place, about to run.

    Args:
        text: a program (:func:`program`).
        entries: of each CPU: the symbol at which it begins, and what is in RDI.
        handlers: by vector: the symbol that its gate leads to, and the kind of gate.
        apic_ids: of the CPUs.
        quantum: instructions of each turn.
    """
    code = assembled(text)
    machine = Machine(len(entries), 4 << 20, RoundRobin(quantum), apic_ids, on_shutdown="halt")
    machine.poke(CODE, code.data)
    switch_on(machine)
    for vector, (symbol, kind) in handlers.items():
        set_gate(machine, vector, code.symbols[symbol], kind)
    for cpu, (symbol, rdi) in enumerate(entries):
        enter(machine, cpu, code.symbols[symbol], rdi)
    return machine


def place(
    entries: Mapping[int, tuple[str, int]],
    furnish: Callable[[Machine, Code], None],
    *,
    apic_ids: Sequence[int],
    defines: str = "",
    ends: str = "halt",
    keep: Mapping[str, range] | None = None,
    budget: int = 100_000,
) -> Place:
    """The bench as the place of an answer in assembly or C.

    Args:
        entries: by CPU: the symbol at which it begins, and what is in RDI; the others wait for a SIPI.
        furnish: called with the machine and the code before the CPUs are entered: gates and variables.
        apic_ids: of the CPUs.
        defines: a symbol that the answer must define.
        ends, keep, budget: as of any place.
    """

    def prepare(machine: Machine, code: Code) -> None:
        switch_on(machine)
        furnish(machine, code)
        for cpu, (symbol, rdi) in entries.items():
            enter(machine, cpu, code.symbols[symbol], rdi)

    def make() -> Machine:
        return Machine(len(apic_ids), 4 << 20, RoundRobin(50), apic_ids, on_shutdown="halt")

    return Place(
        base=CODE, entry=defines, cpu=None, make=make, prepare=prepare, ends=ends, keep=keep or {}, budget=budget
    )
