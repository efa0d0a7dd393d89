"""Every magic address of the machine, named and justified."""

from mklab.paging import PHYSICAL_ADDRESS_BITS

__all__ = [
    "APIC_BASE",
    "APIC_SIZE",
    "CMOS_DATA",
    "CMOS_INDEX",
    "COM1",
    "COM1_SIZE",
    "DEBUG_EXIT",
    "DEFAULT_RAM",
    "KEYBOARD_COMMAND",
    "NMI_STATUS",
    "PHYSICAL_ADDRESS_BITS",
    "RESET_PORT",
    "SYSTEM_CONTROL",
]

APIC_BASE = 0xFEE00000
"""Physical address of every local APIC (SDM "Local APIC Status and Location"): each CPU sees its own there."""

APIC_SIZE = 0x1000

COM1 = 0x3F8
"""First I/O port of the first serial port, as IBM's PC placed it and Linux's ``ttyS0`` expects it."""

COM1_SIZE = 8

RESET_PORT = 0xCF9
"""Reset control register of PC chipsets; writing 6 resets the platform (Linux's ``reboot=pci``)."""

SYSTEM_CONTROL = 0x92
"""System control port A of the PS/2: bit 0 resets, bit 1 is address line 20."""

NMI_STATUS = 0x61
"""Where a PC says why there was an NMI: bits 6 and 7; the others are the second timer's and the loudspeaker's."""

KEYBOARD_COMMAND = 0x64
"""Command port of the keyboard controller, one of whose outputs is the CPUs' reset line (Linux's ``reboot=kbd``)."""

CMOS_INDEX, CMOS_DATA = 0x70, 0x71
"""The battery-backed memory of the PC/AT: which byte, and the byte."""

DEBUG_EXIT = range(0xF4, 0xF8)
"""Where those who test kernels put QEMU's device ``isa-debug-exit`` (``iobase=0xf4,iosize=4``)."""

DEFAULT_RAM = 64 << 20
"""Bytes of memory of a default machine: a host and two windows of 16 MiB for spawned kernels."""
