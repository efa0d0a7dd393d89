"""In words: what a CPU does first in a transition."""

import functools
from typing import Any

import capstone

from mklab.machine.decode import LONGEST_INSTRUCTION, code_at
from mklab.machine.machine import Machine
from mklab.machine.registers import Registers
from mklab.timeline.explore.transition import Access, Operation

__all__ = ["describe"]


def describe(
    machine: Machine, cpu: int, registers: Registers, event: tuple[str, Any], accesses: tuple[Access, ...]
) -> Operation:
    """The operation that began at ``registers``.

    Args:
        machine: with the code in memory.
        cpu: who performed it.
        registers: before it.
        event: ``interrupt``, ``ipi`` or ``step`` and its fields, or nothing of the kind.
        accesses: to memory that CPUs share.
    """
    kind, values = event
    if kind == "step":
        return Operation(cpu, kind, 0, f"{values['function']}: {values['step']}", "", True, accesses)
    rip = registers.linear_rip
    if kind == "interrupt":
        text = f"interrupt {values['vector']:#x} is delivered"
        return Operation(cpu, kind, values["handler"], text, _symbol(machine, cpu, values["handler"]), True, accesses)
    bits = 64 if registers.cs.long and registers.mode == "long" else 32 if registers.cs.big else 16
    text = _disassembled(code_at(machine.memory, registers, rip, LONGEST_INSTRUCTION), rip, bits)
    atomic = text.startswith("lock ") or (text.startswith("xchg") and "[" in text)
    return Operation(
        cpu, kind or ("memory" if accesses else "start"), rip, text, _symbol(machine, cpu, rip), atomic, accesses
    )


@functools.cache
def _decoder(bits: int) -> capstone.Cs:
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    return capstone.Cs(capstone.CS_ARCH_X86, modes[bits])


def _disassembled(code: bytes, rip: int, bits: int) -> str:
    for instruction in _decoder(bits).disasm(code, rip, 1):
        return f"{instruction.mnemonic} {instruction.op_str}".strip()
    return "(no instruction)"


def _symbol(machine: Machine, cpu: int, address: int) -> str:
    """The symbol of the CPU's kernel that ``address`` lies behind."""
    image = machine.images.get(machine.cpus[cpu].owner or "")
    if image is None or not image.contains(address):
        return ""
    before = [(at, name) for name, at in image.symbols.items() if at <= address]
    if not before:
        return ""
    at, name = max(before)
    return f"{name}+{address - at:#x}" if address > at else name
