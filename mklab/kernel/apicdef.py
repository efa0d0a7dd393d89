"""``arch/x86/include/asm/apicdef.h``: names for the local APIC's registers and the bits of ICR."""

__all__ = [
    "APIC_BASE_MSR",
    "APIC_DEST_ALLBUT",
    "APIC_DM_FIXED",
    "APIC_DM_INIT",
    "APIC_DM_NMI",
    "APIC_DM_STARTUP",
    "APIC_ICR",
    "APIC_ICR2",
    "APIC_INT_ASSERT",
    "APIC_INT_LEVELTRIG",
    "APIC_SPIV",
    "APIC_SPIV_APIC_ENABLED",
]

APIC_BASE_MSR = 0x800  # of x2APIC; a register follows for every 16 bytes of the page

APIC_SPIV = 0xF0
APIC_SPIV_APIC_ENABLED = 0x100
APIC_ICR = 0x300
APIC_ICR2 = 0x310
APIC_INT_LEVELTRIG = 0x08000
APIC_INT_ASSERT = 0x04000
APIC_DM_FIXED = 0x00000
APIC_DM_NMI = 0x00400
APIC_DM_INIT = 0x00500
APIC_DM_STARTUP = 0x00600
APIC_DEST_ALLBUT = 0xC0000
