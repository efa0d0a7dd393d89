"""Addresses that must fit each other and the CPU model."""

from mklab.machine import layout
from mklab.machine.engine import native_cpuid


def test_physical_addresses_are_as_wide_as_the_cpu_says() -> None:
    """SDM: CPUID.80000008H:EAX[7:0]."""
    assert native_cpuid()[0x80000008, 0][0] & 0xFF == layout.PHYSICAL_ADDRESS_BITS


def test_the_local_apic_is_where_hardware_has_it() -> None:
    """SDM "Local APIC Status and Location": 0xFEE00000, 4 KiB."""
    assert (layout.APIC_BASE, layout.APIC_SIZE) == (0xFEE00000, 4096)
    assert layout.APIC_BASE >= layout.DEFAULT_RAM


def test_ports_do_not_meet() -> None:
    assert layout.RESET_PORT not in range(layout.COM1, layout.COM1 + layout.COM1_SIZE)
