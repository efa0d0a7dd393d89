"""What can be seen of one CPU of a machine, as plain data for a recording."""

from typing import Any

from mklab.machine.apic_registers import (
    LVT_ERROR,
    LVT_LINT0,
    LVT_LINT1,
    LVT_PERFORMANCE,
    LVT_THERMAL,
    LVT_TIMER,
)
from mklab.machine.decode import code_at
from mklab.machine.icr import Icr
from mklab.machine.lapic import LocalApic
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import CR0, EFER, GPRS, Registers
from mklab.paging import PageWalk, walk
from mklab.recording import Line
from mklab.timeline.disassembly import code_bits, disassembled

__all__ = ["INSTRUCTIONS", "Sight", "apic_values", "register_values"]

INSTRUCTIONS = 6
"""How many instructions are shown from a CPU's place on."""
_BYTES = 15 * INSTRUCTIONS
_SYSTEM = ("rip", "rflags", "cr0", "cr2", "cr3", "cr4", "efer")
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
_LVT = {
    LVT_TIMER: "lvt.timer",
    LVT_THERMAL: "lvt.thermal",
    LVT_PERFORMANCE: "lvt.performance",
    LVT_LINT0: "lvt.lint0",
    LVT_LINT1: "lvt.lint1",
    LVT_ERROR: "lvt.error",
}


def register_values(registers: Registers) -> dict[str, int]:
    """The registers by name, each a number; a segment's hidden parts as ``cs.base``, ``cs.limit``, ``cs.flags``."""
    values: dict[str, int] = {name: getattr(registers, name) for name in (*GPRS, *_SYSTEM)}
    values["shadow"] = int(registers.shadow)
    for name in _SEGMENTS:
        segment = getattr(registers, name)
        values[name] = segment.selector
        values[f"{name}.base"], values[f"{name}.limit"] = segment.base, segment.limit
        values[f"{name}.flags"] = segment.flags
    for name in ("gdtr", "idtr"):
        table = getattr(registers, name)
        values[f"{name}.base"], values[f"{name}.limit"] = table.base, table.limit
    return values


def apic_values(apic: LocalApic) -> dict[str, Any]:
    """A local APIC's registers by name; IRR and ISR as lists of vectors, and the last command of ICR decoded."""
    icr = Icr(apic.icr_high, apic.icr_low, apic.mode == "x2apic")
    return {
        "mode": apic.mode,
        **{name: getattr(apic, name) for name in ("base", "tpr", "ppr", "ldr", "dfr", "svr", "esr", "errors")},
        "irr": _vectors(apic.irr),
        "isr": _vectors(apic.isr),
        "icr_low": apic.icr_low,
        "icr_high": apic.icr_high,
        "icr_vector": icr.vector,
        "icr_delivery": icr.delivery,
        "icr_shorthand": icr.shorthand,
        "icr_logical": icr.logical,
        "icr_level": icr.level_assert,
        "icr_destination": icr.destination,
        **{name: apic.lvt[offset] for offset, name in _LVT.items()},
        "deadline": apic.deadline,
    }


def _vectors(bits: int) -> list[int]:
    found = []
    while bits:
        vector = bits.bit_length() - 1
        found.append(vector)
        bits ^= 1 << vector
    return found[::-1]


class Sight:
    """Follows the addresses of CPUs through their page tables, and reads their code.

    Walks are remembered until a page changes that one of them went through.

    Args:
        memory: the machine's RAM.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._walks: dict[tuple[int, ...], PageWalk] = {}
        self._tables: set[int] = set()

    def forget(self, pages: set[int]) -> bool:
        """These pages have changed; whether an address may lead elsewhere now."""
        if self._tables.isdisjoint(pages):
            return False
        self._walks.clear()
        self._tables.clear()
        return True

    def where(self, registers: Registers) -> dict[str, Any]:
        """Physical addresses: of the next instruction, the top of the stack, GDT and IDT; and the first one's walk."""
        flat = registers.efer & EFER.LMA and registers.cs.long
        stack = registers.rsp if flat else (registers.ss.base + registers.rsp) & 0xFFFFFFFF
        rip = self._walk(registers, registers.linear_rip)
        return {
            "rip": self._paddr(rip, registers.linear_rip),
            "stack": self._paddr(self._walk(registers, stack), stack),
            "gdt": self._paddr(self._walk(registers, registers.gdtr.base), registers.gdtr.base),
            "idt": self._paddr(self._walk(registers, registers.idtr.base), registers.idtr.base),
            "walk": [list(entry) for entry in rip.entries] or None,
        }

    def lines(self, registers: Registers) -> list[Line]:
        """The next instructions."""
        linear = registers.linear_rip
        paddr = self._paddr(self._walk(registers, linear), linear)
        if paddr is None:
            return []
        if linear % 4096 + _BYTES <= 4096 and self._memory.contains(paddr, _BYTES):
            code = self._memory.read(paddr, _BYTES)
        else:
            code = code_at(self._memory, registers, linear, _BYTES)
        return list(disassembled(linear, code, code_bits(registers), INSTRUCTIONS))

    def _walk(self, registers: Registers, linear: int) -> PageWalk:
        if not registers.cr0 & CR0.PG:
            return walk(self._memory, registers, linear)
        key = (linear >> 12, registers.cr3, registers.cr0, registers.cr4, registers.efer)
        found = self._walks.get(key)
        if found is None:
            found = self._walks[key] = walk(self._memory, registers, linear)
            self._tables.update(address & -4096 for _, address, _ in found.entries)
        return found

    def _paddr(self, found: PageWalk, linear: int) -> int | None:
        return None if found.paddr is None else found.paddr & -4096 | linear & 4095
