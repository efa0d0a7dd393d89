"""Unicorn by itself: what the benchmark measures the engine against."""

import ctypes
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from mklab.machine.engine.binding import blob, open_emulator
from mklab.machine.engine.probe import probe_context
from mklab.machine.machine import Machine

__all__ = ["Raw"]


class Raw:
    """CPU 0 of ``machine`` and a copy of its RAM, in an emulator without a hook or a device.

    Args:
        machine: nothing else of it is kept. Memory has the same permissions: the guest's own page tables decide.
    """

    def __init__(self, machine: Machine) -> None:
        self._uc: Any = open_emulator()
        self._ram = [(start, bytearray(buffer)) for start, _, buffer in machine.memory.buffers]
        for start, data in self._ram:
            address = ctypes.addressof(ctypes.c_char.from_buffer(data))
            self._uc.mem_map_ptr(start, len(data), uc_const.UC_PROT_ALL, address)
        registers = machine.registers(0)
        context = self._uc.context_save()
        probe_context().write(blob(context), registers)
        self._uc.context_restore(context)
        self._uc.reg_write(x86.UC_X86_REG_RFLAGS, registers.rflags)

    def run(self, count: int = 0) -> None:
        """Run to the next HLT; with ``count``, the naive way to a budget: so many instructions at most, each counted.

        Raises:
            UcError: the program has failed.
        """
        self._uc.emu_start(self._uc.reg_read(x86.UC_X86_REG_RIP), 0, count=count)

    def read(self, paddr: int, size: int) -> bytes:
        """``size`` bytes of its RAM."""
        for start, data in self._ram:
            if start <= paddr < start + len(data):
                return bytes(data[paddr - start : paddr - start + size])
        raise ValueError(f"paddr must lie in RAM, not {paddr:#x}")
