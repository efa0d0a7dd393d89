"""What a running CPU reaches besides RAM: its local APIC, I/O ports, CPUID and the clock."""

from typing import Any, Protocol

from mklab.machine import cpuid, lapic
from mklab.machine.bus import Bus
from mklab.machine.cpu import Cpu
from mklab.machine.engine import native_cpuid
from mklab.machine.layout import COM1, COM1_SIZE, RESET_PORT
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
        apics: the local APIC of each CPU.
        commands: ICR writes of CPUs, ``(CPU, command)``, that the machine has yet to carry out.
        reset_request: why the running CPU has asked for a platform reset; empty where it has not.
    """

    def __init__(self, machine: _Machine) -> None:
        self._machine = machine
        self.apics = [
            lapic.LocalApic(cpu.apic_id, self._sender(cpu.index), self.timestamp, cpu.bsp) for cpu in machine.cpus
        ]
        self.commands: list[tuple[int, lapic.Icr]] = []
        self.reset_request = ""
        self._consoles: dict[str, Uart] = {}
        self._buses: dict[str, Bus] = {}

    def _sender(self, cpu: int) -> Any:
        return lambda icr: self.commands.append((cpu, icr))

    def take_commands(self) -> list[tuple[int, lapic.Icr]]:
        """The ICR writes not carried out yet; they are the caller's now."""
        commands, self.commands = self.commands, []
        return commands

    def apic_read(self, offset: int) -> int:
        """The running CPU reads a register of its local APIC."""
        return self.apics[self._machine.current].read(offset)

    def apic_write(self, offset: int, value: int) -> None:
        """The running CPU writes a register of its local APIC; what follows comes before its next instruction."""
        self.write_apic(self._machine.current, offset, value)
        self._machine.pause()

    def write_apic(self, cpu: int, offset: int, value: int) -> None:
        """Store ``value`` in a register of the local APIC of ``cpu``."""
        apic = self.apics[cpu]
        if offset == lapic.EOI:
            vector = apic.isr.bit_length() - 1
            self._machine.emit(Eoi, cpu, vector=vector if vector >= 0 else None)
        else:
            self._machine.emit(ApicWrite, cpu, offset=offset, value=value)
        apic.write(offset, value)

    def absent(self, paddr: int, write: bool) -> None:
        """The running CPU reaches an address where nothing is."""
        self._machine.emit(AbsentAccess, self._machine.current, address=paddr, write=write)

    def port_read(self, port: int, size: int) -> int:
        """The running CPU executes IN: its kernel's devices answer, if it has a kernel."""
        owner = self._machine.cpus[self._machine.current].owner
        return self._bus(owner).read(port, size) if owner else (1 << 8 * size) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        """The running CPU executes OUT; some ports act on the whole machine."""
        current = self._machine.current
        owner = self._machine.cpus[current].owner
        if port == RESET_PORT and value & 4:
            self.reset_request = f"CPU {current} wrote {value:#x} to port {port:#x}"
            self._machine.pause()
        elif owner:
            self._bus(owner).write(port, size, value)

    def cpuid(self, leaf: int, subleaf: int) -> cpuid.Leaf:
        """CPUID on the running CPU."""
        cpus = self._machine.cpus
        return cpuid.answer(native_cpuid(), leaf, subleaf, cpus[self._machine.current].apic_id, len(cpus))

    def timestamp(self) -> int:
        """The time stamp counter of every CPU: virtual time."""
        return self._machine.now

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
            "consoles": {kernel: uart.state() for kernel, uart in self._consoles.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for apic, values in zip(self.apics, state["apics"], strict=True):
            apic.restore(values)
        self._consoles.clear()
        self._buses.clear()
        for kernel, values in state["consoles"].items():
            self.console(kernel).restore(values)
