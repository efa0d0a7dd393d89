"""The I/O bus: devices at port ranges. A device gets offsets and knows no machine."""

from typing import Protocol

__all__ = ["Bus", "Device"]


class Device(Protocol):
    """Something with registers. Offsets count from the device's first port or byte; sizes are 1, 2 or 4 bytes."""

    def read(self, offset: int, size: int) -> int:
        """The value of the register at ``offset``."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Store ``value`` in the register at ``offset``."""


class Bus:
    """Devices by address; nobody answers elsewhere: reads give all ones, as on a PC, and writes vanish."""

    def __init__(self) -> None:
        self._at: dict[int, tuple[int, Device]] = {}

    def attach(self, start: int, size: int, device: Device) -> None:
        """Let ``device`` answer at ``[start, start + size)``.

        Raises:
            ValueError: another device answers there.
        """
        addresses = range(start, start + size)
        for address in addresses:
            if address in self._at:
                other, _ = self._at[address]
                raise ValueError(f"start must leave free what another device has at {other:#x}, not {start:#x}")
        self._at |= dict.fromkeys(addresses, (start, device))

    def read(self, address: int, size: int) -> int:
        """What the device at ``address`` answers; all ones where there is none."""
        found = self._at.get(address)
        return found[1].read(address - found[0], size) if found else (1 << 8 * size) - 1

    def write(self, address: int, size: int, value: int) -> None:
        """Hand ``value`` to the device at ``address``, if there is one."""
        found = self._at.get(address)
        if found:
            found[1].write(address - found[0], size, value)
