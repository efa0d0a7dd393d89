"""INIT, SIPI, shutdown, reset, and the hand-over by a boot loader: how CPUs begin and end."""

from typing import Protocol

from mklab.machine import cpuid
from mklab.machine.board import Board
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.engine import Engine, native_cpuid
from mklab.machine.lapic import LocalApic
from mklab.machine.ownership import Observation
from mklab.machine.process import Call
from mklab.machine.registers import CR0, CR4, EFER, Registers, Segment, reset_registers
from mklab.trace import Event, Init, PlatformReset, Shutdown

__all__ = ["Power", "entry_registers"]

X2APIC = 1 << 10
"""IA32_APIC_BASE: x2APIC mode."""


class _Machine(Protocol):
    """What power needs of the machine."""

    cpus: list[Cpu]
    calls: list[Call]
    on_shutdown: str
    x2apic: bool

    @property
    def board(self) -> Board:
        """What CPUs reach."""

    @property
    def apics(self) -> list[LocalApic]:
        """The local APIC of each CPU."""

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        """Record an event."""

    def stop_for_good(self, reason: str, cpu: int | None, detail: str) -> None:
        """Nothing runs any more."""


class Power:
    """How CPUs begin and end (SDM "Multiple-Processor Initialization", "Processor State After Reset")."""

    def __init__(self, machine: _Machine, engine: Engine, observation: Observation) -> None:
        self._machine = machine
        self._engine = engine
        self._observation = observation
        self._power_on = engine.extended(0)
        for cpu in machine.cpus:
            self._turn_on(cpu)

    def _turn_on(self, cpu: Cpu) -> None:
        """As after power-up, with what firmware does to a local APIC before it hands over."""
        apic = self._machine.apics[cpu.index]
        apic.power_on()
        self._machine.board.msrs[cpu.index].power_on()
        self._reset(cpu, CR0.CD | CR0.NW)
        if self._machine.x2apic:
            apic.set_base(apic.base | X2APIC)

    def _reset(self, cpu: Cpu, cr0: int) -> None:
        """Registers and local APIC as after INIT; the CPU is nobody's."""
        self._engine.set_registers(cpu.index, reset_registers(cpuid.signature(native_cpuid()), cr0))
        self._machine.apics[cpu.index].reset()
        cpu.nmi_pending = cpu.nmi_blocked = False
        cpu.state = CpuState.WAIT_FOR_SIPI
        for call in [call for call in self._machine.calls if call.cpu == cpu.index]:
            call.step, call.reason = "", f"CPU {cpu.index}, on which it ran, was reset"
            self._machine.calls.remove(call)
        self._observation.note_mode(cpu, "real")
        self._observation.disown(cpu)

    def init(self, cpu: Cpu, sender: int | None) -> None:
        """INIT reaches ``cpu``: it waits for a SIPI, or restarts at the reset vector where its BSP flag is set."""
        self._machine.emit(Init, cpu.index, from_cpu=sender)
        # INIT keeps MSRs, x87 and SSE state (SDM "Processor State After Reset").
        kept = self._engine.extended(cpu.index)
        self._engine.set_extended(cpu.index, kept | {"debug": self._power_on["debug"]})
        self._reset(cpu, self._engine.registers(cpu.index).cr0)
        if self._machine.apics[cpu.index].bsp:
            cpu.state = CpuState.RUNNING

    def sipi(self, cpu: Cpu, vector: int) -> None:
        """A SIPI starts ``cpu`` in real mode at ``vector << 12``."""
        registers = self._engine.registers(cpu.index)
        registers.cs = Segment(vector << 8, vector << 12, 0xFFFF, registers.cs.flags)
        registers.rip = 0
        self._engine.set_registers(cpu.index, registers)
        cpu.state = CpuState.RUNNING

    def shut_down(self, cpu: Cpu, why: str) -> None:
        """``cpu`` shuts down; PC chipsets answer with a platform reset."""
        cpu.state = CpuState.SHUTDOWN
        self._machine.emit(Shutdown, cpu.index, why=why)
        if self._machine.on_shutdown == "reset":
            self.reset_platform(f"CPU {cpu.index} shut down: {why}", cpu.index)

    def reset_platform(self, why: str, cpu: int | None) -> None:
        """Reset every CPU, whoever owns it; RAM keeps its contents."""
        self._machine.emit(PlatformReset, cpu, why=why)
        for one in self._machine.cpus:
            self._engine.set_extended(one.index, self._power_on)
            self._turn_on(one)
        detail = f"{why}. The platform was reset, every kernel with it; boot a host again."
        self._machine.stop_for_good("reset", cpu, detail)


def entry_registers(entry: int, stack: int, boot_params: int, cr3: int) -> Registers:
    """Registers at a kernel's 64-bit entry, as a boot loader leaves them (Linux's "64-bit Boot Protocol").

    Args:
        entry, stack, boot_params, cr3: RIP, RSP, RSI and CR3: addresses that the tables at ``cr3`` map to themselves.
    """
    registers = Registers(
        cs=Segment(0x10, 0, 0xFFFFFFFF, 0xA09B00),
        rip=entry,
        rsp=stack,
        rsi=boot_params,
        cr0=CR0.PG | CR0.PE | CR0.ET,
        cr3=cr3,
        cr4=CR4.PAE,
        efer=EFER.LME | EFER.LMA,
    )
    for name in ("ds", "es", "ss", "fs", "gs"):
        setattr(registers, name, Segment(0x18, 0, 0xFFFFFFFF, 0xC09300))
    return registers
