"""Counting with the native library (``hook.c``, which tells how)."""

import ctypes
from collections.abc import Callable
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from mklab.errors import MklabError
from mklab.machine.context import END, VISIBLE, ContextLayout, mode_of
from mklab.machine.engine.binding import DEVICE_HOOKS, VOID, add_native_hook
from mklab.machine.execution import Exit, Watch
from mklab.machine.instructions import Instruction
from mklab.machine.layout import APIC_BASE
from mklab.machine.registers import digest_of

__all__ = ["MOST_BREAKPOINTS", "Native"]

_CHUNK = 1 << 20
"""Instructions at a time: in between, Python sees signals. Milliseconds, or a tenth of a second where all is slow."""
_TRANSLATIONS = 1000
"""So many blocks are translated at a time, for the same reason."""
_SLICES, _ROW = 64, 2 << 20
"""So many slices, with so many instructions, follow one another at most before Python hears of them."""
_INVALID_OPCODE = 6
MOST_BREAKPOINTS = 16
"""As in hook.c."""
_HALT, _BUDGET, _ASKED, _WATCH, _INTERCEPT, _EXCEPTION, _BREATHE, _FULL, _LOST = range(9)
_RUN = ctypes.CFUNCTYPE(ctypes.c_int, VOID, ctypes.c_int64)
_LEFT = ctypes.CFUNCTYPE(ctypes.c_int64, VOID)
_NOTE_END = ctypes.CFUNCTYPE(None, VOID, VOID)


class _State(ctypes.Structure):
    """The beginning of ``struct state`` in hook.c; the rest is the library's own."""

    _fields_ = (
        *((name, VOID) for name in ("uc", "start", "stop", "reg_read", "reg_write", "vmem_read")),
        *((name, VOID) for name in ("context_save", "context_restore", "context", "hflags")),
        ("old_exception", VOID),
        *((name, VOID) for name in ("by_int", "general", "efer", "control", "visible", "ends")),
        ("apic", ctypes.c_uint64),
        ("left", ctypes.c_int64),
        ("rip", ctypes.c_uint64),
        *((name, ctypes.c_int32) for name in ("asked", "pass_one", "stop_iret", "watch_place")),
        ("page", ctypes.c_uint64),
        ("mode", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("watch_interrupt", "eoi_passes", "translations")),
        ("slice", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("more", "over", "why", "vector")),
        ("address", ctypes.c_uint64),
        ("breaks", ctypes.c_int32),
        ("breakpoints", ctypes.c_uint64 * MOST_BREAKPOINTS),
        ("attention", ctypes.c_int32),
    )


class Native:
    """Runs the emulator for exact numbers of instructions, nearly as fast as it runs by itself.

    Args:
        uc: the emulator, with no block hook and no interrupt hook, before it has translated anything.
        library: what :func:`mklab.machine.engine.library.load` gave.
        layout: where registers lie in a saved context.
        intercept: called with a linear address and whether IRET counts; the instruction there, where it is one that
            the emulator must not execute.
    """

    def __init__(
        self,
        uc: Any,
        library: ctypes.CDLL,
        layout: ContextLayout,
        intercept: Callable[[int, bool], Instruction | None],
    ) -> None:
        self._uc = uc
        self._intercept = intercept
        self._scratch = uc.context_save()
        size = ctypes.c_int.in_dll(library, "state_size").value
        self._memory = (ctypes.c_ubyte * size)()
        self._at = ctypes.addressof(self._memory)
        self._state = state = _State.from_buffer(self._memory)
        context = ctypes.cast(self._scratch._context, VOID).value
        assert context is not None
        state.uc, state.context, state.apic = uc._uch, context, APIC_BASE
        state.hflags, state.old_exception = context + layout.hflags, context + layout.old_exception
        state.by_int = context + layout.by_int
        state.general, state.efer = context + layout.base, context + layout.efer
        self._visible = ctypes.create_string_buffer(VISIBLE, len(VISIBLE))
        self._ends = ctypes.create_string_buffer(END.size * _SLICES)
        state.visible, state.ends = ctypes.addressof(self._visible), ctypes.addressof(self._ends)
        state.control = _address(uclib.uc_ctl)
        for name in ("reg_read", "reg_write", "vmem_read", "context_save", "context_restore"):
            setattr(state, name, _address(getattr(uclib, f"uc_{name}")))
        state.start, state.stop = _address(uclib.uc_emu_start), _address(uclib.uc_emu_stop)
        self._run = _RUN(_address(library.run))
        self._left_now = _LEFT(_address(library.left_now))
        self._note_end = _NOTE_END(_address(library.note_end))
        self._forget = library.forget_marks
        self._forget.argtypes = (VOID,)
        for kind, function in (
            (uc_const.UC_HOOK_BLOCK, library.on_block),
            (uc_const.UC_HOOK_EDGE_GENERATED, library.on_edge),
            (uc_const.UC_HOOK_INTR, library.on_interrupt),
        ):
            add_native_hook(uc._uch, kind, function, self._at)
        self._on_device = library.on_device
        self._asks = False
        self._end = 0
        self._breakpoints: frozenset[int] = frozenset()
        self._reached: Callable[[int, int], None] = _nobody
        self._running = False
        self._slices_over: Callable[[list[str]], None] | None = None
        self._error: BaseException | None = None

    def note_device(self, start: int, size: int) -> None:
        """There is a device at ``[start, start + size)``, on pages without permissions."""
        add_native_hook(self._uc._uch, DEVICE_HOOKS, self._on_device, self._at, start, start + size - 1)

    @property
    def executed(self) -> int:
        """Instructions begun since :meth:`run` was entered, the current one included."""
        left = self._left_now(self._at) if self._running else self._state.left
        return self._end - int(left)

    @property
    def eoi_passes(self) -> bool:
        """See the engine's."""
        return bool(self._state.eoi_passes)

    @eoi_passes.setter
    def eoi_passes(self, passes: bool) -> None:
        self._state.eoi_passes = passes

    def stop(self) -> None:
        """Stop before the next instruction."""
        self._state.asked = self._state.attention = 1

    def fail(self, error: BaseException) -> None:
        """From a callback: leave; :meth:`run` raises ``error``. It cannot cross the emulator's own frames."""
        self._error = error
        self.stop()

    def flush(self) -> None:
        """Drop all that is translated."""
        self._uc.ctl_flush_tb()
        self._forget(self._at)

    def set_breakpoints(self, addresses: frozenset[int], reached: Callable[[int, int], None]) -> None:
        """See the engine's. What is translated is dropped: blocks are looked through when they are translated."""
        if addresses != self._breakpoints:
            self.flush()
        self._breakpoints, self._reached = addresses, reached
        self._state.breaks = len(addresses)
        self._state.breakpoints[: len(addresses)] = sorted(addresses)

    def run(
        self,
        budget: int,
        watch: Watch | None = None,
        before_iret: bool = False,
        more: int = 0,
        slices_over: Callable[[list[str]], None] | None = None,
    ) -> Exit:
        """Let the CPU that the emulator holds execute up to ``budget`` instructions; see the engine's ``run``."""
        state, place, done = self._state, watch.place if watch else None, 0
        if self._asks or watch is not None or before_iret:
            self._ask(watch, before_iret)
        if more > 0:
            state.slice, state.more = budget, min(more, _SLICES, _ROW // budget - 1 if budget <= _CHUNK else 0)
            self._slices_over = slices_over
        try:
            while True:
                chunk = min(budget - done, _CHUNK)
                self._end = done + chunk
                state.translations = _TRANSLATIONS
                self._running = True
                result = self._run(self._at, chunk)
                self._running = False
                if state.over:
                    self._tell_of_slices()
                done = self._end - state.left
                why = result & 0xFF
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                if why == _BUDGET:
                    if done == budget:
                        return Exit(done, "budget")
                elif why == _WATCH:
                    if place is not None and place(state.address):
                        return Exit(done, "asked")
                elif why == _INTERCEPT:
                    if state.address in self._breakpoints:
                        self._reached(state.address, done)
                    instruction = self._intercept(state.address, before_iret)
                    if instruction is not None:
                        return Exit(done, "intercept", instruction=instruction)
                    state.pass_one = self._asks = True
                elif why == _FULL:
                    self.flush()
                elif why == _LOST:
                    raise MklabError("the emulator's translated code is not where it was expected")
                elif why != _BREATHE:
                    return self._exit(done, why, result >> 8)
        finally:
            self._running = False
            self._slices_over = None
            state.asked = state.more = state.over = 0

    def catch_up(self) -> None:
        """From a callback, before all else: what is over is told, and the slice that runs now is the last in a row."""
        if self._slices_over is not None:
            self._state.more = 0
            if self._state.over:
                self._tell_of_slices()

    def _tell_of_slices(self) -> None:
        state, over = self._state, self._state.over
        state.over, self._end = 0, state.slice
        assert self._slices_over is not None
        self._slices_over([digest_of(*end) for end in END.iter_unpack(memoryview(self._ends)[: END.size * over])])

    def digest(self) -> tuple[str, str]:
        """``(mode, digest)`` of the registers that the emulator holds."""
        self._note_end(self._at, self._state.ends)
        registers, efer, rflags = END.unpack_from(self._ends)
        return mode_of(registers, efer), digest_of(registers, efer, rflags)

    def _ask(self, watch: Watch | None, before_iret: bool) -> None:
        """What the library shall stop for."""
        state = self._state
        self._asks = watch is not None or before_iret
        state.stop_iret = before_iret
        state.watch_place = watch is not None and watch.place is not None
        state.watch_interrupt = watch.interrupt if watch else 0
        state.page, state.mode, state.pass_one = (1 << 64) - 1, 0, 0

    def _exit(self, done: int, why: int, error: int) -> Exit:
        if why == _ASKED:
            return Exit(done, "asked")
        if why == _EXCEPTION:
            return Exit(done, "exception", self._state.vector, last=self._state.address)
        if error == uc_const.UC_ERR_INSN_INVALID:
            return Exit(done, "exception", _INVALID_OPCODE)
        return Exit(done, "absent" if error else "halt")


def _nobody(_address: int, _executed: int) -> None:
    """No breakpoint is set."""


def _address(function: Any) -> int:
    address = ctypes.cast(function, VOID).value
    assert address is not None
    return address
