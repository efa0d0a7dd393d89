"""Stores in the APIC page that reach more or less than a register: this machine takes them, and the SDM forbids them.

An event says which register was written, not how wide the store was; its instruction does, and it is looked up.
"""

import capstone

from mklab.lab import session
from mklab.lab.exercise import not_yet
from mklab.lab.guestrun import Ran
from mklab.lab.verdict import Verdict
from mklab.machine.decode import instruction_at
from mklab.machine.lapic import EOI
from mklab.machine.layout import APIC_BASE
from mklab.machine.machine import Machine
from mklab.trace import ApicWrite, Eoi

__all__ = ["misfit"]

_BYTES = 4


def misfit(ran: Ran, cpu: int) -> Verdict | None:
    """The first store of ``cpu`` to its APIC that is not of 32 bits at a register's address; None: there is none.

    Source: SDM volume 3, "The Local APIC Block Diagram": registers are reached by loads and stores of 32 bits at
    multiples of 16; narrower ones work on some models only, and what touches bytes 4 to 15 must not be executed.
    """
    events = [one for one in ran.events if isinstance(one, (ApicWrite, Eoi)) and one.cpu == cpu]
    if not events:
        return None
    timeline = session.timeline(session.replay(ran.machine.trace))
    for event in events:
        timeline.seek(event.seq)
        timeline.back()
        size = _width(timeline.machine, cpu)
        offset = event.offset if isinstance(event, ApicWrite) else EOI
        if size in (None, _BYTES) and not offset % 16:
            continue
        at = timeline.machine.registers(cpu).linear_rip
        line = ran.line(at)
        return not_yet(
            _words(offset, size or _BYTES),
            f"line {line} of your cell" if line else f"instruction at {at:#x}",
            "A register of the APIC takes one store of 32 bits, at its own address, a multiple of 16. How wide is"
            " yours, and where does it begin?",
        )
    return None


def _words(offset: int, size: int) -> str:
    address = APIC_BASE + offset
    if size < _BYTES:
        return (
            f"Your store at {address:#x} has {8 * size} bits. This machine took it for the whole register; the SDM says"
            " that some processors do, and promises it for none."
        )
    if size == _BYTES:
        return f"Your store has touched {address:#x}, where no register begins. The SDM leaves undefined what it does."
    return (
        f"Your store at {address:#x} has {8 * size} bits: it has reached {address + _BYTES:#x}, too, which belongs to"
        " no register. This machine took its lower half; the SDM says that such a store must not be executed."
    )


def _width(machine: Machine, cpu: int) -> int | None:
    """The bytes that the operand in memory of a CPU's next instruction has; None: it has none."""
    registers = machine.registers(cpu)
    instruction = instruction_at(machine.memory, registers, registers.linear_rip)
    operands = instruction.operands if instruction is not None else ()
    return max((operand.size for operand in operands if operand.type == capstone.x86.X86_OP_MEM), default=None)
