"""The CPUs' registers: of the one that the emulator holds, and of the others in saved contexts."""

import ctypes
from typing import Any

from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from mklab.machine.context import ContextLayout
from mklab.machine.engine.binding import blob, flush_tlb
from mklab.machine.registers import Registers

__all__ = ["Contexts"]

_MSRS = (0xC0000102,)
"""KERNEL_GS_BASE: the one that an instruction the engine executes by itself (SWAPGS) reads and writes."""
_DR6_SINGLE_STEP = 1 << 14
_DEBUG = tuple(getattr(x86, f"UC_X86_REG_DR{i}") for i in (0, 1, 2, 3, 6, 7))
_XMM = tuple(getattr(x86, f"UC_X86_REG_XMM{i}") for i in range(16))
_X87 = tuple(getattr(x86, f"UC_X86_REG_FP{i}") for i in range(8))
_X87_CONTROL = (x86.UC_X86_REG_FPCW, x86.UC_X86_REG_FPSW, x86.UC_X86_REG_FPTAG, x86.UC_X86_REG_MXCSR)


class Contexts:
    """The registers of several CPUs that share one emulator.

    A CPU that does not run is a saved context; entering it restores the context.

    Args:
        uc: the emulator.
        layout: where registers lie in a saved context.
        cpus: how many CPUs.
    """

    def __init__(self, uc: Any, layout: ContextLayout, cpus: int) -> None:
        self._uc = uc
        self._handle = uc._uch
        self._layout = layout
        self._current: int | None = None
        self._peeked = ctypes.c_uint64()
        self._peeked_at = ctypes.byref(self._peeked)
        self._scratch = uc.context_save()
        self._scratch_view = memoryview(blob(self._scratch)).cast("B")
        self._contexts: list[Any] = []
        self._views: list[memoryview] = []
        self._make_cpus(cpus)

    def _make_cpus(self, cpus: int) -> None:
        """Let there be so many CPUs, with the registers that the emulator holds."""
        self._contexts = [self._uc.context_save() for _ in range(cpus)]
        self._views = [memoryview(blob(context)).cast("B") for context in self._contexts]

    def enter(self, cpu: int) -> None:
        """Make ``cpu`` the one that the emulator holds."""
        if self._current == cpu:
            return
        if self._current is not None:
            uclib.uc_context_save(self._handle, self._contexts[self._current]._context)
        uclib.uc_context_restore(self._handle, self._contexts[cpu]._context)
        self._current = cpu

    def beyond_registers(self, context: bytes) -> bytes:
        """What a saved context holds behind the :class:`Registers`: where it is the same, so is :meth:`extended`."""
        return context[self._layout.beyond :]

    def _save_scratch(self) -> Any:
        uclib.uc_context_save(self._handle, self._scratch._context)
        return blob(self._scratch)

    def save_context(self, cpu: int) -> bytes:
        """All registers of ``cpu``, as this process and this engine have them; for :meth:`load_context` only."""
        if cpu == self._current:
            return bytes(self._save_scratch())
        return bytes(blob(self._contexts[cpu]))

    def load_context(self, cpu: int, context: bytes) -> None:
        """The inverse of :meth:`save_context`."""
        target = self._contexts[cpu] if cpu != self._current else self._scratch
        ctypes.memmove(blob(target), context, len(context))
        if cpu == self._current:
            self._restore_scratch()

    def _restore_scratch(self) -> None:
        uclib.uc_context_restore(self._handle, self._scratch._context)

    def registers(self, cpu: int) -> Registers:
        """The registers of ``cpu``; where another one runs, it stays entered."""
        if cpu == self._current:
            return self._running_registers()
        uclib.uc_context_reg_read(self._contexts[cpu]._context, x86.UC_X86_REG_RFLAGS, self._peeked_at)
        return self._layout.read(self._views[cpu], self._peeked.value)

    def _running_registers(self) -> Registers:
        return self._layout.read(self._save_scratch(), self._uc.reg_read(x86.UC_X86_REG_RFLAGS))

    def interrupt_flags(self, cpu: int) -> tuple[bool, bool]:
        """Of ``cpu``: whether its last instruction was STI or a load of SS, and RFLAGS.IF; cheap, it enters nothing."""
        if cpu != self._current:
            return self._layout.interrupt_flags(self._views[cpu])
        uclib.uc_context_save(self._handle, self._scratch._context)
        return self._layout.interrupt_flags(self._scratch_view)

    def set_registers(self, cpu: int, registers: Registers) -> None:
        """Give ``cpu`` other registers.

        Raises:
            ValueError: a value does not fit its register.
        """
        self.enter(cpu)
        self._layout.write(self._save_scratch(), registers)
        self._restore_scratch()
        self._uc.reg_write(x86.UC_X86_REG_RFLAGS, registers.rflags)
        # Paging may be another one now.
        flush_tlb(self._handle)

    def _peek(self, name: int) -> int:
        uclib.uc_reg_read(self._handle, name, self._peeked_at)
        return self._peeked.value

    def kernel_gs(self, cpu: int) -> int:
        """IA32_KERNEL_GS_BASE of ``cpu``, which SWAPGS exchanges with the base of GS."""
        self.enter(cpu)
        value: int = self._uc.msr_read(_MSRS[0])
        return value

    def set_kernel_gs(self, cpu: int, value: int) -> None:
        """The inverse of :meth:`kernel_gs`."""
        self.enter(cpu)
        self._uc.msr_write(_MSRS[0], value)

    def note_single_step(self, cpu: int) -> None:
        """DR6 of ``cpu`` shall tell that the trap flag raised #DB."""
        self.enter(cpu)
        self._uc.reg_write(x86.UC_X86_REG_DR6, self._uc.reg_read(x86.UC_X86_REG_DR6) | _DR6_SINGLE_STEP)

    def extended(self, cpu: int) -> dict[str, list[Any]]:
        """What :class:`Registers` leaves out: the MSRs it keeps, debug registers, x87 and SSE state; plain data."""
        self.enter(cpu)
        read = self._uc.reg_read
        return {
            "msrs": [self._uc.msr_read(msr) for msr in _MSRS],
            "debug": [read(name) for name in _DEBUG],
            "x87": [list(read(name)) for name in _X87],
            "x87_control": [read(name) for name in _X87_CONTROL],
            "xmm": [hex(read(name)) for name in _XMM],
        }

    def set_extended(self, cpu: int, values: dict[str, list[Any]]) -> None:
        """The inverse of :meth:`extended`."""
        self.enter(cpu)
        write = self._uc.reg_write
        for msr, value in zip(_MSRS, values["msrs"], strict=True):
            self._uc.msr_write(msr, value)
        for name, value in zip(_DEBUG, values["debug"], strict=True):
            write(name, value)
        for name, value in zip(_X87, values["x87"], strict=True):
            write(name, tuple(value))
        for name, value in zip(_X87_CONTROL, values["x87_control"], strict=True):
            write(name, value)
        for name, value in zip(_XMM, values["xmm"], strict=True):
            write(name, int(value, 16))
