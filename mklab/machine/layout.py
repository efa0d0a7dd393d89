"""Every magic address of the machine, named and justified."""

__all__ = [
    "APIC_BASE",
    "APIC_SIZE",
    "COM1",
    "COM1_SIZE",
    "DEFAULT_RAM",
    "PHYSICAL_ADDRESS_BITS",
    "RESET_PORT",
]

APIC_BASE = 0xFEE00000
"""Physical address of every local APIC (SDM "Local APIC Status and Location"): each CPU sees its own there."""

APIC_SIZE = 0x1000

COM1 = 0x3F8
"""First I/O port of the first serial port, as IBM's PC placed it and Linux's ``ttyS0`` expects it."""

COM1_SIZE = 8

RESET_PORT = 0xCF9
"""Reset control register of PC chipsets; writing 6 resets the platform (Linux's ``reboot=pci``)."""

DEFAULT_RAM = 64 << 20
"""Bytes of memory of a default machine: a host and two windows of 16 MiB for spawned kernels."""

PHYSICAL_ADDRESS_BITS = 40
"""Width of physical addresses, as CPUID 0x80000008 of the modelled CPU (Nehalem) reports it."""
