"""The interrupt command register, decoded (SDM "Interrupt Command Register (ICR)")."""

from dataclasses import dataclass

__all__ = ["DELIVERY_MODES", "FIRST_LEGAL_VECTOR", "SHORTHANDS", "Icr"]

DELIVERY_MODES = ("fixed", "lowest", "smi", "reserved", "nmi", "init", "sipi", "extint")
SHORTHANDS = ("none", "self", "all", "all-but-self")

FIRST_LEGAL_VECTOR = 16
"""The vectors below are the CPU's own: an APIC that sends or receives one notes an error, and the receiver does not
accept it (SDM "Valid Interrupt Vectors")."""


@dataclass(frozen=True)
class Icr:
    """A command for the interrupt bus.

    Attributes:
        high: bits 32 to 63.
        low: bits 0 to 31.
        x2apic: whether an APIC in x2APIC mode sends it: the destination then has 32 bits instead of 8.
    """

    high: int
    low: int
    x2apic: bool = False

    @property
    def vector(self) -> int:
        """Bits 0 to 7; for a SIPI the page to start at."""
        return self.low & 0xFF

    @property
    def delivery(self) -> str:
        """Bits 8 to 10, by name."""
        return DELIVERY_MODES[self.low >> 8 & 7]

    @property
    def logical(self) -> bool:
        """Bit 11: the destination is a logical one."""
        return bool(self.low & 1 << 11)

    @property
    def level_assert(self) -> bool:
        """Bit 14; only INIT can be de-asserted, and only with trigger mode level (bit 15)."""
        return bool(self.low & 1 << 14) or not self.low & 1 << 15

    @property
    def shorthand(self) -> str:
        """Bits 18 and 19, by name."""
        return SHORTHANDS[self.low >> 18 & 3]

    @property
    def destination(self) -> int:
        """An APIC id or a logical destination: bits 56 to 63, in x2APIC mode bits 32 to 63."""
        return self.high if self.x2apic else self.high >> 24

    @property
    def broadcast(self) -> bool:
        """Whether the destination, physical or logical, has all its bits set: every APIC is meant."""
        return self.destination == (0xFFFFFFFF if self.x2apic else 0xFF)

    @property
    def legal_vector(self) -> bool:
        """False for a fixed or lowest-priority interrupt with a vector of the CPU's own; other modes have no such."""
        return self.delivery not in ("fixed", "lowest") or self.vector >= FIRST_LEGAL_VECTOR

    @property
    def valid(self) -> bool:
        """Whether the shorthand goes with the delivery mode.

        SDM "Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command Register":
        ``self`` and ``all`` go with ``fixed`` only. Trigger mode level is taken for edge everywhere.
        """
        return self.shorthand not in ("self", "all") or self.delivery == "fixed"
