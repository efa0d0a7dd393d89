"""Entering the handler of an interrupt in the native library (``delivery.c``, which tells where it can)."""

import ctypes
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from mklab.machine.context import ContextLayout
from mklab.machine.engine.binding import VOID, add_native_hook
from mklab.machine.layout import PHYSICAL_ADDRESS_BITS
from mklab.machine.memory import PhysicalMemory

__all__ = ["NativeDelivery"]

_ENTRY_ADDRESS_BITS = 52
_U64 = ctypes.c_uint64
_DELIVER = ctypes.CFUNCTYPE(ctypes.c_int, VOID, ctypes.c_uint32)
_FUNCTIONS = ("reg_read", "reg_write", "vmem_translate", "context_save", "context_restore", "ctl")


class _Ram(ctypes.Structure):
    """``struct ram`` in delivery.c."""

    _fields_ = (("start", _U64), ("end", _U64), ("bytes", VOID))


class _Delivery(ctypes.Structure):
    """The beginning of ``struct delivery`` in delivery.c; the rest is the library's own."""

    _fields_ = (
        *((name, VOID) for name in ("uc", *_FUNCTIONS, "context", "base", "efer", "old_exception", "ram")),
        ("ranges", ctypes.c_int64),
        ("reserved", _U64),
        ("rip", _U64),
        ("handler", _U64),
    )


class NativeDelivery:
    """Lets the CPU that the emulator holds enter the handler of an interrupt, where that is simple.

    Args:
        uc: the emulator, before it has translated anything.
        library: what :func:`mklab.machine.engine.library.load` gave.
        layout: where registers lie in a saved context.
        memory: the RAM.
    """

    def __init__(self, uc: Any, library: ctypes.CDLL, layout: ContextLayout, memory: PhysicalMemory) -> None:
        self._memory = memory
        self._scratch = uc.context_save()
        self._own = (ctypes.c_ubyte * ctypes.c_int.in_dll(library, "delivery_size").value)()
        self._at = ctypes.addressof(self._own)
        self._state = state = _Delivery.from_buffer(self._own)
        self._ram = (_Ram * len(memory.buffers))(
            *(
                _Ram(start, end, ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
                for start, end, buffer in memory.buffers
            )
        )
        context = ctypes.cast(self._scratch._context, VOID).value
        assert context is not None
        state.uc, state.context, state.base = uc._uch, context, context + layout.base
        state.efer, state.old_exception = context + layout.efer, context + layout.old_exception
        for name in _FUNCTIONS:
            setattr(state, name, ctypes.cast(getattr(uclib, f"uc_{name}"), VOID).value)
        state.ram, state.ranges = ctypes.addressof(self._ram), len(self._ram)
        state.reserved = (1 << _ENTRY_ADDRESS_BITS) - (1 << PHYSICAL_ADDRESS_BITS)
        self._deliver = _DELIVER(ctypes.cast(library.deliver, VOID).value or 0)
        add_native_hook(uc._uch, uc_const.UC_HOOK_EDGE_GENERATED, library.on_translated, self._at)

    def __call__(self, vector: int) -> tuple[int, int] | None:
        """Enter the handler of ``vector``: ``(RIP before, handler)``; None where :mod:`mklab.machine.delivery` must."""
        if self._memory.witness is not None or not self._deliver(self._at, vector):
            return None
        return self._state.rip, self._state.handler
