"""A 16550A serial port, polled (National Semiconductor's PC16550D data sheet)."""

from collections.abc import Callable
from typing import Any

__all__ = ["Uart"]

DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)
_DLAB = 0x80
_DATA_READY, _THR_EMPTY, _IDLE = 0x01, 0x20, 0x40


class Uart:
    """One serial port: what is written comes out at once, what was received waits to be read.

    Args:
        transmit: called with each byte sent, 0 to 255.
    """

    def __init__(self, transmit: Callable[[int], None]) -> None:
        self._transmit = transmit
        self._received = bytearray()
        self._registers = bytearray(8)
        self._divisor = bytearray((1, 0))

    def receive(self, data: bytes) -> None:
        """Bytes arrive on the line."""
        self._received += data

    @property
    def waiting(self) -> int:
        """How many received bytes wait to be read."""
        return len(self._received)

    def read(self, offset: int, size: int) -> int:
        """The 8-bit register at ``offset``; wider reads give its value in the low byte."""
        del size
        if offset in (DATA, IER) and self._registers[LCR] & _DLAB:
            return self._divisor[offset]
        if offset == LSR:
            return _THR_EMPTY | _IDLE | (_DATA_READY if self._received else 0)
        if offset == DATA:
            return self._received.pop(0) if self._received else 0
        if offset == IIR_FCR:
            return 0xC1 if self._registers[IIR_FCR] & 1 else 0x01
        if offset == MSR:
            return 0xB0
        return self._registers[offset]

    def write(self, offset: int, size: int, value: int) -> None:
        """Store the low byte of ``value`` in the register at ``offset``."""
        del size
        value &= 0xFF
        if offset in (DATA, IER) and self._registers[LCR] & _DLAB:
            self._divisor[offset] = value
        elif offset == DATA:
            self._transmit(value)
        elif offset not in (LSR, MSR):
            self._registers[offset] = value

    def state(self) -> dict[str, Any]:
        """The registers and waiting bytes as plain data."""
        return {
            "registers": list(self._registers),
            "divisor": list(self._divisor),
            "received": self._received.hex(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self._registers[:] = bytes(state["registers"])
        self._divisor[:] = bytes(state["divisor"])
        self._received[:] = bytes.fromhex(state["received"])
