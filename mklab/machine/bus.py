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
        self._devices: list[tuple[int, int, Device]] = []

    def attach(self, start: int, size: int, device: Device) -> None:
        """Let ``device`` answer at ``[start, start + size)``.

        Raises:
            ValueError: another device answers there.
        """
        for other, end, _ in self._devices:
            if start < end and other < start + size:
                raise ValueError(f"start must leave free what another device has at {other:#x}, not {start:#x}")
        self._devices.append((start, start + size, device))

    def read(self, address: int, size: int) -> int:
        """What the device at ``address`` answers; all ones where there is none."""
        for start, end, device in self._devices:
            if start <= address < end:
                return device.read(address - start, size)
        return (1 << 8 * size) - 1

    def write(self, address: int, size: int, value: int) -> None:
        """Hand ``value`` to the device at ``address``, if there is one."""
        for start, end, device in self._devices:
            if start <= address < end:
                device.write(address - start, size, value)
                return
