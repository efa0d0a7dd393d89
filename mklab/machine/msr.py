"""Model-specific registers: those that kernels touch while they boot, and #GP for all others.

SDM volume 4, "Architectural MSRs" and the table of Nehalem, which is the modelled CPU; a register that belongs to a
feature which CPUID does not offer (RDTSCP's TSC_AUX, the TSC deadline) is not there.
"""

from collections.abc import Callable
from typing import Any

from mklab.machine.delivery import GuestFaultError
from mklab.machine.lapic import LocalApic
from mklab.machine.layout import PHYSICAL_ADDRESS_BITS
from mklab.machine.registers import CR0, EFER, Registers

__all__ = ["ModelSpecificRegisters"]

P5_MC_ADDR, P5_MC_TYPE, TSC, PLATFORM_ID, APIC_BASE, FEATURE_CONTROL = 0x0, 0x1, 0x10, 0x17, 0x1B, 0x3A
BIOS_SIGN_ID, MTRRCAP, MCG_CAP, MCG_STATUS, MISC_ENABLE, DEBUGCTL = 0x8B, 0xFE, 0x179, 0x17A, 0x1A0, 0x1D9
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
MTRR_VARIABLE, MTRR_FIXED = range(0x200, 0x210), (0x250, 0x258, 0x259, *range(0x268, 0x270))
PAT, MTRR_DEF_TYPE = 0x277, 0x2FF
X2APIC = range(0x800, 0x900)
EFER_MSR, STAR, LSTAR, CSTAR, FMASK = range(0xC0000080, 0xC0000085)
FS_BASE, GS_BASE, KERNEL_GS_BASE = range(0xC0000100, 0xC0000103)

_WORD = (1 << 64) - 1
_MTRR_TYPES, _PAT_TYPES = (0, 1, 4, 5, 6), (0, 1, 4, 5, 6, 7)
"""Uncacheable, write combining, write through, write protected, write back; in PAT also uncacheable as minus."""
_ADDRESS = (1 << PHYSICAL_ADDRESS_BITS) - (1 << 12)
_VALID = 1 << 11
_MTRR_ON = 0xC00
"""Bits 10 and 11 of the default type: fixed ranges, all of them."""
_MISC_FIXED = 1 << 11 | 1 << 12
"""No branch trace storage, no precise event sampling: read-only."""
_MISC_WRITABLE = 1 << 0 | 1 << 3 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 23 | 1 << 34
_EFER_KNOWN = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE
_ANYTHING = _WORD

_CONSTANT = {
    P5_MC_ADDR: 0,
    P5_MC_TYPE: 0,
    PLATFORM_ID: 0,
    BIOS_SIGN_ID: 1 << 32,  # microcode revision 1, in the upper half
    MTRRCAP: len(MTRR_VARIABLE) // 2 | 1 << 8 | 1 << 10,  # pairs, fixed ranges, write combining
    MCG_CAP: 0,  # no bank reports errors
    FEATURE_CONTROL: 1,  # locked, with VMX and SMX off
}
_MAY_BE_WRITTEN = (P5_MC_ADDR, P5_MC_TYPE, BIOS_SIGN_ID)
"""Of the constant ones. Linux clears the microcode's revision before it asks the CPU to load it: it comes back."""
_AT_RESET = {
    **dict.fromkeys((SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, STAR, LSTAR, CSTAR, FMASK), 0),
    **dict.fromkeys((*MTRR_VARIABLE, *MTRR_FIXED, MTRR_DEF_TYPE, MCG_STATUS, DEBUGCTL), 0),
    PAT: 0x0007040600070406,
    MISC_ENABLE: 1 << 0 | _MISC_FIXED,
}
"""SDM "Processor State After Reset"; INIT leaves them all as they are."""
_WRITABLE = {
    SYSENTER_CS: _ANYTHING,
    STAR: _ANYTHING,
    FMASK: 0xFFFFFFFF,
    MCG_STATUS: 0b111,
    DEBUGCTL: 0b11,
    MTRR_DEF_TYPE: _MTRR_ON | 0xFF,
    MISC_ENABLE: _MISC_WRITABLE | _MISC_FIXED,
    **dict.fromkeys(MTRR_VARIABLE[::2], _ADDRESS | 0xFF),
    **dict.fromkeys(MTRR_VARIABLE[1::2], _ADDRESS | _VALID),
}
"""Bits that may be set; any other one gives #GP."""
_TYPES = {PAT: _PAT_TYPES, **dict.fromkeys(MTRR_FIXED, _MTRR_TYPES)}
"""Registers of eight memory types."""
_CANONICAL = (SYSENTER_ESP, SYSENTER_EIP, LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE)


class ModelSpecificRegisters:
    """The model-specific registers of one CPU.

    IA32_EFER and the bases of FS and GS lie among the CPU's :class:`Registers`, IA32_APIC_BASE and x2APIC in its APIC.

    Args:
        apic: the CPU's local APIC.
        write_apic: called with MSR and value for a write from 0x800 on; the machine notes it.
        clock: gives the virtual time.

    Attributes:
        values: the other registers, by number.
        kernel_gs: IA32_KERNEL_GS_BASE, lent for a read or write by whoever executes SWAPGS.
        tsc_offset: what the time stamp counter is ahead of virtual time (modulo 2**64).
    """

    def __init__(self, apic: LocalApic, write_apic: Callable[[int, int], None], clock: Callable[[], int]) -> None:
        self._apic = apic
        self._write_apic = write_apic
        self._clock = clock
        self.values: dict[int, int] = {}
        self.kernel_gs = self.tsc_offset = 0
        self.power_on()

    def power_on(self) -> None:
        """As after power-up or a reset of the platform; INIT changes none of them.

        The time stamp counter goes on with virtual time, which no reset turns back.
        """
        self.values = dict(_AT_RESET)
        self.tsc_offset = 0

    @property
    def tsc(self) -> int:
        """The time stamp counter."""
        return self._clock() + self.tsc_offset & _WORD

    def read(self, msr: int, registers: Registers) -> int:
        """RDMSR at CPL 0.

        Raises:
            GuestFaultError: #GP: there is no such register.
            ApicFaultError: #GP: the local APIC has none there.
        """
        if msr in X2APIC:
            return self._apic.read_msr(msr)
        if msr in self.values:
            return self.values[msr]
        if msr in _CONSTANT:
            return _CONSTANT[msr]
        if msr == KERNEL_GS_BASE:
            return self.kernel_gs
        if msr == TSC:
            return self.tsc
        if msr == APIC_BASE:
            return self._apic.base
        if msr == EFER_MSR:
            return registers.efer
        if msr in (FS_BASE, GS_BASE):
            return (registers.fs if msr == FS_BASE else registers.gs).base
        raise _fault(f"RDMSR of {msr:#x}: there is no such register")

    def write(self, msr: int, value: int, registers: Registers) -> None:
        """WRMSR at CPL 0; what lies among the registers changes in ``registers``.

        Raises:
            GuestFaultError: #GP: no such register, or not such a value.
            ApicFaultError: #GP: the local APIC says so.
        """
        self._check(msr, value)
        if msr in X2APIC:
            self._write_apic(msr, value)
        elif msr in self.values:
            self.values[msr] = value | _MISC_FIXED if msr == MISC_ENABLE else value
        elif msr == KERNEL_GS_BASE:
            self.kernel_gs = value
        elif msr == TSC:
            self.tsc_offset = value - self._clock() & _WORD
        elif msr == APIC_BASE:
            self._apic.set_base(value)
        elif msr == EFER_MSR:
            _write_efer(registers, value)
        elif msr in (FS_BASE, GS_BASE):
            (registers.fs if msr == FS_BASE else registers.gs).base = value
        elif msr not in _MAY_BE_WRITTEN:
            what = "it is read-only" if msr in _CONSTANT else "there is no such register"
            raise _fault(f"WRMSR to {msr:#x}: {what}")

    def _check(self, msr: int, value: int) -> None:
        reserved = value & ~_WRITABLE.get(msr, _ANYTHING)
        if reserved:
            raise _fault(f"WRMSR of {value:#x} to {msr:#x}: the bits {reserved:#x} are reserved")
        if msr in _CANONICAL and value >> 47 not in (0, 0x1FFFF):
            raise _fault(f"WRMSR of {value:#x} to {msr:#x}: it is not a canonical address")
        types = value.to_bytes(8, "little") if msr in _TYPES else ()
        bad = [one for one in types if one not in _TYPES[msr]]
        if msr == MTRR_DEF_TYPE or msr in MTRR_VARIABLE[::2]:
            bad = [value & 0xFF] if value & 0xFF not in _MTRR_TYPES else []
        if bad:
            raise _fault(f"WRMSR of {value:#x} to {msr:#x}: {bad[0]} is no memory type")

    def state(self) -> dict[str, Any]:
        """The registers as plain data."""
        return {"values": {hex(msr): value for msr, value in self.values.items()}, "tsc_offset": self.tsc_offset}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.values = {int(msr, 16): value for msr, value in state["values"].items()}
        self.tsc_offset = state["tsc_offset"]


def _fault(why: str) -> GuestFaultError:
    return GuestFaultError(13, 0, why)


def _write_efer(registers: Registers, value: int) -> None:
    """IA32_EFER: LMA is the CPU's own, LME stays as it is while paging is on."""
    if value & ~_EFER_KNOWN:
        raise _fault(f"WRMSR of {value:#x} to IA32_EFER: the bits {value & ~_EFER_KNOWN:#x} are reserved")
    if registers.cr0 & CR0.PG and (value ^ registers.efer) & EFER.LME:
        raise _fault("WRMSR to IA32_EFER: LME cannot change while paging is on")
    registers.efer = value & ~EFER.LMA | registers.efer & EFER.LMA
