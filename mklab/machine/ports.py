"""Ports that act on the whole platform, whoever owns the CPU that reaches them: reset, CMOS, the debug exit.

One chipset, as every PC has it: what a kernel writes here reaches all kernels.
"""

from typing import Any

from mklab.machine.layout import CMOS_DATA, CMOS_INDEX, KEYBOARD_COMMAND, NMI_STATUS, RESET_PORT, SYSTEM_CONTROL

__all__ = ["PlatformPorts"]

_CMOS_SIZE = 128
_RESET_CPU = 1 << 2
"""Reset control: bit 2 resets, bit 1 says how."""
_FAST_RESET, _A20 = 1 << 0, 1 << 1
_PULSE, _PULSE_MASK = 0xF0, 0xF1
"""Keyboard controller: commands 0xF0 to 0xFF pulse the output lines whose bits are 0; bit 0 is the reset line."""
_NO_NMI = 0x21
"""No device has asked for one; timer 2 runs and has expired, as Linux's calibration of its clock leaves it."""
_KEYBOARD_IDLE = 0x1C
"""Its status: passed its test, unlocked, nothing to read, and it takes the next command."""
_READ = frozenset((CMOS_DATA, KEYBOARD_COMMAND, NMI_STATUS, SYSTEM_CONTROL))
_WRITTEN = frozenset((CMOS_INDEX, CMOS_DATA, RESET_PORT, SYSTEM_CONTROL, KEYBOARD_COMMAND))


class PlatformPorts:
    """The chipset's registers.

    Attributes:
        cmos: the 128 bytes of battery-backed memory; a reset leaves them alone. There is no clock in them.
        index: the byte that the data port reaches.
    """

    def __init__(self) -> None:
        self.cmos = bytearray(_CMOS_SIZE)
        self.index = 0

    def answers(self, port: int) -> bool:
        """Whether ``port`` is one of them, for reading."""
        return port in _READ

    def read(self, port: int) -> int:
        """One byte from a port that :meth:`answers`."""
        if port == CMOS_DATA:
            return self.cmos[self.index]
        if port == NMI_STATUS:
            return _NO_NMI
        return _KEYBOARD_IDLE if port == KEYBOARD_COMMAND else _A20

    def write(self, port: int, value: int) -> bool | None:
        """Store the low byte of ``value``.

        Returns:
            None where ``port`` is none of them; else whether the platform is to be reset.
        """
        if port not in _WRITTEN:
            return None
        value &= 0xFF
        if port == CMOS_INDEX:
            self.index = value % _CMOS_SIZE
        elif port == CMOS_DATA:
            self.cmos[self.index] = value
        elif port == RESET_PORT:
            return bool(value & _RESET_CPU)
        elif port == SYSTEM_CONTROL:
            return bool(value & _FAST_RESET)
        else:
            return value & _PULSE_MASK == _PULSE
        return False

    def state(self) -> dict[str, Any]:
        """The registers as plain data."""
        return {"cmos": self.cmos.hex(), "index": self.index}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`.

        Raises:
            ValueError: the CMOS has another size.
        """
        cmos = bytearray.fromhex(state["cmos"])
        if len(cmos) != _CMOS_SIZE:
            raise ValueError(f"the state's CMOS must have {_CMOS_SIZE} bytes, not {len(cmos)}")
        self.cmos, self.index = cmos, state["index"] % _CMOS_SIZE
