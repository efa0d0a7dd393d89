"""The interrupt bus: what an ICR write makes of the other local APICs, and what a CPU is due.

SDM "Issuing Interprocessor Interrupts", "Handling Interrupts" and "Handling Multiple NMIs".
"""

from typing import Protocol

from mklab.machine.apic_registers import LVT_TIMER
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.icr import FIRST_LEGAL_VECTOR, Icr
from mklab.machine.lapic import LocalApic
from mklab.trace import Accepted, Event, Ignored, IpiSent, Lost, Sipi, TimerExpired

__all__ = ["NMI_VECTOR", "InterruptBus"]

NMI_VECTOR = 2
_ACCEPTED = ("fixed", "lowest")
"""Delivery modes that set a bit in IRR."""


class _Power(Protocol):
    """What the bus needs of :class:`mklab.machine.power.Power`."""

    def init(self, cpu: Cpu, sender: int | None) -> None:
        """INIT reaches a CPU."""

    def sipi(self, cpu: Cpu, vector: int) -> None:
        """A SIPI starts a CPU."""


class _Machine(Protocol):
    """What the bus needs of the machine."""

    cpus: list[Cpu]

    @property
    def apics(self) -> list[LocalApic]:
        """The local APIC of each CPU."""

    def interrupt_flags(self, cpu: int) -> tuple[bool, bool]:
        """Of a CPU: whether its last instruction was STI or a load of SS, and RFLAGS.IF."""

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        """Record an event."""

    def observe(self, what: str, cpu: int, vector: int, sender: int | None) -> None:
        """Tell the kernels' observers."""

    @property
    def power(self) -> "_Power":
        """How CPUs begin."""


class InterruptBus:
    """Carries IPIs between the local APICs of one machine, and tells what each CPU is due."""

    def __init__(self, machine: _Machine) -> None:
        self._machine = machine

    # Sending

    def send(self, sender: int, icr: Icr) -> None:
        """Carry out what CPU ``sender`` wrote to its ICR or SELF IPI."""
        targets = self.targets(sender, icr)
        vector, delivery = icr.vector, icr.delivery
        self._machine.emit(
            IpiSent,
            sender,
            vector=vector,
            delivery=delivery,
            shorthand=icr.shorthand,
            level=icr.level_assert,
            targets=[cpu.index for cpu in targets],
        )
        if delivery in _ACCEPTED:
            for cpu in targets:
                self._machine.observe("sent", cpu.index, vector, sender)
        if not targets:
            why = f"no local APIC has the {'logical destination' if icr.logical else 'id'} {icr.destination:#x}"
            if not icr.valid:
                why = f"the delivery mode {delivery} does not go with the shorthand {icr.shorthand}: nothing is sent"
            self._machine.emit(Lost, None, from_cpu=sender, vector=vector, why=why)
        for cpu in targets:
            self.reach(cpu, sender, icr)

    def targets(self, sender: int, icr: Icr) -> list[Cpu]:
        """The CPUs that ``icr``, written by CPU ``sender``, names now."""
        cpus, shorthand = self._machine.cpus, icr.shorthand
        if not icr.valid:
            return []
        if shorthand == "self":
            return [cpus[sender]]
        if shorthand == "all":
            return list(cpus)
        if shorthand == "all-but-self":
            found = [cpu for cpu in cpus if cpu.index != sender]
        elif icr.logical or icr.broadcast:
            found = [cpu for cpu, apic in zip(cpus, self._machine.apics, strict=True) if apic.is_named_by(icr)]
        else:
            physical = icr.destination
            found = [cpu for cpu, apic in zip(cpus, self._machine.apics, strict=True) if apic.physical_id == physical]
        if icr.delivery == "lowest" and found:
            return [min(found, key=self._arbitration)]
        return found

    def _arbitration(self, cpu: Cpu) -> tuple[bool, int, int]:
        """The least wins: who can accept, then the lowest processor priority, then the lowest id.

        SDM "Lowest Priority Delivery Mode" leaves open who wins a tie.
        """
        apic = self._machine.apics[cpu.index]
        return not apic.enabled or cpu.state is CpuState.SHUTDOWN, apic.ppr, apic.apic_id

    def reach(self, cpu: Cpu, sender: int, icr: Icr) -> None:
        """The command arrives at ``cpu``, one of its targets."""
        delivery = icr.delivery
        if self._machine.apics[cpu.index].mode == "disabled":
            vector = NMI_VECTOR if delivery == "nmi" else icr.vector
            why = f"CPU {cpu.index} has switched its local APIC off (IA32_APIC_BASE bit 11 is 0): no IPI reaches it"
            self._machine.emit(Lost, cpu.index, from_cpu=sender, vector=vector, why=why)
        elif delivery in _ACCEPTED:
            self._fixed(cpu, sender, icr.vector)
        elif delivery == "nmi":
            self._nmi(cpu, sender)
        elif delivery == "init" and icr.level_assert:
            self._machine.power.init(cpu, sender)
        elif delivery == "sipi":
            self._sipi(cpu, sender, icr.vector)
        else:
            what = "INIT level de-assert" if delivery == "init" else delivery.upper()
            why = "CPUs since the Pentium 4 ignore it" if delivery == "init" else "this machine does not model it"
            self._machine.emit(Ignored, cpu.index, from_cpu=sender, what=what, why=why)

    def _fixed(self, cpu: Cpu, sender: int, vector: int) -> None:
        apic = self._machine.apics[cpu.index]
        why = ""
        if cpu.state is CpuState.SHUTDOWN:
            why = f"CPU {cpu.index} is shut down"
        elif not apic.enabled:
            state = ", which waits for a SIPI," if cpu.state is CpuState.WAIT_FOR_SIPI else ""
            why = f"the local APIC of CPU {cpu.index}{state} is software-disabled (SVR={apic.svr:#x})"
        if why:
            self._machine.emit(Lost, cpu.index, from_cpu=sender, vector=vector, why=why)
            return
        merged = apic.accept(vector)
        if merged is None:
            self._illegal(cpu, sender, vector)
        else:
            self._machine.emit(Accepted, cpu.index, from_cpu=sender, vector=vector, merged=merged)

    def _illegal(self, cpu: Cpu, sender: int | None, vector: int) -> None:
        why = f"vector {vector} is illegal; vectors 0 to 15 are the CPU's own (ESR has bit 6 set)"
        self._machine.emit(Lost, cpu.index, from_cpu=sender, vector=vector, why=why)

    def _nmi(self, cpu: Cpu, sender: int) -> None:
        if cpu.state in (CpuState.WAIT_FOR_SIPI, CpuState.SHUTDOWN):
            why = f"CPU {cpu.index} is in the state {cpu.state}"
            self._machine.emit(Lost, cpu.index, from_cpu=sender, vector=NMI_VECTOR, why=why)
            return
        self._machine.emit(Accepted, cpu.index, from_cpu=sender, vector=NMI_VECTOR, merged=cpu.nmi_pending)
        cpu.nmi_pending = True

    def _sipi(self, cpu: Cpu, sender: int, vector: int) -> None:
        if cpu.state is not CpuState.WAIT_FOR_SIPI:
            why = f"CPU {cpu.index} is not in wait-for-SIPI"
            self._machine.emit(Ignored, cpu.index, from_cpu=sender, what=f"SIPI {vector:#x}", why=why)
            return
        self._machine.emit(Sipi, cpu.index, from_cpu=sender, vector=vector)
        self._machine.power.sipi(cpu, vector)

    # Timers

    @property
    def deadline(self) -> int | None:
        """The virtual time at which the next timer of a local APIC interrupts; None where none will."""
        nearest = None
        for apic, cpu in zip(self._machine.apics, self._machine.cpus, strict=True):
            if apic.timer.count is None or cpu.state is CpuState.SHUTDOWN:
                continue
            deadline = apic.deadline
            if deadline is not None and (nearest is None or deadline < nearest):
                nearest = deadline
        return nearest

    def tick(self) -> None:
        """Let the timers interrupt whose deadline has come, in the order of the CPUs."""
        for cpu in self._with_timers():
            expiry = self._machine.apics[cpu.index].tick()
            if expiry is None:
                continue
            if expiry.merged is None:
                self._illegal(cpu, None, expiry.vector)
            else:
                self._machine.emit(TimerExpired, cpu.index, vector=expiry.vector, merged=expiry.merged)

    def wakes_at(self, cpu: Cpu) -> int | None:
        """When the timer of ``cpu`` ends its HLT; None where its flags or its priority keep the interrupt away."""
        apic = self._machine.apics[cpu.index]
        deadline = apic.deadline
        if cpu.state is not CpuState.HALTED or deadline is None:
            return None
        vector = apic.lvt[LVT_TIMER] & 0xFF
        accepted = vector >= FIRST_LEGAL_VECTOR and apic.enabled and vector >> 4 > apic.ppr >> 4
        return deadline if accepted and self._machine.interrupt_flags(cpu.index)[1] else None

    def _with_timers(self) -> list[Cpu]:
        """All CPUs but those shut down, which no interrupt reaches."""
        return [cpu for cpu in self._machine.cpus if cpu.state is not CpuState.SHUTDOWN]

    # Receiving

    def deliverable(self, cpu: Cpu) -> int | None:
        """The vector that interrupts ``cpu`` before its next instruction, or None."""
        apic = self._machine.apics[cpu.index]
        if not apic.irr and not cpu.nmi_pending:
            return None
        nmi = self._nmi_due(cpu)
        waiting = NMI_VECTOR if nmi else apic.pending
        if waiting is None:
            return None
        shadow, enabled = self._machine.interrupt_flags(cpu.index)
        # HLT ends the shadow of the STI or the load of SS before it.
        if shadow and cpu.state is not CpuState.HALTED:
            return None
        return waiting if nmi or enabled else None

    def blocked(self, cpu: Cpu) -> bool:
        """Whether something waits for ``cpu`` that its flags, or an NMI's handler, keep from it now."""
        apic = self._machine.apics[cpu.index]
        if not apic.irr and not cpu.nmi_pending:
            return False
        return (cpu.nmi_pending or apic.pending is not None) and self.deliverable(cpu) is None

    def take(self, cpu: Cpu) -> str:
        """The CPU takes what is deliverable; ``nmi`` or ``interrupt``."""
        if self._nmi_due(cpu):
            cpu.nmi_pending = False
            return "nmi"
        self._machine.apics[cpu.index].acknowledge()
        return "interrupt"

    @staticmethod
    def _nmi_due(cpu: Cpu) -> bool:
        """One NMI can wait while another's handler runs (SDM "Handling Multiple NMIs")."""
        return cpu.nmi_pending and not cpu.nmi_blocked
