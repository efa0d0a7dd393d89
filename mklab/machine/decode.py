"""Looking at single instructions of the guest."""

import functools
from typing import Any

from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import Registers
from mklab.paging import walk

__all__ = ["LONGEST_INSTRUCTION", "code_at", "how_it_repeats", "instruction_at"]

LONGEST_INSTRUCTION = 15
_PAGE = 4096


def how_it_repeats(memory: PhysicalMemory, registers: Registers, linear: int) -> str:
    """How the instruction at a linear address may follow itself: ``rep``, ``branch``, or ``""`` (not at all)."""
    import capstone  # a tenth of what importing a machine would cost, and most machines never ask

    branches = (
        *(capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL, capstone.CS_GRP_RET, capstone.CS_GRP_IRET),
        capstone.CS_GRP_BRANCH_RELATIVE,  # LOOP is in no other group
    )
    instruction = instruction_at(memory, registers, linear)
    if instruction is None:
        return ""
    if any(instruction.group(group) for group in branches):
        return "branch"
    return "rep" if instruction.mnemonic.startswith("rep") else ""


def instruction_at(memory: PhysicalMemory, registers: Registers, linear: int) -> Any:
    """The instruction at a linear address, as ``capstone.CsInsn`` with details; None: no instruction lies there."""
    import capstone

    code = code_at(memory, registers, linear, LONGEST_INSTRUCTION)
    narrow = capstone.CS_MODE_32 if registers.cs.big else capstone.CS_MODE_16
    mode = capstone.CS_MODE_64 if registers.cs.long else narrow
    return next(_decoder(mode).disasm(code, linear, 1), None)


@functools.cache
def _decoder(mode: int) -> Any:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
    decoder.detail = True
    return decoder


def code_at(memory: PhysicalMemory, registers: Registers, linear: int, size: int) -> bytes:
    """``size`` bytes at a linear address, or as many of them as lie in RAM."""
    code = b""
    while len(code) < size:
        at = linear + len(code)
        part = min(size - len(code), _PAGE - at % _PAGE)
        paddr = walk(memory, registers, at).paddr
        if paddr is None or not memory.contains(paddr, part):
            break
        code += memory.read(paddr, part)
    return code
