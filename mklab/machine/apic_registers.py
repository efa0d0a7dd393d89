"""Where a local APIC's registers are, and which bits of them are software's.

SDM "Local APIC Register Address Map" and, for x2APIC, "x2APIC Register Address Space": the register at ``offset`` of
the xAPIC page is the MSR 0x800 + offset / 16.
"""

__all__ = ["ApicFaultError", "check_base", "check_write"]

ID, VERSION, TPR, APR, PPR, EOI, RRD, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
TIMER_INITIAL, TIMER_CURRENT, TIMER_DIVIDE, SELF_IPI = 0x380, 0x390, 0x3E0, 0x3F0

VECTORS = {base + 16 * word: (base, word) for base in (ISR, TMR, IRR) for word in range(8)}
"""The eight doublewords of ISR, TMR and IRR: which register, and which of its words."""

LVT_MASKED, LVT_PERIODIC = 1 << 16, 1 << 17
LVT_WRITABLE = {
    LVT_TIMER: LVT_PERIODIC | LVT_MASKED | 0xFF,
    LVT_THERMAL: LVT_MASKED | 0x7FF,
    LVT_PERFORMANCE: LVT_MASKED | 0x7FF,
    LVT_LINT0: LVT_MASKED | 0xA7FF,
    LVT_LINT1: LVT_MASKED | 0xA7FF,
    LVT_ERROR: LVT_MASKED | 0xFF,
}
"""SDM, figure "Local Vector Table (LVT)". Bit 18 of the timer's entry is reserved: CPUID offers no TSC deadline."""

ICR_LOW_WRITABLE = 0xCCFFF & ~(1 << 12)
SVR_WRITABLE = 0x1FF
"""Focus processor checking (bit 9) is reserved since the Pentium 4; EOI broadcasts cannot be suppressed (bit 12)."""

READ_ONLY = frozenset((ID, VERSION, APR, PPR, RRD, TIMER_CURRENT, *VECTORS))
"""Registers of the xAPIC page that a write leaves as they are, without an error."""
WITHOUT_VALUE = frozenset((APR, EOI, RRD))
"""Registers of the xAPIC page that read 0 without an error: write-only, or (APR, RRD) gone since the Pentium 4."""

SEND_ILLEGAL, RECEIVE_ILLEGAL, ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7
"""Bits of ESR (SDM "Error Handling")."""

X2APIC_MSR = 0x800
X2APIC_WRITABLE = {
    TPR: 0xFF,
    EOI: 0,
    SVR: SVR_WRITABLE,
    ESR: 0,
    # Bit 12 was the delivery status: Intel's CPUs ignore it (arch/x86/kvm/lapic.c, kvm_x2apic_icr_write).
    ICR_LOW: 0xFFFFFFFF << 32 | ICR_LOW_WRITABLE | 1 << 12,
    # Delivery status and, where there is a trigger mode, remote IRR are the APIC's own: always 0 here.
    **{entry: bits | 1 << 12 | (1 << 14 if bits & 1 << 15 else 0) for entry, bits in LVT_WRITABLE.items()},
    TIMER_INITIAL: 0xFFFFFFFF,
    TIMER_DIVIDE: 0b1011,
    SELF_IPI: 0xFF,
}
"""The registers that WRMSR may write in x2APIC mode, and with which bits; all else is #GP(0)."""

BASE_ADDRESS, BASE_BSP, BASE_X2APIC, BASE_ENABLE = 0xFEE00000, 1 << 8, 1 << 10, 1 << 11
"""IA32_APIC_BASE."""


class ApicFaultError(Exception):
    """An access to an APIC's MSR for which hardware raises #GP(0); the message says what was wrong."""


def check_base(before: int, value: int) -> None:
    """Refuse a WRMSR of ``value`` to IA32_APIC_BASE, which holds ``before``.

    Raises:
        ApicFaultError: a reserved bit is set, the change of mode is not allowed (SDM, figure "Local x2APIC State
            Transitions with IA32_APIC_BASE, INIT, and Reset"), or the page would move, which this machine refuses.
    """
    if value & ~(BASE_BSP | BASE_X2APIC | BASE_ENABLE) != BASE_ADDRESS:
        raise ApicFaultError(
            f"IA32_APIC_BASE = {value:#x}: a reserved bit is set, or the APIC page would leave {BASE_ADDRESS:#x}"
        )
    if value & BASE_X2APIC and not before & value & BASE_ENABLE:
        raise ApicFaultError(f"IA32_APIC_BASE = {value:#x}: x2APIC mode is entered from xAPIC mode only")
    if before & BASE_X2APIC and value & (BASE_ENABLE | BASE_X2APIC) == BASE_ENABLE:
        raise ApicFaultError(f"IA32_APIC_BASE = {value:#x}: x2APIC mode is left by disabling the APIC only")


def check_write(offset: int, value: int) -> None:
    """Refuse a WRMSR of ``value`` (64 bits) to the x2APIC register at ``offset`` (of the page).

    Raises:
        ApicFaultError: no register there can be written, or a reserved bit is set.
    """
    msr = X2APIC_MSR + offset // 16
    if offset not in X2APIC_WRITABLE:
        raise ApicFaultError(f"WRMSR to {msr:#x}: x2APIC has no register there that can be written")
    if reserved := value & ~X2APIC_WRITABLE[offset]:
        raise ApicFaultError(f"WRMSR of {value:#x} to {msr:#x}: the bits {reserved:#x} must be 0")
