"""Stores in the APIC page that reach more or less than a register: this machine takes them, and the SDM forbids them.

An event says which register was written, not how wide the store was; its instruction does, and it is looked up.
"""

import functools
from typing import Any

import capstone

from mklab.lab import session
from mklab.lab.exercise import not_yet
from mklab.lab.guestrun import Ran
from mklab.lab.verdict import Verdict
from mklab.machine.decode import LONGEST_INSTRUCTION, code_at
from mklab.machine.lapic import EOI
from mklab.machine.layout import APIC_BASE
from mklab.machine.registers import Registers
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
        registers = timeline.machine.registers(cpu)
        size = _width(code_at(timeline.machine.memory, registers, registers.linear_rip, LONGEST_INSTRUCTION), registers)
        offset = event.offset if isinstance(event, ApicWrite) else EOI
        if size in (None, _BYTES) and not offset % 16:
            continue
        line = ran.line(registers.linear_rip)
        return not_yet(
            _words(offset, size or _BYTES),
            f"line {line} of your cell" if line else f"instruction at {registers.linear_rip:#x}",
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


def _width(code: bytes, registers: Registers) -> int | None:
    """The bytes that an instruction's operand in memory has; None: it has none."""
    for one in _decoder(capstone.CS_MODE_64 if registers.cs.long else capstone.CS_MODE_32).disasm(code, 0, 1):
        return max((operand.size for operand in one.operands if operand.type == capstone.x86.X86_OP_MEM), default=None)
    return None


@functools.cache
def _decoder(mode: int) -> Any:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
    decoder.detail = True
    return decoder
