"""Which I/O ports a program may reach (SDM volume 1, "Protected-Mode I/O")."""

from mklab.machine.fault import GuestFaultError
from mklab.machine.linear import LinearMemory
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import RFLAGS, Registers

__all__ = ["port_fault"]

_MAP_BASE = 0x66
"""Where the task state segment says where its permission map begins, in its 32-bit and in its 64-bit form."""
_TSS_32 = (9, 0xB)
"""Types of a task state segment that has a map: available, busy."""


def port_fault(memory: PhysicalMemory, registers: Registers, port: int, size: int) -> bool:
    """Whether IN, OUT, INS or OUTS of ``size`` bytes at ``port`` raises #GP(0).

    A permission map that is not mapped refuses, too; hardware raises #PF then.
    """
    if registers.cpl <= (registers.rflags & RFLAGS.IOPL) >> 12 and not registers.virtual_8086:
        return False
    task = registers.tr
    if task.system not in _TSS_32 or not task.present or task.limit < _MAP_BASE + 1:
        return True
    linear = LinearMemory(memory, registers)
    try:
        at = int.from_bytes(linear.read(task.base + _MAP_BASE, 2), "little") + port // 8
        # Two bytes are always read, since the ports may lie in both.
        if at + 1 > task.limit:
            return True
        bits = int.from_bytes(linear.read(task.base + at, 2), "little")
    except GuestFaultError:
        return True
    return bool(bits >> port % 8 & (1 << size) - 1)
