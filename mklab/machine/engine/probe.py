"""What is asked of Unicorn once, at start-up: where it keeps registers, and how its CPU model answers CPUID."""

import functools
import struct
from typing import Any

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from mklab.errors import MklabError
from mklab.machine.context import ContextLayout
from mklab.machine.engine.binding import CPUID_RESULT, blob, open_emulator
from mklab.machine.registers import GPRS

__all__ = ["native_cpuid", "probe_context"]


@functools.cache
def probe_context() -> ContextLayout:
    """Find where registers lie in a saved context, by provoking #GP(0x5678) and looking for known values.

    Raises:
        MklabError: this build of Unicorn lays its context out in another way.
    """
    uc = open_emulator()
    uc.mem_map(0, 0x2000)
    uc.mem_write(0x1000, b"\x8e\xd8")  # mov ds, eax: selector 0x5678 lies outside a GDT of 8 bytes
    uc.reg_write(x86.UC_X86_REG_GDTR, (0, 0x800, 7, 0))
    marks = [0x1122334455660000 + i for i in range(16)]
    general = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in GPRS]
    for name, mark in zip(general, marks, strict=True):
        uc.reg_write(name, mark)
    before = bytes(blob(uc.context_save()))
    base = before.find(struct.pack("<16Q", *marks))
    uc.msr_write(0xC0000080, 0x901)  # SCE, LME, NXE; LMA stays set
    efer = _changed(before, bytes(blob(uc.context_save())), "<Q", 0x500, 0xD01)
    uc.reg_write(x86.UC_X86_REG_RAX, 0x5678)
    seen: list[bytes] = []

    def fault(_uc: Any, vector: int, _data: Any) -> None:
        assert vector == 13
        seen.append(bytes(blob(uc.context_save())))
        uc.emu_stop()

    uc.hook_add(uc_const.UC_HOOK_INTR, fault)
    uc.emu_start(0x1000, 0)
    error = _changed(before, seen[0], "<i", 0, 0x5678)
    old = _changed(before, seen[0], "<i", -1, 13)
    if base < 0 or len(efer) != 1 or not error or not old:
        raise MklabError(f"unicorn {unicorn.__version__} keeps its registers elsewhere; install the locked version")
    # exception_nr, too, may hold 13: old_exception is the later of the two.
    return ContextLayout(base, efer[0], error[-1], old[-1])


def _changed(before: bytes, after: bytes, form: str, old: int, new: int) -> list[int]:
    """Offsets, behind the general registers, where ``old`` became ``new``."""
    step = 4
    last = len(before) - struct.calcsize(form)
    return [
        at
        for at in range(0, last, step)
        if struct.unpack_from(form, before, at)[0] == old and struct.unpack_from(form, after, at)[0] == new
    ]


@functools.cache
def native_cpuid() -> dict[tuple[int, int], tuple[int, int, int, int]]:
    """What the CPU model answers to CPUID, by leaf and subleaf."""
    uc = open_emulator()
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, b"\x0f\xa2\xf4")  # cpuid; hlt
    answers = {}
    for leaf in (*range(0x10), *range(0x80000000, 0x80000009)):
        for subleaf in range(4 if leaf in (4, 7, 0xB, 0xD) else 1):
            uc.reg_write(x86.UC_X86_REG_RAX, leaf)
            uc.reg_write(x86.UC_X86_REG_RCX, subleaf)
            uc.emu_start(0x1000, 0)
            eax, ebx, ecx, edx = (uc.reg_read(name) for name in CPUID_RESULT)
            answers[leaf, subleaf] = (eax, ebx, ecx, edx)
    return answers
