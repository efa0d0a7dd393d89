"""What a running CPU reaches besides RAM: its local APIC, I/O ports, CPUID and the clock."""

from typing import Any, Protocol

from mklab.machine import cpuid, lapic
from mklab.machine.bus import Bus
from mklab.machine.cpu import Cpu
from mklab.machine.engine import native_cpuid
from mklab.machine.layout import APIC_BASE, COM1, COM1_SIZE, DEBUG_EXIT
from mklab.machine.msr import X2APIC, ModelSpecificRegisters
from mklab.machine.ports import PlatformPorts
from mklab.machine.uart import Uart
from mklab.trace import AbsentAccess, ApicWrite, ConsoleByte, Eoi, Event

__all__ = ["Board"]


class _Machine(Protocol):
    """What the board needs of the machine."""

    cpus: list[Cpu]

    @property
    def current(self) -> int:
        """The CPU that executes."""

    @property
    def now(self) -> int:
        """Virtual time."""

    def emit(self, kind: type[Event], cpu: int | None, **values: object) -> None:
        """Record an event."""

    def pause(self) -> None:
        """Stop the running CPU before its next instruction."""


class Board:
    """The devices, and the engine's way to them.

    Local APICs are the machine's; ports lead to the devices of the kernel that owns the CPU (docs/fidelity.md), so that
    each kernel has a serial port of its own. Ports that act on the whole machine are shared.

    Attributes:
        apics, msrs: the local APIC and the model-specific registers of each CPU.
        ports: the chipset's registers.
        commands: ICR writes of CPUs, ``(CPU, command)``, that the machine has yet to carry out.
        reset_request: which CPU has asked for a platform reset, and how; None where none has.
        exit_request: which CPU has written what to the debug exit; None where none has.
        eoi_passes: whether the running CPU need not stop behind an EOI: it lets no interrupt in.

    Args:
        machine: what it is part of.
        debug_exit: whether there is a debug-exit device.
    """

    def __init__(self, machine: _Machine, debug_exit: bool = False) -> None:
        self._machine = machine
        self._debug_exit = debug_exit
        self.apics = [lapic.LocalApic(cpu.apic_id, self._sender(cpu.index), self._now, cpu.bsp) for cpu in machine.cpus]
        self.msrs = [
            ModelSpecificRegisters(apic, self._apic_msr_writer(cpu), self._now) for cpu, apic in enumerate(self.apics)
        ]
        self.ports = PlatformPorts()
        self.commands: list[tuple[int, lapic.Icr]] = []
        self.reset_request: tuple[int, str] | None = None
        self.exit_request: tuple[int, int] | None = None
        self.eoi_passes = False
        self._consoles: dict[str, Uart] = {}
        self._buses: dict[str, Bus] = {}

    def _sender(self, cpu: int) -> Any:
        return lambda icr: self.commands.append((cpu, icr))

    def _apic_msr_writer(self, cpu: int) -> Any:
        return lambda msr, value: self.write_apic_msr(cpu, msr, value)

    def _now(self) -> int:
        return self._machine.now

    def take_commands(self) -> list[tuple[int, lapic.Icr]]:
        """The ICR writes not carried out yet; they are the caller's now."""
        commands, self.commands = self.commands, []
        return commands

    def apic_read(self, offset: int) -> int:
        """The running CPU reads a register of its local APIC."""
        apic = self.apics[self._machine.current]
        if apic.mode != "xapic":
            self.absent(APIC_BASE + offset, False)
        return apic.read(offset)

    def apic_write(self, offset: int, value: int) -> None:
        """The running CPU writes a register of its local APIC; what follows comes before its next instruction."""
        self.write_apic(self._machine.current, offset, value)
        if offset != lapic.EOI or not self.eoi_passes:
            self._machine.pause()

    def write_apic(self, cpu: int, offset: int, value: int) -> None:
        """Store ``value`` in a register of the local APIC of ``cpu``; out of xAPIC mode it has none in memory."""
        apic = self.apics[cpu]
        if apic.mode != "xapic":
            self._machine.emit(AbsentAccess, cpu, address=APIC_BASE + offset, write=True)
            return
        self._note_apic_write(cpu, offset, value, apic.isr)
        apic.write(offset, value)

    def write_apic_msr(self, cpu: int, msr: int, value: int) -> None:
        """Store ``value`` in the x2APIC register ``msr`` of ``cpu``.

        Raises:
            ApicFaultError: it is refused.
        """
        in_service = self.apics[cpu].isr
        self.apics[cpu].write_msr(msr, value)
        self._note_apic_write(cpu, (msr - X2APIC.start) * 16, value, in_service)

    def _note_apic_write(self, cpu: int, offset: int, value: int, in_service: int) -> None:
        if offset == lapic.EOI:
            self._machine.emit(Eoi, cpu, vector=in_service.bit_length() - 1 if in_service else None)
        else:
            self._machine.emit(ApicWrite, cpu, offset=offset, value=value)

    def absent(self, paddr: int, write: bool) -> None:
        """The running CPU reaches an address where nothing is."""
        self._machine.emit(AbsentAccess, self._machine.current, address=paddr, write=write)

    def port_read(self, port: int, size: int) -> int:
        """The running CPU executes IN: the chipset answers, or its kernel's devices, if it has a kernel."""
        if self.ports.answers(port):
            return self.ports.read(port) | (1 << 8 * size) - 0x100
        owner = self._machine.cpus[self._machine.current].owner
        return self._bus(owner).read(port, size) if owner else (1 << 8 * size) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        """The running CPU executes OUT; what follows for the whole platform comes before its next instruction."""
        self.write_port(self._machine.current, port, size, value)
        if self.leaving:
            self._machine.pause()

    def write_port(self, cpu: int, port: int, size: int, value: int) -> None:
        """``cpu`` writes ``value`` to a port: the chipset's, the debug exit, or one of its kernel's devices."""
        reset = self.ports.write(port, value)
        owner = self._machine.cpus[cpu].owner
        if reset:
            self.reset_request = cpu, f"CPU {cpu} wrote {value:#x} to port {port:#x}"
        elif self._debug_exit and port in DEBUG_EXIT:
            self.exit_request = cpu, value
        elif reset is None and owner:
            self._bus(owner).write(port, size, value)

    @property
    def leaving(self) -> bool:
        """Whether a CPU has asked for the end of the run, or of everything."""
        return self.reset_request is not None or self.exit_request is not None

    def cpuid(self, leaf: int, subleaf: int) -> cpuid.Leaf:
        """CPUID on the running CPU."""
        cpus = self._machine.cpus
        apic = self.apics[self._machine.current]
        highest = max(cpu.apic_id for cpu in cpus)
        place = cpuid.Place(apic.apic_id, len(cpus), highest, apic.mode != "disabled")
        return cpuid.answer(native_cpuid(), leaf, subleaf, place)

    def timestamp(self) -> int:
        """The time stamp counter of the running CPU: virtual time, and what software added."""
        return self.msrs[self._machine.current].tsc

    def console(self, kernel: str) -> Uart:
        """The serial port of ``kernel``."""
        self._bus(kernel)
        return self._consoles[kernel]

    def _bus(self, kernel: str) -> Bus:
        if kernel not in self._buses:
            uart = Uart(lambda byte: self._machine.emit(ConsoleByte, self._machine.current, kernel=kernel, byte=byte))
            self._consoles[kernel] = uart
            self._buses[kernel] = Bus()
            self._buses[kernel].attach(COM1, COM1_SIZE, uart)
        return self._buses[kernel]

    def state(self) -> dict[str, Any]:
        """The devices' registers as plain data."""
        return {
            "apics": [apic.state() for apic in self.apics],
            "msrs": [msrs.state() for msrs in self.msrs],
            "ports": self.ports.state(),
            "debug_exit": self._debug_exit,
            "consoles": {kernel: uart.state() for kernel, uart in self._consoles.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for apic, values in zip(self.apics, state["apics"], strict=True):
            apic.restore(values)
        for msrs, values in zip(self.msrs, state["msrs"], strict=True):
            msrs.restore(values)
        self.ports.restore(state["ports"])
        self._debug_exit = state["debug_exit"]
        self._consoles.clear()
        self._buses.clear()
        for kernel, values in state["consoles"].items():
            self.console(kernel).restore(values)
