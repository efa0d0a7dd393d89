"""In words: what a CPU does first in a transition."""

from typing import Any

from mklab.machine.decode import LONGEST_INSTRUCTION, code_at
from mklab.machine.machine import Machine
from mklab.machine.registers import Registers
from mklab.timeline.disassembly import code_bits, disassembled, is_atomic
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
    code = code_at(machine.memory, registers, rip, LONGEST_INSTRUCTION)
    lines = disassembled(rip, code, code_bits(registers), 1)
    text = lines[0].text if lines else "(no instruction)"
    kind = kind or ("memory" if accesses else "start")
    return Operation(cpu, kind, rip, text, _symbol(machine, cpu, rip), is_atomic(text), accesses)


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
