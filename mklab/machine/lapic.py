"""The local APIC in xAPIC mode, as memory-mapped registers (SDM "Advanced Programmable Interrupt Controller").

A LocalApic knows its registers only. What ICR sends goes to ``send``, a function of the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["DELIVERY_MODES", "SHORTHANDS", "Icr", "LocalApic"]

DELIVERY_MODES = ("fixed", "lowest", "smi", "reserved", "nmi", "init", "sipi", "extint")
SHORTHANDS = ("none", "self", "all", "all-but-self")

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVTS = (0x320, 0x330, 0x340, 0x350, 0x360, 0x370)
TIMER_INITIAL, TIMER_CURRENT, TIMER_DIVIDE = 0x380, 0x390, 0x3E0

_VERSION = 0x00050014
"""Version 0x14 (an integrated APIC) with six LVT entries, as Nehalem has it."""
_SEND_ILLEGAL, _RECEIVE_ILLEGAL, _ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7
_FIRST_LEGAL_VECTOR = 16
_LVT_MASKED = 1 << 16
_LVT_WRITABLE = 0x3A7FF
"""All but delivery status and remote IRR (bits 12 and 14), which are the APIC's own."""


@dataclass(frozen=True)
class Icr:
    """The interrupt command register, decoded (SDM "Interrupt Command Register")."""

    high: int
    low: int

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
        """Bits 56 to 63: an APIC id, 0xFF for all, or a logical destination."""
        return self.high >> 24


class LocalApic:
    """The registers of one local APIC.

    Args:
        apic_id: its id, 0 to 254.
        send: called with the :class:`Icr` when its low half is written.
    """

    _FIELDS: ClassVar[tuple[str, ...]] = (
        *("tpr", "ldr", "dfr", "svr", "irr", "isr", "tmr", "errors", "esr", "icr_low", "icr_high"),
        *("timer_initial", "timer_divide"),
    )

    def __init__(self, apic_id: int, send: Callable[[Icr], None]) -> None:
        self.apic_id = apic_id
        self._send = send
        self.reset()

    def reset(self) -> None:
        """As after power-up or INIT (SDM "Local APIC State After It Receives an INIT-Deassert or INIT IPI")."""
        self.tpr = self.ldr = 0
        self.dfr = 0xFFFFFFFF
        self.svr = 0xFF
        self.irr = self.isr = self.tmr = 0
        self.errors = self.esr = 0
        self.icr_low = self.icr_high = 0
        self.timer_initial = self.timer_divide = 0
        self.lvt = dict.fromkeys(LVTS, 0x10000)

    @property
    def enabled(self) -> bool:
        """SVR bit 8: without it the APIC takes INIT, SIPI, NMI and SMI only."""
        return bool(self.svr & 0x100)

    @property
    def ppr(self) -> int:
        """Processor priority (SDM "Task and Processor Priorities")."""
        in_service = self.isr.bit_length() - 1
        if in_service < 0 or self.tpr >> 4 >= in_service >> 4:
            return self.tpr
        return in_service & 0xF0

    @property
    def pending(self) -> int | None:
        """The vector that the CPU would be interrupted with, or None: disabled, nothing set, or priority too low."""
        vector = self.irr.bit_length() - 1
        return vector if self.enabled and vector >= 0 and vector >> 4 > self.ppr >> 4 else None

    def accept(self, vector: int) -> bool | None:
        """Take a fixed interrupt: set its IRR bit.

        Returns:
            Whether the bit was set already (the two merge); None where the vector is illegal (ESR tells).
        """
        if vector < _FIRST_LEGAL_VECTOR:
            self.errors |= _RECEIVE_ILLEGAL
            return None
        merged = bool(self.irr >> vector & 1)
        self.irr |= 1 << vector
        return merged

    def acknowledge(self) -> int:
        """The CPU takes the pending vector: it moves from IRR to ISR."""
        vector = self.pending
        if vector is None:
            raise ValueError("acknowledge needs a pending vector, not None")
        self.irr &= ~(1 << vector)
        self.isr |= 1 << vector
        return vector

    def end_of_interrupt(self) -> int | None:
        """EOI: the highest vector in service leaves ISR and is returned; None where there is none."""
        vector = self.isr.bit_length() - 1
        if vector < 0:
            return None
        self.isr &= ~(1 << vector)
        self.tmr &= ~(1 << vector)
        return vector

    def matches_logical(self, destination: int) -> bool:
        """Whether a logical destination names this APIC (flat or cluster model, as DFR says)."""
        logical_id = self.ldr >> 24
        if destination == 0xFF:
            return True
        if self.dfr >> 28 == 0xF:
            return bool(logical_id & destination)
        return logical_id >> 4 == destination >> 4 and bool(logical_id & destination & 0xF)

    def read(self, offset: int) -> int:
        """The 32-bit register at ``offset`` (a multiple of 4)."""
        for base, bits in ((ISR, self.isr), (TMR, self.tmr), (IRR, self.irr)):
            if base <= offset < base + 0x80:
                return bits >> (offset - base) * 2 & 0xFFFFFFFF if offset % 16 == 0 else 0
        if offset in self.lvt:
            return self.lvt[offset]
        values = {
            ID: self.apic_id << 24,
            VERSION: _VERSION,
            TPR: self.tpr,
            PPR: self.ppr,
            EOI: 0,
            LDR: self.ldr,
            DFR: self.dfr,
            SVR: self.svr,
            ESR: self.esr,
            ICR_LOW: self.icr_low,
            ICR_HIGH: self.icr_high,
            TIMER_INITIAL: self.timer_initial,
            TIMER_CURRENT: 0,
            TIMER_DIVIDE: self.timer_divide,
        }
        if offset not in values:
            self.errors |= _ILLEGAL_REGISTER
        return values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Store ``value`` (32 bits) in the register at ``offset``; read-only registers stay as they are."""
        if offset == TPR:
            self.tpr = value & 0xFF
        elif offset == EOI:
            self.end_of_interrupt()
        elif offset == LDR:
            self.ldr = value & 0xFF000000
        elif offset == DFR:
            self.dfr = value | 0x0FFFFFFF
        elif offset == SVR:
            self.svr = value & 0x3FF
            if not self.enabled:
                self.lvt = {entry: bits | _LVT_MASKED for entry, bits in self.lvt.items()}
        elif offset == ESR:
            self.esr, self.errors = self.errors, 0
        elif offset == ICR_HIGH:
            self.icr_high = value & 0xFF000000
        elif offset == ICR_LOW:
            self._command(value)
        elif offset in self.lvt:
            self.lvt[offset] = value & _LVT_WRITABLE | (0 if self.enabled else _LVT_MASKED)
        elif offset == TIMER_INITIAL:
            self.timer_initial = value
        elif offset == TIMER_DIVIDE:
            self.timer_divide = value & 0xB
        elif offset not in (ID, VERSION, PPR, TIMER_CURRENT):
            self.errors |= _ILLEGAL_REGISTER

    def _command(self, value: int) -> None:
        self.icr_low = value & 0xCCFFF & ~(1 << 12)
        icr = Icr(self.icr_high, self.icr_low)
        if icr.delivery in ("fixed", "lowest") and icr.vector < _FIRST_LEGAL_VECTOR:
            self.errors |= _SEND_ILLEGAL
        self._send(icr)

    def state(self) -> dict[str, Any]:
        """The registers as plain data."""
        return {name: getattr(self, name) for name in self._FIELDS} | {"lvt": {hex(k): v for k, v in self.lvt.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name in self._FIELDS:
            setattr(self, name, state[name])
        self.lvt = {int(k, 16): v for k, v in state["lvt"].items()}
