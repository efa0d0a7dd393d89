"""Guest code as text: AT&T syntax, as the sources of the kernel and of this lab's guest code are written."""

import functools
import re
from typing import Any

import capstone

from mklab.machine.registers import EFER, Registers
from mklab.recording import Line

__all__ = ["code_bits", "disassembled", "is_atomic"]

_BETWEEN_REGISTERS = re.compile(r"xchg\w* %\w+, %\w+$")


def code_bits(registers: Registers) -> int:
    """What an instruction's bytes mean: 16-, 32- or 64-bit code (SDM "Segment Descriptors": the L and D flags)."""
    return 64 if registers.efer & EFER.LMA and registers.cs.long else 32 if registers.cs.big else 16


@functools.lru_cache(maxsize=4096)
def disassembled(linear: int, code: bytes, bits: int, most: int) -> tuple[Line, ...]:
    """The first ``most`` instructions of ``code``, ``bits``-bit code that lies at ``linear``; fewer where it ends."""
    return tuple(
        Line(one.address, one.bytes.hex(), f"{one.mnemonic} {one.op_str}".rstrip())
        for one in _decoder(bits).disasm(code, linear, most)
    )


def is_atomic(text: str) -> bool:
    """Whether an instruction reads and writes memory as one: LOCK, or XCHG with memory (SDM "Bus Locking")."""
    return text.startswith("lock ") or (text.startswith("xchg") and not _BETWEEN_REGISTERS.match(text))


@functools.cache
def _decoder(bits: int) -> Any:
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[bits])
    decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
    return decoder
