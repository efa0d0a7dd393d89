"""Looking at single instructions of the guest."""

import functools
from typing import Any

import capstone

from mklab.machine.memory import PhysicalMemory
from mklab.machine.paging import walk
from mklab.machine.registers import Registers

__all__ = ["how_it_repeats"]

_LONGEST_INSTRUCTION = 15
_BRANCHES = (
    *(capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL, capstone.CS_GRP_RET, capstone.CS_GRP_IRET),
    capstone.CS_GRP_BRANCH_RELATIVE,  # LOOP is in no other group
)


def how_it_repeats(memory: PhysicalMemory, registers: Registers, linear: int) -> str:
    """How the instruction at a linear address may follow itself: ``rep``, ``branch``, or ``""`` (not at all)."""
    code = b"".join(_byte(memory, registers, linear + i) for i in range(_LONGEST_INSTRUCTION))
    narrow = capstone.CS_MODE_32 if registers.cs.big else capstone.CS_MODE_16
    for instruction in _decoder(capstone.CS_MODE_64 if registers.cs.long else narrow).disasm(code, linear, 1):
        if any(instruction.group(group) for group in _BRANCHES):
            return "branch"
        return "rep" if instruction.mnemonic.startswith("rep") else ""
    return ""


@functools.cache
def _decoder(mode: int) -> Any:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, mode)
    decoder.detail = True
    return decoder


def _byte(memory: PhysicalMemory, registers: Registers, linear: int) -> bytes:
    paddr = walk(memory, registers, linear).paddr
    return memory.read(paddr, 1) if paddr is not None and memory.contains(paddr) else b""
