"""One emulator as this project uses it: how it is opened, and what Unicorn's Python binding has no words for."""

import ctypes
from typing import Any

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from mklab.errors import MklabError

__all__ = [
    "CPUID_RESULT",
    "DEVICE_HOOKS",
    "VOID",
    "TranslatedBlock",
    "add_hook",
    "add_native_hook",
    "blob",
    "flush_tlb",
    "map_device",
    "open_emulator",
]

_CPU_MODEL = x86.UC_CPU_X86_NEHALEM
"""Nehalem has no RDRAND, which Unicorn would answer from the real machine: runs would differ."""
_FLUSH_TLB = ctypes.c_int(11 | 1 << 30)
"""UC_CTL_TLB_FLUSH, a write without arguments; the Python binding has no name for it."""

DEVICE_HOOKS = uc_const.UC_HOOK_MEM_READ_PROT | uc_const.UC_HOOK_MEM_WRITE_PROT
"""Kinds of hooks for accesses to pages without permissions. Where such a hook reaches, each access is slow."""
VOID = ctypes.c_void_p
CPUID_RESULT = (x86.UC_X86_REG_RAX, x86.UC_X86_REG_RBX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX)
"""Whole registers: CPUID clears the upper halves in 64-bit mode."""


class TranslatedBlock(ctypes.Structure):
    """``uc_tb``: where a translated block begins (linear), its instructions and its bytes."""

    _fields_ = (("pc", ctypes.c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


def open_emulator() -> Any:
    """A new emulator of one CPU, without memory."""
    uc: Any = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
    uc.ctl_set_cpu_model(_CPU_MODEL)
    uc.ctl_set_tcg_buffer_size(16 << 20)
    # Without exits, `until` is not translated through the guest's page tables at each return.
    uc.ctl_exits_enabled(True)
    uc.ctl_set_exits([])
    uc.reg_write(x86.UC_X86_REG_MXCSR, 0x1F80)
    uc.reg_write(x86.UC_X86_REG_FPCW, 0x40)
    return uc


def add_hook(handle: Any, kind: int, callback: Any, *extra: int, begin: int = 1, end: int = 0) -> object:
    """Add a hook without the binding's wrapper: it is three times slower, and it does not know RDTSC.

    It is called for addresses from ``begin`` to ``end``, or for all.

    Returns:
        What must be kept as long as the emulator lives.
    """
    hook = ctypes.c_size_t()
    code = uclib.uc_hook_add(
        handle,
        ctypes.byref(hook),
        ctypes.c_int(kind),
        ctypes.cast(callback, VOID),
        None,
        ctypes.c_uint64(begin),
        ctypes.c_uint64(end),
        *(ctypes.c_int(value) for value in extra),
    )
    if code:
        raise MklabError(f"Unicorn refused a hook of kind {kind}: {unicorn.UcError(code)}")
    return hook, callback


def add_native_hook(handle: Any, kind: int, function: Any, data: int, begin: int = 1, end: int = 0) -> Any:
    """Add a hook that is a function of a native library and gets ``data``, an address; both must outlive the emulator.

    It is called for addresses from ``begin`` to ``end``, or for all.

    Returns:
        What takes it out again.
    """
    hook = ctypes.c_size_t()
    code = uclib.uc_hook_add(
        handle,
        ctypes.byref(hook),
        ctypes.c_int(kind),
        ctypes.cast(function, VOID),
        VOID(data),
        ctypes.c_uint64(begin),
        ctypes.c_uint64(end),
    )
    if code:
        raise MklabError(f"Unicorn refused a native hook of kind {kind}: {unicorn.UcError(code)}")
    return hook


_ON_READ = ctypes.CFUNCTYPE(ctypes.c_uint64, VOID, ctypes.c_uint64, ctypes.c_uint, VOID)
_ON_WRITE = ctypes.CFUNCTYPE(None, VOID, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, VOID)


def map_device(uc: Any, start: int, size: int, read: Any, write: Any) -> object:
    """Let accesses to ``[start, start + size)`` call ``read`` and ``write``.

    They get ``(emulator, offset, size, start)`` and ``(emulator, offset, size, value, start)``. The pages have no
    permissions, so each access runs the hooks for such pages first, and RIP stands on its instruction.

    Returns:
        What must be kept as long as the emulator lives.
    """
    callbacks = _ON_READ(read), _ON_WRITE(write)
    numbers = ctypes.c_uint64(start), ctypes.c_uint64(size)
    code = uclib.uc_mmio_map(uc._uch, *numbers, callbacks[0], VOID(start), callbacks[1], VOID(start))
    if code:
        raise MklabError(f"Unicorn refused a device at {start:#x}: {unicorn.UcError(code)}")
    uc.mem_protect(start, size, uc_const.UC_PROT_NONE)
    return callbacks


def flush_tlb(handle: Any) -> None:
    """Forget the translations of addresses."""
    uclib.uc_ctl(handle, _FLUSH_TLB)


def blob(context: Any) -> Any:
    """The bytes of a saved context, writable in place."""
    address = ctypes.cast(context._context, VOID).value
    assert address is not None
    return (ctypes.c_ubyte * context.size).from_address(address)
