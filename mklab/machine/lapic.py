"""The local APIC, in xAPIC and x2APIC mode (SDM "Advanced Programmable Interrupt Controller (APIC)").

A LocalApic knows its registers and the time only. What ICR sends goes to ``send``, a function of the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mklab.machine import apic_registers as reg
from mklab.machine.apic_registers import EOI, ApicFaultError
from mklab.machine.apic_timer import ApicTimer
from mklab.machine.icr import FIRST_LEGAL_VECTOR, SHORTHANDS, Icr

__all__ = ["EOI", "ApicFaultError", "Expiry", "Icr", "LocalApic"]

_VERSION = 0x00050014
"""Version 0x14 (an integrated APIC) with six LVT entries, as Nehalem has it."""


@dataclass(frozen=True)
class Expiry:
    """An interrupt of the timer.

    Attributes:
        vector: the vector in the timer's LVT entry.
        merged: whether its IRR bit was set already; None where the vector is illegal (ESR tells).
    """

    vector: int
    merged: bool | None


class LocalApic:
    """One local APIC.

    Args:
        apic_id: its id: 8 bits for a machine in xAPIC mode, below 0xFFFFFFFF for one in x2APIC mode.
        send: called with the :class:`Icr` when ICR or SELF IPI is written.
        clock: gives the virtual time, in which the timer counts.
        bsp: whether the BSP flag of IA32_APIC_BASE is set at power-up.

    Attributes:
        base: IA32_APIC_BASE.
        tpr, ldr, dfr, svr, irr, isr, esr, icr_low, icr_high, lvt: the registers; ``irr`` and ``isr`` have 256 bits.
            Nothing is level-triggered here, so TMR is always 0.
        errors: what ESR will show after it is written.
        error_armed: whether the next error raises the interrupt of the error LVT entry; writing ESR rearms it.
    """

    _FIELDS: ClassVar[tuple[str, ...]] = (
        *("base", "tpr", "ldr", "dfr", "svr", "irr", "isr", "errors", "error_armed", "esr", "icr_low", "icr_high"),
    )

    def __init__(self, apic_id: int, send: Callable[[Icr], None], clock: Callable[[], int], bsp: bool) -> None:
        self.apic_id = apic_id
        self._send = send
        self._clock = clock
        self._base_at_power_on = reg.BASE_ADDRESS | reg.BASE_ENABLE | (reg.BASE_BSP if bsp else 0)
        self.power_on()

    def power_on(self) -> None:
        """As after power-up: in xAPIC mode (SDM "Local APIC State After Power-Up or Reset")."""
        self.base = self._base_at_power_on
        self.reset()

    def reset(self) -> None:
        """As after INIT: the id and IA32_APIC_BASE stay, and with them x2APIC mode.

        SDM "Local APIC State After It Receives an INIT-Deassert or INIT IPI", "x2APIC States".
        """
        self.tpr = self.ldr = 0
        self.dfr = 0xFFFFFFFF
        self.svr = 0xFF
        self.irr = self.isr = 0
        self.errors = self.esr = 0
        self.error_armed = True
        self.icr_low = self.icr_high = 0
        self.lvt = dict.fromkeys(reg.LVT_WRITABLE, reg.LVT_MASKED)
        self.timer = ApicTimer()

    # IA32_APIC_BASE

    @property
    def mode(self) -> str:
        """``disabled``, ``xapic`` or ``x2apic``: IA32_APIC_BASE bits 10 and 11."""
        if not self.base & reg.BASE_ENABLE:
            return "disabled"
        return "x2apic" if self.base & reg.BASE_X2APIC else "xapic"

    @property
    def bsp(self) -> bool:
        """The BSP flag, IA32_APIC_BASE bit 8: INIT restarts this CPU at the reset vector. Software may change it."""
        return bool(self.base & reg.BASE_BSP)

    def set_base(self, value: int) -> None:
        """WRMSR to IA32_APIC_BASE. A disabled APIC forgets its registers.

        Raises:
            ApicFaultError: see :func:`mklab.machine.apic_registers.check_base`.
        """
        reg.check_base(self.base, value)
        before = self.mode
        self.base = value
        if self.mode == "disabled":
            self.reset()
        elif self.mode != before:
            # SDM "State Changes From xAPIC Mode to x2APIC Mode": all is kept but LDR, which the id decides, and this.
            self.icr_high = 0

    # Interrupts

    @property
    def enabled(self) -> bool:
        """SVR bit 8; without it the APIC takes INIT, SIPI, NMI and SMI only. Switched off, it has it cleared."""
        return bool(self.svr & 0x100)

    @property
    def ppr(self) -> int:
        """Processor priority (SDM "Task and Processor Priorities")."""
        in_service = self.isr.bit_length() - 1
        if in_service < 0 or self.tpr >> 4 >= in_service >> 4:
            return self.tpr
        return in_service & 0xF0

    @property
    def cr8(self) -> int:
        """CR8: bits 4 to 7 of TPR (SDM "Interaction of Task Priorities between CR8 and APIC")."""
        return self.tpr >> 4

    def set_cr8(self, value: int) -> None:
        """MOV to CR8.

        Raises:
            ApicFaultError: a bit above 3 is set.
        """
        if value >> 4:
            raise ApicFaultError(f"CR8 = {value:#x}: only bits 0 to 3 may be set")
        self.tpr = value << 4

    @property
    def pending(self) -> int | None:
        """The vector that the CPU would be interrupted with, or None: disabled, nothing set, or priority too low."""
        vector = self.irr.bit_length() - 1
        return vector if vector >= 0 and self.enabled and vector >> 4 > self.ppr >> 4 else None

    def accept(self, vector: int) -> bool | None:
        """Take an edge-triggered interrupt: set its IRR bit.

        Returns:
            Whether the bit was set already (the two merge); None where the vector is illegal (ESR tells).
        """
        if vector < FIRST_LEGAL_VECTOR:
            self._log(reg.RECEIVE_ILLEGAL)
            return None
        merged = bool(self.irr >> vector & 1)
        self.irr |= 1 << vector
        return merged

    def acknowledge(self) -> int:
        """The CPU asks for its vector: the pending one moves from IRR to ISR.

        Where none is pending (any more), it gets the spurious one, which is not in service and needs no EOI (SDM
        "Spurious Interrupt").
        """
        vector = self.pending
        if vector is None:
            return self.svr & 0xFF
        self.irr &= ~(1 << vector)
        self.isr |= 1 << vector
        return vector

    def end_of_interrupt(self) -> int | None:
        """EOI: the highest vector in service leaves ISR and is returned; None where there is none."""
        vector = self.isr.bit_length() - 1
        if vector < 0:
            return None
        self.isr &= ~(1 << vector)
        return vector

    @property
    def logical_id(self) -> int:
        """LDR: in x2APIC mode cluster << 16 and a bit in the cluster, from the id; else what software wrote."""
        if self.mode == "x2apic":
            return (self.apic_id >> 4 & 0xFFFF) << 16 | 1 << (self.apic_id & 0xF)
        return self.ldr

    @property
    def physical_id(self) -> int:
        """What a physical destination is compared with: in xAPIC mode ids have 8 bits."""
        return self.apic_id & 0xFF if self.mode == "xapic" else self.apic_id

    def is_named_by(self, icr: Icr) -> bool:
        """Whether a command without a shorthand names this APIC.

        The sender's mode says what a broadcast is; every APIC compares any other destination as its own mode has it.
        """
        destination = icr.destination
        if icr.broadcast:
            return True
        if not icr.logical:
            return destination == self.physical_id
        if self.mode == "x2apic":
            return self.logical_id >> 16 == destination >> 16 and bool(self.logical_id & destination & 0xFFFF)
        own = self.ldr >> 24
        if destination > 0xFF or self.dfr >> 28 == 0xF:
            return destination <= 0xFF and bool(own & destination)
        return own >> 4 == destination >> 4 and bool(own & destination & 0xF)

    def _log(self, error: int) -> None:
        """Note an error for ESR; the first one since ESR was written raises the error interrupt, if unmasked."""
        self.errors |= error
        if self.error_armed and not self.lvt[reg.LVT_ERROR] & reg.LVT_MASKED:
            self.error_armed = False
            self.accept(self.lvt[reg.LVT_ERROR] & 0xFF)

    # The timer

    @property
    def deadline(self) -> int | None:
        """When the timer will interrupt, in virtual time; None where it does not count or its entry is masked."""
        return None if self.lvt[reg.LVT_TIMER] & reg.LVT_MASKED else self.timer.expiry

    def tick(self) -> Expiry | None:
        """Let the timer's interrupt happen, if its deadline has come; a periodic timer goes on.

        Called late, it makes one interrupt of several.
        """
        deadline = self.deadline
        if deadline is None or self._clock() < deadline:
            return None
        self._settle()
        vector = self.lvt[reg.LVT_TIMER] & 0xFF
        return Expiry(vector, self.accept(vector))

    def _settle(self) -> None:
        self.timer.settle(self._clock(), self._periodic)

    @property
    def _periodic(self) -> bool:
        return bool(self.lvt[reg.LVT_TIMER] & reg.LVT_PERIODIC)

    # The xAPIC page

    def read(self, offset: int) -> int:
        """The 32-bit register at ``offset`` of the page; 0 where the APIC is not in xAPIC mode and has no page."""
        if self.mode != "xapic" or offset in reg.WITHOUT_VALUE:
            return 0
        if offset == reg.ID:
            return (self.apic_id & 0xFF) << 24
        if offset == reg.DFR:
            return self.dfr
        if offset == reg.ICR_HIGH:
            return self.icr_high
        value = self._load(offset)
        if value is None:
            self._log(reg.ILLEGAL_REGISTER)
        return value or 0

    def write(self, offset: int, value: int) -> None:
        """Store ``value`` (32 bits) at ``offset`` of the page; read-only registers stay as they are."""
        if self.mode != "xapic" or offset in reg.READ_ONLY:
            return
        if offset == reg.LDR:
            self.ldr = value & 0xFF000000
        elif offset == reg.DFR:
            self.dfr = value | 0x0FFFFFFF
        elif offset == reg.ICR_HIGH:
            self.icr_high = value & 0xFF000000
        elif offset == reg.ICR_LOW:
            self._command(value)
        elif not self._store(offset, value):
            self._log(reg.ILLEGAL_REGISTER)

    # x2APIC

    def read_msr(self, msr: int) -> int:
        """RDMSR of a register from 0x800 to 0x8FF.

        Raises:
            ApicFaultError: the APIC is not in x2APIC mode, or has no such register to read.
        """
        offset = self._offset(msr)
        if offset == reg.ID:
            return self.apic_id
        value = self._load(offset)
        if value is None:
            raise ApicFaultError(f"RDMSR of {msr:#x}: x2APIC has no register there that can be read")
        return self.icr_high << 32 | value if offset == reg.ICR_LOW else value

    def write_msr(self, msr: int, value: int) -> None:
        """WRMSR of ``value`` (64 bits) to a register from 0x800 to 0x8FF.

        Raises:
            ApicFaultError: the APIC is not in x2APIC mode, or has no such register to write, or a reserved bit is set.
        """
        offset = self._offset(msr)
        reg.check_write(offset, value)
        if offset == reg.ICR_LOW:
            self.icr_high = value >> 32
            self._command(value & 0xFFFFFFFF)
        elif offset == reg.SELF_IPI:
            self._issue(Icr(0, SHORTHANDS.index("self") << 18 | value, x2apic=True))
        else:
            self._store(offset, value)

    def _offset(self, msr: int) -> int:
        if self.mode != "x2apic":
            raise ApicFaultError(f"MSR {msr:#x}: the local APIC is not in x2APIC mode")
        return (msr - reg.X2APIC_MSR) * 16

    # What both modes have

    def _load(self, offset: int) -> int | None:
        if offset in reg.VECTORS:
            register, word = reg.VECTORS[offset]
            return {reg.ISR: self.isr, reg.IRR: self.irr, reg.TMR: 0}[register] >> 32 * word & 0xFFFFFFFF
        if offset == reg.TIMER_CURRENT:
            return self.timer.current(self._clock(), self._periodic)
        values = {
            reg.VERSION: _VERSION,
            reg.TPR: self.tpr,
            reg.PPR: self.ppr,
            reg.LDR: self.logical_id,
            reg.SVR: self.svr,
            reg.ESR: self.esr,
            reg.ICR_LOW: self.icr_low,
            reg.TIMER_INITIAL: self.timer.initial,
            reg.TIMER_DIVIDE: self.timer.divide,
        }
        return values.get(offset, self.lvt.get(offset))

    def _store(self, offset: int, value: int) -> bool:
        """Write a register; False where there is none at ``offset``."""
        if offset == reg.TPR:
            self.tpr = value & 0xFF
        elif offset == EOI:
            self.end_of_interrupt()
        elif offset == reg.SVR:
            self.svr = value & reg.SVR_WRITABLE
            if not self.enabled:
                self.lvt = {entry: bits | reg.LVT_MASKED for entry, bits in self.lvt.items()}
        elif offset == reg.ESR:
            self.esr, self.errors = self.errors, 0
            self.error_armed = True
        elif offset in self.lvt:
            if offset == reg.LVT_TIMER and self.lvt[offset] & reg.LVT_MASKED:
                # What expired while it was masked must not interrupt now.
                self._settle()
            self.lvt[offset] = value & reg.LVT_WRITABLE[offset] | (0 if self.enabled else reg.LVT_MASKED)
        elif offset == reg.TIMER_INITIAL:
            self.timer.start(value, self._clock())
        elif offset == reg.TIMER_DIVIDE:
            if self.lvt[reg.LVT_TIMER] & reg.LVT_MASKED:
                self._settle()
            self.timer.set_divide(value, self._clock())
        else:
            return False
        return True

    def _command(self, value: int) -> None:
        self.icr_low = value & reg.ICR_LOW_WRITABLE
        self._issue(Icr(self.icr_high, self.icr_low, self.mode == "x2apic"))

    def _issue(self, icr: Icr) -> None:
        if not icr.legal_vector:
            self._log(reg.SEND_ILLEGAL)
        self._send(icr)

    def state(self) -> dict[str, Any]:
        """The registers as plain data."""
        values = {name: getattr(self, name) for name in self._FIELDS}
        return values | {"lvt": {hex(k): v for k, v in self.lvt.items()}, "timer": self.timer.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name in self._FIELDS:
            setattr(self, name, state[name])
        self.lvt = {int(k, 16): v for k, v in state["lvt"].items()}
        self.timer = ApicTimer(**state["timer"])
