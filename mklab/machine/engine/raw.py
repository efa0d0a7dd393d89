"""Unicorn by itself, with nothing hooked: what the engine's speed is measured against."""

import ctypes
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from mklab.machine.engine.binding import blob, open_emulator
from mklab.machine.engine.probe import probe_context
from mklab.machine.memory import PhysicalMemory
from mklab.machine.registers import Registers

__all__ = ["Raw"]


class Raw:
    """An emulator on the same RAM, with the same page tables, that nothing watches and that runs as fast as it can.

    It has no devices, and no engine learns of what it translates or stores: leave the machine alone meanwhile.

    Args:
        memory: the RAM; it is mapped, not copied.
        registers: where it begins.
    """

    def __init__(self, memory: PhysicalMemory, registers: Registers) -> None:
        self._uc: Any = open_emulator()
        self._memory = memory
        for start, end, buffer in memory.buffers:
            address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            self._uc.mem_map_ptr(start, end - start, uc_const.UC_PROT_ALL, address)
        self.set_registers(registers)

    def set_registers(self, registers: Registers) -> None:
        """Begin anew with ``registers``.

        Raises:
            ValueError: a value does not fit its register.
        """
        context = self._uc.context_save()
        probe_context().write(blob(context), registers)
        self._uc.context_restore(context)
        self._uc.reg_write(x86.UC_X86_REG_RFLAGS, registers.rflags)

    @property
    def rip(self) -> int:
        """The instruction pointer."""
        rip: int = self._uc.reg_read(x86.UC_X86_REG_RIP)
        return rip

    def run(self) -> None:
        """Run until HLT."""
        self._uc.emu_start(self.rip, 0)

    def run_counted(self, instructions: int) -> None:
        """Run so many instructions, the naive way: Unicorn calls a function before each.

        Not after :meth:`run`: what that has translated has no such calls.
        """
        self._uc.emu_start(self.rip, 0, count=instructions)
