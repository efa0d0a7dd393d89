"""Acts from outside: whatever is done to a machine that does not follow from what it does by itself.

Each is journalled as an Input event, and then has its effect; so a run can be replayed.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mklab.errors import require
from mklab.machine import lapic
from mklab.machine.board import Board
from mklab.machine.cpu import Cpu, CpuState
from mklab.machine.engine import Engine
from mklab.machine.interrupts import InterruptBus
from mklab.machine.layout import APIC_BASE, APIC_SIZE
from mklab.machine.memory import PhysicalMemory
from mklab.machine.ownership import Image, Observation
from mklab.machine.process import Call, KernelFunction
from mklab.machine.registers import Registers
from mklab.machine.schedule import Schedule
from mklab.machine.stop import Stop
from mklab.machine.turn import Turn
from mklab.trace import Input, Planned, Printk, Trace

__all__ = ["Acts", "Observer"]

Observer = Callable[[str, int, int, int | None], None]


class Acts(ABC):
    """What can be done to a machine from outside: by a user, a test, or a kernel's process context.

    Its attributes are those of :class:`mklab.machine.machine.Machine`.
    """

    trace: Trace
    memory: PhysicalMemory
    cpus: list[Cpu]
    board: Board
    engine: Engine
    images: dict[str, Image]
    calls: list[Call]
    functions: dict[str, KernelFunction]
    observers: dict[str, Observer]
    installed: list[str]
    current: int
    stopped: Stop | None
    _schedule: Schedule
    _interrupts: InterruptBus
    _observation: Observation
    _turn: Turn
    _inside: bool

    @abstractmethod
    def emit(self, kind: Any, cpu: int | None, **values: Any) -> None:
        """Record an event now."""

    @abstractmethod
    def look(self, why: str) -> None:
        """Let the onlookers look."""

    @contextmanager
    def _act(self, name: str, args: dict[str, Any]) -> Iterator[None]:
        """Within it an act from outside has its effect, and what it asks of the platform comes at once.

        What a step of a kernel function does is none, nor what an act entails: it happens again with the cause.
        """
        if self._inside:
            yield
            return
        self.emit(Input, None, name=name, args=args)
        with self._from_inside():
            yield
            self._turn.carry_out()
        self.look("input")

    @contextmanager
    def _from_inside(self) -> Iterator[None]:
        """What is done meanwhile follows from what the journal says already."""
        before, self._inside = self._inside, True
        try:
            yield
        finally:
            self._inside = before

    def poke(self, paddr: int, data: bytes) -> None:
        """Store ``data`` at physical address ``paddr``, from outside.

        Raises:
            ValueError: not all of it is RAM.
        """
        self.memory.write(paddr, data)

    def _note_write(self, paddr: int, data: bytes) -> None:
        """Python has written to memory: a poke, unless the machine itself or a kernel function has."""
        if not self._inside:
            with self._act("poke", {"paddr": paddr, **self.trace.keep(data)}):
                pass

    @property
    def schedule(self) -> Schedule:
        """Who runs next; another one can be given between two slices."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        with self._act("schedule", {"schedule": copy.deepcopy(schedule.state())}):
            self._schedule = schedule

    def restore_schedule(self, schedule: Schedule, state: dict[str, Any]) -> None:
        """Let ``schedule`` go on from ``state``, as it was when that was taken: no act from outside."""
        self._schedule = schedule
        schedule.restore(state)

    def install(self, name: str, functions: dict[str, KernelFunction], observers: dict[str, Observer]) -> None:
        """Make a kernel's functions and observers known; ``name`` says in the journal who has done it.

        Twice does no harm: then the later ones serve. Code cannot be kept with a state, but is installed again.
        """
        if name not in self.installed:
            with self._act("install", {"name": name}):
                self.installed.append(name)
        self.functions.update(functions)
        self.observers.update(observers)

    def patch_registers(self, cpu: int, registers: Registers, *, running: bool = True) -> None:
        """Give ``cpu`` other registers from outside, and let it run (or leave its state as it is)."""
        self._check(cpu)
        with self._act("patch_registers", {"cpu": cpu, "registers": registers.to_dict(), "running": running}):
            self.engine.set_registers(cpu, registers)
            if running:
                self.cpus[cpu].state = CpuState.RUNNING
                self.stopped = None
            self._observation.note_mode(self.cpus[cpu], registers.mode)

    def console_input(self, kernel: str, data: bytes) -> None:
        """Bytes arrive on the serial port of ``kernel``."""
        with self._act("console_input", {"kernel": kernel, "data": data.hex()}):
            self.board.console(kernel).receive(data)

    def plan(self, cpu: int, owner: str | None) -> None:
        """Note which kernel ``cpu`` is meant for. It changes nothing; the owner is observed."""
        self._check(cpu)
        with self._act("plan", {"cpu": cpu, "owner": owner}):
            self.cpus[cpu].planned = owner
            self.emit(Planned, cpu, owner=owner)

    def add_image(self, image: Image) -> None:
        """Let ``image`` be known as a kernel: CPUs that enter its memory are its own, and it has a console."""
        with self._act("add_image", copy.deepcopy(image.to_dict())):
            self.images[image.name] = image

    def submit(self, call: Call) -> Call:
        """Let a kernel function begin in process context on ``call.cpu``; :meth:`run` carries it out."""
        self._check(call.cpu)
        with self._act("submit", copy.deepcopy(call.to_dict())):
            self.calls.append(call)
        return call

    def abandon(self, call: Call) -> None:
        """Nobody waits for ``call`` any more: it goes no further, and what it has done stays as it is.

        Raises:
            ValueError: it is not under way.
        """
        with self._act("abandon", {"call": self.calls.index(call)}):
            self.calls.remove(call)

    def _check(self, cpu: int) -> None:
        require("cpu", cpu, 0, len(self.cpus) - 1)

    def interrupt_due(self, cpu: int) -> bool:
        """Whether ``cpu`` would enter a handler before it executes its next instruction."""
        self._check(cpu)
        one = self.cpus[cpu]
        return one.state in (CpuState.RUNNING, CpuState.HALTED) and self._interrupts.deliverable(one) is not None

    def enter_handler(self, cpu: int) -> None:
        """Let ``cpu`` enter the handler of the interrupt that is due there, and nobody execute anything yet.

        Raises:
            ValueError: none is due.
        """
        if not self.interrupt_due(cpu):
            raise ValueError(f"cpu must be one on which an interrupt is due, not {cpu!r}")
        with self._act("enter_handler", {"cpu": cpu}):
            self._turn.enter_handler(self.cpus[cpu])

    def store(self, cpu: int, paddr: int, value: int) -> None:
        """``cpu`` stores 32 bits at ``paddr`` (RAM or its APIC) on behalf of its kernel's process context.

        Raises:
            ValueError: no such CPU, not 32 bits, or neither RAM nor the APIC.
        """
        self._check(cpu)
        require("value", value, 0, 0xFFFFFFFF)
        with self._act("store", {"cpu": cpu, "paddr": paddr, "value": value}):
            if APIC_BASE <= paddr < APIC_BASE + APIC_SIZE:
                self.board.write_apic(cpu, paddr - APIC_BASE, value)
            else:
                self.memory.write(paddr, value.to_bytes(4, "little"))

    def wrmsr(self, cpu: int, msr: int, value: int) -> None:
        """``cpu`` writes a register of its local APIC in x2APIC mode on behalf of its kernel's process context.

        Raises:
            ValueError: no such CPU, not 64 bits, or the local APIC refuses.
        """
        self._check(cpu)
        require("value", value, 0, (1 << 64) - 1)
        with self._act("wrmsr", {"cpu": cpu, "msr": msr, "value": value}):
            try:
                self.board.write_apic_msr(cpu, msr, value)
            except lapic.ApicFaultError as fault:
                raise ValueError(
                    f"msr and value must be what the local APIC takes, not {(hex(msr), value)!r}: {fault}"
                ) from None

    def out(self, cpu: int, port: int, value: int) -> None:
        """``cpu`` writes a byte to an I/O port on behalf of its kernel's process context.

        Raises:
            ValueError: no such CPU, no such port, or not a byte.
        """
        self._check(cpu)
        require("port", port, 0, 0xFFFF)
        require("value", value, 0, 0xFF)
        with self._act("out", {"cpu": cpu, "port": port, "value": value}):
            self.board.write_port(cpu, port, 1, value)

    def printk(self, kernel: str, text: str) -> None:
        """A line of a kernel's log, from its process context."""
        with self._act("printk", {"kernel": kernel, "text": text}):
            self.emit(Printk, self.current, kernel=kernel, text=text)

    def enter_kernel(self, cpu: int, registers: Registers) -> None:
        """Let ``cpu`` enter a kernel with ``registers`` (see :func:`mklab.machine.power.entry_registers`)."""
        self.patch_registers(cpu, registers)

    def jump(self, cpu: int, registers: Registers) -> None:
        """Process context on ``cpu`` jumps out of its kernel to ``registers``; it is nobody's until it enters one."""
        self._check(cpu)
        with self._act("jump", {"cpu": cpu, "registers": registers.to_dict()}):
            self.engine.set_registers(cpu, registers)
            self.cpus[cpu].state = CpuState.RUNNING
            self._observation.disown(self.cpus[cpu])
