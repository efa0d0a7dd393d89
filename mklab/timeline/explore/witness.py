"""Everything that a machine does is told here while the exploration looks, instead of being recorded."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from mklab.errors import MklabError
from mklab.machine.apic_registers import DFR, ICR_LOW, LDR, SVR
from mklab.machine.engine.accesses import Accesses
from mklab.machine.icr import Icr
from mklab.machine.layout import APIC_BASE, APIC_SIZE
from mklab.machine.machine import Machine
from mklab.timeline.explore.transition import apic_word
from mklab.timeline.explore.turn import KeptTurn, QuietTrace
from mklab.trace import ApicWrite, Delivered, Event, Step

__all__ = ["PORTS", "Witness", "console_word"]

PORTS = -(1 << 32)
"""The number under which the chipset's ports count among the words that CPUs share."""
_NOTICED = (SVR, LDR, DFR)
"""What decides whether, and by which names, others reach a local APIC."""


def console_word(kernel: int) -> int:
    """The number under which the serial port of that kernel (in the order of the images) counts among the words."""
    return PORTS - 1 - kernel


class Listener(Protocol):
    """Whom a :class:`Witness` tells."""

    def familiar(self, paddr: int, size: int, write: bool) -> bool:
        """Whether nothing more need be told of an access by guest code."""

    def touched(self, word: int, write: bool, position: int) -> None:
        """A word is about to be touched."""

    def accessed(self, paddr: int, size: int, write: bool, position: int) -> None:
        """An access to memory, word by word told already."""

    def happened(self, kind: str, values: Any, position: int) -> None:
        """``interrupt`` (it is delivered), ``ipi`` (it is sent) or ``step`` (it was performed)."""


class Witness:
    """While it is entered, ``listener`` hears what ``machine`` does.

    Positions are instructions of the transition before the one concerned.
    """

    def __init__(self, machine: Machine, listener: Listener) -> None:
        self._machine = machine
        self._listener = listener
        self._stack = ExitStack()
        self.cpu = 0
        self.start = machine.time
        self.turn = KeptTurn(machine, machine._turn)

    def __enter__(self) -> Self:
        """From now on nothing is recorded."""
        machine = self._machine
        trace, turn, observers = machine.trace, machine._turn, dict(machine.observers)
        machine.trace = QuietTrace(trace, self._on_event)
        machine._turn = self.turn
        machine.observers.clear()
        machine.memory.witness = self._on_python_access
        board: Any = machine.board
        read_port, write_port = board.port_read, board.write_port

        def on_port_read(port: int, size: int) -> int:
            with self._watching_ports(port):
                value: int = read_port(port, size)
            return value

        def on_port_write(cpu: int, port: int, size: int, value: int) -> None:
            with self._watching_ports(port):
                write_port(cpu, port, size, value)

        def on_timestamp() -> int:
            raise MklabError(f"CPU {self.cpu} reads the time stamp counter; what depends on time is not explored")

        board.port_read, board.write_port, board.timestamp = on_port_read, on_port_write, on_timestamp

        def restore() -> None:
            machine.trace, machine._turn = trace, turn
            machine.observers.update(observers)
            machine.memory.witness = None
            del board.port_read, board.write_port, board.timestamp

        self._stack.callback(restore)
        self._stack.enter_context(Accesses(machine.engine, self._on_access))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The machine records again."""
        self._stack.close()

    def begin(self, cpu: int) -> None:
        """A transition of ``cpu`` begins."""
        self.cpu, self.start = cpu, self._machine.time
        self.turn.kept, self.turn.stopped = [], ""

    @property
    def position(self) -> int:
        """Instructions of this transition before the one that is executed now."""
        return max(0, self._machine.now - self.start - 1)

    def _on_access(self, paddr: int, size: int, write: bool) -> None:
        if self._listener.familiar(paddr, size, write):
            return
        if not APIC_BASE <= paddr < APIC_BASE + APIC_SIZE:
            self._tell(paddr, size, write)

    def _on_python_access(self, paddr: int, size: int, write: bool) -> None:
        """While the engine runs, only the machine itself looks at code and tables: no access of the guest's."""
        if not self.turn.running:
            self._tell(paddr, size, write)

    def _tell(self, paddr: int, size: int, write: bool) -> None:
        position = self.position
        for word in range(paddr >> 3, (paddr + size - 1 >> 3) + 1):
            self._listener.touched(word, write, position)
        self._listener.accessed(paddr, size, write, position)

    def _watching_ports(self, port: int) -> "_PortAccess":
        board = self._machine.board
        if board.ports.answers(port):
            return _PortAccess(PORTS, board.ports, self)
        owner = self._machine.cpus[self._machine.current].owner
        if owner is None or owner not in self._machine.images:
            return _PortAccess(PORTS, board.ports, self)
        return _PortAccess(console_word(list(self._machine.images).index(owner)), board.console(owner), self)

    def port_accessed(self, word: int, changed: bool) -> None:
        """A device was read or written; ``changed``: its state is another one now."""
        self._listener.touched(word, changed, self.position)

    def _on_event(self, kind: type[Event], time: int, cpu: int | None, values: dict[str, Any]) -> None:
        if kind is Delivered and values["source"] != "exception":
            position = time - self.start
            self._listener.touched(apic_word(self.cpu), True, position)
            self._listener.happened("interrupt", values, position)
        elif kind is ApicWrite and cpu == self.cpu and values["offset"] in _NOTICED:
            self._listener.touched(apic_word(self.cpu), True, self.position)
        elif kind is ApicWrite and cpu == self.cpu and values["offset"] == ICR_LOW:
            for target in self._named(values["value"]):
                if target != self.cpu:
                    self._listener.touched(apic_word(target), True, self.position)
            self._listener.happened("ipi", values, self.position)
        elif kind is Step:
            self._listener.happened("step", values, self.position)

    def _named(self, value: int) -> list[int]:
        """Whom an ICR with ``value`` in its low half, or all of it in x2APIC mode, names."""
        apic = self._machine.apics[self.cpu]
        x2apic = apic.mode == "x2apic"
        icr = Icr(value >> 32 if x2apic else apic.icr_high, value & 0xFFFFFFFF, x2apic)
        return [cpu.index for cpu in self._machine._interrupts.targets(self.cpu, icr)]


class _PortAccess:
    """Sees whether the state of ``device`` changes meanwhile."""

    def __init__(self, word: int, device: Any, witness: Witness) -> None:
        self._word, self._device, self._witness = word, device, witness

    def __enter__(self) -> None:
        self._before = self._device.state()

    def __exit__(self, *_: object) -> None:
        self._witness.port_accessed(self._word, self._device.state() != self._before)
